"""What is to be run, and what is known of each seed while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from experiments import record as status
from experiments.evaluate import longest_segment
from experiments.identity import code_hash, identity, run_config
from experiments.prior import prior_classes, told
from experiments.record import Point
from experiments.task import Task
from hardware import energy
from hardware.devices import Device
from learners.backends.base import Recipe
from learners.base import Model, TaskInfo
from learners.learner import Budget, Learner, Progress

PREDICT_BATCH = 128


@dataclass(frozen=True)
class Lane:
    """One run among those that share a program: its seed, and a learning rate where it is not the configuration's."""

    seed: int
    learning_rate: float | None = None

    def __str__(self) -> str:
        return f"{self.seed}" if self.learning_rate is None else f"{self.seed} (learning rate {self.learning_rate:g})"


@dataclass(frozen=True)
class Job:
    """What to run: a model with its options, on a task, within a budget. `tree` is the whole resolved configuration.

    `idle`: the power of the device before the runs, for net joules (None where nothing measures it).
    `required`: a budget too small for it is the user's mistake; it is a reason to skip a reference.
    `role`: what the records are for, see `Record`.
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
    role: str = status.RUN

    @property
    def name(self) -> str:
        return self.options["name"]

    @cached_property
    def info(self) -> TaskInfo:
        """What the model may know of the task: the run's prior with it, where it is told one."""
        return told(self.task.info, self.tree, self.model.takes_prior)

    def learner(self, lanes: Sequence[Lane]) -> Learner:
        """The model made trainable on the task's data, for some lanes."""
        return Learner(
            self.model, self.info, self.recipe, self.task.points(self.recipe.window),
            [lane.seed for lane in lanes], self.tree["backend"], self.tree["dtype"], self.device, PREDICT_BATCH,
            longest_segment(self.task), [lane.learning_rate for lane in lanes],
            self.task.parts(self.recipe.window),
        )  # fmt: skip

    def config(self, lane: Lane) -> dict[str, Any]:
        own = self.own(lane)
        return run_config(
            self.tree, self.options, self.model.learning, self.device.kind, own.seed, own.learning_rate,
            self.model.takes_prior,
        )  # fmt: skip

    def identity(self, lane: Lane) -> str:
        return identity(self.config(lane), self.task.facts.get("content"), self.device.name, self._used)

    def own(self, lane: Lane) -> Lane:
        """The lane as the model knows it: one without a draw of its own has one result, whatever the seed."""
        return lane if self.model.stochastic else replace(lane, seed=0)

    @property
    def code(self) -> str:
        """Hash of the code that matters to the runs."""
        return code_hash(self._used)

    @property
    def _used(self) -> tuple[type, ...]:
        prior = prior_classes(self.tree, self.model.takes_prior)
        return type(self.model), self.task.origin or type(self.task.system), *prior


@dataclass
class Attempt:
    """What is known of one lane while it trains. `last`: where training stands, whether or not it is on the curve."""

    lane: Lane
    last: Progress | None = None
    curve: list[Point] = field(default_factory=list)
    best: float = math.inf
    status: str = status.FINISHED
    reason: str = ""
