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
from array_api_compat import array_namespace, device

Array = Any  # a NumPy, JAX or torch array: no common base class exists
PAIRS = "pairs"  # the key of pair weights in a system's parameter values


def beside(values: Any, y: Array) -> Array:
    """Values as an array beside y: of its library and place, and of its precision unless they are true or false."""
    xp = array_namespace(y)
    if not hasattr(values, "dtype") or isinstance(values, np.ndarray):
        values = np.array(values)  # a copy: torch warns of arrays that are read-only
    return xp.asarray(values, dtype=xp.bool if values.dtype == bool else y.dtype, device=device(y))


@dataclass(frozen=True)
class Structure:
    """What is true of a system whatever its parameters.

    `agents`: number of bodies, on the second axis from the end, or None. `space_dim`: dimensions of the space they
    live in; the first `space_dim` variables are positions, with order 2 the next ones velocities. `pairwise`: whether
    what they do to each other is a sum over pairs. `box`: side of the periodic box in which distances are taken, or
    None; positions themselves are not wrapped, so that trajectories are continuous.
    `alike`: how many agents, the first ones, obey one law, where others do not and `permutation` is no symmetry.
    `grid`: numbers of points of a field on a periodic domain of lengths `extent`, or None; the points, in C order, are
    the second axis from the end of the state.
    `order`: order of the differential equation in time. `symmetries`: names among `SYMMETRIES`. `conserved`: names of
    invariants that are constant in time. `canonical`: pairs of variables (q, p) with dq/dt = dH/dp and dp/dt = -dH/dq,
    H being the invariant "energy"; of the undamped, undriven equations only.
    """

    agents: int | None = None
    space_dim: int = 0
    order: int = 1
    symmetries: tuple[str, ...] = ()
    conserved: tuple[str, ...] = ()
    pairwise: bool = False
    alike: int = 0
    box: float | None = None
    grid: tuple[int, ...] | None = None
    extent: tuple[float, ...] = ()
    canonical: tuple[tuple[str, str], ...] = ()


# translation, rotation and reflection of the agents' space (reflection: of its first axis); permutation of the agents;
# time: the field does not depend on it; scale: a power law of lengths; shift: translation along a field's grid.
SYMMETRIES = ("translation", "rotation", "reflection", "permutation", "time", "scale", "shift")


@dataclass(frozen=True)
class System(ABC):
    """dy/dt = sum of terms(t, y); one system a file, named as its file.

    Class variables a subclass sets: `positive`, fields that must be > 0; `non_negative`, fields that must be >= 0;
    `parameters`, the fields a fit may adjust; `term_names`, every term; `known_terms`, those a hybrid model
    is told unless the user says otherwise; `stiff`: whether its time scales differ so much that an explicit solver
    would need steps far below what the solution's shape asks for; `chaotic`: whether its default parameters make it
    so; `discrete`: whether it has states at whole steps only, so that its field is a step's mean rate, which no solver
    may follow in between; `linear_terms`, see `linear_multiplier`.
    """

    parameters: ClassVar[tuple[str, ...]] = ()
    term_names: ClassVar[tuple[str, ...]] = ()
    known_terms: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()
    non_negative: ClassVar[tuple[str, ...]] = ()
    stiff: ClassVar[bool] = False
    chaotic: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    linear_terms: ClassVar[tuple[str, ...]] = ()

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

        `p` holds a value for every name in `parameters` (floats, or arrays that are being fitted), and, for pairwise
        systems, may hold PAIRS, weights (N, N) of what agent j (second index) does to agent i: 0 cuts that edge.
        Intermediate results are shared between terms, and only what `names` asks for is computed.
        """

    @abstractmethod
    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """One float64 initial state of shape state_shape, drawn from the system's law."""

    @property
    def structure(self) -> Structure:
        return Structure()

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(D,), or (N, D) for agents, or (P, D) for fields on P points."""
        structure, d = self.structure, len(self.variables)
        if structure.grid is not None:
            return (math.prod(structure.grid), d)
        return (d,) if structure.agents is None else (structure.agents, d)

    @property
    def time_scale(self) -> float:
        """The system's own unit of time (relaxation time, period or Lyapunov time), in its time units."""
        return 1.0

    @property
    def switch_times(self) -> tuple[float, ...]:
        """Times at which something begins or ends to act, where a solver must end a step: else it may step over both,
        and see nothing of what is between."""
        return ()

    def invariants(self, y: Array) -> dict[str, Array]:
        """Quantities of shape (...,) from states (..., *state_shape); those in `structure.conserved` are constant."""
        return {}

    def linear_multiplier(self) -> np.ndarray | None:
        """For fields: Fourier multipliers, complex (*shape of rfftn over the grid, D), of the terms in `linear_terms`,
        which are linear, act on each variable alone and are diagonal in Fourier space; None where there are none.

        What is stiff in a field is its highest derivative; given so, a solver can take it exactly.
        """
        return None

    @property
    def values(self) -> dict[str, float]:
        """The true value of every adjustable parameter."""
        return {name: float(getattr(self, name)) for name in self.parameters}

    def field(self, t: Array, y: Array, p: Mapping[str, Any] | None = None) -> Array:
        """dy/dt at time t for states y of shape (..., *state_shape)."""
        parts = self.terms(t, y, self.values if p is None else p, self.term_names)
        return functools.reduce(operator.add, parts.values())


@dataclass(frozen=True)
class Map(System):
    """A system in discrete time, y[n + 1] = step(y[n], u[n]), with independent random draws u; one step an `interval`.

    Its field is the rate of the step without chance, (step(y, 0) - y) / interval: one Euler step of length `interval`
    is one step of the map.
    """

    term_names: ClassVar[tuple[str, ...]] = ("step",)
    discrete: ClassVar[bool] = True

    @property
    @abstractmethod
    def interval(self) -> float:
        """Time from one step to the next."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Random draws (*shape, *draw's own shape) for `step`, independent and symmetric about 0."""

    @abstractmethod
    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        """States one interval after y, (..., *state_shape), with draws u; u may be the number 0."""

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        return {"step": (self.step(y, 0.0, p) - y) / self.interval} if "step" in names else {}
