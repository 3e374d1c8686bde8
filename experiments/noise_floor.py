"""What noise alone does to the error of a perfect model: the true equations, judged by data that are not clean."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.protocol import Protocol
from experiments.trajectories import Trajectories
from physics_models.base import Map, System
from physics_models.solution import SimulationError

MOST = 256  # windows looked at: a standard error of a few per cent


def noise_floor(
    system: System, protocol: Protocol, train: Trajectories, test: Trajectories, passive: Trajectories
) -> dict[str, Any]:
    """Facts of a task whose data are not exact.

    `train_floor`: the one-step error, in units of the typical increment of the data without noise, of the true
    equations on the training data as they are given (interventions left out). Below it a model cannot see from its
    training data how good it is. `test_floor`: of the true equations without their chance on test data, where the
    system has chance in it: no model that predicts one future comes below it.
    """
    p, found = protocol, {}
    step = np.diff(passive.windows(1)[1], axis=1)
    scale = np.sqrt(np.mean(step**2, axis=tuple(range(step.ndim - 1))))
    scale = np.where(scale > 0, scale, 1.0)
    # A map's equations without chance are its step with none drawn, which no solver takes; and where a variable is
    # hidden nobody is given the states that the equations need.
    if isinstance(system, Map) or p.hidden:
        return found
    if p.noise or p.outliers or p.corrupted:
        found["train_floor"] = _one_step(system, train, p.spacing, scale)
    if p.process_noise:
        found["test_floor"] = _one_step(system, test, p.spacing, scale)
    return found


def _one_step(system: System, data: Trajectories, spacing: float, scale: np.ndarray) -> float | None:
    """Error of the true equations over one spacing; None where they cannot be solved from some of these states."""
    from physics_models.simulate import simulate

    if "time" not in system.structure.symmetries:
        return None  # each window would have a solution of its own
    times, y = data.windows(1)
    y = y[np.isclose(np.diff(times, axis=1)[:, 0], spacing)]
    if len(y) == 0:
        return None
    y = y[np.linspace(0, len(y) - 1, min(MOST, len(y))).round().astype(int)]
    try:
        true = simulate(system, y[:, 0], np.array([0.0, spacing]), rtol=1e-8).y[:, 1]
    except SimulationError:  # noise may lead where the equations have no solution
        return None
    return float(np.sqrt(np.mean(((true - y[:, 1]) / scale) ** 2)))
