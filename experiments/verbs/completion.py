"""`completion SHELL`: a script that completes words of the command line."""

from __future__ import annotations

import argparse

SUMMARY = 'print a completion script: eval "$(experiments completion bash)"'


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.add_argument("--words", nargs="*", help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> int:
    from experiments.completion import candidates, script

    print("\n".join(candidates(options.words)) if options.words is not None else script(options.shell))
    return 0
