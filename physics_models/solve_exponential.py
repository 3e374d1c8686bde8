"""Fields whose stiff part is linear: fixed exponential steps of order 4, halved until nothing changes any more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from physics_models.base import System
from physics_models.solution import (
    MAX_REFINEMENT_ERROR,
    Reference,
    SimulationError,
    on_cpu_in_double,
    refinement_error,
    stopped,
)

MAX_STEPS = 2_000_000
# Errors of steps within the tolerance add up to some hundred tolerances along an adaptive solution: as much is asked
# for here, where it can be asked for directly.
TARGET = 1e3
CONTOUR = 64  # points on the circle: 32 give full precision already
# The time at which a solution stops being finite, once it moves by less than this part of the horizon when the step is
# halved, is a property of the equation and not of the step.
SAME_STOP = 0.01


class Table(NamedTuple):
    """Coefficients of steps of several lengths: each (lengths, *shape of the multiplier), but `h`, (lengths,)."""

    h: np.ndarray
    whole: np.ndarray  # exp(L h)
    half: np.ndarray  # exp(L h / 2)
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def solve(system: System, y0: np.ndarray, times: np.ndarray, rtol: float) -> Reference:
    """As `simulate`; all trajectories share their steps, a power of two of them between two times.

    The step is halved until that changes the trajectories by less than 1000 rtol of their size, or as little as
    rounding allows; the last solution is returned, whose own error is about a fifteenth of the last change.

    Method: exponential time differencing, ETDRK4, in Fourier space: the terms in `linear_terms` are taken exactly, the
    others by four stages a step. S. M. Cox and P. C. Matthews, "Exponential time differencing for stiff systems",
    Journal of Computational Physics 176 (2002); coefficients as contour integrals, which do not cancel: A.-K. Kassam
    and L. N. Trefethen, "Fourth-order time-stepping for stiff PDEs", SIAM Journal on Scientific Computing 26 (2005).
    """
    multiplier = system.linear_multiplier()
    assert multiplier is not None  # `simulate` has seen to it

    gaps = np.diff(times)
    longest, before, error, stops = gaps.max(), None, np.inf, []
    for level in range(64):
        # What acts within one short interval alone is seen by halving its steps too.
        least = level if system.switch_times else 0
        levels = np.maximum(least, np.ceil(np.log2(gaps / longest) + level - 1e-9)).astype(np.int64)
        if np.sum(2.0**levels) > MAX_STEPS:
            break
        with on_cpu_in_double():
            which, tables = tabulate(multiplier, gaps, levels, coefficients)
            # Copies, because JAX's arrays are read-only.
            y, stopped_at = map(np.array, _program()(system, y0, times, levels, which, tables))
        if np.isfinite(stopped_at).any():
            stops.append(float(stopped_at.min()))
            if len(stops) > 2 and max(stops[-3:]) - min(stops[-3:]) < SAME_STOP * (times[-1] - times[0]):
                break
            before = None
            continue
        stops = []
        if before is not None:
            previous, error = error, refinement_error(y, before)
            if (
                error <= TARGET * rtol or previous / 1.5 < error < MAX_REFINEMENT_ERROR
            ):  # the latter: rounding is reached
                return Reference(y, error, rtol)
        before = y
    name = type(system).__name__
    if stops:
        raise stopped(name, stopped_at)
    if error < MAX_REFINEMENT_ERROR:
        return Reference(y, error, rtol)
    raise SimulationError(
        f"{name}: halving steps of {longest / 2.0 ** (level - 1):.2g} still changes the trajectories by {error:.1e} of "
        f"their size, which must fall below {MAX_REFINEMENT_ERROR:g}, and {MAX_STEPS} steps are not enough: give a "
        f"shorter horizon than {times[-1] - times[0]:g}, or milder parameters"
    )


def tabulate(
    multiplier: np.ndarray, gaps: np.ndarray, levels: np.ndarray, coefficients: Callable[[np.ndarray, float], Any]
) -> tuple[np.ndarray, Any]:
    """Coefficients of every step length in use, and which of them each interval takes."""
    h = gaps / 2.0**levels
    # Equal spacings differ by rounding of the times, which must not cost a table each.
    _, first, which = np.unique(np.round(h / h.max(), 11), return_index=True, return_inverse=True)
    import jax

    return which, jax.tree.map(lambda *rows: np.stack(rows), *(coefficients(multiplier, float(h[i])) for i in first))


def contour(multiplier: np.ndarray, h: float, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """f(multiplier h) as its mean over a circle of radius 1, for f entire but cancelling near 0."""
    angles = 2 * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR
    found = np.mean(f(multiplier[..., None] * h + np.exp(1j * angles)), axis=-1)
    return found if np.iscomplex(multiplier).any() else found.real


def coefficients(multiplier: np.ndarray, h: float) -> Table:
    """Equation (26) of Cox and Matthews, for one step length."""
    exact = multiplier if np.iscomplex(multiplier).any() else np.real(multiplier)
    return Table(
        np.array(h),
        np.exp(exact * h),
        np.exp(exact * h / 2),
        h * contour(multiplier, h, lambda z: (np.exp(z / 2) - 1) / z),
        h * contour(multiplier, h, lambda z: (-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3),
        2 * h * contour(multiplier, h, lambda z: (2 + z + np.exp(z) * (z - 2)) / z**3),
        h * contour(multiplier, h, lambda z: (-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3),
    )


def transforms(system: System) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """To the space in which the linear terms are diagonal, back, and the rate there of all other terms."""
    import jax.numpy as jnp

    grid = system.structure.grid
    names = [name for name in system.term_names if name not in system.linear_terms]
    if grid is None:
        return lambda y: y, lambda y: y, system.field
    axes = tuple(range(-1 - len(grid), -1))

    def forward(y: Any) -> Any:
        return jnp.fft.rfftn(y.reshape(*y.shape[:-2], *grid, y.shape[-1]), axes=axes)

    def back(v: Any) -> Any:
        y = jnp.fft.irfftn(v, s=grid, axes=axes)
        return y.reshape(*y.shape[: -1 - len(grid)], -1, y.shape[-1])

    def rate(t: Any, v: Any) -> Any:
        y = back(v)
        if not names:
            return jnp.zeros_like(v)
        parts = system.terms(t, y, system.values, names)
        return forward(jnp.broadcast_to(functools.reduce(lambda a, b: a + b, parts.values()), y.shape))

    return forward, back, rate


def step(rate: Callable[..., Any], c: Any, t: Any, v: Any, noise: tuple[Any, Any, Any] = (0.0, 0.0, 0.0)) -> Any:
    """One step of ETDRK4; with L = 0, of the classical Runge-Kutta method. `noise`: what the three later stages and,
    with the last of them, the step itself are displaced by."""
    at_start = rate(t, v)
    still = c.half * v + c.stage * at_start
    at_half = rate(t + c.h / 2, still + noise[0])
    again = rate(t + c.h / 2, c.half * v + c.stage * at_half + noise[1])
    at_end = rate(t + c.h, c.half * still + c.stage * (2 * again - at_start) + noise[2])
    return c.whole * v + c.first * at_start + c.middle * (at_half + again) + c.last * at_end + noise[2]


@functools.cache
def _program() -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    @functools.partial(jax.jit, static_argnums=0)
    def solve(system: System, y0: Any, times: Any, levels: Any, which: Any, tables: Any) -> Any:
        forward, back, rate = transforms(system)

        def interval(carry: Any, i: Any) -> Any:
            c = jax.tree.map(lambda table: table[which[i]], tables)

            def advance(state: Any) -> Any:
                j, v, stopped_at = state
                v = step(rate, c, times[i] + j * c.h, v)
                return j + 1, v, note_stops(v, times[i] + (j + 1) * c.h, stopped_at)

            def goes_on(state: Any) -> Any:
                return (state[0] < 2 ** levels[i]) & jnp.isinf(state[2]).all()

            _, v, stopped_at = lax.while_loop(goes_on, advance, (0, *carry))
            return (v, stopped_at), back(v)

        start = (forward(y0), jnp.full(len(y0), jnp.inf))
        (_, stopped_at), later = lax.scan(interval, start, jnp.arange(len(levels)))
        return jnp.concatenate([y0[None], later]).swapaxes(0, 1), stopped_at

    return solve


def note_stops(v: Any, t: Any, stopped_at: Any) -> Any:
    """The time t for each trajectory that is no longer finite and was so far."""
    import jax.numpy as jnp

    finite = jnp.isfinite(v).all(axis=tuple(range(1, v.ndim)))
    return jnp.where(finite, stopped_at, jnp.minimum(stopped_at, t))
