"""The whole picture of a task, one page: motion, variables, invariants, priors."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.show.measures import measures
from experiments.show.motion import draw_motion, form
from experiments.show.panels import draw_measures, draw_series, draw_told, draw_words
from experiments.show.scene import Scene, told_apart
from experiments.show.told import Told
from experiments.show.words import options, parameters
from reports.styles import STYLE, quiet
from reports.text import plotted

WIDTH_IN, TOP_IN, PRIORS_IN, WORDS_IN, HEAD_IN = 13.5, 5.2, 3.9, 0.6, 0.5
SMALL = 200  # characters in a line of small print


def draw(scene: Scene, told: Sequence[Told], title: str, path: Path) -> Path:
    """Write the picture to `path`, PNG or SVG by its suffix. Raises OSError where it cannot be written."""
    import matplotlib

    with matplotlib.rc_context(STYLE), quiet():
        figure = _figure(scene, told, title)
        stamp = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=130, metadata=stamp)
    return path


def _figure(scene: Scene, told: Sequence[Told], title: str) -> Any:
    from matplotlib.figure import Figure  # no window, whatever the session's display

    found = measures(scene)
    below = PRIORS_IN if told else WORDS_IN
    figure = Figure(figsize=(WIDTH_IN, HEAD_IN + TOP_IN + below), layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=[TOP_IN, below], hspace=0.03)
    top, bottom = rows
    parts: list[tuple[float, str, Any]] = [(1.0, "Variables", lambda panel: draw_series(panel, scene))]
    if form(scene) != "series":  # there the variables are all that is seen of the motion
        parts.insert(0, (1.35 if found else 1.2, "Motion", lambda panel: draw_motion(panel, scene)))
    if found:
        parts.append((1.0, _heading(found), lambda panel: draw_measures(panel, scene, found)))
    panels = np.atleast_1d(top.subfigures(1, len(parts), width_ratios=[width for width, *_ in parts], wspace=0.02))
    letters = iter(string.ascii_lowercase)
    for panel, (_, name, fill) in zip(panels, parts, strict=True):
        _named(panel, f"{next(letters)}   {name}")
        fill(panel)
    if told:
        starts = len(scene.y)
        _named(bottom, f"{next(letters)}   Wrong priors, followed from the true starts ({starts} of them)")
        draw_told(bottom, scene, told)
    else:
        draw_words(bottom, told_apart(scene))
    if scene.system is not None:
        both = {"parameters": parameters(scene.system), "options": options(scene.system)}
        numbers = "; ".join(f"{name}: {values}" for name, values in both.items() if values)
        lines = textwrap.wrap(plotted(numbers, 2 * SMALL), SMALL)
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9, color="#505050")
    notes = "; ".join(scene.notes)
    figure.suptitle(plotted(title, 132) + (f"\n{plotted(notes, 150)}" if notes else ""), x=0.01, ha="left", fontsize=13)
    return figure


def _heading(found: Sequence[Any]) -> str:
    parts = ["conserved" if any(m.drift for m in found) else ""]
    parts.append("order" if any(m.fraction for m in found) else "")
    parts.append("other quantities" if any(not m.drift and not m.fraction for m in found) else "")
    text = ", ".join(part for part in parts if part)
    return text[0].upper() + text[1:]


def _named(panel: Any, text: str) -> None:
    panel.suptitle(text, x=0.01, ha="left", fontsize=12)
