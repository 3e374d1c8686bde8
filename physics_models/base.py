"""The contract of a system: equations as named additive terms, in array-API code.

A system is a frozen dataclass whose fields are its options and parameters. Its vector field is the sum of
named terms, so that a structured model can be told some of them. The same code runs unchanged on NumPy, JAX and
torch arrays.
"""

from __future__ import annotations

import functools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

Array = Any  # a NumPy, JAX or torch array: no common base class exists


@dataclass(frozen=True)
class Structure:
    """What is true of a system whatever its parameters.

    `agents`: number of interchangeable bodies, on the second axis from the end, or None. `space_dim`: dimensions of
    the space they live in; the first `space_dim` variables are positions, with order 2 the next ones velocities.
    `order`: order of the differential equation. `symmetries`: names among "translation", "rotation", "permutation",
    "time", "scale". `conserved`: names of invariants that are constant in time.
    """

    agents: int | None = None
    space_dim: int = 0
    order: int = 1
    symmetries: tuple[str, ...] = ()
    conserved: tuple[str, ...] = ()


@dataclass(frozen=True)
class System(ABC):
    """dy/dt = sum of terms(t, y); one system a file, named as its file.

    Class variables a subclass sets: `positive`, fields that must be > 0; `non_negative`, fields that must be >= 0;
    `parameters`, the fields a fit may adjust; `term_names`, every term; `known_terms`, those a hybrid model
    is told unless the user says otherwise.
    """

    parameters: ClassVar[tuple[str, ...]] = ()
    term_names: ClassVar[tuple[str, ...]] = ()
    known_terms: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()
    non_negative: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{f.name} must be a finite number, but it is {value}")
            if f.name in self.positive and not value > 0:
                raise ValueError(f"{f.name} must be above 0, but it is {value}")
            if f.name in self.non_negative and not value >= 0:
                raise ValueError(f"{f.name} must be 0 or more, but it is {value}")

    @property
    @abstractmethod
    def variables(self) -> tuple[str, ...]:
        """Names of the entries of the last axis of the state."""

    @abstractmethod
    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        """The requested additive terms of dy/dt, each broadcastable to y, of shape (..., *state_shape).

        `p` holds a value for every name in `parameters` (floats, or arrays that are being fitted). Intermediate
        results are shared between terms, and only what `names` asks for is computed.
        """

    @abstractmethod
    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """One float64 initial state of shape state_shape, drawn from the system's law."""

    @property
    def structure(self) -> Structure:
        return Structure()

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(D,) or, for interchangeable agents, (N, D)."""
        agents = self.structure.agents
        d = len(self.variables)
        return (d,) if agents is None else (agents, d)

    @property
    def time_scale(self) -> float:
        """The system's own unit of time (relaxation time, period or Lyapunov time), in its time units."""
        return 1.0

    def invariants(self, y: Array) -> dict[str, Array]:
        """Quantities of shape (...,) from states (..., *state_shape); those in `structure.conserved` are constant."""
        return {}

    @property
    def values(self) -> dict[str, float]:
        """The true value of every adjustable parameter."""
        return {name: float(getattr(self, name)) for name in self.parameters}

    def field(self, t: Array, y: Array, p: Mapping[str, Any] | None = None) -> Array:
        """dy/dt at time t for states y of shape (..., *state_shape)."""
        parts = self.terms(t, y, self.values if p is None else p, self.term_names)
        return functools.reduce(operator.add, parts.values())
