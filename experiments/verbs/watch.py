"""`watch study=NAME`: a live view of a running study, on this machine or from afar."""

from __future__ import annotations

import argparse
import signal

from experiments.errors import UserError

SUMMARY = "a live view of a running study: done, failed, errors so far, power, time left"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="study=NAME key=value", help="a study, with the settings that it was swept with"
    )
    parser.add_argument("--runs", help="the folder or URL of records (default: runs)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="one picture, and stop")


def main(options: argparse.Namespace) -> int:
    """Reads only. 0 when every run has come to a result, 3 when some failed for good, 130 after Ctrl-C."""
    from experiments.study.opened import open_study, shell_line

    if not options.every > 0:
        raise UserError(f"--every must be seconds above 0, but it is {options.every:g}")
    study, store = open_study("watch", options.words, options.runs)

    from rich.console import Console

    from experiments.study.watch import watch

    go_on = shell_line("sweep", options.words, options.runs)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = watch(study, store, Console(), options.every, options.once, go_on)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        raise UserError(f"the records in {store} cannot be read: {error.strerror or error}") from None
    return 3 if found.failed else 0
