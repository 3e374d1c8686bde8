"""Area under the receiver operating characteristic of the answers to a yes-or-no question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Direction, Metric
from experiments.metrics.calibration import auroc
from experiments.metrics.questions import failed, scored
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class Auroc(Metric):
    """Area under the receiver operating characteristic of the answers to a yes-or-no question.

    The chance that a case with the answer yes gets the higher score than one with no. 1/2 is guessing, 1 perfect; all
    answers (of all agents) are pooled.
    """

    direction: ClassVar[Direction] = "higher"
    along_curve: ClassVar[bool] = True

    def applies(self, task: Task) -> bool:
        return task.question is not None

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        return failed(auroc(*scored(task, true, predicted)), 0.0)
