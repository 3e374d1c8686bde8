from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class Rossler(System):
    """Rössler's band: a spiral that folds back on itself, chaos with a single product.

    Equation (terms: `linear`; `source`, the constant b; `product`):

        dx/dt = - y - z
        dy/dt = x + a y
        dz/dt = - c z    + b    + x z

    Behaviour: with the default parameters, chaotic with the largest Lyapunov exponent 0.071 per time unit; a turn
    takes about 5.9 time units, so an error grows tenfold in about five turns. z is close to 0 but for one burst a
    turn. For c up to about 2.8 the motion is periodic, and periods double up to chaos at about 4.2. Starts far outside
    the band (beyond the outer fixed point, near x = c) escape to infinity.

    State: (3,), x, y, z, dimensionless.

    Arguments: `a`, `b`, `c` (above 0, with c^2 >= 4 a b so that fixed points exist; 0.2, 0.2, 5.7 is Rössler's own
    choice); `spread`, size of the initial cloud in the plane of x and y relative to the band (0 or more; 1 covers it;
    with the default parameters, of 2000 starts none escape at 2 and 8% do at 3).

    Reference: O. E. Rössler, "An equation for continuous chaos", Physics Letters A 57 (1976),
    doi:10.1016/0375-9601(76)90101-8; exponent: J. C. Sprott, "Chaos and time-series analysis", 2003.
    """

    a: float = 0.2
    b: float = 0.2
    c: float = 5.7
    spread: float = 1.0

    parameters: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    term_names: ClassVar[tuple[str, ...]] = ("linear", "source", "product")
    known_terms: ClassVar[tuple[str, ...]] = ("linear", "source")
    positive: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)
    chaotic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c**2 < 4 * self.a * self.b:
            least = 2 * math.sqrt(self.a * self.b)
            raise ValueError(
                f"c must be at least 2 sqrt(a b) = {least:.6g}, or every start escapes to infinity, but it is {self.c}"
            )

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "z")

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",))

    @property
    def time_scale(self) -> float:
        """Lyapunov time of the default parameters (no formula gives it for others)."""
        return 1 / 0.0714

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        x, v, z = y[..., 0], y[..., 1], y[..., 2]
        zero = xp.zeros_like(x)
        out: dict[str, Array] = {}
        if "linear" in names:
            out["linear"] = xp.stack([-v - z, x + p["a"] * v, -p["c"] * z], axis=-1)
        if "source" in names:
            out["source"] = xp.stack([zero, zero, zero + p["b"]], axis=-1)
        if "product" in names:
            out["product"] = xp.stack([zero, zero, x * z], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """x, y uniform on a disc of radius 1.5 c `spread` (the band at 1); z where it would rest while x < 0."""
        radius = 1.5 * self.c * self.spread * math.sqrt(rng.uniform())
        angle = rng.uniform(0, 2 * math.pi)
        x = radius * math.cos(angle)
        return np.array([x, radius * math.sin(angle), self.b / (self.c + abs(x))])

    def fixed_points(self) -> np.ndarray:
        """The two states of rest, (2, 3): the one within the band, then the one outside."""
        root = math.sqrt(self.c**2 - 4 * self.a * self.b)
        x = np.array([(self.c - root) / 2, (self.c + root) / 2])
        return np.stack([x, -x / self.a, x / self.a], axis=-1)
