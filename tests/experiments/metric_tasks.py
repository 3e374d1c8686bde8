"""Small tasks made by hand, whose metrics are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from experiments.evaluate import full_segments
from experiments.metrics.base import Measure, Metric, Value, named
from experiments.metrics.discovery import metrics
from experiments.task import Task
from experiments.trajectories import Segments, Trajectories
from learners.base import Question
from physics_models.base import Structure, System
from physics_models.flocking import Flocking
from physics_models.kuramoto import Kuramoto
from physics_models.lorenz63 import Lorenz63
from physics_models.pendulum import Pendulum

NAMES = metrics.names()
# Differences of numbers of order one, each with a rounding error of 1e-16: ten digits are safe.
ROUNDING = 1e-10


def metric(name: str, **options: Any) -> Any:
    return metrics.load(name)(**options)


ALL: dict[str, Measure] = {name: metric(name) for name in NAMES}
OF_ROLLOUTS = [name for name in NAMES if isinstance(ALL[name], Metric)]


def numbers(value: Value) -> dict[str, float]:
    """One number or several, by the endings of their names."""
    return named("", value)


def moving(speed: float, steps: int, dt: float, count: int = 3) -> Trajectories:
    """Points that move at constant speed, from different starts, with a second variable that stays where it is."""
    t = np.arange(steps + 1) * dt
    x = speed * t + np.arange(count)[:, None]
    return Trajectories.common(t, np.stack([x, np.ones_like(x)], axis=-1), ["x", "still"])


def task_of(data: Trajectories, unit: float = 1.0, system: Any = None) -> Task:
    return Task("hand-made", system, True, train=data, val=data, test=data, unit=unit)


def task_with(system: System, states: np.ndarray, dt: float = 1.0, unit: float = 1.0) -> tuple[Task, Segments]:
    """A task of a system's states (R, T, *state), and its trajectories whole."""
    data = Trajectories.common(np.arange(states.shape[1]) * dt, states, system.variables)
    task = task_of(data, unit, system)
    return task, full_segments(task.test)


def flock_task(states: np.ndarray) -> tuple[Task, Segments]:
    return task_with(Flocking(n_agents=states.shape[2]), states)


def random_task(system: System, seed: int = 0, count: int = 3, points: int = 16) -> Task:
    states = np.random.default_rng(seed).standard_normal((count, points, *system.state_shape))
    return task_with(system, states)[0]


@dataclasses.dataclass(frozen=True)
class Springs(System):
    """dx_i/dt = sum_j phi(|x_j - x_i|) (x_j - x_i), phi(r) = stiffness exp(-r), and a drift that is no pair's."""

    stiffness: float = 1.5
    drift: float = 0.0
    n_agents: int = 5

    parameters: ClassVar[tuple[str, ...]] = ("stiffness", "drift")
    term_names: ClassVar[tuple[str, ...]] = ("pairs", "drift")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y")

    @property
    def structure(self) -> Structure:
        return Structure(agents=self.n_agents, space_dim=2, pairwise=True)

    def kernel(self, r: np.ndarray) -> np.ndarray:
        return self.stiffness * np.exp(-r)

    def terms(self, t: Any, y: Any, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        r = y[..., None, :, :] - y[..., :, None, :]
        phi = p["stiffness"] * np.exp(-np.linalg.norm(r, axis=-1))
        return {"pairs": np.sum(phi[..., None] * r, axis=-2), "drift": p["drift"] * np.array([1.0, -1.0])}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(self.state_shape)


def _oscillators() -> Task:
    """Random phases, but frequencies that are conserved."""
    states = np.random.default_rng(0).standard_normal((3, 16, 5, 2))
    states[..., 1] = states[:, :1, :, 1]
    return task_with(Kuramoto(n_agents=5), states)[0]


def _asked() -> Task:
    """Random tracks of two agents, and a question of which half of the answers are yes."""
    tracks = np.random.default_rng(0).standard_normal((16, 1, 8))
    answers = np.stack([np.full(16, 0.5), np.arange(16) % 2], axis=1)[..., None]
    states = np.concatenate([np.repeat(tracks, 2, axis=1), answers], axis=-1)
    data = Trajectories.common(np.array([0.0, 1.0]), states, [*"abcdefgh", "answer"])
    return dataclasses.replace(task_of(data), question=Question(1, 1, 0.1, Flocking(n_agents=2)))


EXAMPLES = [random_task(system) for system in (Flocking(n_agents=5), Pendulum(), Lorenz63(), Springs())]
EXAMPLES += [_oscillators(), _asked()]


def example(name: str) -> Task:
    """The first of the examples that a metric applies to."""
    return next(task for task in EXAMPLES if ALL[name].applies(task))
