"""`merge SOURCE…`: several stores into one."""

from __future__ import annotations

import argparse

from experiments.errors import UserError

SUMMARY = "bring the records of other stores into one"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a store to read: a folder or a URL")
    parser.add_argument("--runs", default="runs", help="the store that receives them (default: runs)")


def main(options: argparse.Namespace) -> int:
    from experiments.progress import log_to_console
    from experiments.store import Store
    from experiments.store.merging import merge

    log_to_console()
    target = Store(options.runs)
    sources = [Store(name) for name in options.sources]
    for source in sources:
        if source.same(target):
            raise UserError(f"{source} cannot be merged into itself: --runs names the store that receives")
        if not source.file_names(""):
            raise UserError(f"there are no runs in {source}: name a store, which is a folder or a URL")
    outcomes = merge(sources, target)
    for source, done in zip(sources, outcomes, strict=True):
        said = [f"{done.added} added", f"{done.same} there already"]
        said += [f"{done.replaced} replaced older ones"] * bool(done.replaced)
        said += [f"{done.kept} older than those here"] * bool(done.kept)
        said += [f"{done.damaged} damaged and left out"] * bool(done.damaged)
        print(f"{source}: {', '.join(said)}")
    return 0
