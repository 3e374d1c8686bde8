"""Error of a single sampling interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, nrmse
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class OneStepNrmse(Metric):
    """Root mean square error of one interval, in units of the typical increment, so that persistence scores about 1."""

    view: ClassVar[View] = "one_step"
    along_curve: ClassVar[bool] = True

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        return nrmse(task, true, predicted, task.scales.step_std)
