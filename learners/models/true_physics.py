"""The system's own equations with their parameters fitted: the best a correct structure can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.base import Array, OdeModel, Operations, Parts, Spec, TaskInfo
from learners.physics import known_parameters, known_rates, needs_system, too_stiff


@dataclass(frozen=True)
class TruePhysics(OdeModel):
    """The true equations dy/dt = field(t, y; p), p fitted by Levenberg–Marquardt from a wrong first guess.

    The first guess multiplies each true value by exp(u), u uniform in ±`spread`, drawn from the seed. The fit minimises
    the error over one sampling interval on at most `max_windows` training windows, in at most `max_iterations`.
    """

    of_equations: ClassVar[bool] = True
    learning: ClassVar[str] = "gauss_newton"

    spread: float = 0.5
    max_windows: int = 512
    max_iterations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_windows", "max_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, but it is {getattr(self, name)}")
        if self.spread < 0:
            raise ValueError(f"spread must be 0 or more, but it is {self.spread}")

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_system(info) or too_stiff(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        assert info.system is not None  # skip() has seen to it
        return {"physics": known_parameters(info.system, self.spread)}

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        assert info.system is not None
        return known_rates(ops, info.system, parts["physics"], t, y, info.system.term_names)
