"""Error of a rollout over one time unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, nrmse
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class RolloutNrmse(Metric):
    """Root mean square error over rollouts of one time unit, each variable in units of its standard deviation.

    The standard deviation is that of the training data. 0 is perfect, about 1 is knowing only the mean. The average
    runs over segments, their points and variables.

    Where a task asks a question, the variables are the answers, each 0 or 1, and the unit is 1/2: twice the square root
    of the Brier score. 1 is always saying 1/2.
    """

    along_curve: ClassVar[bool] = True

    def applies(self, task: Task) -> bool:
        return True

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        return nrmse(task, true, predicted, task.scales.std)
