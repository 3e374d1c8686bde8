"""What a structured model is told about a system: its terms and their parameters."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from learners.base import Array, Operations, TaskInfo, Tensors


def needs_system(info: TaskInfo) -> str | None:
    """The reason to skip a task whose equations nobody has written down."""
    if info.system is None:
        return "no equations are known for this data (name some with task.equations=SYSTEM)"
    return None


def known_term_names(info: TaskInfo, choice: str) -> tuple[str, ...]:
    """The terms that "default", "all", "none" or "a,b" stands for; raises ValueError naming the valid ones."""
    assert info.system is not None
    everything = info.system.term_names
    named = {"default": info.system.known_terms, "all": everything, "none": ()}.get(choice)
    if named is not None:
        return tuple(named)
    names = tuple(name.strip() for name in choice.split(","))
    for name in names:
        if name not in everything:
            raise ValueError(f"known must be default, all, none or terms among {', '.join(everything)}, not {name!r}")
    return names


def known_parameters(info: TaskInfo, spread: float) -> Tensors:
    """The system's parameters as trainable scalars, started at value · exp(u), u uniform in ±spread.

    They are trained as the logarithm of their ratio to the system's own value (or the difference from it where it
    is 0), so that each is of order one and positive ones stay positive.
    """
    assert info.system is not None
    names = tuple(info.system.values)

    def start(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: rng.uniform(-spread, spread, ()) for name in names}

    return Tensors({name: () for name in names}, start)


def physical_values(ops: Operations, info: TaskInfo, raw: Mapping[str, Array]) -> dict[str, Array]:
    """The parameter values that trained scalars stand for."""
    assert info.system is not None
    return {
        name: value * ops.xp.exp(raw[name]) if value != 0 else raw[name] for name, value in info.system.values.items()
    }


def known_rates(
    ops: Operations, info: TaskInfo, raw: Mapping[str, Array] | None, t: Array, y: Array, names: Collection[str]
) -> Array:
    """The sum of the named terms at the system's values, or at those that `raw` stands for."""
    assert info.system is not None
    if not names:
        return ops.xp.zeros_like(y)
    values: Mapping[str, Any] = info.system.values if raw is None else physical_values(ops, info, raw)
    return functools.reduce(operator.add, info.system.terms(t, y, values, names).values())
