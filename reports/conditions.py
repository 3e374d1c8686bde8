"""What was done to the data of a comparison and what its models were told, as far as it is not the default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reports.rows import Comparison

# What a task may do to its data: its configuration has those that are on, see docs/protocol.md.
DONE = (
    "process_noise", "hidden", "on_blow_up", "uneven", "corrupted", "outliers", "interventional", "intervention",
    "fresh", "shards", "active", "rounds", "candidates",
)  # fmt: skip


def conditions(comparison: Comparison) -> list[str]:
    """Settings that all rows share, as "data with task.uneven=0.3" and "hybrid_ode is told prior=parameters,
    prior.delta=0.1"; those in which rows differ stand beside their names."""
    done = _shared(
        [f"task.{key}={_text(task[key])}" for key in DONE if key in task]
        for task in (run.config.get("task", {}) for run in comparison.runs)
    )
    parts = [f"data with {', '.join(done)}"] if done else []
    told = {run.model for run in comparison.runs if run.config.get("prior")}
    priors = [run.config.get("prior", {}) for run in comparison.runs if run.model in told]
    if shared := _shared([f"{_key(k)}={_text(v)}" for k, v in prior.items()] for prior in priors):
        parts.append(f"{' and '.join(sorted(told))} {'are' if len(told) > 1 else 'is'} told {', '.join(shared)}")
    return parts


def _shared(several: Iterable[list[str]]) -> list[str]:
    """What all of them have, in the order of the first."""
    first, *others = [*several] or [[]]
    return [text for text in first if all(text in other for other in others)]


def _key(option: str) -> str:
    return "prior" if option == "kind" else f"prior.{option}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
