"""Answers to yes-or-no questions, as plain functions of scores and labels want them."""

from __future__ import annotations

import numpy as np

from experiments.metrics.base import last_points
from experiments.task import Task
from experiments.trajectories import Segments
from learners.base import asked

ERRORS = ("brier_score", "rollout_nrmse")  # of answers, that fall with cost; the first is of answers only


def scored(task: Task, true: Segments, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) scores, NaN where a prediction failed, and (n,) labels, 0 or 1, of all answers in all segments."""
    said, answers = (asked(task.info, last_points(true, states)).ravel() for states in (predicted, true.y))
    return np.where(np.isfinite(said), said, np.nan), answers.round().astype(int)


def failed(value: float, worst: float) -> float:
    """The value of a metric, or the worst one where some prediction failed."""
    return worst if np.isnan(value) else value


def probabilities(task: Task, true: Segments, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same with the scores cut to 0 to 1."""
    said, answers = scored(task, true, predicted)
    return np.clip(said, 0.0, 1.0), answers
