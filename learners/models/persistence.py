"""Nothing changes: the reference that any model must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.base import Array, Model, Operations, Parts, TaskInfo


@dataclass(frozen=True)
class Persistence(Model):
    """Nothing changes: y(t1) = y(t0). Costs nothing."""

    learning: ClassVar[str] = "none"
    stochastic: ClassVar[bool] = False

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        return y
