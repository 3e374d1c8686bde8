"""What a command asks for by name and cannot have, or would get nothing for: refused before anything is simulated.

A study has the same keys for many models and tasks: what means nothing for one of them is no mistake there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import detection
from experiments.config_tree import REAL_DATA
from experiments.errors import UserError
from experiments.prior import told
from learners.base import FIXED_STEP, Question, TaskInfo

if TYPE_CHECKING:
    from experiments.config import Settings

# What says nothing by itself: the key that it needs, and what to add. Whoever gives both, one of them off, knows.
NEEDED = {
    "task.rounds": ("task.active", "task.active=true"),
    "task.candidates": ("task.active", "task.active=true"),
    "task.intervention": ("task.interventional", "task.interventional=0.5"),
}
# Of solvers: whether those of fixed steps read the key, and one that does.
SOLVERS = {"model.steps": (True, "rk4"), "model.rtol": (False, "dopri5"), "model.atol": (False, "dopri5")}


def refuse_idle_keys(tree: dict[str, Any], words: Sequence[str]) -> None:
    """Raises UserError for a setting that does nothing beside the others."""
    given, solver = [word.partition("=")[0] for word in words], tree["model"].get("solver")
    for key in given:
        switch, add = NEEDED.get(key, ("", ""))
        if switch and switch not in given and not tree["task"].get(switch.removeprefix("task.")):
            raise UserError(f"{key} does nothing without {switch}: add {add}, or leave {key} out")
        fixed, other = SOLVERS.get(key, (None, ""))
        if None not in (fixed, solver) and "model.solver" not in given and fixed != (solver in FIXED_STEP):
            kind = "fixed" if fixed else "adaptive"
            raise UserError(
                f"{key} is for solvers of {kind} steps, but model.solver={solver}: add model.solver={other}, or leave "
                f"{key} out"
            )


def refuse_sets(settings: Settings) -> None:
    """Raises UserError for a test set out of distribution that is asked for by name and that the system cannot have."""
    asked = settings.tree["task"].get("ood") or ()
    named = [name for name in asked if name not in ("all", "none")]
    if not named:
        return
    from experiments.config import protocol_from, system_from
    from experiments.ood_sets import why_none

    task = settings.tree["task"]
    system, protocol = system_from(task["name"], task["system"]), protocol_from(task)
    for name in named:
        if reason := why_none(system, protocol, name):
            raise UserError(
                f"task.ood must name sets that task={task['name']} can have, but there is {name}: {reason}; leave it "
                "out, or task.ood=all gives those that there are"
            )


def refuse_model(settings: Settings) -> None:
    """Raises UserError for a model that cannot do the task, as far as that is known with nothing simulated."""
    info = _info(settings)
    if info is not None:
        info = told(info, settings.tree, settings.model.takes_prior)
        refuse_skipped(settings, settings.model.skip(info, settings.tree["backend"]))


def refuse_skipped(settings: Settings, reason: str | None) -> None:
    """Raises UserError where there is a reason to skip the model that was asked for."""
    if reason:
        raise UserError(
            f"model={settings.model_name} cannot be run on task={settings.task_name}: {reason}; choose another model"
        )


def _info(settings: Settings) -> TaskInfo | None:
    """What is known of a task without its data, all scales 1. None of the user's own data, which are soon read."""
    from experiments.config import detection_from, protocol_from, system_from

    task, name = settings.tree["task"], settings.task_name
    if name == REAL_DATA:
        return None
    if name == detection.NAME:
        p, rule = detection_from(task), system_from(detection.RULE, task["system"])
        answers = 1 if p.question == "group" else rule.state_shape[0]
        size = p.points * int(np.prod(rule.state_shape)) + answers
        variables = tuple(f"z{k}" for k in range(size))
        question = Question(answers, p.points, p.spacing, rule)
        return _plain((size,), variables, 1.0, question=question)
    system, p = system_from(name, task["system"]), protocol_from(task)
    hidden = tuple(variable for variable in system.variables if variable in p.hidden)
    variables = tuple(variable for variable in system.variables if variable not in hidden)
    known = None if hidden else system
    shape = (*system.state_shape[:-1], len(variables))
    return _plain(shape, variables, p.spacing, system=known, exact=not hidden, hidden=hidden)


def _plain(shape: tuple[int, ...], variables: tuple[str, ...], interval: float, **rest: Any) -> TaskInfo:
    one = np.ones(len(variables))
    return TaskInfo(shape, variables, interval, 0 * one, one, one, one, **rest)
