"""Whether the predicted group stays together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View, equations, last_points
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.order_parameters import clusters, nearest_neighbour_distance


@dataclass(frozen=True)
class Clusters(Metric):
    """Mean number of clusters at the end of the rollout, and as `clusters_largest` the share of agents in the largest.

    Agents are in one cluster if a chain of them joins the two with no step longer than `gap` times the distance of
    nearest neighbours in the true groups (median over test trajectories). The `simulator` row has the true values.
    """

    view: ClassVar[View] = "full"
    direction: ClassVar[Direction] = "truth"
    shown: ClassVar[bool] = False

    gap: float = 3.0

    def applies(self, task: Task) -> bool:
        system = equations(task)
        return system is not None and (system.structure.agents or 0) > 1 and system.structure.space_dim > 0

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> dict[str, float]:
        assert task.system is not None
        d, box = task.system.structure.space_dim, task.system.structure.box
        usual = float(np.median(nearest_neighbour_distance(last_points(true, true.y)[..., :d], box)))
        positions = last_points(true, predicted)[..., :d]
        if not np.isfinite(positions).all():
            return {"": np.nan, "_largest": np.nan}
        with np.errstate(over="ignore", invalid="ignore"):
            count, largest = clusters(positions, self.gap * usual, box)
        return {"": float(count.mean()), "_largest": float(largest.mean())}
