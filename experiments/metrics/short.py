"""True states a short time after test states, to judge learned rates by."""

from __future__ import annotations

import numpy as np

from experiments.trajectories import Segments
from physics_models.base import System

SHORT = 1 / 16  # of a sampling interval: short against all that the data show, long against rounding in float32
ACCURACY = 1e-9  # of the increments: far below what single precision can tell
ROUGH = 1e-3
MOST_STEPS = 256


def short_segments(system: System, pairs: Segments) -> Segments:
    """Segments of two points: the first of each of `pairs`, and the true state `SHORT` of its interval later.

    By Kutta's classical method of order 4, in steps that are halved, for each state apart, until it changes by less
    than `ACCURACY` of the root mean square increment; or by less than `ROUGH` where halving gains little, as it does
    where the field jumps.
    """
    y, start = pairs.y[:, 0], pairs.times[:, 0]
    length = SHORT * (pairs.times[:, 1] - start)
    axes = tuple(range(1, y.ndim))
    with np.errstate(all="ignore"):  # a step that is too long may overflow: the next one is shorter
        later, rows, steps = _rolled(system, y, start, length, 1), np.arange(len(y)), 2
        last = np.full(len(y), np.inf)
        while len(rows) and steps <= MOST_STEPS:
            finer = _rolled(system, y[rows], start[rows], length[rows], steps)
            change = np.mean((finer - later[rows]) ** 2, axis=axes)
            later[rows] = finer
            size = np.nanmean((later - y) ** 2)
            stalled = (change < ROUGH**2 * size) & (change > last / 16)  # of a smooth field: last / 256
            going = ~((change < ACCURACY**2 * size) | stalled)
            rows, last, steps = rows[going], change[going], 2 * steps
    times = np.stack([start, start + length], axis=1)
    return Segments(times, np.stack([y, later], axis=1), np.ones(times.shape, bool), pairs.trajectory)


def _rolled(system: System, y: np.ndarray, start: np.ndarray, length: np.ndarray, steps: int) -> np.ndarray:
    """`steps` equal steps from y (S, *state) at times `start` (S,) over `length` (S,)."""
    t, h = (a.reshape(-1, *(1,) * (y.ndim - 1)) for a in (start, length / steps))
    for k in range(steps):
        now = t + k * h
        a = system.field(now, y)
        b = system.field(now + h / 2, y + h / 2 * a)
        c = system.field(now + h / 2, y + h / 2 * b)
        d = system.field(now + h, y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y
