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
    from experiments.study.opened import open_study

    study, store = open_study("status", options.words, options.runs)

    from experiments.study.status import status

    try:
        found = status(study, store)
    except OSError as error:
        raise UserError(f"the records in {store} cannot be read: {error.strerror or error}") from None
    if options.json:
        import json

        print(json.dumps(found.as_json(), indent=1))
    else:
        from experiments.progress import terminal_width

        print("\n".join(found.lines(terminal_width())))
    return 0
