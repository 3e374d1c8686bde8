from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class Lorenz96(System):
    """Lorenz 1996 weather on a ring: chaos of any size, from neighbours that advect, fade and are driven.

    Equation (indices around the ring of D = `n_variables`):

        dx_i/dt = (x_(i+1) - x_(i-2)) x_(i-1)      advection
                  - x_i                            dissipation
                  + forcing                        forcing

    Behaviour: advection alone conserves the energy sum_i x_i^2 / 2. With forcing 8, waves travel around the ring
    chaotically: with 40 variables the largest Lyapunov exponent is 1.68 per time unit and 13 exponents are positive,
    a fixed share of the ring, so that larger rings are more chaotic but no faster. Below forcing 8/9 the uniform
    state x_i = forcing is stable whatever the size. One time unit was meant as five days.

    State: (D,), x0, x1, ... around the ring, dimensionless; every turn of the ring is an exact symmetry.

    Arguments: `n_variables` (4 or more; 40 is Lorenz's own choice); `forcing` (8 is chaotic, 4 periodic in places, 0
    decays to rest); `spread`, standard deviation of the initial entries about 0.3 forcing (0 or more; 3.6 is that of
    the attractor at forcing 8).

    Reference: E. N. Lorenz, "Predictability: a problem partly solved", Proc. ECMWF Seminar on Predictability, 1996;
    exponents: E. N. Lorenz and K. A. Emanuel, "Optimal sites for supplementary weather observations", Journal of the
    Atmospheric Sciences 55 (1998).
    """

    n_variables: int = 40
    forcing: float = 8.0
    spread: float = 3.6

    parameters: ClassVar[tuple[str, ...]] = ("forcing",)
    term_names: ClassVar[tuple[str, ...]] = ("advection", "dissipation", "forcing")
    known_terms: ClassVar[tuple[str, ...]] = ("dissipation", "forcing")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)
    chaotic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_variables < 4:
            raise ValueError(f"n_variables must be 4 or more, but it is {self.n_variables}")

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.n_variables))

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",))

    @property
    def time_scale(self) -> float:
        """Lyapunov time of 40 variables under forcing 8 (no formula gives it for others)."""
        return 1 / 1.68

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        out: dict[str, Array] = {}
        if "advection" in names:
            out["advection"] = (xp.roll(y, -1, axis=-1) - xp.roll(y, 2, axis=-1)) * xp.roll(y, 1, axis=-1)
        if "dissipation" in names:
            out["dissipation"] = -y
        if "forcing" in names:
            out["forcing"] = xp.zeros_like(y) + p["forcing"]
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Independent Gaussian entries about 0.3 forcing, which is near the attractor's mean."""
        return 0.3 * self.forcing + self.spread * rng.standard_normal(self.n_variables)

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy, half the sum of squares: constant under advection alone, not under the whole field."""
        xp = array_namespace(y)
        return {"energy": xp.sum(y * y, axis=-1) / 2}
