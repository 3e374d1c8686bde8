"""Systems in discrete time: their steps, with draws from one random stream a trajectory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from physics_models.base import Map
from physics_models.solution import Reference, stopped, trajectory_stream

BLOCK = 16


def solve(system: Map, y0: np.ndarray, times: np.ndarray, rtol: float, rng_seed: int) -> Reference:
    """As `simulate`. The refinement error is 0: a step of a map is its definition, and there is nothing to refine.

    Trajectory i takes its draws, one after another from the first step on, from its own stream: neither more
    trajectories nor other times change them.
    """
    steps = (times - times[0]) / system.interval
    whole = np.rint(steps)
    # Times come from sums and products of decimal fractions: a millionth of a step is rounding, not a request.
    between = np.flatnonzero((np.abs(steps - whole) > 1e-6) | (np.diff(whole, prepend=-1) < 1))
    if len(between):
        raise ValueError(
            f"times must be multiples of {type(system).__name__}'s interval {system.interval:g} after the first, but "
            f"one is {times[between[0]] - times[0]:g}: take spacings such as {system.interval:g} or "
            f"{10 * system.interval:g}"
        )
    draws = _draws(system, rng_seed, len(y0))
    out = np.empty((len(y0), len(times), *system.state_shape))
    out[:, 0] = y = y0
    saved = 1
    for n in range(1, int(whole[-1]) + 1):
        # Overflow is reported below with its time, not as a warning without one.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            y = system.step(y, next(draws))
        finite = np.isfinite(y).all(axis=tuple(range(1, y.ndim)))
        if not finite.all():
            stops = np.where(finite, np.inf, times[0] + n * system.interval)
            raise stopped(type(system).__name__, stops)
        if n == whole[saved]:
            out[:, saved] = y
            saved += 1
    return Reference(out, 0.0, rtol)


def _draws(system: Map, rng_seed: int, n: int) -> Iterator[np.ndarray]:
    """Draws (n, *draw's own shape) for one step after another."""
    streams = [trajectory_stream(rng_seed, i) for i in range(n)]
    while True:
        # Drawn for many steps at once, because each call costs microseconds; in blocks of one length, whatever the
        # horizon, because a system that draws numbers of two kinds gets others from calls of another length.
        block = np.stack([system.draw(stream, (BLOCK,)) for stream in streams], axis=1)
        yield from block
