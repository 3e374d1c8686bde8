"""The contract of a metric: what it is called with, its unit and which direction is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from experiments.task import Task
from experiments.trajectories import Segments

View = Literal["one_step", "unit", "full"]


@dataclass(frozen=True)
class Metric(ABC):
    """A number from predictions of segments, each rolled out from its true first point.

    `view`: which segments it wants: "one_step" (single sampling intervals), "unit" (one time unit, see `Task.unit`)
    or "full" (whole test trajectories). `direction`: "lower", "higher" or "truth" (nearer to the truth is better).
    `along_curve`: whether it is also taken at every point of a run's curve, which costs a prediction of its view.
    """

    view: ClassVar[View] = "unit"
    unit: ClassVar[str] = "1"
    direction: ClassVar[Literal["lower", "higher", "truth"]] = "lower"
    along_curve: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        return True

    @abstractmethod
    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        """The metric of predictions (S, P, *state), NaN or infinite where a prediction failed."""


def nrmse(task: Task, true: Segments, predicted: np.ndarray, scale: np.ndarray) -> float:
    """Root mean square error after the first point in units of `scale`, by variable; infinite if any is not finite."""
    after = true.mask.copy()
    after[:, 0] = False  # the first point is given, not predicted
    with np.errstate(over="ignore"):
        error = (predicted[after] - true.y[after]) / scale
        value = float(np.sqrt(np.mean(error**2)))
    return value if np.isfinite(value) else np.inf


def flock(task: Task) -> bool:
    """Whether the states are those of agents with positions and velocities."""
    if task.system is None:
        return False
    structure = task.system.structure
    return structure.agents is not None and structure.order == 2


def last_points(true: Segments, states: np.ndarray) -> np.ndarray:
    """The states (S, *state) at the end of each segment."""
    return states[np.arange(len(states)), true.mask.sum(axis=1) - 1]
