"""`status study=NAME`: how far a study has come, what failed, and the time and energy that the rest will take."""

from __future__ import annotations

import argparse

from experiments.errors import UserError

SUMMARY = "how far a study has come: done, failed, running, and the time and joules left"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="study=NAME key=value", help="a study, with the settings that it was swept with"
    )
    parser.add_argument("--runs", help="the folder or URL of records (default: runs)")
    parser.add_argument("--json", action="store_true", help="print it as JSON, for scripts")


def main(options: argparse.Namespace) -> int:
    """Reads only. 0 whatever became of the runs."""
    from experiments.study.overrides import split

    own, words = split(options.words)
    bare = [word for word in options.words if "=" not in word]
    if bare or "study" not in own:
        raise UserError(f"{bare[0] + ': ' if bare else ''}which study? python -m experiments status study=NAME")
    if options.runs and "runs" in own:
        raise UserError(f"the folder of records is given twice: runs={own['runs']} and --runs {options.runs}")
    import os

    from experiments.progress import log_to_console
    from experiments.store import Store
    from experiments.study.overrides import with_settings
    from experiments.study.spec import load_study
    from experiments.study.status import status

    log_to_console()
    study = with_settings(load_study(own["study"]), words)
    root = own.get("runs") or options.runs or "runs"
    if "://" not in root and not os.path.isdir(os.path.expanduser(root)):
        raise UserError(f"there is no folder {root} of records: give it with --runs FOLDER")
    try:
        found = status(study, Store(root if "://" in root else os.path.expanduser(root)))
    except OSError as error:
        raise UserError(f"the records in {root} cannot be read: {error.strerror or error}") from None
    if options.json:
        import json

        print(json.dumps(found.as_json(), indent=1))
    else:
        import shutil

        print("\n".join(found.lines(min(max(shutil.get_terminal_size((110, 24)).columns, 60), 130))))
    return 0
