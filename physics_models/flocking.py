from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, cloud, consensus, cruise, displacements, pull, weighted
from physics_models.base import Array, Structure


@dataclass(frozen=True)
class Flocking(Group):
    """Smooth Reynolds boids: agents that separate, align, cohere and cruise until they fly as one flock.

    Equation (averages run over all N agents j; r = x_j - x_i; no square root, so coincident agents are harmless):

        dx_i/dt = v_i                                                                 inertia
        dv_i/dt = - separation * mean_j r exp(-|r|^2 / 2 separation_range^2)          separation
                  + alignment  * mean_j (v_j - v_i) exp(-|r|^2 / 2 alignment_range^2) alignment
                  + cohesion   * mean_j r exp(-|r|^2 / 2 cohesion_range^2)            cohesion
                  + regulation * (1 - |v_i|^2 / cruise_speed^2) v_i                   speed

    Behaviour: a loose group with partly random headings turns into an ordered flock within about ten time units; its
    agents then keep apart and cruise in a common direction that depends on all the initial headings. The field is
    C-infinity. Because forces are averages, time scales and the flock's size do not depend on the number of agents:
    more agents stand closer. One time unit is about the time in which neighbours align.

    State: (N, 2 d), positions then velocities; lengths in units of the neighbourhood, speeds in lengths per time unit.

    Arguments: `n_agents` (2 or more; 10 is easy to watch, 100 is a crowd); `space_dim` (2 or 3); `separation`,
    `alignment`, `cohesion`, `regulation`: strengths, 0 switches a rule off; the three ranges and `cruise_speed`, above
    0; `spread`: standard deviation of the initial positions along each axis; `disorder`: size of the random part of
    the initial velocity relative to the common part (0 starts ordered, 3 mostly random, 10 random). Some groups
    started with a far larger `spread` than the ranges break up, as real ones do.

    Reference: C. W. Reynolds, "Flocks, herds, and schools: a distributed behavioral model", SIGGRAPH 1987,
    doi:10.1145/37401.37406; smooth mean-field form after F. Cucker and S. Smale, "Emergent behavior in flocks", IEEE
    Transactions on Automatic Control 52 (2007), doi:10.1109/TAC.2007.895842.
    """

    separation: float = 10.0
    separation_range: float = 0.5
    alignment: float = 1.5
    alignment_range: float = 2.0
    cohesion: float = 1.0
    cohesion_range: float = 3.0
    regulation: float = 0.5
    cruise_speed: float = 1.0
    spread: float = 1.5
    disorder: float = 3.0

    parameters: ClassVar[tuple[str, ...]] = (
        "separation",
        "separation_range",
        "alignment",
        "alignment_range",
        "cohesion",
        "cohesion_range",
        "regulation",
        "cruise_speed",
    )
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "separation", "alignment", "cohesion", "speed")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "alignment", "speed")
    positive: ClassVar[tuple[str, ...]] = ("separation_range", "alignment_range", "cohesion_range", "cruise_speed")
    non_negative: ClassVar[tuple[str, ...]] = (
        "separation",
        "alignment",
        "cohesion",
        "regulation",
        "spread",
        "disorder",
    )

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
            pairwise=True,
        )

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        n, d = y.shape[-2], self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        velocity_part: dict[str, Array] = {}
        if not {"separation", "alignment", "cohesion"}.isdisjoint(names):
            r = displacements(x)
            distance2 = xp.sum(r * r, axis=-1)

            def kernel(name: str) -> Array:
                """p[name] / n * exp(-distance2 / 2 range^2): the constants are folded before they meet the pairs."""
                return weighted(p[name] / n * xp.exp(distance2 * (-0.5 / p[f"{name}_range"] ** 2)), p)

            if "separation" in names:
                velocity_part["separation"] = -pull(kernel("separation"), r)
            if "alignment" in names:
                velocity_part["alignment"] = consensus(kernel("alignment"), v)
            if "cohesion" in names:
                velocity_part["cohesion"] = pull(kernel("cohesion"), r)
        if "speed" in names:
            velocity_part["speed"] = cruise(v, p)
        out = {name: xp.concat([zero, part], axis=-1) for name, part in velocity_part.items()}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A Gaussian cloud about the origin; velocity = common random heading + disorder * Gaussian, at cruise speed.

        The velocities are scaled to a root-mean-square of `cruise_speed`, so the speeds differ between agents.
        """
        return cloud(rng, self.n_agents, self.space_dim, self.spread, self.disorder, self.cruise_speed)
