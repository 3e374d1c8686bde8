"""What is known of devices: one YAML file each, every number with its unit in its name, its source and its year.

    numbers:
      tdp_w: {value: 350, year: 2023, source: "…", basis: stated}

A number that nobody has published is left out; `Entry.value` then raises, so that it cannot pass for zero. An entry is
one chip (or one package, one board, one wafer: its description says which), not a server and not a core.

The environment variable HARDWARE_CATALOGUE names a folder of a user's own files, which are listed beside these.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from hardware.catalogue.entry import KINDS, NUMBERS, CatalogueError, Entry, Number, read

__all__ = ["KINDS", "NUMBERS", "CatalogueError", "Entry", "Number", "load", "match", "names", "table"]

FOLDER = "HARDWARE_CATALOGUE"


def names() -> list[str]:
    """The devices of the catalogue and of the user's own folder, sorted."""
    return sorted(_files())


def load(name: str) -> Entry:
    """The device called `name`. Raises CatalogueError, naming the nearest, when there is none, or a file is wrong."""
    files = _files()
    if name not in files:
        near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), files, 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CatalogueError(f"device {name} is not in the catalogue{hint}")
    return _parsed(name, files[name].read_text("utf-8"))


def match(driver_name: str) -> Entry | None:
    """The entry of the device that a driver calls `driver_name`, None when there is none.

    A pattern matches where it stands as whole words, in any case ("NVIDIA L4" is not in "NVIDIA L40"); the longest
    wins, and of equals the user's own. Variants with other limits (H100 PCIe, A100 40 GB, RTX 4090 Laptop) match
    nothing unless they have an entry, and neither does a slice of a GPU (MIG): its peaks and watts are not known.
    """
    if _says(driver_name, "MIG"):
        return None
    own = _own()
    found = [
        (len(pattern), name in own, name)
        for name, file in _files().items()
        for entry in [_parsed(name, file.read_text("utf-8"))]
        for pattern in entry.matches
        if _says(driver_name, pattern) and not any(_says(driver_name, other) for other in entry.excludes)
    ]
    return load(max(found)[2]) if found else None


def table() -> str:
    """The main figures of every device that comes with the package, as a table in Markdown."""
    from hardware.catalogue.page import markdown

    return markdown([_parsed(name, file.read_text("utf-8")) for name, file in sorted(_shipped().items())])


def _says(driver_name: str, pattern: str) -> bool:
    return (
        re.search(rf"(?<![a-z0-9]){re.escape(pattern)}(?![a-z0-9])", driver_name, re.IGNORECASE | re.ASCII) is not None
    )


def _shipped() -> dict[str, Traversable]:
    files = resources.files(__name__).iterdir()
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def _own() -> dict[str, Path]:
    folder = os.environ.get(FOLDER)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise CatalogueError(f"{FOLDER} must name a folder of YAML files; {folder} is none")
    return {file.stem: file for file in Path(folder).glob("*.yaml")}


def _files() -> dict[str, Traversable | Path]:
    shipped, own = _shipped(), _own()
    twice = sorted(set(shipped) & set(own))
    if twice:  # a figure changed in silence would make records of one name mean two things
        raise CatalogueError(f"{FOLDER} has a file {twice[0]}.yaml, a name that is taken: give the device another")
    return {**shipped, **own}


@cache
def _parsed(name: str, text: str) -> Entry:
    import yaml

    try:
        return read(name, yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise CatalogueError(f"{name}: the file is not YAML: {' '.join(str(error).split())}") from error
