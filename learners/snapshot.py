"""Where training stands, as plain arrays and JSON: what a checkpoint keeps, and what training goes on from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hardware.cost import Cost


@dataclass(frozen=True)
class Snapshot:
    """`arrays`: copies, by name. `facts`: what JSON can say (numbers, text, lists, mappings)."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `prefix.`, by the rest of their names."""
        return {name.removeprefix(f"{prefix}."): a for name, a in self.arrays.items() if name.startswith(f"{prefix}.")}


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays with `prefix.` before their names."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def cost_to_json(cost: Cost) -> dict[str, Any]:
    return asdict(cost) | {"uncounted": sorted(cost.uncounted)}


def cost_from_json(raw: dict[str, Any]) -> Cost:
    parts = tuple((kind, dtype, flop) for kind, dtype, flop in raw["parts"])
    return Cost(**{**raw, "uncounted": frozenset(raw["uncounted"]), "parts": parts})


def same_layout(name: str, saved: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The saved array; raises ValueError where it is not of this shape and type."""
    if saved.shape != shape or saved.dtype != dtype:
        raise ValueError(f"array {name} must be {shape} of {dtype}, but it is {saved.shape} of {saved.dtype}")
    return saved
