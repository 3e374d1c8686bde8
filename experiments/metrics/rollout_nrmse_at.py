"""How the error of a rollout grows with time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, root_mean_square
from experiments.task import Task
from experiments.trajectories import Segments

HORIZONS = tuple(2.0**k for k in range(-2, 8))


@dataclass(frozen=True)
class RolloutNrmseAt(Metric):
    """Root mean square error of a rollout at 1/4, 1/2, 1, 2, 4 … time units: `rollout_nrmse_at_2` is that at two.

    Over test trajectories and variables, each in units of its standard deviation in training, at the sample nearest to
    that time; only of horizons that a trajectory reaches with a sample less than an eighth away.
    """

    view: ClassVar[View] = "full"
    shown: ClassVar[bool] = False

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> dict[str, float]:
        found = {}
        elapsed = np.where(true.mask, (true.times - true.times[:, :1]) / task.unit, np.inf)
        for horizon in HORIZONS:
            away = np.abs(elapsed - horizon)
            point = away.argmin(axis=1)
            rows = np.nonzero(away.min(axis=1) < horizon / 8)[0]
            if len(rows):
                at = rows, point[rows]
                found[f"_{horizon:g}"] = root_mean_square(predicted[at] - true.y[at], task.scales.std)
        return found
