"""What a run is called in its study, and the command that reproduces it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.study.spec import Study

GROUPS = ("task", "model", "budget", "training", "experiment")
OWN = ("seed", "task.data_seed")  # they tell runs of one configuration apart
AS_WRITTEN = ("task.path",)  # keys whose value the command line takes as it is, whatever signs are in it


def labels(config: Mapping[str, Any], study: Study) -> tuple[str, str]:
    """The condition and the configuration of a run: see `reports.study.StudyData`."""
    return study.condition(config), study.configuration(config)


def keys(study: Study) -> tuple[str, ...]:
    """The configuration keys whose values tell a run of the study from the defaults; seeds and data draws left out."""
    found = {key for block in study.grid for key in block} | set(study.settings)
    found |= set(study.tuning.keys if study.tuning else ())
    return tuple(sorted(found - {*GROUPS, *OWN}))


def command(config: Mapping[str, Any], study: Study) -> str:
    """The shell line that runs a run of the study again, but for its seed and its data draw."""
    task, model = config["task"]["name"], config["model"]["name"]
    words = [f"{key}={value}" for key, value in study.settings.items() if key in GROUPS[2:]]
    for key in keys(study):
        found, value = lookup(config, key)
        if not found and key.startswith(("budget.", "training.")) and key in study.settings:
            found, value = True, study.settings[key]  # the command has the key, though it does not matter to the run
        if found:
            words.append(f"{key}={_hydra(key, value)}")
    line = ["python", "-m", "experiments", "run", task, f"model={model}", *words]
    return " ".join(shlex.quote(word) for word in line)


def lookup(config: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    """Whether a nested configuration has a dotted key, and its value."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False, None
        value = value[part]
    return True, value


def _hydra(key: str, value: Any) -> str:
    """A value as Hydra reads it back."""
    if isinstance(value, str):
        simple = key in AS_WRITTEN or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", value)
        if simple and value.lower() not in ("null", "true", "false", "nan", "inf"):
            return value
        # Within quotes, backslashes count double where a quote follows them, the closing one too.
        return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), value) + "'"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_hydra("", item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_hydra('', item)}" for name, item in value.items()) + "}"
    return json.dumps(value)
