from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class Spring(System):
    """Mass on a spring with friction: the harmonic oscillator, linear and solved by a formula.

    Equation:

        d position/dt = velocity                                     inertia
        d velocity/dt = - stiffness * position                       spring
                        - damping * velocity                         damping

    Behaviour: with damping 0 the energy (velocity^2 + stiffness position^2) / 2 is conserved and every motion has the
    period 2 pi / sqrt(stiffness). With damping below 2 sqrt(stiffness) the swings die out as exp(-damping t / 2);
    above, the mass creeps to rest without swinging.

    State: (2,), position and velocity, of a unit mass; undamped it is canonical.

    Arguments: `stiffness`, per mass (above 0; 1 makes the period 2 pi; 4 with damping 0 is the spring of the
    Hamiltonian-network paper, whose momentum is half our velocity); `damping`, rate (0 or more; 0 switches it off, 0.1
    takes about 20 time units to show).
    Where it starts: `amplitude`, largest initial position (above 0). Or, if `outer` is above 0, at a distance from rest
    uniform between `inner` and `outer` (0 or more, inner at most outer) in the plane of position and half the velocity,
    as in that paper's code, with 0.1 and 1.

    Reference: S. Greydanus, M. Dzamba and J. Yosinski, "Hamiltonian neural networks", NeurIPS 2019, arXiv:1906.01563;
    L. D. Landau and E. M. Lifshitz, "Mechanics", sections 21 and 25.
    """

    stiffness: float = 1.0
    damping: float = 0.1
    amplitude: float = 1.0
    inner: float = 0.0
    outer: float = 0.0

    parameters: ClassVar[tuple[str, ...]] = ("stiffness", "damping")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "spring", "damping")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "spring")
    positive: ClassVar[tuple[str, ...]] = ("stiffness", "amplitude")
    non_negative: ClassVar[tuple[str, ...]] = ("damping", "inner", "outer")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner > self.outer:
            raise ValueError(f"inner must be at most outer ({self.outer}), but it is {self.inner}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("position", "velocity")

    @property
    def structure(self) -> Structure:
        return Structure(
            order=2,
            symmetries=("time",),
            conserved=("energy",) if self.damping == 0 else (),
            canonical=(("position", "velocity"),),
        )

    @property
    def time_scale(self) -> float:
        """Period without damping."""
        return 2 * math.pi / math.sqrt(self.stiffness)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        position, velocity = y[..., 0], y[..., 1]
        zero = xp.zeros_like(position)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.stack([velocity, zero], axis=-1)
        if "spring" in names:
            out["spring"] = xp.stack([zero, -p["stiffness"] * position], axis=-1)
        if "damping" in names:
            out["damping"] = xp.stack([zero, -p["damping"] * velocity], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Position uniform within `amplitude`, velocity uniform within amplitude * sqrt(stiffness); or on a ring."""
        position, velocity = rng.uniform(-1, 1, size=2)
        if self.outer > 0:
            radius = rng.uniform(self.inner, self.outer) / math.hypot(position, velocity)
            return np.array([radius * position, 2 * radius * velocity])
        return self.amplitude * np.array([position, velocity * math.sqrt(self.stiffness)])

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy per mass."""
        return {"energy": (y[..., 1] ** 2 + self.stiffness * y[..., 0] ** 2) / 2}
