"""The contract of a prior: what a structured model is told of a system's equations, off by a fidelity delta."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System

DRAWS = 64


@dataclass(frozen=True)
class Prior:
    """A kind of knowledge, `delta` away from the truth: 0 is exact, 1 as wrong as this kind can be.

    `tell(system)` gives the equations that a model is told. They are the same code on NumPy, JAX and torch arrays, and
    at delta = 0 the same numbers as the system's own, to the last bit. A kind overrides what it changes: the `values`
    of the parameters, the `term_names`, the `terms`; and `check`, which refuses systems of which it means nothing.
    """

    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.delta <= 1:  # not a number, too
            raise ValueError(f"delta must be from 0 (exact) to 1, but it is {self.delta:g}")

    def tell(self, system: System) -> System:
        """The equations as told. Raises ValueError where this kind of prior means nothing for the system."""
        self.check(system)
        return Told(system, self)

    @property
    def is_exact(self) -> bool:
        return self.delta == 0

    def told_form(self, system: System) -> str:
        """The form of the whole field, where that is told in place of terms; "" elsewhere."""
        return ""

    def check(self, system: System) -> None:
        """Raises ValueError where this kind means nothing for the system, or a choice is none of its own."""

    def values(self, system: System) -> dict[str, float]:
        """The told value of every adjustable parameter."""
        return system.values

    def term_names(self, system: System) -> tuple[str, ...]:
        """The told terms."""
        return system.term_names

    def terms(
        self, system: System, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]
    ) -> dict[str, Array]:
        """Told terms, see `System.terms`; called for delta > 0 only."""
        return system.terms(t, y, p, names)

    def linear_source(self, system: System) -> System | None:
        """The system whose `linear_terms` and `linear_multiplier` are the told ones; None where none has them."""
        return system if self.is_exact else None


@dataclass(frozen=True)
class Told(System):
    """A system as a prior tells it. Its terms and parameter values are the told ones and all of them are known; state,
    initial states, time scale and symmetries are the truth's. What the truth conserves it need not conserve. Of a map
    only rates are told: it is `discrete`, but not a map, and is not simulated.
    """

    truth: System
    prior: Prior

    def __post_init__(self) -> None:
        names = self.prior.term_names(self.truth)
        source = self.prior.linear_source(self.truth)
        # These are the class's elsewhere; here they depend on what is told.
        own = {
            "parameters": tuple(self.prior.values(self.truth)),
            "term_names": names,
            "known_terms": names,
            "linear_terms": () if source is None else source.linear_terms,
            "discrete": self.truth.discrete,
            # Without its linear terms apart, what is stiff in a field is left to a solver for stiff equations.
            "stiff": self.truth.stiff or (source is None and bool(self.truth.linear_terms)),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property
    def variables(self) -> tuple[str, ...]:
        return self.truth.variables

    @property
    def structure(self) -> Structure:
        found = self.truth.structure
        return found if self.prior.is_exact else replace(found, conserved=())

    @property
    def time_scale(self) -> float:
        return self.truth.time_scale

    @property
    def values(self) -> dict[str, float]:
        return self.prior.values(self.truth)

    @property
    def switch_times(self) -> tuple[float, ...]:
        return self.truth.switch_times

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return self.truth.initial_state(rng)

    def invariants(self, y: Array) -> dict[str, Array]:
        return self.truth.invariants(y)

    def linear_multiplier(self) -> np.ndarray | None:
        source = self.prior.linear_source(self.truth)
        return None if source is None else source.linear_multiplier()

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        if self.prior.is_exact:
            return self.truth.terms(t, y, p, [name for name in names if name in self.term_names])
        return self.prior.terms(self.truth, t, y, p, names)

    def field(self, t: Array, y: Array, p: Mapping[str, Any] | None = None) -> Array:
        if not self.term_names:
            return array_namespace(y).zeros_like(y)
        return super().field(t, y, p)


def choose(what: str, value: str | None, valid: Iterable[str], default: str) -> str:
    """The value, or the default for None. Raises ValueError, with the nearest valid word, for one that is not valid."""
    valid = tuple(valid)
    if value is None:
        return default
    if value not in valid:
        near = difflib.get_close_matches(value, valid, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{what} must be one of {', '.join(valid)}, but it is {value!r}{hint}")
    return value


def forced(system: System) -> tuple[int, int]:
    """The range of variables whose rates hold what makes the system move: all of them, or the velocities where the
    rates of the positions are the velocities."""
    structure, size = system.structure, len(system.variables)
    if structure.order < 2:
        return 0, structure.space_dim if structure.agents is not None and structure.space_dim else size
    first = structure.space_dim if structure.agents is not None else size // 2
    return first, 2 * first


def on_forced(y: Array, part: Array, low: int, high: int) -> Array:
    """Of the shape of y (..., D): `part` for its variables `low` to `high`, zero for the others."""
    xp = array_namespace(y)
    return xp.concat([xp.zeros_like(y[..., :low]), part, xp.zeros_like(y[..., high:])], axis=-1)


def law_states(system: System) -> np.ndarray:
    """64 states of the system's own law, always the same ones: from them scales are taken, which so depend on no data,
    no resolution and no seed."""
    rng = np.random.default_rng(0)
    return np.stack([system.initial_state(rng) for _ in range(DRAWS)])


def rms(values: np.ndarray) -> float:
    """Root mean square over everything; 0 where that is not finite."""
    found = float(np.sqrt(np.mean(np.square(values))))
    return found if math.isfinite(found) else 0.0
