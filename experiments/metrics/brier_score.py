"""Mean squared difference between the probability that is said and the answer, 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric
from experiments.metrics.calibration import brier_score
from experiments.metrics.questions import failed, probabilities
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class BrierScore(Metric):
    """Mean squared difference between the probability that is said and the answer, 0 or 1.

    1/4 is always saying 1/2. Scores are taken for probabilities, cut to 0 to 1.
    """

    along_curve: ClassVar[bool] = True

    def applies(self, task: Task) -> bool:
        return task.question is not None

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        return failed(brier_score(*probabilities(task, true, predicted)), np.inf)
