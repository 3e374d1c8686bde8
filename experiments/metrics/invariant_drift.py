"""How far what must stay constant does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, equations, is_exact, root_mean_square
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class InvariantDrift(Metric):
    """Relative drift of the conserved quantities along rollouts of whole test trajectories.

        sqrt(mean (I(Y(t)) - I(y(0)))² / mean I(y(0))²)

    Means run over trajectories and the times after the first. `invariant_drift` is the worst of the system's conserved
    quantities, `invariant_drift_NAME` that of each. One whose value is 0 in every test trajectory has no scale: its
    drift is left out.
    """

    view: ClassVar[View] = "full"

    def applies(self, task: Task) -> bool:
        system = equations(task)
        return is_exact(task) and bool(system and system.structure.conserved)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> dict[str, float]:
        assert task.system is not None
        each = errors_of_invariants(task, true, predicted, task.system.structure.conserved, constant=True)
        return ({"": max(each.values())} if each else {}) | each


def errors_of_invariants(
    task: Task, true: Segments, predicted: np.ndarray, names: tuple[str, ...], constant: bool
) -> dict[str, float]:
    """Relative errors by "_name", against the values at the first points if `constant`, else at the same times."""
    assert task.system is not None
    with np.errstate(all="ignore"):  # a model that diverges is a result, not a fault
        before, at, after = (task.system.invariants(y) for y in (true.y[:, 0], true.y, predicted))
        later = true.mask.copy()
        later[:, 0] = False
        found = {}
        for name in names:
            truth = np.broadcast_to(before[name][:, None], at[name].shape) if constant else at[name]
            values = before[name] if constant else truth[true.mask]
            scale = np.sqrt(np.mean(np.square(values)))
            # Sums that cancel leave rounding errors of the states' own size: no scale either.
            if scale > 1e-9 * np.sqrt(np.mean(np.square(true.y[true.mask]))):
                found[f"_{name}"] = root_mean_square(after[name][later] - truth[later], scale)
    return found
