"""How well what changes slowly, such as the energy of a damped body, is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, equations, is_exact
from experiments.metrics.invariant_drift import errors_of_invariants
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class InvariantError(Metric):
    """Relative error of the system's named quantities that are not conserved, along whole test trajectories.

        sqrt(mean (I(Y(t)) - I(y(t)))² / mean I(y(t))²)

    Means run over trajectories and times. `invariant_error_NAME` is that of each, `invariant_error` the worst.
    """

    view: ClassVar[View] = "full"
    shown: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        return is_exact(task) and bool(_names(task))

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> dict[str, float]:
        each = errors_of_invariants(task, true, predicted, _names(task), constant=False)
        return ({"": max(each.values())} if each else {}) | each


def _names(task: Task) -> tuple[str, ...]:
    system = equations(task)
    if system is None:
        return ()
    known = system.invariants(task.test.y[:1, 0])
    return tuple(name for name in known if name not in system.structure.conserved)
