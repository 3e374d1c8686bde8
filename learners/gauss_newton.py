"""Nonlinear least squares for the few parameters of known equations (Levenberg 1944, Marquardt 1963)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hardware.cost import Cost
from learners.backends.base import Engine

TRIALS = 12  # dampings tried before a step that lowers the residual is given up
STALLED = 1e-4  # relative gain below which an undamped step says that the bottom is reached


@dataclass(frozen=True)
class Iteration:
    """The parameters after an iteration, their mean squared residual, and what the iteration cost."""

    theta: np.ndarray
    loss: float
    cost: Cost


def levenberg_marquardt(engine: Engine, theta: np.ndarray, starts: np.ndarray, iterations: int) -> Iterator[Iteration]:
    """Minimise the mean squared training residual r on the windows at `starts`, from theta (p,).

    Solves (J^T J + damping diag(J^T J)) d = -J^T r and keeps a step that lowers the residual. J comes from central
    differences, which work through any solver; their step, the cube root of the precision's spacing, balances
    truncation against rounding. Ends when no step lowers the residual, which in floating point is where rounding hides
    the slope. The linear algebra on the host is charged at its textbook count.
    """
    p, damping = len(theta), 1e-3
    h = float(np.finfo(engine.dtype).eps) ** (1 / 3)
    r, total = engine.residual(theta, starts)
    for _ in range(iterations):
        columns = []
        for direction in np.eye(p):
            (up, cost_up), (down, cost_down) = (engine.residual(theta + s * h * direction, starts) for s in (1, -1))
            columns.append((up - down) / (2 * h))
            total = total + cost_up + cost_down + Cost(2 * r.size).of("elementwise", "float64")
        jacobian = np.stack(columns, axis=1)
        hessian, gradient, loss = jacobian.T @ jacobian, jacobian.T @ r, float(r @ r) / r.size
        total = total + Cost(2 * r.size * p * (p + 1) + 2 * r.size).of("matmul", "float64")
        if not np.isfinite(hessian).all() or not np.isfinite(gradient).all():
            yield Iteration(theta, float("nan"), total)
            return
        scale = np.maximum(np.diag(hessian), 1e-12 * np.max(np.diag(hessian)) + 1e-300)
        improved = stalled = False
        for _ in range(TRIALS):
            trial = theta - np.linalg.solve(hessian + damping * np.diag(scale), gradient)
            candidate, cost = engine.residual(trial, starts)
            total = total + cost + Cost(2 * p**3 // 3 + 2 * p**2 + 2 * r.size).of("linalg", "float64")
            value = float(candidate @ candidate) / r.size
            if value < loss:  # a residual that is not finite is never an improvement
                stalled = loss - value < STALLED * loss and damping < 1e-6
                theta, r, loss, improved, damping = trial, candidate, value, True, damping * 0.1
                break
            damping *= 10
        yield Iteration(theta, loss, total)
        total = Cost()
        if not improved or stalled:
            return
