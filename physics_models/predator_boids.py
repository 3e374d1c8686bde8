from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, cloud, consensus, cruise, displacements, pull, weighted
from physics_models.base import Array, Structure

PREY, PREDATOR = slice(None, -1), slice(-1, None)
# Who feels whom, as rows and columns of the pairs, where it is not prey among themselves.
FELT = {"flight": (PREY, PREDATOR), "pursuit": (PREDATOR, PREY)}


@dataclass(frozen=True)
class PredatorBoids(Group):
    """Boids with a predator, or an obstacle: a flock that flees, and one agent with a law of its own.

    Equation (r = x_j - x_i; the last of the N agents is the predator q, averages run over the N - 1 prey j):

        dx_i/dt = v_i                                                                 inertia
      prey
        dv_i/dt = - separation * mean_j r exp(-|r|^2 / 2 separation_range^2)          separation
                  + alignment  * mean_j (v_j - v_i) exp(-|r|^2 / 2 alignment_range^2) alignment
                  + cohesion   * mean_j r exp(-|r|^2 / 2 cohesion_range^2)            cohesion
                  - flight * (x_q - x_i) exp(-|x_q - x_i|^2 / 2 flight_range^2)       flight
                  + regulation * (1 - |v_i|^2 / cruise_speed^2) v_i                   speed
      predator
        dv_q/dt = + pursuit * mean_j r exp(-|r|^2 / 2 pursuit_range^2)                pursuit
                  + regulation * (predator_speed^2 - |v_q|^2) / cruise_speed^2 * v_q  speed

    Behaviour: the prey gather into a flock, which opens, turns or parts as the predator comes near and closes behind
    it. The predator chases all prey within its range, so a wide range leads it to the middle of the flock and a narrow
    one to those nearby; it catches no one. With pursuit 0 and predator_speed 0 it stays where it starts, an obstacle
    that the flock flies around. The field is C-infinity.

    State: (N, 2 d), positions then velocities, the predator in the last row. Prey can be renamed, but not the predator,
    so `permutation` is not among the symmetries. Who is removed or added is prey.

    Arguments: `n_agents`, prey and predator (2 or more); `space_dim` (2 or 3); the strengths `separation`, `alignment`,
    `cohesion`, `flight`, `pursuit` and `regulation` (0 switches a rule off); their ranges and `cruise_speed`, of the
    prey (above 0); `predator_speed`, its own cruise speed (0 or more); `spread` and `disorder` of the prey at the
    start, as in flocking; `predator_distance`, where the predator starts (0 or more), heading for the prey's centre.

    Reference: C. W. Reynolds, "Flocks, herds, and schools: a distributed behavioral model", SIGGRAPH 1987,
    doi:10.1145/37401.37406; flight and pursuit as sums of repelling and attracting pairs: Y. Chen and T. Kolokolnikov,
    "A minimal model of predator-swarm interactions", Journal of the Royal Society Interface 11 (2014),
    doi:10.1098/rsif.2013.1208.
    """

    n_agents: int = 11
    separation: float = 10.0
    separation_range: float = 0.5
    alignment: float = 1.5
    alignment_range: float = 2.0
    cohesion: float = 1.0
    cohesion_range: float = 3.0
    flight: float = 5.0
    flight_range: float = 1.0
    pursuit: float = 2.0
    pursuit_range: float = 2.0
    regulation: float = 0.5
    cruise_speed: float = 1.0
    predator_speed: float = 1.3
    spread: float = 1.0
    disorder: float = 3.0
    predator_distance: float = 3.0

    parameters: ClassVar[tuple[str, ...]] = (
        "separation",
        "separation_range",
        "alignment",
        "alignment_range",
        "cohesion",
        "cohesion_range",
        "flight",
        "flight_range",
        "pursuit",
        "pursuit_range",
        "regulation",
        "cruise_speed",
        "predator_speed",
    )
    term_names: ClassVar[tuple[str, ...]] = (
        "inertia",
        "separation",
        "alignment",
        "cohesion",
        "flight",
        "pursuit",
        "speed",
    )
    known_terms: ClassVar[tuple[str, ...]] = ("inertia", "separation", "alignment", "cohesion", "speed")
    positive: ClassVar[tuple[str, ...]] = (
        "separation_range",
        "alignment_range",
        "cohesion_range",
        "flight_range",
        "pursuit_range",
        "cruise_speed",
    )
    non_negative: ClassVar[tuple[str, ...]] = (
        "separation",
        "alignment",
        "cohesion",
        "flight",
        "pursuit",
        "regulation",
        "predator_speed",
        "spread",
        "disorder",
        "predator_distance",
    )

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "reflection", "time"),
            pairwise=True,
            alike=self.n_agents - 1,
        )

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        d = self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        part: dict[str, Array] = {}
        if not {"separation", "alignment", "cohesion", "flight", "pursuit"}.isdisjoint(names):
            r = displacements(x)
            distance2 = xp.sum(r * r, axis=-1)

            def kernel(name: str) -> Array:
                """p[name] / number of those felt * exp(-distance2 / 2 range^2), a row for each of those who feel."""
                block = FELT.get(name, (PREY, PREY))
                near2 = distance2[(..., *block)]
                size = p[name] / near2.shape[-1] * xp.exp(near2 * (-0.5 / p[f"{name}_range"] ** 2))
                return weighted(size, p, block)

            if "alignment" in names:
                part["alignment"] = self._rows(consensus(kernel("alignment"), v[..., PREY, :]), zero)
            for name, sign in (("separation", -1), ("cohesion", 1), ("flight", -1), ("pursuit", 1)):
                if name in names:
                    rows = sign * pull(kernel(name), r[(..., *FELT.get(name, (PREY, PREY)), slice(None))])
                    part[name] = self._rows(rows, zero, predator=name == "pursuit")
        if "speed" in names:
            # Relative to the prey's cruise speed, so that a predator may have the speed 0.
            more = p["regulation"] * ((p["predator_speed"] / p["cruise_speed"]) ** 2 - 1)
            part["speed"] = cruise(v, p) + self._rows(more * v[..., PREDATOR, :], zero, predator=True)
        out = {name: xp.concat([zero, value], axis=-1) for name, value in part.items()}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        return out

    @staticmethod
    def _rows(rows: Array, zero: Array, predator: bool = False) -> Array:
        """Forces (..., N, d) from those on the prey, or on the predator, and none on the others."""
        xp = array_namespace(zero)
        both = [zero[..., PREY, :], rows] if predator else [rows, zero[..., PREDATOR, :]]
        return xp.concat(both, axis=-2)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Prey as in flocking; the predator `predator_distance` away in a random direction, heading for the centre."""
        prey = cloud(rng, self.n_agents - 1, self.space_dim, self.spread, self.disorder, self.cruise_speed)
        direction = rng.standard_normal(self.space_dim)
        direction /= np.linalg.norm(direction)
        predator = np.concatenate([self.predator_distance * direction, -self.predator_speed * direction])
        return np.concatenate([prey, predator[None]], axis=0)
