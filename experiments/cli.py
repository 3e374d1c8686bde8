"""The command line. Imports nothing heavy until a verb needs it: `--help`, `list` and completion are instant."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError, nearest

# Every file of verbs/ is a verb; these stand first in the help.
FIRST = ("run", "sweep", "report", "status", "watch", "list", "check")
VERBS = sorted(
    (path.stem for path in (Path(__file__).parent / "verbs").glob("[a-z]*.py")),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)

EPILOG = """examples:
  python -m experiments run flocking model=neural_ode
  python -m experiments run lorenz63 model=hybrid_ode budget.flop=1e11 seed=0,1,2
  python -m experiments run trajectories task.path=lynx_hare model=neural_ode
  python -m experiments show vicsek
  python -m experiments report flocking
  python -m experiments sweep study=quick
  python -m experiments report study=quick
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for a user's mistake, 130 or 143 after Ctrl-C or SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _stop)  # until a run, which has something to keep, puts its own in place
    try:
        options = _parser().parse_args(_flags_first(arguments))
        return verb(options.verb).main(options)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LookupError, OSError) as error:
        # Of a user's own device file, and of a store that cannot be had; they are not imported for every command.
        if type(error).__name__ not in ("CatalogueError", "StoreError"):
            raise
        print(f"error: {' '.join(str(error.args[0]).split())}", file=sys.stderr)
        return 2


def verb(name: str) -> Any:
    """The module of a verb."""
    return importlib.import_module(f"experiments.verbs.{name}")


def flags(name: str) -> dict[str, argparse.Action]:
    """The flags of a verb; hidden ones left out."""
    parser = argparse.ArgumentParser(add_help=False)
    verb(name).add(parser)
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return {flag: action for action in shown for flag in action.option_strings if flag.startswith("--")}


def _stop(number: int, frame: Any) -> None:
    """Ctrl-C at once: a KeyboardInterrupt is lost where it meets JAX's garbage collection."""
    os.write(2, b"stopped; nothing had been measured yet\n")
    os._exit(130)


def _flags_first(arguments: list[str]) -> list[str]:
    """The verb, its flags (each with its value in one word), then the rest.

    argparse refuses settings after a flag, as in run TASK --force seed=0.
    """
    if not arguments or arguments[0] not in VERBS or arguments[0] == "completion":
        return arguments
    takes_value = {flag for flag, action in flags(arguments[0]).items() if action.nargs != 0}
    joined: list[str] = []
    for word in arguments[1:]:
        if joined and joined[-1] in takes_value:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return [arguments[0], *sorted(joined, key=lambda word: not word.startswith("-"))]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        hint = nearest(found[1], re.findall(r"[\w-]+", found[2])) if found else ""
        if message.endswith("required: verb"):
            message = f"which verb? It is one of {', '.join(VERBS)}"
        if unknown := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
            others = {flag for name in VERBS for flag in flags(name)} - {unknown[1]}
            hint = nearest(unknown[1], sorted(others))
            if unknown[1] == "--runs":
                hint = "; this verb takes runs=FOLDER"
        raise UserError(f"{message}{hint} (python -m experiments --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m experiments",
        description="Accuracy per FLOP and per joule of black-box and structured models on dynamical tasks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    for name in VERBS:
        verb(name).add(verbs.add_parser(name, help=verb(name).SUMMARY))
    return parser
