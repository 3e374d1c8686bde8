"""The true equations with their true parameters, on the run's solver: the integrator floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.base import Array, OdeModel, Operations, Parts, TaskInfo
from learners.physics import known_rates, needs_system, too_stiff


@dataclass(frozen=True)
class Simulator(OdeModel):
    """The true simulator: dy/dt = field(t, y) of the system with its true parameters.

    Its error is the integrator floor of solver and precision.
    """

    of_equations: ClassVar[bool] = True
    learning: ClassVar[str] = "none"
    stochastic: ClassVar[bool] = False

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return (
            needs_system(info) or too_stiff(info) or (None if info.exact else "the true parameter values are not known")
        )

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        assert info.system is not None  # skip() has seen to it
        return known_rates(ops, info.system, None, t, y, info.system.term_names)
