"""Test sets out of distribution: what they are for a system, and how a model is judged on them.

A set is drawn when it is first asked for, from a system that is not quite that of the training data. Models that are
made of the system's equations are told the changed equations (a parameter's new value, the cut edge, the predator's
term), which is what equations are good for; all others are told nothing. Under a clamp or a kick the experimenter acts
on every model's prediction between two sampling times; see `Intervention.hold`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.evaluate import PRIMARY, Evaluation, full_segments, one_step_segments, thin
from experiments.metrics.ratios import interventional_ratio
from experiments.ood_told import told_of, told_terms, with_known
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
from physics_models.solution import SimulationError

if TYPE_CHECKING:
    from learners.learner import Learner

MOST = 32  # trajectories a set: as many rollouts as they have time units
LONGER = 4  # times the time over which the primary error is measured
MORE = 4  # times as many agents
WIDTH = 1.5  # of the law of starts
DETAIL = "1, lower is better (detail)"


@dataclass(frozen=True, eq=False)
class Shifted:
    """A test set. `system`: what the truth follows. `counts` (*state): the entries that errors are taken over: not what
    is held, and of a cut edge the agent at its end alone, the others being as they were. `says`: what is changed."""

    system: System
    rollouts: Segments
    steps: Segments
    counts: np.ndarray
    says: str
    intervention: Intervention | None = None


def asked(task: Task) -> bool:
    return task.source is not None and bool(task.source.protocol.ood_sets)


def sets(task: Task) -> dict[str, Shifted | str]:
    """The task's sets by name, or the reason why there is none. Simulated (or found in the cache) once."""
    source = task.source
    if source is None:
        return {}
    for name in source.protocol.ood_sets:
        if name not in source.shifted:
            try:
                source.shifted[name] = _made(task, name)
            except (InterventionError, SimulationError, ValueError) as reason:
                source.shifted[name] = str(reason)
    return {name: source.shifted[name] for name in source.protocol.ood_sets}


def _made(task: Task, name: str) -> Shifted:
    assert task.source is not None
    system = task.source.system
    kind, _, which = name.partition(":")
    if kind == "new_starts":
        return _set(task, name, wider(system, WIDTH), f"starts {WIDTH:g} times as far from the law's mean")
    if kind == "longer_horizon":
        return _set(task, name, system, f"rollouts {LONGER} times as long", duration=LONGER * task.horizon)
    action = _action(task, kind, which)
    changed = with_known(action.apply(system))
    counts = np.ones(changed.state_shape, bool)
    if isinstance(action, Clamp):
        counts = ~action.entries(system)
    if isinstance(action, CutEdge):
        counts = Clamp(agent=action.target).entries(system)
    if not counts.any():
        raise InterventionError("everything would be held: nothing is left to predict")
    # What happens at a given time happens to rollouts from the start alone.
    timed = isinstance(action, Kick | Predator)
    return _set(task, name, changed, _says(action), action, counts, from_start=timed)


def _action(task: Task, kind: str, which: str) -> Intervention:
    """The intervention of a set, sized by the training data."""
    assert task.source is not None
    system, d = task.source.system, task.source.system.structure.space_dim
    agents = system.structure.agents
    std = task.source.std
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
        size, variable = 2 * float(std[-1]), system.variables[-1]
        agent = None if agents is None else 0
        return Kick(size, 0.2 * task.horizon, 0.2 * task.horizon, variable, agent)
    if kind == "predator":
        if agents is None or system.structure.order != 2:
            raise InterventionError(f"{type(system).__name__} has no agents with velocities for a predator to drive")
        mean, reach = task.source.mean[:d], float(std[:d].mean())
        across = np.zeros(d)
        across[0] = 2 * reach
        # Along the first axis through where the agents are; close by, it turns a velocity around in a time unit.
        strength = 3 * float(std[d : 2 * d].mean()) / (reach * task.horizon)
        start, velocity = mean - across, 2 * across / task.horizon
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
    data = Trajectories.common(times, found.y, system.variables)
    whole = full_segments(data) if from_start else data.segments(length)
    counts = np.ones(system.state_shape, bool) if counts is None else counts
    seen = [k for k, variable in enumerate(system.variables) if variable not in p.hidden]
    if not counts[..., seen].any():
        raise InterventionError("what is observed is held")
    return Shifted(
        system, _observed(thin(whole), seen), _observed(thin(one_step_segments(data)), seen), counts[..., seen], says,
        action,
    )  # fmt: skip


def _observed(segments: Segments, seen: list[int]) -> Segments:
    return replace(segments, y=segments.y[..., seen])


# -- models ----------------------------------------------------------------------------------------------------------


def evaluate(learner: Learner, task: Task, sets: dict[str, Shifted | str], results: Evaluation) -> None:
    """Add each set's errors to the results of every seed: the primary metric, its ratio to the one in distribution, and
    the one-step error. They are None, with the reason in `facts`, for a model that cannot do a set, and absent, with
    the reason in `facts`, for a set that this task does not have."""
    facts: dict[str, dict[str, str]] = {"ood": {}, "ood_skipped": {}}
    for name, shifted in sets.items():
        if isinstance(shifted, str):
            facts["ood_skipped"][name] = f"no such set: {shifted}"
            continue
        facts["ood"][name] = shifted.says
        keys = [f"ood/{name}/{metric}" for metric in (PRIMARY, "one_step_nrmse", "error_ratio")]
        results.units |= dict.fromkeys(keys, DETAIL)
        try:
            predict = _predictor(learner, task, shifted)
        except ValueError as reason:
            facts["ood_skipped"][name] = str(reason)
            for row in results.metrics:
                row |= dict.fromkeys(keys)
            continue
        errors = [_errors(predict(true), true, shifted.counts, scale) for true, scale in (
            (shifted.rollouts, task.scales.std), (shifted.steps, task.scales.step_std),
        )]  # fmt: skip
        for seed, row in enumerate(results.metrics):
            inside = row.get(PRIMARY)
            ratio = errors[0][seed] / inside if inside else None
            row |= dict(zip(keys, (errors[0][seed], errors[1][seed], ratio), strict=True))
    if acting := [name for name, shifted in sets.items() if _somebody_acts(shifted, task)]:
        results.units["interventional_ratio"] = DETAIL
        for row in results.metrics:
            value = interventional_ratio(row, acting)
            row["interventional_ratio"] = None if np.isnan(value) else value
    results.facts |= {key: value for key, value in facts.items() if value}


def _somebody_acts(shifted: Shifted | str, task: Task) -> bool:
    """On a state of the task's own shape, of which every model can say something."""
    if isinstance(shifted, str) or shifted.intervention is None:
        return False
    return shifted.rollouts.y.shape[2:] == task.test.state_shape


def told(sets: dict[str, Shifted | str], results: Evaluation) -> str:
    """One line on the sets there are: the median error of the seeds."""
    parts = []
    for name, shifted in sets.items():
        if not isinstance(shifted, str):
            values = [row.get(f"ood/{name}/{PRIMARY}") for row in results.metrics]
            known = [value for value in values if value is not None]
            parts.append(f"{name} {np.median(known):.3g}" if known else f"{name} not possible")
    return ", ".join(parts) or "no set of those asked for exists here"


Predict = Callable[[Segments], np.ndarray]


def _predictor(learner: Learner, task: Task, shifted: Shifted) -> Predict:
    """(seeds, S, P, *state) from segments. Raises ValueError, with the reason, where the model cannot do it."""
    model, info = learner.model, learner.info
    backend = learner.engine.backend
    without = replace(info, system=None, told=None)
    # Where a form is told in place of terms, a network has it: no equations that could be told anything.
    by_equations = not info.form and info.system is not None and model.skip(without, backend) is not None
    state_shape = shifted.rollouts.y.shape[2:]
    intervals = max(shifted.rollouts.times.shape[1], 2) - 1
    here, action = learner, shifted.intervention
    if by_equations or state_shape != info.state_shape or intervals > learner.engine.predict_times:
        changes: dict[str, Any] = {"state_shape": state_shape}
        if by_equations:
            changes["system"] = shifted.system
            if info.told is not None and action is not None:
                changes["told"] = told_of(info.told, action)
        there = replace(info, **changes)
        if reason := model.skip(there, backend):
            raise ValueError(reason)
        here = learner.elsewhere(there, intervals)
    told_kick = (
        by_equations and isinstance(action, Kick) and "kick" in told_terms(here.model, here.info)
    )  # its equations have it
    if action is not None and action.acts_on_states and not told_kick:
        if task.hidden:
            raise ValueError("nobody can act on a state that is not observed whole")
        return lambda true: _held(here, shifted.system, action, true)
    return lambda true: here.predict(true.y[:, 0], true.times, clock=true.times[:, 0])[0]


def _held(learner: Learner, system: System, action: Intervention, true: Segments) -> np.ndarray:
    """Rollouts interval by interval, the experimenter acting in between."""
    y0, times = true.y[:, 0], np.fmax.accumulate(true.times, axis=1)
    states = np.stack([y0] * len(learner.seeds))
    out = [states]
    for k in range(times.shape[1] - 1):
        pair, after = times[:, k : k + 2], []
        for seed, state in enumerate(states):  # a program predicts with all seeds from one state
            after.append(
                learner.predict(state, pair, clock=pair[:, 0])[0][seed, :, 1] if np.isfinite(state).all() else state
            )
        states = np.stack([action.hold(system, state, y0, pair[:, 0], pair[:, 1]) for state in after])
        out.append(states)
    return np.stack(out, axis=2)


def _errors(predicted: np.ndarray, true: Segments, counts: np.ndarray, scale: np.ndarray) -> list[float]:
    """By seed: root mean square error after the first point, over the entries that count; infinite if not finite."""
    after = true.mask.copy()
    after[:, 0] = False
    values = []
    for states in predicted:
        with np.errstate(over="ignore", invalid="ignore"):
            error = ((states[after] - true.y[after]) / scale)[:, counts]
            value = float(np.sqrt(np.mean(error**2)))
        values.append(value if np.isfinite(value) else np.inf)
    return values
