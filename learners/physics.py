"""What a structured model is told about a system: its terms and their parameters."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from learners.base import Array, Operations, TaskInfo, Tensors
from physics_models.base import System


def needs_system(info: TaskInfo) -> str | None:
    """The reason to skip a task whose equations nobody has written down, or lack what they act on."""
    if info.question is not None:
        return "it predicts motion, and is asked a question about tracks instead"
    if info.hidden:
        return f"its equations need variables that are hidden: {', '.join(info.hidden)}"
    if info.system is None:
        return "no equations are known for this data (name some with task.equations=SYSTEM)"
    return None


def too_stiff(info: TaskInfo) -> str | None:
    """The reason to leave out a row that would show nothing but the solver: the solvers of models are explicit."""
    if info.system is None or not info.system.stiff:
        return None
    return f"{type(info.system).__name__} is stiff: explicit solvers would need steps far below the sampling interval"


def known_term_names(system: System, choice: str) -> tuple[str, ...]:
    """The terms that "default", "all", "none" or "a,b" stands for; raises ValueError naming the valid ones."""
    everything = system.term_names
    named = {"default": system.known_terms, "all": everything, "none": ()}.get(choice)
    if named is not None:
        return tuple(named)
    names = tuple(name.strip() for name in choice.split(","))
    for name in names:
        if name not in everything:
            raise ValueError(f"known must be default, all, none or terms among {', '.join(everything)}, not {name!r}")
    return names


def known_parameters(system: System, spread: float) -> Tensors:
    """The system's parameters as trainable scalars, started at value · exp(u), u uniform in ±spread.

    They are trained as the logarithm of their ratio to the system's own value (or the difference from it where it
    is 0), so that each is of order one and positive ones stay positive.
    """
    names = tuple(system.values)

    def start(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: rng.uniform(-spread, spread, ()) for name in names}

    return Tensors({name: () for name in names}, start)


def physical_values(ops: Operations, system: System, raw: Mapping[str, Array]) -> dict[str, Array]:
    """The parameter values that trained scalars stand for."""
    return {name: value * ops.xp.exp(raw[name]) if value != 0 else raw[name] for name, value in system.values.items()}


def known_rates(
    ops: Operations, system: System, raw: Mapping[str, Array] | None, t: Array, y: Array, names: Collection[str]
) -> Array:
    """The sum of the named terms at the system's values, or at those that `raw` stands for."""
    if not names:
        return ops.xp.zeros_like(y)
    values: Mapping[str, Any] = system.values if raw is None else physical_values(ops, system, raw)
    return functools.reduce(operator.add, system.terms(t, y, values, names).values())
