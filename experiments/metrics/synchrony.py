"""Whether the predicted oscillators are in step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View, equations, last_points
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.order_parameters import synchrony


@dataclass(frozen=True)
class Synchrony(Metric):
    """Mean over test trajectories of |mean of exp(i phase)| at the end of the rollout: 1 is in step.

    It applies to agents whose first variable is named "phase", in radians. Compare it with the `simulator` row, which
    has the true value.
    """

    view: ClassVar[View] = "full"
    direction: ClassVar[Direction] = "truth"

    def applies(self, task: Task) -> bool:
        system = equations(task)
        return system is not None and system.structure.agents is not None and system.variables[0] == "phase"

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
            return float(np.mean(synchrony(last_points(true, predicted)[..., 0])))
