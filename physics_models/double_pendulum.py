from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class DoublePendulum(System):
    """Double pendulum: a pendulum that hangs from another one; regular for small swings, chaotic for large.

    Equation, in canonical coordinates (mu = mass_ratio, l = length_ratio, d = angle_1 - angle_2, angles from the
    vertical; units of the upper pendulum's length and mass):

        d angle_1/dt = w_1 = (l momentum_1 - momentum_2 cos d) / (l D)                                   inertia
        d angle_2/dt = w_2 = ((1 + mu) momentum_2 - mu l momentum_1 cos d) / (mu l^2 D)                  inertia
        d momentum_1/dt = - (1 + mu) gravity sin angle_1                                                 gravity
                          - mu l w_1 w_2 sin d                                                           coupling
        d momentum_2/dt = - mu l gravity sin angle_2                                                     gravity
                          + mu l w_1 w_2 sin d                                                           coupling
        with D = 1 + mu sin^2 d

    Behaviour: the energy is conserved. Small swings are a sum of two modes, with equal masses and lengths of the
    frequencies sqrt(gravity (2 - sqrt(2))) and sqrt(gravity (2 + sqrt(2))). Large ones are chaotic: from about a right
    angle on, small errors grow e-fold in about a swing, and the pendulums go over the top.

    State: (4,), both angles in radians, then their canonical momenta; angles are not wrapped.

    Arguments: `gravity`, acceleration over the upper length (above 0; 1 makes the slow mode's period 8.2);
    `mass_ratio` and `length_ratio`, the lower pendulum's over the upper one's (above 0; 1 is the textbook's);
    `amplitude`, largest initial angle in radians (above 0; 0.5 is regular, 1.5 mixed, 3 mostly chaotic).

    Reference: L. D. Landau and E. M. Lifshitz, "Mechanics", section 5, problem 1, and section 23, problem 2;
    T. Shinbrot et al., "Chaos in a double pendulum", American Journal of Physics 60 (1992) 491-499,
    doi:10.1119/1.16860.
    """

    gravity: float = 1.0
    mass_ratio: float = 1.0
    length_ratio: float = 1.0
    amplitude: float = 1.5

    parameters: ClassVar[tuple[str, ...]] = ("gravity", "mass_ratio", "length_ratio")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "gravity", "coupling")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "gravity")
    positive: ClassVar[tuple[str, ...]] = ("gravity", "mass_ratio", "length_ratio", "amplitude")
    chaotic: ClassVar[bool] = True

    @property
    def variables(self) -> tuple[str, ...]:
        return ("angle_1", "angle_2", "momentum_1", "momentum_2")

    @property
    def structure(self) -> Structure:
        return Structure(
            order=2,
            symmetries=("time",),
            conserved=("energy",),
            canonical=(("angle_1", "momentum_1"), ("angle_2", "momentum_2")),
        )

    @property
    def time_scale(self) -> float:
        """Period of the slower mode of small swings."""
        return 2 * math.pi / self.mode_frequencies[0]

    @property
    def mode_frequencies(self) -> tuple[float, float]:
        """Angular frequencies of the slow and the fast mode of small swings, in radians per time unit."""
        m, length = 1 + self.mass_ratio, self.length_ratio
        root = math.sqrt((m * (1 + length)) ** 2 - 4 * length * m)
        slow, fast = (self.gravity * (m * (1 + length) + sign * root) / (2 * length) for sign in (-1, 1))
        return math.sqrt(slow), math.sqrt(fast)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        zero = xp.zeros_like(y[..., 0])
        mu, length = p["mass_ratio"], p["length_ratio"]
        out: dict[str, Array] = {}
        if not {"inertia", "coupling"}.isdisjoint(names):
            w1, w2 = _velocities(y, mu, length)
            if "inertia" in names:
                out["inertia"] = xp.stack([w1, w2, zero, zero], axis=-1)
            if "coupling" in names:
                torque = mu * length * w1 * w2 * xp.sin(y[..., 0] - y[..., 1])
                out["coupling"] = xp.stack([zero, zero, -torque, torque], axis=-1)
        if "gravity" in names:
            upper = -(1 + mu) * p["gravity"] * xp.sin(y[..., 0])
            lower = -mu * length * p["gravity"] * xp.sin(y[..., 1])
            out["gravity"] = xp.stack([zero, zero, upper, lower], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Angles uniform within `amplitude`, angular velocities within a quarter of amplitude * sqrt(gravity)."""
        a1, a2, w1, w2 = self.amplitude * rng.uniform(-1, 1, size=4) * [1, 1, *[math.sqrt(self.gravity) / 4] * 2]
        shared = self.mass_ratio * self.length_ratio * math.cos(a1 - a2)
        lower = self.mass_ratio * self.length_ratio**2
        return np.array([a1, a2, (1 + self.mass_ratio) * w1 + shared * w2, lower * w2 + shared * w1])

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy in units of the upper mass and length; its zero is the double pendulum at rest."""
        xp = array_namespace(y)
        mu, length = self.mass_ratio, self.length_ratio
        w1, w2 = _velocities(y, mu, length)
        height = (1 + mu) * (1 - xp.cos(y[..., 0])) + mu * length * (1 - xp.cos(y[..., 1]))
        return {"energy": (w1 * y[..., 2] + w2 * y[..., 3]) / 2 + self.gravity * height}


def _velocities(y: Array, mu: Any, length: Any) -> tuple[Array, Array]:
    """Both angular velocities, (...,), from the state."""
    xp = array_namespace(y)
    difference = y[..., 0] - y[..., 1]
    cos, sin = xp.cos(difference), xp.sin(difference)
    p1, p2 = y[..., 2], y[..., 3]
    d = length * (1 + mu * sin * sin)
    return (length * p1 - cos * p2) / d, ((1 + mu) * p2 - mu * length * cos * p1) / (mu * length * d)
