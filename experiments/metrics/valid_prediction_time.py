"""How long a prediction stays near the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class ValidPredictionTime(Metric):
    """Median time until the error of a rollout first exceeds `threshold`, in time units of the system (`Task.unit`).

    The error at a time is the root mean square over variables in units of their standard deviation in training; of
    positions of agents that no place holds in units of the standard deviation about the centre of their group
    (`Task.spread`), or a flock that shrinks to a point on its way would count as predicted. A rollout that never
    exceeds it counts with the whole length of its trajectory, so the value is bounded by that.
    """

    view: ClassVar[View] = "full"
    unit: ClassVar[str] = "time units"
    direction: ClassVar[Direction] = "higher"

    threshold: float = 0.4

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        axes = tuple(range(2, predicted.ndim))
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.sqrt(np.mean(((predicted - true.y) / task.spread) ** 2, axis=axes))
        bad = true.mask & ~(error <= self.threshold)  # not finite is beyond any threshold
        rows = np.arange(len(bad))
        # The last time that was still valid: the one before the first bad point.
        last = np.where(bad.any(axis=1), np.maximum(bad.argmax(axis=1) - 1, 0), true.mask.sum(axis=1) - 1)
        return float(np.median(true.times[rows, last] - true.times[:, 0]) / task.unit)
