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
    """Pendulum with friction, and a drive if wanted: swings through large angles and slowly loses its energy.

    Equation:

        d angle/dt = velocity                                        inertia
        d velocity/dt = - gravity * sin(angle)                       gravity
                        - damping * velocity                         damping
                        + drive * cos(drive_frequency * t)           drive

    Behaviour: with damping 0 and drive 0 the energy velocity^2 / 2 + gravity (1 - cos angle) is conserved and the
    motion is periodic; the period grows with the amplitude. With damping above 0 every start spirals to rest, unless it
    is driven: a weak drive makes it swing with the drive, a strong one lets it tumble chaotically.

    State: (2,), angle in radians and angular velocity in radians per time unit; undamped and undriven it is canonical.

    Arguments: `gravity`, acceleration over length (above 0; 1 makes the small-swing period 2 pi; 6 with damping 0 is
    the pendulum of the Hamiltonian-network papers); `damping`, rate (0 or more; 0.1 takes about 10 time units to
    show); `drive`, largest angular acceleration by the drive (0 or more; 0 is none; 1.5 with damping 0.5 and
    `drive_frequency` 2/3 is chaotic) and `drive_frequency`, in radians per time unit (0 or more): both known exactly,
    no parameters, so never fitted.
    Where it starts: `amplitude`, largest initial angle in radians (above 0; up to 2 the pendulum never goes over the
    top). Or, if `outer` is above 0, at a distance from rest uniform between `inner` and `outer` (0 or more, inner at
    most outer) in the plane of angle and half the velocity: so the Hamiltonian-network paper's code draws it, with 1.3
    and 2.3, half the velocity being its momentum.

    Reference: S. Greydanus, M. Dzamba and J. Yosinski, "Hamiltonian neural networks", NeurIPS 2019, arXiv:1906.01563;
    L. D. Landau and E. M. Lifshitz, "Mechanics", section 11; chaos: G. L. Baker and J. P. Gollub, "Chaotic dynamics",
    2nd edition, 1996.
    """

    gravity: float = 1.0
    damping: float = 0.1
    drive: float = 0.0
    drive_frequency: float = 1.0
    amplitude: float = 2.0
    inner: float = 0.0
    outer: float = 0.0

    parameters: ClassVar[tuple[str, ...]] = ("gravity", "damping")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "gravity", "damping", "drive")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "gravity")
    positive: ClassVar[tuple[str, ...]] = ("gravity", "amplitude")
    non_negative: ClassVar[tuple[str, ...]] = ("damping", "drive", "drive_frequency", "inner", "outer")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner > self.outer:
            raise ValueError(f"inner must be at most outer ({self.outer}), but it is {self.inner}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("angle", "velocity")

    @property
    def structure(self) -> Structure:
        return Structure(
            order=2,
            symmetries=("time",) if self.drive == 0 else (),
            conserved=("energy",) if self.damping == self.drive == 0 else (),
            canonical=(("angle", "velocity"),),
        )

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
        if "drive" in names:
            out["drive"] = xp.stack([zero, self._push(t, y) if self.drive else zero], axis=-1)
        return out

    def _push(self, t: Array, y: Array) -> Array:
        """The drive's acceleration, (...,): t broadcasts against the states y, whose precision it gets."""
        xp = array_namespace(y)
        time = xp.astype(t + xp.zeros_like(y), y.dtype)[..., 0]
        return self.drive * xp.cos(self.drive_frequency * time)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Angle uniform within `amplitude`, velocity uniform within half of amplitude * sqrt(gravity); or on a ring."""
        angle, velocity = rng.uniform(-1, 1, size=2)
        if self.outer > 0:
            radius = rng.uniform(self.inner, self.outer) / math.hypot(angle, velocity)
            return np.array([radius * angle, 2 * radius * velocity])
        return np.array([angle * self.amplitude, velocity * self.amplitude * math.sqrt(self.gravity) / 2])

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy per moment of inertia; its zero is the pendulum at rest."""
        xp = array_namespace(y)
        return {"energy": y[..., 1] ** 2 / 2 + self.gravity * (1 - xp.cos(y[..., 0]))}
