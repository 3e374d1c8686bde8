"""How long a prediction stays near the truth, for several meanings of near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric, View
from experiments.metrics.valid_prediction_time import ValidPredictionTime
from experiments.task import Task
from experiments.trajectories import Segments

THRESHOLDS = (0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class ValidPredictionTimeAt(Metric):
    """The valid prediction time for the thresholds .1, .2, .4 and .8: `valid_prediction_time_at_0.1` is that at .1.

    The differences between them tell how fast errors grow: halving the threshold costs log 2 / (growth rate).
    """

    view: ClassVar[View] = "full"
    unit: ClassVar[str] = "time units"
    direction: ClassVar[Direction] = "higher"
    shown: ClassVar[bool] = False

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> dict[str, float]:
        return {f"_{most:g}": ValidPredictionTime(most)(task, true, predicted) for most in THRESHOLDS}
