from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, consensus, displacements, weighted
from physics_models.base import Array, Structure, beside
from physics_models.mechanics import angular_momenta, conserved_names, directions, momenta

# Beyond any trajectory's own stream: NumPy pads seeds with zeros, so that the seed alone would be the first one's.
GRAPH_STREAM = 2**32 + 33


@dataclass(frozen=True)
class SpringParticles(Group):
    """Particles of which some pairs are joined by springs: who is joined to whom is to be found out.

    Equation (g_ij is 1 where a spring joins i and j, else 0; r = x_j - x_i):

        dx_i/dt = v_i                                            inertia
        dv_i/dt = strength sum_j g_ij r                          spring
                  - confinement |x_i|^2 / size^2 x_i             confinement

    Behaviour: joined particles swing through each other; others take no notice of each other, and drift until the wall,
    a potential growing as |x|^4, turns them back. Energy and angular momentum are conserved; without confinement
    momentum is too, and the equations are linear.
    The graph belongs to the system and not to the state: it is drawn once, from `graph_seed`, is the same in all
    trajectories, and no model is shown it. In the original every trajectory has a graph of its own, and walls, at 5,
    are hard.

    State: (N, 2 d), position and velocity of each particle; masses are 1, so that velocities are momenta.

    Arguments: `n_agents` (2 or more; 5 or 10 in the original); `space_dim` (2 or 3); `strength`, stiffness of a spring
    (above 0; 0.1 in the original); `edge_probability`, of a spring between two particles (0 to 1; 0.5 in the
    original; 1 joins all, who are then alike); `graph_seed` (0 or more), another seed is another graph (with 2, six
    springs hold all five particles together);
    `confinement` (0 or more; 0 leaves the plane open, 0.5 turns most back before 3); `size` of the place (above 0; 5 in
    the original); `spread`, standard deviation of the initial positions, and `speed`, that of every particle at the
    start (0 or more; both 0.5 in the original).

    Reference: T. Kipf et al., "Neural relational inference for interacting systems", ICML 2018, arXiv:1802.04687.
    """

    n_agents: int = 5
    strength: float = 0.1
    edge_probability: float = 0.5
    graph_seed: int = 2
    confinement: float = 0.5
    size: float = 5.0
    spread: float = 0.5
    speed: float = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("strength", "confinement")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "spring", "confinement")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "confinement")
    positive: ClassVar[tuple[str, ...]] = ("strength", "size")
    non_negative: ClassVar[tuple[str, ...]] = ("edge_probability", "graph_seed", "confinement", "spread", "speed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.edge_probability > 1:
            raise ValueError(f"edge_probability must be 1 or less, but it is {self.edge_probability}")

    @functools.cached_property
    def graph(self) -> np.ndarray:
        """Pair weights (N, N): 1 where there is a spring, symmetric, 0 on the diagonal; read-only.

        Drawn particle by particle, so that more of them keep the springs of the first ones.
        """
        i, j = np.tril_indices(self.n_agents, -1)
        graph = np.zeros((self.n_agents, self.n_agents))
        rng = np.random.default_rng([self.graph_seed, GRAPH_STREAM])
        graph[i, j] = rng.uniform(size=len(i)) < self.edge_probability
        graph += graph.T
        graph.setflags(write=False)
        return graph

    @property
    def structure(self) -> Structure:
        axes = self.variables[: self.space_dim]
        open_space, alike = self.confinement == 0, self.edge_probability in (0, 1)
        moves = (*(("translation",) if open_space else ()), "rotation", "reflection")
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=(*moves, *(("permutation",) if alike else ()), "time"),
            conserved=conserved_names(axes, open_space),
            pairwise=True,
            canonical=tuple((axis, f"v{axis}") for axis in axes),
        )

    @property
    def time_scale(self) -> float:
        """Period of two particles joined by one spring."""
        return 2 * math.pi / math.sqrt(2 * self.strength)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(x)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        if "spring" in names:
            out["spring"] = xp.concat([zero, consensus(weighted(p["strength"] * beside(self.graph, y), p), x)], axis=-1)
        if "confinement" in names:
            distance2 = xp.sum(x * x, axis=-1)[..., None]
            out["confinement"] = xp.concat([zero, -p["confinement"] / self.size**2 * distance2 * x], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian positions, velocities of one size in random directions."""
        x = self.spread * rng.standard_normal((self.n_agents, self.space_dim))
        return np.concatenate([x, self.speed * directions(rng, x.shape)], axis=-1)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy, momentum and angular momentum about the origin, of all particles together."""
        xp = array_namespace(y)
        x, v = y[..., : self.space_dim], y[..., self.space_dim :]
        r = displacements(x)
        springs = xp.sum(beside(self.graph, y) * xp.sum(r * r, axis=-1), axis=(-1, -2)) * (self.strength / 4)
        wall = xp.sum(xp.sum(x * x, axis=-1) ** 2, axis=-1) * (self.confinement / (4 * self.size**2))
        kinetic = xp.sum(v * v, axis=(-1, -2)) / 2
        return {"energy": kinetic + springs + wall, **momenta(v), **angular_momenta(x, v)}
