"""Which form predicts costs that it has not seen? Fitted below, judged on the top decade of cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtri

from reports.scaling.bootstrap import Clusters, factors_of, resampled
from reports.scaling.core import Fit, checked, deviance, fit_form, free_parameters, refit
from reports.scaling.forms import BROKEN, EXPONENTIAL, FLOOR, POWER, Form
from reports.scaling.intervals import Bootstrap
from reports.scaling.solver import log_model, minimise

FORMS = (POWER, FLOOR, BROKEN, EXPONENTIAL)
FLOORS = np.linspace(0.05, 0.95, 19)  # tried, as shares of the least fitted error
LARGE = 700.0  # ln of an error that no float holds: forms may predict 0


@dataclass(frozen=True)
class Forecast:
    """One form's prediction of the held-out points, ascending in cost.

    `score`: mean |ln(predicted/observed)|, lower is better. `predicted`, `low`, `high`: (m,), pointwise, the interval
    at `level` for one more observation: that of the prediction and that of the residuals, added as variances are.
    `inside`: share of the points in it. `bias`: mean of ln(observed/predicted); `bias_interval`: what it may be if the
    form holds, and `p`, two-sided: how rarely it is more. `predicts`: it is that. A form that fits badly below has a
    wide interval, so `predicts` counts only together with the `score`.
    """

    form: str
    equation: str
    score: float
    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inside: float
    bias: float
    bias_interval: tuple[float, float]
    level: float
    p: float

    @property
    def predicts(self) -> bool:
        return bool(self.bias_interval[0] <= self.bias <= self.bias_interval[1])


@dataclass(frozen=True)
class HeldOut:
    """Forecasts by score, the best first. `cost`, `error`: (m,), the points held out. `fitted`: points below."""

    forecasts: tuple[Forecast, ...]
    cost: np.ndarray
    error: np.ndarray
    fitted: int

    def forecast(self, form: str) -> Forecast:
        """That of the form of this name."""
        for forecast in self.forecasts:
            if forecast.form == form:
                return forecast
        raise ValueError(f"no form is called {form!r}; there are {', '.join(f.form for f in self.forecasts)}")


def compare_forms(
    cost: ArrayLike,
    error: ArrayLike,
    clusters: Clusters = None,
    *,
    decades: float = 1.0,
    level: float = 0.9,
    delta: float | None = None,
    forms: Sequence[Form] = FORMS,
) -> HeldOut:
    """Fits each form to all but the top `decades` of cost and predicts those.

    Intervals are by the jackknife over clusters, as in `Bootstrap.interval`: each is left out below and above, so that
    what its points share, in the range fitted and in the range predicted, is in them.

    Args: as `bootstrap_power_law`. `level`: of the intervals.

    Raises:
        ValueError: as the fits; or nothing below the held-out range, or fewer points there than a form has parameters.
    """
    inputs, y = checked(error, 1, cost=cost)
    if not decades > 0:
        raise ValueError(f"decades must be positive, not {decades}")
    order = np.argsort(inputs[0], kind="stable")
    inputs, y = inputs[:, order], y[order]
    factors = [labels[order] for labels in factors_of(clusters, len(y))]
    above = inputs[0] > inputs[0, -1] / 10**decades * (1 + 1e-9)  # rounding: the edge itself is fitted
    below = ~above
    most = max(form.degrees for form in forms)
    if below.sum() < most or len(np.unique(inputs[0, below])) < 2:
        raise ValueError(
            f"{int(below.sum())} of {len(y)} points lie below the top {decades:g} decades of cost; at least {most} at "
            "two costs are needed: run smaller budgets too"
        )
    _, without = resampled(factors, 2, 0)
    levels = tuple(len(np.unique(labels)) for labels in factors)
    forecasts = []
    for form in forms:
        fit = fit_form(form, inputs[:, below], y[below], delta)
        forecasts.append(
            _forecast(
                fit, without, [labels[below] for labels in factors], levels, below, inputs[:, above], y[above], level
            )
        )
    return HeldOut(
        tuple(sorted(forecasts, key=lambda forecast: forecast.score)), inputs[0, above], y[above], int(below.sum())
    )


def _forecast(
    fit: Fit,
    without: Sequence[np.ndarray],
    factors: Sequence[np.ndarray],
    levels: tuple[int, ...],
    below: np.ndarray,
    inputs: np.ndarray,
    y: np.ndarray,
    level: float,
) -> Forecast:
    """`without`: per factor (levels, n), weights of all points with each level left out. `factors`: of those below.
    `inputs`, `y`: of those above."""
    costs, at = np.unique(inputs, axis=1, return_inverse=True)
    observed = np.log(y)

    def predicted(theta: np.ndarray, best: np.ndarray) -> np.ndarray:
        return np.clip(fit.log_predict(theta, best, costs), -LARGE, LARGE)

    def mean(theta: np.ndarray) -> np.ndarray:
        return predicted(theta, np.full(len(theta), fit.best))[:, at].mean(1)

    middle = predicted(fit.theta[None], np.array([fit.best]))[0]
    bias = float((observed - middle[at]).mean())
    jackknife = []  # per factor (levels, 1 + costs): the bias and the predictions
    for weights in without:
        theta, _, best = refit(fit, weights[:, below])
        moved, kept = predicted(theta, best), weights[:, ~below]
        left = kept.sum(1)
        biases = (kept * (observed - moved[:, at])).sum(1) / np.maximum(left, 1)
        jackknife.append(np.column_stack([np.where(left > 0, biases, bias), moved]))
    names = ("bias", *(str(i) for i in range(len(middle))))
    estimate = np.concatenate([[bias], middle])
    spread = Bootstrap(names, estimate, np.repeat(estimate[None], 2, 0), tuple(jackknife), levels)
    half = np.array([_half(spread, name, level) for name in names])
    biased = np.hypot(half[0], _floor_bias(fit, factors, level, mean))
    n, tail = len(fit.residual), (1 - level) / 2
    residual = (fit.residual - fit.residual.mean()) * np.sqrt(n / max(n - fit.form.degrees, 1))
    noise = np.quantile(-residual, (tail, 1 - tail))
    low, high = middle - np.hypot(half[1:], noise[0]), middle + np.hypot(half[1:], noise[1])
    return Forecast(
        fit.form.name,
        fit.form.equation,
        float(np.abs(middle[at] - observed).mean()),
        np.exp(middle[at]),
        np.exp(low[at]),
        np.exp(high[at]),
        float(((low[at] <= observed) & (observed <= high[at])).mean()),
        bias,
        (-float(biased), float(biased)),
        level,
        spread.p_value("bias", bias * (1 - half[0] / biased) if biased > 0 else 0.0),
    )


def _floor_bias(
    fit: Fit, factors: Sequence[np.ndarray], level: float, mean: Callable[[np.ndarray], np.ndarray]
) -> float:
    """How far the mean prediction moves with floors that the points allow, of a fit whose floor is held at 0.

    There the jackknife sees nothing of the floor, since with any cluster left out it is held at 0 as well. Floors are
    allowed whose deviance is below the quantile of F(1, G − 1) for G clusters, times how much more sums of residuals
    over clusters vary than those of independent points do. `factors`: of the points fitted. `mean`: of θ (B, p).
    """
    if not fit.form.floor or fit.theta[0] > 0 or len(fit.points[fit.best].features) > 1:
        return 0.0
    points, free = fit.points[fit.best], free_parameters(fit.form)
    free[0] = False
    fitted = np.exp(log_model(fit.theta[None], points.features)[0])
    starts = np.repeat(fit.theta[None], len(FLOORS), 0)
    starts[:, 0] = FLOORS * fitted.min()
    starts[:, 1] -= (log_model(starts, points.features) - points.log_y).mean(1)
    theta, objective = minimise(points, starts, np.ones(len(points.log_y)), free)
    together = [np.bincount(np.unique(labels, return_inverse=True)[1], fit.residual) for labels in factors]
    total = float((fit.residual**2).sum())
    effect = max([1.0, *(float((sums**2).sum()) / total for sums in together)]) if total > 0 else 1.0
    clusters = min(len(sums) for sums in together)
    allowed = deviance(fit, objective) <= effect * fdtri(1, clusters - 1, level)
    moved = np.abs(mean(theta) - mean(fit.theta[None]))
    return float(moved[allowed].max(initial=0.0))


def _half(spread: Bootstrap, name: str, level: float) -> float:
    """Half the width of the jackknife interval."""
    interval = spread.interval(name, level, "jackknife")
    return float(interval.high - interval.low) / 2
