from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from physics_models.mechanics import GravitatingBodies

# Chenciner and Montgomery's orbit in C. Simo's digits: body 3 at the origin, bodies 1 and 2 opposite, one velocity.
EIGHT_POSITION = np.array([0.97000436, -0.24308753])
EIGHT_VELOCITY = np.array([-0.93240737, -0.86473146])
EIGHT_PERIOD = 6.32591398


@dataclass(frozen=True)
class ThreeBody(GravitatingBodies):
    """Three bodies in a plane under gravitation: near a rotating triangle or a figure eight, chaotic further on.

    Equation (sum over the other bodies j; r = x_j - x_i; the constant of gravitation is 1):

        dx_i/dt = v_i                                                        inertia
        dv_i/dt = sum_j mass_j r / (|r|^2 + softening^2)^(3/2)               gravity

    Behaviour: Lagrange's equilateral triangle turns about its centre of mass for ever, but bodies of comparable masses
    leave it: equal ones e^(sqrt(2) pi), 85-fold, a turn; after a few turns two bodies pass close by each other.
    The figure eight of three equal masses is stable against small disturbances. Energy, momentum and angular momentum
    are conserved. A collision is a singularity if softening is 0, and close passes need many steps: the simulation
    stops with the time where it cannot go on. Starts are drawn with the bodies apart; exactly coincident bodies feel
    no force.

    State: (3, 4), position and velocity of each body.

    Arguments: `mass_1`, `mass_2`, `mass_3` (above 0; if all are 1, velocities are momenta and the state is canonical);
    `softening`, length below which gravitation is cut off (0 or more; 0 is Newton's law, 0.1 tames close passes; no
    parameter, so never fitted); `start`: "triangle" or "figure_eight" (for masses of 1); `near`, `far`: distance of the
    triangle's corners from its centre, uniform between them (near above 0, far at least near; 0.9 and 1.2 in the
    Hamiltonian-network paper); `disorder`: each component of the initial velocities is multiplied by 1 + disorder
    times a number uniform in (-1, 1) (0 or more; 0.2 in the paper; 0 draws the exact orbits).

    Reference: A. Chenciner and R. Montgomery, "A remarkable periodic solution of the three-body problem in the case of
    equal masses", Annals of Mathematics 152 (2000) 881-901, arXiv:math/0011268; start as in S. Greydanus, M. Dzamba
    and J. Yosinski, "Hamiltonian neural networks", NeurIPS 2019, arXiv:1906.01563.
    """

    mass_1: float = 1.0
    mass_2: float = 1.0
    mass_3: float = 1.0
    start: str = "triangle"
    near: float = 0.9
    far: float = 1.2
    disorder: float = 0.2

    parameters: ClassVar[tuple[str, ...]] = ("mass_1", "mass_2", "mass_3")
    positive: ClassVar[tuple[str, ...]] = ("mass_1", "mass_2", "mass_3", "near", "far")
    non_negative: ClassVar[tuple[str, ...]] = ("softening", "disorder")
    chaotic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.far < self.near:
            raise ValueError(f"far must be at least near ({self.near}), but it is {self.far}")
        if self.start not in ("triangle", "figure_eight"):
            raise ValueError(f"start must be triangle or figure_eight, but it is {self.start!r}")
        if self.start == "figure_eight" and set(self.values.values()) != {1.0}:
            raise ValueError(f"start figure_eight needs all masses 1, but they are {tuple(self.values.values())}")

    @property
    def time_scale(self) -> float:
        """Period of the figure eight, or of the triangle halfway between `near` and `far`, without softening."""
        if self.start == "figure_eight":
            return EIGHT_PERIOD
        return 2 * math.pi / self._rate((self.near + self.far) / 2)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A triangle turning anticlockwise or the eight, in a random orientation, with disturbed velocities."""
        angle = rng.uniform(0, 2 * math.pi)
        if self.start == "figure_eight":
            x = np.stack([EIGHT_POSITION, -EIGHT_POSITION, np.zeros(2)])
            v = np.stack([-EIGHT_VELOCITY / 2, -EIGHT_VELOCITY / 2, EIGHT_VELOCITY])
            turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            x, v = x @ turn, v @ turn
        else:
            radius = rng.uniform(self.near, self.far)
            corners = angle + np.array([0, 2, 4]) * math.pi / 3
            x = radius * np.stack([np.cos(corners), np.sin(corners)], axis=-1)
            x -= np.array(list(self.values.values())) @ x / self._total_mass
            v = self._rate(radius) * np.stack([-x[:, 1], x[:, 0]], axis=-1)
        v *= 1 + self.disorder * rng.uniform(-1, 1, size=v.shape)
        return np.concatenate([x, v], axis=-1)

    def _rate(self, radius: float) -> float:
        """Angular velocity of Lagrange's triangle with its corners `radius` from their centre, for any masses."""
        return math.sqrt(self._total_mass / (math.sqrt(3) * radius) ** 3)
