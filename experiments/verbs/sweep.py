"""`sweep study=NAME`: run everything that a study declares and that has not been run yet."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from typing import Any

from experiments.errors import UserError

SUMMARY = "run what a study declares; the same command goes on where it was stopped"
ENGINES = ("local", "ray", "slurm")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="study=NAME key=value", help="a study, then settings for every run (device=cpu)"
    )
    parser.add_argument("--dry-run", action="store_true", help="what it would take; nothing is run")
    parser.add_argument("--quick", action="store_true", help="with --dry-run: count nothing that takes seconds")
    parser.add_argument("--grid", help="with --dry-run: electricity grid whose carbon intensity is used, as in FRA")
    parser.add_argument("--pue", type=float, help="with --dry-run: power usage effectiveness of the building (1)")
    parser.add_argument("--shard", help="run one part of several, as in --shard 2/8")
    parser.add_argument("--collect", action="store_true", help="take what is finished now, and say what is missing")
    parser.add_argument("--engine", choices=ENGINES, help="where (default: ray if RAY_ADDRESS is set, else local)")
    parser.add_argument("--packing", type=int, default=1, help="runs that may share a device (default: 1)")
    parser.add_argument("--retries", type=int, default=2, help="of a run that the machine failed (default: 2)")
    parser.add_argument("--runs", help="the folder or URL of records (default: runs)")
    parser.add_argument("--yes", action="store_true", help="go on with a grid of very many runs")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def main(options: argparse.Namespace) -> int:
    """0 when every run has come to a result, 3 when some failed for good, 130 or 143 when it was stopped."""
    from experiments.study.opened import read_words

    own, words, root = read_words("sweep", options.words, options.runs)
    _check(options)

    from experiments.progress import log_to_console
    from experiments.store import Store, StoreError
    from experiments.study.command import Command

    log_to_console()
    try:
        command = Command(own, words, options, Store(root))
        if options.dry_run:
            return command.price()
        if options.collect:
            return command.collect()
        return _sweep(command)
    except StoreError as error:
        raise UserError(f"{error}; nothing that was finished is lost, the same command goes on") from None


def _check(options: argparse.Namespace) -> None:
    for flag in ("quick", "grid", "pue"):
        if getattr(options, flag) and not options.dry_run:
            raise UserError(f"--{flag} belongs to --dry-run")
    options.pue = 1.0 if options.pue is None else options.pue
    if options.dry_run and options.collect:
        raise UserError("--dry-run and --collect: choose one")
    if options.packing < 1:
        raise UserError(f"--packing must be 1 or more, but it is {options.packing}")
    if options.retries < 0:
        raise UserError(f"--retries must be 0 or more, but it is {options.retries}")
    if options.shard:
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", options.shard)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard must be i/n with i from 1 to n, as in --shard 2/8, but it is {options.shard}")
        options.shard = int(found[1]), int(found[2])


def _sweep(command: Any) -> int:
    """Run it. The first signal asks the workers to keep what they have, the second ends at once."""
    from experiments.study.engine import Stopped

    sweep = command.sweep()

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, lambda *_: os._exit(128 + number))  # the workers notice that nobody waits for them
        with contextlib.suppress(RuntimeError):  # a print in a print
            print("stopping: the runs under way keep what they have", file=sys.stderr, flush=True)
        sweep.stop(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return command.finish(sweep)
    except Stopped as stopped:
        done = sweep.progress.runs_done
        kept = f"{done} of {sweep.progress.runs} runs are finished" if done else "no run had finished"
        print(
            f"stopped by signal {stopped.signal_number}; {kept}, those under way have kept what they had; "
            "the same command goes on",
            file=sys.stderr,
        )
        return 128 + stopped.signal_number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
