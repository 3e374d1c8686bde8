"""One form fitted to one set of points from a grid of starts, and refitted to many resamples of them at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.forms import Form, Scaling
from reports.scaling.solver import Points, huber, log_model, minimise

FLOORS = (0.0, 0.5, 0.95)  # starts of E, as shares of the lowest error
EXPONENTS = (0.05, 0.2, 0.6, 1.5, 4.0)  # starts of the exponents, for features of standard deviation 1
LEAST_DELTA = 1e-3  # Hoffmann et al. 2022
SQUARES = 1e3  # a δ so wide that the loss is that of least squares
WIDE, FIRST_STEPS, VALLEYS = 0.1, 20, 4
CANDIDATES = 4  # of the places of a break, those kept after a linear fit
LOOK = 40  # steps from a second start, before it is given up
EFFICIENT = 1.345  # Huber's δ in residual scales: 95% efficiency under normal noise (Huber 1981)


@dataclass(frozen=True)
class Fit:
    """A fitted form: per candidate its scaling, its points and its θ (p,), scaled; `best` is the one that fits best.

    `residual`: (n,), ln of fitted over observed.
    """

    form: Form
    scalings: tuple[Scaling, ...]
    points: tuple[Points, ...]
    thetas: tuple[np.ndarray, ...]
    best: int
    objective: float

    @property
    def theta(self) -> np.ndarray:
        return self.thetas[self.best]

    @property
    def natural(self) -> np.ndarray:
        return self.scalings[self.best].natural(self.theta[None])[0]

    @property
    def delta(self) -> float:
        return self.points[0].delta

    @property
    def residual(self) -> np.ndarray:
        data = self.points[self.best]
        return log_model(self.theta[None], data.features)[0] - data.log_y

    @property
    def residual_scale(self) -> float:
        """1.4826 × the median absolute residual, widened by √(n/(n − p)): σ of ln error, if the noise is normal."""
        return _scale(self.residual, self.form.degrees)

    def log_predict(self, theta: np.ndarray, best: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """ln error at inputs (d, m) by each of the fits θ (B, p), of which `best` (B,) says the candidate: (B, m)."""
        predicted = np.empty((len(theta), inputs.shape[1]))
        for candidate in np.unique(best):
            rows, scaling = best == candidate, self.scalings[candidate]
            predicted[rows] = log_model(theta[rows], scaling.features(inputs)) + scaling.log_unit
        return predicted


def checked(error: ArrayLike, degrees: int, **inputs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (d, n) and errors (n,), all positive and finite, or a ValueError that says what is wrong."""
    columns = {name: np.asarray(values, dtype=float) for name, values in (inputs | {"error": error}).items()}
    for name, values in columns.items():
        if values.ndim != 1:
            raise ValueError(f"{name} must be a flat list of numbers, not of shape {values.shape}")
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise ValueError(
                f"{name} must be positive and finite; point {bad[0]} is {values[bad[0]]:g} ({len(bad)} such of "
                f"{len(values)}): leave out runs that diverged and references that cost nothing"
            )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"every point needs all its figures, but the lengths are {lengths}")
    n = lengths["error"]
    if n < degrees:
        raise ValueError(f"{degrees} parameters need at least {degrees} points, got {n}")
    for name in inputs:
        if degrees > 1 and np.ptp(np.log(columns[name])) <= 1e-12:
            raise ValueError(
                f"every point has the same {name} ({columns[name][0]:g}): vary it over 2.5 decades or more"
            )
    return np.stack([columns[name] for name in inputs]), columns["error"]


def fit_form(form: Form, inputs: np.ndarray, error: np.ndarray, delta: float | None = None) -> Fit:
    """The best of the local minima found from a grid of starts. `inputs`: (d, n); see `checked`.

    `delta` None: 1.345 residual scales, and at least 0.001: squares are fitted first, then twice with the δ so far.
    """
    if delta is not None and not (np.isfinite(delta) and delta > 0):
        raise ValueError(f"delta, in units of ln error, must be positive, not {delta}")
    scalings = tuple(Scaling.of(raw, inputs, error) for raw in form.candidates(inputs))
    log_y, stages = np.log(error) - scalings[0].log_unit, [delta] if delta else [SQUARES, None, None]
    if form.straight:
        scalings, valleys = _straight(scalings, inputs, log_y)
        features = [scaling.features(inputs) for scaling in scalings]
    else:
        features = [scaling.features(inputs) for scaling in scalings]
        valleys = [_starts(form, log_y, x) for x in features]
    residual = log_y
    for stage in stages:
        delta = stage or max(EFFICIENT * _scale(residual, form.degrees), LEAST_DELTA)
        points = tuple(Points(log_y, x, delta) for x in features)
        found = [_descend(form, p, starts) for p, starts in zip(points, valleys, strict=True)]
        valleys = [theta for theta, _ in found]
        best = min(range(len(found)), key=lambda i: found[i][1][0])
        residual = log_model(valleys[best][:1], features[best])[0] - log_y
    return Fit(form, scalings, points, tuple(theta[0] for theta in valleys), best, float(found[best][1][0]))


def _descend(form: Form, points: Points, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The deepest valleys below the starts, deepest first: some steps from each, then the best of them to the end.

    The first steps are with a wide δ: the loss is then smooth, and few starts are lost in a plain.
    """
    weights = np.ones(len(points.log_y))
    if len(starts) > VALLEYS:
        wide = Points(points.log_y, points.features, max(points.delta, WIDE))
        starts, _ = minimise(wide, starts, weights, free_parameters(form), steps=FIRST_STEPS)
        losses = huber(log_model(starts, points.features) - points.log_y, points.delta).sum(1)
        starts = starts[np.argsort(losses, kind="stable")[:VALLEYS]]
    theta, objective = minimise(points, starts, weights, free_parameters(form))
    order = np.argsort(objective, kind="stable")
    return theta[order], objective[order]


def refit(fit: Fit, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(θ (B, p), natural θ (B, p), candidate (B,)): the fit under each row of weights (B, n), all rows at once.

    Descends from the fit. A resample may have its minimum in another valley; with one term that is one of a higher
    floor and a larger exponent, and those are tried too. What the full grid of starts would still better is measured by
    `benchmarks/scaling_fits.py`.
    """
    weights, place = np.unique(weights, axis=0, return_inverse=True)  # of few clusters there are few resamples
    size = len(weights)
    best, theta, objective = np.zeros(size, dtype=int), np.empty((size, len(fit.theta))), np.full(size, np.inf)
    for index, points in enumerate(fit.points):
        new, value = minimise(points, np.repeat(fit.thetas[index][None], size, 0), weights, free_parameters(fit.form))
        better = value < objective
        theta[better], objective[better], best[better] = new[better], value[better], index
        for start in _higher(fit, points):
            many = np.repeat(start[None], size, 0)
            new, value = minimise(points, many, weights, free_parameters(fit.form), steps=LOOK)
            rows = np.flatnonzero(value < objective * (1 - 1e-9) - 1e-25)
            if len(rows):
                theta[rows], objective[rows] = minimise(points, new[rows], weights[rows], free_parameters(fit.form))
    natural = np.empty_like(theta)
    for index in np.unique(best):
        natural[best == index] = fit.scalings[index].natural(theta[best == index])
    return theta[place], natural[place], best[place]


def _higher(fit: Fit, points: Points) -> list[np.ndarray]:
    """Starts with a higher floor and a larger exponent, where needed: if the fit has no floor, or they lead elsewhere.

    None for forms of two terms.
    """
    if not fit.form.floor or len(points.features) > 1:
        return []
    fitted = np.exp(log_model(fit.theta[None], points.features)[0])
    starts = []
    for share, factor in ((0.8, 2.0), (0.9, 4.0)):
        floor = share * float(fitted.min())
        scale = float(np.log(fitted - floor).mean())
        starts.append(np.array([floor, scale, max(float(fit.theta[2]), 0.1) * factor]))
    _, reached = minimise(points, np.array(starts), np.ones(len(points.log_y)), free_parameters(fit.form), steps=LOOK)
    elsewhere = (reached > fit.objective * (1 + 1e-6) + 1e-25) | (fit.theta[0] <= 0)
    return [start for start, needed in zip(starts, elsewhere, strict=True) if needed]


def deviance(fit: Fit, objective: np.ndarray) -> np.ndarray:
    """2·(F − F̂)·mean ψ′/(Σψ²/(n − p)): about F-distributed on 1 and n − p degrees if one parameter was held.

    The likelihood ratio of M-estimates (Schrader & Hettmansperger 1980, Biometrika 67:93); plain least squares gives
    the usual F statistic. Residuals are taken as no smaller than rounding, so that exact data are told exactly.
    """
    residual, degrees = fit.residual, len(fit.residual) - fit.form.degrees
    psi = np.clip(residual, -fit.delta, fit.delta)
    inside = max(float((np.abs(residual) <= fit.delta).mean()), 1 / len(residual))
    variance = max(float((psi**2).sum()) / max(degrees, 1), 1e-26)
    return 2 * np.maximum(objective - fit.objective, 0) * inside / variance


def free_parameters(form: Form) -> np.ndarray:
    free = np.ones(len(form.parameters), dtype=bool)
    free[0] = form.floor
    return free


def _straight(
    scalings: tuple[Scaling, ...], inputs: np.ndarray, log_y: np.ndarray
) -> tuple[tuple[Scaling, ...], list[np.ndarray]]:
    """The candidates of least squared error of ln, best first, and for each its θ (1, p): those of a linear fit."""
    found = []
    for scaling in scalings:
        (x,) = scaling.features(inputs)
        design = np.concatenate([np.ones((1, len(log_y))), -x]).T
        solution, *_ = np.linalg.lstsq(design, log_y, rcond=None)
        found.append((float(((design @ solution - log_y) ** 2).sum()), np.concatenate([[0.0], solution])[None]))
    order = sorted(range(len(found)), key=lambda i: found[i][0])[:CANDIDATES]
    return tuple(scalings[i] for i in order), [found[i][1] for i in order]


def _starts(form: Form, log_y: np.ndarray, features: Sequence[np.ndarray]) -> np.ndarray:
    """Variable projection, roughly: for each floor and exponents the scales follow from the mean of ln(error − E)."""
    lowest, starts = float(np.exp(log_y.min())), []
    floors: Sequence[float] = FLOORS if form.floor else (0.0,)
    count = len(features)
    for share in floors:
        scale = float(np.log(np.exp(log_y) - share * lowest).mean() - np.log(count))
        for exponents in itertools.product(EXPONENTS, repeat=count):
            parts = ([scale, exponent, *[0.0] * (len(x) - 1)] for exponent, x in zip(exponents, features, strict=True))
            starts.append([share * lowest, *itertools.chain(*parts)])
    return np.array(starts)


def _scale(residual: np.ndarray, degrees: int) -> float:
    n = len(residual)
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(n / max(n - degrees, 1)))
