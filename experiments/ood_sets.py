"""Test sets out of distribution: what they are for a system, and their truth.

A set is drawn when it is first asked for, from a system that is not quite that of the training data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from experiments.evaluate import full_segments, one_step_segments, thin
from experiments.ood_told import with_known
from experiments.protocol import Protocol
from experiments.task import Task
from experiments.trajectories import Segments, Trajectories
from physics_models.base import System
from physics_models.interventions import (
    AddAgents,
    ChangeParameter,
    Clamp,
    CutEdge,
    Intervention,
    InterventionError,
    Kick,
    Predator,
    RemoveAgent,
    wider,
)
from physics_models.priors.base import law_states
from physics_models.solution import SimulationError
from physics_models.under_intervention import given_variables

MOST = 32  # trajectories a set: as many rollouts as they have time units
LONGER = 4  # times the time over which the primary error is measured
MORE = 4  # times as many agents
WIDTH = 1.5  # of the law of starts
SAME = 1e-9  # of its size: what a quantity that is the same from all starts may vary by


@dataclass(frozen=True, eq=False)
class Shifted:
    """A test set. `system`: what the truth follows. `counts` (*state): the entries that errors are taken over: not what
    is held, and of a cut edge the agent at its end alone, the others being as they were. `says`: what is changed.
    `from_start`: whether all rollouts begin where trajectories do, as what happens at a given time asks."""

    system: System
    rollouts: Segments
    steps: Segments
    counts: np.ndarray
    says: str
    intervention: Intervention | None = None
    from_start: bool = False


def asked(task: Task) -> bool:
    return task.source is not None and bool(task.source.protocol.ood_sets)


def sets(task: Task, say: Callable[[str], None] = lambda text: None) -> dict[str, Shifted | str]:
    """The task's sets by name, or the reason why there is none. Simulated (or found in the cache) once."""
    source = task.source
    if source is None:
        return {}
    found, asked_for = source.shifted, source.protocol.ood_sets
    missing = [name for name in asked_for if name not in found]
    for name in missing:
        if reason := why_none(source.system, source.protocol, name):
            found[name] = reason
            continue
        say(f"simulating the test set {name} (or finding it in the cache)")
        try:
            found[name] = _made(task, name)
        except (InterventionError, SimulationError, ValueError) as reason:
            found[name] = str(reason)
    reasons = dict.fromkeys(found[name] for name in missing if isinstance(found[name], str))
    for reason in reasons:
        say(f"no test set {', '.join(name for name in missing if found[name] == reason)}: {reason}")
    return {name: found[name] for name in asked_for}


def why_none(system: System, protocol: Protocol, name: str) -> str | None:
    """Why this system cannot have a set, as far as that is known with nothing simulated; or None."""
    unit, size = min(system.time_scale, protocol.horizon), np.ones(len(system.variables))  # no reason depends on them
    try:
        _changed(system, protocol, name, 0 * size, size, unit)
    except ValueError as reason:
        return str(reason)
    return None


def _made(task: Task, name: str) -> Shifted:
    source = task.source
    assert source is not None
    changed, action, counts = _changed(source.system, source.protocol, name, source.mean, source.std, task.horizon)
    if name == "new_starts":
        return _set(task, name, changed, f"starts {WIDTH:g} times as far from the law's mean")
    if action is None:
        return _set(task, name, changed, f"rollouts {LONGER} times as long", duration=LONGER * task.horizon)
    # What happens at a given time happens to rollouts from the start alone.
    timed = isinstance(action, Kick | Predator)
    return _set(task, name, changed, _says(action), action, counts, from_start=timed)


def _changed(
    system: System, protocol: Protocol, name: str, mean: np.ndarray, std: np.ndarray, unit: float
) -> tuple[System, Intervention | None, np.ndarray]:
    """What the truth of a set follows, who acts on it, and the entries that count. Raises ValueError for no such set.

    `mean`, `std`: of the training data, by variable; `unit`: the time that rollouts take.
    """
    kind, _, which = name.partition(":")
    if kind in ("new_starts", "longer_horizon"):
        return wider(system, WIDTH) if kind == "new_starts" else system, None, np.ones(system.state_shape, bool)
    action = _action(system, kind, which, mean, std, unit)
    changed = with_known(action.apply(system))
    counts = np.ones(changed.state_shape, bool)
    if isinstance(action, Clamp):
        counts = ~action.entries(system)
    if isinstance(action, CutEdge):
        counts = Clamp(agent=action.target).entries(system)
    if not counts.any():
        raise InterventionError("everything would be held: nothing is left to predict")
    if not counts[..., _seen(system, protocol)].any():
        raise InterventionError("what is observed is held")
    return changed, action, counts


def _seen(system: System, protocol: Protocol) -> list[int]:
    return [k for k, variable in enumerate(system.variables) if variable not in protocol.hidden]


def _action(system: System, kind: str, which: str, mean: np.ndarray, std: np.ndarray, unit: float) -> Intervention:
    """The intervention of a set, sized by the training data."""
    d, agents = system.structure.space_dim, system.structure.agents
    if kind == "changed_parameter":
        named = [name for name in system.parameters if system.values[name] != 0]
        if not named:
            raise InterventionError(f"{type(system).__name__} has no parameter that is not 0")
        return ChangeParameter(which or named[0])
    if kind == "clamped":
        if agents is not None and not which:
            return Clamp(agent=0)
        if len(system.variables) == 1:
            raise InterventionError(f"{type(system).__name__} has one variable: held, nothing is left to predict")
        return Clamp(variable=which or system.variables[0])
    if kind == "kick":
        # The last of those that anything acts on: a charge or a clock is none.
        k = max(k for k, name in enumerate(system.variables) if name not in given_variables(system))
        agent = None if agents is None else 0
        return Kick(2 * float(std[k]), 0.2 * unit, 0.2 * unit, system.variables[k], agent)
    if kind == "predator":
        if agents is None or system.structure.order != 2:
            raise InterventionError(f"{type(system).__name__} has no agents with velocities for a predator to drive")
        reach = float(std[:d].mean())
        across = np.zeros(d)
        across[0] = 2 * reach
        # Along the first axis through where the agents are; close by, it turns a velocity around in a time unit.
        strength = 3 * float(std[d : 2 * d].mean()) / (reach * unit)
        start, velocity = mean[:d] - across, 2 * across / unit
        return Predator(strength, reach, tuple(start.tolist()), tuple(velocity.tolist()))
    if agents is None:
        raise InterventionError(f"{type(system).__name__} has no agents")
    one: dict[str, Intervention] = {
        "more_agents": AddAgents((MORE - 1) * agents), "added_agent": AddAgents(1), "removed_agent": RemoveAgent(0),
        "cut_edge": CutEdge(0, 1),
    }  # fmt: skip
    return one[kind]


def _says(action: Intervention) -> str:
    options = ", ".join(f"{f.name}={getattr(action, f.name)!r}" for f in fields(action))
    return f"{type(action).__name__}({options})"


def _set(
    task: Task, name: str, system: System, says: str, action: Intervention | None = None,
    counts: np.ndarray | None = None, duration: float | None = None, from_start: bool = False,
) -> Shifted:  # fmt: skip
    from physics_models.cache import reference

    source = task.source
    assert source is not None
    p, length = source.protocol, duration or task.horizon
    points = int(np.ceil(round(length / p.spacing, 6))) + 1
    times = np.arange(points if from_start else max(points, len(p.times))) * p.spacing
    # Its own stream for each set, whatever others were asked for: the name's bytes are a number.
    seed = source.seed_of(int.from_bytes(name.encode()))
    noise = {"process_noise": p.process_noise} if p.process_noise else {}
    found = reference(system, seed, min(p.n_test, MOST), times, source.cache, **noise)
    says += _new_constants(source.system, system, found.y)
    data = Trajectories.common(times, found.y, system.variables)
    whole = full_segments(data) if from_start else data.segments(length)
    counts = np.ones(system.state_shape, bool) if counts is None else counts
    seen = _seen(system, p)
    return Shifted(
        system, _observed(thin(whole), seen), _observed(thin(one_step_segments(data)), seen), counts[..., seen], says,
        action, from_start,
    )  # fmt: skip


def _new_constants(before: System, system: System, y: np.ndarray) -> str:
    """What is said of quantities that are conserved and the same from every start of the task's, but others here."""
    # From 64 starts, which are enough to see that they differ.
    usual = before.invariants(law_states(before))
    changed = []
    for name in before.structure.conserved:
        value, size = float(usual[name].mean()), 1 + float(np.abs(usual[name]).max())
        here = system.invariants(y)[name]
        if np.ptp(usual[name]) < SAME * size and np.abs(here - value).max() > 1e3 * SAME * size:
            changed.append(f"{name}, always {value:.3g} in training, is not so here")
    return "".join(f"; {text}" for text in changed)


def _observed(segments: Segments, seen: list[int]) -> Segments:
    return replace(segments, y=segments.y[..., seen])
