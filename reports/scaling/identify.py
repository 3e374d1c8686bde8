"""Can the data tell the exponent and the floor at all? Answered by profiling, on any form with one floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

from reports.scaling.core import Fit, deviance, free_parameters
from reports.scaling.solver import log_model, minimise

DECADES = 2.5  # of cost; the protocol's least
FEW_DECADES = "the cost covers"  # how that reason begins
FINE = 0.1  # the smallest difference of exponents that a verdict looks for: an interval as narrow is never flat
STEEP = 1.0  # a wider interval of an exponent tells nothing, however large the exponent
STEPS = 60  # of the solver at each point of a profile: what still moves then drifts along a plain
GONE = 40.0  # off the logarithm of a scale: the term is then below rounding
FLAT_FLOOR = 0.5  # an interval of E as wide as this share of the lowest fitted error tells floor from no floor no more
FINER = 9  # values within a bracket
OFFSETS = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 19)])


@dataclass(frozen=True)
class Identifiability:
    """What the data can tell. `reasons`: why they cannot, empty when they can.

    `intervals`: per parameter, the values whose profile deviance stays below the quantile of F(1, n − p) at `level`;
    an end is infinite where the profile never rose that far within the range searched. The profile takes points as
    independent: with clusters the bootstrap says how wide an interval is, the profile whether it closes.
    """

    decades: float
    intervals: dict[str, tuple[float, float]]
    level: float
    reasons: tuple[str, ...]

    @property
    def identified(self) -> bool:
        return not self.reasons

    @property
    def flat(self) -> tuple[str, ...]:
        """Why the parameters are no numbers to go by, however sure they look: of `reasons` all but too few decades; and
        an exponent that is large because the error is at its floor from the second cost on, so that many would do."""
        found = [reason for reason in self.reasons if not reason.startswith(FEW_DECADES)]
        steep = [ends for name, ends in self.intervals.items() if name.startswith("exponent") and np.ptp(ends) > STEEP]
        if steep and not any(reason.startswith("the exponent") for reason in found):
            found.append(f"the exponent is anywhere in {_text(steep[0])}: a flat likelihood")
        return tuple(found)

    @property
    def verdict(self) -> str:
        return "cannot tell" if self.reasons else "identified"


def identifiability(fit: Fit, decades: float, level: float = 0.9) -> Identifiability:
    """Profiles the floor and every exponent. `decades`: of cost, that the points cover; 2.5 are needed."""
    reasons = []
    if decades < DECADES - 1e-9:  # rounding
        reasons.append(f"{FEW_DECADES} {decades:.3g} decades; at least {DECADES:g} are needed")
    spare = len(fit.residual) - fit.form.degrees
    if spare < 1:
        reasons.append(
            f"{len(fit.residual)} points for {fit.form.degrees} parameters leave nothing to judge the fit by"
        )
        return Identifiability(decades, {}, level, tuple(reasons))
    threshold = float(fdtri(1, spare, level))
    natural, intervals = fit.natural, {}
    for index, name in enumerate(fit.form.parameters):
        if name == "floor":
            lowest = float(np.exp(log_model(fit.theta[None], fit.points[fit.best].features)).min())
            unit = float(np.exp(fit.scalings[fit.best].log_unit))
            low, high = interval = _interval(fit, index, lowest, threshold, least=0.0)
            intervals[name] = (low * unit, high * unit)
            if high - low > FLAT_FLOOR * lowest:
                reasons.append(f"the floor is anywhere in {_text(intervals[name])}: a flat likelihood")
        elif name.startswith("exponent"):
            ratio = _spread(fit, index)
            reach = max(5 * abs(fit.theta[index]), 10 * FINE * ratio)
            low, high = interval = _interval(fit, index, reach, threshold)
            low, high = intervals[name] = (interval[0] / ratio, interval[1] / ratio)
            if high - low > max(FINE, abs(natural[index])):
                reasons.append(
                    f"the {name.replace('_', ' of ')} is anywhere in {_text((low, high))}: a flat likelihood"
                )
    return Identifiability(decades, intervals, level, tuple(reasons))


def profile(fit: Fit, index: int, values: np.ndarray) -> np.ndarray:
    """The deviance with θ[index], scaled, held at each value and the others fitted. Shape as `values`."""
    points, free = fit.points[fit.best], free_parameters(fit.form)
    free[index] = False
    lowest = float(np.exp(log_model(fit.theta[None], points.features)).min())
    others = [(0, float(fit.theta[0]))]
    if len(points.features) > 1:  # a term may not be needed at all: then its exponent is anything
        scales = [i for i, name in enumerate(fit.form.parameters) if name.startswith("log_scale")]
        others += [(scale, float(fit.theta[scale]) - GONE) for scale in scales]
    elif index:
        others += [(0, 0.8 * lowest)]
    else:
        others = [(2, fit.theta[2] * factor) for factor in (0.6, 1.0, 2.0)]
    starts = np.repeat(fit.theta[None], len(others) * len(values), 0)
    for number, (other, start) in enumerate(others):
        rows = slice(number * len(values), (number + 1) * len(values))
        starts[rows, other], starts[rows, index] = start, values
    above = np.clip((log_model(starts, points.features) - points.log_y).mean(1), -20, 20)
    first = 1
    for x in points.features:  # scales are moved so that each start lies amid the points
        starts[:, first] -= above
        first += 1 + len(x)
    _, objective = minimise(points, starts, np.ones(len(points.log_y)), free, STEPS)
    return deviance(fit, objective.reshape(len(others), -1).min(0))


def _interval(fit: Fit, index: int, reach: float, threshold: float, least: float = -np.inf) -> tuple[float, float]:
    """Where the profile crosses the threshold on either side of the estimate; infinite where nowhere.

    Looked for on a coarse grid, then within the bracket; in the last of them √deviance is taken as straight, which it
    is for a parabola.
    """
    values = np.maximum(fit.theta[index] + reach * np.stack([-OFFSETS, OFFSETS]), least)
    ends: list[float | None] = [None, None]
    brackets = []
    deviances = profile(fit, index, values.ravel()).reshape(values.shape)
    for side, (high, sign) in enumerate(zip(deviances > threshold, (-1.0, 1.0), strict=True)):
        if high.any():
            after = int(high.argmax())
            brackets.append((side, np.linspace(values[side, after - 1], values[side, after], FINER)))
        else:
            ends[side] = least if sign < 0 and values[side].min() == least else sign * np.inf
    if brackets:
        inside = np.stack([grid for _, grid in brackets])
        roots = np.sqrt(np.maximum(profile(fit, index, inside.ravel()).reshape(inside.shape), 0))
        for (side, grid), root in zip(brackets, roots, strict=True):
            after = int((root[1:] > np.sqrt(threshold)).argmax()) + 1
            rise = root[after] - root[after - 1]
            share = np.clip((np.sqrt(threshold) - root[after - 1]) / rise, 0, 1) if rise > 0 else 0.5
            ends[side] = float(grid[after - 1] + share * (grid[after] - grid[after - 1]))
    return ends[0], ends[1]  # type: ignore[return-value]


def _spread(fit: Fit, index: int) -> float:
    """The standard deviation by which the feature of θ[index] was divided: scaled exponent over natural."""
    spreads = []
    for spread in fit.scalings[fit.best].spreads:
        spreads += [1.0, *spread[:, 0]]
    return float(spreads[index - 1])


def _text(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3g}, {interval[1]:.3g}]"
