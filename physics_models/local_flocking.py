from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, cloud, consensus, cruise, displacements, pull, weighted
from physics_models.base import Array, Structure

RULES = ("separation", "alignment", "cohesion")


@dataclass(frozen=True)
class LocalFlocking(Group):
    """Reynolds boids who see no further than a cutoff: flocks of any number of agents at a given density.

    Equation (sums run over all agents j; r = x_j - x_i; k_R is 0 beyond the range R of its rule):

        dx_i/dt = v_i                                                                           inertia
        dv_i/dt = - separation * sum_j k_R(|r|) r                                               separation
                  + alignment  * sum_j k_R(|r|) (v_j - v_i)                                     alignment
                  + cohesion   * sum_j k_R(|r|) r                                               cohesion
                  + regulation * (1 - |v_i|^2 / cruise_speed^2) v_i                             speed

        k_R(s) = (1 - s^2 / R^2)^3 / (density * c R^d) for s < R, where c = pi / 4 in the plane, 64 pi / 315 in space

    The kernel's denominator makes sum_j k_R = 1, self included, in a uniform crowd of that density: forces and time
    scales depend on how dense the crowd is, not on how large. The field is twice continuously differentiable, also
    where agents coincide; a derivative of third order jumps where a pair comes into range.

    Behaviour: agents keep apart by about separation_range, headings agree within a few time units over distances that
    grow with time, so that large flocks start with many domains of heading. With strengths at which attraction
    outweighs repulsion (separation * separation_range^2 < cohesion * cohesion_range^2) the group shrinks to a point
    instead. For very large flocks see physics_models/large_flock.py: the same field in a time proportional to N.

    State: (N, 2 d), positions then velocities; lengths in units of the separation range, one time unit is about
    1.5 times that in which neighbours align.

    Arguments: `n_agents` (2 or more; 10 is easy to watch); `space_dim` (2 or 3); `separation`, `alignment`,
    `cohesion`, `regulation`: strengths, 0 switches a rule off; `separation_range`, `alignment_range`,
    `cohesion_range`, above 0: where the rules end; `cruise_speed`, above 0; `density`, above 0: agents per unit of
    area or volume at the start in open space, and in the kernels; `box`: side of a periodic box in which the nearest
    image counts, at least twice every range, or 0 for open space; `disorder`: size of the random part of the initial
    velocity relative to the common part (0 starts ordered, 10 random).

    Reference: rules of C. W. Reynolds, "Flocks, herds, and schools: a distributed behavioral model", SIGGRAPH 1987,
    doi:10.1145/37401.37406; kernel of M. Müller, D. Charypar and M. Gross, "Particle-based fluid simulation for
    interactive applications", SCA 2003.
    """

    separation: float = 10.0
    separation_range: float = 1.0
    alignment: float = 1.5
    alignment_range: float = 2.0
    cohesion: float = 0.5
    cohesion_range: float = 3.0
    regulation: float = 0.5
    cruise_speed: float = 1.0
    density: float = 0.7
    box: float = 0.0
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
    term_names: ClassVar[tuple[str, ...]] = ("inertia", *RULES, "speed")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "alignment", "speed")
    positive: ClassVar[tuple[str, ...]] = (
        "separation_range",
        "alignment_range",
        "cohesion_range",
        "cruise_speed",
        "density",
    )
    non_negative: ClassVar[tuple[str, ...]] = ("separation", "alignment", "cohesion", "regulation", "box", "disorder")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.box < 2 * self.cutoff:
            raise ValueError(
                f"box must be at least twice the largest range, {2 * self.cutoff:g}, so that an agent meets one image "
                f"of each other at most, but it is {self.box:g}: take more room, or box=0 for open space"
            )

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", *(() if self.box else ("rotation",)), "reflection", "permutation", "time"),
            pairwise=True,
            box=self.box or None,
        )

    @property
    def cutoff(self) -> float:
        """The distance beyond which no agent matters to another: the largest range."""
        return max(self.separation_range, self.alignment_range, self.cohesion_range)

    def kernel(self, rule: str, r2: Array, p: Mapping[str, Any]) -> Array:
        """Strength of a rule times k_R at squared distances r2, constants folded before they meet the pairs."""
        volume = math.pi / 4 if self.space_dim == 2 else 64 * math.pi / 315
        reach = p[f"{rule}_range"]
        u = array_namespace(r2).clip(1 - r2 * (1 / reach**2), min=0)
        return p[rule] / (self.density * volume * reach**self.space_dim) * (u * u * u)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        velocity_part: dict[str, Array] = {}
        if not set(RULES).isdisjoint(names):
            r = displacements(x)
            if self.box:
                r = r - self.box * xp.round(r / self.box)
            distance2 = xp.sum(r * r, axis=-1)

            def kernel(rule: str) -> Array:
                return weighted(self.kernel(rule, distance2, p), p)

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
        """Uniform in the box, or in a disc or ball about the origin of the given density; headings partly random.

        The velocities have a root-mean-square of `cruise_speed`.
        """
        d = self.space_dim
        y = cloud(rng, self.n_agents, d, 1.0, self.disorder, self.cruise_speed)
        if self.box:
            y[:, :d] = self.box * rng.random((self.n_agents, d))
        else:
            ball = math.pi if d == 2 else 4 / 3 * math.pi
            radius = (self.n_agents / (self.density * ball)) ** (1 / d)
            direction = y[:, :d] / np.linalg.norm(y[:, :d], axis=-1, keepdims=True)
            y[:, :d] = radius * rng.random((self.n_agents, 1)) ** (1 / d) * direction
        return y
