"""Whether the predicted group flies in one direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View, flock, last_points
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.order_parameters import polarisation


@dataclass(frozen=True)
class Polarisation(Metric):
    """Mean over test trajectories of |mean of unit velocities| at the end of the rollout: 1 is one direction for all.

    Compare it with the `simulator` row, which has the true value.
    """

    view: ClassVar[View] = "full"
    direction: ClassVar[Direction] = "truth"

    def applies(self, task: Task) -> bool:
        return flock(task)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        assert task.system is not None
        d = task.system.structure.space_dim
        velocities = last_points(true, predicted)[..., d : 2 * d]
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
            return float(np.mean(polarisation(velocities)))
