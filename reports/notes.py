"""What a reader who distrusts benchmarks asks of a comparison: error of what, over what, at whose cost, how sure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from experiments.record import FINISHED
from reports.rows import Comparison, Row
from reports.text import number


def kind(method: str) -> str:
    """ "measured" or "modelled", as a method's name begins."""
    return method.partition(":")[0].strip()


def energy(row: Row, full: bool = False) -> str:
    """How the row's joules were obtained: "modelled ±50%", "measured ±?"; with `full`, by which meter or device."""
    methods = []
    for method, uncertainty in row.energy_methods:
        about = " ±?" if uncertainty is None else f" ±{100 * uncertainty:.2g}%"
        methods.append((method if full else kind(method)) + about)
    return ", ".join(dict.fromkeys(methods)) or "—"


def heading(comparison: Comparison) -> str:
    """Task, primary metric and data, as far as the records say."""
    parts = [f"Task {comparison.task}" if comparison.task else "No records"]
    column = comparison.columns[0]
    error = f"error is {comparison.primary}" + (f" in {column.unit}" if column.unit else "")
    horizon = stated(comparison, "horizon")
    parts.append(error + (f" over {horizon}" if horizon else ""))
    for key, words in (("n_train", "{} training trajectories"), ("noise", "noise {}")):
        value = stated(comparison, key)
        if value:
            parts.append(words.format(value))
    floor = stated(comparison, "integrator_floor")
    if floor:
        parts.append(f"integrator floor {floor}")
    for name in ("backend", "device"):
        values = _joined(getattr(run, name) for run in comparison.runs)
        if values:
            parts.append(f"{name} {values}")
    return "; ".join(parts) + "."


def notes(comparison: Comparison) -> list[str]:
    """The footnotes: how figures over seeds were made, how costs were obtained, what went wrong in which row."""
    lines = [_seeds(comparison)]
    counters = _joined(
        run.costs.flop_method.removeprefix("counted:") for run in comparison.runs if run.costs.flop_method
    )
    lines.append(f"FLOP: {'counted by ' + counters if counters else 'by no named method'}; a multiply-add is 2.")
    for names, rows in _rows_by(comparison, lambda row: row.uncounted):
        lines.append(f"≥ marks a lower bound, because there is no rule to count {', '.join(names)} ({_labels(rows)}).")
    by_method = _rows_by(comparison, lambda row: row.energy_methods)
    for methods, rows in by_method:
        which = f" ({_labels(rows)})" if len(by_method) > 1 else ""
        unknown = " (±?: unknown uncertainty)" if any(uncertainty is None for _, uncertainty in methods) else ""
        lines.append(f"Joules: {energy(rows[0], full=True)}{unknown}{which}.")
    for covers, rows in _rows_by(comparison, lambda row: row.energy_covers):
        which = f" ({_labels(rows)})" if len(_rows_by(comparison, lambda row: row.energy_covers)) > 1 else ""
        lines.append(f"Joules cover {' or '.join(covers)}{which}.")
    for said, rows in _rows_by(comparison, lambda row: row.energy_notes):
        lines.append(f"Joules of {_labels(rows)}: {'; '.join(said)}.")
    if any(run.costs.shared_by > 1 for run in comparison.runs):
        lines.append("Seeds trained together in one program: seconds and joules are equal shares of what it took.")
    if comparison.targets:
        lines.append(
            "Cost to an error: training cost at which the best validation error so far came down to it (for a model "
            "without a curve its final error), interpolated on log-log axes; not reached: not within the run's budget."
        )
    for row in comparison.rows:
        if row.status:
            lines.append(f"{row.label}: {row.status}" + (f" ({'; '.join(row.reasons)})" if row.reasons else "") + ".")
    return lines


def warnings(comparison: Comparison) -> list[str]:
    """What forbids a plain reading of the table."""
    lines = []
    methods = {method for row in comparison.rows for method, _ in row.energy_methods}
    if len({kind(method) for method in methods}) > 1:
        withheld = [row for row in comparison.rows if row.joules_withheld]
        lines.append(
            f"Joules were measured in some runs and modelled in others ({', '.join(sorted(methods))}): "
            + (
                f"one ranking does not mix them, so those of {_labels(withheld)} are withheld (--mix-joules shows all)."
                if withheld
                else "they are shown together as asked, but do not compare them across methods."
            )
        )
    elif len(methods) > 1:
        lines.append(f"Joules come from different methods: {', '.join(sorted(methods))}.")
    covers = {what for row in comparison.rows if not row.joules_withheld for what in row.energy_covers}
    if len(covers) > 1:
        lines.append(f"Joules cover different things, so they do not compare: {'; '.join(sorted(covers))}.")
    if any(key.startswith("task.") for row in comparison.rows for key in row.settings):
        lines.append("The rows differ in the task's settings: their errors are not of the same problem.")
    models = {run.model for run in comparison.runs}  # a model's own file is part of its code
    for model in sorted(models):
        codes = {run.code for run in comparison.runs if run.code and run.model == model}
        if len(codes) > 1:
            lines.append(
                f"The runs of {model} come from {len(codes)} versions of the code: {', '.join(sorted(codes))}."
            )
    if comparison.superseded:
        n = comparison.superseded
        lines.append(f"{n} older record{'s' * (n > 1)} of the same configuration and seed left out.")
    return lines


def _seeds(comparison: Comparison) -> str:
    counts = sorted({len(row.runs) for row in comparison.rows})
    if not counts:
        return "There are no runs to compare."
    if counts == [1]:
        return "One seed a row: nothing is known of the spread."
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    failed = any(run.status != FINISHED for run in comparison.runs)
    only = " (of the runs that finished, where any did)" if failed else ""
    return (
        f"Median over {seeds} seeds{only}; the range is from the lowest to the highest seed, not a confidence interval."
    )


def stated(comparison: Comparison, key: str) -> str:
    return _joined(run.facts[key] for run in comparison.runs if run.facts.get(key) is not None)


def _joined(values: Iterable[Any]) -> str:
    texts = (number(v) if isinstance(v, float) and math.isfinite(v) else str(v) for v in values)
    return " or ".join(dict.fromkeys(texts))


def _labels(rows: list[Row]) -> str:
    return ", ".join(row.label for row in rows)


def _rows_by(comparison: Comparison, key: Any) -> list[tuple[Any, list[Row]]]:
    groups: dict[Any, list[Row]] = {}
    for row in comparison.rows:
        if key(row):
            groups.setdefault(key(row), []).append(row)
    return list(groups.items())
