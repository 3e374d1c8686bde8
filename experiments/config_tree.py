"""From words and chosen groups to a configuration's tree. The only module that knows Hydra."""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import detection
from experiments.config_errors import CONFIGS, REAL_DATA, check_switch, explained, instead
from experiments.errors import UserError, nearest
from experiments.task import DataFile, Protocol
from learners.backends.base import Recipe
from learners.discovery import models
from learners.learner import Budget
from physics_models.discovery import systems
from physics_models.priors.discovery import priors

GROUPS = ("task", "model", "prior", "budget", "training", "tracking", "experiment")
LISTS = "seed|targets|references|task.variables|task.hidden|task.ood"  # keys of which `key=a,b` is a list
PATHS = "runs|task.path"  # keys whose value is taken as it is written


def task_names() -> list[str]:
    return sorted({*systems.names(), *systems.examples(), REAL_DATA, detection.NAME})


def group_names(group: str) -> list[str]:
    """The YAML choices of a configuration group."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def check_choice(key: str, value: Any, valid: Sequence[str]) -> None:
    """Raises UserError, with the nearest valid name, for a value that is none of the valid ones."""
    if value not in valid:
        raise UserError(f"{key} must be one of {', '.join(valid)}, but it is {value!r}{nearest(str(value), valid)}")


def composed(words: Sequence[str]) -> dict[str, Any]:
    """The resolved tree that words as `key=value` and `group=NAME` make. Raises UserError for what it cannot take."""
    tree = OmegaConf.to_container(_compose(list(words)), resolve=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


class Template:
    """A configuration composed from choices of groups, to be filled in by key: what a study needs ten thousand times.

    Composing takes a tenth of a second, filling in some microseconds. Values are under the checks that words are under.
    """

    def __init__(self, choices: Mapping[str, Any]) -> None:
        for group, name in choices.items():
            _check_group(group, name)
        if "experiment" in choices:  # a preset changes what the other groups say
            self._tree = _composed([f"{group}={name}" for group, name in choices.items()], [])
        else:
            self._tree = _group().copy()
            for group, name in choices.items():
                self._tree[group] = _group(f"{group}={name}")[group]
        self._missing = OmegaConf.missing_keys(self._tree)
        self._plain = OmegaConf.to_container(self._tree)
        self.keys = dict(_flatten(self._plain))
        self._values: dict[tuple[str, str], Any] = {}

    def value(self, key: str, value: Any) -> Any:
        """The value as the configuration has it. Raises UserError for a key that it lacks or a value of another kind"""
        known = (key, repr(value))
        if known not in self._values:
            if "=" in key:
                raise UserError(f"there is no key {key}")
            _check_keys([key], self._tree)
            check_switch(key, OmegaConf.select(self._tree, key), value)
            try:  # in place: it decides how a value is read, and the values of `tree` are told by the caller
                OmegaConf.update(self._tree, key, list(value) if isinstance(value, tuple) else value, merge=True)
            except OverflowError:  # a whole number of hundreds of digits for a float
                raise UserError(f"{key} must be below 1e308, but it has {len(str(value))} digits") from None
            except OmegaConfBaseException as error:
                raise UserError(explained(error, [f"{key}={value}"])) from None
            found = OmegaConf.select(self._tree, key)
            self._values[known] = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        return self._values[known]

    def tree(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The resolved configuration with these values, which `value` has seen; see `settings` for the last checks."""
        for key in self._missing:
            if key not in values:
                raise UserError(f"{key} must be given: add {key}=VALUE")
        return changed(self._plain, values)


@functools.cache
def _group(*choice: str) -> DictConfig:
    return _composed(list(choice), [])


def changed(tree: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with these values, by dotted keys that it has."""
    made = _copied(tree)
    for key, value in values.items():
        *above, last = key.split(".")
        node = made
        for name in above:
            node = node[name]
        node[last] = value
    return made


def _copied(tree: Any) -> Any:
    """A configuration whose mappings are its own."""
    return {key: _copied(item) for key, item in tree.items()} if isinstance(tree, dict) else tree


def _compose(words: list[str]) -> DictConfig:
    words = [_checked(word) for word in words]
    choices = [word for word in words if word.split("=")[0] in GROUPS]
    tree = _composed(choices, [word for word in words if word not in choices])
    for key in OmegaConf.missing_keys(tree):
        raise UserError(f"{key} must be given: add {key}=VALUE")
    return tree


def _composed(choices: list[str], keys: list[str]) -> DictConfig:
    """The configuration that the chosen groups make, changed by key=value; what must be given may be missing."""
    _register()
    logging.getLogger("hydra").setLevel(logging.ERROR)
    try:
        with initialize_config_module("configs", version_base="1.3"):
            tree = compose("config", overrides=choices)
        _check_keys(keys, tree)
        for override in OverridesParser.create().parse_overrides(keys):
            check_switch(override.key_or_group, OmegaConf.select(tree, override.key_or_group), override.value())
            OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
        return tree
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, [*choices, *keys])) from None


def _checked(word: str) -> str:
    """A word as Hydra reads it, after refusing what Hydra would take but no run can mean."""
    # `seed=0,1,2` is one command with three seeds, where Hydra would read a sweep; and a path may hold any sign.
    text = re.sub(rf"^({LISTS})=(?!null$)([^\[\](){{}}]+)$", r"\1=[\2]", word)
    text = re.sub(rf"^({PATHS})=(?!null$)([^'\"].*)$", lambda m: f"{m[1]}='" + m[2].replace("'", r"\'") + "'", text)
    text = re.sub(r"=(\d+)e\+?(\d{1,2})$", lambda m: f"={int(m[1]) * 10 ** int(m[2])}", text)  # 1e5 is a whole number
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(f"{word} cannot be read as key=value: look at its brackets, commas and quotes") from None
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise UserError(f"{word}: settings can be changed, as in key=value, but none can be added or removed")
    if override.is_sweep_override():
        raise UserError(f"{word}: only {', '.join(LISTS.split('|'))} take several values, as in seed=0,1,2")
    if key in ("task.name", "model.name"):
        raise UserError(f"{word}: another {key.split('.')[0]} is chosen by {key.split('.')[0]}=NAME")
    if key in GROUPS:
        value = override.value()
        for name in value if isinstance(value, list) and key == "experiment" else [value]:
            if not (name is None and key == "experiment"):
                _check_group(key, name)
    return text


def _check_keys(words: list[str], tree: DictConfig) -> None:
    """Every key must exist in the configuration that the chosen groups make."""
    known = dict(_flatten(OmegaConf.to_container(tree)))
    for key in [word.split("=")[0] for word in words]:
        if key not in known:
            raise UserError(f"there is no key {key}{instead(key, known)}")
        if isinstance(known[key], dict):
            raise UserError(f"{key} is several settings: {', '.join(f'{key}.{name}' for name in known[key])}")


def nearest_key(wrong: str, words: Sequence[str]) -> str:
    """A hint at the key that a bare word may have been meant as."""
    if wrong in GROUPS:
        return f"; did you mean {wrong}=…?"
    try:
        _check_keys([wrong], _compose([word for word in words if word.split("=")[0] in GROUPS]))
    except UserError as error:
        return "".join(str(error).partition(";")[1:])
    return f"; did you mean {wrong}=…?"


def _group_choices(group: str) -> list[str]:
    known = {"task": task_names(), "model": models.names(), "prior": priors.names(), "training": ["default"]}
    return known.get(group) or group_names(group)


def _flatten(tree: Any, prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _register() -> None:
    _registered(*(group.load(name) for group in (models, priors, systems) for name in group.names()))


@functools.lru_cache(maxsize=1)  # what an entry point adds or takes away registers all anew
def _registered(*kinds: type) -> None:
    """The dataclasses are the schemas: their fields are the keys, their types are checked by Hydra."""
    store = ConfigStore.instance()
    store.store("default", _structured(Recipe), group="training")
    store.store("base_budget", _structured(Budget), group="budget")
    store.store(f"base_{REAL_DATA}", _structured(DataFile, [("name", str, REAL_DATA)]), group="task")
    rule = ("system", *_nested(_structured(systems.load(detection.RULE))))
    asked = [("name", str, detection.NAME), rule]
    store.store(detection.NAME, _structured(detection.Detection, asked), group="task")
    for name in models.names():
        store.store(name, _structured(models.load(name), [("name", str, name)]), group="model")
    for name, options in _prior_options().items():
        store.store(name, options, group="prior")
    for name in systems.names():
        system = ("system", *_nested(_structured(systems.load(name))))
        # A system without a YAML of its own is a task as well; one with a YAML finds its schema as `base_NAME`.
        key = f"base_{name}" if (CONFIGS / "task" / f"{name}.yaml").exists() else name
        store.store(key, _structured(Protocol, [("name", str, name), system]), group="task")


def _prior_options() -> dict[str, type]:
    """The schema of each kind of prior. All have the options of all kinds, so that a study may vary the kind."""
    kinds = {name: priors.load(name) for name in priors.names()}
    others: dict[str, Any] = {}
    for kind in kinds.values():
        types = typing.get_type_hints(kind)
        others |= {f.name: types[f.name] for f in dataclasses.fields(kind) if f.name != "delta"}
    options: list[Any] = [("delta", float, 0.0)]
    options += [(name, typing.Optional[typing.get_args(of)[0]], None) for name, of in others.items()]  # noqa: UP045
    return {name: dataclasses.make_dataclass("Prior", [("kind", str, name), *options]) for name in kinds}


def _check_group(group: str, name: Any) -> None:
    """As `check_choice`. A member of a family of systems, as dysts/Aizawa, becomes a task when it is asked for."""
    if group != "task" or "/" not in str(name) or str(name).partition("/")[0] not in systems.families:
        return check_choice(group, name, _group_choices(group))
    try:
        kind = systems.load(name)
    except (KeyError, ValueError) as error:
        text = error.args[0]
        raise UserError(f"task={text}" if text.startswith(name) else f"task={name}: {text}") from None
    family, _, member = name.partition("/")
    schema = _structured(Protocol, [("name", str, name), ("system", *_nested(_structured(kind)))])
    unit = kind().time_scale
    node = schema(n_train=128, horizon=5 * unit, spacing=unit / 50)  # nobody has chosen times for it
    ConfigStore.instance().store(member, node, group=f"task/{family}")


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
