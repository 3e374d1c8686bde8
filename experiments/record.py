"""What one run leaves behind: its identity, configuration, costs, curve and metrics, as plain JSON."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

SCHEMA = 2

# A run's status. The first two are results that a rerun finds and keeps; the others are tried again.
FINISHED, DIVERGED = "finished", "diverged"
INTERRUPTED, OUT_OF_MEMORY, SKIPPED = "interrupted", "out_of_memory", "skipped"
FINAL = (FINISHED, DIVERGED, SKIPPED)

# What a run is for: itself, a trial of tuning, or a row that every comparison shows.
ROLES = RUN, TRIAL, REFERENCE = "run", "trial", "reference"

PHASES = ("data", "compile", "tune", "train", "evaluate", "infer")


@dataclass(frozen=True)
class Point:
    """One point of a curve: the validation error of the averaged weights at a cumulative training cost.

    `flop`, `energy_j`, `seconds`: training only; compilation and evaluation are not charged. `samples`: training
    windows seen. `train_loss`: mean since the point before (None where there is no loss). None is unknown.
    `test`: errors of the same weights on test data, by metric, for reports: neither tuning nor stopping reads them.
    """

    step: int
    samples: int
    flop: int
    seconds: float
    energy_j: float | None
    train_loss: float | None
    error: float | None
    test: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Costs:
    """What the run cost, by phase, each figure with how it was obtained. None is unknown, never zero.

    `train_flop`: operations the model's training required. `train_flop_executed`: those the device executed on its
    behalf, lanes of a shared program included. `train_flop_by_kind`: `train_flop` by "kind dtype" ("matmul float32").
    `train_operations`, `train_*_bytes`: see `hardware.cost.Cost`; `train_fused_bytes` is estimated from the compiled
    program (None where there is none). `flop_method`: counter used. `uncounted`: operations without a rule
    (the counts are then lower bounds). `energy_j`, `seconds`: by phase (`data` in full in every record that used it);
    `energy_uncertainty` is that of the training joules, relative; `energy_reason` says why joules are missing.
    `energy_covers`: what draws them (one GPU, all processors of the machine); `energy_notes`: faults in reading them.
    `net_energy_j`: `energy_j` less what the resting device would have drawn (`idle_power_w`, where it was measured).
    Where runs shared one program this is an equal share of what was measured (`shared_by` runs).
    `infer_*_per_time_unit`: of predicting one trajectory over one time unit of the task.
    """

    train_flop: int | None = None
    train_flop_executed: int | None = None
    train_flop_by_kind: dict[str, int] = field(default_factory=dict)
    train_operations: int | None = None
    train_least_bytes: int | None = None
    train_fused_bytes: int | None = None
    train_unfused_bytes: int | None = None
    infer_flop_per_time_unit: float | None = None
    infer_seconds_per_time_unit: float | None = None
    infer_energy_j_per_time_unit: float | None = None
    flop_method: str = ""
    uncounted: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    energy_j: dict[str, float | None] = field(default_factory=dict)
    energy_method: str = ""
    energy_uncertainty: float | None = None
    energy_reason: str = ""
    energy_covers: str = ""
    energy_notes: tuple[str, ...] = ()
    idle_power_w: float | None = None
    net_energy_j: dict[str, float | None] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    shared_by: int = 1


@dataclass(frozen=True)
class Record:
    """One run: one (task, model, budget, device, seed).

    `role`: see `ROLES`. `studies`: the studies that it belongs to, each with the hash of its file when the run joined.
    `tuning`: of a tuned run, what was chosen and from which trials (`trials`: their identities); empty otherwise.
    """

    identity: str
    task: str
    model: str
    backend: str
    device: str
    seed: int
    status: str
    config: dict[str, Any]
    reason: str = ""
    parameters: int = 0
    metrics: dict[str, float | None] = field(default_factory=dict)
    metric_units: dict[str, str] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    curve: tuple[Point, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    role: str = RUN
    studies: dict[str, str] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The record as JSON text, a field a line and a point a line, closed by the `digest` of its content."""
        plain = _plain(self)
        points = ",\n  ".join(json.dumps(point) for point in plain["curve"])
        lines = {name: json.dumps(value) for name, value in plain.items()} | {"curve": f"[\n  {points}\n ]"}
        lines["digest"] = json.dumps(digest_of(plain))
        return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in lines.items()) + "\n}"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read a record back, migrating an older schema.

        Raises ValueError when it is no record, is of a newer schema, or is not what was written (its digest differs).
        """
        raw, _ = content(text)
        unknown = set(raw) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        try:
            lists = {name: tuple(raw["costs"].get(name, ())) for name in ("uncounted", "energy_notes")}
            raw["costs"] = Costs(**{**raw["costs"], **lists})
            raw["curve"] = tuple(Point(**point) for point in raw["curve"])
            record = cls(**raw)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"a field is missing or unknown: {error}") from None
        for part in (record, record.costs, *record.curve):
            for name, fits in _checks(type(part)):
                if not fits(getattr(part, name)):
                    raise ValueError(f"its field {name} is of the wrong type")
        return record


def content(text: str) -> tuple[dict[str, Any], str]:
    """The verified content of a record's JSON text, in today's schema and without its digest, and its digest.

    Types are not checked. Raises ValueError as `Record.from_json` does.
    """
    try:
        raw = json.loads(text)
        written = raw.pop("digest", None) if isinstance(raw, dict) else None
        found = digest_of(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(raw, dict) or "schema" not in raw:
        raise ValueError("not a record: it has no schema number")
    version = raw["schema"]
    if isinstance(version, bool) or not isinstance(version, int) or version not in (SCHEMA, *MIGRATIONS):
        raise ValueError(f"its schema is {version!r}; this version reads schema {SCHEMA} and older ones")
    if written != found and (version >= FIRST_WITH_DIGEST or written is not None):
        raise ValueError(
            f"it was changed after it was written: its digest says {written}, but its content has {found}; "
            "restore it, or remove it and run again"
        )
    while raw["schema"] != SCHEMA:
        raw = MIGRATIONS[raw["schema"]](raw)
    return raw, found if version == SCHEMA else digest_of(raw)


def digest_of(raw: Any) -> str:
    """Hash of a record's content, whatever its layout and the order of its keys."""
    return hashlib.sha256(_canonical(raw).encode()).hexdigest()[:32]


def _from_schema_1(raw: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 added fields only (role, studies, tuning, test errors along the curve, costs of inference); what an old
    record cannot know of them are their defaults."""
    return raw | {"schema": 2}


FIRST_WITH_DIGEST = 2
# From each older schema to the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_schema_1}


@functools.cache
def _checks(cls: type) -> tuple[tuple[str, Callable[[Any], bool]], ...]:
    """For each field of a class, whether a value is of its annotated type."""
    return tuple((name, _check(kind)) for name, kind in get_type_hints(cls).items())


@functools.cache
def _check(kind: Any) -> Callable[[Any], bool]:
    """Whether a value is of a type; JSON does not tell 1.0 from 1, but it does tell true."""
    inner = [_check(one) for one in get_args(kind) if one is not ...]
    if get_origin(kind) is UnionType:
        return lambda value: any(fits(value) for fits in inner)
    if get_origin(kind) is dict:
        return lambda value: isinstance(value, dict) and all(map(inner[1], value.values()))
    if get_origin(kind) is tuple:
        return lambda value: isinstance(value, tuple) and all(map(inner[0], value))
    if kind in (int, float):
        kinds = (int,) if kind is int else (int, float)
        return lambda value: isinstance(value, kinds) and not isinstance(value, bool)
    return lambda value: kind is Any or isinstance(value, kind)


def identity_of(config: dict[str, Any]) -> str:
    """Content hash of what determines a run's result, whatever the order of its keys."""
    return hashlib.sha256(_canonical(config).encode()).hexdigest()[:20]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON has for a value: no NaN or infinity, which become null, and null means "no number" everywhere here."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


def _key(key: Any) -> str:
    """A key that is no text, as JSON writes it."""
    return next(iter(json.loads(json.dumps({key: None}))))
