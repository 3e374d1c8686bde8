"""What an experimenter may do to a system (Pearl's do): an intervention makes another system of it.

`do(system, Clamp(agent=0), CutEdge(1, 2))` is a system like any other: same contract, same simulator, same cache. Its
class is a subclass of the system's own, so that its parameters, variables and code count as they did.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace

import numpy as np

from physics_models.base import Array, Map, System
from physics_models.under_intervention import (
    Clamped,
    ClampedByState,
    ClampedMapByState,
    Cut,
    Hunted,
    Intervened,
    Kicked,
    Wider,
    Without,
    made,
    pulse_area,
)  # fmt: skip


class InterventionError(ValueError):
    """A system does not have what an intervention would change."""


@dataclass(frozen=True)
class Intervention(ABC):
    """Something done to a system from outside."""

    @abstractmethod
    def apply(self, system: System) -> System:
        """The system under the intervention. Raises InterventionError where it has no such thing."""

    def hold(self, system: System, y: Array, y0: Array, t0: Array, t1: Array) -> Array:
        """Predictions y (B, *state) at times t1 (B,), corrected by what the experimenter did since t0 (B,).

        For models that only map a state to the next one: they cannot be told an intervention, but whoever holds a
        variable does hold it, whatever the model says. `y0`: the states that the rollouts started from. `system`: the
        one that is acted on.
        """
        return y

    @property
    def acts_on_states(self) -> bool:
        """Whether `hold` does all of it: then every model can be rolled out under it."""
        return False


def do(system: System, *interventions: Intervention) -> System:
    """The system under these interventions, one after the other."""
    for intervention in interventions:
        system = intervention.apply(system)
    return system


def wider(system: System, width: float) -> System:
    """The same equations from starts `width` times as far from the mean of the law that they are drawn from."""
    return made(Wider, system, do_width=width)


def clamped_by_state(system: System) -> System:
    """The system whose state says, entry by entry, what is held: (..., 2 D), the second half 1 where it is, else 0.

    Raises InterventionError for fields on a grid, whose solver needs to know beforehand.
    """
    if system.structure.grid is not None:
        raise InterventionError(f"{_name(system)} is a field: kick it, or clamp a whole variable")
    return ClampedMapByState(system) if isinstance(system, Map) else ClampedByState(system)


@dataclass(frozen=True)
class Clamp(Intervention):
    """do(y_k = value): entries of the state are held, whatever acts on them; the others see them as they are held.

    `variable`: of all agents (or of the state); `agent`: all its variables; both: one variable of one agent. `value`:
    where it is held; None holds it at its start. On a field's grid only a whole variable can be held.
    """

    variable: str | None = None
    agent: int | None = None
    value: float | None = None

    def apply(self, system: System) -> System:
        if self.value is not None and not math.isfinite(self.value):
            raise InterventionError(f"a clamp's value must be a finite number, but it is {self.value}")
        if system.structure.grid is not None and self.agent is not None:
            raise InterventionError(f"{_name(system)} is a field without agents: clamp a variable of it")
        held = tuple(int(k) for k in np.flatnonzero(self.entries(system)))
        values = () if self.value is None else (float(self.value),) * len(held)
        if isinstance(system, Clamped):
            raise InterventionError(f"{_name(system)} has a clamp already: one is the most")
        return made(Clamped, system, do_held=held, do_held_at=values)

    def entries(self, system: System) -> np.ndarray:
        """(*state_shape,), True where the state is held."""
        mask = np.ones(system.state_shape, bool)
        if self.variable is None and self.agent is None:
            raise InterventionError("a clamp must name a variable, an agent or both, but it names none")
        if self.variable is not None:
            if self.variable not in system.variables:
                known = ", ".join(system.variables)
                raise InterventionError(f"a clamped variable must be one of {known}, but it is {self.variable!r}")
            mask &= np.arange(len(system.variables)) == system.variables.index(self.variable)
        if self.agent is not None:
            mask &= _agent(system, self.agent)
        return mask

    def hold(self, system: System, y: Array, y0: Array, t0: Array, t1: Array) -> Array:
        return np.where(self.entries(system), y0 if self.value is None else self.value, y)

    @property
    def acts_on_states(self) -> bool:
        return True


@dataclass(frozen=True)
class RemoveAgent(Intervention):
    """The system of one agent fewer, started where the larger one would have been, without `agent`.

    What the others do to each other is the law for N - 1 agents: where a system divides its coupling by the number of
    agents, it divides by N - 1. Only one of several that are alike (all where `permutation` is a symmetry, else the
    first `Structure.alike`): elsewhere the law for N - 1 agents is another one for those that stay, as the places of
    springs depend on their numbers.
    """

    agent: int = 0

    def apply(self, system: System) -> System:
        _agent(system, self.agent)
        if isinstance(system, Intervened):
            raise InterventionError(
                f"{_name(system)} numbers its agents as before the removal: remove one agent at most, and first"
            )
        structure = system.structure
        alike = structure.agents if "permutation" in structure.symmetries else structure.alike
        if not alike:
            raise InterventionError(f"the agents of {_name(system)} are not alike: without one, its law is another")
        if self.agent >= alike:
            raise InterventionError(
                f"agent {self.agent} of {_name(system)} has a law of its own: remove one of the first {alike}"
            )
        smaller = _with_agents(system, system.state_shape[-2] - 1)
        return made(Without, smaller, do_without=self.agent)


@dataclass(frozen=True)
class AddAgents(Intervention):
    """The system of `count` agents more, all started from the law of the larger one; which kind they are of is the
    system's to say (of boids with a predator, prey)."""

    count: int = 1

    def apply(self, system: System) -> System:
        if self.count < 1:
            raise InterventionError(f"the number of agents to add must be 1 or more, but it is {self.count}")
        if system.structure.agents is None:
            raise InterventionError(f"{_name(system)} has no agents")
        return _with_agents(system, system.structure.agents + self.count)


@dataclass(frozen=True)
class CutEdge(Intervention):
    """What agent `source` does to agent `target` is taken away; what `target` does to `source` stays."""

    source: int = 0
    target: int = 1

    def apply(self, system: System) -> System:
        if not system.structure.pairwise:
            raise InterventionError(f"what happens in {_name(system)} is no sum over pairs: it has no edge to cut")
        for agent in (self.source, self.target):
            _agent(system, agent)
        if self.source == self.target:
            raise InterventionError(f"an edge joins two agents, but both are {self.source}")
        edges = system.do_cut if isinstance(system, Cut) else ()
        edge = (self.target, self.source)
        return replace(system, do_cut=(*edges, edge)) if isinstance(system, Cut) else made(Cut, system, do_cut=(edge,))


@dataclass(frozen=True)
class ChangeParameter(Intervention):
    """A parameter times `factor`, or at `value` where one is given."""

    name: str
    factor: float = 1.25
    value: float | None = None

    def apply(self, system: System) -> System:
        if self.name not in system.parameters:
            known = ", ".join(system.parameters) or "none"
            raise InterventionError(f"a changed parameter must be one of {known}, but it is {self.name!r}")
        old = float(getattr(system, self.name))
        new = old * self.factor if self.value is None else self.value
        if new == old:
            raise InterventionError(f"{self.name} is {old:g} and stays so under this change: give it a value")
        try:
            return replace(system, **{self.name: new})
        except ValueError as error:
            raise InterventionError(str(error)) from None


@dataclass(frozen=True)
class Predator(Intervention):
    """A point that moves along c(t) = start + velocity t and repels: the acceleration of an agent at x is

        strength (x - c) exp(-|x - c|^2 / (2 reach^2)).

    It is no part of the state, and nothing acts on it: with velocity 0 it is an obstacle. For agents with positions
    and velocities (order 2).
    """

    strength: float
    reach: float
    start: tuple[float, ...]
    velocity: tuple[float, ...]

    def apply(self, system: System) -> System:
        structure = system.structure
        if structure.agents is None or structure.order != 2 or isinstance(system, Map):
            raise InterventionError(f"{_name(system)} has no agents with velocities for a predator to drive")
        if len(self.start) != structure.space_dim or len(self.velocity) != structure.space_dim:
            raise InterventionError(
                f"a predator's start and velocity must have {structure.space_dim} entries, but they have "
                f"{len(self.start)} and {len(self.velocity)}"
            )
        if isinstance(system, Hunted):
            raise InterventionError(f"{_name(system)} has a predator already: one is the most")
        if not self.reach > 0:
            raise InterventionError(f"a predator's reach must be above 0, but it is {self.reach}")
        return made(
            Hunted, system, do_hunter_strength=self.strength, do_hunter_reach=self.reach, do_hunter_start=self.start,
            do_hunter_velocity=self.velocity,
        )  # fmt: skip


@dataclass(frozen=True)
class Kick(Intervention):
    """A smooth impulse: `size` is added to the entries that a `Clamp` would hold, between `at` and `at + duration`.

    The rate is size (1 - cos(2 pi s)) / duration with s = (t - at) / duration in 0..1, and nothing outside.
    """

    size: float
    at: float
    duration: float
    variable: str | None = None
    agent: int | None = None

    def apply(self, system: System) -> System:
        if isinstance(system, Map):
            raise InterventionError(f"{_name(system)} goes by steps: a kick there is another start")
        if not self.duration > 0:
            raise InterventionError(f"a kick's duration must be above 0, but it is {self.duration}")
        if isinstance(system, Kicked):
            raise InterventionError(f"{_name(system)} has a kick already: one is the most")
        kicked = tuple(int(k) for k in np.flatnonzero(self.entries(system)))
        return made(Kicked, system, do_kicked=kicked, do_kick=(self.size, self.at, self.duration))

    def entries(self, system: System) -> np.ndarray:
        return Clamp(self.variable, self.agent).entries(system)

    def hold(self, system: System, y: Array, y0: Array, t0: Array, t1: Array) -> Array:
        area = pulse_area((t1 - self.at) / self.duration) - pulse_area((t0 - self.at) / self.duration)
        return y + self.size * self.entries(system) * area.reshape(-1, *(1,) * (y.ndim - 1))

    @property
    def acts_on_states(self) -> bool:
        return True


def _name(system: System) -> str:
    return type(system).__name__


def _agent(system: System, agent: int) -> np.ndarray:
    """(*state_shape,), True at this agent's entries."""
    n = system.structure.agents
    if n is None:
        raise InterventionError(f"{_name(system)} has no agents")
    if not 0 <= agent < n:
        raise InterventionError(f"an agent must be 0 to {n - 1}, but it is {agent}")
    return np.broadcast_to((np.arange(n) == agent)[:, None], system.state_shape)


def _with_agents(system: System, n: int) -> System:
    """The same law for n agents."""
    if "n_agents" not in {f.name for f in fields(system)}:
        raise InterventionError(f"the number of bodies of {_name(system)} is fixed")
    try:
        changed = replace(system, n_agents=n)  # type: ignore[call-arg]
    except ValueError as error:
        raise InterventionError(str(error)) from None
    if changed.structure.agents != n:
        raise InterventionError(f"{_name(system)} does not take the number of agents from n_agents")
    return changed
