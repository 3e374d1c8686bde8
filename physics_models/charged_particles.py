from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, displacements, pull, weighted
from physics_models.base import Array, Structure
from physics_models.mechanics import (
    angular_momenta,
    conserved_names,
    directions,
    inverse_distance,
    momenta,
    potential_of_pairs,
)


@dataclass(frozen=True)
class ChargedParticles(Group):
    """Charged particles: equal charges repel, opposite ones attract, and a soft wall keeps them together.

    Equation (sum over the other particles j; r = x_j - x_i):

        dx_i/dt = v_i                                                                            inertia
        dv_i/dt = - strength charge_i sum_j charge_j r / (|r|^2 + softening^2)^(3/2)             charge
                  - confinement |x_i|^2 / size^2 x_i                                             confinement
        dcharge_i/dt = 0

    Behaviour: opposite charges whirl about each other and are torn apart by a third; chaotic within a few time units
    when they come close. Energy and angular momentum are conserved; without confinement momentum is too.
    The charge is a variable of each particle that never changes, drawn for every trajectory: a model that observes it
    knows how strongly each pair interacts, one from which it is hidden has to infer it from the motion. In the
    original the charges are hidden, the walls are hard, at 5, and forces are cut off at 100: a jump that no order of an
    integrator survives; here a potential growing as |x|^4 and the softening have their place.

    State: (N, 2 d + 1), position, velocity and charge of each particle; masses are 1, so that velocities are momenta.

    Arguments: `n_agents` (2 or more; 5 or 10 in the original); `space_dim` (2 or 3); `strength` of the force between
    unit charges at a unit distance (above 0; 1 in the original); `softening`, length below which it is cut off (0 or
    more; 0.2 keeps the force under 10; at 0 opposite charges may pass so closely that the simulation stops, with
    the time; exactly coincident particles exert no force on each other); `confinement` (0 or more; 0 leaves the plane
    open, 0.5 turns most back before 4); `size` of the place (above 0; 5 in the original); `spread`, standard
    deviation of the initial positions (above 0; 1 in the original), and `speed`, that of every particle at the
    start (0 or more; 0.5 in the original). Charges are drawn as -1 or +1.

    Reference: T. Kipf et al., "Neural relational inference for interacting systems", ICML 2018, arXiv:1802.04687.
    """

    n_agents: int = 5
    strength: float = 1.0
    softening: float = 0.2
    confinement: float = 0.5
    size: float = 5.0
    spread: float = 1.0
    speed: float = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("strength", "softening", "confinement")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "charge", "confinement")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "confinement")
    positive: ClassVar[tuple[str, ...]] = ("strength", "size", "spread")
    non_negative: ClassVar[tuple[str, ...]] = ("softening", "confinement", "speed")
    chaotic: ClassVar[bool] = True

    @property
    def variables(self) -> tuple[str, ...]:
        return (*super().variables, "charge")

    @property
    def structure(self) -> Structure:
        axes = self.variables[: self.space_dim]
        open_space = self.confinement == 0
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=(*(("translation",) if open_space else ()), "rotation", "reflection", "permutation", "time"),
            conserved=conserved_names(axes, open_space),
            pairwise=True,
            canonical=tuple((axis, f"v{axis}") for axis in axes),
        )

    @property
    def time_scale(self) -> float:
        """Period of two opposite charges about each other at the distance `spread`."""
        return 2 * math.pi * math.sqrt(self.spread**3 / (2 * self.strength))

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d = self.space_dim
        x, v, charge = y[..., :d], y[..., d : 2 * d], y[..., 2 * d :]
        zero, none = xp.zeros_like(x), xp.zeros_like(charge)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero, none], axis=-1)
        if "charge" in names:
            r = displacements(x)
            inverse = inverse_distance(xp.sum(r * r, axis=-1), p["softening"])
            kernel = -p["strength"] * charge * charge[..., None, :, 0] * inverse**3
            out["charge"] = xp.concat([zero, pull(weighted(kernel, p), r), none], axis=-1)
        if "confinement" in names:
            distance2 = xp.sum(x * x, axis=-1)[..., None]
            out["confinement"] = xp.concat([zero, -p["confinement"] / self.size**2 * distance2 * x, none], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian positions, velocities of one size in random directions, charges of either sign equally likely."""
        x = self.spread * rng.standard_normal((self.n_agents, self.space_dim))
        v = self.speed * directions(rng, x.shape)
        return np.concatenate([x, v, rng.choice([-1.0, 1.0], size=(self.n_agents, 1))], axis=-1)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy, momentum and angular momentum about the origin, of all particles together."""
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d : 2 * d]
        wall = xp.sum(xp.sum(x * x, axis=-1) ** 2, axis=-1) * (self.confinement / (4 * self.size**2))
        pairs = self.strength * potential_of_pairs(y[..., 2 * d], x, self.softening)
        kinetic = xp.sum(v * v, axis=(-1, -2)) / 2
        return {"energy": kinetic + pairs + wall, **momenta(v), **angular_momenta(x, v)}
