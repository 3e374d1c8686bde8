"""The two laws of interest, fitted: error against cost, and error against parameters and data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.core import Fit, checked, fit_form
from reports.scaling.forms import CHINCHILLA, FLOOR
from reports.scaling.identify import Identifiability, identifiability


@dataclass(frozen=True)
class PowerLaw:
    """error = E + A·C^(−α): `floor` E ≥ 0 in units of the error, `log_scale` ln A, `exponent` α (negative: it rises).

    `objective`: summed Huber loss of ln error at `delta`. `residual_scale`: σ of ln error about the fit, from the
    median absolute residual. `decades` of cost covered. The fit says what fits best; whether the data could tell
    otherwise, `identifiability` says.
    """

    floor: float
    log_scale: float
    exponent: float
    objective: float
    residual_scale: float
    delta: float
    points: int
    decades: float
    identifiability: Identifiability

    @property
    def scale(self) -> float:
        """A: the error above the floor at a cost of 1. Infinite where no float holds it."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_scale))

    def error(self, cost: ArrayLike) -> np.ndarray:
        """The fitted error at each cost."""
        with np.errstate(over="ignore"):
            return self.floor + np.exp(self.log_scale - self.exponent * np.log(np.asarray(cost, dtype=float)))

    def cost(self, error: ArrayLike) -> np.ndarray:
        """The cost (A/(error − E))^(1/α) at which the fit comes down to each error; infinite where it never does."""
        return cost_to_error(self.floor, self.log_scale, self.exponent, error)


@dataclass(frozen=True)
class Chinchilla:
    """L = E + A/N^α + B/D^β: scales as logarithms, ln A and ln B; the rest as in `PowerLaw`.

    `decades` are those of N·D, to which compute is proportional.
    """

    floor: float
    log_scale_n: float
    exponent_n: float
    log_scale_d: float
    exponent_d: float
    objective: float
    residual_scale: float
    delta: float
    points: int
    decades: float
    identifiability: Identifiability

    @property
    def scale_n(self) -> float:
        return float(np.exp(self.log_scale_n))

    @property
    def scale_d(self) -> float:
        return float(np.exp(self.log_scale_d))

    @property
    def optimal_exponent(self) -> float:
        """a of N_opt ∝ C^a where C ∝ N·D: β/(α + β)."""
        return self.exponent_d / (self.exponent_n + self.exponent_d)

    def error(self, n: ArrayLike, d: ArrayLike) -> np.ndarray:
        """The fitted loss at each pair of N and D."""
        by_n = np.exp(self.log_scale_n - self.exponent_n * np.log(np.asarray(n, dtype=float)))
        return self.floor + by_n + np.exp(self.log_scale_d - self.exponent_d * np.log(np.asarray(d, dtype=float)))


def fit_power_law(cost: ArrayLike, error: ArrayLike, *, delta: float | None = None) -> PowerLaw:
    """Fits error = E + A·C^(−α) with E ≥ 0, Huber loss on ln error, from a grid of starts.

    Args:
        cost: (n,), in any unit: scaling it by k multiplies A by k^α and changes nothing else.
        error: (n,), in any unit: scaling it scales E and A.
        delta: of the loss, in units of ln error. None: 1.345 residual scales, and at least 0.001.

    Raises:
        ValueError: a value that is not positive and finite, fewer than three points, or one cost only.
    """
    inputs, y = checked(error, FLOOR.degrees, cost=cost)
    fit = fit_form(FLOOR, inputs, y, delta)
    decades = _decades(inputs[0])
    floor, log_scale, exponent = map(float, fit.natural)
    judged = identifiability(fit, decades)
    return PowerLaw(floor, log_scale, exponent, *_quality(fit), decades=decades, identifiability=judged)


def fit_chinchilla(n: ArrayLike, d: ArrayLike, error: ArrayLike, *, delta: float | None = None) -> Chinchilla:
    """Fits L = E + A/N^α + B/D^β (Hoffmann et al. 2022, arXiv 2203.15556, approach 3), loss as in `fit_power_law`.

    Args:
        n: (points,), the size of the model. d: (points,), how much data it saw. error: (points,).
        delta: as in `fit_power_law`; Hoffmann et al. took 0.001.

    Raises:
        ValueError: a value that is not positive and finite, fewer than five points, one N or one D only.
    """
    inputs, y = checked(error, CHINCHILLA.degrees, n=n, d=d)
    fit = fit_form(CHINCHILLA, inputs, y, delta)
    decades = _decades(inputs.prod(0))
    judged = identifiability(fit, decades)
    floor, log_scale_n, exponent_n, log_scale_d, exponent_d = map(float, fit.natural)
    return Chinchilla(
        floor, log_scale_n, exponent_n, log_scale_d, exponent_d, *_quality(fit), decades=decades, identifiability=judged
    )


def cost_to_error(floor: ArrayLike, log_scale: ArrayLike, exponent: ArrayLike, error: ArrayLike) -> np.ndarray:
    """(A/(error − E))^(1/α), broadcast over fits and errors; infinite where error ≤ E, α ≤ 0 or no float holds it."""
    floor, log_scale, exponent = (np.asarray(x, dtype=float) for x in (floor, log_scale, exponent))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        above = np.asarray(error, dtype=float) - floor
        cost = np.exp((log_scale - np.log(above)) / exponent)
    return np.where((above > 0) & (exponent > 0), cost, np.inf)


def _decades(values: np.ndarray) -> float:
    return float(np.log10(values.max() / values.min()))


def _quality(fit: Fit) -> tuple[float, float, float, int]:
    return fit.objective, fit.residual_scale, fit.delta, len(fit.residual)
