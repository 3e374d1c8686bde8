"""A validated configuration: what a command's words, or a resolved tree, mean for a run."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments import detection
from experiments.config_tree import REAL_DATA, check_choice, composed, group_names
from experiments.errors import UserError, nearest
from experiments.prior import DEFAULT, check_prior
from experiments.refusals import refuse_idle_keys, refuse_sets
from experiments.task import DataFile, Protocol
from hardware import catalogue
from learners.backends import NAMES as BACKENDS
from learners.backends.base import DTYPES, Recipe
from learners.base import Model
from learners.discovery import models
from learners.learner import Budget
from physics_models.base import System
from physics_models.discovery import systems

DEVICES = ("auto", "cpu", "cuda", "tpu")


@dataclass(frozen=True)
class Settings:
    """One composed command: `tree` is the resolved configuration, the rest its validated parts."""

    tree: dict[str, Any]
    seeds: tuple[int, ...]
    model: Model
    model_name: str
    task_name: str
    budget: Budget
    recipe: Recipe


def load(task: str | None, overrides: Sequence[str]) -> Settings:
    """Compose and validate. Raises UserError with the nearest valid word for anything that is not understood."""
    twice = [word for word in overrides if word.startswith("task=")]
    if task is not None and twice:
        raise UserError(f"a run has one task, but there are 2: {task} and {twice[0]}")
    for name in [task, *(word.removeprefix("study=") for word in overrides if word.startswith("study="))]:
        if name in group_names("study"):
            raise UserError(f"{name} is a study, which is run by python -m experiments sweep study={name}")
    found = settings(composed([f"task={task}", *overrides] if task is not None else overrides))
    refuse_idle_keys(found.tree, overrides)
    refuse_sets(found)
    return found


def settings(tree: dict[str, Any]) -> Settings:
    """Validate a resolved configuration."""
    check_choice("backend", tree["backend"], BACKENDS)
    if tree["device"] not in DEVICES and tree["device"] in catalogue.names():
        raise UserError(
            f"device={tree['device']} is not here: a run uses {', '.join(DEVICES)}; what it would take there is told "
            f"by python -m experiments check device={tree['device']}"
        )
    check_choice("device", tree["device"], DEVICES)
    check_choice("dtype", tree["dtype"], DTYPES)
    if not isinstance(tree["runs"], str) or not tree["runs"]:
        raise UserError(f"runs must be a folder, but it is {tree['runs']!r}")
    if not isinstance(tree["references"], list):
        raise UserError(f"references must be models, as in references=linear,mlp, but it is {tree['references']!r}")
    for name in tree["references"]:
        check_choice("references", name, models.names())
    seeds = tree["seed"] if isinstance(tree["seed"], list) else [tree["seed"]]
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UserError(f"seed must be whole numbers from 0 to 4294967295, but there is {seed!r}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seed must name at least one seed and none twice, but it is {seeds}")
    targets = tree["targets"] if isinstance(tree["targets"], list | None) else [tree["targets"]]
    for target in targets or []:
        if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < math.inf:
            raise UserError(f"targets must be errors above 0, but there is {target!r}")
    task, system = tree["task"], None
    if task["name"] == REAL_DATA:  # only to find mistakes before anything is loaded
        data_file(task)
    elif task["name"] == detection.NAME:
        system_from(detection.RULE, task["system"])
        detection_from(task)
    else:
        system = system_from(task["name"], task["system"])
        try:
            protocol_from(task).check(system)
        except ValueError as error:
            raise UserError(f"task.{error}") from None
    model = model_from(tree["model"])
    prior = tree.get("prior", {"kind": DEFAULT})  # a plan of an older version says nothing of priors
    check_prior(prior, model, tree["model"]["name"], task["name"], system, task["name"] == detection.NAME)
    return Settings(
        tree=tree | {"references": list(dict.fromkeys(tree["references"])), "targets": targets},
        seeds=tuple(seeds),
        model=model,
        model_name=tree["model"]["name"],
        task_name=tree["task"]["name"],
        budget=build(Budget, "budget", tree["budget"]),
        recipe=build(Recipe, "training", tree["training"]),
    )


def build(cls: type, where: str, options: dict[str, Any]) -> Any:
    """A validated dataclass from options; its ValueError becomes the user's, with the key's full name."""
    for key, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}.{key} must be a finite number, but it is {value}")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})
    except ValueError as error:
        text = str(error)
        mark = "." if text.split()[0] in options else ": "  # a complaint about one key, or about all of them
        choice = re.search(r"must be one of (.*), but it is '(.*)'$", text)
        raise UserError(f"{where}{mark}{text}{nearest(choice[2], choice[1].split(', ')) if choice else ''}") from None


def model_from(options: dict[str, Any]) -> Model:
    rest = {key: value for key, value in options.items() if key != "name"}
    return build(models.load(options["name"]), "model", rest)


def system_from(name: str, options: dict[str, Any]) -> System:
    return build(systems.load(name), "task.system", options)


def protocol_from(task: dict[str, Any]) -> Protocol:
    fields = {f.name for f in dataclasses.fields(Protocol)}
    return build(Protocol, "task", {key: value for key, value in task.items() if key in fields})


def detection_from(task: dict[str, Any]) -> detection.Detection:
    rest = {key: value for key, value in task.items() if key not in ("name", "system")}
    return build(detection.Detection, "task", rest)


def data_file(task: dict[str, Any]) -> DataFile:
    """The options of the user's own data, validated."""
    if task["equations"] is not None:
        check_choice("task.equations", task["equations"], systems.names())
    return build(DataFile, "task", {key: value for key, value in task.items() if key != "name"})
