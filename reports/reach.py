"""What a run had to spend to reach a given error, and which errors are worth asking about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from experiments.record import DIVERGED, FINISHED, INTERRUPTED, OUT_OF_MEMORY, Record

FLOP, JOULE = "flop", "energy_j"  # the axes of a curve, named as the fields of its points


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are numbers, in order."""
    return [value for value in values if value is not None and math.isfinite(value)]


def untrained(record: Record) -> bool:
    """Whether the model needs no training, so that its training cost is zero and not merely unknown."""
    return record.costs.train_flop == 0 and not record.costs.uncounted


def train_energy(record: Record) -> float | None:
    energy = record.costs.energy_j.get("train")
    return 0.0 if energy is None and untrained(record) else energy


def train_seconds(record: Record) -> float | None:
    seconds = record.costs.seconds.get("train")
    return 0.0 if seconds is None and untrained(record) else seconds


def curve_points(record: Record, axis: str, primary: str) -> list[tuple[float | None, float | None]]:
    """(cost, error) along training; a run without a curve is one point: its final error at its training cost."""
    points = [(getattr(point, axis), point.error) for point in record.curve]
    if finite(error for _, error in points):
        free = untrained(record)
        return [(0.0 if cost is None and free else cost, error) for cost, error in points]
    if record.status != FINISHED:
        return points
    cost = record.costs.train_flop if axis == FLOP else train_energy(record)
    return [(cost, record.metrics.get(primary))]


def cost_to_error(points: Sequence[tuple[float | None, float | None]], target: float) -> float | None:
    """Cost at which the best error so far first comes down to `target`: infinity if never, None if unknown.

    Interpolated on log-log axes between the points on either side. Where a logarithm has no value (a cost or an
    error of zero) or there is no point before, the cost of the later point is charged, which is never too little.
    """
    best, before = math.inf, None
    for cost, error in points:
        if finite([error]):
            best = min(best, error)  # type: ignore[type-var]
        if not finite([cost]):
            continue
        assert cost is not None  # for the type checker: `finite` has just said so
        if best <= target:
            if before is None or before[0] <= 0 or best <= 0 or math.isinf(before[1]):
                return float(cost)
            log_before, log_best = math.log(before[1]), math.log(best)
            if log_before <= log_best:  # errors so close that their logarithms are one number
                return float(cost)
            share = (log_before - math.log(target)) / (log_before - log_best)
            return before[0] * (cost / before[0]) ** share
        before = (float(cost), best)
    seen = bool(finite(error for _, error in points))
    return math.inf if seen and best > target else None


def reach(record: Record, target: float, axis: str, primary: str) -> float | None:
    """As `cost_to_error`, for one run. A run that was interrupted might have got there: unknown, not never."""
    cost = cost_to_error(curve_points(record, axis, primary), target)
    if record.status == INTERRUPTED and cost == math.inf:
        return None
    broken = record.status in (DIVERGED, OUT_OF_MEMORY) and not finite(point.error for point in record.curve)
    return math.inf if broken else cost


def ladder(low: float, high: float, digits: Sequence[float] = (1, 3)) -> list[float]:
    """The values 1, 0.3, 0.1, 0.03, … (and 3, 10, …) in [low, high], largest first; `digits` of each decade."""
    low = max(low, 1e-16)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(max(high, low))) + 1)
    values = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    return sorted((value for value in values if low <= value <= high), reverse=True)


def choose_targets(starts: Sequence[float], ends: Sequence[float], most: int = 3) -> list[float]:
    """At most `most` round errors between where training starts and the best it comes to, largest first.

    The hardest is reached by the best model alone, the easiest (where there is room) by every model, so that
    each tells something.
    """
    if not ends:
        return []
    values = ladder(min(ends), max(starts))
    for digits in ((1, 2, 3, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):  # a narrow range needs closer rungs
        if len(values) < 2:
            values = ladder(min(ends), max(starts), digits)
    if not values:  # the whole range lies between two rungs: the best error, rounded up
        step = 10.0 ** (math.floor(math.log10(max(min(ends), 1e-16))) - 1)
        return [float(f"{math.ceil(min(ends) / step) * step:.2g}")] if min(ends) > 0 else []
    reached_by_all = sum(value >= max(ends) for value in values)
    values = values[max(0, min(reached_by_all - 1, len(values) - most)) :]
    if len(values) > most:
        values = [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
    return values
