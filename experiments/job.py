"""What is to be run, and what is known of each seed while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments import record as status
from experiments.evaluate import longest_segment
from experiments.identity import identity, run_config
from experiments.record import Point
from experiments.task import Task
from hardware import energy
from hardware.devices import Device
from learners.backends.base import Recipe
from learners.base import Model
from learners.learner import Budget, Learner, Progress

PREDICT_BATCH = 128


@dataclass(frozen=True)
class Job:
    """What to run: a model with its options, on a task, within a budget. `tree` is the whole resolved configuration.

    `idle`: the power of the device before the runs, for net joules (None where nothing measures it).
    `required`: a budget too small for it is the user's mistake; it is a reason to skip a reference.
    """

    task: Task
    model: Model
    options: dict[str, Any]
    budget: Budget
    recipe: Recipe
    device: Device
    tree: dict[str, Any]
    data_seconds: float = 0.0
    required: bool = True
    idle: energy.Idle | None = None

    @property
    def name(self) -> str:
        return self.options["name"]

    def learner(self, seeds: Sequence[int]) -> Learner:
        """The model made trainable on the task's data, for some seeds."""
        return Learner(
            self.model, self.task.info, self.recipe, self.task.points(self.recipe.window), seeds, self.tree["backend"],
            self.tree["dtype"], self.device, PREDICT_BATCH, longest_segment(self.task),
        )  # fmt: skip

    def config(self, seed: int) -> dict[str, Any]:
        return run_config(self.tree, self.options, self.model.learning, self.device.kind, seed)

    def identity(self, seed: int) -> str:
        used = (type(self.model), type(self.task.system))
        return identity(self.config(seed), self.task.facts.get("content"), self.device.name, used)


@dataclass
class Attempt:
    """What is known of one seed while it trains. `last`: where training stands, whether or not it is on the curve."""

    seed: int
    last: Progress | None = None
    curve: list[Point] = field(default_factory=list)
    best: float = math.inf
    status: str = status.FINISHED
    reason: str = ""
