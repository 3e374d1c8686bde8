"""Error against cost: what was measured, the fitted laws, what they foretell, and the levels to compare them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reports.study_figures.base import DARK, GRAY, Drawing, Look, axis_label, label, pages, say, tidy_log
from reports.study_tables.summary import Summary
from reports.text import number, where
from reports.verdict.types import Scaling, Verdict

BEYOND = 30.0  # how far past the dearest point a law is drawn
FLOOR_GAP = 10.0  # a level further below all errors than this is named at the edge: drawn, it would squash the curves
LABEL = 0.065  # height of a level's name, in panels
FAINT = 60  # single points of a model that are shown, at most


def error_figures(summary: Summary, verdict: Verdict, axis: str) -> Iterator[Drawing]:
    """Pages of a panel a task; a Drawing with a reason where the axis was not fitted."""
    data = summary.data
    name, title = f"error_{axis}", f"Test error ({data.metric}) against {axis_label(axis)}"
    caption = (
        f"{title}. Filled markers: the frontier over sizes and data, medians over seeds (small: before the law sets "
        "in); hollow: the top decade, held out and predicted; faint: single runs. Solid: error = E + A·cost^(−α); "
        "dashed: its extrapolation, with the bootstrap's band. Dotted: reference rows"
        f"{', and what is told alone (hard)' if data.parts else ''}."
    )
    found: dict[tuple[str, str], list[Scaling]] = {}
    for s in verdict.scalings:
        if s.axis == axis and s.model not in data.references:
            found.setdefault((s.task, s.condition), []).append(s)
    if not any(_drawable(s).any() for scalings in found.values() for s in scalings):
        yield Drawing(name, caption, reason=f"no run has both a test error and a cost in {axis_label(axis)}")
        return
    look = Look.of(data)
    items = [(place, found[place]) for place in sorted(found)]
    yield from pages(
        name,
        title,
        caption,
        items,
        lambda axes, item: _panel(axes, summary, item[0], item[1], axis, look),
        legend=lambda shown: _legend(summary, shown, look),
    )


def _panel(
    axes: Any, summary: Summary, place: tuple[str, str], scalings: Sequence[Scaling], axis: str, look: Look
) -> None:
    axes.set_title(label(where(*place), 40), loc="left", fontsize=9.5)
    axes.set_xlabel(axis_label(axis))
    axes.set_ylabel("test error")
    drawn = [s for s in scalings if _drawable(s).any()]
    if drawn:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for s in drawn:
            _model(axes, s, look[s.model])
        everything = np.concatenate([s.error[_drawable(s)] for s in drawn])
        costs = np.concatenate([s.cost[_drawable(s)] for s in drawn])
        levels = [level for _, level in reference_levels(summary, place)]
        near = [v for v in levels if v * FLOOR_GAP > everything.min() and v < FLOOR_GAP * everything.max()]
        axes.set_ylim(min([everything.min(), *near]) / 1.6, max([everything.max(), *near]) * 1.6)
        axes.set_xlim(costs.min() / 1.6, costs.max() * BEYOND)
        _levels(axes, reference_levels(summary, place), len(_lost(scalings).splitlines()), look, summary.data.parts)
        tidy_log(axes)
    else:
        say(axes, "no run has a test error and this cost")
    lost = _lost(scalings)
    if lost:
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
        axes.text(0.01, 0.02, lost, transform=axes.transAxes, fontsize=7, color=DARK, va="bottom", zorder=8, bbox=box)


def _drawable(s: Scaling) -> np.ndarray:
    """Which points of the frontier a logarithmic picture can show."""
    return np.isfinite(s.cost) & np.isfinite(s.error) & (s.cost > 0) & (s.error > 0)


def _model(axes: Any, s: Scaling, style: dict[str, Any]) -> None:
    color, marker = style["color"], style["marker"]
    thin = slice(None, None, -(-len(s.member_cost) // FAINT) or 1)
    axes.plot(s.member_cost[thin], s.member_error[thin], ".", color=color, alpha=0.25, ms=2.5, mew=0, zorder=2)
    cost, error = s.cost[_drawable(s)], s.error[_drawable(s)]
    dearest = float(max(cost.max(), s.member_cost.max(initial=0)))
    if s.band is not None:
        x, _, low, high = s.band
        inside = np.isfinite(low) & np.isfinite(high) & (low > 0) & (x <= dearest * BEYOND) & (x >= (s.start or 0))
        axes.fill_between(x[inside], low[inside], high[inside], color=color, alpha=0.15, lw=0, zorder=1)
    if s.law is not None:
        for start, end, ls in ((s.start or cost.min(), dearest, "-"), (dearest, dearest * BEYOND, (0, (4, 2)))):
            x = np.geomspace(start, end, 60)
            axes.plot(x, s.law.error(x), color=color, ls=ls, lw=1.3, zorder=3)
    begun = cost >= (s.start or 0) * (1 - 1e-9)
    held = cost > (s.heldout.cost.min() * (1 - 1e-9) if s.heldout is not None else np.inf)
    marks = {"color": color, "marker": marker, "ls": "", "ms": 4, "zorder": 4}
    axes.plot(cost[~held & begun], error[~held & begun], **marks)
    axes.plot(cost[~begun], error[~begun], **{**marks, "ms": 2.5}, alpha=0.6)  # before the law sets in
    axes.plot(cost[held], error[held], **marks, markerfacecolor="white", markeredgewidth=1)


def reference_levels(summary: Summary, place: tuple[str, str]) -> list[tuple[str, float]]:
    """(model, error) of the references that have one above 0, the largest first."""
    rows = [row for row in summary.rows.get(place, []) if row.reference and row.error.value > 0]
    return sorted(((row.model, row.error.value) for row in rows), key=lambda level: -level[1])


def _levels(axes: Any, levels: Sequence[tuple[str, float]], lines: int, look: Look, parts: Mapping[str, str]) -> None:
    """Dotted lines, named inside the panel at its right edge, and moved apart where they would touch. Levels below the
    panel are named at its left, where no curve ends, above so many `lines` of text. One that is a part of a model has
    its colour, and where it can be no other's not its name: "hard"."""
    low, high = np.log(axes.get_ylim())
    at = 1.0
    alone = len(set(parts.values())) == 1
    heights = [(np.log(level) - low) / (high - low) for _, level in levels]
    for i, ((model, level), height) in enumerate(zip(levels, heights, strict=True)):
        line, ink = (look[model]["color"],) * 2 if model in parts else (GRAY, DARK)
        if 0 <= height <= 1:
            axes.axhline(level, color=line, lw=0.9, ls=(0, (1.2, 1.6)), zorder=1)
        left = height < 0
        below = LABEL * sum((other < 0) == left for other in heights[i + 1 :])  # what those that follow need
        at = below + 0.015 if left else max(min(at - LABEL, height + 0.012), below + 0.015)
        arrow = " ↓" if height < 0 else " ↑" if height > 1 else ""
        name = model.removeprefix(parts[model]).strip(" ()") if model in parts and alone else model
        text = f"{label(name, 20)} {number(level)}{arrow}"
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
        x, y, ha = (0.01, at + LABEL * lines, "left") if left else (0.995, at, "right")
        style = {"fontsize": 7, "color": ink, "zorder": 7, "bbox": box, "transform": axes.transAxes}
        axes.text(x, y, text, ha=ha, va="bottom", **style)


def _lost(scalings: Sequence[Scaling]) -> str:
    """What is not in the picture: runs that did not finish, by model."""
    lines = []
    for s in scalings:
        lost = {name: n for name, n in s.runs.items() if name != "finished"}
        if lost:
            total = sum(s.runs.values())
            said = ", ".join(f"{n} of {total} {name.replace('_', ' ')}" for name, n in sorted(lost.items()))
            lines.append(f"{label(s.model, 16)}: {said}")
    return "\n".join([*lines[:4], *([f"… and {len(lines) - 4} more models"] if len(lines) > 4 else [])])


def _legend(summary: Summary, shown: Sequence[Any], look: Look) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    models = dict.fromkeys(s.model for _, scalings in shown for s in scalings)
    entries: list[tuple[Any, str]] = []
    for model in models:
        style = look[model]
        handle = Line2D([], [], color=style["color"], marker=style["marker"], ms=5, lw=1.3)
        kind = " (structured)" if model in summary.data.structured else ""
        entries.append((handle, label(model) + kind))
    some = [s for _, scalings in shown for s in scalings]
    if any(s.law is not None for s in some):
        entries.append((Line2D([], [], color=GRAY, lw=1.3, ls=(0, (4, 2))), "extrapolated"))
    if any(s.heldout is not None for s in some):
        entries.append((Line2D([], [], color=GRAY, marker="o", ls="", markerfacecolor="white", ms=5), "held out"))
    bands = [s.boot for s in some if s.band is not None]
    if bands:
        levels = {s.exponent.level for s in some if s.band is not None and s.exponent is not None}
        of = f"{100 * min(levels):g}% band" if len(levels) == 1 else "band"
        entries.append((Patch(facecolor=GRAY, alpha=0.25), of))
    return entries
