from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, beside
from physics_models.periodic import PeriodicField


@dataclass(frozen=True)
class KuramotoSivashinsky(PeriodicField):
    """Kuramoto-Sivashinsky: a field in one dimension that long waves excite, short ones damp, chaos in between.

    Equation (u at n_points points of a periodic interval of length `length`):

        du/dt = - advection u du/dx             advection
                - antidiffusion d2u/dx2         antidiffusion
                - hyperdiffusion d4u/dx4        hyperdiffusion

    Behaviour: a small wave exp(i k x) grows at the rate k^2 - k^4, fastest at k = 0.71; advection carries its energy
    to short waves, which die. Cells about 9 wide form, drift, merge and split. With the default length, chaotic with
    the largest Lyapunov exponent 0.048 per time unit (0.0480 with standard error 0.0010 by `lyapunov_spectrum`, from 32
    starts, over 1000 time units each after 200); shorter than 2 pi, everything dies; for long intervals the number of
    growing exponents is proportional to the length. The mean of u is conserved, and 0 here.

    State: (n_points, 1), u at x = length j / n_points. Explicit solvers need steps below 2.8 over the damping of the
    last resolved wave, 58 with the defaults: take a spacing of 0.04.

    Arguments: `length` (22 is the usual small chaotic case; 32 pi = 100.5 with 128 points the usual large one);
    `n_points` (even; 32 for every 22 of length follows one time unit to 1e-5); `advection`, `antidiffusion`,
    `hyperdiffusion` (1 each; above 0), `n_modes`: the initial state is a random function of as many waves, of size
    `amplitude` (root mean square; 1.3 is the attractor's own).

    Reference: Y. Kuramoto and T. Tsuzuki, Progress of Theoretical Physics 55 (1976); G. I. Sivashinsky, Acta
    Astronautica 4 (1977).
    """

    length: float = 22.0
    n_points: int = 32
    advection: float = 1.0
    antidiffusion: float = 1.0
    hyperdiffusion: float = 1.0
    n_modes: int = 4
    amplitude: float = 1.3

    parameters: ClassVar[tuple[str, ...]] = ("advection", "antidiffusion", "hyperdiffusion")
    term_names: ClassVar[tuple[str, ...]] = ("advection", "antidiffusion", "hyperdiffusion")
    known_terms: ClassVar[tuple[str, ...]] = ("advection", "hyperdiffusion")
    linear_terms: ClassVar[tuple[str, ...]] = ("antidiffusion", "hyperdiffusion")
    chaotic: ClassVar[bool] = True
    conserved: ClassVar[tuple[str, ...]] = ("mass",)
    positive: ClassVar[tuple[str, ...]] = ("length", "advection", "antidiffusion", "hyperdiffusion", "amplitude")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def time_scale(self) -> float:
        """Lyapunov time of the default parameters (no formula gives it for others)."""
        return 1 / 0.048

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        spectrum = self.spectrum(y)
        laplacian = beside(self.laplacian, y)
        out: dict[str, Array] = {}
        if "advection" in names:
            out["advection"] = -p["advection"] * self.self_advection(y, spectrum)
        if "antidiffusion" in names:
            out["antidiffusion"] = -p["antidiffusion"] * self.back(laplacian * spectrum, y)
        if "hyperdiffusion" in names:
            out["hyperdiffusion"] = -p["hyperdiffusion"] * self.back(laplacian**2 * spectrum, y)
        return out

    def linear_multiplier(self) -> np.ndarray:
        return (-self.antidiffusion * self.laplacian - self.hyperdiffusion * self.laplacian**2).astype(complex)

    def invariants(self, y: Array) -> dict[str, Array]:
        """ "mass": mean of u, conserved. "energy": mean of u^2 / 2."""
        xp = array_namespace(y)
        return {"mass": xp.mean(y[..., 0], axis=-1), "energy": xp.mean(y[..., 0] ** 2, axis=-1) / 2}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """A smooth random function of `n_modes` waves (see `PeriodicField.random_field`) with mean 0."""
        return self.amplitude * self.random_field(rng)[:, None]
