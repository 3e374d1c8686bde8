"""What is said of a configuration's keys and values that there are not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import detection
from experiments.errors import UserError, nearest
from experiments.protocol import Protocol
from experiments.task import DataFile

CONFIGS = Path(__file__).parent.parent / "configs"
REAL_DATA = "trajectories"
KINDS = {"Integer": "whole number", "Float": "number", "Bool": "true or false"}


def instead(key: str, known: Mapping[str, Any]) -> str:
    """What to say of a key that is not among the `known`: whose it is, the nearest one, or what there is beside it."""
    above, _, last = key.rpartition(".")
    if above and (owners := _owners(key, known)):
        return f": it belongs to {' and '.join(owners)}, but here task={known['task.name']}; leave it out"
    beside = known.get(above)
    if not isinstance(beside, dict) or [name for name in known if name.split(".")[-1] == last]:
        # A key of several settings is no answer to one that was to be set.
        return nearest(key, [name for name, value in known.items() if not (above and isinstance(value, dict))])
    names = [name for name in beside if name != "name"]
    near = nearest(last, names)
    return near.replace("mean ", f"mean {above}.") or f"; {above} has {', '.join(names) or 'no settings'}"


def _owners(key: str, known: Mapping[str, Any]) -> list[str]:
    """The kinds of task that have a key which this one lacks."""
    group, name, *_ = key.split(".")
    if group != "task" or f"task.{name}" in known:
        return []
    kinds = {
        "tasks of a system": {"system", *_fields(Protocol)},
        f"task={detection.NAME}": {"system", *_fields(detection.Detection)},
        f"task={REAL_DATA}": _fields(DataFile),
    }
    return [owner for owner, names in kinds.items() if name in names]


def _fields(cls: type) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


def check_switch(key: str, was: Any, value: Any) -> None:
    """Raises UserError for what is neither true nor false: OmegaConf would take any number for true."""
    if isinstance(was, bool) and not isinstance(value, bool):
        raise UserError(f"{key} must be true or false, but it is {_shown(value)}")


def _shown(value: Any) -> str:
    return "empty" if value in ("", None) else str(value)


def explained(error: Exception, words: Sequence[str]) -> str:
    """Hydra's complaint as one line that names the key and what it must be."""
    cause = f"{error}\n{error.__cause__ or error.__context__ or ''}"
    full = re.search(r"full_key: (\S+)", cause)
    if preset := re.search(r"In 'experiment/(\w+)': ConfigKeyError", cause):
        own = "override /task" in (CONFIGS / "experiment" / f"{preset[1]}.yaml").read_text()
        hint = "; it brings its own task: leave yours out" if own else ""
        return f"experiment={preset[1]} sets {full[1] if full else 'a key'}, which the task named does not have{hint}"
    if full:
        given = next((word.partition("=")[2] for word in words if word.startswith(f"{full[1]}=")), "that")
        kind = re.search(r"could not be converted to (\w+)", cause)
        must = f"must be a {KINDS.get(kind[1], kind[1].lower())}, but it is" if kind else "cannot be"
        return f"{full[1]} {must} {_shown(given)}"
    return cause.split("\n")[0]
