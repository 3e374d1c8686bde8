"""From bootstraps of power laws to estimates of what follows from them: errors, ratios, crossovers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reports.scaling import Bootstrap, Interval, PowerLaw
from reports.scaling.fit import cost_to_error
from reports.scaling.forms import FLOOR
from reports.verdict.types import Estimate

NO_SPREAD = "one draw and one seed: no interval"
HORIZON, GRID = 12.0, 400  # decades beyond the data within which a crossover is looked for, and costs tried there
Quantity = Callable[..., np.ndarray]


def lone(law: PowerLaw) -> Bootstrap:
    """A law without resamples, for which `estimate` gives values without intervals."""
    theta = np.array([law.floor, law.log_scale, law.exponent])
    return Bootstrap(FLOOR.parameters, theta, np.empty((0, 3)), (), (1,))


def derived(quantity: Quantity, *boots: Bootstrap) -> Bootstrap:
    """The bootstrap of `quantity`, which takes θ (B, 3) of each law and gives (B,). The resamples must be the same."""

    def of(thetas: Sequence[np.ndarray]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(quantity(*thetas), dtype=float)[:, None]

    if not paired(*boots):  # without resamples in common there is a value, but no interval
        boots = tuple(Bootstrap(b.names, b.estimate, b.replicates[:0], (), (1,)) for b in boots)
    jackknife = tuple(of(parts) for parts in zip(*(b.jackknife for b in boots), strict=True))
    estimate = of([b.estimate[None] for b in boots])[0]
    return Bootstrap(("quantity",), estimate, of([b.replicates for b in boots]), jackknife, boots[0].levels)


def paired(*boots: Bootstrap) -> bool:
    """Whether the bootstraps are of the same resamples."""
    shapes = {(b.levels, len(b.replicates), tuple(map(len, b.jackknife))) for b in boots}
    return len(shapes) == 1


def estimate(boot: Bootstrap, level: float, transform: Callable[[float], float] = float) -> Estimate:
    """The estimate of the only parameter, and its interval, both put through `transform`."""
    value = float(boot.estimate[0])
    if np.isnan(value):
        return Estimate(None, level=level, reason="not defined by the fits")
    if not len(boot.replicates):
        return Estimate(transform(value), level=level, reason=NO_SPREAD)
    interval = interval_of(boot, level)
    if interval is None:
        return Estimate(transform(value), level=level, reason="not defined in most resamples: no interval")
    return Estimate(transform(value), transform(interval.low), transform(interval.high), level)


def interval_of(boot: Bootstrap, level: float) -> Interval | None:
    """The interval of the only parameter, of the resamples in which it is defined; None if those are fewer than half.
    It is widened to hold the estimate, which a skewed bootstrap may miss."""
    values = boot.replicates[:, 0]
    known = ~np.isnan(values)
    if known.sum() < max(2, len(values) / 2):
        return None
    boot = Bootstrap(boot.names, boot.estimate, boot.replicates[known], boot.jackknife, boot.levels)
    found, value = boot.interval(boot.names[0], level), float(boot.estimate[0])
    return Interval(min(found.low, value), max(found.high, value), level, found.method)


def power_of_ten(value: float) -> float:
    """10^value, infinite where no float holds it."""
    with np.errstate(over="ignore"):
        return float(np.power(10.0, value))


def log10_error(cost: float) -> Quantity:
    """log10 of the error at a cost."""
    return lambda theta: np.log10(_error(theta, np.array([np.log(cost)])))[:, 0]


def log10_error_ratio(cost: float) -> Quantity:
    """log10 of the first law's error over the second's at a cost."""
    one = log10_error(cost)
    return lambda first, second: one(first) - one(second)


def log10_cost(error: float) -> Quantity:
    """log10 of the cost to an error, infinite where the law never comes down to it."""
    return lambda theta: np.log10(cost_to_error(theta[:, 0], theta[:, 1], theta[:, 2], error))


def log10_cost_ratio(error: float) -> Quantity:
    """log10 of the second law's cost to an error over the first's."""
    one = log10_cost(error)
    return lambda first, second: one(second) - one(first)


def exponent_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 2] - second[:, 2]


def floor_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] - second[:, 0]


def log10_crossover(least: float, most: float) -> Quantity:
    """log10 of the cost from which the second law is lower for good: infinite if it never is within `HORIZON` decades
    beyond `most`, minus infinity if it is from `least`."""
    x = np.linspace(np.log(least), np.log(most) + HORIZON * np.log(10), GRID)

    def of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        gap = np.log(_error(first, x)) - np.log(_error(second, x))  # positive where the second is lower
        ahead = gap <= 0
        last = np.where(
            ahead.any(1), GRID - 1 - ahead[:, ::-1].argmax(1), -1
        )  # where the first is ahead for the last time
        found = np.full(len(gap), -np.inf)
        inside = (last >= 0) & (last < GRID - 1)
        at, row = last[inside], np.flatnonzero(inside)
        share = gap[row, at] / (gap[row, at] - gap[row, at + 1])
        found[inside] = (x[at] + share * (x[1] - x[0])) / np.log(10)
        found[last == GRID - 1] = np.inf
        return found

    return of


def _error(theta: np.ndarray, log_cost: np.ndarray) -> np.ndarray:
    """E + A·C^(−α) of each law at each cost, (B, m)."""
    with np.errstate(over="ignore"):
        return theta[:, :1] + np.exp(np.clip(theta[:, 1:2] - theta[:, 2:] * log_cost, -700, 700))
