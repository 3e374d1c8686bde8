"""The command line. Imports nothing heavy until a verb needs it: `--help`, `list` and completion are instant."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError, nearest

VERBS = ("run", "list", "report", "check", "completion")
FLAGS = (
    "--force", "--json", "--quiet", "--config", "--runs", "--out", "--format", "--target", "--mix-joules",
    "--calibrate", "--quick", "--grid", "--pue",
)  # fmt: skip
FORMATS = ("terminal", "markdown", "csv", "latex")

EPILOG = """examples:
  python -m experiments run flocking model=neural_ode
  python -m experiments run lorenz63 model=hybrid_ode budget.flop=1e11 seed=0,1,2
  python -m experiments run trajectories task.path=lynx_hare model=neural_ode
  python -m experiments report flocking
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for a user's mistake, 130 or 143 after Ctrl-C or SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in (
        "run",
        "check",
    ):  # argparse refuses settings after a flag: run TASK --force seed=0
        arguments[1:] = sorted(_joined(arguments[1:]), key=lambda word: not word.startswith("-"))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _stop)  # until a run, which has something to keep, puts its own in place
    try:
        options = _parser().parse_args(arguments)
        return globals()[f"_{options.verb}"](options)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except LookupError as error:
        if type(error).__name__ != "CatalogueError":  # of a user's own device file; not imported for every command
            raise
        print(f"error: {' '.join(str(error.args[0]).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _stop(number: int, frame: Any) -> None:
    """Ctrl-C at once: a KeyboardInterrupt is lost where it meets JAX's garbage collection."""
    os.write(2, b"stopped; nothing had been measured yet\n")
    os._exit(130)


def _joined(words: Sequence[str]) -> list[str]:
    """A flag and its value as one word, so that words may be put in another order."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--grid", "--pue"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        hint = nearest(found[1], re.findall(r"[\w-]+", found[2])) if found else ""
        if unknown := re.search(r"unrecognized arguments: (--\S+)", message):
            hint = nearest(unknown[1], FLAGS)
        raise UserError(f"{message}{hint} (python -m experiments --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m experiments",
        description="Accuracy per FLOP and per joule of black-box and structured models on dynamical tasks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{run,list,report,check,completion}")
    run = verbs.add_parser("run", help="train a model on a task beside the reference rows, and compare")
    run.add_argument(
        "words", nargs="*", metavar="TASK key=value", help="a task, then settings such as model=mlp seed=0,1"
    )
    run.add_argument("--force", action="store_true", help="run again what is already finished")
    run.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    run.add_argument("--quiet", action="store_true", help="no progress lines")
    run.add_argument("--config", action="store_true", help="print the settings this command would use, and stop")
    show = verbs.add_parser("list", help="tasks, models, metrics, budgets and presets")
    show.add_argument("what", nargs="?", help="only one of them")
    show.add_argument("--json", action="store_true")
    report = verbs.add_parser("report", help="tables and figure from all records of a task")
    report.add_argument("task")
    report.add_argument("--runs", default="runs", help="the folder of records (default: runs)")
    report.add_argument("--out", help="where to write the files (default: RUNS/comparison)")
    report.add_argument("--format", choices=FORMATS, default="terminal", help="what to print (all are written)")
    report.add_argument("--target", type=float, action="append", help="an error whose cost is asked for (repeatable)")
    report.add_argument("--mix-joules", action="store_true", help="rank measured and modelled joules together")
    check = verbs.add_parser(
        "check",
        help="what this machine can run and measure; with device=NAME, what a model's training would take there",
    )
    check.add_argument(
        "words", nargs="*", metavar="key=value", help="device=tpu_v5e (see list catalogue), then settings as for run"
    )
    check.add_argument("--calibrate", action="store_true", help="measure this machine's speed again (10 s)")
    check.add_argument("--quick", action="store_true", help="nothing that takes seconds: no calibration, no idle power")
    check.add_argument("--grid", help="electricity grid whose carbon intensity is used, as in --grid FRA")
    check.add_argument("--pue", type=float, default=1.0, help="power usage effectiveness of the building (default: 1)")
    check.add_argument("--json", action="store_true")
    shell = verbs.add_parser("completion", help='print a completion script: eval "$(experiments completion bash)"')
    shell.add_argument("shell", choices=("bash", "zsh"))
    shell.add_argument("--words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _run(options: argparse.Namespace) -> int:
    from experiments.progress import Reporter, log_to_console

    log_to_console()
    report = Reporter(options.quiet or options.json)
    words = [word for word in options.words if "=" not in word and not word.startswith(("+", "~"))]
    settings_words = [word for word in options.words if word not in words]
    if "" in words or (not words and not any(w.startswith(("experiment=", "task=")) for w in settings_words)):
        raise UserError("which task? python -m experiments run TASK …; python -m experiments list task names them")

    from experiments.config import load, nearest_key, task_names

    if len(words) > 1:
        tasks = [word for word in words if word in task_names()]
        for word in words:
            if word not in tasks:
                raise UserError(f"{word} is neither a task nor key=value{nearest_key(word, settings_words)}")
        raise UserError(f"a run has one task, but there are {len(tasks)}: {', '.join(tasks)}")
    settings = load(words[0] if words else None, settings_words)
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
        kept = f"kept {records_kept} in {settings.runs}" if number else "nothing had been measured yet"
        print(f"stopped by signal {stopped.signal_number}; {kept}; the same command runs the rest", file=sys.stderr)
        return 128 + stopped.signal_number


def _print_table(records: Any, targets: Any) -> None:
    from rich.console import Console

    from reports.rows import compare
    from reports.tables import render

    out = Console(width=None if sys.stdout.isatty() else 120)
    out.print(render(compare(records, targets), "terminal", width=min(out.width, 120)))


def _catalogue() -> dict[str, dict[str, str]]:
    """Everything that can be named on the command line, with a line on each; nothing of it is imported."""
    from experiments.listing import catalogue

    return catalogue()


def _list(options: argparse.Namespace) -> int:
    found = _catalogue()
    if options.what:
        if options.what not in found:
            raise UserError(f"list knows {', '.join(found)}, not {options.what!r}{nearest(options.what, found)}")
        found = {options.what: found[options.what]}
    if options.json:
        import json

        print(json.dumps(found, indent=1))
        return 0
    width = max(len(name) for group in found.values() for name in group)
    for group, things in found.items():
        print(f"{group}:")
        for name, line in things.items():
            print(f"  {name:<{width}}  {line}".rstrip())
    return 0


def _report(options: argparse.Namespace) -> int:
    from experiments.report import write_report

    write_report(options.task, Path(options.runs), options.out, options.format, options.target, options.mix_joules)
    return 0


def _check(options: argparse.Namespace) -> int:
    """Without a device of the catalogue, this machine; with one, the price of a model's training there."""
    from experiments.progress import Reporter, log_to_console
    from hardware import catalogue

    devices = [word.removeprefix("device=") for word in options.words if word.startswith("device=")]
    words = [word for word in options.words if not word.startswith("device=")]
    here = ("auto", "cpu", "cuda", "tpu")
    if len(devices) > 1:
        raise UserError(f"check takes one device, but there are {len(devices)}: {', '.join(devices)}")
    if words and not devices:
        raise UserError(
            "on which device? check device=NAME key=value …; python -m experiments list catalogue names them"
        )
    device = devices[0] if devices else "all"
    priced = device != "all" and device.partition(":")[0] not in here
    if priced and device not in catalogue.names():
        raise UserError(f"device={device}: there is no such device{nearest(device, [*here, *catalogue.names()])}")
    if priced and (options.calibrate or options.quick):
        raise UserError("--calibrate and --quick are for this machine: leave device= out")
    if not priced and (options.grid or options.pue != 1):
        raise UserError("--grid and --pue are for a device of the catalogue: name it with device=NAME")
    if options.calibrate and options.quick:
        raise UserError("--calibrate takes 10 seconds and --quick takes none: choose one")
    if not priced and words:
        raise UserError(f"{words[0]}: settings are for a device of the catalogue; this machine has none to set")
    log_to_console()
    report = Reporter(options.json)
    if priced:
        found = _price(device, words, options, report)
    else:
        from experiments.check import check
        from hardware.devices import DeviceError

        try:
            found = check(report, options.calibrate, options.quick, device)
        except DeviceError as error:
            raise UserError(str(error)) from None
    if options.json:
        import json

        print(json.dumps(found.as_json(), indent=1))
    else:
        print("\n".join(found.lines(_width())))
    return 0


def _width() -> int:
    import shutil

    return min(max(shutil.get_terminal_size((110, 24)).columns, 60), 130)


def _price(device: str, words: list[str], options: argparse.Namespace, report: Any) -> Any:
    from experiments.config import load
    from hardware.cost import Cost
    from hardware.projection import ProjectionError, project

    tasks = [word for word in words if "=" not in word]
    settings = load(tasks[0] if tasks else None, [word for word in words if word not in tasks[:1]])
    try:
        project(Cost(), device, grid=options.grid, pue=options.pue)  # mistakes are told before any work is done
        from experiments.check import load_calibration
        from experiments.pricing import price
        from hardware import catalogue
        from hardware.devices import resolve

        known = load_calibration(resolve("auto", "jax"))
        return price(settings, catalogue.load(device), options.grid, options.pue, known, report)
    except (ProjectionError, LookupError) as error:
        raise UserError(str(error.args[0] if error.args else error)) from None


def _completion(options: argparse.Namespace) -> int:
    from experiments.completion import candidates, script

    print("\n".join(candidates(options.words)) if options.words is not None else script(options.shell))
    return 0
