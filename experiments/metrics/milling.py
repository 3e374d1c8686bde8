"""Whether the predicted group circles about its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View, flock, last_points
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.order_parameters import milling


@dataclass(frozen=True)
class Milling(Metric):
    """Mean over test trajectories of the normalised angular momentum at the end of the rollout: 1 is a mill.

    Compare it with the `simulator` row, which has the true value. See `physics_models.order_parameters.milling` for the
    equation and its source. A periodic box has no centre to circle about: the metric does not apply there.
    """

    view: ClassVar[View] = "full"
    direction: ClassVar[Direction] = "truth"
    shown: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        if not flock(task):
            return False
        structure = task.system.structure  # type: ignore[union-attr]
        return structure.box is None and structure.space_dim in (2, 3)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        assert task.system is not None
        d, states = task.system.structure.space_dim, last_points(true, predicted)
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
            return float(np.mean(milling(states[..., :d], states[..., d : 2 * d])))
