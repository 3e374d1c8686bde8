"""Many small robust fits at once: Huber loss on log errors, minimised by damped Newton steps over a whole batch.

Every form fitted here is a floor plus one or two terms that are exponential in known features:

    f_i(θ) = E + Σ_k exp(a_k − Σ_j α_kj x_kji),        E ≥ 0

    F(θ) = Σ_i w_i ρ_δ(ln f_i(θ) − ln y_i),   ρ_δ(r) = r²/2 for |r| ≤ δ,  δ(|r| − δ/2) beyond

The parameters of one fit are θ = (E, a_1, α_1…, a_2, α_2…). With x = ln C a term is a power law, with x = C an
exponential. Bootstrap resamples are the same points with other weights, and starts are other θ, so both are rows of
one batch. There are at most five parameters, so the exact Hessian costs little more than the gradient, and Newton's
method needs some ten steps where L-BFGS needs hundreds. The damping is that of Levenberg and Marquardt, scaled by the
diagonal of the iteratively reweighted least-squares matrix, which never vanishes. E is kept at or above 0 by
projection (Bertsekas 1982, SIAM J. Control Optim. 20:221): at 0 with the gradient pointing outwards it is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 200
ROWS = 128  # fits in one block: its arrays stay in the processor's second-level cache
STALLED = 1e12  # damping beyond which no step can be told from rounding


@dataclass(frozen=True)
class Points:
    """What is fitted. `log_y`: (n,), n points. `features`: (q, n) for each term."""

    log_y: np.ndarray
    features: tuple[np.ndarray, ...]
    delta: float


def terms(theta: np.ndarray, features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The terms exp(a_k − Σ_j α_kj x_kj), each (B, n), at θ of shape (B, p)."""
    values, first = [], 1
    for x in features:
        q = len(x)
        drop = theta[:, first + 1 : first + 1 + q] @ x
        np.subtract(theta[:, first, None], drop, out=drop)
        values.append(np.exp(drop, out=drop))
        first += 1 + q
    return values


def log_model(theta: np.ndarray, features: Sequence[np.ndarray]) -> np.ndarray:
    """ln f, shape (B, n), at θ of shape (B, p). Minus infinity where every term vanishes."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.log(theta[:, :1] + sum(terms(theta, features)))


def huber(residual: np.ndarray, delta: float) -> np.ndarray:
    """ρ_δ, elementwise."""
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return inner * (size - 0.5 * inner)


def minimise(
    points: Points, start: np.ndarray, weights: np.ndarray, free: np.ndarray | None = None, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """(θ, F) of shapes (B, p) and (B,): each fit of the batch descended from its own start.

    `start`: (B, p). `weights`: (B, n), or (n,) for all. `free`: (p,), which parameters move. A fit stops when the
    decrease that Newton's model promises is below rounding, or after `steps` steps.
    """
    theta = np.array(start, dtype=float)
    objective = np.empty(len(theta))
    free = np.ones(theta.shape[1], dtype=bool) if free is None else free
    for first in range(0, len(theta), ROWS):
        block = np.arange(first, min(first + ROWS, len(theta)))
        own = weights if weights.ndim == 1 else weights[block]
        theta[block], objective[block] = _minimise_block(points, theta[block], own, free, steps)
    return theta, objective


def _minimise_block(
    points: Points, theta: np.ndarray, weights: np.ndarray, free: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    damping = np.full(len(theta), 1e-3)
    rows, own = np.arange(len(theta)), weights  # of the fits still moving
    value, gradient, hessian, scale = _expand(points, theta, weights)
    objective = value.copy()
    rounding = 1e-30 * np.broadcast_to(weights, (len(theta), len(points.log_y))).sum(1)
    for _ in range(steps):
        step, promised = _step(theta[rows], gradient, hessian, scale, damping[rows], free)
        moving = (promised > 1e-13 * value + rounding[rows]) & (damping[rows] < STALLED)
        trial = theta[rows] + step
        trial[:, 0] = np.maximum(trial[:, 0], 0.0)
        new = _expand(points, trial, own)
        better = new[0] < value
        theta[rows[better]] = trial[better]
        damping[rows] = np.where(better, np.maximum(damping[rows] * 0.1, 1e-12), damping[rows] * 8.0)
        value = np.where(better, new[0], value)
        objective[rows] = value
        gradient = np.where(better[:, None], new[1], gradient)
        hessian = np.where(better[:, None, None], new[2], hessian)
        scale = np.where(better[:, None], new[3], scale)
        if not moving.all():
            kept = np.flatnonzero(moving)
            rows, value, gradient, hessian, scale = rows[kept], value[kept], gradient[kept], hessian[kept], scale[kept]
            own = own if own.ndim == 1 else own[kept]
            if not len(rows):
                break
    return theta, objective


def _step(
    theta: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    scale: np.ndarray,
    damping: np.ndarray,
    free: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The damped Newton step and the decrease it promises; parameters that are held stay."""
    held = np.broadcast_to(~free, theta.shape).copy()
    held[:, 0] |= (theta[:, 0] <= 0) & (gradient[:, 0] >= 0)
    diagonal = np.arange(theta.shape[1])
    matrix = hessian.copy()
    matrix[:, diagonal, diagonal] += damping[:, None] * scale + 1e-300
    matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
    matrix[:, diagonal, diagonal] += held
    slope = np.where(held, 0.0, gradient)
    size = np.maximum(np.abs(matrix[:, diagonal, diagonal]), 1e-12 * scale)
    unit = 1 / np.sqrt(np.maximum(size, 1e-200))  # so that no row is tiny beside another
    matrix = matrix * unit[:, :, None] * unit[:, None, :]
    matrix[:, diagonal, diagonal] += 1e-14  # a singular matrix gives a long step, which is refused and damped
    try:
        solved = np.linalg.solve(matrix, (unit * slope)[:, :, None])
    except np.linalg.LinAlgError:  # singular to the last bit: one is enough for the whole block to be refused
        solved = np.linalg.pinv(matrix) @ (unit * slope)[:, :, None]
    step = -unit * solved[:, :, 0]
    uphill = (step * slope).sum(1) > 0  # an indefinite Hessian
    step = np.where(uphill[:, None], -slope / np.where(held, 1.0, scale * (1 + damping[:, None]) + 1e-300), step)
    promised = -0.5 * (step * slope).sum(1)
    return step, promised


def _expand(points: Points, theta: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """F, its gradient (B, p) and Hessian (B, p, p), and the diagonal of the reweighted least-squares matrix (B, p)."""
    size, n = len(theta), len(points.log_y)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = terms(theta, points.features)
        model = theta[:, :1] + sum(values)
        inverse = 1 / model
        residual = np.log(model) - points.log_y
        slope = np.clip(residual, -points.delta, points.delta)
        absolute = np.abs(residual)
        inside = absolute <= points.delta
        value = (weights * (np.abs(slope) * (absolute - 0.5 * np.abs(slope)))).sum(1)
        jacobian = np.empty((size, theta.shape[1], n))
        jacobian[:, 0] = inverse
        first = 1
        for term, x in zip(values, points.features, strict=True):
            q = len(x)
            np.multiply(term, inverse, out=jacobian[:, first])
            np.multiply(-jacobian[:, first, None], x, out=jacobian[:, first + 1 : first + 1 + q])
            first += 1 + q
        weighted = weights * slope
        gradient = (jacobian @ weighted[:, :, None])[:, :, 0]
        hessian = (jacobian * (weights * inside - weighted)[:, None, :]) @ jacobian.transpose(0, 2, 1)
        first = 1
        for x in points.features:
            q = len(x)
            block = slice(first, first + 1 + q)
            basis = np.concatenate([np.ones((1, n)), -x])
            hessian[:, block, block] += (jacobian[:, block] * weighted[:, None, :]) @ basis.T
            first += 1 + q
        reweighted = weights * (points.delta / np.maximum(absolute, points.delta))
        scale = ((jacobian * jacobian) @ reweighted[:, :, None])[:, :, 0]
    good = np.isfinite(value) & np.isfinite(hessian).all((1, 2)) & np.isfinite(gradient).all(1)
    good &= np.isfinite(scale).all(1)
    if not good.all():  # a start or a step beyond all reason: no slope, so that it stays or is refused
        value[~good], gradient[~good], hessian[~good], scale[~good] = np.inf, 0.0, 0.0, 0.0
    return value, gradient, hessian, scale
