"""A verdict as plain data: what JSON can hold, for scripts and the page."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from reports.verdict.types import Scaling, Surface, Verdict

# The resamples, which are large and made again from the seed; and what runs.parquet has.
LEFT_OUT = {Scaling: ("boot",), Surface: ("n", "d", "error", "cluster")}
NEVER = "never"


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Dictionaries, lists, texts, finite numbers and null. A cost that is never reached is null with "never": true
    beside it in its estimate. Keys that are tuples become texts joined by " / "."""
    return _plain(verdict)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        left_out = LEFT_OUT.get(type(value), ())
        found = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in left_out}
        number = getattr(value, "value", None)
        if isinstance(number, float) and math.isinf(number):
            found[NEVER] = True
        return found
    if isinstance(value, dict):
        return {" / ".join(key) if isinstance(key, tuple) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
