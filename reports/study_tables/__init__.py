"""The tables of a study: results by task, scaling, contests, extrapolations, break-even, hypotheses, and the protocol.

`render(data, verdict, format)` gives one format, `write(data, verdict, folder)` the files of all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.study import StudyData
from reports.study_tables.contests import (
    break_even_sheet,
    contest_sheet,
    hypothesis_sheet,
    says_sheet,
    thompson_sheet,
)
from reports.study_tables.facts import facts_sheet, missing
from reports.study_tables.floors import prior_sentences, prior_sheets
from reports.study_tables.render import terminal, to_csv, to_latex, to_markdown
from reports.study_tables.results import (
    aggregated_sheet,
    improvement_sheet,
    result_notes,
    result_sheets,
    scaling_sheet,
    surface_sheet,
)
from reports.study_tables.sheet import Sheet
from reports.study_tables.summary import Summary, summarise
from reports.verdict.types import Verdict

FORMATS = ("terminal", "markdown", "csv", "latex")
ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex"}
WIDTH = 120
# Rows of one table beyond which a format shows counts over tasks instead; CSV always has all.
SENTENCES = 12  # of contests along FLOP, that are read before the tables; more are left to them
MOST = {"terminal": 40, "markdown": 400, "latex": 400}


def render(data: StudyData, verdict: Verdict, format: str, width: int = WIDTH, summary: Summary | None = None) -> Any:
    """The tables in one of FORMATS: a rich renderable for "terminal", otherwise a str ending in a newline.

    `width`: characters that a table may take. `summary`: `summarise(data)`, where it has been made already.
    """
    if format not in FORMATS:
        raise ValueError(f"a table is made in one of {', '.join(FORMATS)}, not in {format!r}")
    summary = summary or summarise(data)
    sheets, short = study_sheets(summary, verdict, MOST.get(format))
    if format == "csv":
        return to_csv(sheets)
    above = [f"Study {data.name}: {data.question}" if data.question else f"Study {data.name}"]
    above += [f"Warning: {line}" for line in missing(data)] + [verdict.headline]
    sentences = [c.sentence for c in verdict.contests if c.axis == "flop" and c.sentence not in verdict.headline]
    above += prior_sentences(summary)
    above += sentences if len(sentences) <= SENTENCES else []
    below = [*(result_notes(data) if len(data) else []), *verdict.notes]
    if short:
        below.append("This study is too large to list here: tables.csv has every row.")
    if format == "terminal":
        return terminal(sheets, above, below, width)
    return to_markdown(sheets, above, below) if format == "markdown" else to_latex(sheets, above, below, width)


def write(data: StudyData, verdict: Verdict, folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write `folder`/tables.md, .csv and .tex; returns the paths."""
    summary = summary or summarise(data)
    paths = []
    for format, ending in ENDINGS.items():
        path = Path(folder) / f"tables.{ending}"
        path.write_text(render(data, verdict, format, summary=summary), encoding="utf-8")
        paths.append(path)
    return paths


def study_sheets(summary: Summary, verdict: Verdict, most: int | None = None) -> tuple[list[Sheet], bool]:
    """All tables, in the order of reading; those of more than `most` rows as counts, and then True."""
    results = result_sheets(summary, verdict)
    long = most is not None and sum(len(sheet.lines) for sheet in results) > most
    sheets = [*prior_sheets(summary), *([] if long else results)]
    if len(results) > 1:
        sheets.append(aggregated_sheet(summary, verdict))
    if len(results) > 1 and verdict.improvement:
        sheets.append(improvement_sheet(verdict))
    short = long
    tables = ((contest_sheet(verdict), says_sheet), (scaling_sheet(summary.data, verdict), None))
    tables += ((surface_sheet(verdict), None),)
    tables += ((thompson_sheet(verdict), None), (break_even_sheet(verdict), None))
    for sheet, instead in tables:
        over = most is not None and len(sheet.lines) > most
        short |= over
        if not over:
            sheets.append(sheet)
        elif instead is not None:
            sheets.append(instead(verdict))
    return [*sheets, hypothesis_sheet(verdict), facts_sheet(summary.data)], short


__all__ = ["FORMATS", "Summary", "prior_sentences", "render", "result_notes", "study_sheets", "summarise", "write"]
