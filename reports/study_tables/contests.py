"""The contests of a verdict, what a target error would take, when a model pays, and what became of the hypotheses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from reports.study_tables.results import axis_title
from reports.study_tables.sheet import Cell, Column, Line, Sheet, figure, words
from reports.text import number, where
from reports.verdict.types import SAYS, Contest, Estimate, Verdict
from reports.verdict.words import out_of_reach


def estimate(e: Estimate | None, never: str = "never", zero: str = "") -> Cell:
    """A cell of an estimate; `zero`: what 0 is called."""
    if e is None:
        return Cell()
    cell = figure(e.value, e.low, e.high, never=never, level=e.level, reason=e.reason)
    return Cell(**{**vars(cell), "text": zero}) if zero and e.value == 0 else cell


def contest_sheet(verdict: Verdict) -> Sheet:
    """Every structured model against every black box, on every task, along every axis."""
    columns = (
        Column("says", "verdict", words=True),
        Column("exponent_difference", "Δα"),
        Column("p", "p"),
        Column("p_holm", "p (Holm)"),
        Column("error_ratio", "error ratio at equal cost"),
        Column("cost_ratio", "cost ratio at equal error"),
        Column("crossover", "crossover C*"),
        Column("improvement", "probability of improvement"),
    )
    lines, before = [], None
    for c in verdict.contests:
        place = where(c.task, c.condition)
        cells = (
            words(c.says, reason="; ".join(c.reasons)),
            estimate(c.difference),
            p_cell(c.p),
            p_cell(c.p_holm),
            estimate(c.error_ratio),
            Cell(**{**vars(estimate(c.cost_ratio)), "method": _at(c)}),
            _crossover(c),
            estimate(c.improvement),
        )
        keys = (place, f"{c.structured} – {c.black_box}", axis_title(c.axis))
        about = {"task": c.task, "condition": c.condition, "model": c.structured, "other": c.black_box, "axis": c.axis}
        lines.append(Line(keys, cells, "", before not in (None, place), about))
        before = place
    notes = (
        f"Δα: exponent of the structured model less that of the black box, [interval] at {_levels(verdict)}; none "
        "where a likelihood is flat. p: two-sided; Holm: corrected over tasks, which intervals are not.",
        "Error ratio: structured over black box at the largest cost that both have. Cost ratio: black box over "
        "structured at the least error that both have. C*: the cost from which the black box is better; out of "
        "reach: by the laws more than three decades beyond the data.",
    )
    keys = ("task", "models", "axis")
    empty = "No structured model met a black box."
    return Sheet("contests", "Structured against black box", keys, columns, tuple(lines), notes, empty=empty)


def says_sheet(verdict: Verdict) -> Sheet:
    """How often each thing was said, by pair and axis, for studies of more tasks than anybody reads one by one."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for c in verdict.contests:
        counts.setdefault((f"{c.structured} – {c.black_box}", axis_title(c.axis)), Counter())[c.says] += 1
    said = [*SAYS, *sorted({c.says for c in verdict.contests} - set(SAYS))]
    columns = tuple(Column(s.replace(" ", "_"), s) for s in said)
    lines = [Line(keys, tuple(figure(count[s]) for s in said)) for keys, count in counts.items()]
    notes = ("On how many tasks each verdict was reached; the machine-readable table has every one.",)
    return Sheet(
        "contests", "Structured against black box, all tasks", ("models", "axis"), columns, tuple(lines), notes
    )


def thompson_sheet(verdict: Verdict) -> Sheet:
    """What a target error would take of each model, as Thompson et al. (2020) tabulate it."""
    columns = (
        Column("cost", "cost"),
        Column("energy_j", "energy", "J"),
        Column("money_usd", "money", "USD"),
        Column("co2_g", "CO2", "g"),
    )
    lines, before = [], None
    places = {where(e.task, e.condition): None for e in verdict.extrapolations}
    order = {place: i for i, place in enumerate(places)}
    for e in sorted(verdict.extrapolations, key=lambda e: (order[where(e.task, e.condition)], -e.target)):
        place = (where(e.task, e.condition), e.target)
        cells = tuple(estimate(x) for x in (e.cost, e.energy_j, e.money_usd, e.co2_g))
        keys = (place[0], number(e.target), e.model, axis_title(e.axis))
        about = {"task": e.task, "condition": e.condition, "model": e.model, "axis": e.axis, "error": repr(e.target)}
        lines.append(Line(keys, cells, "", before not in (None, place), about))
        before = place
    bases = sorted({e.basis for e in verdict.extrapolations if e.basis})
    notes = ["Extrapolated by the fitted law; never: the error lies at or below the floor.", *bases]
    title, empty = "What an error would take", "No target error was asked for, or nothing could be extrapolated."
    keys = ("task", "error", "model", "axis")
    return Sheet("extrapolations", title, keys, columns, tuple(lines), tuple(notes), empty=empty)


def break_even_sheet(verdict: Verdict) -> Sheet:
    """After how many predictions one model's lifetime cost is less than another's."""
    columns = (
        Column("queries", "break-even Q*", "time units"),
        Column("until", "until", "time units"),
        Column("error", "at an error of"),
    )
    lines, before = [], None
    for b in verdict.break_evens:
        place = where(b.task, b.condition)
        cells = (estimate(b.queries, zero="from the start"), estimate(b.until), figure(b.error))
        keys = (place, f"{b.model} – {b.other}", axis_title(b.axis))
        about = {"task": b.task, "condition": b.condition, "model": b.model, "other": b.other, "axis": b.axis}
        lines.append(Line(keys, cells, "", before not in (None, place), about))
        before = place
    notes = (
        "Q*: predicted time units of one trajectory after which the first has cost less than the second in all; until: "
        "up to which it has, where each prediction costs it more.",
    )
    empty = "No break-even could be computed."
    keys = ("task", "models", "axis")
    return Sheet("break_even", "When a model pays", keys, columns, tuple(lines), notes, empty=empty)


def hypothesis_sheet(verdict: Verdict) -> Sheet:
    """What was expected before the study ran, and what became of it."""
    columns = (Column("outcome", "outcome", words=True), Column("because", "because", words=True))
    lines = [
        Line((h.text,), (words(h.outcome), words(h.because)), about={"hypothesis": h.text}) for h in verdict.hypotheses
    ]
    empty = "No hypothesis was registered."
    return Sheet("hypotheses", "Hypotheses", ("hypothesis",), columns, tuple(lines), empty=empty)


def _crossover(c: Contest) -> Cell:
    cell = estimate(c.crossover)
    return replace(cell, text="out of reach", aside="") if out_of_reach(c) else cell


def _at(c: Contest) -> str:
    return "" if c.equal_error is None else f"at an error of {c.equal_error!r}"


def p_cell(p: float | None) -> Cell:
    cell = figure(p)
    return Cell(**{**vars(cell), "text": "<0.001"}) if p is not None and p < 1e-3 else cell


def _levels(verdict: Verdict) -> str:
    found: list[Contest] = list(verdict.contests)
    return " and ".join(f"{100 * level:g}%" for level in sorted({c.difference.level for c in found})) or "90%"
