"""From a study's blocks to configurations: the product of each block's axes, and the references beside them."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments import detection
from experiments.config_tree import Template
from experiments.errors import UserError
from experiments.metrics.questions import ERRORS
from experiments.record import REFERENCE, RUN
from experiments.study.check_spec import DEFAULT_SEEDS
from experiments.study.labels import GROUPS
from experiments.study.spec import SEED, Study
from learners.discovery import models

RATE = "training.learning_rate"  # runs that differ in it, and in their seeds, share a program
PLACEHOLDER = {"seed": [0], "references": [], "targets": None}  # what the lanes or the study say instead


@dataclass(frozen=True)
class Shape:
    """Runs that differ in seed and learning rate only. `lanes`: those two, the rate None where the tree has it.
    `choices`: of the groups that the tree is composed from."""

    tree: dict[str, Any]
    role: str
    choices: dict[str, str]
    lanes: set[tuple[int, float | None]] = field(default_factory=set)

    def typed(self, key: str, value: Any) -> Any:
        """The value as the configuration has it. Raises UserError."""
        return _typed(_template(tuple(sorted(self.choices.items()))), key, value, self.choices)


def count_runs(study: Study) -> int:
    """How many runs a study has at most, trials included, told from the lengths of its axes alone."""
    total = 0
    for block in study.grid:
        runs = math.prod(len(values) for values in block.values())
        given = study.settings.get(SEED, DEFAULT_SEEDS)
        seeds = len(block[SEED]) if SEED in block else len(given) if isinstance(given, tuple) else 1
        shapes_of = runs // seeds if SEED in block else runs
        total += shapes_of * seeds
        if study.tuning is not None and _models(study, block) & {*study.compared}:
            total += shapes_of * study.tuning.trials
    return total


def shapes(study: Study) -> list[Shape]:
    """All shapes of a study without those of tuning; overlapping blocks are merged. Raises UserError."""
    found: dict[str, Shape] = {}
    for tree, role, choices, lanes in itertools.chain.from_iterable(_block(study, block) for block in study.grid):
        name = role + json.dumps(tree, sort_keys=True)
        found.setdefault(name, Shape(tree, role, choices)).lanes.update(lanes)
    return list(found.values())


def _models(study: Study, block: Mapping[str, tuple[Any, ...]]) -> set[str]:
    return set(block.get("model", (study.settings.get("model"),)))


Found = tuple[dict[str, Any], str, dict[str, str], list[tuple[int, float | None]]]


def _block(study: Study, block: Mapping[str, tuple[Any, ...]]) -> Iterator[Found]:
    chosen = {group: (study.settings[group],) for group in GROUPS if group in study.settings}
    chosen |= {group: block[group] for group in GROUPS if group in block}
    for values in itertools.product(*chosen.values()):
        choices = dict(zip(chosen, values, strict=True))
        yield from _product(study, block, choices, RUN)
    others = {group: values for group, values in chosen.items() if group not in ("model", "training")}
    for values in itertools.product(*others.values()):
        for name in study.references:
            choices = {**dict(zip(others, values, strict=True)), "model": name}
            yield from _product(study, block, choices, REFERENCE)


def _product(study: Study, block: Mapping[str, tuple[Any, ...]], choices: dict[str, Any], role: str) -> Iterator[Found]:
    """One choice of groups, and all values of the block's axes. A reference is the same whatever a model's are."""
    template = _template(tuple(sorted(choices.items())))
    model = models.load(template.keys["model.name"])
    _check_metric(study, str(template.keys["task.name"]))
    fixed: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    rates: list[float | None] = [None]
    seeds: Any = template.keys["seed"]
    for key, values in {**{key: (value,) for key, value in study.settings.items()}, **block}.items():
        if key in GROUPS:
            continue
        if key == SEED:
            seeds = [seed for value in values for seed in (value if isinstance(value, tuple) else (value,))]
            continue
        if role == REFERENCE and key.startswith("model.") and (key in block or key not in template.keys):
            continue
        if role == REFERENCE and key.startswith("training.") and key in block:
            continue
        typed = [_typed(template, key, value, choices) for value in values]
        if key.startswith("prior.") and not model.takes_prior:
            continue  # it takes part under each of the values, once
        if len({repr(value) for value in typed}) < len(typed):
            raise UserError(f"grid.{key} must have every value once, but two of {list(values)} are the same")
        if key == RATE and len(typed) > 1:
            rates = typed
        elif len(typed) > 1:
            axes[key] = typed
        else:
            fixed[key] = typed[0]
    if model.learning != "gradient":
        rates = [None]
    seeds = (seeds if isinstance(seeds, list) else [seeds]) if model.stochastic else [0]
    lanes: list[tuple[int, float | None]] = [(seed, rate) for seed in seeds for rate in rates]
    for values in itertools.product(*axes.values()):
        try:
            tree = template.tree({**fixed, **dict(zip(axes, values, strict=True)), **PLACEHOLDER})
        except UserError as error:
            raise UserError(f"{_where(choices)}: {error}") from None
        yield tree, role, choices, lanes


def _check_metric(study: Study, task: str) -> None:
    if task == detection.NAME:
        if study.metric not in ERRORS:
            raise UserError(
                f"{task} asks questions, whose errors are {' and '.join(ERRORS)}: set metric to one of them, not to "
                f"{study.metric}, which its runs do not have"
            )
    elif study.metric == ERRORS[0]:
        raise UserError(f"{study.metric} is an error of answers, and {task} asks no question: set another metric")


@functools.lru_cache(maxsize=4096)
def _template(choices: tuple[tuple[str, str], ...]) -> Template:
    return Template(dict(choices))


def _typed(template: Template, key: str, value: Any, choices: Mapping[str, Any]) -> Any:
    try:
        return template.value(key, value)
    except UserError as error:
        hint = "; a key that only some have needs a block of the grid for those" if key.startswith("model.") else ""
        raise UserError(f"{_where(choices)}: {error}{hint}") from None


def _where(choices: Mapping[str, Any]) -> str:
    return " ".join(f"{group}={name}" for group, name in choices.items())


def natural(value: Any) -> tuple[int, Any]:
    """A key by which values of any kind can be sorted, numbers by size."""
    if isinstance(value, bool) or value is None:
        return (0, str(value))
    if isinstance(value, int | float):
        return (1, value)
    return (2, str(value))
