"""The run's prior: what the configuration says a structured model is told, and what it makes of a task's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from experiments.errors import UserError, nearest
from learners.base import Model, TaskInfo
from learners.discovery import models
from physics_models.base import System
from physics_models.priors.base import Prior
from physics_models.priors.discovery import priors

DEFAULT = "default"


def prior_from(options: Mapping[str, Any]) -> Prior:
    """The prior that the options of the group `prior` mean. Raises UserError with the key."""
    kind = options["kind"]
    if kind not in priors.names():
        raise UserError(
            f"prior.kind must be one of {', '.join(priors.names())}, but it is {kind!r}"
            f"{nearest(str(kind), priors.names())}"
        )
    cls = priors.load(kind)
    own = {f.name for f in fields(cls)}
    given = {key: value for key, value in options.items() if key != "kind" and value is not None}
    for key in given:
        if key not in own:
            others = [name for name in priors.names() if key in {f.name for f in fields(priors.load(name))}]
            raise UserError(f"prior.{key} belongs to prior={' or '.join(others)}, but here prior={kind}: leave it out")
    try:
        return cls(**given)
    except ValueError as error:
        raise UserError(f"prior.{error}") from None


def check_prior(
    options: Mapping[str, Any], model: Model, model_name: str, task: str, system: System | None, asks: bool = False
) -> None:
    """Raises UserError for a prior that this model is not told, or that means nothing for this system.

    `system`: whose true equations are known, or None. `asks`: whether the task asks something about tracks.
    """
    prior = prior_from(options)
    kind = options["kind"]
    if kind == DEFAULT:
        return
    if not model.takes_prior:
        takers = ", ".join(name for name in models.names() if models.load(name).takes_prior)
        raise UserError(f"prior={kind} is for models that are told a prior ({takers}), but model={model_name} is not")
    if asks:
        raise UserError(
            f"prior={kind} says how far the equations are off by which a model predicts motion, but task={task} asks "
            "about tracks instead: leave prior out"
        )
    if system is None:
        raise UserError(
            f"prior={kind} says how far a model's equations are from the true ones, which nobody knows for task={task}"
            ": leave prior out, or choose a system"
        )
    try:
        prior.tell(system)
    except ValueError as error:
        text = str(error)
        raise UserError(f"prior{'.' if text.split()[0] in options else ': '}{text}") from None


def prior_config(tree: Mapping[str, Any], takes_prior: bool) -> dict[str, Any]:
    """What a run's configuration keeps of the prior: {} for a model that is told none, and where nothing is said."""
    options = tree.get("prior") or {}
    if not takes_prior or options.get("kind", DEFAULT) == DEFAULT:
        return {}
    return {key: value for key, value in options.items() if value is not None}


def prior_classes(tree: Mapping[str, Any], takes_prior: bool) -> tuple[type, ...]:
    """The classes that define what a run's model is told: a part of the run's identity."""
    options = prior_config(tree, takes_prior)
    return (priors.load(options["kind"]), Prior) if options else ()


def told(info: TaskInfo, tree: Mapping[str, Any], takes_prior: bool) -> TaskInfo:
    """What a model may know of a task, with what the run's prior tells it. Raises UserError where it tells nothing."""
    options = prior_config(tree, takes_prior)
    if not options or info.system is None:
        return info
    prior = prior_from(options)
    try:
        return replace(info, told=prior.tell(info.system), form=prior.told_form(info.system))
    except ValueError as error:
        raise UserError(f"prior={options['kind']}: {error}") from None
