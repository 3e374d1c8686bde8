"""What a run is called in its study, and the command that reproduces it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.study.spec import Study

# Groups of the configuration that a study may choose from; the rest belongs to the study itself or to the command.
GROUPS = ("task", "model", "budget", "training", "experiment")
OWN = ("seed", "task.data_seed")  # they tell runs of one configuration apart
AS_WRITTEN = ("task.path",)  # keys whose value the command line takes as it is, whatever signs are in it


def label(keys: Sequence[str], config: Mapping[str, Any]) -> str:
    """The values of some keys in words; a key that the configuration does not have is left out."""
    words = []
    endings = [key.rpartition(".")[2] for key in keys]
    for key, ending in zip(keys, endings, strict=True):
        found, value = lookup(config, key)
        if found:
            words.append(f"{ending if endings.count(ending) == 1 else key}={value_text(value)}")
    return " ".join(words)


def value_text(value: Any) -> str:
    """A value of a configuration for people, as in YAML."""
    if isinstance(value, float):
        short = f"{value:g}"
        return re.sub(r"e\+?(-?)0*", r"e\1", short if float(short) == value else repr(value))  # 1e12 and 1e-3
    if isinstance(value, list | tuple):
        return ",".join(value_text(item) for item in value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def keys(study: Study) -> tuple[str, ...]:
    """The configuration keys whose values tell a run of the study from the defaults; seeds and data draws left out."""
    found = {key for block in study.grid for key in block} | set(study.settings)
    found |= set(study.tuning.keys if study.tuning else ())
    return tuple(sorted(found - {*GROUPS, *OWN}))


def command(config: Mapping[str, Any], study: Study) -> str:
    """The shell line that runs a run of the study again, but for its seed and its data draw."""
    task, model = config["task"]["name"], config["model"]["name"]
    chosen = [key for key in GROUPS[2:] if key in study.settings or key == "budget"]  # of which there is one for all
    words = [f"{key}={value}" for key in chosen for value in study.values(key)]
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
