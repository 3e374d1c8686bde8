from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, beside
from physics_models.periodic import PeriodicField


@dataclass(frozen=True)
class Burgers(PeriodicField):
    """Viscous Burgers: a velocity in one dimension that steepens into fronts, which friction wears off.

    Equation (u at n_points points of a periodic interval of length `length`):

        du/dt = - advection u du/dx        advection
                + viscosity d2u/dx2        diffusion

    Behaviour: fast fluid catches up with slow fluid and forms fronts of a thickness of about 4 viscosity over the jump
    of u, which move, merge and decay. Not chaotic: by the transformation of Cole and Hopf it is the heat equation in
    disguise. The mean of u is conserved, its energy decays at the rate viscosity * mean (du/dx)^2.

    State: (n_points, 1), u at x = length j / n_points.

    Arguments: `length`, `viscosity` (above 0; 0.1 is resolved by 64 points, half of it needs 128), `advection` (above
    0; 1 by the choice of units); `n_points` (even); `n_modes`: the initial state is a random function of as many waves,
    of size `amplitude` (root mean square, above 0).

    Reference: J. M. Burgers, "A mathematical model illustrating the theory of turbulence", Advances in Applied
    Mechanics 1 (1948); exact solutions: E. Hopf, Communications on Pure and Applied Mathematics 3 (1950); J. D. Cole,
    Quarterly of Applied Mathematics 9 (1951).
    """

    advection: float = 1.0
    viscosity: float = 0.1
    amplitude: float = 0.7

    parameters: ClassVar[tuple[str, ...]] = ("advection", "viscosity")
    term_names: ClassVar[tuple[str, ...]] = ("advection", "diffusion")
    known_terms: ClassVar[tuple[str, ...]] = ("diffusion",)
    linear_terms: ClassVar[tuple[str, ...]] = ("diffusion",)
    conserved: ClassVar[tuple[str, ...]] = ("mass",)
    positive: ClassVar[tuple[str, ...]] = ("length", "advection", "viscosity", "amplitude")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def time_scale(self) -> float:
        """The time in which fluid of the initial speed crosses the shortest initial wave over 2 pi; fronts form."""
        return self.length / (2 * math.pi * self.n_modes * self.advection * self.amplitude)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        out: dict[str, Array] = {}
        spectrum = self.spectrum(y)
        if "advection" in names:
            out["advection"] = -p["advection"] * self.self_advection(y, spectrum)
        if "diffusion" in names:
            out["diffusion"] = p["viscosity"] * self.back(beside(self.laplacian, y) * spectrum, y)
        return out

    def linear_multiplier(self) -> np.ndarray:
        return (self.viscosity * self.laplacian).astype(complex)

    def invariants(self, y: Array) -> dict[str, Array]:
        """mass: mean of u, conserved; energy: mean of u^2 / 2, which decays."""
        xp = array_namespace(y)
        return {"mass": xp.mean(y[..., 0], axis=-1), "energy": xp.mean(y[..., 0] ** 2, axis=-1) / 2}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A smooth random function of `n_modes` waves with mean 0; see `PeriodicField.random_field`."""
        return self.amplitude * self.random_field(rng)[:, None]
