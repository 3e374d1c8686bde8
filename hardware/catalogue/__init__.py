"""What is known of devices: one YAML file each, every number with its unit in its name, its source and its year.

    numbers:
      tdp_w: {value: 350, year: 2023, source: "…"}

A number that nobody has published is left out; `Entry.value` then raises, so that it cannot pass for zero.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import resources
from typing import Any


class CatalogueError(LookupError):
    """No such device, or no such number for it."""


@dataclass(frozen=True)
class Entry:
    """One device: `numbers[name]` has value, year and source."""

    name: str
    kind: str
    description: str
    numbers: dict[str, dict[str, Any]]

    def value(self, number: str) -> float:
        if number not in self.numbers:
            raise CatalogueError(f"{self.name} has no {number}; known are {', '.join(sorted(self.numbers))}")
        return self.numbers[number]["value"]


def names() -> list[str]:
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load(name: str) -> Entry:
    import yaml

    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CatalogueError(f"device {name} is not in the catalogue{hint}")
    content = yaml.safe_load(resources.files(__name__).joinpath(f"{name}.yaml").read_text())
    return Entry(name, content["kind"], content["description"], content["numbers"])
