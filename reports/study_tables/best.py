"""Which row of a table is the best, said only where it differs from every other by more than chance.

Of two models the logarithms of the ratio of their figures are averaged over runs of the same data draw and seed; the
jackknife over draws and seeds gives the p value (two-sided, of a ratio of 1), the same that an exponent's has. All
p values of one column of a study, those of the best row of each task against every other row, are corrected together
(Holm 1979, Scand. J. Stat. 6:65). References are not ranked; neither is a cost that not every run has reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reports.study import StudyData
from reports.study_tables.summary import Row, Summary, clusters, log_mean

LEVEL = 0.05

Values = Callable[[Row], tuple[np.ndarray, np.ndarray]]  # (runs, their figures)


def best_errors(summary: Summary) -> set[tuple[str, str, str]]:
    """(task, condition, model) of the rows whose test error is significantly the least."""

    def values(row: Row) -> tuple[np.ndarray, np.ndarray]:
        runs = row.chosen[np.isfinite(summary.final[row.chosen])]
        return runs, summary.final[runs]

    return _best(summary, lambda row: row.error.value, values)


def best_costs(summary: Summary, axis: str, rank: int) -> set[tuple[str, str, str]]:
    """Likewise of the cost along `axis` to reach the target that stands at `rank` of its task."""
    nothing = np.array([], dtype=int), np.array([])

    def key(row: Row) -> tuple[str, float] | None:
        targets = summary.targets[row.task, row.condition]
        return (axis, targets[rank]) if rank < len(targets) else None

    def value(row: Row) -> float:
        found = row.reach.get(key(row)) if key(row) else None  # type: ignore[arg-type]
        return found.value if found else np.nan

    def values(row: Row) -> tuple[np.ndarray, np.ndarray]:
        return row.reach_costs.get(key(row), nothing) if key(row) else nothing  # type: ignore[arg-type]

    return _best(summary, value, values, one_kind=axis == "energy_j")


def _best(
    summary: Summary, value: Callable[[Row], float], values: Values, one_kind: bool = False
) -> set[tuple[str, str, str]]:
    leaders: dict[tuple[str, str, str], list[float]] = {}
    for rows in summary.rows.values():
        ranked = [row for row in rows if not row.reference and not row.mostly_failed and not np.isnan(value(row))]
        if one_kind and len({kind(row) for row in ranked}) > 1:
            continue  # measured joules and modelled ones make no ranking
        ranked.sort(key=value)
        if len(ranked) > 1:
            first = ranked[0]
            found = [paired_p(summary.data, values(first), values(other)) for other in ranked[1:]]
            leaders[first.task, first.condition, first.model] = [1.0 if p is None else p for p in found]
    corrected = holm([p for found in leaders.values() for p in found])
    best, start = set(), 0
    for place, found in leaders.items():
        if max(corrected[start : start + len(found)]) < LEVEL:
            best.add(place)
        start += len(found)
    return best


def kind(row: Row) -> frozenset[str]:
    """Whether a row's joules were measured or modelled, or both."""
    return frozenset(method.partition(":")[0].strip() for method in row.energy_methods)


def paired_p(
    data: StudyData, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> float | None:
    """p of equal figures, see above. None where it cannot be told: no run in common, one run, an infinite figure."""
    sides = [(_cluster(data, runs[values > 0]), values[values > 0]) for runs, values in (first, second)]
    shared, *at = np.intersect1d(sides[0][0], sides[1][0], return_indices=True)
    if len(shared) < 2:
        return None
    figures = [values[i] for (_, values), i in zip(sides, at, strict=True)]
    if not np.isfinite(figures).all():
        return None
    found = log_mean(np.log(figures[0] / figures[1]), np.real(shared), np.imag(shared))
    return None if found is None else found.p_value("mean", method="jackknife")


def _cluster(data: StudyData, runs: np.ndarray) -> np.ndarray:
    """What a run is paired by, as one number: its data draw + i·its seed."""
    draw, seed = (np.nan_to_num(labels) for labels in clusters(data, runs))
    return draw + 1j * seed


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p corrected for how many there are, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, most = [0.0] * len(order), 0.0
    for place, i in enumerate(order):
        most = max(most, min(1.0, (len(order) - place) * p_values[i]))
        corrected[i] = most
    return corrected
