"""What `list` shows: everything that can be named, with a line on each. Reads files; imports none of them."""

from __future__ import annotations

from pathlib import Path

from experiments.metrics.discovery import metrics
from learners.discovery import models
from physics_models.discovery import systems

CONFIGS = Path(__file__).parent.parent / "configs"
HARDWARE = Path(__file__).parent.parent / "hardware"
DEVICES = {
    "auto": "The backend's own best device on this machine.",
    "cpu": "The processors of this machine.",
    "cuda": "An NVIDIA GPU of this machine (cuda:1 for the second).",
    "tpu": "A TPU of this machine.",
}


def catalogue() -> dict[str, dict[str, str]]:
    """Names with descriptions, by kind."""
    tasks = systems.summaries() | {"trajectories": "Your own data from a file: task.path=FILE (docs/data.md)."}
    return {
        "task": dict(sorted(tasks.items())),
        "model": models.summaries(),
        "metric": metrics.summaries(),
        "device": DEVICES,
        "catalogue": _hardware(),
        "budget": _yaml("budget"),
        "experiment": _yaml("experiment"),
        "tracking": _yaml("tracking"),
    }


def _hardware() -> dict[str, str]:
    """The devices whose cost `check device=NAME` can project, with the first sentence of their description."""
    found = {}
    for path in sorted((HARDWARE / "catalogue").glob("*.yaml")):
        text = path.read_text(encoding="utf-8").partition("description:")[2].partition("\n")[2]
        found[path.stem] = " ".join(text.split()).partition(". ")[0].removesuffix(".") + "."
    return found


def _yaml(group: str) -> dict[str, str]:
    """The choices of a configuration group with their first comment line."""
    found = {}
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        comments = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
        found[path.stem] = next((line for line in comments if not line.startswith("@")), "")
    return found
