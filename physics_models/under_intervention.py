"""Systems under intervention, as subclasses made of any system's class: what is held, cut, added or pushed."""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import PAIRS, Array, Map, Structure, System, beside


def made(kind: type[System], system: System, **options: Any) -> System:
    """A system of the class `kind` and of the system's own, with the system's values and some `options`.

    Options are called `do_…`, because the two classes share one space of names.
    """
    values = {f.name: getattr(system, f.name) for f in fields(system)}
    return _joined(kind, type(system))(**values, **options)


@functools.cache
def _joined(kind: type[System], cls: type[System]) -> type[System]:
    names = {"origin": cls, "__module__": cls.__module__, "__doc__": kind.__doc__}
    return dataclass(frozen=True)(type(f"{kind.__name__}{cls.__name__}", (kind, cls), names))


def original(system: Any, **changes: Any) -> System:
    """The system before what was done to it last, with its own values but for `changes`."""
    values = {f.name: getattr(system, f.name) for f in fields(system.origin)}
    return system.origin(**values | changes)


@dataclass(frozen=True)
class Intervened(System):
    """A system with something done to it. What its class says of symmetries and constants no longer holds."""

    origin: ClassVar[type[System]]

    @property
    def structure(self) -> Structure:
        before = super().structure
        kept = tuple(name for name in before.symmetries if name == "time")
        return replace(before, symmetries=kept, conserved=(), canonical=(), alike=0)

    def _entries(self, flat: tuple[int, ...]) -> np.ndarray:
        """(*state_shape,), True at these places of the flattened state."""
        mask = np.zeros(math.prod(self.state_shape), bool)
        mask[list(flat)] = True
        return mask.reshape(self.state_shape)


@dataclass(frozen=True)
class Clamped(Intervened):
    """Entries `do_held` (places in the flattened state) have no rate; `do_held_at`: their values, else their starts."""

    do_held: tuple[int, ...] = ()
    do_held_at: tuple[float, ...] = ()

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        parts = super().terms(t, y, p, names)  # of a map: those of the step below
        held = beside(self._entries(self.do_held), y)
        xp = array_namespace(y)
        return {name: xp.where(held, xp.zeros_like(y), part) for name, part in parts.items()}

    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        """Of a map."""
        after = super().step(y, u, p)  # type: ignore[misc]
        return array_namespace(y).where(beside(self._entries(self.do_held), y), y, after)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        y = super().initial_state(rng)
        if self.do_held_at:
            y[self._entries(self.do_held)] = self.do_held_at
        return y

    def linear_multiplier(self) -> np.ndarray | None:
        multiplier = super().linear_multiplier()
        whole = self._entries(self.do_held).all(axis=0)  # by variable: on a grid only whole ones are held
        return None if multiplier is None else np.where(whole, 0, multiplier)


@dataclass(frozen=True)
class Without(Intervened):
    """One agent fewer than the law draws: `do_without` is left out. The other agents start as they would have."""

    do_without: int = 0

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        whole = original(self, n_agents=self.state_shape[-2] + 1)
        return np.delete(whole.initial_state(rng), self.do_without, axis=-2)


@dataclass(frozen=True)
class Cut(Intervened):
    """Edges `do_cut`, pairs (target, source), weigh nothing."""

    do_cut: tuple[tuple[int, int], ...] = ()

    def _weighted(self, p: Mapping[str, Any], y: Array) -> dict[str, Any]:
        n = self.state_shape[-2]
        weights = np.ones((n, n))
        for target, source in self.do_cut:
            weights[target, source] = 0.0
        pairs = beside(weights, y)
        return {**p, PAIRS: pairs * p[PAIRS] if PAIRS in p else pairs}

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        return super().terms(t, y, self._weighted(p, y), names)  # weighed twice by a map's step: 0 and 1 stay

    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        """Of a map."""
        return super().step(y, u, self._weighted(self.values if p is None else p, y))  # type: ignore[misc]


@dataclass(frozen=True)
class Driven(Intervened):
    """A system with one more term, `extra`, which depends on time."""

    extra: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "origin" in cls.__dict__:
            cls.term_names = tuple(dict.fromkeys((*cls.__dict__["origin"].term_names, cls.extra)))

    @property
    def structure(self) -> Structure:
        return replace(super().structure, symmetries=())

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        # A system may be driven twice, by a kick and by a predator: the classes of both are among its own.
        pushes = {kind.__dict__["extra"]: kind.push for kind in type(self).__mro__ if "extra" in kind.__dict__}
        parts = super().terms(t, y, p, [name for name in names if name not in pushes])
        time = t + array_namespace(y).zeros_like(y[..., :1])
        return parts | {name: push(self, time, y) for name, push in pushes.items() if name in names}

    @abstractmethod
    def push(self, t: Array, y: Array) -> Array:
        """The extra rate (..., *state), at times t (..., 1) that broadcast to y."""


@dataclass(frozen=True)
class Hunted(Driven):
    """Agents are repelled from a moving point; see `interventions.Predator`."""

    extra: ClassVar[str] = "predator"

    do_hunter_strength: float = 0.0
    do_hunter_reach: float = 1.0
    do_hunter_start: tuple[float, ...] = ()
    do_hunter_velocity: tuple[float, ...] = ()

    def push(self, t: Array, y: Array) -> Array:
        xp, d, box = array_namespace(y), self.structure.space_dim, self.structure.box
        r = y[..., :d] - (beside(self.do_hunter_start, y) + t * beside(self.do_hunter_velocity, y))
        if box is not None:
            r = r - box * xp.round(r / box)
        weight = self.do_hunter_strength * xp.exp(xp.sum(r * r, axis=-1)[..., None] / (-2 * self.do_hunter_reach**2))
        return xp.concat([xp.zeros_like(r), weight * r, xp.zeros_like(y[..., 2 * d :])], axis=-1)


@dataclass(frozen=True)
class Kicked(Driven):
    """Entries `do_kicked` get a smooth impulse, `do_kick` = (size, at, duration); see `interventions.Kick`."""

    extra: ClassVar[str] = "kick"

    do_kicked: tuple[int, ...] = ()
    do_kick: tuple[float, float, float] = (0.0, 0.0, 1.0)

    @property
    def switch_times(self) -> tuple[float, ...]:
        _, at, duration = self.do_kick
        return (*super().switch_times, at, at + duration)

    def push(self, t: Array, y: Array) -> Array:
        xp = array_namespace(y)
        size, at, duration = self.do_kick
        s = (t - at) / duration
        inside = xp.where((s > 0) & (s < 1), 1 - xp.cos(2 * math.pi * s), xp.zeros_like(s))
        return beside(self._entries(self.do_kicked), y) * inside * (size / duration)


def pulse_area(s: np.ndarray) -> np.ndarray:
    """The part of a kick that is over at s = (t - at) / duration, between 0 and 1."""
    s = np.clip(s, 0, 1)
    return s - np.sin(2 * np.pi * s) / (2 * np.pi)


class _ByState(System):
    """What `ClampedByState` is for a system in continuous or discrete time."""

    inner: System

    @property
    def variables(self) -> tuple[str, ...]:
        return (*self.inner.variables, *(f"held_{name}" for name in self.inner.variables))

    @property
    def structure(self) -> Structure:
        before = self.inner.structure
        return Structure(agents=before.agents, symmetries=tuple(s for s in before.symmetries if s == "time"))

    @property
    def values(self) -> dict[str, float]:
        return self.inner.values

    @property
    def stiff(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.stiff

    @property
    def switch_times(self) -> tuple[float, ...]:
        return self.inner.switch_times

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        y = self.inner.initial_state(rng)
        return np.concatenate([y, np.zeros_like(y)], axis=-1)

    def _parts(self, y: Array) -> tuple[Array, Array]:
        d = len(self.inner.variables)
        return y[..., :d], y[..., d:]


@dataclass(frozen=True)
class ClampedByState(_ByState):
    """A system whose state carries, after its own variables, one for each that is 1 where the entry is held and 0
    where it is free: trajectories with clamps of their own go in one batch."""

    inner: System

    term_names: ClassVar[tuple[str, ...]] = ("clamped",)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp, (own, held) = array_namespace(y), self._parts(y)
        zero = xp.zeros_like(held)
        return {"clamped": xp.concat([xp.where(held > 0, zero, self.inner.field(t, own, p)), zero], axis=-1)}


@dataclass(frozen=True)
class ClampedMapByState(_ByState, Map):
    """The same of a map."""

    inner: Map

    @property
    def interval(self) -> float:
        return self.inner.interval

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.inner.draw(rng, shape)

    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        xp, (own, held) = array_namespace(y), self._parts(y)
        return xp.concat([xp.where(held > 0, own, self.inner.step(own, u, p)), held], axis=-1)


@dataclass(frozen=True)
class Wider(System):
    """The same equations from wider starts: each entry `do_width` times as far from the mean of its variable's law.

    Of a variable that is positive in all starts it is the logarithm, so that it stays so. Those that are given (see
    `given_variables`) are drawn as before.
    """

    origin: ClassVar[type[System]]

    do_width: float = 1.5

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        y = super().initial_state(rng)
        centre, positive = _law(self)
        with np.errstate(invalid="ignore", divide="ignore"):
            logarithmic = np.exp(centre + self.do_width * (np.log(y) - centre))
        found = np.where(positive, logarithmic, centre + self.do_width * (y - centre))
        return np.where(np.isin(self.variables, given_variables(original(self))), y, found)


@functools.lru_cache(maxsize=64)
def _law(system: Wider) -> tuple[np.ndarray, np.ndarray]:
    """(D,) means by variable of the law of starts, of the logarithm where it is positive, and where that is."""
    before = original(system)
    draws = [before.initial_state(np.random.default_rng([0, i])) for i in range(64)]
    y = np.reshape(draws, (-1, len(system.variables)))
    positive = np.asarray((y > 0).all(axis=0))
    return np.where(positive, np.log(np.where(positive, y, 1.0)).mean(axis=0), y.mean(axis=0)), positive


@functools.lru_cache(maxsize=256)
def given_variables(system: System) -> tuple[str, ...]:
    """Variables that nothing acts on: their rate is the same everywhere, while those of others vary. They are a
    constant of each agent that its state carries, as a charge (of rate 0), or a clock (of rate 1)."""
    y = np.stack([system.initial_state(np.random.default_rng(i)) for i in range(4)])
    # Moved a little, because what does not act on the starts need not stay so.
    y = y + 1e-3 * (np.abs(y).max() + 1) * np.random.default_rng(4).standard_normal(y.shape)
    rates = np.broadcast_to(system.field(0.0, y), y.shape)
    still = np.array([np.ptp(rates[..., k]) == 0 < np.ptp(rates) for k in range(y.shape[-1])])
    return tuple(name for name, constant in zip(system.variables, still, strict=True) if constant)
