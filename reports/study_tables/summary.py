"""The runs of a study put together by task and model: what every table and several figures are made of.

Everything is computed from columns, a few passes over them whatever the number of runs.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from experiments.record import FINISHED
from reports.reach import choose_targets
from reports.scaling import Bootstrap
from reports.study import StudyData
from reports.study_tables.curves import Curves, codes, column, split

if TYPE_CHECKING:
    from reports.study_tables.priors import Family

COSTS = ("train_flop", "train_energy_j", "train_seconds")
PERSISTENCE = "persistence"  # the reference that predicts no change
MOST_TARGETS = 2  # where the study asks for none
REACHED = ("flop", "energy_j", "seconds")  # the axes along which costs to reach an error are given


@dataclass(frozen=True)
class Figure:
    """A number with its interval at `level` (NaN: unknown), over `n` runs. Infinite: never."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    level: float | None = None


@dataclass(frozen=True)
class Row:
    """One model on one task under one condition.

    `configuration`: the one whose validation error is least at the end (all of its runs are `chosen`, those of every
    configuration `runs`, as indices); `counts`: of all runs, by status. `error`: test error at the end, of the chosen
    runs that finished, geometric mean over draws and seeds. `costs`: of the chosen runs, medians, by column.
    `reach`: by (axis, target), the least cost over configurations, each a median over its runs; `reach_costs`: (runs,
    cost of each) of the configuration it is of. `mostly_failed`: fewer than half of the chosen runs have an error.
    """

    task: str
    condition: str
    model: str
    reference: bool
    configuration: str
    counts: dict[str, int]
    runs: np.ndarray
    chosen: np.ndarray
    error: Figure
    costs: dict[str, Figure]
    energy_methods: tuple[str, ...]
    lower_bound: bool
    mostly_failed: bool
    reach: dict[tuple[str, float], Figure] = field(default_factory=dict)
    reach_costs: dict[tuple[str, float], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """`rows` by (task, condition): models by error, then references. `targets` by (task, condition), largest first.
    `final`: (runs,), test error at the end, NaN where there is none."""

    data: StudyData
    rows: dict[tuple[str, str], list[Row]]
    targets: dict[tuple[str, str], tuple[float, ...]]
    final: np.ndarray
    curves: Curves

    @functools.cached_property
    def families(self) -> list[Family]:
        """`reports.study_tables.priors.families`, made once for tables, figures and the page."""
        from reports.study_tables.priors import families

        return families(self)


def summarise(data: StudyData, level: float = 0.9) -> Summary:
    """All rows of a study."""
    curves = Curves.of(data)
    final = final_errors(data, curves, data.metric)
    validation = curves.last("error")
    configurations, labels = codes(data.runs["configuration"])
    groups = _groups(data)
    rows: dict[tuple[str, str], list[Row]] = {}
    for (task, condition, model), runs in groups.items():
        row = _row(data, (task, condition, model), runs, configurations, labels, final, validation, level)
        rows.setdefault((task, condition), []).append(row)
    summary = Summary(data, dict(sorted(rows.items())), {}, final, curves)
    order = {name: i for i, name in enumerate(data.references)}
    for place, listed in summary.rows.items():
        summary.targets[place] = _targets(summary, listed)
        listed.sort(
            key=lambda row: (order.get(row.model, -1), row.mostly_failed, _sortable(row.error.value), row.model)
        )
    _add_reach(summary, configurations)
    return summary


def final_errors(data: StudyData, curves: Curves, metric: str) -> np.ndarray:
    """(runs,): the test error at the end of training, NaN for a run that did not finish or has none."""
    final = column(data, f"metrics.{metric}")
    final = np.where(np.isfinite(final), final, curves.last(f"test.{metric}"))
    return np.where((data.runs["status"] == FINISHED) & (final >= 0), final, np.nan)


def _groups(data: StudyData) -> dict[tuple[str, str, str], np.ndarray]:
    parts = [codes(data.runs[name]) for name in ("task", "condition", "model")]
    joint = np.zeros(len(data), dtype=int)
    for numbers, names in parts:
        joint = joint * max(len(names), 1) + numbers
    groups = {}
    for runs in split(joint):
        task, condition, model = (names[numbers[runs[0]]] for numbers, names in parts)
        groups[task, condition, model] = runs
    return groups


def _row(
    data: StudyData,
    place: tuple[str, str, str],
    runs: np.ndarray,
    configurations: np.ndarray,
    labels: list[str],
    final: np.ndarray,
    validation: np.ndarray,
    level: float,
) -> Row:
    of_each = [runs[part] for part in split(configurations[runs])]
    chosen = best_of(of_each, final, validation)
    good = chosen[np.isfinite(final[chosen])]
    counted = good if len(good) else chosen
    methods = tuple(sorted({str(m) for m in data.runs["energy_method"][counted] if m}))
    return Row(
        *place,
        reference=place[2] in data.references,
        configuration=str(labels[configurations[chosen[0]]]),
        counts=dict(sorted(Counter(data.runs["status"][runs].tolist()).items())),
        runs=runs,
        chosen=chosen,
        error=geometric_mean(final[good], *clusters(data, good), level=level),
        costs={name: spread(column(data, name, counted)) for name in COSTS},
        energy_methods=methods,
        lower_bound=bool((column(data, "uncounted", counted) > 0).any()),
        mostly_failed=2 * len(good) < len(chosen),
    )


def best_of(configurations: Sequence[np.ndarray], final: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Of the runs of each configuration, those of the one whose median validation error is least (test error, where no
    run has one); one of which most runs have no result only where all are such."""
    judge = validation if np.isfinite(validation[np.concatenate(configurations)]).any() else final

    def merit(part: np.ndarray) -> tuple[bool, float]:
        good = part[np.isfinite(final[part])]
        values = judge[good][np.isfinite(judge[good])]
        return 2 * len(good) < len(part), float(np.median(values)) if len(values) else math.inf

    return min(configurations, key=merit)


def clusters(data: StudyData, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Data draw and seed of the runs."""
    return column(data, "draw", runs), column(data, "seed", runs)


def spread(values: np.ndarray) -> Figure:
    """Median and range of the values that are known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Figure()
    low, middle, high = float(known.min()), float(np.median(known)), float(known.max())
    return Figure(middle, low, high, len(known))


def log_mean(values: np.ndarray, *factors: np.ndarray) -> Bootstrap | None:
    """The mean of `values` (n,), with the jackknife over the levels of each factor (draw, seed) that has two or more.

    None if no factor has: one run says nothing of the spread.
    """
    several = [labels for labels in factors if len(np.unique(labels)) > 1]
    if not several:
        return None
    of = [np.unique(labels, return_inverse=True)[1] for labels in several]
    levels = tuple(int(codes.max()) + 1 for codes in of)
    if len(of) == 2:  # as `reports.scaling.bootstrap`: of two factors there follow their crossings
        of.append(np.unique(of[0] * levels[1] + of[1], return_inverse=True)[1])
    without = tuple(
        ((values.sum() - np.bincount(codes, values)) / (len(values) - np.bincount(codes)))[:, None] for codes in of
    )
    return Bootstrap(("mean",), np.array([values.mean()]), np.zeros((0, 1)), without, levels)


def geometric_mean(values: np.ndarray, *factors: np.ndarray, level: float = 0.9) -> Figure:
    """exp of the mean logarithm, and its interval by the jackknife over draws and seeds where there are several."""
    if not len(values):
        return Figure()
    if (values == 0).any():  # a simulator compared with itself
        return spread(values)
    logs = np.log(values)
    found = log_mean(logs, *factors)
    value = float(np.exp(logs.mean()))
    if found is None:
        return Figure(value, n=len(values))
    interval = found.interval("mean", level, method="jackknife")
    with np.errstate(over="ignore"):
        return Figure(value, float(np.exp(interval.low)), float(np.exp(interval.high)), len(values), level)


def _targets(summary: Summary, rows: Sequence[Row]) -> tuple[float, ...]:
    """Those of the study, or round errors that tell apart the models that learn: below what any of them has untrained
    and below persistence, as far as any of them comes there, so that none is had for nothing."""
    data, curves = summary.data, summary.curves
    if data.targets:
        return tuple(sorted(data.targets, reverse=True))
    error = curves.column(f"test.{data.metric}")
    starts, ends = [], []
    for row in rows:
        first = curves.first[row.chosen[np.diff(curves.first)[row.chosen] > 1]]
        begun = error[first][np.isfinite(error[first])] if len(first) else first
        if not row.reference and len(begun) and row.error.value > 0:
            starts.append(float(np.median(begun)))
            ends.append(row.error.value)
    levels = [row.error.value for row in rows if row.model == PERSISTENCE and row.error.value > 0]
    for bound in (min([*starts, *levels], default=0.0), min(levels, default=0.0)):
        below = [end for end in ends if end < bound]
        targets = choose_targets([bound], below, MOST_TARGETS) if below else []
        if targets := [target for target in targets if target < bound]:
            return tuple(targets)
    return tuple(choose_targets(starts, ends, MOST_TARGETS))


def _add_reach(summary: Summary, configurations: np.ndarray) -> None:
    data = summary.data
    for target in sorted({target for targets in summary.targets.values() for target in targets}, reverse=True):
        for axis in REACHED:
            cost = summary.curves.cost_to(axis, data.metric, target)
            for place, rows in summary.rows.items():
                if target not in summary.targets[place]:
                    continue
                for row in rows:
                    parts = [row.runs[part] for part in split(configurations[row.runs])]
                    figures = [spread(cost[part]) for part in parts]
                    known = [i for i, figure in enumerate(figures) if figure.n]
                    if not known:
                        row.reach[axis, target] = Figure()
                        continue
                    best = min(known, key=lambda i: figures[i].value)
                    row.reach[axis, target] = figures[best]
                    row.reach_costs[axis, target] = parts[best], cost[parts[best]]


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value
