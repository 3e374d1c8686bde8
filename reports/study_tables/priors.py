"""Errors against how wrong a prior is: computed floors, what was measured hard and soft, and where black boxes win."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reports.floors import FITTED, HARD, SOFT, Floors
from reports.scaling import Bootstrap
from reports.study_tables.curves import codes, split
from reports.study_tables.summary import Figure, Summary, best_of, clusters, final_errors, geometric_mean

HOWS = (HARD, FITTED, SOFT)
LEVEL = 0.9
EXACT = 1e-9  # a floor below this is the reference solver's own error, and nothing to divide by


@dataclass(frozen=True)
class Step:
    """One delta of a family. `condition`: that of the runs. `floor`: computed. `measured`: by how, at the end of
    training. `excess`: hard over floor, run by run. `gain`: soft over hard, likewise."""

    delta: float
    condition: str
    floor: Figure
    measured: dict[str, Figure]
    excess: Figure = field(default_factory=Figure)
    gain: Figure = field(default_factory=Figure)


@dataclass(frozen=True)
class Crossing:
    """The delta from which a told model is worse than the best black box for good; 0 where it is from the least delta
    above 0 on, infinite where it is not within those told. `low`, `high`: an interval, where one can be had. `exact`:
    whether it is better where the prior is exact; None where that was not run."""

    delta: float
    low: float | None = None
    high: float | None = None
    exact: bool | None = None


@dataclass(frozen=True)
class Family:
    """One kind of prior told to one model on one task, by delta. `condition`: what else sets the runs apart. `metric`:
    of all errors. `black_boxes`: by model, the least first. `crossings`: by how."""

    task: str
    condition: str
    model: str
    prior: str
    metric: str
    steps: tuple[Step, ...]
    black_boxes: dict[str, Figure]
    crossings: dict[str, Crossing]

    @property
    def hows(self) -> list[str]:
        return [how for how in HOWS if any(how in step.measured for step in self.steps)]


@dataclass
class _Runs:
    """Of one delta: `condition`, the runs of each configuration by how, and what tells their floors."""

    condition: str
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    floors: set[str] = field(default_factory=set)


def families(summary: Summary) -> list[Family]:
    """All of a study, by task, model, prior and condition; for each the study's metric and the others of floors."""
    data = summary.data
    if data.floors is None:
        return []
    metrics = dict.fromkeys((data.metric, *data.floors.metrics))
    finals = {metric: final_errors(data, summary.curves, metric) for metric in metrics}
    found = []
    for (task, model, prior, condition), by_delta in sorted(_grouped(summary).items()):
        for metric, final in finals.items():
            family = _family(summary, (task, model, prior, condition), by_delta, metric, final)
            if family.hows:
                found.append(family)
    return found


def _grouped(summary: Summary) -> dict[tuple[str, str, str, str], dict[float, _Runs]]:
    """(task, model, prior, other conditions) → delta → runs."""
    data = summary.data
    told: dict[tuple[str, str, str], list] = {}
    for one in data.floors.told if data.floors else ():
        told.setdefault((one.task, one.model, one.configuration), []).append(one)
    number, names = codes(
        list(zip(*(data.runs[name].tolist() for name in ("task", "condition", "model", "configuration")), strict=True))
    )
    groups: dict[tuple[str, str, str, str], dict[float, _Runs]] = {}
    for part in split(number):
        task, condition, name, configuration = names[number[part[0]]]
        model = data.parts.get(str(name), str(name))  # hard and soft make one family
        words = condition.split()
        for one in told.get((task, model, configuration), ()):
            if set(one.condition.split()) <= set(words):
                rest = " ".join(word for word in words if word not in one.words)
                runs = groups.setdefault((task, model, one.prior, rest), {}).setdefault(one.delta, _Runs(condition))
                runs.parts.setdefault(one.how, []).append(part)
                runs.floors.add(one.floor)
    return groups


def _family(
    summary: Summary, whose: tuple[str, str, str, str], by_delta: Mapping[float, _Runs], metric: str, final: np.ndarray
) -> Family:
    task, model, prior, condition = whose
    data, validation = summary.data, summary.curves.last("error")
    steps, chosen = [], {}
    for delta, runs in sorted(by_delta.items()):
        mine = {how: best_of(parts, summary.final, validation) for how, parts in runs.parts.items()}
        mine = {how: part[np.isfinite(final[part])] for how, part in mine.items()}
        mine = {how: part for how, part in mine.items() if len(part)}
        chosen[delta] = mine
        floors = _floors(data.floors, runs.floors, metric)
        hard = _by_draw(summary, mine.get(HARD, np.array([], dtype=int)), final)
        steps.append(
            Step(
                delta,
                runs.condition,
                _mean(np.array(list(floors.values()))),
                {how: _error(summary, part, final) for how, part in mine.items()},
                _over(summary, mine.get(HARD), final, {d: f for d, f in floors.items() if f > EXACT}),
                _over(summary, mine.get(SOFT), final, hard),
            )
        )
    boxes = {}
    place = (task, steps[0].condition)
    for row in summary.rows.get(place, []):
        part = row.chosen[np.isfinite(final[row.chosen])]
        if row.model in data.black_box and len(part):
            boxes[row.model] = part
    errors = {name: _error(summary, part, final) for name, part in boxes.items()}
    errors = dict(sorted(errors.items(), key=lambda item: item[1].value))
    best = boxes[next(iter(errors))] if errors else None
    crossings = {}
    for how in HOWS:
        told = {delta: mine[how] for delta, mine in chosen.items() if how in mine}
        if told and best is not None:
            crossings[how] = _crossing(summary, told, best, final)
    return Family(task, condition, model, prior, metric, tuple(steps), errors, crossings)


def _floors(floors: Floors | None, which: set[str], metric: str) -> dict[float, float]:
    """By data draw."""
    return {
        one.draw: one.errors[metric]
        for one in (floors.floors if floors else ())
        if one.floor in which and metric in one.errors
    }


def _mean(values: np.ndarray) -> Figure:
    return Figure(math.inf, n=len(values)) if np.isinf(values).any() else geometric_mean(values)


def _error(summary: Summary, runs: np.ndarray, final: np.ndarray) -> Figure:
    return geometric_mean(final[runs], *clusters(summary.data, runs), level=LEVEL)


def _by_draw(summary: Summary, runs: np.ndarray, final: np.ndarray) -> dict[float, float]:
    """By data draw, the geometric mean error of these runs."""
    draws = clusters(summary.data, runs)[0]
    return {
        float(draw): float(np.exp(np.log(final[runs[draws == draw]]).mean()))
        for draw in np.unique(draws)
        if (final[runs[draws == draw]] > 0).all()
    }


def _over(summary: Summary, runs: np.ndarray | None, final: np.ndarray, base: Mapping[float, float]) -> Figure:
    """Errors over what their data draw has in `base`."""
    if runs is None:
        return Figure()
    under = np.array([base.get(float(draw), np.nan) for draw in clusters(summary.data, runs)[0]])
    known = np.isfinite(under) & (under > 0)
    return geometric_mean(final[runs][known] / under[known], *clusters(summary.data, runs[known]), level=LEVEL)


# -- Where a black box becomes better ------------------------------------------------------------------------------


def crossing(deltas: Sequence[float], log_ratio: Sequence[float]) -> float:
    """The delta from which the told model's error is above the black box's for good.

    `deltas`: above 0, rising; `log_ratio`: logarithms of the told model's error over the black box's there, between
    which ln delta is interpolated. 0 where it is above at all of them, infinite where it is not at the last.
    """
    worse = np.asarray(log_ratio) > 0
    better = np.flatnonzero(~worse)
    if not len(worse) or not worse[-1]:
        return math.inf
    if not len(better):
        return 0.0
    i = int(better[-1])
    share = -log_ratio[i] / (log_ratio[i + 1] - log_ratio[i])
    return float(deltas[i] * (deltas[i + 1] / deltas[i]) ** share)


def _crossing(summary: Summary, told: Mapping[float, np.ndarray], box: np.ndarray, final: np.ndarray) -> Crossing:
    """Told runs of each delta against a black box's, of the same data draw and, where they have it, the same seed; the
    interval is the jackknife's over draws and seeds of the black box."""
    draws, seeds = clusters(summary.data, box)
    rows = {delta: _against(summary, runs, box, final) for delta, runs in told.items()}
    deltas = [delta for delta in rows if delta > 0]
    table = np.array([rows[delta] for delta in deltas]).reshape(len(deltas), len(box))

    def at(kept: np.ndarray) -> float:
        known = [(d, float(row[kept & np.isfinite(row)].mean())) for d, row in zip(deltas, table, strict=True)
                 if (kept & np.isfinite(row)).any()]  # fmt: skip
        return crossing([d for d, _ in known], [r for _, r in known])

    value = at(np.ones(len(box), dtype=bool))
    exact = rows[0.0][np.isfinite(rows[0.0])] if 0.0 in rows else np.array([])
    low, high = _interval(at, draws, seeds, value) if 0 < value < math.inf else (None, None)
    return Crossing(value, low, high, bool(exact.mean() <= 0) if len(exact) else None)


def _against(summary: Summary, runs: np.ndarray, box: np.ndarray, final: np.ndarray) -> np.ndarray:
    """ln of the errors of told runs over those of the black box's runs, each with the told run of its draw and seed;
    one that has no seed of its own stands for all."""
    logs: dict[tuple[float, float], list[float]] = {}
    draws, seeds = clusters(summary.data, runs)
    lone = len(np.unique(seeds)) == 1
    with np.errstate(divide="ignore"):
        own, other = np.log(final[runs]), np.log(final[box])
    for draw, seed, error in zip(draws, seeds, own, strict=True):
        logs.setdefault((float(draw), 0.0 if lone else float(seed)), []).append(float(error))
    cells = zip(*clusters(summary.data, box), strict=True)
    found = [logs.get((float(draw), 0.0 if lone else float(seed)), [math.nan]) for draw, seed in cells]
    return np.array([np.mean(one) for one in found]) - other


def _interval(
    at: Callable[[np.ndarray], float], draws: np.ndarray, seeds: np.ndarray, value: float
) -> tuple[float | None, float | None]:
    """The jackknife's, in ln delta; none where leaving one out leaves no crossing among the deltas told."""
    factors = [labels for labels in (draws, seeds) if len(np.unique(labels)) > 1]
    groups = [np.unique(labels, return_inverse=True)[1] for labels in factors]
    levels = tuple(int(group.max()) + 1 for group in groups)
    if len(groups) == 2:  # as `reports.scaling.bootstrap`: of two factors there follow their crossings
        groups.append(np.unique(groups[0] * levels[1] + groups[1], return_inverse=True)[1])
    without = [np.array([at(group != k) for k in range(int(group.max()) + 1)]) for group in groups]
    if not without or any((part <= 0).any() or np.isinf(part).any() for part in without):
        return None, None
    logs = tuple(np.log(part)[:, None] for part in without)
    boot = Bootstrap(("crossing",), np.array([math.log(value)]), np.zeros((0, 1)), logs, levels)
    found = boot.interval("crossing", LEVEL, method="jackknife")
    return math.exp(found.low), math.exp(found.high)
