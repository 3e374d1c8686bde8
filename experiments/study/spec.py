"""A study as its file declares it: read safely, checked, and named by the hash of what it says."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.errors import UserError, nearest
from experiments.study.check_spec import check_hypotheses, check_names, check_tuning, shared_out
from experiments.study.labels import label, lookup, value_text
from experiments.study.safe_yaml import read, read_text
from experiments.study.tuning_space import Tuning, parse_tuning
from reports.study import Hypothesis

FOLDER = Path(__file__).parents[2] / "configs" / "study"
KEYS = (
    "question", "structured", "black_box", "references", "metric", "hypotheses", "settings", "grid", "scale",
    "conditions", "tuning", "targets",
)  # fmt: skip
# Keys of the configuration that no study sets.
ELSEWHERE = {
    "references": "it is a key of the study itself",
    "targets": "it is a key of the study itself",
    "runs": "it is given on the command line, as in runs=FOLDER",
    "tracking": "it is given on the command line, as in tracking=none",
}
REFERENCES = ("persistence", "linear", "true_physics", "simulator")
METRIC = "one_step_nrmse"
OF_NETWORK = ("model.width", "model.depth", "model.activation")  # nothing, where model.network is false
SEED, DRAW = "seed", "task.data_seed"


@dataclass(frozen=True)
class Study:
    """A study file. `grid`: blocks, each a product of its axes; the study is their union. `text`: the file as it was.

    `scale`: axes over which the frontier is taken. `conditions`: axes whose every value has a verdict of its own.
    `hash`: of what the file says, so that comments and the order of keys do not matter.
    """

    name: str
    hash: str
    text: str
    grid: tuple[Mapping[str, tuple[Any, ...]], ...]
    question: str = ""
    structured: tuple[str, ...] = ()
    black_box: tuple[str, ...] = ()
    references: tuple[str, ...] = REFERENCES
    metric: str = METRIC
    hypotheses: tuple[Hypothesis, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    scale: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    tuning: Tuning | None = None
    targets: tuple[float, ...] = ()

    @property
    def folder(self) -> str:
        """Where the store keeps what belongs to the study as a whole, relative to its root."""
        return f"studies/{self.name}-{self.hash}"

    @property
    def compared(self) -> tuple[str, ...]:
        return (*self.structured, *self.black_box)

    def values(self, key: str) -> list[Any]:
        """All values that the settings or the grid give a key, each once."""
        found = [self.settings[key]] if key in self.settings else []
        found += [value for block in self.grid for value in block.get(key, ())]
        return list({repr(value): value for value in found}.values())

    @functools.cached_property
    def by_task(self) -> dict[str, tuple[str, ...]]:
        """By task, the axes along which its configurations differ, sorted; not task, model, seeds and data draws.

        A key of which some blocks of a model say something and others nothing differs too. A budget does where a block
        gives several: else it is where each configuration's curve ends, and a curve is valid all along.
        """
        values: dict[tuple[str, str, str], set[str]] = {}
        own = {"task", "model", "budget", "experiment", SEED, DRAW}
        pairs = [[(t, m) for t in self._of(block, "task") for m in self._of(block, "model")] for block in self.grid]
        keys = {key for block in self.grid for key in block} - own
        for block, of in zip(self.grid, pairs, strict=True):
            for key, (task, model) in itertools.product(keys, of):
                said = block.get(key, (...,))  # ... where it says nothing
                if key.startswith("budget.") and len(said) < 2:
                    continue
                values.setdefault((task, model, key), set()).update(map(repr, said))
        found: dict[str, set[str]] = {task: set() for of in pairs for task, _ in of}
        for (task, _, key), seen in values.items():
            if len(seen) > 1:
                found[task].add(key)
        return {task: tuple(sorted(keys)) for task, keys in found.items()}

    @property
    def varied(self) -> tuple[str, ...]:
        """All that varies within some task, sorted."""
        return tuple(sorted({key for keys in self.by_task.values() for key in keys}))

    def _of(self, block: Mapping[str, Any], key: str) -> tuple[str, ...]:
        return block.get(key, (self.settings.get(key, ""),))

    def _labels(self, config: Mapping[str, Any], conditions: bool) -> str:
        keys = self.by_task.get(config["task"]["name"], self.varied)
        if lookup(config, "model.network") == (True, False):
            keys = tuple(key for key in keys if key not in OF_NETWORK)
        return label([key for key in keys if (key in self.conditions) == conditions], config)

    def condition(self, config: Mapping[str, Any]) -> str:
        """What sets the verdict of a run with this configuration apart besides its task, as "noise=0.1", or ""."""
        return self._labels(config, True)

    def configuration(self, config: Mapping[str, Any]) -> str:
        """What sets a run apart from others of its task, condition and model, as "n_train=512 width=64"."""
        return self._labels(config, False)


def study_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_study(name_or_path: str) -> Study:
    """The study of that name, or in that file (a path that ends in .yaml). Raises UserError for every mistake."""
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
    elif name_or_path in study_names():
        path = FOLDER / f"{name_or_path}.yaml"
    else:
        known = study_names()
        raise UserError(
            f"study must be one of {', '.join(known)}, or a file that ends in .yaml, but it is {name_or_path!r}"
            f"{nearest(name_or_path, known)}"
        )
    try:
        return parse(path.stem, read_text(path))
    except UserError as error:
        raise UserError(f"study {path.stem}: {error}") from None


def parse(name: str, text: str) -> Study:
    """A study from the text of its file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UserError(f"a study's name must be letters, digits, _ and - (at most 64), but it is {name!r}")
    raw = read(text)
    _known("", raw, KEYS)
    grid = _grid(raw.get("grid"))
    settings = {key: _value(key, value) for key, value in _mapping("settings", raw.get("settings") or {}).items()}
    for key in settings:
        _allowed("settings", key)
        if any(key in block for block in grid):
            raise UserError(f"{key} must stand in settings or in grid, but it is in both")
    study = Study(
        name=name,
        hash=hashlib.sha256(_canonical(raw).encode()).hexdigest()[:16],
        text=text,
        grid=grid,
        question=_words("question", raw.get("question", "")),
        structured=_names("structured", raw.get("structured") or ()),
        black_box=_names("black_box", raw.get("black_box") or ()),
        references=_names("references", raw.get("references", REFERENCES) or ()),
        metric=_words("metric", raw.get("metric", METRIC)),
        hypotheses=_hypotheses(raw.get("hypotheses")),
        settings=settings,
        tuning=parse_tuning(raw["tuning"]) if raw.get("tuning") is not None else None,
        targets=_targets(raw.get("targets")),
    )
    check_names(study)
    check_tuning(study)
    scale, conditions = shared_out(
        study, *(_names(key, raw[key]) if raw.get(key) is not None else None for key in ("scale", "conditions"))
    )
    study = replace(study, scale=scale, conditions=conditions)
    check_hypotheses(study)
    return study


# -- The parts of a file -------------------------------------------------------------------------------------------


def _canonical(raw: Any) -> str:
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _known(where: str, raw: Mapping[str, Any], valid: Sequence[str]) -> None:
    for key in raw:
        if key not in valid:
            name = f"{where}.{key}" if where else key
            raise UserError(f"there is no key {name}; it must be one of {', '.join(valid)}{nearest(key, valid)}")


def _mapping(where: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UserError(f"{where} must be a mapping of key: value, but it is {raw!r}")
    return raw


def _words(where: str, raw: Any) -> str:
    if not isinstance(raw, str):
        raise UserError(f"{where} must be text, but it is {raw!r}")
    return " ".join(raw.split())


def _names(where: str, raw: Any) -> tuple[str, ...]:
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where} must be a list of names, but it is {raw!r}")
    return tuple(_each_once(where, names))


def _each_once(where: str, values: Sequence[Any]) -> Sequence[Any]:
    for i, value in enumerate(values):
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values[:i]):
            raise UserError(f"{where} must have every value once, but {value_text(value)} is there twice")
    return values


def _targets(raw: Any) -> tuple[float, ...]:
    targets = [] if raw is None else raw if isinstance(raw, list) else [raw]
    for target in targets:
        if isinstance(target, bool) or not isinstance(target, int | float) or not target > 0:
            raise UserError(f"targets must be errors above 0, but there is {target!r}")
    return tuple(float(target) for target in _each_once("targets", targets))


def _allowed(where: str, key: str) -> None:
    first = key.partition(".")[0]
    if first in ELSEWHERE:
        raise UserError(f"{where} cannot have {key}: {ELSEWHERE[first]}")
    if key in ("task.name", "model.name"):
        raise UserError(f"{where} cannot have {key}: it is chosen by {first}")


def _grid(raw: Any) -> tuple[dict[str, tuple[Any, ...]], ...]:
    blocks = raw if isinstance(raw, list) else [raw]
    if raw is None or not blocks or any(block is None or block == {} for block in blocks):
        raise UserError("grid must have at least one axis, as in grid: {task: [flocking], model: [mlp]}; it is empty")
    found = []
    for block in blocks:
        axes: dict[str, tuple[Any, ...]] = {}
        for key, values in _mapping("a block of grid", block).items():
            _allowed("grid", key)
            values = values if isinstance(values, list) else [values]
            if not values:
                raise UserError(f"grid.{key} must have at least one value, but it is empty")
            axes[key] = tuple(_each_once(f"grid.{key}", [_value(key, value) for value in values]))
        found.append(axes)
    return tuple(found)


def _value(key: str, value: Any) -> Any:
    """A value as a configuration has it."""
    if isinstance(value, list):
        return tuple(_value(key, item) for item in value)
    if isinstance(value, dict):
        raise UserError(f"{key} must be a value or a list of values, but it is a mapping; write {key}.NAME instead")
    return value


def _hypotheses(raw: Any) -> tuple[Hypothesis, ...]:
    found = []
    fields = ("text", "task", "structured", "black_box", "axis", "says")
    for i, item in enumerate([] if raw is None else raw if isinstance(raw, list) else [raw]):
        where = f"hypotheses[{i}]"
        item = {"text": item} if isinstance(item, str) else _mapping(where, item)
        _known(where, item, fields)
        if not item.get("text"):
            raise UserError(f"{where} must have a text: what is expected, in words")
        found.append(Hypothesis(**{key: _words(f"{where}.{key}", value) for key, value in item.items()}))
    return tuple(found)
