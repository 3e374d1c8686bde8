"""`report TASK`: tables and figure from all records of a task. `report study=NAME`: the verdict of a study."""

from __future__ import annotations

import argparse

from experiments.errors import UserError

SUMMARY = "tables and figures from all records of a task, or the verdict of a study"
FORMATS = ("terminal", "markdown", "csv", "latex")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="+", metavar="TASK|study=NAME", help="a task; or a study, with the settings it was swept with"
    )
    parser.add_argument("--runs", help="the folder of records, or for a study their URL too (default: runs)")
    parser.add_argument("--out", help="where to write the files (default: RUNS/comparison, RUNS/studies/NAME/report)")
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="what to print (all are written)")
    parser.add_argument("--target", type=float, action="append", help="an error whose cost is asked for (repeatable)")
    parser.add_argument("--mix-joules", action="store_true", help="of a task: rank measured and modelled ones together")
    parser.add_argument("--grid", help="of a study: the power grid whose CO2 is told, as in --grid FRA")


def main(options: argparse.Namespace) -> int:
    words = options.words
    if any(word.startswith("study=") for word in words):
        from experiments.study.report import write_study_report

        if options.mix_joules:
            raise UserError("--mix-joules is for report TASK: a study's tables say of each row how its joules were got")
        write_study_report(words, options.runs, options.out, options.format, options.target, options.grid)
        return 0
    if len(words) > 1 or "=" in words[0]:
        raise UserError(f"report {' '.join(words)}: name one task, or a study as in study=NAME")
    from experiments.report import write_report

    runs = options.runs or "runs"
    write_report(words[0], runs, options.out, options.format, options.target, options.mix_joules)
    return 0
