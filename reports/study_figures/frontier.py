"""The compute-optimal frontier: the least error at each cost over a model's sizes, and which size it is of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from reports.study_figures.base import Drawing, Look, axis_label, label, model_legend, pages, tidy_log
from reports.study_figures.grid import AXIS, Grid, Place, competitors
from reports.study_tables.curves import column
from reports.study_tables.summary import Row, Summary
from reports.text import where

FEW = 3  # models, of which single sizes are drawn too


def frontier_figures(summary: Summary, grid: Grid) -> Iterator[Drawing]:
    """Above, the least error at each cost over a model's sizes; below, which size it is of."""
    title = f"Compute-optimal frontier: which size wins at which cost ({axis_label(AXIS)})"
    caption = (
        f"{title}. Above: the least test error over sizes and data, median over seeds (thin: each size). Below: the "
        "number of parameters N of the size that it is of (lines moved apart by 5%)."
    )
    sizes: dict[Place, dict[str, dict[float, np.ndarray]]] = {}
    for place in summary.rows:
        by_model = {row.model: _by_size(summary, grid, row) for row in competitors(summary, place)}
        sizes[place] = {model: found for model, found in by_model.items() if len(found) > 1}
    shown = [place for place in sizes if sizes[place]]
    if not len(grid.costs) or not shown:
        reason = "no model was run in two sizes" if len(grid.costs) else "no run has a curve of test errors over FLOP"
        yield Drawing("frontier", caption, reason=reason)
        return
    look = Look.of(summary.data)
    yield from pages(
        "frontier",
        title,
        caption,
        shown,
        lambda axes, place: _frontier_panel(axes, grid, place, sizes[place], look),
        legend=lambda items: model_legend([m for place in items for m in sizes[place]], look, line=True),
        size=(3.6, 2.4),
        rows_of=2,
    )


def _by_size(summary: Summary, grid: Grid, row: Row) -> dict[float, np.ndarray]:
    """The least median errors (costs,) over the configurations of each number of parameters."""
    best: dict[float, np.ndarray] = {}
    for runs, median in grid.configurations(row.runs):
        parameters = column(summary.data, "parameters", runs)
        size = float(np.median(parameters)) if len(parameters) else math.nan
        if size > 0 and np.isfinite(median).any():
            best[size] = np.fmin(best[size], median) if size in best else median
    return dict(sorted(best.items()))


def _frontier_panel(pair: Any, grid: Grid, place: Place, sizes: dict[str, dict[float, np.ndarray]], look: Look) -> None:
    above, below = pair
    for axes in pair:
        axes.set_xscale("log")
        axes.set_yscale("log")
    for i, (model, by_size) in enumerate(sizes.items()):
        style = look[model]
        apart = 1.05 ** (i - (len(sizes) - 1) / 2)  # so that lines of equal sizes are all seen
        errors = np.array(list(by_size.values()))
        some = np.isfinite(errors).any(0)
        winner = np.argmin(np.where(np.isfinite(errors), errors, np.inf), axis=0)
        line = {"color": style["color"], "marker": style["marker"], "ms": 3.5, "lw": 1.5, "zorder": 3}
        above.plot(grid.costs[some], errors.min(0, where=np.isfinite(errors), initial=np.inf)[some], **line)
        for own in errors if len(sizes) <= FEW else ():
            above.plot(grid.costs, own, color=style["color"], lw=0.6, alpha=0.6, zorder=2)
        best = np.array(list(by_size))[winner]
        below.plot(grid.costs[some], apart * best[some], drawstyle="steps-mid", ls=style["ls"], **line)
    above.set_title(label(where(*place), 40), loc="left", fontsize=9.5)
    above.set_ylabel("least test error")
    below.set_ylabel("parameters N of the best")
    below.set_xlabel(axis_label(AXIS))
    above.set_xlim(grid.costs[0] / 1.3, grid.costs[-1] * 1.3)
    below.set_xlim(above.get_xlim())
    low, high = below.get_ylim()
    below.set_ylim(low / 1.5, high * 1.5)
    for axes in pair:
        tidy_log(axes)
