from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, beside
from physics_models.periodic import PeriodicField


@dataclass(frozen=True)
class FisherKpp(PeriodicField):
    """Fisher-KPP: a population that grows to its limit and spreads in fronts of one speed, in one or two dimensions.

    Equation (u at the points of a periodic line or square of side `length`, n_points points along each axis):

        du/dt =   diffusivity laplacian u        diffusion
                + growth u                       growth
                - growth u^2 / capacity          competition

    Behaviour: where there is a little, it grows to `capacity`; into the void it spreads behind fronts of speed
    2 sqrt(diffusivity growth) and width about 8 sqrt(diffusivity / growth). In the end all is full. Below 0, which no
    population is, it escapes to minus infinity in finite time.

    State: (n_points ** space_dim, 1), u at x = length j / n_points, the last axis of space running fastest.

    Arguments: `space_dim` (1 or 2); `length`; `n_points` along each axis (even; 24 is enough for one unit of length or
    more a point and for black boxes on squares); `diffusivity`, `growth`, `capacity` (all above 0); `n_modes`,
    `contrast`: the logarithm of the odds of the initial u / capacity is a random function of as many waves times
    `contrast`, less 3: patches on nearly empty land (0: no patches).

    Reference: R. A. Fisher, "The wave of advance of advantageous genes", Annals of Eugenics 7 (1937); A. Kolmogorov, I.
    Petrovsky and N. Piskunov, Moscow University Mathematics Bulletin 1 (1937).
    """

    space_dim: int = 1
    length: float = 40.0
    diffusivity: float = 1.0
    growth: float = 1.0
    capacity: float = 1.0
    contrast: float = 2.0

    parameters: ClassVar[tuple[str, ...]] = ("diffusivity", "growth", "capacity")
    term_names: ClassVar[tuple[str, ...]] = ("diffusion", "growth", "competition")
    known_terms: ClassVar[tuple[str, ...]] = ("diffusion", "growth")
    linear_terms: ClassVar[tuple[str, ...]] = ("diffusion", "growth")
    positive: ClassVar[tuple[str, ...]] = ("length", "diffusivity", "growth", "capacity")
    non_negative: ClassVar[tuple[str, ...]] = ("contrast",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space_dim not in (1, 2):
            raise ValueError(f"space_dim must be 1 or 2, but it is {self.space_dim}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def dimensions(self) -> int:
        return self.space_dim

    @property
    def time_scale(self) -> float:
        """The time in which a small population grows e-fold."""
        return 1 / self.growth

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        out: dict[str, Array] = {}
        if "diffusion" in names:
            out["diffusion"] = p["diffusivity"] * self.back(beside(self.laplacian, y) * self.spectrum(y), y)
        if "growth" in names:
            out["growth"] = p["growth"] * y
        if "competition" in names:
            # Pointwise, without removing what aliases: products keep u at or above 0 so, and the front is resolved.
            out["competition"] = -(p["growth"] / p["capacity"]) * y * y
        return out

    def linear_multiplier(self) -> np.ndarray:
        return (self.diffusivity * self.laplacian + self.growth).astype(complex)

    def invariants(self, y: Array) -> dict[str, Array]:
        """mass: mean of u, which grows to the capacity."""
        return {"mass": array_namespace(y).mean(y[..., 0], axis=-1)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """capacity / (1 + exp(3 - contrast g)), g of `PeriodicField.random_field`."""
        g = self.random_field(rng)[:, None]
        return self.capacity / (1 + np.exp(3 - self.contrast * g))
