"""How fast small errors grow in the learned model itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Predict, Probe, Value, is_chaotic
from experiments.task import Task
from experiments.trajectories import Segments

ALIGN, WINDOW = 1.0, 4.0  # time units in which a difference turns into the direction of fastest growth, and is followed
START, LEAST, MOST = 3e-5, 1e-6, 0.1  # sizes of a difference in standard deviations: above rounding, below curvature
PAIRS = 32  # of twins, of each seed: as many alone as beside others, or its figure would depend on them


@dataclass(frozen=True)
class LyapunovExponent(Probe):
    """Largest Lyapunov exponent of the learned model: mean rate at which twin rollouts part, per unit of time.

    Over a finite time: where the unit of time is no Lyapunov time, but a period or a relaxation time, the direction of
    fastest growth may not be found in one, and shear be taken for growth. It is then a rate to compare with that of the
    `simulator` row, which the same rule gives for the true system, and not the exponent itself.

        lambda = sum log(|d(t1)| / |d(t0)|) / sum (t1 - t0),   d the difference of twins in standard deviations

    Twins start 3e-5 apart in a random direction where the model's own rollouts of the test trajectories have ended,
    on whatever attractor it has by then; t0 is one time unit later, when the difference points where growth is fastest,
    t1 four units after that, or when the difference has left 1e-6 to 0.1, within which it is small and not rounding.
    `lyapunov_exponent_standard_error` is that of the mean over pairs. The whole spectrum of known equations is that of
    `physics_models/lyapunov.py`. It applies to chaotic systems with test trajectories of two time units or more whose
    field does not depend on time.
    Source: G. Benettin et al., Meccanica 15 (1980), doi:10.1007/BF02128236.
    """

    unit: ClassVar[str] = "1/time"
    direction: ClassVar[Direction] = "truth"

    def applies(self, task: Task) -> bool:
        if not is_chaotic(task) or "time" not in task.system.structure.symmetries:  # type: ignore[union-attr]
            return False
        longest = float(np.nanmax(task.test.times - task.test.times[:, :1]))
        return longest >= (2 - 1e-6) * ALIGN * task.unit

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray, predict: Predict) -> list[Value]:
        seeds = len(predicted)
        pairs = min(true.count, PAIRS)
        rows = np.linspace(0, true.count - 1, pairs).round().astype(int)
        ends = predicted[:, rows, true.mask[rows].sum(axis=1) - 1]  # (seeds, pairs, *state)
        nudge = np.random.default_rng(0).standard_normal(ends.shape[1:]) * task.scales.std
        nudge *= START / _size(nudge / task.scales.std, 1)[:, *(None,) * (nudge.ndim - 1)]
        dt = task.info.interval
        steps = min(round((ALIGN + WINDOW) * task.unit / dt), true.times.shape[1] - 1)
        with np.errstate(all="ignore"):  # a model that diverges is a result, not a fault
            y0 = np.stack([ends, ends + nudge], axis=1)  # (seeds, 2, pairs, *state)
            # Every seed has starts of its own, and `predict` takes those of all for each.
            times = np.tile(np.arange(steps + 1) * dt, (y0[..., 0].size // nudge[0, ..., 0].size, 1))
            states = predict(y0.reshape(-1, *nudge.shape[1:]), times)
            states = states.reshape(seeds, *y0.shape[:3], steps + 1, *nudge.shape[1:])
            own = states[np.arange(seeds), np.arange(seeds)]  # (seeds, 2, pairs, steps + 1, *state)
            apart = _size((own[:, 1] - own[:, 0]) / task.scales.std, 3)
            return [growth(sizes, dt, round(ALIGN * task.unit / dt)) for sizes in apart]


def growth(apart: np.ndarray, dt: float, first: int) -> dict[str, float]:
    """Rate of growth of differences of sizes `apart` (pairs, T) at times dt apart, from the point `first` on.

    Each counts up to the point at which it leaves `LEAST` to `MOST`; one that does so by `first` counts from its start.
    Whatever is below a tenth of `LEAST` is taken for that, so that a difference of 0 gives a bound. NaN if any is not
    finite.
    """
    if not np.isfinite(apart).all():
        return {"": np.nan, "_standard_error": np.nan}
    sizes = np.maximum(apart, LEAST / 10)
    out = (sizes[:, 1:] <= LEAST) | (sizes[:, 1:] >= MOST)
    last = np.where(out.any(axis=1), out.argmax(axis=1) + 1, apart.shape[1] - 1)
    start = np.where(last > first, first, 0)
    rows = np.arange(len(sizes))
    grown, duration = np.log(sizes[rows, last] / sizes[rows, start]), (last - start) * dt
    rate = grown.sum() / duration.sum()
    # Of a ratio of two sums, by linearisation.
    error = np.sqrt(np.sum((grown - rate * duration) ** 2)) / duration.sum()
    return {"": float(rate), "_standard_error": float(error)}


def _size(difference: np.ndarray, axes: int) -> np.ndarray:
    """Root mean square over all axes after the first `axes`."""
    return np.sqrt(np.mean(difference**2, axis=tuple(range(axes, difference.ndim))))
