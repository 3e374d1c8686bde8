from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System

# The intermediate never exceeds some 4e-5 of the mass: in these units it is of order one, as learners and error norms
# need it.
UNIT = 1e-4


@dataclass(frozen=True)
class Robertson(System):
    """Robertson's chemistry: three species whose reactions differ in speed a billion times, in logarithmic time.

    Equation, in physical time t (seconds) for the concentrations A, B, C:

        dA/dt = - slow A                 + exchange B C
        dB/dt = + slow A - fast B^2      - exchange B C
        dC/dt =          + fast B^2

    The system's own time is s = ln(1 + t / t_first), so that equal steps of s cover ten decades of t evenly; every
    rate is multiplied by dt/ds = t_first e^s, and s is carried along as a variable of the state, which keeps the field
    independent of time. Terms: `clock` (ds/ds = 1), `decay` (A to B), `burning` (2 B to B + C), `exchange` (B + C to
    A + C).

    Behaviour: within a few milliseconds B rises to a level set by the other two, and then follows them while A turns
    into C over 10^7 s and more. The mass A + B + C is constant. The fastest rate of decay grows with e^s: from s = 10
    on, explicit solvers are hopeless.

    State: (4,), A, B / 1e-4, C (shares of the mass; the intermediate B is in units of 1e-4, to be of order one) and s.

    Arguments: `slow`, `fast`, `exchange`: rate constants per second (above 0; 0.04, 3e7 and 1e4 are the usual
    problem); `t_first`, the physical time in seconds at which s begins to be logarithmic (above 0; at 1e-4 s the first
    transient is resolved, and s = 20.7 is t = 1e5 s); `spread`, the largest share of C at the start (0 to below 1; 0
    starts from A alone, as the usual problem does).

    Reference: H. H. Robertson, "The solution of a set of reaction rate equations", in Numerical Analysis: An
    Introduction, 1966; E. Hairer and G. Wanner, "Solving ordinary differential equations II", 1996, section IV.10.
    """

    slow: float = 0.04
    fast: float = 3e7
    exchange: float = 1e4
    t_first: float = 1e-4
    spread: float = 0.5

    parameters: ClassVar[tuple[str, ...]] = ("slow", "fast", "exchange")
    term_names: ClassVar[tuple[str, ...]] = ("clock", "decay", "burning", "exchange")
    known_terms: ClassVar[tuple[str, ...]] = ("clock", "decay")
    positive: ClassVar[tuple[str, ...]] = ("slow", "fast", "exchange", "t_first")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)
    stiff: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread >= 1:
            raise ValueError(f"spread must be below 1, the whole mass, but it is {self.spread}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("reactant", "intermediate", "product", "log_time")

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",), conserved=("mass",))

    @property
    def time_scale(self) -> float:
        """A decade of physical time."""
        return math.log(10)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        a, b, c, s = y[..., 0], y[..., 1], y[..., 2], y[..., 3]
        zero = xp.zeros_like(a)
        out: dict[str, Array] = {}
        if "clock" in names:
            out["clock"] = xp.stack([zero, zero, zero, zero + 1], axis=-1)
        if {"decay", "burning", "exchange"}.isdisjoint(names):
            return out
        seconds = self.t_first * xp.exp(s)  # of physical time in a unit of s
        if "decay" in names:
            rate = p["slow"] * a * seconds
            out["decay"] = xp.stack([-rate, rate / UNIT, zero, zero], axis=-1)
        if "burning" in names:
            rate = p["fast"] * UNIT**2 * b * b * seconds
            out["burning"] = xp.stack([zero, -rate / UNIT, rate, zero], axis=-1)
        if "exchange" in names:
            rate = p["exchange"] * UNIT * b * c * seconds
            out["exchange"] = xp.stack([rate, -rate / UNIT, zero, zero], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Mass 1: a share of C uniform up to `spread`, the rest A, none of B, at t = 0."""
        product = self.spread * rng.uniform()
        return np.array([1 - product, 0.0, product, 0.0])

    def invariants(self, y: Array) -> dict[str, Array]:
        """The mass of all three species, in units of the initial one."""
        return {"mass": y[..., 0] + UNIT * y[..., 1] + y[..., 2]}
