from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, consensus, displacements, weighted
from physics_models.base import Array, Structure


@dataclass(frozen=True)
class CuckerSmale(Group):
    """Cucker-Smale flock: agents relax towards each other's velocities, the less the farther apart they are.

    Equation (averages run over all N agents j):

        dx_i/dt = v_i                                                            inertia
        dv_i/dt = strength * mean_j (v_j - v_i) / (1 + |x_j - x_i|^2)^beta       alignment

    Behaviour: total momentum is conserved and velocity differences shrink. For beta <= 1/2 every initial state
    flocks: all velocities tend to their mean and the group stays bounded. For beta > 1/2 a fast or wide group may
    disperse: two halves without spread at the distance D, receding at the speed V, flock if V is below `strength` times
    the integral of (1 + r^2)^-beta from D to infinity, and part for ever if above; for beta = 1 that is strength *
    (pi / 2 - arctan D). So beta 1, gap 10, parting 2, spread and speed 0.1 disperses, while beta 0.25 flocks from the
    same start in some hundred time units. One time unit over `strength` is the relaxation time of close agents.

    State: (N, 2 d), positions then velocities.

    Arguments: `n_agents` (2 or more); `space_dim` (2 or 3); `strength` of the coupling (0 or more; 1 sets the time
    unit); `beta`, decay of the coupling with distance (0 or more; 0 is linear, 0.25 flocks always, 1 may disperse);
    `spread` and `speed`: standard deviations of the initial positions and velocities along each axis (0 or more);
    `gap` and `parting`: initial distance and receding speed of two halves of the group (0 or more; 0, 0 is one cloud).
    Below beta 1/2 all of these only set how long flocking takes.

    Reference: F. Cucker and S. Smale, "Emergent behavior in flocks", IEEE Transactions on Automatic Control 52
    (2007), doi:10.1109/TAC.2007.895842; beta = 1/2: S.-Y. Ha and J.-G. Liu, "A simple proof of the Cucker-Smale
    flocking dynamics and mean-field limit", Communications in Mathematical Sciences 7 (2009).
    """

    strength: float = 1.0
    beta: float = 0.25
    spread: float = 1.0
    speed: float = 1.0
    gap: float = 0.0
    parting: float = 0.0

    parameters: ClassVar[tuple[str, ...]] = ("strength", "beta")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "alignment")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia",)
    non_negative: ClassVar[tuple[str, ...]] = ("strength", "beta", "spread", "speed", "gap", "parting")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
            conserved=tuple(f"momentum_{axis}" for axis in self.variables[: self.space_dim]),
            pairwise=True,
        )

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        n, d = y.shape[-2], self.space_dim
        x, v = y[..., :d], y[..., d:]
        zero = xp.zeros_like(v)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        if "alignment" in names:
            r = displacements(x)
            kernel = p["strength"] / n * (1 + xp.sum(r * r, axis=-1)) ** (-p["beta"])
            out["alignment"] = xp.concat([zero, consensus(weighted(kernel, p), v)], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian positions (standard deviation `spread`) and velocities (`speed`) about those of two halves.

        The halves are a `gap` apart along a random direction and fly apart at the relative speed `parting`.
        """
        shape = (self.n_agents, self.space_dim)
        x, v = self.spread * rng.standard_normal(shape), self.speed * rng.standard_normal(shape)
        if self.gap or self.parting:
            direction = rng.standard_normal(self.space_dim)
            side = np.where(np.arange(self.n_agents) % 2, 0.5, -0.5)[:, None] * direction / np.linalg.norm(direction)
            x, v = x + self.gap * side, v + self.parting * side
        return np.concatenate([x, v], axis=-1)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Mean momentum per agent along each axis, in units of velocity."""
        xp = array_namespace(y)
        mean = xp.mean(y[..., self.space_dim :], axis=-2)
        return {name: mean[..., k] for k, name in enumerate(self.structure.conserved)}
