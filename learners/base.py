"""The contract of a model: hyperparameters, and mathematics written once for every backend.

A model is a frozen dataclass. It names its trainable parts (networks and scalars) and says how to advance a state by
one interval; everything else (rolling out, differentiating, training, counting) is done for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol

import numpy as np

from physics_models.base import Map, System

Array = Any  # a NumPy, JAX or torch array
Parts = Mapping[str, Any]  # built parts: a callable for each network, a dict of arrays for each Scalars

SOLVERS = ("euler", "midpoint", "heun", "rk4", "bosh3", "dopri5", "dopri8")
FIXED_STEP = ("euler", "midpoint", "heun", "rk4")
ACTIVATIONS = ("tanh", "silu", "gelu", "relu", "softplus")


@dataclass(frozen=True)
class Question:
    """What a task asks about tracks, in place of where they lead: the last `answers` entries of its flat state, which
    begin at 1/2 and are 0 (no) or 1 (yes) an interval of time later.

    The entries before them are the tracks, which do not change: `points` states of all agents, `interval` apart.
    `rule`: the system whose equations the tracks of agents that flock obey.
    """

    answers: int
    points: int
    interval: float
    rule: System

    def tracks(self, y: Any) -> Any:
        """(B, points, *state of the rule) from states y (B, D) of the task."""
        return y[:, : -self.answers].reshape((y.shape[0], self.points, *self.rule.state_shape))


@dataclass(frozen=True)
class TaskInfo:
    """What a model may know of a task before training: shapes, scales measured on training data, and the prior.

    `mean`, `std`: (D,) of the training states, by variable; `rate_std`: (D,) of finite-difference rates; `step_std`:
    (D,) of the increments over one sampling interval. `interval`: the median sampling interval. `system`: the
    equations a structured model may be told, or None; `exact`: whether their parameter values are the true ones.
    `told`: the equations as the run's prior tells them, right or wrong, or None where nothing is said (a model is then
    told the `known_terms` of `system`); `form`: the form of the field where that is told in place of terms, or "".
    `hidden`: variables that nobody observes; `system` is then None, because its equations need them. `question`: what
    is asked about the state, where that is all that is asked; there is no `system` then.
    """

    state_shape: tuple[int, ...]
    variables: tuple[str, ...]
    interval: float
    mean: np.ndarray
    std: np.ndarray
    rate_std: np.ndarray
    step_std: np.ndarray
    system: System | None = None
    exact: bool = False
    told: System | None = None
    form: str = ""
    hidden: tuple[str, ...] = ()
    question: Question | None = None

    @property
    def size(self) -> int:
        return math.prod(self.state_shape)

    @property
    def outputs(self) -> int:
        """Entries of the state that a model has to say: all of them, or the answers."""
        return self.size if self.question is None else self.question.answers


@dataclass(frozen=True)
class MLP:
    """A fully connected network spec: `depth` hidden layers of `width`, linear output.

    Weights are drawn uniformly in ±1/sqrt(fan-in), as both frameworks do by default; `zero_last` starts the output at
    zero, so that a network that corrects something starts by correcting nothing.
    """

    in_size: int
    out_size: int
    width: int
    depth: int
    activation: str = "silu"
    zero_last: bool = False

    def draw(self, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weight (out, in), bias (out,)) of each layer, float64."""
        sizes = [self.in_size, *[self.width] * self.depth, self.out_size]
        layers = []
        for n_in, n_out in pairwise(sizes):
            bound = 1 / math.sqrt(n_in)
            layers.append((rng.uniform(-bound, bound, (n_out, n_in)), rng.uniform(-bound, bound, n_out)))
        if self.zero_last:
            layers[-1] = (np.zeros_like(layers[-1][0]), np.zeros_like(layers[-1][1]))
        return layers

    @property
    def count(self) -> int:
        sizes = [self.in_size, *[self.width] * self.depth, self.out_size]
        return sum((a + 1) * b for a, b in pairwise(sizes))


@dataclass(frozen=True)
class Tensors:
    """Trainable arrays by name. `start(rng)` draws their initial values; `shapes` says what they look like."""

    shapes: Mapping[str, tuple[int, ...]]
    start: Callable[[np.random.Generator], dict[str, np.ndarray]]

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: np.asarray(value, dtype=np.float64) for name, value in self.start(rng).items()}

    @property
    def count(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())


Spec = MLP | Tensors


@dataclass(frozen=True)
class Solver:
    """How an ODE is integrated over one interval, under names shared by both backends.

    Fixed-step methods take `steps` equal steps an interval; adaptive ones control the error to `rtol`, `atol`. `rk4`
    is Kutta's 3/8 rule (1901), as in torchdiffeq.
    """

    method: str = "rk4"
    steps: int = 1
    rtol: float = 1e-5
    atol: float = 1e-6

    @property
    def is_fixed(self) -> bool:
        return self.method in FIXED_STEP


class Operations(Protocol):
    """What a backend offers to a model's mathematics."""

    name: str
    xp: Any

    def constant(self, value: Any) -> Array:
        """A NumPy array or number as an array of the run's precision, on its device."""
        ...

    def odeint(self, field: Callable[[Array, Array], Array], y: Array, t: Array, h: Array, solver: Solver) -> Array:
        """y(t + h) from y(t) = y (B, *state) under dy/dt = field(t, y); each sample has its own t and h, (B,)."""
        ...

    def grad(self, function: Callable[[Array], Array], y: Array) -> Array:
        """The gradient of `function`, (B, *state) -> (B,), each entry of its own sample's state: (B, *state)."""
        ...


@dataclass(frozen=True)
class Model(ABC):
    """Hyperparameters as fields; the mathematics in `advance`.

    `learning`: how it is fitted, "gradient", "gauss_newton" (few parameters, nonlinear least squares),
    "least_squares" (linear in its parameters, closed form) or "none". `stochastic`: whether its seed matters. A model
    of which these depend on its options sets them on the instance. `takes_prior`: whether it is told what the run's
    prior says (`TaskInfo.told`), so that the prior is part of its identity.
    """

    learning: ClassVar[str] = "gradient"
    stochastic: ClassVar[bool] = True
    takes_prior: ClassVar[bool] = False

    @property
    def has_fixed_cost(self) -> bool:
        """Whether a step costs the same whatever the data and the weights."""
        return True

    def __post_init__(self) -> None:
        check_fields(self)

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        """Why this model cannot do this task on this backend, or None."""
        return None

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        """The trainable parts by name."""
        return {}

    @abstractmethod
    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        """States (B, *state) at times t + h from states y (B, *state) at times t; t, h: (B,).

        Times count from the start of each trajectory. The interval h comes apart from t, because the difference of two
        rounded times is not it.
        """

    def count(self, info: TaskInfo) -> int:
        return sum(spec.count for spec in self.parts(info).values())


@dataclass(frozen=True)
class OdeModel(Model):
    """A model that is a vector field dy/dt = field(t, y).

    `of_equations`: whether the field is made of the system's equations. Those of a map are then taken as the map takes
    them, an Euler step for each of its steps, whatever the solver: there is nothing between two steps of a map.
    """

    of_equations: ClassVar[bool] = False

    solver: str = "rk4"
    steps: int = 1
    rtol: float = 1e-5
    atol: float = 1e-6

    @property
    def has_fixed_cost(self) -> bool:
        return self.solver in FIXED_STEP

    @abstractmethod
    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        """dy/dt of states y (B, *state) at times t (B, 1, ...)."""

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        solver = Solver(self.solver, self.steps, self.rtol, self.atol)
        if self.of_equations and isinstance(info.system, Map):
            solver = Solver("euler", max(1, round(info.interval / info.system.interval)))
        return ops.odeint(lambda t, y: self.field(ops, info, parts, t, y), y, t, h, solver)


@dataclass(frozen=True)
class RegressionModel(Model):
    """A model whose one part, "map" with the one tensor "weight", is found by linear least squares in closed form.

    `weight` (F, n) minimises |features @ weight - targets|² + ridge · rows · |weight|².
    """

    learning: ClassVar[str] = "least_squares"
    stochastic: ClassVar[bool] = False

    ridge: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ridge < 0:
            raise ValueError(f"ridge must be 0 or more, but it is {self.ridge}")

    @abstractmethod
    def features(self, ops: Operations, info: TaskInfo, y: Array) -> Array:
        """(B, F) from states (B, *state)."""

    @abstractmethod
    def targets(self, ops: Operations, info: TaskInfo, y0: Array, y1: Array, h: Array) -> Array:
        """(B, n) from states (B, *state) at both ends of intervals h (B,)."""


def network_of(ops: Operations, info: TaskInfo, network: Callable[[Array], Array], y: Array) -> Array:
    """A network on standardised states, (B, *state) -> (B, *state): the same view of the data for every model.

    It has `info.outputs` outputs, in ±1 where they are answers; entries of the state that nobody asks for get 0.
    """
    mean, std = ops.constant(info.mean), ops.constant(info.std)
    said = network(ops.xp.reshape((y - mean) / std, (y.shape[0], info.size)))
    if info.question is not None:
        said = answered(ops, info, ops.xp.tanh(said))
    return ops.xp.reshape(said, y.shape)


def asked(info: TaskInfo, y: Array) -> Array:
    """Of states (..., *state) the entries that a model has to say."""
    return y if info.question is None else y[..., info.size - info.outputs :]


def answered(ops: Operations, info: TaskInfo, values: Array) -> Array:
    """(B, size) from values (B, outputs): 0 before them, for what is not asked."""
    if info.question is None:
        return values
    zero = ops.xp.zeros_like(values[:, :1])
    return ops.xp.concat([ops.xp.broadcast_to(zero, (values.shape[0], info.size - info.outputs)), values], axis=1)


POSITIVE = ("width", "depth", "steps", "rtol", "atol")
KINDS = {"int": (Integral, "a whole number"), "float": (Real, "a number"), "bool": (bool, "true or false")}


def check_fields(model: Any) -> None:
    """Refuse hyperparameters that cannot be meant."""
    for f in fields(model):
        value = getattr(model, f.name)
        kind, what = KINDS.get(str(getattr(f.type, "__name__", f.type)), (object, ""))
        # Python takes True for the number 1; here it is a mistake.
        if not isinstance(value, kind) or (kind in (Integral, Real) and isinstance(value, bool)):
            raise ValueError(f"{f.name} must be {what}, but it is {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{f.name} must be a finite number, but it is {value}")
        if f.name in POSITIVE and not value > 0:
            raise ValueError(f"{f.name} must be above 0, but it is {value}")
        choices = {"solver": SOLVERS, "activation": ACTIVATIONS}.get(f.name)
        if choices and value not in choices:
            raise ValueError(f"{f.name} must be one of {', '.join(choices)}, but it is {value!r}")
