from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class FitzhughNagumo(System):
    """FitzHugh-Nagumo nerve cell: rests when left alone, fires without end under enough current.

    Equation:

        dv/dt = v - v^3 / 3                       membrane
                - w                               coupling
                + current                         current
        dw/dt = (v + offset - leak * w) / tau     recovery

    Behaviour: v is fast, w slow (by tau). At current 0 the one fixed point is stable, and a push beyond a threshold is
    answered by one large excursion before rest. With the default parameters and a current between about 0.33 and 1.42
    the fixed point is unstable and every other start tends to one limit cycle of relaxation oscillations, of period
    39.47 at current 0.5.

    State: (2,), membrane potential v and recovery w, dimensionless.

    Arguments: `offset`, `leak` and `tau` (above 0; 0.7, 0.8 and 12.5 are the usual choice; larger tau makes sharper
    jumps); `current` (0 rests, 0.5 fires); `spread`, half the side of the square about 0 from which both variables
    start (0 or more; 2 covers the cycle).

    Reference: R. FitzHugh, "Impulses and physiological states in theoretical models of nerve membrane", Biophysical
    Journal 1 (1961), doi:10.1016/S0006-3495(61)86902-6; J. Nagumo, S. Arimoto and S. Yoshizawa, Proceedings of the
    IRE 50 (1962).
    """

    offset: float = 0.7
    leak: float = 0.8
    tau: float = 12.5
    current: float = 0.5
    spread: float = 2.0

    parameters: ClassVar[tuple[str, ...]] = ("offset", "leak", "tau", "current")
    term_names: ClassVar[tuple[str, ...]] = ("membrane", "coupling", "current", "recovery")
    known_terms: ClassVar[tuple[str, ...]] = ("coupling", "current", "recovery")
    positive: ClassVar[tuple[str, ...]] = ("offset", "leak", "tau")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("v", "w")

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",))

    @property
    def time_scale(self) -> float:
        """Period of the limit cycle of the default parameters (no formula gives it for others)."""
        return 39.47

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        v, w = y[..., 0], y[..., 1]
        zero = xp.zeros_like(v)
        out: dict[str, Array] = {}
        if "membrane" in names:
            out["membrane"] = xp.stack([v - v * v * v / 3, zero], axis=-1)
        if "coupling" in names:
            out["coupling"] = xp.stack([-w, zero], axis=-1)
        if "current" in names:
            out["current"] = xp.stack([zero + p["current"], zero], axis=-1)
        if "recovery" in names:
            out["recovery"] = xp.stack([zero, (v + p["offset"] - p["leak"] * w) / p["tau"]], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Both variables uniform within `spread` of 0."""
        return self.spread * rng.uniform(-1, 1, size=2)
