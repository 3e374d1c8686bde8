"""The phase diagram: which model has the least error at each cost, by condition, amount of data, or size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.study_figures.base import Drawing, Look, axis_label, label, model_legend, pages, tidy_log
from reports.study_figures.grid import AXIS, Grid, competitors
from reports.study_tables.curves import column
from reports.study_tables.summary import Summary
from reports.text import number, where


@dataclass(frozen=True)
class Phases:
    """Of one panel: `names`, what its rows are called; `winner` (rows, costs): an index into `models`, -1 where fewer
    than two models have an error; `clear`: the runs of the winner are all below those of the runner-up."""

    title: str
    axis: str
    names: list[str]
    models: list[str]
    winner: np.ndarray
    clear: np.ndarray


def phase_figures(summary: Summary, grid: Grid) -> Iterator[Drawing]:
    """Which model has the least error at each cost, for each condition (prior fidelity, noise), data size or size."""
    caption = (
        "Phase diagram: the model of least test error (median over seeds, best configuration) at each cost, by what is "
        "written at the left. Hatched: some run of the runner-up is below one of the winner's. White: fewer than two "
        "models have an error there."
    )
    found = phases(summary, grid)
    if not found:
        reason = "neither a condition, nor the amount of data, nor the size varies between runs that have curves"
        yield Drawing("phase", caption, reason=reason)
        return
    look = Look.of(summary.data)
    tall = max(len(panel.names) for panel in found)
    yield from pages(
        "phase",
        f"Phase diagram: which model has the least test error at which cost ({axis_label(AXIS)})",
        caption,
        found,
        lambda axes, panel: _phase_panel(axes, grid, panel, look),
        legend=lambda items: _phase_legend(items, look),
        size=(3.6, min(1.3 + 0.32 * tall, 6.0)),
    )


def phases(summary: Summary, grid: Grid) -> list[Phases]:
    """A panel for each task whose conditions differ; else one for each in which data size, or size, differs."""
    if not len(grid.costs):
        return []
    by_task: dict[str, list[str]] = {}
    for task, condition in summary.rows:
        by_task.setdefault(task, []).append(condition)
    found = []
    for task, conditions in by_task.items():
        if len(conditions) > 1:
            axis, names, order = _ordered(conditions)
            groups = [{r.model: r.runs for r in competitors(summary, (task, conditions[i]))} for i in order]
            found.append(_phases(grid, task, axis, names, groups))
            continue
        rows = competitors(summary, (task, conditions[0]))
        title = where(task, conditions[0])
        for name, axis in (("data", "training windows D"), ("parameters", "parameters N")):
            of_run = {row.model: _steps(column(summary.data, name, row.runs), name) for row in rows}
            values = sorted({v for own in of_run.values() for v in own[np.isfinite(own)]})
            if len(values) > 1:
                groups = [{row.model: row.runs[of_run[row.model] == v] for row in rows} for v in values]
                found.append(_phases(grid, title, axis, [number(float(v)) for v in values], groups))
                break
    return [panel for panel in found if (panel.winner >= 0).any()]


def _steps(values: np.ndarray, name: str) -> np.ndarray:
    """Sizes rounded to half a decade, since models do not come in the same ones; data sizes as they are."""
    if name == "data":
        return values
    with np.errstate(divide="ignore"):
        return np.where(values > 0, 10 ** (np.round(2 * np.log10(values)) / 2), np.nan)


def _ordered(conditions: Sequence[str]) -> tuple[str, list[str], list[int]]:
    """(what differs, its values, order): of conditions like "fidelity=0.1 noise=0", those settings that differ."""
    parts = [dict(part.split("=", 1) for part in c.split(" ") if "=" in part) for c in conditions]
    keys = sorted({key for part in parts for key in part})
    differing = [key for key in keys if len({part.get(key) for part in parts}) > 1]
    if len(differing) == 1 and all(differing[0] in part for part in parts):
        names = [part[differing[0]] for part in parts]
        return differing[0], *_sorted(names)
    return "condition", *_sorted([c or "none" for c in conditions])


def _sorted(names: list[str]) -> tuple[list[str], list[int]]:
    def key(i: int) -> tuple[bool, float, str]:
        try:
            return False, float(names[i]), ""
        except ValueError:
            return True, 0.0, names[i]

    order = sorted(range(len(names)), key=key)
    return [names[i] for i in order], order


def _phases(grid: Grid, title: str, axis: str, names: list[str], groups: list[dict[str, np.ndarray]]) -> Phases:
    models = list(dict.fromkeys(model for group in groups for model in group))
    winner = np.full((len(groups), len(grid.costs)), -1)
    clear = np.zeros(winner.shape, dtype=bool)
    for y, group in enumerate(groups):
        best: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # by model: median, least and most error of its best
        for model in models:
            empty = np.full(len(grid.costs), np.nan)
            median, least, most = empty, empty.copy(), empty.copy()
            for members, own in grid.configurations(group.get(model, np.array([], dtype=int))):
                better = np.isfinite(own) & ~(own >= median)
                error = grid.error[better][:, members]
                median = np.where(better, own, median)
                if better.any():
                    least[better], most[better] = np.nanmin(error, axis=1), np.nanmax(error, axis=1)
            best.append((median, least, most))
        medians, least, most = (np.array(part) for part in zip(*best, strict=True))
        filled = np.where(np.isfinite(medians), medians, np.inf)
        order = np.argsort(filled, axis=0, kind="stable")
        if len(models) < 2:
            continue
        at = np.arange(len(grid.costs))
        both = np.isfinite(filled[order[1], at])
        winner[y, both] = order[0, both]
        clear[y, both] = most[order[0], at][both] < least[order[1], at][both]
    return Phases(title, axis, names, models, winner, clear)


def _phase_panel(axes: Any, grid: Grid, panel: Phases, look: Look) -> None:
    from matplotlib.patches import Rectangle

    edges = np.sqrt(grid.costs[:-1] * grid.costs[1:])
    edges = np.r_[grid.costs[0] ** 2 / edges[0], edges, grid.costs[-1] ** 2 / edges[-1]]
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-0.5, len(panel.names) - 0.5)
    axes.grid(False)
    for (y, x), index in np.ndenumerate(panel.winner):
        if index < 0:
            continue
        style = look[panel.models[index]]
        corner, width = (edges[x], y - 0.5), edges[x + 1] - edges[x]
        clear = bool(panel.clear[y, x])
        hatch = {} if clear else {"hatch": "////", "alpha": 0.55}
        axes.add_patch(Rectangle(corner, width, 1, facecolor=style["color"], edgecolor="white", lw=0.4, **hatch))
        axes.plot(grid.costs[x], y, marker=style["marker"], color="white", ms=3.5, mec="#333333", mew=0.5, zorder=3)
    axes.set_yticks(range(len(panel.names)), [label(name, 16) for name in panel.names])
    axes.set_ylabel(label(panel.axis, 24))
    axes.set_xlabel(axis_label(AXIS))
    axes.set_title(label(panel.title, 40), loc="left", fontsize=9.5)
    tidy_log(axes)


def _phase_legend(items: Sequence[Phases], look: Look) -> list[tuple[Any, str]]:
    from matplotlib.patches import Patch

    winners = dict.fromkeys(p.models[i] for p in items for i in np.unique(p.winner) if i >= 0)
    entries = model_legend(list(winners), look, line=False)
    if any((~p.clear & (p.winner >= 0)).any() for p in items):
        entries.append((Patch(facecolor="#CCCCCC", edgecolor="white", hatch="////"), "runs overlap"))
    return entries
