"""Which form predicts costs that it has not seen? Fitted below, judged on the top decade of cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.bootstrap import Clusters, factors_of, resampled
from reports.scaling.core import Fit, checked, fit_form, refit
from reports.scaling.forms import BROKEN, EXPONENTIAL, FLOOR, POWER, Form
from reports.scaling.intervals import expanded_tail

FORMS = (POWER, FLOOR, BROKEN, EXPONENTIAL)


@dataclass(frozen=True)
class Forecast:
    """One form's prediction of the held-out points, ascending in cost.

    `score`: mean |ln(predicted/observed)|, lower is better. `predicted`, `low`, `high`: (m,), pointwise, the interval
    at `level` for one more observation (resampled parameters and residuals). `inside`: share of the points in it.
    `bias`: mean of ln(observed/predicted); `bias_interval`: what it may be if the form holds. `predicts`: it is that.
    A form that fits badly below has a wide interval, so `predicts` counts only together with the `score`.
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
    resamples: int = 400,
    level: float = 0.9,
    seed: int = 0,
    delta: float | None = None,
    forms: Sequence[Form] = FORMS,
) -> HeldOut:
    """Fits each form to all but the top `decades` of cost and predicts those.

    Args: as `bootstrap_power_law`. `level`: of the prediction intervals, widened for few clusters as there.

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
    weights, _ = resampled([labels[below] for labels in factors], resamples, seed)
    count = min(len(np.unique(labels[below])) for labels in factors)
    side = expanded_tail((1 - level) / 2, count)
    rng = np.random.default_rng([seed, 1])
    forecasts = []
    for form in forms:
        fit = fit_form(form, inputs[:, below], y[below], delta)
        forecasts.append(_forecast(fit, weights, inputs[:, above], y[above], level, side, rng))
    return HeldOut(
        tuple(sorted(forecasts, key=lambda forecast: forecast.score)), inputs[0, above], y[above], int(below.sum())
    )


def _forecast(
    fit: Fit,
    weights: np.ndarray,
    inputs: np.ndarray,
    y: np.ndarray,
    level: float,
    side: float,
    rng: np.random.Generator,
) -> Forecast:
    theta, _, best = refit(fit, weights)
    middle = fit.log_predict(fit.theta[None], np.array([fit.best]), inputs)[0]
    spread = fit.log_predict(theta, best, inputs)
    n = len(fit.residual)
    noise = (fit.residual - fit.residual.mean()) * np.sqrt(n / max(n - fit.form.degrees, 1))
    future = spread + rng.choice(noise, size=spread.shape)
    low, high = np.quantile(future, (side, 1 - side), axis=0)
    observed = np.log(y)
    biases = (future - middle).mean(1)
    bias_low, bias_high = np.quantile(biases, (side, 1 - side))
    return Forecast(
        fit.form.name,
        fit.form.equation,
        float(np.abs(middle - observed).mean()),
        np.exp(middle),
        np.exp(low),
        np.exp(high),
        float(((low <= observed) & (observed <= high)).mean()),
        float((observed - middle).mean()),
        (float(bias_low), float(bias_high)),
        level,
    )
