"""How models are judged on test sets out of distribution.

Models that are made of the system's equations are told the changed equations (a parameter's new value, the cut edge,
the predator's term), which is what equations are good for; all others are told nothing. Under a clamp or a kick the
experimenter acts on every model's prediction between two sampling times; see `Intervention.hold`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.evaluate import PRIMARY, Evaluation, thin
from experiments.metrics.ratios import interventional_ratio
from experiments.ood_sets import Shifted, asked, sets
from experiments.ood_told import told_of, told_terms
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.base import System
from physics_models.interventions import Intervention, Kick

if TYPE_CHECKING:
    from learners.learner import Learner

__all__ = ["Shifted", "asked", "evaluate", "programs", "sets", "told"]

DETAIL = "1, lower is better (detail)"

Predict = Callable[[Segments], np.ndarray]


def programs(learner: Learner, task: Task, sets: dict[str, Shifted | str]) -> dict[str, Predict | str]:
    """What predicts each set there is, compiled, or why the model cannot do it: apart, so that `evaluate` costs nothing
    that is no evaluation."""
    found: dict[str, Predict | str] = {}
    for name, shifted in sets.items():
        if not isinstance(shifted, str):
            try:
                found[name] = _predictor(learner, task, shifted)
            except ValueError as reason:
                found[name] = str(reason)
    return found


def evaluate(
    learner: Learner, task: Task, sets: dict[str, Shifted | str], results: Evaluation,
    compiled: dict[str, Predict | str] | None = None,
) -> None:  # fmt: skip
    """Add each set's errors to the results of every seed: the primary metric, its ratio to the one on test data, and
    the one-step error. For a set whose rollouts all begin where trajectories do, the ratio is to test rollouts that do:
    by how much beginnings are harder than what follows depends on the model, and says nothing of who acted. They are
    None for a model that cannot do a set, and absent for a set that this task does not have, with the reason in
    `facts`. `compiled`: the `programs`, made here by default.
    """
    compiled = programs(learner, task, sets) if compiled is None else compiled
    facts: dict[str, dict[str, str]] = {"ood": {}, "ood_skipped": {}}
    everywhere = [row.get(PRIMARY) for row in results.metrics]
    timed = any(not isinstance(shifted, str) and shifted.from_start for shifted in sets.values())
    at_first = _errors_from_start(learner, task) if timed else []
    for name, shifted in sets.items():
        if isinstance(shifted, str):
            facts["ood_skipped"][name] = f"no such set: {shifted}"
            continue
        facts["ood"][name] = shifted.says
        keys = [f"ood/{name}/{metric}" for metric in (PRIMARY, "one_step_nrmse", "error_ratio")]
        results.units |= dict.fromkeys(keys, DETAIL)
        predict = compiled[name]
        if isinstance(predict, str):
            facts["ood_skipped"][name] = predict
            for row in results.metrics:
                row |= dict.fromkeys(keys)
            continue
        errors = [_errors(predict(true), true, shifted.counts, scale) for true, scale in (
            (shifted.rollouts, task.scales.std), (shifted.steps, task.scales.step_std),
        )]  # fmt: skip
        inside = at_first if shifted.from_start else everywhere
        for seed, row in enumerate(results.metrics):
            usual = inside[seed]
            ratio = errors[0][seed] / usual if usual else None
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
    told_new = by_equations and action is not None
    if told_new or state_shape != info.state_shape or intervals > learner.engine.predict_times:
        changes: dict[str, Any] = {"state_shape": state_shape}
        if told_new:
            changes["system"] = shifted.system
            if info.told is not None and action is not None:
                changes["told"] = told_of(info.told, action)
        there = replace(info, **changes)
        if reason := model.skip(there, backend):
            raise ValueError(reason)
        here = learner.elsewhere(there, intervals)
        here.engine.compile_prediction()
    told_kick = (
        by_equations and isinstance(action, Kick) and "kick" in told_terms(here.model, here.info)
    )  # its equations have it
    if action is not None and action.acts_on_states and not told_kick:
        if task.hidden:
            raise ValueError("nobody can act on a state that is not observed whole")
        return lambda true: _held(here, shifted.system, action, true)
    return lambda true: here.predict(true.y[:, 0], true.times, clock=true.times[:, 0])[0]


def _errors_from_start(learner: Learner, task: Task) -> list[float]:
    """By seed: the primary error of the test data's rollouts that begin where their trajectories do."""
    unit = task.segments["test"]
    begins = unit.times[:, 0] == task.test.times[unit.trajectory, 0]
    first = thin(unit.select(begins))
    told = learner.info.told is not None
    predicted = learner.predict(first.y[:, 0], first.times, clock=task.clock(first, task.test, told))[0]
    return _errors(predicted, first, np.ones(task.test.state_shape, bool), task.scales.std)


def _held(learner: Learner, system: System, action: Intervention, true: Segments) -> np.ndarray:
    """Rollouts interval by interval, the experimenter acting in between."""
    y0, times = true.y[:, 0], np.fmax.accumulate(true.times, axis=1)
    states = np.stack([y0] * len(learner.seeds))
    out = [states]
    for k in range(times.shape[1] - 1):
        pair = times[:, k : k + 2]
        lost = ~np.isfinite(states).all(axis=tuple(range(1, states.ndim)))  # seeds from which no solver goes on
        safe = np.where(lost.reshape(-1, *(1,) * y0.ndim), y0, states)
        after = learner.predict(safe, pair, clock=pair[:, 0])[0][:, :, 1]
        after[lost] = states[lost]
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
