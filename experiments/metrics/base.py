"""The contract of a metric: what it is called with, its unit and which direction is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from experiments.task import Task
from experiments.trajectories import Segments
from learners.base import asked
from physics_models.base import System
from physics_models.under_intervention import given_variables

View = Literal["one_step", "short", "unit", "full"]
Direction = Literal["lower", "higher", "truth"]
# A number; or several of one kind by the ending of their names: {"": 1.0, "_at_2": 3.0} of a metric m are m and m_at_2.
Value = float | Mapping[str, float]
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]  # y0 (B, *state), times (B, T) -> (seeds, B, T, *state)

LATE_STATES = 4096


@dataclass(frozen=True)
class Measure:
    """What metrics and probes share.

    `direction`: "lower", "higher" or "truth" (nearer to the truth is better). `shown`: whether tables for people show
    it; records, CSV and the page's data hold all.
    """

    unit: ClassVar[str] = "1"
    direction: ClassVar[Direction] = "lower"
    shown: ClassVar[bool] = True
    along_curve: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        """By default to all that asks where things move."""
        return task.question is None


@dataclass(frozen=True)
class Metric(Measure, ABC):
    """A number from predictions of segments, each rolled out from its true first point.

    `view`: which segments it wants: "one_step" (single sampling intervals), "short" (`SHORT` of one, on exactly known
    equations only), "unit" (one time unit, see `Task.unit`) or "full" (whole test trajectories).
    `along_curve`: whether it is also taken at every point of a run's curve, which costs a prediction of its view.
    """

    view: ClassVar[View] = "unit"

    @abstractmethod
    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> Value:
        """The metric of predictions (S, P, *state), NaN or infinite where a prediction failed."""


@dataclass(frozen=True)
class Probe(Measure, ABC):
    """A number for which the model is asked about states that only it can choose, such as those it comes to itself."""

    @abstractmethod
    def __call__(self, task: Task, true: Segments, predicted: np.ndarray, predict: Predict) -> list[Value]:
        """The number for each seed, from whole test trajectories predicted by each, (seeds, S, P, *state).

        `predict` takes at most as many intervals as the longest of them has.
        """


def named(name: str, value: Value) -> dict[str, float]:
    """One number or several, by their names in records."""
    return {name + ending: v for ending, v in value.items()} if isinstance(value, Mapping) else {name: value}


def nrmse(task: Task, true: Segments, predicted: np.ndarray, scale: np.ndarray) -> float:
    """Root mean square error after the first point in units of `scale`, by variable; infinite if any is not finite."""
    after = true.mask.copy()
    after[:, 0] = False  # the first point is given, not predicted
    return root_mean_square(asked(task.info, predicted[after] - true.y[after]), asked(task.info, scale))


def root_mean_square(error: np.ndarray, scale: np.ndarray | float) -> float:
    """Of all entries in units of `scale`; infinite if any is not finite, or too large to be squared."""
    with np.errstate(over="ignore"):
        value = float(np.sqrt(np.mean((error / scale) ** 2)))
    return value if np.isfinite(value) else np.inf


def equations(task: Task) -> System | None:
    """The system whose states the data are, all variables of it; None where there is none."""
    system = task.system
    return system if system is not None and system.state_shape == task.test.state_shape else None


def is_exact(task: Task) -> bool:
    """Whether the true equations are known, parameters included."""
    return task.exact and equations(task) is not None


def is_chaotic(task: Task) -> bool:
    """Whether the long run is known only as statistics."""
    system = equations(task)
    return system is not None and system.chaotic


def moved(task: Task, states: np.ndarray) -> np.ndarray:
    """States (..., D) without the variables that nothing acts on, such as charges: they have no statistics."""
    system = equations(task)
    still = () if system is None else given_variables(system)
    return states[..., [k for k, name in enumerate(task.test.variables) if name not in still]]


def flock(task: Task) -> bool:
    """Whether the states are those of agents with positions and velocities."""
    system = equations(task)
    return system is not None and system.structure.agents is not None and system.structure.order == 2


def last_points(true: Segments, states: np.ndarray) -> np.ndarray:
    """The states (S, *state) at the end of each segment."""
    return states[np.arange(len(states)), true.mask.sum(axis=1) - 1]


def late_states(true: Segments, states: np.ndarray) -> np.ndarray:
    """At most `LATE_STATES` states (n, D) of the second halves of segments, where what is left of the start has faded.

    They are spread evenly over them; agents and grid points are pooled.
    """
    lengths = true.mask.sum(axis=1)
    index = np.arange(true.mask.shape[1])
    late = states[true.mask & (index >= lengths[:, None] // 2)]
    flat = late.reshape(-1, states.shape[-1])
    return flat[np.linspace(0, len(flat) - 1, min(LATE_STATES, len(flat))).round().astype(int)]
