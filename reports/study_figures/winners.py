"""Who is best at each cost: the sizes on the compute-optimal frontier, and the phase diagram of models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.record import FINISHED
from reports.study_figures.base import Drawing, Look, axis_label, label, pages, tidy_log, where
from reports.study_tables.summary import Row, Summary, codes, column_of, split
from reports.text import number

AXIS = "flop"
PER_DECADE, MOST_COSTS = 3, 24
FEW = 3  # models, of which single sizes are drawn too

Place = tuple[str, str]


@dataclass(frozen=True)
class Grid:
    """Test errors (costs, runs) of the runs that finished, at costs evenly spaced over what the study covers; see
    `Curves.error_at`."""

    costs: np.ndarray
    error: np.ndarray
    configuration: np.ndarray

    @classmethod
    def of(cls, summary: Summary) -> Grid:
        cost, error = (summary.curves.column(name) for name in (AXIS, f"test.{summary.data.metric}"))
        trained = np.diff(summary.curves.first)[summary.curves.run] > 1
        known = cost[trained & np.isfinite(error) & (cost > 0)]
        configuration = codes(summary.data.runs["configuration"])[0]
        if not len(known) or known.max() <= known.min():
            return cls(np.array([]), np.zeros((0, len(summary.data))), configuration)
        count = math.ceil(math.log10(known.max() / known.min()) * PER_DECADE) + 1
        costs = np.geomspace(known.min(), known.max(), min(max(count, 4), MOST_COSTS))
        error = summary.curves.error_at(AXIS, summary.data.metric, costs)
        error[:, summary.data.runs["status"] != FINISHED] = np.nan  # what it had before it diverged is no result
        return cls(costs, error, configuration)

    def configurations(self, runs: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(runs, median errors (costs,)) of each configuration; NaN at costs that fewer than half of them reached."""
        found = []
        for part in split(self.configuration[runs]):
            members = runs[part]
            error = self.error[:, members]
            some = 2 * np.isfinite(error).sum(1) >= len(members)
            median = np.full(len(self.costs), np.nan)
            median[some] = np.nanmedian(error[some], axis=1)
            found.append((members, median))
        return found


def competitors(summary: Summary, place: Place) -> list[Row]:
    return [row for row in summary.rows.get(place, []) if not row.reference]


# The compute-optimal frontier.


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
        legend=lambda items: _model_legend([m for place in items for m in sizes[place]], look, line=True),
        size=(3.6, 2.4),
        rows_of=2,
    )


def _by_size(summary: Summary, grid: Grid, row: Row) -> dict[float, np.ndarray]:
    """The least median errors (costs,) over the configurations of each number of parameters."""
    best: dict[float, np.ndarray] = {}
    for runs, median in grid.configurations(row.runs):
        parameters = column_of(summary.data, "parameters", runs)
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


# The phase diagram.


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
            of_run = {row.model: _steps(column_of(summary.data, name, row.runs), name) for row in rows}
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
    entries = _model_legend(list(winners), look, line=False)
    if any((~p.clear & (p.winner >= 0)).any() for p in items):
        entries.append((Patch(facecolor="#CCCCCC", edgecolor="white", hatch="////"), "runs overlap"))
    return entries


def _model_legend(models: Sequence[str], look: Look, line: bool) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    entries = []
    for model in dict.fromkeys(models):
        style = look[model]
        ls = style["ls"] if line else ""
        handle = Line2D([], [], color=style["color"], marker=style["marker"], ls=ls, ms=5 if line else 8, lw=1.5)
        entries.append((handle, label(model)))
    return entries
