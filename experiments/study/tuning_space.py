"""Equal tuning: settings drawn from one prior by one seed, so that trial k is the same for every model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from experiments.errors import UserError, nearest

DISTRIBUTIONS = ("log_uniform", "uniform", "int_uniform", "choice")
MAX_TRIALS = 10_000


@dataclass(frozen=True)
class Tuning:
    """Random search: `trials` settings for every model, trained with `seed`. `space`: key -> {distribution: values}."""

    trials: int
    space: Mapping[str, Mapping[str, Any]]
    seed: int = 1000
    keys: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(sorted(self.space)))

    def draw(self) -> list[dict[str, Any]]:
        """The settings of every trial. One random stream a key, so that another key changes no value of this one."""
        columns = {}
        for key in self.keys:
            rng = np.random.default_rng([self.seed, *key.encode()])
            ((name, values),) = self.space[key].items()
            columns[key] = _sample(name, values, rng, self.trials)
        return [{key: column[k] for key, column in columns.items()} for k in range(self.trials)]


def _sample(name: str, values: Any, rng: np.random.Generator, n: int) -> list[Any]:
    if name == "choice":
        return [values[int(i)] for i in rng.integers(len(values), size=n)]
    low, high = values
    if name == "int_uniform":
        return [int(i) for i in rng.integers(low, high, size=n, endpoint=True)]
    u = rng.uniform(size=n)
    if name == "uniform":
        return [float(low + (high - low) * x) for x in u]
    return [float(low * (high / low) ** x) for x in u]


def parse_tuning(raw: Any) -> Tuning:
    """The `tuning` of a study file. Raises UserError with the key."""
    if not isinstance(raw, dict):
        raise UserError(f"tuning must be a mapping with trials and space, but it is {raw!r}")
    for key in raw:
        if key not in (valid := ("trials", "seed", "space")):
            raise UserError(f"there is no key tuning.{key}{nearest(key, valid)}")
    trials, seed, space = raw.get("trials"), raw.get("seed", 1000), raw.get("space")
    if not _whole(trials) or not 1 <= trials <= MAX_TRIALS:
        raise UserError(f"tuning.trials must be a whole number from 1 to {MAX_TRIALS}, but it is {trials!r}")
    if not _whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"tuning.seed must be a whole number from 0 to 4294967295, but it is {seed!r}")
    if not isinstance(space, dict) or not space:
        raise UserError(
            "tuning.space must name at least one key, as in {training.learning_rate: {log_uniform: [1.0e-4, 1.0e-1]}}"
        )
    for key, law in space.items():
        if not key.startswith(("training.", "model.")) or key == "model.name":
            raise UserError(f"tuning.space can have keys of training and model, but there is {key}")
        _check_law(f"tuning.space.{key}", law)
    return Tuning(trials, space, seed)


def _check_law(where: str, law: Any) -> None:
    if not isinstance(law, dict) or len(law) != 1:
        raise UserError(f"{where} must be one of {', '.join(DISTRIBUTIONS)} with its values, but it is {law!r}")
    ((name, values),) = law.items()
    if name not in DISTRIBUTIONS:
        raise UserError(
            f"{where} must be one of {', '.join(DISTRIBUTIONS)}, but it is {name}{nearest(name, DISTRIBUTIONS)}"
        )
    if name == "choice":
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.choice must be a list of values, but it is {values!r}")
        for i, value in enumerate(values):
            if isinstance(value, list | dict):
                raise UserError(f"{where}.choice must have simple values, but there is {value!r}")
            if value in values[:i]:
                raise UserError(f"{where}.choice must have every value once, but {value} is there twice")
        return
    right = isinstance(values, list) and len(values) == 2
    if right and isinstance(values, list):
        right = all(_whole(v) or (name != "int_uniform" and isinstance(v, float) and math.isfinite(v)) for v in values)
    if not right or not values[0] < values[1] or (name == "log_uniform" and not values[0] > 0):
        kind = "whole numbers" if name == "int_uniform" else "numbers"
        above = " above 0" if name == "log_uniform" else ""
        raise UserError(f"{where}.{name} must be two {kind}{above}, the smaller first, but it is {values!r}")


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
