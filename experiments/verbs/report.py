"""`report TASK`: tables and figure from all records of a task."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "tables and figure from all records of a task"
FORMATS = ("terminal", "markdown", "csv", "latex")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task")
    parser.add_argument("--runs", default="runs", help="the folder of records (default: runs)")
    parser.add_argument("--out", help="where to write the files (default: RUNS/comparison)")
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="what to print (all are written)")
    parser.add_argument("--target", type=float, action="append", help="an error whose cost is asked for (repeatable)")
    parser.add_argument("--mix-joules", action="store_true", help="rank measured and modelled joules together")


def main(options: argparse.Namespace) -> int:
    from experiments.report import write_report

    write_report(options.task, Path(options.runs), options.out, options.format, options.target, options.mix_joules)
    return 0
