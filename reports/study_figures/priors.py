"""Error against how wrong a prior is: the computed floor, what was measured hard and soft, and the black boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reports.floors import FITTED, HARD, SOFT
from reports.study_figures.base import DARK, Drawing, Look, label, pages
from reports.study_tables.priors import Family
from reports.study_tables.summary import Figure, Summary
from reports.text import number, where

CAPTION = (
    "Test error against delta, how wrong the prior is; delta = 0, which is exact, stands apart at the left. Dashed: "
    "the floor, computed by solving the told equations exactly. Hollow: hard, the told equations alone, measured. "
    "Filled: soft, with a network, at the end of training. Bands: black boxes at the end of training. Bars and bands: "
    "90% intervals over data draws and seeds."
)
GAP = 4.0  # delta = 0 is drawn where the least delta above 0 is, divided by this
FLOOR_GAP = 30.0  # a floor further below all that was measured is named at the edge: drawn, it would squash the rest
# Marker, face and size: where hard and soft are equal, the one is a ring around the other.
MARKS = {HARD: ("o", "white", 8.5), FITTED: ("s", "white", 8.5), SOFT: ("o", None, 5.0)}
SAYS = {HARD: "hard: the told equations alone", FITTED: "hard, parameters fitted", SOFT: "soft: with a network"}


def prior_figures(summary: Summary) -> Iterator[Drawing]:
    """A panel for each task, kind of prior and error; none at all for a study that tells no priors."""
    if summary.data.floors is None:
        return
    found = [family for family in summary.families if len(family.steps) > 1]
    if not found:
        yield Drawing("priors", CAPTION, reason="no model has results for two values of delta")
        return
    look = Look.of(summary.data)
    yield from pages(
        "priors",
        "Test error against how wrong the prior is",
        CAPTION,
        found,
        lambda axes, family: _panel(axes, family, look),
        legend=lambda items: _legend(items, look),
        size=(4.4, 3.3),
        columns_of=2,
    )


def _panel(axes: Any, family: Family, look: Look) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    deltas = [step.delta for step in family.steps]
    above = [delta for delta in deltas if delta > 0] or [1.0]
    zero = above[0] / GAP
    x = np.array([delta or zero for delta in deltas])
    color = look[family.model]["color"]
    left, right = x[0] / 1.6, x[-1] * 1.6
    for name, error in family.black_boxes.items():
        its = look[name]["color"]
        if not math.isnan(error.low) and error.high > error.low:
            axes.axhspan(error.low, error.high, color=its, alpha=0.16, lw=0, zorder=1)
        axes.axhline(error.value, color=its, ls=look[name]["ls"], lw=1.2, zorder=1.5)
    measured = [f for step in family.steps for f in step.measured.values()]
    seen = [v for f in [*measured, *family.black_boxes.values()] for v in (f.value, f.low, f.high) if v > 0]
    seen = [v for v in seen if math.isfinite(v)]
    if seen:
        axes.set_ylim(min(seen) / 2, max(seen) * 2)
    _floors(axes, x, [step.floor for step in family.steps], min(seen, default=0.0))
    for i, how in enumerate(family.hows):
        marker, face, size = MARKS[how]
        errors = [step.measured.get(how, Figure()) for step in family.steps]
        y = np.array([f.value for f in errors])
        ends = [[f.value - f.low, f.high - f.value] for f in errors]
        bars = np.array([[max(low, 0), max(high, 0)] if low == low else [0, 0] for low, high in ends]).T
        line = {"color": color, "marker": marker, "markerfacecolor": face or color, "ms": size, "zorder": 4 + i}
        axes.errorbar(x, y, bars, ls="", capsize=2.5, elinewidth=1.3, markeredgewidth=1.3, **line)
        split = np.array(deltas) > 0
        if how != HARD:  # along which the floor runs
            axes.plot(x[split], y[split], color=color, lw=1.5, zorder=3)
    axes.set_xlim(left, right)
    if 0.0 in deltas:
        axes.axvline(math.sqrt(zero * above[0]), color=DARK, lw=0.8, ls=(0, (1, 3)), zorder=1)
    axes.set_xticks(x, ["0" if delta == 0 else f"{delta:g}" for delta in deltas])
    axes.minorticks_off()
    axes.set_xlabel("delta, how wrong the prior is")
    axes.set_ylabel(f"test error ({label(family.metric, 24)})")
    axes.set_title(label(f"{where(family.task, family.condition)}: {family.prior}", 48), loc="left", fontsize=9.5)


def _floors(axes: Any, x: np.ndarray, floors: Sequence[Figure], least: float) -> None:
    """The dashed line of floors; one far below the panel is named at its lower edge."""
    near = np.array([math.isfinite(f.value) and f.value > least / FLOOR_GAP for f in floors])
    y = np.array([f.value for f in floors])
    axes.plot(x[near], y[near], color=DARK, ls=(0, (4, 2)), lw=1.4, zorder=2.5)
    low, high = axes.get_ylim()
    axes.set_ylim(min([low, *(y[near] / 1.6)]), max([high, *(y[near] * 1.6)]))
    if (~near & (y < low)).any():  # room for its name below what was measured
        low, high = axes.get_ylim()
        axes.set_ylim(low / (high / low) ** 0.12, high)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
    for at, floor, drawn in zip(x, floors, near, strict=True):
        if drawn or math.isnan(floor.value):
            continue
        up = math.isinf(floor.value)
        text = "floor infinite ↑" if up else f"floor\n{number(floor.value)} ↓"
        place = {"xy": (at, 1 if up else 0), "xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        axes.annotate(
            text, xytext=(0, -3 if up else 3), ha="center", va="top" if up else "bottom", fontsize=7, color=DARK,
            bbox=box, zorder=6, **place,
        )  # fmt: skip


def _legend(items: Sequence[Family], look: Look) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[tuple[Any, str]] = []
    if any(step.floor.n for family in items for step in family.steps):
        entries.append((Line2D([], [], color=DARK, ls=(0, (4, 2)), lw=1.4), "floor, computed"))
    for family in items:
        for how in family.hows:
            marker, face, size = MARKS[how]
            color = look[family.model]["color"]
            ls = "" if how == HARD else "-"
            handle = Line2D([], [], color=color, marker=marker, markerfacecolor=face or color, ms=size, lw=1.2, ls=ls)
            entries.append((handle, f"{label(family.model, 20)}, {SAYS[how]}"))
        for name in family.black_boxes:
            line = Line2D([], [], color=look[name]["color"], ls=look[name]["ls"], lw=1.2)
            entries.append(((Patch(facecolor=look[name]["color"], alpha=0.25), line), label(name)))
    return list({text: (handle, text) for handle, text in entries}.values())
