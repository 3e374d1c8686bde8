"""The whole picture of a task, one page: motion, variables, invariants, priors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.show.measures import measures
from experiments.show.motion import draw_motion
from experiments.show.panels import draw_measures, draw_series, draw_told, draw_words
from experiments.show.scene import Scene, told_apart
from experiments.show.told import Told
from reports.styles import STYLE, quiet
from reports.text import plotted

WIDTH_IN, TOP_IN, PRIORS_IN, WORDS_IN, HEAD_IN = 13.5, 5.2, 3.9, 0.6, 0.5


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
    widths = [1.35, 1.0, 1.0] if found else [1.2, 1.0]
    panels = top.subfigures(1, len(widths), width_ratios=widths, wspace=0.02)
    _named(panels[0], "a   Motion")
    draw_motion(panels[0], scene)
    _named(panels[1], "b   Variables")
    draw_series(panels[1], scene)
    if found:
        _named(panels[2], "c   " + _heading(found))
        draw_measures(panels[2], scene, found)
    if told:
        starts = len(scene.y)
        _named(bottom, f"{'d' if found else 'c'}   Wrong priors, followed from the true starts ({starts} of them)")
        draw_told(bottom, scene, told)
    else:
        draw_words(bottom, told_apart(scene))
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
