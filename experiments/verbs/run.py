"""`run TASK key=value …`: train a model beside the reference rows, and compare."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from experiments.errors import UserError

SUMMARY = "train a model on a task beside the reference rows, and compare"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="TASK key=value", help="a task, then settings such as model=mlp seed=0,1"
    )
    parser.add_argument("--force", action="store_true", help="run again what is already finished")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    parser.add_argument("--config", action="store_true", help="print the settings this command would use, and stop")


def main(options: argparse.Namespace) -> int:
    from experiments.progress import Reporter, log_to_console

    log_to_console()
    report = Reporter(options.quiet or options.json)
    words = [word for word in options.words if "=" not in word and not word.startswith(("+", "~"))]
    settings_words = [word for word in options.words if word not in words]
    if "" in words or (not words and not any(w.startswith(("experiment=", "task=")) for w in settings_words)):
        raise UserError("which task? python -m experiments run TASK …; python -m experiments list task names them")

    from experiments.config import load
    from experiments.config_tree import nearest_key, task_names
    from experiments.refusals import refuse_model

    if len(words) > 1:
        tasks = [word for word in words if word in task_names()]
        for word in words:
            if word not in tasks:
                raise UserError(f"{word} is neither a task nor key=value{nearest_key(word, settings_words)}")
        raise UserError(f"a run has one task, but there are {len(tasks)}: {', '.join(tasks)}")
    settings = load(words[0] if words else None, settings_words)
    if not options.config:
        refuse_model(settings)
    report.say(f"{settings.task_name}: loading")  # only now, so that a mistake is answered by one line
    if options.config:
        import yaml

        print(yaml.safe_dump(settings.tree, sort_keys=False), end="")
        return 0

    from experiments.main_job import as_json, main_job
    from experiments.run import Interrupted

    def stop(number: int, frame: Any) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)  # what has been measured is being saved now
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    outcome = None
    try:
        outcome = main_job(settings, report, options.force)
        if options.json:
            print(as_json(outcome))
            return 0
        _print_table(outcome.records, settings.tree["targets"])
        figure = f"figure: {outcome.files[0]} (and svg); " if outcome.files else ""
        report.say(f"{figure}records: {outcome.store.root}")
        return 0
    except Interrupted as stopped:
        number = len(outcome.records) if outcome else stopped.kept
        records_kept = f"{number} record" + "s" * (number > 1)
        kept = f"kept {records_kept} in {settings.tree['runs']}" if number else "nothing had been measured yet"
        print(f"stopped by signal {stopped.signal_number}; {kept}; the same command runs the rest", file=sys.stderr)
        return 128 + stopped.signal_number


def _print_table(records: Any, targets: Any) -> None:
    from rich.console import Console

    from reports.rows import compare
    from reports.tables import render

    out = Console(width=None if sys.stdout.isatty() else 120)
    out.print(render(compare(records, targets), "terminal", width=min(out.width, 120)))
