"""Results by task: what each model came to, what it cost, what a given error costs, how its error falls with cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from reports.scaling import Interval
from reports.study import StudyData
from reports.study_tables.best import LEVEL, best_costs, best_errors, kind
from reports.study_tables.sheet import Cell, Column, Line, Sheet, figure, words
from reports.study_tables.summary import COSTS, REACHED, Figure, Row, Summary
from reports.text import number, where
from reports.verdict.laws import predicted
from reports.verdict.types import Scaling, Surface, Verdict

UNITS = {"flop": "FLOP", "energy_j": "J", "seconds": "s"}
NAMES = {"flop": "FLOP", "energy_j": "energy", "seconds": "time"}
SHORT = {"flop": "FLOP", "energy_j": "joules", "seconds": "seconds", "samples": "samples"}


def result_sheets(summary: Summary, verdict: Verdict) -> list[Sheet]:
    """A table for each task and condition."""
    errors = best_errors(summary)
    ranks = max(map(len, summary.targets.values()), default=0)
    marks = {(axis, rank): best_costs(summary, axis, rank) for axis in REACHED for rank in range(ranks)}
    scalings = {(s.task, s.condition, s.model): s for s in verdict.scalings if s.axis == "flop"}
    sheets = []
    for place, rows in summary.rows.items():
        targets = summary.targets[place]
        columns = _columns(summary, targets)
        lines = []
        for i, row in enumerate(rows):
            who = (row.task, row.condition, row.model)
            scaling = scalings.get(who)
            cells = [words(status(row)), error_cell(row, who in errors), words(joules(row))]
            cells += [_figure(row.costs[name], bound=_bound(row, name)) for name in COSTS]
            for rank, target in enumerate(targets):
                for axis in REACHED:
                    found = row.reach.get((axis, target), Figure())
                    best = who in marks[axis, rank]
                    cells.append(_figure(found, never="not reached", bound=_bound(row, axis), best=best))
            cells += [interval(scaling, "exponent"), interval(scaling, "floor")]
            apart = i > 0 and row.reference and not rows[i - 1].reference
            about = dict(zip(("task", "condition", "model"), who, strict=True)) | {"configuration": row.configuration}
            lines.append(Line((row.model,), tuple(cells), row.configuration, apart, about))
        title = f"Results on {where(*place)}"
        notes = tuple(_notes(rows, [scalings.get((*place, row.model)) for row in rows]))
        sheets.append(Sheet("results", title, ("model",), columns, tuple(lines), notes))
    return sheets


def result_notes(data: StudyData) -> list[str]:
    """How the figures of all results were made."""
    metric = data.metric
    return [
        f"Test error: {metric} at the end of training, geometric mean over data draws and seeds of the configuration "
        "whose median validation error is least, runs that finished; its 90% interval is of the jackknife over draws "
        "and seeds. Costs, of training: medians over the same runs [range].",
        "Cost to an error: where the test error along training first came down to it, interpolated on log-log axes; "
        "median over runs of the configuration that is cheapest [range].",
        f"* marks the best only where it differs from every other model of its task (paired by draw and seed, "
        f"jackknife, p < {LEVEL} after Holm's correction over all such comparisons of the column). References are not "
        "ranked, nor a cost that some run never reached.",
        "α and floor: error = floor + A·cost^(−α) over training FLOP, of the model over all its configurations, "
        "whichever of them the row shows; intervals as their table says. "
        "In brackets: the data do not tell it (a flat likelihood), and no interval means anything.",
    ]


def scaling_sheet(data: StudyData, verdict: Verdict) -> Sheet:
    """Exponent and floor of every model along every axis, and whether the fit can be trusted."""
    columns = (
        Column("exponent", "exponent α"),
        Column("floor", "floor E"),
        Column("decades", "decades"),
        Column("held_out", "held-out decade", words=True),
        Column("best_form", "best form on the top decade", words=True),
        Column("identified", "exponent and floor", words=True),
    )
    lines, before = [], None
    for s in verdict.scalings:
        if s.law is None and s.model in data.references:
            continue  # one point, and nothing to fit
        place = where(s.task, s.condition)
        cells = (
            interval(s, "exponent"),
            interval(s, "floor"),
            figure(s.law.decades if s.law else None),
            words(held_out(s)),
            words(s.heldout.forecasts[0].form if s.heldout else ""),
            words(identified(s)),
        )
        about = {"task": s.task, "condition": s.condition, "model": s.model, "axis": s.axis}
        lines.append(Line((place, s.model, axis_title(s.axis)), cells, "", before not in (None, place), about))
        before = place
    notes = [f"Intervals: {', '.join(_methods(verdict.scalings))}."] if _methods(verdict.scalings) else []
    notes.append(
        "Held-out decade: whether the fit without the top decade of cost predicts it; best form: which of power, "
        "power + floor, broken power and exponential comes nearest to it."
    )
    title = "Scaling: error = E + A·cost^(−α)"
    keys = ("task", "model", "axis")
    return Sheet("scaling", title, keys, columns, tuple(lines), tuple(notes), empty="No scaling was fitted.")


def surface_sheet(verdict: Verdict) -> Sheet:
    """The law in size and data of every model, where the study varies both."""
    names = ("exponent_n", "exponent_d", "floor")
    columns = (
        Column("exponent_n", "α of N"),
        Column("exponent_d", "β of D"),
        Column("floor", "floor E"),
        Column("optimal_exponent", "a of N_opt ∝ C^a"),
        Column("told", "what the data tell", words=True),
    )
    lines, before = [], None
    for s in verdict.surfaces:
        place, reason = where(s.task, s.condition), "; ".join(s.reasons)
        cells = [_of_surface(s, name, reason) for name in names]
        cells += [figure(s.law.optimal_exponent if s.law and not s.reasons else None, reason=reason)]
        cells += [words(reason or "identified")]
        about = {"task": s.task, "condition": s.condition, "model": s.model}
        lines.append(Line((place, s.model), tuple(cells), "", before not in (None, place), about))
        before = place
    found = {f"{100 * i.level:g}% by {i.method}" for s in verdict.surfaces for i in s.intervals.values()}
    notes = (f"N: parameters; D: training windows. Intervals: {', '.join(sorted(found)) or 'none'}.",)
    title, empty = "Size and data: error = E + A/N^α + B/D^β", "Not fitted: no model varies both its size and its data."
    return Sheet("size_and_data", title, ("task", "model"), columns, tuple(lines), notes, empty=empty)


def _of_surface(s: Surface, name: str, reason: str) -> Cell:
    if s.law is None:
        return Cell(reason=reason)
    value, found = getattr(s.law, name), s.intervals.get(name)
    if found is None:
        cell = figure(value, reason=reason)
    else:
        cell = figure(value, found.low, found.high, level=found.level, method=found.method, reason=reason)
    return replace(cell, text=f"({cell.text})", aside="") if s.law.identifiability.flat else cell


def improvement_sheet(verdict: Verdict) -> Sheet:
    """How probably a run of a structured model ends better than one of a black box, averaged over tasks."""
    lines = []
    for (first, second), e in verdict.improvement.items():
        cell = figure(e.value, e.low, e.high, level=e.level, reason=e.reason)
        lines.append(Line((f"{first} – {second}",), (cell,), about={"model": first, "other": second}))
    notes = ("Probability that a run of the first ends with the lower error than one of the second, mean over tasks.",)
    columns = (Column("improvement", "probability of improvement"),)
    return Sheet("improvement", "Structured against black box, over tasks", ("models",), columns, tuple(lines), notes)


def aggregated_sheet(summary: Summary, verdict: Verdict) -> Sheet:
    """One row a model over all tasks."""
    once = np.zeros(len(summary.data), dtype=bool)
    once[summary.data.distinct()] = True
    status = summary.data.runs["status"]
    marked = best_errors(summary)
    by_model: dict[str, list[Row]] = {}
    for rows in summary.rows.values():
        for row in rows:
            by_model.setdefault(row.model, []).append(row)
    lines = []
    for model, rows in sorted(by_model.items(), key=lambda item: (item[1][0].reference, item[0])):
        counts: dict[str, int] = {}
        for row in rows:
            alone = row.counts if once.all() else Counter(status[row.runs[once[row.runs]]].tolist())
            for name, n in alone.items():
                counts[name] = counts.get(name, 0) + n
        least = sum(row is ranked[0] for row in rows for ranked in [summary.rows[row.task, row.condition]])
        estimate = verdict.interquartile_mean.get(model)
        iqm = figure(estimate.value, estimate.low, estimate.high, level=estimate.level) if estimate else Cell()
        cells = (
            words(_counted(counts)),
            figure(len(rows)),
            figure(None if rows[0].reference else least),
            figure(None if rows[0].reference else sum((r.task, r.condition, model) in marked for r in rows)),
            iqm,
        )
        lines.append(Line((model,), cells, about={"model": model}))
    columns = (
        Column("runs", "runs", words=True),
        Column("tasks", "tasks"),
        Column("least_error", "least error"),
        Column("best", "significant"),
        Column("interquartile_mean", "error against the black box"),
    )
    notes = (
        "Least error: on how many tasks the model's test error is the least; significantly: after Holm's correction.",
        "Error against the black box: interquartile mean over tasks and seeds of the relative error at the end; its "
        "interval by a bootstrap stratified by task.",
    )
    return Sheet("models", "Models over all tasks", ("model",), columns, tuple(lines), notes)


def _columns(summary: Summary, targets: Iterable[float]) -> tuple[Column, ...]:
    reach = [
        Column(f"{axis}_to_error", f"{NAMES[axis]} to {number(target)}", "" if axis == "flop" else UNITS[axis], target)
        for target in targets
        for axis in REACHED
    ]
    return (
        Column("runs", "runs", words=True),
        Column("test_error", "test error"),
        Column("energy_method", "joules", words=True),
        Column("train_flop", "training FLOP"),
        Column("train_energy_j", "energy", "J"),
        Column("train_seconds", "time", "s"),
        *reach,
        Column("exponent", "exponent α"),
        Column("floor", "floor E"),
    )


def status(row: Row) -> str:
    """ "6", or "6: 4 finished, 2 diverged"."""
    return _counted(row.counts)


def _counted(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if set(counts) == {"finished"}:
        return str(total)
    order = sorted(counts, key=lambda name: (name != "finished", name))
    return f"{total}: " + ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in order)


def joules(row: Row) -> str:
    return " and ".join(sorted(kind(row)))


def error_cell(row: Row, best: bool) -> Cell:
    f = row.error
    method = "jackknife" if f.level else ""
    reason = "" if f.n else "no run finished with a finite error"
    return figure(f.value, f.low, f.high, best=best, level=f.level, n=f.n or None, method=method, reason=reason)


def _figure(f: Figure, never: str = "never", bound: str = "", best: bool = False) -> Cell:
    return figure(f.value, f.low, f.high, never=never, bound=bound, best=best, n=f.n or None, method="median, range")


def _bound(row: Row, name: str) -> str:
    return "≥" if row.lower_bound and name in ("train_flop", "flop") else ""


def interval(scaling: Scaling | None, name: str) -> Cell:
    """The exponent or the floor of a scaling, or why there is none; in brackets and without its interval where the
    likelihood is flat."""
    if scaling is None:
        return Cell()
    found: Interval | None = getattr(scaling, name)
    value = getattr(scaling.law, name) if scaling.law else None
    reason = "; ".join(scaling.reasons)
    if found is None:
        cell = figure(value, reason=reason)
    else:
        cell = figure(value, found.low, found.high, level=found.level, method=found.method, reason=reason)
    if value is not None and scaling.identifiability is not None and scaling.identifiability.flat:
        return replace(cell, text=f"({cell.text})", aside="")
    return cell


def held_out(scaling: Scaling) -> str:
    if scaling.heldout is None:
        return ""
    return "predicted" if predicted(scaling) else "missed"


def identified(scaling: Scaling) -> str:
    if scaling.identifiability is None:
        return "; ".join(scaling.reasons) or ""
    return "; ".join(scaling.identifiability.reasons) or "identified"


def axis_title(axis: str) -> str:
    """How tables call an axis of cost: "FLOP", "FLOP + tuning"."""
    plain = axis.removeprefix("tuned_")
    return SHORT.get(plain, plain) + (" + tuning" if plain != axis else "")


def _methods(scalings: Iterable[Scaling]) -> list[str]:
    found = {f"{100 * i.level:g}% by {i.method}" for s in scalings for i in (s.exponent, s.floor) if i is not None}
    return sorted(found)


def _notes(rows: list[Row], scalings: list[Scaling | None]) -> Iterable[str]:
    methods = _methods([s for s in scalings if s is not None])
    if methods:
        yield f"Intervals of α and floor: {' or '.join(methods)}."
    energy = sorted({method for row in rows for method in row.energy_methods})
    if energy:
        yield f"Joules: {', '.join(energy)}."
    if len({part for row in rows for part in kind(row)}) > 1:
        yield "Warning: joules were measured in some rows and modelled in others: do not compare them."
    if any(row.lower_bound for row in rows):
        yield "≥ marks a lower bound: some operations have no rule to be counted by."
    for row, scaling in zip(rows, scalings, strict=True):
        if scaling is not None and scaling.law is None and scaling.reasons and not row.reference:
            yield f"{row.model}: {'; '.join(scaling.reasons)}."
