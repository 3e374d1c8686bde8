"""What the page says in words and in tables, ready for the template, which escapes every text."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports.page.measured import measured
from reports.page.payload import MOST_PHASED, MOST_POINTS
from reports.page.styles import OTHER, REFERENCE
from reports.page.words import label, prose
from reports.study import AXES, StudyData
from reports.study_tables import Summary, prior_sentences, result_notes, study_sheets
from reports.study_tables.facts import missing
from reports.study_tables.sheet import Cell, Sheet
from reports.text import clean
from reports.verdict.types import (
    BEHIND,
    CANNOT_TELL,
    CATCHES_UP,
    CROSSED,
    ESCAPES,
    OFFSET,
    Contest,
    Outcome,
    Verdict,
)

MOST_OPEN = 6  # tasks and conditions whose comparisons are read one by one; of more, behind the table of all
MOST_LINES = 1200  # of one table of results; of more, how often each thing was said
ELSEWHERE = ("hypotheses", "facts")  # tables that the page has in another form
OF_PRIORS = ("crossings", "floors")  # and those that stand in a section of their own
MAYBE = ("phases", "breakEvens", "profiles", "scalings", "differences", "priors")  # charts that not every study has
# What a badge looks like; its words say the same.
TONES = {ESCAPES: "good", OFFSET: "calm", CROSSED: "warn", CATCHES_UP: "warn", BEHIND: "bad", CANNOT_TELL: "open"}
OUTCOMES = {"supported": "good", "contradicted": "bad"}


def contents(summary: Summary, verdict: Verdict, loaded: dict[str, Any]) -> dict[str, Any]:
    """The template's names. `loaded`: the page's payload, so that words and charts agree on what is shown."""
    data = summary.data
    sheets, short = study_sheets(summary, verdict, MOST_LINES)
    listed = [sheet for sheet in sheets if sheet.name not in ELSEWHERE and sheet.lines]
    tables = [(sheet.name in OF_PRIORS, _table(sheet, number)) for number, sheet in enumerate(listed)]
    axis = loaded["axes"][0]["key"]
    once = data.distinct()
    status = Counter(data.runs["status"][once])
    return {
        "title": clean(data.name),
        "question": clean(data.question),
        "headline": prose(verdict.headline),
        "leads": [prose(sentence) for sentence in prior_sentences(summary)],
        "folded": len(data.tasks()) > MOST_OPEN,
        "notes": [prose(note) for note in (*missing(data), *verdict.notes)],
        "planned": max(data.planned, len(once)),
        "runs": len(once),
        "status": [f"{count:,} {clean(name)}" for name, count in sorted(status.items(), key=lambda x: (-x[1], x[0]))],
        "hash": clean(data.hash),
        "cards": (cards := _cards(data, verdict, axis)),
        "pairs": list(dict.fromkeys(c["pair"] for card in cards for c in card["contests"])),
        "changed": any(h != data.hash for h in data.hashes),
        "hypotheses": [_hypothesis(outcome) for outcome in verdict.hypotheses],
        "main_axis": AXES[axis][0],
        "axes": loaded["axes"],
        "models": loaded["models"],
        "shown_models": [m for m in loaded["models"] if m["kind"] != REFERENCE],
        "tasks": sorted({clean(t) for t, _ in data.tasks()}),
        "conditions": sorted({clean(c) for _, c in data.tasks() if c}),
        "devices": loaded["devices"],
        "has": {name: bool(loaded[name]) for name in MAYBE},
        "undrawn": max(loaded["totals"]["panels"] - len(loaded["panels"]), 0),
        "bounds": _bounds(loaded),
        "aggregated": loaded["configurations"] is not None,
        "table_query": (loaded["configurations"] or {}).get("query", ""),
        "tables": [table for prior, table in tables if not prior],
        "priors": data.floors is not None,
        "prior_tables": [table for prior, table in tables if prior],
        "prior_notes": [prose(note) for note in data.floors.notes] if data.floors else [],
        "table_notes": [prose(note) for note in (result_notes(data) if len(data) else [])],
        "short": short,
        "measured": measured(data, next((sheet for sheet in sheets if sheet.name == "facts"), None)),
        "other": OTHER,
    }


def _hypothesis(outcome: Outcome) -> dict[str, str]:
    return {
        "text": clean(outcome.text),
        "outcome": clean(outcome.outcome),
        "because": prose(outcome.because),
        "tone": OUTCOMES.get(outcome.outcome, "open"),
    }


def _bounds(loaded: dict[str, Any]) -> str:
    """What is left out of the charts, in words; empty when nothing is."""
    totals, drawn = loaded["totals"], len(loaded["points"]["run"])
    parts, rows = [], loaded["configurations"]
    if rows is not None:
        shown = len(set(loaded["runs"]["identity"]))
        parts.append(
            f"Of {totals['runs']:,} runs the charts draw {shown:,}, chosen by chance; fits, bands and tables of "
            f"results are made from all. The table lists {len(rows['rows']):,} of {rows['total']:,} configurations."
        )
    elif drawn == MOST_POINTS:
        parts.append(
            f"Of {totals['points']:,} points the charts draw {drawn:,}: the last of every run, and a sample of the "
            "others. Fits are made from all."
        )
    if totals["runs"] > MOST_PHASED:
        parts.append("Who wins where is among the figures beside this page.")
    return " ".join(parts)


def _cards(data: StudyData, verdict: Verdict, axis: str) -> list[dict[str, Any]]:
    """One for each task and condition: every contest along the first axis, and in short what the other axes say."""
    cards = []
    for task, condition in data.tasks():
        mine = [c for c in verdict.contests if (c.task, c.condition) == (task, condition)]
        main = [c for c in mine if c.axis == axis]
        if not mine and not verdict.contests:
            continue
        contests = []
        for contest in main:
            pair = (contest.structured, contest.black_box)
            also = [
                {"axis": AXES.get(c.axis, (c.axis, ""))[0], "says": clean(c.says), "tone": TONES.get(c.says, "open")}
                for c in mine
                if (c.structured, c.black_box) == pair and c.axis != axis
            ]
            others = sum(a["says"] != clean(contest.says) for a in also)
            contests.append({**_contest(contest), "also": also, "others": others})
        cards.append({"label": label(task, condition), "task": clean(task), "condition": clean(condition),
                      "contests": contests})  # fmt: skip
    return cards


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "structured": clean(contest.structured),
        "black_box": clean(contest.black_box),
        "pair": (clean(contest.structured), clean(contest.black_box)),
        "says": clean(contest.says),
        "tone": TONES.get(contest.says, "open"),
        "sentence": prose(contest.sentence),
        "reasons": [prose(reason) for reason in contest.reasons],
    }


# Tables of results: those of `reports.study_tables`, with what the filters need.


def _table(sheet: Sheet, number: int) -> dict[str, Any]:
    rows = []
    for line in sheet.lines:
        about = line.about
        models = [clean(about[name]) for name in ("model", "other") if about.get(name)]
        keys = [{"text": clean(key), "under": ""} for key in line.keys]
        keys[-1]["under"] = clean(line.under)
        rows.append(
            {
                "task": clean(about.get("task", "")),
                "condition": clean(about["condition"]) if "condition" in about else None,  # None: of all
                "axis": about.get("axis", ""), "models": models, "keys": keys, "apart": line.apart,
                "cells": [_cell(cell, column.words) for cell, column in zip(line.cells, sheet.columns, strict=True)],
            }
        )  # fmt: skip
    heads = [{"text": clean(key), "number": False} for key in sheet.keys]
    heads += [
        {"text": f"{clean(c.title)} ({c.unit})" if c.unit else clean(c.title), "number": not c.words}
        for c in sheet.columns
    ]
    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    notes = [prose(note) for note in sheet.notes]
    return {"key": number, "title": clean(sheet.title).replace("^(−α)", "⁻ᵅ"), "heads": heads, "rows": rows,
            "notes": notes, "axes": axes}  # fmt: skip


def _cell(cell: Cell, words: bool) -> dict[str, Any]:
    aside = f"[{prose(cell.aside)}]" if cell.aside else ""
    return {"text": prose(cell.text), "aside": aside, "best": cell.best, "number": not words,
            "why": prose(cell.reason) if cell.value is None and not words else ""}  # fmt: skip
