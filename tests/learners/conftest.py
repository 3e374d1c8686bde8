"""Small tasks and learners. Test modules import the functions below from here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from experiments.task import Task
from experiments.trajectories import Trajectories
from learners.backends.base import Recipe
from learners.base import Array, Model, Operations, Parts, Spec, TaskInfo, Tensors
from learners.learner import Learner
from physics_models.base import System
from physics_models.discovery import systems

BACKENDS = ("jax", "torch")
SPACING, POINTS = 0.1, 11
# Systems whose parameters are told apart by a few short trajectories, and whose states span all directions: what fits
# in closed form and by Gauss and Newton are held to. Of states (D,) and (N, D), of first and second order.
IDENTIFIABLE = ("cucker_smale", "flocking", "lorenz63", "lotka_volterra", "pendulum", "rossler", "spring")


def small_system(name: str) -> System:
    """The smallest of its kind: a group that is more than a pair, a field of a few points."""
    kind = systems.load(name)
    small = {"n_agents": 3, "n_points": 16, "n_variables": 5}
    own = {f.name for f in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in small.items() if key in own})


RECIPE = Recipe(batch=16, warmup_steps=5)


@pytest.fixture(scope="module", autouse=True)
def quick_frameworks() -> Iterator[None]:
    """Both frameworks set for programs that run for milliseconds."""
    import jax
    import torch

    import learners.backends.jax_engine  # noqa: F401 (switches JAX to 64 bits, which tests of operations need as well)

    jax.config.update("jax_disable_most_optimizations", True)  # XLA's passes take seconds
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other on busy cores make a step take 100 ms
    yield
    torch.set_num_threads(threads)
    jax.config.update("jax_disable_most_optimizations", False)


@dataclass(frozen=True)
class Relaxation(Model):
    """Decay towards the mean: y(t + h) = m + (y(t) - m) exp(-exp(k) h), k (D,) trainable."""

    first_guess: float = 0.0

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        shape = (len(info.variables),)
        start = {"k": np.full(shape, self.first_guess)}
        return {"rate": Tensors({"k": shape}, lambda rng: start)}

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        mean = ops.constant(info.mean)
        length = ops.xp.reshape(h, (-1, *(1,) * len(info.state_shape)))
        return mean + (y - mean) * ops.xp.exp(-ops.xp.exp(parts["rate"]["k"]) * length)


@functools.cache
def small_task(name: str) -> Task:
    """12 trajectories of 10 intervals: 8 for training, 2 for validation, 2 for tests.

    Solved by SciPy, at 1e-12, and not by `experiments.task.simulated`: JAX would compile 4 s for each system.
    """
    system = small_system(name)
    times = np.arange(POINTS) * SPACING

    def trajectory(i: int) -> np.ndarray:
        y0 = system.initial_state(np.random.default_rng([0, i]))
        solution = solve_ivp(
            lambda t, y: system.field(t, y.reshape(system.state_shape)).ravel(),
            times[[0, -1]], y0.ravel(), "DOP853", times, rtol=1e-12, atol=1e-12,
        )  # fmt: skip
        return solution.y.T.reshape(-1, *system.state_shape)

    y = np.stack([trajectory(i) for i in range(12)])
    parts = (Trajectories.common(times, rows, system.variables) for rows in (y[:8], y[8:10], y[10:]))
    return Task(name, system, True, *parts, unit=system.time_scale)


def make_learner(
    model: Model, backend: str, system: str = "pendulum", seeds: Sequence[int] = (0,), recipe: Recipe = RECIPE,
    dtype: str = "float64", learning_rates: Sequence[float | None] | None = None,
) -> Learner:  # fmt: skip
    task = small_task(system)
    points = task.points(recipe.window)
    return Learner(
        model, task.info, recipe, points, seeds, backend, dtype, predict_batch=4, predict_times=POINTS - 1,
        learning_rates=learning_rates,
    )  # fmt: skip


def train(learner: Learner, steps: int) -> Any:
    """What the engine says of `steps` steps on the learner's own batches, with no budget and no clock."""
    batch = learner.recipe.batch
    return learner.engine.train(np.stack([batches.steps(steps, batch) for batches in learner._batches]))


def held_out(system: str = "pendulum") -> tuple[np.ndarray, np.ndarray]:
    """Initial states (2, *state) and times (2, T) of the validation trajectories."""
    data = small_task(system).val
    return data.y[:, 0], data.times


def all_weights(learner: Learner, seed: int = 0) -> np.ndarray:
    """Every weight that `predict` uses, in one row; its order is the backend's own."""
    return np.concatenate([value.ravel() for _, value in sorted(learner.engine.weights(seed).items())])
