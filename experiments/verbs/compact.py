"""`compact`: finished records into Parquet parts."""

from __future__ import annotations

import argparse

from experiments.errors import UserError

SUMMARY = "put finished records into Parquet parts, for stores of many runs"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", default="runs", help="the store: a folder or a URL (default: runs)")


def main(options: argparse.Namespace) -> int:
    from experiments.progress import log_to_console
    from experiments.store import Store

    log_to_console()
    store = Store(options.runs)
    if not store.file_names(""):
        raise UserError(f"there are no runs in {options.runs}: name another store with --runs FOLDER")
    done = store.compact()
    left = f"; {done.left} without a result stay as they are" if done.left else ""
    print(f"{done.moved} records put into Parquet in {options.runs}, which has {done.parts} parts{left}")
    return 0
