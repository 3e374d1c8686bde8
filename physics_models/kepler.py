from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System
from physics_models.mechanics import inverse_distance


@dataclass(frozen=True)
class Kepler(System):
    """Kepler's problem: a planet in a plane about a sun that does not move, on an ellipse.

    Equation:

        dx/dt = v                                  inertia
        dv/dt = - strength x / |x|^3               gravity

    Behaviour: every orbit drawn is a closed ellipse with the sun, at the origin, in one focus. Energy, angular momentum
    and the Laplace-Runge-Lenz vector, which points to the pericentre and has the length strength times eccentricity,
    are conserved; the period is 2 pi (axis^3 / strength)^(1/2) whatever the eccentricity (Kepler's third law). The more
    eccentric, the faster the pass by the sun: at eccentricity 0.9 it is 19 times as fast as the far end. The sun is a
    singularity, which no orbit drawn here meets; exactly there the force is taken as 0.

    State: (4,), position x, y and velocity vx, vy; unit mass, so that velocities are momenta.

    Arguments: `strength`, the sun's mass times the constant of gravitation (above 0; 1 with axis 1 makes the period
    2 pi); `eccentricity`, the largest of the orbits drawn, from 0 on uniformly (0 or more, below 1; 0 draws circles,
    above 0.9 an orbit needs many steps); `axis`, semi-major axis (above 0), and `spread`, half the range of its
    uniform law as a part of it (0 or more, below 1).

    Reference: H. Goldstein, C. Poole and J. Safko, "Classical mechanics", 3rd edition, sections 3.7 to 3.9.
    """

    strength: float = 1.0
    eccentricity: float = 0.5
    axis: float = 1.0
    spread: float = 0.2

    parameters: ClassVar[tuple[str, ...]] = ("strength",)
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "gravity")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia",)
    positive: ClassVar[tuple[str, ...]] = ("strength", "axis")
    non_negative: ClassVar[tuple[str, ...]] = ("eccentricity", "spread")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("eccentricity", "spread"):
            if not getattr(self, name) < 1:
                raise ValueError(f"{name} must be below 1, but it is {getattr(self, name)}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "vx", "vy")

    @property
    def structure(self) -> Structure:
        return Structure(
            space_dim=2,
            order=2,
            symmetries=("rotation", "reflection", "time"),
            conserved=("energy", "angular_momentum", "laplace_runge_lenz_x", "laplace_runge_lenz_y"),
            canonical=(("x", "vx"), ("y", "vy")),
        )

    @property
    def time_scale(self) -> float:
        """Period of an orbit with the semi-major axis `axis`."""
        return 2 * math.pi * math.sqrt(self.axis**3 / self.strength)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        zero = xp.zeros_like(x)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        if "gravity" in names:
            inverse = inverse_distance(xp.sum(x * x, axis=-1))
            out["gravity"] = xp.concat([zero, -p["strength"] * inverse[..., None] ** 3 * x], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Any point of an ellipse, with the probability of the time spent there, in any direction, run either way."""
        e, turn = self.eccentricity * rng.uniform(), rng.uniform(0, 2 * math.pi)
        a = self.axis * (1 + self.spread * rng.uniform(-1, 1))
        mean = rng.uniform(-math.pi, math.pi)
        anomaly = mean + math.copysign(0.85 * e, mean)  # Danby's start, from which Newton's method always converges
        for _ in range(10):
            anomaly -= (anomaly - e * math.sin(anomaly) - mean) / (1 - e * math.cos(anomaly))
        c, s, b = math.cos(anomaly), math.sin(anomaly), a * math.sqrt(1 - e * e)
        rate = math.sqrt(self.strength / a**3) / (1 - e * c)
        orbit = np.array([[a * (c - e), b * s], [-a * s * rate, b * c * rate]])
        if rng.uniform() < 0.5:
            orbit[:, 1] *= -1
        return (orbit @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])).reshape(4)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Per unit mass: energy, angular momentum about the sun, and the Laplace-Runge-Lenz vector."""
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        inverse = inverse_distance(xp.sum(x * x, axis=-1))
        spin = x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]
        return {
            "energy": xp.sum(v * v, axis=-1) / 2 - self.strength * inverse,
            "angular_momentum": spin,
            "laplace_runge_lenz_x": v[..., 1] * spin - self.strength * x[..., 0] * inverse,
            "laplace_runge_lenz_y": -v[..., 0] * spin - self.strength * x[..., 1] * inverse,
        }
