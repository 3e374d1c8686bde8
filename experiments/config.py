"""From command-line words to a validated configuration. The only module that knows Hydra."""

from __future__ import annotations

import dataclasses
import logging
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.errors import UserError, nearest
from experiments.task import Protocol
from learners.backends import NAMES as BACKENDS
from learners.backends.base import DTYPES, Recipe
from learners.base import Model
from learners.discovery import models
from learners.learner import Budget
from physics_models.base import System
from physics_models.discovery import systems

CONFIGS = Path(__file__).parent.parent / "configs"
DEVICES = ("auto", "cpu", "cuda", "tpu")
REAL_DATA = "trajectories"


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

    @property
    def runs(self) -> Path:
        return Path(self.tree["runs"])


def task_names() -> list[str]:
    return sorted({*systems.names(), REAL_DATA})


def group_names(group: str) -> list[str]:
    """The YAML choices of a configuration group."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def load(task: str | None, overrides: Sequence[str]) -> Settings:
    """Compose and validate. Raises UserError with the nearest valid word for anything that is not understood."""
    words = [f"task={task}", *overrides] if task else list(overrides)
    tree = OmegaConf.to_container(_compose([_seeds(word) for word in words]), resolve=True)
    assert isinstance(tree, dict)
    return settings({str(key): value for key, value in tree.items()})


def settings(tree: dict[str, Any]) -> Settings:
    """Validate a resolved configuration."""
    _choice("backend", tree["backend"], BACKENDS)
    _choice("device", tree["device"], DEVICES)
    _choice("dtype", tree["dtype"], DTYPES)
    for name in tree["references"]:
        _choice("references", name, models.names())
    seeds = tree["seed"] if isinstance(tree["seed"], list) else [tree["seed"]]
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UserError(f"seed must be whole numbers from 0 to 4294967295, but there is {seed!r}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seed must name at least one seed and none twice, but it is {seeds}")
    for target in tree["targets"] or []:
        if isinstance(target, bool) or not isinstance(target, int | float) or not target > 0:
            raise UserError(f"targets must be errors above 0, but there is {target!r}")
    return Settings(
        tree=tree,
        seeds=tuple(seeds),
        model=model_from(tree["model"]),
        model_name=tree["model"]["name"],
        task_name=tree["task"]["name"],
        budget=build(Budget, "budget", tree["budget"]),
        recipe=build(Recipe, "training", tree["training"]),
    )


def build(cls: type, where: str, options: dict[str, Any]) -> Any:
    """A validated dataclass from options; its ValueError becomes the user's, with the key's full name."""
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})
    except ValueError as error:
        raise UserError(f"{where}.{error}") from None


def model_from(options: dict[str, Any]) -> Model:
    rest = {key: value for key, value in options.items() if key != "name"}
    return build(models.load(options["name"]), "model", rest)


def system_from(name: str, options: dict[str, Any]) -> System:
    return build(systems.load(name), "task.system", options)


def protocol_from(task: dict[str, Any]) -> Protocol:
    fields = {f.name for f in dataclasses.fields(Protocol)}
    return build(Protocol, "task", {key: value for key, value in task.items() if key in fields})


def _choice(key: str, value: Any, valid: Sequence[str]) -> None:
    if value not in valid:
        raise UserError(f"{key} must be one of {', '.join(valid)}, but it is {value!r}{nearest(str(value), valid)}")


# -- Hydra -------------------------------------------------------------------------------------------------------


def _seeds(word: str) -> str:
    """`seed=0,1,2` is one command with three seeds, where Hydra would read a sweep."""
    return re.sub(r"^(seed|targets)=([^\[\]]+)$", r"\1=[\2]", word)


def _compose(words: list[str]) -> DictConfig:
    _register()
    logging.getLogger("hydra").setLevel(logging.ERROR)
    try:
        for override in OverridesParser.create().parse_overrides(words):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: only seed and targets take several values in one run")
        with initialize_config_module("configs", version_base="1.3"):
            tree = compose("config", overrides=words)
            _check_missing(tree)
            return tree
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, words)) from None


def _check_missing(tree: DictConfig) -> None:
    for key in OmegaConf.missing_keys(tree):
        raise UserError(f"{key} must be given: add {key}=VALUE")


def _explain(error: Exception, words: list[str]) -> str:
    """Hydra's complaint as one line that names the key and the nearest valid word."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if group := re.search(
        r"(?:Could not find|In '.*': Could not find|Could not load) '?(?:([\w/]+)/)?([^'/\s]+)'?", text
    ):
        valid = _group_choices(group[1] or "")
        if valid:
            return f"{group[1]} must be one of {', '.join(valid)}, but it is {group[2]!r}{nearest(group[2], valid)}"
    if key := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|Could not append", text):
        wrong = key[1] or key[2] or text
        if cause is None or "is not in struct" in f"{text}{cause}" or "not in" in f"{text}{cause}":
            full = re.search(r"full_key: (\S+)", f"{text}\n{cause}")
            wrong = full[1] if full else wrong
            return f"there is no key {wrong}{nearest(wrong, _all_keys(words, wrong))}"
    detail = str(cause) if cause and "full_key" in str(cause) else text
    if value := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", detail):
        full = re.search(r"full_key: (\S+)", detail)
        name = full[1] if full else next((w.split("=")[0] for w in words if w.endswith(f"={value[1]}")), "a value")
        return f"{name} must be a {_KINDS.get(value[2], value[2].lower())}, but it is {value[1]!r}"
    return re.sub(r"\s+", " ", text.split("\n")[0])


_KINDS = {"Integer": "whole number", "Float": "number", "Bool": "true or false"}


def _group_choices(group: str) -> list[str]:
    return {"task": task_names(), "model": models.names()}.get(group) or group_names(group)


def _all_keys(words: list[str], wrong: str) -> list[str]:
    """Every key of the configuration that the other words make."""
    kept = [word for word in words if not word.lstrip("+~").startswith(wrong)]
    groups = [word for word in kept if re.match(r"^(task|model|budget|training|tracking|experiment)=", word)]
    try:
        with initialize_config_module("configs", version_base="1.3"):
            tree = OmegaConf.to_container(compose("config", overrides=groups))
    except (HydraException, OmegaConfBaseException):
        return []
    return list(_flatten(tree)) if isinstance(tree, dict) else []


def _flatten(tree: dict[Any, Any], prefix: str = "") -> typing.Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _register() -> None:
    """The dataclasses are the schemas: their fields are the keys, their types are checked by Hydra."""
    store = ConfigStore.instance()
    store.store("default", _structured(Recipe), group="training")
    store.store("base_budget", _structured(Budget), group="budget")
    for name in models.names():
        store.store(name, _structured(models.load(name), [("name", str, name)]), group="model")
    for name in systems.names():
        system = ("system", *_nested(_structured(systems.load(name))))
        # A system without a YAML of its own is a task as well; one with a YAML finds its schema as `base_NAME`.
        key = f"base_{name}" if (CONFIGS / "task" / f"{name}.yaml").exists() else name
        store.store(key, _structured(Protocol, [("name", str, name), system]), group="task")


def _nested(node: type) -> tuple[type, Any]:
    return node, dataclasses.field(default_factory=node)


def _structured(cls: type, more: Sequence[tuple[str, Any, Any]] = ()) -> type:
    """A dataclass for Hydra with the fields, types and defaults of another (which may be frozen: this one is not)."""
    types = typing.get_type_hints(cls)
    fields: list[Any] = list(more)
    for f in dataclasses.fields(cls):
        kind = types[f.name]
        kind = typing.Optional[typing.get_args(kind)[0]] if type(None) in typing.get_args(kind) else kind  # noqa: UP045
        fields.append((f.name, kind, f.default))
    return dataclasses.make_dataclass(cls.__name__, fields)
