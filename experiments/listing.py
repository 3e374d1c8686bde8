"""What `list` shows: everything that can be named, with a line on each. Reads files; imports none of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from experiments.metrics.discovery import metrics
from learners.discovery import models
from physics_models.discovery import systems
from physics_models.priors.discovery import priors

CONFIGS = Path(__file__).parent.parent / "configs"
HARDWARE = Path(__file__).parent.parent / "hardware"
DEVICES = {
    "auto": "The backend's own best device on this machine.",
    "cpu": "The processors of this machine.",
    "cuda": "An NVIDIA GPU of this machine (cuda:1 for the second).",
    "tpu": "A TPU of this machine.",
}


ONE_OF_DYSTS = {"dysts/Aizawa": "One task of many: list dysts shows all of the package dysts that can be used."}

# YAML read as text, because its reader takes longer to import than `list` may take: a description with the indented
# lines below it, and a grid with its figure, on a line of its own.
DESCRIPTION = re.compile(r"^description:[ \t]*(.*\n?)((?:(?:[ \t].*)?\n|[ \t].+\Z)*)", re.MULTILINE)
GRID = re.compile(r"^  (\w+): \{g_per_kwh: ([\d.]+), year: (\d+), source: (\w+)(?:, codes: \[(.*)\])?\}$", re.MULTILINE)


class Listing(dict[str, dict[str, str]]):
    """Names with descriptions, by kind. Of the grids and the systems of dysts, which are many, the first stands for
    all; asked for by name, as in `listing["grid"]`, they are all there.
    """

    def __getitem__(self, group: str) -> dict[str, str]:
        all_of = {"grid": grids, "dysts": dysts}
        return all_of[group]() if group in all_of else super().__getitem__(group)


def catalogue() -> Listing:
    """Names with descriptions, by kind."""
    tasks = systems.summaries() | {"trajectories": "Your own data from a file: task.path=FILE (docs/data.md)."}
    tasks["flock_detection"] = "A question in place of a forecast: is this group a flock, who belongs to it?"
    tasks |= systems.examples()
    kinds = {
        "task": dict(sorted(tasks.items())),
        "dysts": ONE_OF_DYSTS,
        "model": models.summaries(),
        "prior": priors.summaries(),
        "metric": metrics.summaries(),
        "device": DEVICES,
        "catalogue": _hardware(),
        "grid": dict([next(iter(grids().items()))]),
        "budget": _yaml("budget"),
        "experiment": _yaml("experiment"),
        "study": _yaml("study"),
        "tracking": _yaml("tracking"),
    }
    return Listing(kinds)


def dysts() -> dict[str, str]:
    """The systems of dysts that can be used, none if it is not installed. It imports NumPy, and tries them all."""
    from physics_models.from_dysts import names

    found = dict.fromkeys((f"dysts/{name}" for name in names()), "")
    return found | ONE_OF_DYSTS if found else found


def grids() -> dict[str, str]:
    """The electricity grids that `check --grid NAME` knows, with their carbon intensity, its year and its source."""
    found = {}
    lines = GRID.findall((HARDWARE / "grid.yaml").read_text(encoding="utf-8"))
    for name, grams, year, source, codes in lines:
        also = f"; also {codes}".replace('"', "") if codes else ""
        found[name] = f"{grams} g of CO2 a kWh ({source}, {year}){also}."
    first = lines[0][0]
    found[first] += f" The first of {len(lines)} for check --grid NAME: list grid shows all."
    return found


def _hardware() -> dict[str, str]:
    """The devices whose cost `check device=NAME` can project, with the first sentence of their description.

    Those of the user's own folder too. A folder or a file that cannot be read is no reason to list nothing.
    """
    own = os.environ.get("HARDWARE_CATALOGUE")
    found = {}
    for folder in filter(None, (own, HARDWARE / "catalogue")):  # ours last: a name is not the user's to take
        for path in Path(folder).glob("*.yaml"):
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            found[path.stem] = _description(text) or "No description."
    return dict(sorted(found.items()))


def _description(text: str) -> str:
    """The first sentence of a catalogue file's description, in whichever of YAML's styles it is written."""
    head, below = (DESCRIPTION.findall(text) or [("", "")])[0]
    if head.startswith((">", "|")):
        head = ""
    words = " ".join(f"{head} {below}".split())
    if words[:1] in ("'", '"'):
        words = words[1:].partition(words[0])[0]
    words = words.partition(" #")[0] if head else words
    return words.partition(". ")[0].removesuffix(".") + "." if words else ""


def _yaml(group: str) -> dict[str, str]:
    """The choices of a configuration group with their first comment line."""
    found = {}
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
        found[path.stem] = next((line for line in comments if not line.startswith("@")), "")
    return found
