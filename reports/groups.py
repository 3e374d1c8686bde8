"""Which records are the same configuration with another seed, and what to call what sets configurations apart."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from experiments.record import FINAL, Record

REFERENCES = ("persistence", "linear", "true_physics", "simulator")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        short = f"{value:g}" if abs(value) < 1e300 else repr(value)
        exact = short if float(short) == value else repr(value)
        return re.sub(r"e\+?(-?)0*", r"e\1", exact)  # 1e12 and 1e-3, also when 1e12 is an int
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _described(record: Record) -> dict[str, str]:
    """Everything that may set a run apart, the seed left out."""
    flat = _flat({key: value for key, value in record.config.items() if key not in ("seed", "backend", "device")})
    flat.pop("model.name", None)
    flat.pop("model", None)
    return {"backend": record.backend, "device": record.device, **flat}


def group_by_seed(records: Sequence[Record]) -> tuple[list[list[Record]], int]:
    """Records of one configuration together, by seed. Of two with the same seed the later result counts."""
    groups: dict[Any, dict[int, Record]] = defaultdict(dict)
    for record in sorted(records, key=lambda r: (r.status in FINAL, r.started)):
        groups[record.model, tuple(sorted(_described(record).items()))][record.seed] = record
    kept = [[group[seed] for seed in sorted(group)] for group in groups.values()]
    return kept, len(records) - sum(map(len, kept))


def settings_of(groups: Sequence[Sequence[Record]]) -> list[dict[str, str]]:
    """For each group the settings to show: those that differ within its model, and conditions that differ between
    models. How a reference would have been trained says nothing, so only the task and the machine count for it."""
    described = [_described(group[0]) for group in groups]
    names = [group[0].model for group in groups]
    settings = []
    for own, name in zip(described, names, strict=True):
        same = [other for other, its in zip(described, names, strict=True) if its == name]
        trained = [other for other, its in zip(described, names, strict=True) if its not in REFERENCES]
        shown = {}
        for key in sorted({key for other in same for key in other}):
            everywhere = key in ("backend", "device") or key.startswith("task.")
            others = described if everywhere else trained
            conditions = not key.startswith("model.") and (everywhere or name not in REFERENCES) and key in own
            differs = len({other.get(key) for other in same}) > 1
            if differs or (conditions and len({other[key] for other in others if key in other}) > 1):
                shown[key] = own.get(key, "unset")
        settings.append(shown)
    return settings
