"""How densely the predicted group flies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View, flock, last_points
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.order_parameters import nearest_neighbour_distance


@dataclass(frozen=True)
class NearestNeighbourDistance(Metric):
    """Mean over agents and test trajectories of the distance to the nearest neighbour at the end of the rollout.

    Compare it with the `simulator` row, which has the true value.
    """

    view: ClassVar[View] = "full"
    unit: ClassVar[str] = "length"
    direction: ClassVar[Direction] = "truth"

    def applies(self, task: Task) -> bool:
        return flock(task)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        assert task.system is not None
        structure = task.system.structure
        positions = last_points(true, predicted)[..., : structure.space_dim]
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
            return float(np.mean(nearest_neighbour_distance(positions, structure.box)))
