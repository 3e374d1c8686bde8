"""Error of the learned rate of change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, is_exact, nrmse
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.base import Map


@dataclass(frozen=True)
class VectorFieldNrmse(Metric):
    """Root mean square error of dy/dt at test states, in units of the typical rate, so that persistence scores about 1.

        |(Y(y, h) - y) / h  -  (y(h) - y) / h|,   h = 1/16 of the sampling interval

    Y(y, h) is the model's state after h, y(h) the true one, to 1e-9 of the increment. Every learner can be asked for a
    short interval. For a vector field this tends to the field's own error as h tends to 0, and since both sides take
    the same interval no error of the quotient remains. A model that only knows the mean rate over a sampling interval,
    such as a one-step map, is charged for the difference; one that ignores the length of the interval is charged for
    that. In single precision, rounding of states bounds it from below, by about 1e-5.

    It applies where the true equations are known exactly, and are neither those of a map nor stiff.
    """

    view: ClassVar[View] = "short"
    along_curve: ClassVar[bool] = True

    def applies(self, task: Task) -> bool:
        return is_exact(task) and not isinstance(task.system, Map) and not task.system.stiff  # type: ignore[union-attr]

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        length = np.median(true.times[:, 1] - true.times[:, 0])
        return nrmse(task, true, predicted, task.scales.rate_std * length)
