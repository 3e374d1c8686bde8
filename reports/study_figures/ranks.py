"""Do FLOP tell who is cheaper in joules? The ranks of models by both, at an error that all of them reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.study_figures.base import DARK, Drawing, Look, label, pages
from reports.study_tables.best import kind
from reports.study_tables.curves import codes, split
from reports.study_tables.summary import Summary
from reports.text import number, where

CAPTION = (
    "Rank by FLOP against rank by joules: training cost to reach the least error that all models of the task reach, "
    "median over runs of the cheapest configuration; 1 is the cheapest. Crossing lines: FLOP do not tell joules. "
    "τ: Kendall's rank correlation."
)


@dataclass(frozen=True)
class Ranks:
    """Of one task: `flop` and `joule`, the cost of each of `models` to reach `error`."""

    title: str
    error: float
    models: list[str]
    flop: np.ndarray
    joule: np.ndarray
    methods: str


def rank_figures(summary: Summary) -> Iterator[Drawing]:
    panels = ranks(summary)
    if not panels:
        reason = "no task has two models whose FLOP and joules to reach one error are both known"
        yield Drawing("ranks", CAPTION, reason=reason)
        return
    look = Look.of(summary.data)
    tall = max(len(panel.models) for panel in panels)
    title = "Rank by training FLOP against rank by joules, at an error that all models reach"
    draw = lambda axes, panel: _panel(axes, panel, look)  # noqa: E731
    yield from pages("ranks", title, CAPTION, panels, draw, size=(4.3, 1.3 + 0.34 * tall))


def ranks(summary: Summary) -> list[Ranks]:
    """A panel for each task with two models or more whose costs are known on both axes."""
    data, curves = summary.data, summary.curves
    has_curve = np.diff(curves.first) > 1
    target = np.full(len(data), np.nan)
    places = {}
    for place, rows in summary.rows.items():
        able = [r for r in rows if not r.reference and not r.mostly_failed and has_curve[r.runs].any()]
        able = [r for r in able if r.error.value > 0]
        if len(able) > 1:
            error = max(float(np.nanmax(summary.final[r.chosen])) for r in able)
            for row in able:
                target[row.runs] = error
            places[place] = (able, error)
    if not places:
        return []
    cost = {axis: curves.cost_to(axis, data.metric, target) for axis in ("flop", "energy_j")}
    configuration = codes(data.runs["configuration"])[0]
    panels = []
    for place, (rows, error) in places.items():
        found = []
        for row in rows:
            parts = [row.runs[part] for part in split(configuration[row.runs])]
            flop, joule = (_least([cost[axis][part] for part in parts]) for axis in ("flop", "energy_j"))
            if np.isfinite(flop) and np.isfinite(joule):
                found.append((row, flop, joule))
        if len(found) > 1:
            methods = " and ".join(sorted({part for row, _, _ in found for part in kind(row)}))
            flop, joule = (np.array([item[k] for item in found]) for k in (1, 2))
            panels.append(Ranks(where(*place), error, [row.model for row, _, _ in found], flop, joule, methods))
    return panels


def _least(costs: list[np.ndarray]) -> float:
    """The least median over configurations; NaN where nothing is known."""
    known = [own[~np.isnan(own)] for own in costs]
    medians = [float(np.quantile(own, 0.5, method="inverted_cdf")) for own in known if len(own)]
    return min(medians, default=np.nan)


def _panel(axes: Any, panel: Ranks, look: Look) -> None:
    from scipy.stats import kendalltau

    places = [np.argsort(np.argsort(costs, kind="stable"), kind="stable") + 1 for costs in (panel.flop, panel.joule)]
    for i, model in enumerate(panel.models):
        style, ends = look[model], (places[0][i], places[1][i])
        line = {"color": style["color"], "marker": style["marker"], "ls": style["ls"]}
        axes.plot([0, 1], ends, ms=6, lw=1.6, clip_on=False, **line)
        sides = ((0, ends[0], panel.flop[i], "right", -0.06), (1, ends[1], panel.joule[i], "left", 0.06))
        for x, rank, cost, side, gap in sides:
            text = f"{label(model, 22)}\n{number(float(cost))} {'FLOP' if x == 0 else 'J'}"
            axes.text(x + gap, rank, text, ha=side, va="center", fontsize=7, color=DARK, linespacing=1.0)
    tau = float(kendalltau(panel.flop, panel.joule)[0])  # type: ignore[arg-type]
    said = f"at an error of {number(panel.error)}, τ = {tau:.2f}"
    axes.set_title(f"{label(panel.title, 44)}\n{said}", loc="left", fontsize=9)
    axes.set_xlim(-1.0, 2.0)
    axes.set_ylim(len(panel.models) + 0.6, 0.4)
    axes.set_xticks([0, 1], ["FLOP", "joules" + (f"\n({label(panel.methods)})" if panel.methods else "")])
    axes.set_yticks(range(1, len(panel.models) + 1))
    axes.set_ylabel("rank (1: cheapest)")
    axes.grid(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
