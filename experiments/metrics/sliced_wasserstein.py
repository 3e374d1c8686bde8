"""Whether long rollouts visit the states that the true system visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, is_chaotic, late_states
from experiments.task import Task
from experiments.trajectories import Segments

DIRECTIONS = 64  # their scatter moves the mean by 1/16 of itself in three dimensions, the same for every model


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """Sliced Wasserstein distance between the true and the predicted states of the second half of rollouts.

    In standard deviations of each variable; 0 is the same distribution. Agents and grid points are pooled. It applies
    to chaotic systems, whose rollouts part from the truth but should stay on its attractor.
    """

    view: ClassVar[View] = "full"
    shown: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        return is_chaotic(task)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            truth, states = (late_states(true, y) / task.scales.std for y in (true.y, predicted))
        return sliced_wasserstein(truth, states)


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """Mean over random directions u of the distance of order 1 between the projections of two samples of points.

        SW(a, b) = mean_u mean_k |sort(a u)_k - sort(b u)_k|

    `a`, `b`: (n, D), equally many points. Returns a distance in their units, infinite if a point is not finite. A shift
    s gives mean_u |s u|: |s| in one dimension, 2/pi |s| in two and |s|/2 in three, for many directions. Raises
    ValueError for different shapes. Source: N. Bonneel et al., Journal of Mathematical Imaging and Vision 51 (2015),
    doi:10.1007/s10851-014-0506-3.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"the two samples must have one shape (n, D), but they have {a.shape} and {b.shape}")
    u = np.random.default_rng(seed).standard_normal((a.shape[1], directions))
    u /= np.linalg.norm(u, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
        value = float(np.mean(np.abs(np.sort(a @ u, axis=0) - np.sort(b @ u, axis=0))))
    return value if np.isfinite(value) else np.inf
