"""Mean difference between the probability that is said and how often the answer is yes, in 15 equal bins of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.metrics.base import Metric
from experiments.metrics.calibration import expected_calibration_error
from experiments.metrics.questions import failed, probabilities
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class ExpectedCalibrationError(Metric):
    """Mean difference between the probability that is said and how often the answer is yes, in 15 equal bins of it.

    0 is perfect calibration, which n answers show as about (15 / 4 n)^(1/2). Scores are taken for probabilities, cut to
    0 to 1.
    """

    def applies(self, task: Task) -> bool:
        return task.question is not None

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        return failed(expected_calibration_error(*probabilities(task, true, predicted)), np.inf)
