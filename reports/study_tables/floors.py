"""The tables of told priors: errors by delta beside the computed floors, and how wrong a prior may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from reports.floors import FITTED, HARD, SOFT
from reports.study_tables.priors import Crossing, Family
from reports.study_tables.sheet import Cell, Column, Line, Sheet, figure, words
from reports.study_tables.summary import Figure, Summary
from reports.text import number, where

WORDS = {HARD: "alone (hard) it is", FITTED: "with its parameters fitted", SOFT: "with a network (soft)"}
LEAD = (
    "The verdict is of scaling laws: whose error falls faster with cost, and who will be ahead. What follows is of the "
    "errors at the end of training alone, for which no law is needed: they can be told apart where laws cannot."
)
SAME = 1e-3  # of an error: what no table shows
TITLES = {HARD: "hard", FITTED: "hard, fitted", SOFT: "soft"}


def prior_sheets(summary: Summary) -> list[Sheet]:
    """Nothing for a study that tells no priors; else the crossings, and a table for each task and kind of prior."""
    if summary.data.floors is None:
        return []
    found = summary.families
    return [crossing_sheet(summary, found), *floor_sheets(found)]


def family_name(family: Family) -> str:
    """As "missing_term told to hybrid_ode on flocking (noise=0.1)"."""
    return f"{family.prior} told to {family.model} on {where(family.task, family.condition)}"


def prior_sentences(summary: Summary) -> list[str]:
    """One for each kind of prior on each task: up to which delta it beats the best black box, in the study's metric.
    Before them, how that goes together with a verdict that cannot tell."""
    said = []
    for f in summary.families:
        if f.metric != summary.data.metric or not f.black_boxes:
            continue
        name, error = next(iter(f.black_boxes.items()))
        parts = [f"{WORDS[how]} {_up_to(f, f.crossings[how])}" for how in f.hows if how in f.crossings]
        said.append(
            f"On {where(f.task, f.condition)}, what {f.model} is told ({f.prior}), against the best black box at the "
            f"end of training ({name}, {f.metric} {number(error.value)}): {'; '.join(parts)}."
        )
    return [LEAD, *said] if said else []


def _up_to(f: Family, found: Crossing) -> str:
    deltas = [step.delta for step in f.steps if step.delta > 0]
    if math.isinf(found.delta):
        return f"better at every delta up to {f.steps[-1].delta:g}"
    if found.delta == 0:
        other = {True: ", better only where it is exact", False: ", and where it is exact"}.get(found.exact, "")  # type: ignore[call-overload]
        return f"worse at every delta from {deltas[0]:g} on{other}"
    ends = f" [{number(found.low)}, {number(found.high)}]" if found.low is not None and found.high is not None else ""
    return f"better up to delta = {number(found.delta)}{ends}"


def crossing_sheet(summary: Summary, found: Sequence[Family]) -> Sheet:
    """From which delta on the best black box is better than what is told alone, and than that with a network."""
    hows = [how for how in TITLES if any(how in family.hows for family in found)]
    columns = (
        *(Column(f"crossing_{how}", f"{how}: delta") for how in hows),
        Column("black_box", "best black box", words=True),
        Column("black_box_error", "its error"),
    )
    lines, before = [], None
    for f in found:
        name, error = next(iter(f.black_boxes.items()), ("", Figure()))
        cells = (*(_crossing(f, f.crossings.get(how)) for how in hows), words(name), _cell(error))
        about = {"task": f.task, "model": f.model, "other": name, "metric": f.metric}
        about |= {"condition": f.condition} if f.condition else {}  # else of all conditions
        keys = (where(f.task, f.condition), f.prior, f.metric)
        lines.append(Line(keys, cells, "", before not in (None, keys[0]), about))
        before = keys[0]
    notes = (
        "The delta from which the error is above that of the best black box for good, interpolated in ln delta between "
        "those that were run, at the end of every training; in brackets its 90% interval, of the jackknife over data "
        "draws and seeds, where no draw or seed left out leaves it outside what was run.",
        *(summary.data.floors.notes if summary.data.floors else ()),
    )
    title, keys = "How wrong a prior may be before a black box is better", ("task", "prior", "error")
    empty = " ".join(("No run that is told a prior has a result.", *notes[1:]))
    return Sheet("crossings", title, keys, columns, tuple(lines), notes, empty=empty)


def floor_sheets(found: Sequence[Family]) -> list[Sheet]:
    """Of each task and kind of prior, both errors by delta."""
    groups: dict[tuple[str, str, str, str], list[Family]] = {}
    for family in found:
        groups.setdefault((family.task, family.condition, family.model, family.prior), []).append(family)
    return [_floor_sheet(group) for group in groups.values()]


def _floor_sheet(group: list[Family]) -> Sheet:
    hows = [how for how in TITLES if any(how in family.hows for family in group)]
    columns = (
        Column("floor", "floor"),
        *(Column(how, TITLES[how]) for how in hows),
        *([Column("excess", "hard ÷ floor")] if HARD in hows else []),
        *([Column("gain", "soft ÷ hard")] if {HARD, SOFT} <= set(hows) else []),
        Column("black_box", "black box"),
        Column("least", "least", words=True),
    )
    lines = []
    for family in group:
        name, box = next(iter(family.black_boxes.items()), ("", Figure()))
        for i, step in enumerate(family.steps):
            cells = [_cell(step.floor, "the told equations have no floor here" if not step.floor.n else "")]
            cells += [_cell(step.measured.get(how, Figure())) for how in hows]
            cells += [_cell(step.excess)] if HARD in hows else []
            # Its interval, relative to it, is that of the soft error.
            cells += [replace(_cell(step.gain), aside="")] if {HARD, SOFT} <= set(hows) else []
            cells += [replace(_cell(box), aside=""), words(_least(step.measured, name, box))]
            about = {"task": family.task, "condition": step.condition, "model": family.model, "metric": family.metric}
            about |= {"delta": repr(step.delta)}
            lines.append(Line((family.metric, f"{step.delta:g}"), tuple(cells), "", i == 0 and bool(lines), about))
    first = group[0]
    named = "; ".join(f"{next(iter(f.black_boxes))} for {f.metric}" for f in group if f.black_boxes)
    notes = (
        "Floor: computed, the told equations solved to 1e-10; hard: measured, the same equations with the solver of "
        "the models, nothing learned; soft: with a network, at the end of training. Geometric means over data draws "
        "and seeds [90% interval]; of several sizes that of least validation error. A floor below 1e-9 is the "
        f"reference solver's own error.{f' Black box: the best, {named}.' if named else ''}",
    )
    title = f"What a wrong prior costs: {family_name(first)}"
    return Sheet("floors", title, ("error", "delta"), columns, tuple(lines), notes)


def _least(measured: dict[str, Figure], name: str, box: Figure) -> str:
    found = {how: error.value for how, error in measured.items()} | ({name: box.value} if name else {})
    known = {who: value for who, value in found.items() if not math.isnan(value)}
    least = min(known.values(), default=math.nan)
    return " = ".join(who for who, value in known.items() if value <= least * (1 + SAME))


def _cell(f: Figure, reason: str = "") -> Cell:
    return figure(
        f.value, f.low, f.high, never="infinite", level=f.level, n=f.n or None,
        method="jackknife" if f.level else "", reason=reason,
    )  # fmt: skip


def _crossing(family: Family, found: Crossing | None) -> Cell:
    """In words where it lies beyond what was run: a bound is no figure."""
    if found is None:
        return Cell(reason="nothing to compare")
    deltas = [step.delta for step in family.steps if step.delta > 0]
    if not deltas:
        return Cell(reason="only delta = 0 was run")
    if math.isinf(found.delta):
        return words(f"above {number(deltas[-1])}", reason="better at every delta that was run")
    if found.delta == 0:
        if found.exact is False:
            return words("never better", reason="worse at every delta that was run, 0 too")
        return words(f"below {number(deltas[0])}", reason="worse at every delta above 0 that was run")
    return figure(found.delta, found.low, found.high, level=0.9, method="jackknife" if found.low is not None else "")
