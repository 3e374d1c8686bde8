from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class CuckerSmale(System):
    """Cucker-Smale flock: agents relax towards each other's velocities, the less the farther apart they are.

    Equation (averages run over all N agents j):

        dx_i/dt = v_i                                                            inertia
        dv_i/dt = strength * mean_j (v_j - v_i) / (1 + |x_j - x_i|^2)^beta       alignment

    Behaviour: total momentum is conserved and velocity differences shrink. For beta <= 1/2 every initial state
    flocks: all velocities tend to their mean and the group stays bounded. For beta > 1/2 a fast or wide group may
    disperse. One time unit over `strength` is the relaxation time of close agents.

    State: (N, 2 d), positions then velocities.

    Arguments: `n_agents` (2 or more); `space_dim` (2 or 3); `strength` of the coupling (0 or more; 1 sets the time
    unit); `beta`, decay of the coupling with distance (0 or more; 0 is linear, 0.25 flocks always, 1 may disperse);
    `spread` and `speed`: standard deviations of the initial positions and velocities along each axis (0 or more).

    Reference: F. Cucker and S. Smale, "Emergent behavior in flocks", IEEE Transactions on Automatic Control 52
    (2007), doi:10.1109/TAC.2007.895842; beta = 1/2: S.-Y. Ha and J.-G. Liu, "A simple proof of the Cucker-Smale
    flocking dynamics and mean-field limit", Communications in Mathematical Sciences 7 (2009).
    """

    n_agents: int = 10
    space_dim: int = 2
    strength: float = 1.0
    beta: float = 0.25
    spread: float = 1.0
    speed: float = 1.0

    parameters: ClassVar[tuple[str, ...]] = ("strength", "beta")
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "alignment")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia",)
    non_negative: ClassVar[tuple[str, ...]] = ("strength", "beta", "spread", "speed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_agents < 2:
            raise ValueError(f"n_agents must be 2 or more, but it is {self.n_agents}")
        if self.space_dim not in (2, 3):
            raise ValueError(f"space_dim must be 2 or 3, but it is {self.space_dim}")

    @property
    def variables(self) -> tuple[str, ...]:
        axes = ("x", "y", "z")[: self.space_dim]
        return (*axes, *(f"v{axis}" for axis in axes))

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            order=2,
            symmetries=("translation", "rotation", "permutation", "time"),
            conserved=tuple(f"momentum_{axis}" for axis in self.variables[: self.space_dim]),
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
            r = x[..., None, :, :] - x[..., :, None, :]
            w = p["strength"] / n * (1 + xp.sum(r * r, axis=-1)) ** (-p["beta"])
            # sum_j w_ij (v_j - v_i) as a matrix product: no pairwise velocity differences are formed.
            pull = w @ v - xp.sum(w, axis=-1)[..., None] * v
            out["alignment"] = xp.concat([zero, pull], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Independent Gaussian positions (standard deviation `spread`) and velocities (`speed`)."""
        shape = (self.n_agents, self.space_dim)
        return np.concatenate(
            [self.spread * rng.standard_normal(shape), self.speed * rng.standard_normal(shape)], axis=-1
        )

    def invariants(self, y: Array) -> dict[str, Array]:
        """Mean momentum per agent along each axis, in units of velocity."""
        xp = array_namespace(y)
        mean = xp.mean(y[..., self.space_dim :], axis=-2)
        return {name: mean[..., k] for k, name in enumerate(self.structure.conserved)}
