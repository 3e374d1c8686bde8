"""`list`: everything that can be named on the command line, with a line on each."""

from __future__ import annotations

import argparse

from experiments.errors import UserError, nearest

SUMMARY = "tasks, models, metrics, budgets and presets"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", help="only one of them")
    parser.add_argument("--json", action="store_true")


def main(options: argparse.Namespace) -> int:
    from experiments.listing import catalogue

    found = catalogue()
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
