"""Two published results that this package is checked against: Thompson et al. 2020, arXiv 2007.05558.

The regressions: log10(1/error) = a + b·log10 C by least squares over published systems. The toy: of 1,000 features
10 matter, and four models know more or less of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.core import checked

PATH_STEPS = 300  # of the solver of the regularised model, for each penalty
PENALTIES = 12


@dataclass(frozen=True)
class Regression:
    """log10(1/error) = `intercept` + `exponent`·log10 C, over `points`, explaining `r_squared` of the variance."""

    intercept: float
    exponent: float
    r_squared: float
    points: int

    def cost(self, error: float) -> float:
        """The cost at which the line comes down to the error: 10^((log10(1/error) − a)/b)."""
        return float(10 ** ((-np.log10(error) - self.intercept) / self.exponent))


def regress(cost: ArrayLike, error: ArrayLike) -> Regression:
    """Ordinary least squares of log10(1/error) on log10 cost, without a floor, as Thompson et al. did.

    Raises:
        ValueError: a value that is not positive and finite, fewer than three points, or one cost only.
    """
    (c,), y = checked(error, 3, cost=cost)
    x, z = np.log10(c), -np.log10(y)
    slope = float(((x - x.mean()) * (z - z.mean())).sum() / ((x - x.mean()) ** 2).sum())
    intercept = float(z.mean() - slope * x.mean())
    total = float(((z - z.mean()) ** 2).sum())
    left = float(((z - intercept - slope * x) ** 2).sum())
    return Regression(intercept, slope, 1 - left / total if total > 0 else 1.0, len(x))


@dataclass(frozen=True)
class Toy:
    """Mean squared error over that of predicting 0, shape (models, samples), a median over `repeats`.

    `flop`: (models, samples), multiply-adds as 2, of the solver used. Models as in `MODELS`.
    """

    samples: np.ndarray
    error: np.ndarray
    flop: np.ndarray
    repeats: int


MODELS = ("oracle", "expert", "flexible", "regularised")


def toy(
    samples: Sequence[int],
    *,
    features: int = 1000,
    active: int = 10,
    noise: float = 1.0,
    repeats: int = 5,
    seed: int = 0,
) -> Toy:
    """y = Σ over the active features of x + noise·ε, all standard normal; errors are exact, on noise-free truth.

    oracle: least squares on the active features. expert: on all but one of them and a wrong one, so that it never comes
    below 1/active. flexible: least squares on all, of least norm where samples are fewer. regularised: the lasso on
    all, its penalty chosen on a fifth of the samples held out.

    Raises:
        ValueError: fewer than 10 samples, or not more features than active ones.
    """
    if min(samples) < 10 or not 1 < active < features:
        raise ValueError(f"10 samples at least and 1 < active < features, not {min(samples)}, {active} and {features}")
    truth = np.zeros(features)
    truth[:active] = 1.0
    error = np.empty((repeats, len(MODELS), len(samples)))
    for repeat in range(repeats):
        for column, n in enumerate(samples):
            rng = np.random.default_rng([seed, repeat, n])
            x = rng.standard_normal((n, features))
            y = x @ truth + noise * rng.standard_normal(n)
            for row, weights in enumerate(_models(x, y, active)):
                error[repeat, row, column] = ((weights - truth) ** 2).sum() / active
    flop = np.array([[_flop(model, n, features, active) for n in samples] for model in MODELS])
    return Toy(np.array(samples), np.median(error, axis=0), flop, repeats)


def _models(x: np.ndarray, y: np.ndarray, active: int) -> list[np.ndarray]:
    """The weights of each model, zero at the features that it leaves out."""
    some = [np.arange(active), np.arange(1, active + 1), np.arange(x.shape[1])]
    fitted = []
    for columns in some:
        weights = np.zeros(x.shape[1])
        weights[columns] = _least_squares(x[:, columns], y)
        fitted.append(weights)
    return [*fitted, _lasso(x, y)]


def _least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares, of least norm where there are fewer samples than features, by the smaller Gram matrix."""
    n, p = x.shape
    if n < p:
        return x.T @ np.linalg.solve(x @ x.T, y)
    return np.linalg.solve(x.T @ x, x.T @ y)


def _lasso(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """argmin ‖y − xw‖²/2n + λ‖w‖₁ by FISTA (Beck & Teboulle 2009) down a path of λ; λ from a fifth held out."""
    cut = max(len(y) // 5, 2)
    paths = []
    top = float(np.abs(x.T @ y).max() / len(y))
    penalties = top * np.geomspace(0.8, 0.02, PENALTIES)
    for rows in (slice(cut, None), slice(None)):
        a, b = x[rows], y[rows]
        rate = len(b) / (np.sqrt(len(b)) + np.sqrt(x.shape[1]) + 3) ** 2  # bounds ‖a‖² (Davidson & Szarek 2001)
        weights, path = np.zeros(x.shape[1]), []
        for penalty in penalties:
            ahead, momentum = weights, 1.0
            for _ in range(PATH_STEPS // PENALTIES):
                moved = ahead - rate / len(b) * (a.T @ (a @ ahead - b))
                new = np.sign(moved) * np.maximum(np.abs(moved) - rate * penalty, 0)
                faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
                ahead, weights, momentum = new + (momentum - 1) / faster * (new - weights), new, faster
            path.append(weights)
        paths.append(np.array(path))
    held = ((x[:cut] @ paths[0].T - y[:cut, None]) ** 2).mean(0)
    return paths[1][int(held.argmin())]


def _flop(model: str, n: int, features: int, active: int) -> float:
    """2·n·p·min(n, p) for the Gram matrix of least squares, the rest being small; 4·n·p a step for the lasso, twice."""
    if model == "regularised":
        return 4.0 * n * features * PATH_STEPS * 1.8
    p = features if model == "flexible" else active
    return 2.0 * n * p * min(n, p)
