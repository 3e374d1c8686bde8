"""What wrong priors make of a system: the told equations solved from the true starts, and how far they lead astray."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System
from physics_models.priors.base import Prior
from physics_models.priors.discovery import priors
from physics_models.solution import SimulationError

DELTAS = (0.0, 0.01, 0.03, 0.1, 0.3)
KINDS = ("parameters", "missing_term", "wrong_term", "wrong_symmetry")
MOST_POINTS = 200
# Tolerances: far below the errors that wrong priors make. Chaos needs the smaller one, which it multiplies.
RTOL, CHAOS_RTOL = 1e-7, 1e-10
TRIES = 4


@dataclass(frozen=True, eq=False)
class Told:
    """One kind of prior at several `deltas`: its `errors` (K, T) at `times` (T,), or the `reason` why there are none.

    An error is the root mean square, over starts, agents and variables, of the difference to the truth in units of
    each variable's standard deviation. `what`: which term, parameter or symmetry is wrong; `note`: where it was cut.
    """

    kind: str
    what: str
    deltas: tuple[float, ...]
    times: np.ndarray
    errors: np.ndarray
    reason: str = ""
    note: str = ""


def told_errors(
    system: System,
    times: np.ndarray,
    truth: np.ndarray,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    deltas: tuple[float, ...] = DELTAS,
) -> list[Told]:
    """Of each kind of prior. `truth`: the system's own trajectories (R, T, *state) at `times`, without noise.

    `options`: by kind, those of its prior; by default every kind of `KINDS` with its own. `deltas`: 0, then larger.
    Equations of several kinds are solved together, as one system, so that few programs are compiled; if some of them
    blow up, kind by kind.
    """
    stride = -(-len(times) // MOST_POINTS)
    times, truth = times[::stride], truth[:, ::stride]
    found: dict[str, Told] = {}
    apart: dict[str, list[System]] = {}
    for kind, chosen in ({kind: {} for kind in KINDS} if options is None else options).items():
        made: list[Prior] = [priors.load(kind)(delta=delta, **chosen) for delta in deltas]
        try:
            apart[kind] = [prior.tell(system) for prior in made]
        except ValueError as error:
            found[kind] = Told(kind, "", deltas, times[:0], np.empty((len(deltas), 0)), reason=str(error))
            continue
        found[kind] = Told(kind, _what(kind, made[-1], system), deltas, times, np.empty(0))
    solved: dict[str, Told] = {}
    for kinds in _groups(system, apart):
        try:
            y = _solved(system, [told for kind in kinds for told in apart[kind]], times, truth)
        except SimulationError:
            solved |= {kind: _cut(found[kind], system, apart[kind], truth) for kind in kinds}
        else:
            parts = zip(kinds, np.split(y, len(kinds)), strict=True)
            solved |= {kind: _with(found[kind], times, part, truth) for kind, part in parts}
    return [solved.get(kind, told) for kind, told in found.items()]


def _groups(system: System, apart: Mapping[str, Sequence[System]]) -> list[list[str]]:
    """Kinds that are solved together: those that take equally long steps."""
    if system.linear_multiplier() is None:
        # An implicit step solves equations in all variables together: its cost is the cube of their number.
        return [[kind] for kind in apart] if system.stiff else [list(apart)] if apart else []
    own = [kind for kind, several in apart.items() if several[-1].linear_multiplier() is not None]
    return [group for group in (own, [kind for kind in apart if kind not in own]) if group]


def _what(kind: str, prior: Any, system: System) -> str:
    if kind == "parameters":
        return f"{prior.parameter} too large by δ" if prior.parameter else "each parameter off by δ"
    if kind == "missing_term":
        return f"{prior.missing(system)} told as (1 − δ) of itself"
    if kind == "wrong_symmetry":
        return f"{prior.broken(system)} broken by δ"
    return "a term that is not there, of size δ"


def _cut(told: Told, system: System, equations: Sequence[System], truth: np.ndarray) -> Told:
    """One kind alone, up to a time at which all its equations can still be solved."""
    times, problem = told.times, ""
    for _ in range(TRIES):
        try:
            y = _solved(system, equations, times, truth[:, : len(times)])
        except SimulationError as error:
            problem = (
                f"up to {error.stopped_at:.3g}, where one blows up" if error.stopped_at else "as far as it is sure"
            )
            end = 0.9 * error.stopped_at if error.stopped_at else times[-1] / 2
            times = times[times <= end]
            if len(times) < 3:
                break
            continue
        return _with(told, times, y, truth[:, : len(times)], problem)
    none = np.empty((len(told.deltas), 0))
    return Told(told.kind, told.what, told.deltas, times[:0], none, reason="The told equations blow up at once.")


def _with(told: Told, times: np.ndarray, y: np.ndarray, truth: np.ndarray, note: str = "") -> Told:
    """With the errors of trajectories (K, R, T, *state)."""
    std = truth.std(axis=tuple(range(truth.ndim - 1)))
    moving = std > 1e-12 * np.abs(truth).max()  # what never changes has no size to measure an error by
    with np.errstate(over="ignore"):
        off = (y - truth)[..., moving] / std[moving]
        errors = np.sqrt(np.mean(off**2, axis=(1, *range(3, off.ndim)))) if moving.any() else np.zeros(y.shape[:3:2])
    return Told(told.kind, told.what, told.deltas, times, errors, note=note)


def _solved(system: System, told: Sequence[System], times: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, R, T, *state): each of the told equations from the true starts."""
    from physics_models.simulate import simulate

    if not told:
        return np.empty((0, *truth.shape))
    both = SideBySide(system, tuple(told))
    rtol = CHAOS_RTOL if system.chaotic and not both.linear_terms else RTOL
    y = simulate(both, np.concatenate([truth[:, 0]] * len(told), axis=-1), times, rtol).y
    return np.stack(np.split(y, len(told), axis=-1))


@dataclass(frozen=True)
class SideBySide(System):
    """Several equations for the same kind of state, each with its own variables: y = (y_1, ..., y_K) on the last axis.

    One solution of it is one of each of them, at the steps that the most demanding needs. Where the truth has a
    `linear_multiplier` and told equations have lost theirs, they borrow it: what their linear terms differ by from the
    true ones is then a part of the rest, smaller than what is taken exactly, so that steps stay stable; that they
    converge, the solver finds out for itself.
    """

    truth: System
    told: tuple[System, ...]

    def __post_init__(self) -> None:
        whole = self.truth.linear_multiplier() is not None
        names = ("linear", "rest") if whole else ("rest",)
        own = {"term_names": names, "linear_terms": names[:-1], "stiff": self.truth.stiff and not whole}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(f"{name}_{k}" for k in range(len(self.told)) for name in self.truth.variables)

    @property
    def structure(self) -> Structure:
        whole = self.truth.structure
        return Structure(agents=whole.agents, grid=whole.grid, extent=whole.extent)

    @property
    def time_scale(self) -> float:
        return self.truth.time_scale

    def linear_multiplier(self) -> np.ndarray | None:
        if not self.linear_terms:
            return None
        several = [self._linear_source(told).linear_multiplier() for told in self.told]
        return np.concatenate([one for one in several if one is not None], axis=-1)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([self.truth.initial_state(rng)] * len(self.told), axis=-1)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp, size = array_namespace(y), len(self.truth.variables)
        states = [y[..., k * size : (k + 1) * size] for k in range(len(self.told))]
        pairs = list(zip(self.told, states, strict=True))
        linear = [self._linear(told, t, state) if self.linear_terms else 0.0 for told, state in pairs]
        out = {"linear": xp.concat(linear, axis=-1)} if "linear" in names else {}
        if "rest" in names:
            rest = [
                told.field(t, state) + xp.zeros_like(state) - part
                for (told, state), part in zip(pairs, linear, strict=True)
            ]
            out["rest"] = xp.concat(rest, axis=-1)
        return out

    def _linear_source(self, told: System) -> System:
        return self.truth if told.linear_multiplier() is None else told

    def _linear(self, told: System, t: Array, y: Array) -> Array:
        source = self._linear_source(told)
        parts = source.terms(t, y, source.values, source.linear_terms)
        return functools.reduce(operator.add, parts.values())
