from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, displacements, pull, weighted
from physics_models.base import Array, Structure
from physics_models.mechanics import angular_momenta, conserved_names, momenta


@dataclass(frozen=True)
class Dorsogna(Group):
    """D'Orsogna's swarm: self-propelled particles with a Morse potential, which mill, flock, ring or disperse.

    Equation (unit masses; s_ij = (|x_j - x_i|^2 + core^2)^(1/2), sums over all j):

        dx_i/dt = v_i                                                                    inertia
        dv_i/dt = (propulsion - friction |v_i|^2) v_i                                    propulsion
                  + sum_j (attraction / attraction_range) exp(-s / attraction_range) (x_j - x_i) / s   attraction
                  - sum_j (repulsion / repulsion_range) exp(-s / repulsion_range) (x_j - x_i) / s      repulsion

    These are the forces of the pair potential U = repulsion exp(-s / repulsion_range) - attraction exp(-s /
    attraction_range). The paper has core 0, where the force between two particles in one place has no direction. With a
    core the potential is smooth everywhere and the force there 0; at the distance r it differs by the fraction
    core^2 / 2 r^2 or so. Forces add up over the group, as in the paper: larger groups are tighter.

    Behaviour: speeds tend to (propulsion / friction)^(1/2). With the default parameters a group started with swirl 1
    comes to turn about its centre as a mill, most groups within 20 to 40 time units; one started with drift 3 and
    swirl 0 flies off as a flock. Attraction 0.5 and repulsion 0.25 over the range 1 make a thin ring, on which
    particles run both ways; a tenth of the attraction lets the group disperse. With propulsion and friction 0 energy,
    momentum and angular momentum are conserved.
    Groups with the default parameters are chaotic for hundreds of time units: over 1000 of them after the first 100 the
    largest Lyapunov exponent is 0.43 per time unit (0.425 and 0.443, each with standard error 0.05, by
    `lyapunov_spectrum`, from twice 16 starts). It is some 0.6 as long as chaos lasts, and 0 in the groups, 7 of 16
    within 1300 time units, that settle down as a flock or as a mill that turns regularly.

    State: (N, 2 d), positions then velocities.

    Arguments: `n_agents` (2 or more); `space_dim` (2 or 3); `propulsion` and `friction` (0 or more); `attraction` and
    `repulsion`, depths of the potential (0 or more), with their ranges, and `core` (above 0; a fifth of the smaller
    range or less); `spread`: standard deviation of the initial positions along each axis; `speed`: root mean square
    of the initial speeds (0 or more, all three); `swirl` and `drift`: sizes of the initial common rotation about the
    centre and of the common heading, relative to the random part of the velocities (0 or more).

    Reference: M. R. D'Orsogna, Y. L. Chuang, A. L. Bertozzi and L. S. Chayes, "Self-propelled particles with soft-core
    interactions: patterns, stability, and collapse", Physical Review Letters 96 (2006),
    doi:10.1103/PhysRevLett.96.104302.
    """

    n_agents: int = 20
    propulsion: float = 1.0
    friction: float = 1.0
    attraction: float = 1.0
    attraction_range: float = 2.0
    repulsion: float = 2.0
    repulsion_range: float = 0.5
    core: float = 0.1
    spread: float = 1.0
    speed: float = 1.0
    swirl: float = 1.0
    drift: float = 0.0

    parameters: ClassVar[tuple[str, ...]] = (
        "propulsion",
        "friction",
        "attraction",
        "attraction_range",
        "repulsion",
        "repulsion_range",
    )
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "propulsion", "attraction", "repulsion")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "propulsion")
    chaotic: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ("attraction_range", "repulsion_range", "core")
    non_negative: ClassVar[tuple[str, ...]] = (
        "propulsion",
        "friction",
        "attraction",
        "repulsion",
        "spread",
        "speed",
        "swirl",
        "drift",
    )

    @property
    def structure(self) -> Structure:
        axes = self.variables[: self.space_dim]
        free = self.propulsion == self.friction == 0
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
            conserved=conserved_names(axes) if free else (),
            pairwise=True,
            canonical=tuple((axis, f"v{axis}") for axis in axes) if free else (),
        )

    @property
    def time_scale(self) -> float:
        """Relaxation time of the speed, 1 / (2 propulsion), or 1 without propulsion."""
        return 1 / (2 * self.propulsion) if self.propulsion else 1.0

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        force: dict[str, Array] = {}
        if not {"attraction", "repulsion"}.isdisjoint(names):
            r = displacements(x)
            s = xp.sqrt(xp.sum(r * r, axis=-1) + self.core**2)

            def kernel(name: str, sign: float) -> Array:
                length = p[f"{name}_range"]
                return weighted(sign * p[name] / length * xp.exp(-s / length) / s, p)

            if "attraction" in names:
                force["attraction"] = pull(kernel("attraction", 1.0), r)
            if "repulsion" in names:
                force["repulsion"] = pull(kernel("repulsion", -1.0), r)
        if "propulsion" in names:
            force["propulsion"] = (p["propulsion"] - p["friction"] * xp.sum(v * v, axis=-1)[..., None]) * v
        out = {name: xp.concat([zero, part], axis=-1) for name, part in force.items()}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A Gaussian cloud about the origin; velocity = Gaussian + swirl * rotation + drift * heading, rescaled.

        All three have the same root mean square. In space the rotation is about the z axis.
        """
        shape = (self.n_agents, self.space_dim)
        x, v = self.spread * rng.standard_normal(shape), rng.standard_normal(shape)
        heading = rng.standard_normal(self.space_dim)
        unit = np.sqrt(self.space_dim)
        v += self.drift * unit * heading / np.linalg.norm(heading)
        radius = np.sqrt(np.mean(np.sum(x[:, :2] ** 2, axis=-1)))
        if radius > 0:
            v[:, :2] += self.swirl * unit / radius * np.stack([-x[:, 1], x[:, 0]], axis=-1)
        v *= self.speed / np.sqrt(np.mean(np.sum(v**2, axis=-1)))
        return np.concatenate([x, v], axis=-1)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Total energy, momentum along each axis and angular momentum about the origin.

        All are constant if propulsion and friction are 0.
        """
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d:]
        r = displacements(x)
        s = xp.sqrt(xp.sum(r * r, axis=-1) + self.core**2)
        pairs = self.repulsion * xp.exp(-s / self.repulsion_range) - self.attraction * xp.exp(
            -s / self.attraction_range
        )
        # Every pair is met twice, and each particle meets itself: a constant.
        energy = xp.sum(v * v, axis=(-2, -1)) / 2 + xp.sum(pairs, axis=(-2, -1)) / 2
        return {"energy": energy, **momenta(v), **angular_momenta(x, v)}
