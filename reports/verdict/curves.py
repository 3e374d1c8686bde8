"""The points that a verdict is made from: sorted by task, condition and model, and grouped by configuration and
checkpoint. Arrays throughout, since there may be a million runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.record import DIVERGED, FINISHED, OUT_OF_MEMORY
from reports.study import StudyData
from reports.text import clean

POOLED = 8  # groups into which very many draws, or seeds, are put together
CHECKPOINTS = 20  # bins to a decade of the samples seen: checkpoints within one are the same
Key = tuple[str, str, str]  # task, condition, model


@dataclass(frozen=True)
class Curves:
    """The usable points of one model on one task: of finished runs, errors positive and finite.

    `run`, `point`: (n,), indices into the tables of the study. `cell`: (n,), (configuration, checkpoint) as a number,
    an index into `labels`. `cluster`, `pooled`: (n, 2), draw and seed, and the groups they are in where there are very
    many points; the same for all models. `untrained`: the median error before training, None if no run says. `runs`: by
    status. `reasons`: what was left out.
    """

    key: Key
    run: np.ndarray
    point: np.ndarray
    error: np.ndarray
    cell: np.ndarray
    labels: np.ndarray
    cluster: np.ndarray
    pooled: np.ndarray
    untrained: float | None
    runs: dict[str, int]
    reasons: tuple[str, ...]


def codes(values: Iterable[object]) -> tuple[np.ndarray, list]:
    """Each value as the number of its first appearance, and the values in that order. Quicker than sorting text."""
    seen: dict[object, int] = {}
    found = np.fromiter((seen.setdefault(value, len(seen)) for value in values), dtype=np.int64)
    return found, list(seen)


def charges(data: StudyData, axis: str) -> bool:
    """Whether an axis with tuning charged, "tuned_…", has other costs than without."""
    plain, tuned = (np.asarray(data.points.get(name, ()), dtype=float) for name in (axis.removeprefix("tuned_"), axis))
    return not np.array_equal(tuned, plain, equal_nan=True)


def curves_of(data: StudyData) -> dict[Key, Curves]:
    """Every (task, condition, model) of the study, sorted."""
    runs, points = data.runs, data.points
    if not len(data):
        return {}
    columns = [codes(runs[name]) for name in ("task", "condition", "model", "configuration", "status")]
    (task, tasks), (condition, conditions), (model, models), (configuration, names), (status, statuses) = columns
    group, keys = _dense((task * len(conditions) + condition) * len(models) + model)
    c, m = len(conditions), len(models)
    named = [(tasks[k // m // c], conditions[k // m % c], models[k % m]) for k in keys]
    counts = np.bincount(group * len(statuses) + status, minlength=len(keys) * len(statuses))
    counts = counts.reshape(len(keys), len(statuses))
    place, shape = _dense(group * len(names) + configuration)
    failed = np.isin(status, [i for i, name in enumerate(statuses) if name in (DIVERGED, OUT_OF_MEMORY)])
    finished = status == statuses.index(FINISHED) if FINISHED in statuses else np.zeros(len(data), bool)
    most = np.bincount(place, failed, len(shape)) > np.bincount(place, finished, len(shape))
    usable = finished & ~most[place]
    of = np.asarray(points["run"]).astype(np.int64)
    cluster = clusters_of(data)
    pooled = np.stack([_dense(column)[0] % POOLED for column in cluster.T], 1).astype(float)
    error = _column(points, f"test.{data.metric}")
    trained = ~(_column(points, "flop") == 0) & ~((_column(points, "samples") == 0) & (_column(points, "step") == 0))
    checkpoint = _checkpoint(points)
    order = np.argsort(group[of].astype(np.int16 if len(keys) < 2**15 else np.int64), kind="stable")
    ends = np.searchsorted(group[of][order], np.arange(len(keys) + 1))
    found = {}
    for number in sorted(range(len(keys)), key=lambda i: tuple(map(str, named[i]))):
        chosen = order[ends[number] : ends[number + 1]]
        chosen = chosen[usable[of[chosen]]]
        before = error[chosen[~trained[chosen]]]
        before = before[np.isfinite(before) & (before > 0)]
        chosen = chosen[trained[chosen]]
        good = np.isfinite(error[chosen]) & (error[chosen] > 0)
        reasons = _left_out(
            error[chosen], [names[s % len(names)] for s in shape[most & (shape // len(names) == number)]]
        )
        chosen = chosen[good]
        cell, cells = _dense(configuration[of[chosen]] * 4096 + checkpoint[chosen])
        by_status = {statuses[i]: int(n) for i, n in enumerate(counts[number]) if n}
        if not by_status.get(FINISHED):
            reasons = (*reasons, f"no run finished: {', '.join(f'{n} {clean(s)}' for s, n in by_status.items())}")
        found[named[number]] = Curves(
            named[number],
            of[chosen],
            chosen,
            error[chosen],
            cell,
            np.array([names[c // 4096] for c in cells], dtype=object),
            cluster[of[chosen]],
            pooled[of[chosen]],
            float(np.median(before)) if len(before) else None,
            by_status,
            reasons,
        )
    return found


def clusters_of(data: StudyData) -> np.ndarray:
    """(runs, 2): draw and seed of each; −1 where unknown."""
    columns = [np.asarray(data.runs.get(name, np.full(len(data), -1.0)), dtype=float) for name in ("draw", "seed")]
    return np.nan_to_num(np.stack(columns, axis=1), nan=-1.0)


def _left_out(error: np.ndarray, diverged: list[str]) -> tuple[str, ...]:
    reasons = []
    for what, count in (
        ("no number", int((~np.isfinite(error)).sum())),
        ("0 or less, which has no logarithm", int((error <= 0).sum())),
    ):
        if count:
            reasons.append(f"{count} of {len(error)} errors are {what}: left out")
    if diverged:
        some = ", ".join(clean(name) or "the only configuration" for name in sorted(diverged)[:3])
        more = f" and {len(diverged) - 3} more" if len(diverged) > 3 else ""
        reasons.append(f"most runs failed, so the configuration is left out: {some}{more}")
    return tuple(reasons)


def _dense(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values numbered without gaps, and what each number stands for."""
    kept, number = np.unique(values, return_inverse=True)
    return number, kept


def _column(table: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The column, not known where there is none."""
    values = table.get(name)
    return np.full(len(table["run"]), np.nan) if values is None else np.asarray(values, dtype=float)


def _checkpoint(points: dict[str, np.ndarray]) -> np.ndarray:
    """The bin of the samples seen, or of the steps taken where those are not known; 0 to 4095."""
    seen = _column(points, "samples")
    seen = np.where(np.isfinite(seen) & (seen > 0), seen, _column(points, "step"))
    with np.errstate(divide="ignore", invalid="ignore"):
        bins = np.round(CHECKPOINTS * np.log10(seen))
    return np.clip(np.nan_to_num(bins, nan=0, posinf=0, neginf=0), -1000, 3000).astype(np.int64) + 1000
