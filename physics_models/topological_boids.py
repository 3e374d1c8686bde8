from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, cloud, consensus, cruise, displacements, pull, weighted
from physics_models.base import Array, Structure


@dataclass(frozen=True)
class TopologicalBoids(Group):
    """Boids that mind their k nearest neighbours, however far away these are, as starlings do.

    Equation (r = x_j - x_i; sums over the others j; w_ij as below, which depends on ratios of distances only):

        dx_i/dt = v_i                                                              inertia
        dv_i/dt = - separation / k * sum_j w_ij r exp(-|r|^2 / 2 separation_range^2)   separation
                  + alignment / k  * sum_j w_ij (v_j - v_i)                        alignment
                  + cohesion / k   * sum_j w_ij r                                  cohesion
                  + regulation * (1 - |v_i|^2 / cruise_speed^2) v_i                speed

        w_ij = 1 - |r_ij|^2 / D_i^2 for the `neighbours` (k) nearest others, 0 for those farther away,

    D_i being the distance to the next one after them (w = 1 if there is none). A weight of 1 for each of the k would
    let the field jump whenever two agents exchange the places k and k + 1; this one is 0 for both at that moment. So
    the field is continuous, with kinks there: the solution is unique, a solver with error control shortens its steps
    about each kink, and the order of convergence with fixed steps is 2 at most. Equally distant agents weigh the same.

    Behaviour: a loose group turns into a flock within some ten time units. As ranks do not depend on the scale, a group
    aligns as fast when it is scattered as when it is dense, which keeps it together when a predator drives it apart. A
    very loose group may part, if no one has a neighbour in the other part.

    State: (N, 2 d), positions then velocities.

    Arguments: `n_agents` (2 or more); `space_dim` (2 or 3); `neighbours` (1 or more; 6 or 7 in starlings; N - 1 and
    more is everyone); `separation`, `alignment`, `cohesion`, `regulation`: strengths, 0 switches a rule off;
    `separation_range` and `cruise_speed`, above 0; `spread`: standard deviation of the initial positions along each
    axis; `disorder`: size of the random part of the initial velocity relative to the common part. Pair weights, if
    given, multiply w after the ranking: an edge that is cut still takes its place among the nearest.

    Reference: M. Ballerini et al., "Interaction ruling animal collective behavior depends on topological rather than
    metric distance", Proceedings of the National Academy of Sciences 105 (2008), doi:10.1073/pnas.0711437105.
    """

    n_agents: int = 15
    neighbours: int = 6
    separation: float = 4.0
    separation_range: float = 0.5
    alignment: float = 2.0
    cohesion: float = 0.5
    regulation: float = 0.5
    cruise_speed: float = 1.0
    spread: float = 1.5
    disorder: float = 3.0

    parameters: ClassVar[tuple[str, ...]] = (
        "separation",
        "separation_range",
        "alignment",
        "cohesion",
        "regulation",
        "cruise_speed",
    )
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "separation", "alignment", "cohesion", "speed")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "speed")
    positive: ClassVar[tuple[str, ...]] = ("separation_range", "cruise_speed")
    non_negative: ClassVar[tuple[str, ...]] = (
        "separation",
        "alignment",
        "cohesion",
        "regulation",
        "spread",
        "disorder",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, but it is {self.neighbours}")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
        )

    def neighbour_weights(self, distance2: Array) -> Array:
        """w (..., N, N) from squared distances (..., N, N); see the equation. An agent's weight for itself is 1."""
        xp = array_namespace(distance2)
        if self.neighbours >= distance2.shape[-1] - 1:
            return xp.ones_like(distance2)
        # Place 0 is the agent itself, so place k + 1 is the nearest of those who do not count.
        next2 = xp.sort(distance2, axis=-1)[..., self.neighbours + 1][..., None]
        # Where k + 1 others sit on top of an agent all their ratios are 0 / 0: they, and no others, count as near.
        ratio = distance2 / xp.where(next2 > 0, next2, xp.ones_like(next2))
        near = xp.where(next2 > 0, ratio < 1, distance2 == 0)
        return xp.where(near, 1 - ratio, xp.zeros_like(ratio))

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d, k = self.space_dim, min(self.neighbours, y.shape[-2] - 1)
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        part: dict[str, Array] = {}
        if not {"separation", "alignment", "cohesion"}.isdisjoint(names):
            r = displacements(x)
            distance2 = xp.sum(r * r, axis=-1)
            w = weighted(self.neighbour_weights(distance2) / k, p)
            if "separation" in names:
                near = xp.exp(distance2 * (-0.5 / p["separation_range"] ** 2))
                part["separation"] = pull(-p["separation"] * w * near, r)
            if "alignment" in names:
                part["alignment"] = p["alignment"] * consensus(w, v)
            if "cohesion" in names:
                part["cohesion"] = p["cohesion"] * pull(w, r)
        if "speed" in names:
            part["speed"] = cruise(v, p)
        out = {name: xp.concat([zero, value], axis=-1) for name, value in part.items()}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A Gaussian cloud about the origin; velocity = common random heading + disorder * Gaussian, at cruise speed.

        The velocities are scaled to a root-mean-square of `cruise_speed`, so the speeds differ between agents.
        """
        return cloud(rng, self.n_agents, self.space_dim, self.spread, self.disorder, self.cruise_speed)
