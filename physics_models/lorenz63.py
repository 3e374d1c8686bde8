from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class Lorenz63(System):
    """Lorenz 1963 convection: three variables, chaos, a butterfly-shaped attractor.

    Equation (terms: `linear`, all products of a parameter and one variable; `advection`, the two products):

        dx/dt = sigma (y - x)
        dy/dt = rho x - y     - x z
        dz/dt = - beta z      + x y

    Behaviour: with the default parameters, chaotic with the largest Lyapunov exponent 0.906 per time unit: an error
    grows tenfold in about 2.5 time units. Volumes shrink at the rate sigma + 1 + beta, so starts off the attractor
    reach it within about a time unit. For rho < 1 everything goes to rest; for rho between 1 and about 24.74 stable
    fixed points exist.

    State: (3,), x, y, z, dimensionless.

    Arguments: `sigma`, `rho`, `beta` (above 0; 10, 28, 8/3 is Lorenz's own choice); `spread`, size of the initial
    cloud about (0, 0, rho) relative to the attractor (0 or more; 1 covers it).

    Reference: E. N. Lorenz, "Deterministic nonperiodic flow", Journal of the Atmospheric Sciences 20 (1963); exponent:
    J. C. Sprott, "Chaos and time-series analysis", 2003.
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8 / 3
    spread: float = 1.0

    parameters: ClassVar[tuple[str, ...]] = ("sigma", "rho", "beta")
    term_names: ClassVar[tuple[str, ...]] = ("linear", "advection")
    known_terms: ClassVar[tuple[str, ...]] = ("linear",)
    chaotic: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ("sigma", "rho", "beta")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "z")

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",))

    @property
    def time_scale(self) -> float:
        """Lyapunov time of the default parameters (no formula gives it for others)."""
        return 1 / 0.906

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        a, b, c = y[..., 0], y[..., 1], y[..., 2]
        out: dict[str, Array] = {}
        if "linear" in names:
            out["linear"] = xp.stack([p["sigma"] * (b - a), p["rho"] * a - b, -p["beta"] * c], axis=-1)
        if "advection" in names:
            out["advection"] = xp.stack([xp.zeros_like(a), -a * c, a * b], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian about (0, 0, rho) with the attractor's approximate size sqrt(beta rho) along each axis."""
        size = self.spread * math.sqrt(self.beta * self.rho)
        return np.array([0.0, 0.0, self.rho]) + size * rng.standard_normal(3)
