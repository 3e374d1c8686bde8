"""Pictures of predicted against true trajectories, from the example that each run leaves beside its record."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.notes import stated
from reports.rows import Comparison, Row
from reports.text import plotted

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("reports")

FILE = "example.npz"
MOST_MODELS, MOST_VARIABLES, MOST_AGENTS = 4, 4, 40
TRUTH = "#9A9A9A"


@dataclass(frozen=True)
class Example:
    """One test trajectory: `times` (T,), `truth` and `predicted` (T, *state); state is (D,), or (N, D) for N agents."""

    times: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    variables: tuple[str, ...]
    space_dim: int

    @property
    def agents(self) -> bool:
        return self.truth.ndim == 3 and self.space_dim >= 2


def load(folder: Path | None) -> Example | None:
    """The run's example, or None when it left none that can be read (which is logged)."""
    import numpy as np

    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        with open(folder / FILE, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            example = Example(
                np.asarray(file["times"], float),
                np.asarray(file["truth"], float),
                np.asarray(file["predicted"], float),
                tuple(str(name) for name in file["variables"]),
                int(file["space_dim"]),
            )
        shape = (len(example.times), *example.truth.shape[1:-1], len(example.variables))
        if example.truth.shape != shape or example.predicted.shape != shape or len(shape) not in (2, 3):
            raise ValueError(f"truth and predicted must have the shape {shape}")
        if example.space_dim > len(example.variables):
            raise ValueError(f"{example.space_dim} position variables among {len(example.variables)} variables")
        return example
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.warning("left %s out of the figure: %s", folder / FILE, error)
        return None


def same_truth(a: Example, b: Example) -> bool:
    import numpy as np

    return a.truth.shape == b.truth.shape and np.allclose(a.truth, b.truth, rtol=1e-6, equal_nan=True)


def _window(values: np.ndarray, margin: float) -> tuple[float, float] | None:
    """Limits around the truth, so that a prediction that runs away does not shrink the truth to a dot."""
    import numpy as np

    known = values[np.isfinite(values)]
    if known.size == 0:
        return None
    low, high = float(known.min()), float(known.max())
    pad = margin * (high - low) or 0.1 * max(1.0, abs(low))
    return low - pad, high + pad


def draw_paths(axes: Any, example: Example, color: str, title: str) -> None:
    """The agents' paths in the plane of their first two coordinates, with the end of each path marked."""
    shown = min(example.truth.shape[1], MOST_AGENTS)
    truth, predicted = example.truth[:, :shown, :2], example.predicted[:, :shown, :2]
    axes.plot(truth[..., 0], truth[..., 1], color=TRUTH, lw=2.4, solid_capstyle="round", zorder=1)
    axes.plot(predicted[..., 0], predicted[..., 1], color=color, lw=1.2, ls=(0, (4, 1.5)), zorder=2)
    axes.plot(truth[-1, :, 0], truth[-1, :, 1], "o", ms=6.5, mfc="white", mec=TRUTH, mew=1.6, zorder=3)
    axes.plot(predicted[-1, :, 0], predicted[-1, :, 1], "o", ms=3.2, color=color, zorder=4)
    for set_limits, values in ((axes.set_xlim, truth[..., 0]), (axes.set_ylim, truth[..., 1])):
        limits = _window(values, 0.12)
        if limits:
            set_limits(limits)
    axes.set_aspect("equal", adjustable="box")
    part = "" if shown == example.truth.shape[1] else f"\n(first {shown} of {example.truth.shape[1]} agents)"
    axes.set_title(title + part, loc="left", fontsize=10, color=color)
    axes.set_xlabel(plotted(example.variables[0]))


def draw_series(axes: Any, examples: Sequence[tuple[Example, dict[str, Any]]], variable: int, time_unit: str) -> None:
    """One variable against time: the truth once, and each model's prediction in its own style."""
    first = examples[0][0]
    truth = first.truth.reshape(len(first.times), -1)[:, variable]
    axes.plot(first.times, truth, color=TRUTH, lw=3.2, solid_capstyle="round", zorder=1)
    for example, style in examples:
        predicted = example.predicted.reshape(len(example.times), -1)[:, variable]
        axes.plot(example.times, predicted, zorder=2, lw=1.5, color=style["color"], ls=style["ls"])
    limits = _window(truth, 0.25)
    if limits:
        axes.set_ylim(limits)
    axes.set_xlabel(f"time ({time_unit})")
    name = plotted(first.variables[variable % len(first.variables)])
    body = f", body {variable // len(first.variables) + 1}" if first.truth.ndim == 3 else ""
    axes.set_title(name + body, loc="left", fontsize=10)


def examples_of(comparison: Comparison, folders: Mapping[str, Path]) -> list[tuple[Row, Example]]:
    """The first example of each row, models first. Persistence and the simulator have nothing to show."""
    chosen: list[tuple[Row, Example]] = []
    for row in comparison:
        if row.model in ("persistence", "simulator") or len(chosen) == MOST_MODELS:
            continue
        example = next((e for run in row.runs if (e := load(folders.get(run.identity))) is not None), None)
        if example is not None and (not chosen or same_truth(chosen[0][1], example)):
            chosen.append((row, example))
    return chosen


def trajectories(
    panel: Any, comparison: Comparison, examples: Sequence[tuple[Row, Example]], styles: Mapping[str, dict[str, Any]]
) -> None:
    """Fill a subfigure: for agents one picture of paths a model, otherwise one time series a variable."""
    from matplotlib.lines import Line2D

    first = examples[0][1]
    truth = Line2D([], [], color=TRUTH, lw=3)
    if first.agents:
        all_axes = panel.subplots(1, max(len(examples), 2), squeeze=False, sharex=True, sharey=True)[0]
        for axes, (row, example) in zip(all_axes, examples, strict=False):
            draw_paths(axes, example, styles[row.label]["color"], plotted(row.label, 36))
        all_axes[0].set_ylabel(plotted(first.variables[1]))
        ends = Line2D([], [], color=TRUTH, marker="o", mfc="white", ls="")
        handles = [truth, Line2D([], [], color="black", lw=1.2, ls=(0, (4, 1.5))), ends]
        names = ["true path", "predicted path", "where it ends"]
        for axes in all_axes[len(examples) :]:
            axes.set_axis_off()
    else:
        variables = min(first.truth[0].size, MOST_VARIABLES)
        all_axes = panel.subplots(1, max(variables, 2), squeeze=False)[0]
        drawn = [(example, styles[row.label]) for row, example in examples]
        for variable, axes in enumerate(all_axes[:variables]):
            draw_series(axes, drawn, variable, plotted(stated(comparison, "time_unit") or "time units"))
        for axes in all_axes[variables:]:
            axes.set_axis_off()
        handles = [truth, *(Line2D([], [], color=style["color"], ls=style["ls"]) for _, style in drawn)]
        names = ["truth", *(plotted(row.label) for row, _ in examples)]
    panel.suptitle("c   One test trajectory, predicted from its initial state", x=0.01, ha="left", fontsize=12)
    panel.legend(handles, [f" {name}" for name in names], loc="outside lower center", ncols=5, frameon=False)
