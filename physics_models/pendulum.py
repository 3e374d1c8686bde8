from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class Pendulum(System):
    """Pendulum with friction: swings through large angles and slowly loses its energy.

    Equation:

        d angle/dt = velocity                                        inertia
        d velocity/dt = - gravity * sin(angle)                       gravity
                        - damping * velocity                         damping

    Behaviour: with damping 0 the energy velocity^2 / 2 + gravity (1 - cos angle) is conserved and the motion is
    periodic; the period grows with the amplitude. With damping above 0 every start spirals to rest.

    State: (2,), angle in radians and angular velocity in radians per time unit.

    Arguments: `gravity`, acceleration over length (above 0; 1 makes the small-swing period 2 pi; 6 with damping 0 is
    the pendulum of the Hamiltonian-network papers); `damping`, rate (0 or more; 0.1 takes about 10 time units to
    show); `amplitude`, largest initial angle in radians (above 0; up to 2 the pendulum never goes over the top).

    Reference: S. Greydanus, M. Dzamba and J. Yosinski, "Hamiltonian neural networks", NeurIPS 2019, arXiv:1906.01563;
    L. D. Landau and E. M. Lifshitz, "Mechanics", section 11.
    """

    gravity: float = 1.0
    damping: float = 0.1
    amplitude: float = 2.0

    parameters: ClassVar[tuple[str, ...]] = ("gravity", "damping")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "gravity", "damping")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "gravity")
    positive: ClassVar[tuple[str, ...]] = ("gravity", "amplitude")
    non_negative: ClassVar[tuple[str, ...]] = ("damping",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("angle", "velocity")

    @property
    def structure(self) -> Structure:
        return Structure(order=2, symmetries=("time",), conserved=("energy",) if self.damping == 0 else ())

    @property
    def time_scale(self) -> float:
        """Period of small swings."""
        return 2 * math.pi / math.sqrt(self.gravity)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        angle, velocity = y[..., 0], y[..., 1]
        zero = xp.zeros_like(angle)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.stack([velocity, zero], axis=-1)
        if "gravity" in names:
            out["gravity"] = xp.stack([zero, -p["gravity"] * xp.sin(angle)], axis=-1)
        if "damping" in names:
            out["damping"] = xp.stack([zero, -p["damping"] * velocity], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Angle uniform within `amplitude`, velocity uniform within half of amplitude * sqrt(gravity)."""
        angle, velocity = rng.uniform(-1, 1, size=2)
        return np.array([angle * self.amplitude, velocity * self.amplitude * math.sqrt(self.gravity) / 2])

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy per moment of inertia; its zero is the pendulum at rest."""
        xp = array_namespace(y)
        return {"energy": y[..., 1] ** 2 / 2 + self.gravity * (1 - xp.cos(y[..., 0]))}
