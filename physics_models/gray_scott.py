from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, beside
from physics_models.periodic import PeriodicField


@dataclass(frozen=True)
class GrayScott(PeriodicField):
    """Gray-Scott reaction and diffusion: a substance that eats its food where it is, in spots, stripes and pulses.

    Equation (u and v at the points of a periodic line or square of side `length`, n_points points along each axis):

        du/dt = diffusivity_u laplacian u            - u v^2 + feed (1 - u)
        dv/dt = diffusivity_v laplacian v            + u v^2 - (feed + kill) v
                diffusion                              reaction  supply (feed, kill)

    Behaviour: u is fed from outside, v turns it into more of itself and is washed out. Without v, u = 1 is stable; v
    lives only in spots or stripes about 12 long. With the default parameters patches of v grow, split and settle,
    within some hundred time units, to a pattern that fills the domain; other pairs (feed, kill) give spots that divide
    for ever (0.035, 0.065), pulses and chaos (0.014, 0.045), or death.

    State: (n_points ** space_dim, 2), u and v at x = length j / n_points, the last axis of space running fastest;
    concentrations relative to the food's.

    Arguments: `space_dim` (1 or 2); `length`; `n_points` along each axis (even; a square of side 24 with 24 points and
    2 modes is small enough for black boxes, and within 0.02 of the limit of many points); `diffusivity_u`,
    `diffusivity_v`, `feed`, `kill` (above 0); `n_modes`: the initial patches are those of a random function of as many
    waves; `seeding`: how much v they hold at most (0 or more).

    Reference: P. Gray and S. K. Scott, "Autocatalytic reactions in the isothermal, continuous stirred tank reactor",
    Chemical Engineering Science 38 (1983); patterns: J. E. Pearson, "Complex patterns in a simple system", Science 261
    (1993).
    """

    space_dim: int = 1
    length: float = 60.0
    diffusivity_u: float = 0.16
    diffusivity_v: float = 0.08
    feed: float = 0.04
    kill: float = 0.06
    seeding: float = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("diffusivity_u", "diffusivity_v", "feed", "kill")
    term_names: ClassVar[tuple[str, ...]] = ("diffusion", "reaction", "supply")
    known_terms: ClassVar[tuple[str, ...]] = ("diffusion", "supply")
    linear_terms: ClassVar[tuple[str, ...]] = ("diffusion",)
    positive: ClassVar[tuple[str, ...]] = ("length", "diffusivity_u", "diffusivity_v", "feed", "kill")
    non_negative: ClassVar[tuple[str, ...]] = ("seeding",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space_dim not in (1, 2):
            raise ValueError(f"space_dim must be 1 or 2, but it is {self.space_dim}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u", "v")

    @property
    def dimensions(self) -> int:
        return self.space_dim

    @property
    def time_scale(self) -> float:
        """The time in which the food is renewed."""
        return 1 / self.feed

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        u, v = y[..., 0], y[..., 1]
        out: dict[str, Array] = {}
        if "diffusion" in names:
            second = self.back(beside(self.laplacian, y) * self.spectrum(y), y)
            parts = (p["diffusivity_u"] * second[..., 0], p["diffusivity_v"] * second[..., 1])
            out["diffusion"] = xp.stack(parts, axis=-1)
        if "reaction" in names:
            # Pointwise, without removing what aliases: products keep both at or above 0 so.
            eaten = u * v * v
            out["reaction"] = xp.stack([-eaten, eaten], axis=-1)
        if "supply" in names:
            out["supply"] = xp.stack([p["feed"] * (1 - u), -(p["feed"] + p["kill"]) * v], axis=-1)
        return out

    def linear_multiplier(self) -> np.ndarray:
        return (self.laplacian * np.array([self.diffusivity_u, self.diffusivity_v])).astype(complex)

    def invariants(self, y: Array) -> dict[str, Array]:
        """mass_u, mass_v: means over the domain. Their sum changes by supply and wash-out only."""
        xp = array_namespace(y)
        return {"mass_u": xp.mean(y[..., 0], axis=-1), "mass_v": xp.mean(y[..., 1], axis=-1)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """v = seeding s and u = 1 - s with s = 1 / (1 + exp(2 - 2 g)), g of `PeriodicField.random_field`."""
        s = 1 / (1 + np.exp(2 - 2 * self.random_field(rng)))
        return np.stack([1 - s, self.seeding * s], axis=-1)
