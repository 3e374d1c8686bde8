"""The same seed and weights on both backends: how far the first 20 losses and the FLOPs of a step differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.task import Protocol, simulated
from hardware.devices import Device
from learners.backends import engine_of
from learners.backends.base import Recipe
from learners.models.hybrid_ode import HybridOde
from learners.models.mlp import Mlp
from learners.models.neural_ode import NeuralOde
from physics_models.flocking import Flocking

MODELS = {"mlp": Mlp(), "hybrid_ode, rk4": HybridOde()} | {
    f"neural_ode, {name}": NeuralOde(solver=name) for name in ("euler", "midpoint", "heun", "rk4", "dopri5", "dopri8")
}


def measure() -> dict[str, Any]:
    task = simulated("flocking", Flocking(), Protocol(n_train=8, n_val=2, n_test=2), None)
    points, recipe = task.points(1), Recipe()
    starts = np.random.default_rng(0).choice(points.starts, (1, 20, recipe.batch)).astype(np.int32)
    figures: dict[str, Any] = {}
    for label, model in MODELS.items():
        rng = np.random.default_rng(1)
        drawn = {name: spec.draw(rng) for name, spec in model.parts(task.info).items()}
        done = []
        for backend in ("jax", "torch"):
            cpu = Device("cpu", "the processor")
            engine = engine_of(backend)(model, task.info, recipe, points, [drawn], "float64", cpu, 20, 2, 2)
            done.append(engine.train(starts))
        jax, torch = done
        difference = np.max(np.abs(jax.losses - torch.losses) / torch.losses)
        figures[f"{label}: largest relative difference of 20 losses"] = float(difference)
        figures[f"{label}: FLOP of a step, jax / torch"] = jax.flop[0] / torch.flop[0]
    return figures
