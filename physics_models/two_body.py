from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from physics_models.mechanics import GravitatingBodies


@dataclass(frozen=True)
class TwoBody(GravitatingBodies):
    """Two bodies in a plane that orbit each other by gravitation.

    Equation (i is 1 or 2, j the other; r = x_j - x_i; the constant of gravitation is 1):

        dx_i/dt = v_i                                                     inertia
        dv_i/dt = mass_j r / (|r|^2 + softening^2)^(3/2)                  gravity

    Behaviour: each body runs around an ellipse with the common centre of mass, here at rest at the origin, in one
    focus; from the starts drawn here the ellipses are nearly circles. Energy, momentum and angular momentum are
    conserved. With softening 0 the separation obeys Kepler's problem with the strength mass_1 + mass_2; a softened
    orbit is a rosette. A collision is a singularity if softening is 0: the simulation stops with its time. No start is
    drawn at one; exactly coincident bodies feel no force.

    State: (2, 4), position and velocity of each body.

    Arguments: `mass_1`, `mass_2` (above 0; if both are 1, velocities are momenta and the state is canonical);
    `softening`, length below which gravitation is cut off (0 or more; 0 is Newton's law, a tenth of the distance
    already makes the orbits precess; no parameter, so never fitted); `near`, `far`: half the initial separation
    has both coordinates uniform between them (near above 0, far at least near; 0.5 and 1.5 in the
    Hamiltonian-network paper); `disorder`, standard deviation of the initial relative speed about the circular orbit's,
    as a part of it (0 or more; 0.05 in the paper, 0 draws circles); `direction`: "any" turns the start by a random
    angle, "quadrant" leaves body 1 in the first quadrant, as the paper's code does.

    Reference: S. Greydanus, M. Dzamba and J. Yosinski, "Hamiltonian neural networks", NeurIPS 2019, arXiv:1906.01563;
    L. D. Landau and E. M. Lifshitz, "Mechanics", sections 13 and 15.
    """

    mass_1: float = 1.0
    mass_2: float = 1.0
    near: float = 0.5
    far: float = 1.5
    disorder: float = 0.05
    direction: str = "any"

    parameters: ClassVar[tuple[str, ...]] = ("mass_1", "mass_2")
    positive: ClassVar[tuple[str, ...]] = ("mass_1", "mass_2", "near", "far")
    non_negative: ClassVar[tuple[str, ...]] = ("softening", "disorder")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.far < self.near:
            raise ValueError(f"far must be at least near ({self.near}), but it is {self.far}")
        if self.direction not in ("any", "quadrant"):
            raise ValueError(f"direction must be any or quadrant, but it is {self.direction!r}")

    @property
    def time_scale(self) -> float:
        """Period of the circular orbit that begins in the middle of `near` and `far`, without softening."""
        separation = math.sqrt(2) * (self.near + self.far)
        return 2 * math.pi * math.sqrt(separation**3 / self._total_mass)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Half the separation in a square, and nearly the velocity of a circular orbit, anticlockwise."""
        half = rng.uniform(self.near, self.far, size=2)
        factor = 1 + self.disorder * rng.standard_normal()
        if self.direction == "any":
            turn = rng.uniform(0, 2 * math.pi)
            half = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ half
        separation = 2 * half
        distance = float(np.hypot(*separation))
        velocity = factor * math.sqrt(self._total_mass / distance**3) * np.array([-separation[1], separation[0]])
        relative = np.concatenate([separation, velocity])
        return np.stack([self.mass_2 * relative, -self.mass_1 * relative]) / self._total_mass
