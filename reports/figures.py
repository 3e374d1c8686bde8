"""The figure of a comparison: error against FLOP and joules, and predicted against true trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.record import DIVERGED, FINISHED, Record
from reports.notes import energy, kind, stated
from reports.reach import FLOP, JOULE, curve_points, finite
from reports.rows import Comparison, Row, compare
from reports.styles import STYLE, quiet, reference_style, style
from reports.text import number, plotted
from reports.trajectories import examples_of, trajectories

if TYPE_CHECKING:
    import numpy as np

FLOOR_GAP = (
    30  # a floor further below the errors than this factor is named at the edge, not drawn: it would squash them
)


def comparison_figure(
    records: Sequence[Record],
    folders: Mapping[str, Path],
    out_stem: Path,
    primary: str | None = None,
    mix_joules: bool = False,
) -> list[Path]:
    """Draw the comparison of one task's records to `out_stem`.png and .svg; returns both paths.

    `folders`: each run's folder by its identity, whose `example.npz` is drawn if it is there. The same records give the
    same files, byte for byte. `mix_joules`: see `compare`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    comparison = compare(records, primary=primary, mix_joules=mix_joules)
    styles = {row.label: style for row, style in zip(comparison, _styles(comparison), strict=True)}
    examples = examples_of(comparison, folders)
    with rc_context(STYLE):
        names = [plotted(row.label) for row in comparison]
        above = 4.7 + 0.22 * math.ceil(len(names) / _legend_columns(names))
        ratios = (above, 3.9) if examples else (above,)
        figure = Figure(figsize=(11, sum(ratios)), layout="constrained")
        figure.suptitle(_title(comparison), fontsize=12, x=0.01, ha="left")
        panels: list[Any] = list(figure.subfigures(2 if examples else 1, 1, squeeze=False, height_ratios=ratios).flat)
        _errors(panels[0], comparison, styles)
        if examples:
            trajectories(panels[1], comparison, examples, styles)
        paths = [out_stem.with_name(f"{out_stem.name}.{kind}") for kind in ("png", "svg")]
        with quiet():
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it has done its work; left on, it would do it again for each file
            figure.savefig(paths[0], dpi=160)
            figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _title(comparison: Comparison) -> str:
    runs = comparison.runs
    seeds = {run.seed for run in runs}
    devices = " and ".join(sorted({f"{run.backend} on {run.device}" for run in runs}))
    joules = " and ".join(sorted({energy(row) for row in _shown(comparison)}))
    joules = joules or ("withheld" if any(row.joules_withheld for row in comparison) else "unknown")
    over = f"median and range of {len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    return plotted(" · ".join([comparison.task, over, devices, f"joules {joules}"]), 110)


def _shown(comparison: Comparison) -> list[Row]:
    """The rows whose joules are drawn."""
    return [row for row in comparison if row.energy_methods and not row.joules_withheld]


def _styles(comparison: Comparison) -> list[dict[str, Any]]:
    trained = iter(range(len(comparison)))
    return [reference_style(row.model) if row.reference else style(next(trained)) for row in comparison]


# Panels a and b: error against cost.


def _errors(panel: Any, comparison: Comparison, styles: Mapping[str, dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    left, right = panel.subplots(1, 2, sharey=True)
    lines = _horizontal(comparison)
    handles: dict[str, Any] = {}
    drawn: list[float] = [level for _, level, floor in lines if not floor]
    kinds = _kinds(_shown(comparison))
    unmeasured = kinds - {"measured"} if len(kinds) > 1 else set()
    withheld = sum(row.joules_withheld for row in comparison)
    for axes, axis in ((left, FLOP), (right, JOULE)):
        axes.set_xscale("log")
        axes.set_yscale("log")
        found = False
        for i, row in enumerate(comparison):
            if axis == JOULE and row.joules_withheld:
                continue
            style = styles[row.label]
            if axis == JOULE and unmeasured & _kinds([row]):
                style = {**style, "fill": "white"}
            handle, errors = _curve(axes, row, axis, comparison.primary, style, i)
            drawn += errors
            if handle is not None:
                found = True
                handles.setdefault(row.label, handle)
        if axis == JOULE and withheld:
            text = f"{withheld} row{'s' * (withheld > 1)} with modelled joules withheld"
            axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=8, color="#666666", zorder=6)
        elif not found:
            missing = "no training cost in FLOP" if axis == FLOP else "training joules are unknown"
            axes.text(0.5, 0.5, f"{missing}\nfor these runs", transform=axes.transAxes, ha="center", color="#666666")
    horizon = stated(comparison, "horizon")
    over = f"\nover {plotted(horizon)}" if horizon else ""
    left.set_ylabel(f"validation error: {plotted(comparison.primary)}{over}")
    left.set_xlabel("training FLOP" + (", some a lower bound" if any(row.uncounted for row in comparison) else ""))
    legend = f"\nopen markers: {plotted(' or '.join(sorted(unmeasured)))}" if unmeasured else ""
    right.set_xlabel(f"training energy (J){_energy_methods(comparison)}{legend}")
    left.set_title("a   Error against operations", loc="left")
    right.set_title("b   Error against energy", loc="left")
    _limits(left, drawn, comparison)
    for axes in (left, right):
        for scale in (axes.xaxis, axes.yaxis):
            low, high = scale.get_view_interval()
            if high > 100 * low:
                scale.minorticks_off()  # over many decades they are clutter, and most of the time it takes to draw
        for _, level, _ in lines:
            if level >= axes.get_ylim()[0]:
                axes.axhline(level, color="#666666", lw=1, ls=(0, (2, 2)), zorder=1)
    _labels(right, lines)
    if any(run.status == DIVERGED and run.curve for run in comparison.runs):
        handles["diverged here"] = Line2D([], [], color="#444444", marker="x", ms=8, mew=2, ls="")
    if handles:
        # A leading underscore would hide an entry; a space before it does not show.
        names = [f" {plotted(name)}" if name.startswith("_") else plotted(name) for name in handles]
        legend = {"loc": "outside lower center", "ncols": _legend_columns(names), "frameon": False}
        panel.legend(list(handles.values()), names, **legend)


def _legend_columns(names: Sequence[str]) -> int:
    return max(1, min(4, 140 // (8 + max(map(len, names), default=0))))


def _energy_methods(comparison: Comparison) -> str:
    methods = {energy(row) for row in _shown(comparison)}
    kinds = _kinds(_shown(comparison))
    if len(kinds) > 1:
        return plotted(f", {' and '.join(sorted(kinds))}: not to be compared", 60)
    return "".join(f", {plotted(' and '.join(sorted(methods)))}" for _ in kinds)


def _kinds(rows: Iterable[Row]) -> set[str]:
    return {kind(method) for row in rows for method, _ in row.energy_methods}


def _horizontal(comparison: Comparison) -> list[tuple[str, float, bool]]:
    """(name, error, is a floor) of the references that have no curve."""
    lines = []
    for row in comparison:
        spread = row.figures[comparison.columns[0].key]
        if (
            row.reference
            and spread is not None
            and spread.median > 0
            and not any(len(run.curve) > 1 for run in row.runs)
        ):
            floor = row.model == "simulator"
            lines.append(("integrator floor" if floor else row.label, spread.median, floor))
    floors = finite(run.facts.get("integrator_floor") for run in comparison.runs)
    if floors and floors[0] > 0 and not any(floor for _, _, floor in lines):
        lines.append(("integrator floor", floors[0], True))
    return lines


def _curve(axes: Any, row: Row, axis: str, primary: str, style: dict[str, Any], index: int) -> tuple[Any, list[float]]:
    """Draw a row's curve and band over seeds, or its single point; returns a legend handle and the errors drawn."""
    import numpy as np

    curves = [(run, _positive(curve_points(run, axis, primary))) for run in row.runs]
    curves = [(run, points) for run, points in curves if len(points)]
    if not curves:
        return None, []
    color = style["color"]
    marks = {"marker": style["marker"], "markerfacecolor": style.get("fill", color)}
    ended = [(run, points) for run, points in curves if run.status == DIVERGED]
    for _, points in ended:
        axes.plot(points[:, 0], points[:, 1], color=color, lw=0.8, alpha=0.6, zorder=2)
        axes.plot(*points[-1], "x", color=color, ms=9, mew=2, zorder=5)
    whole = [points for run, points in curves if run.status == FINISHED] or [points for _, points in curves]
    errors = [float(error) for _, points in curves for error in points[:, 1]]
    if all(len(points) == 1 for points in whole):
        cost, error = np.median(np.concatenate(whole), axis=0)
        spread = np.array([[error - min(p[0, 1] for p in whole)], [max(p[0, 1] for p in whole) - error]])
        handle = axes.errorbar(cost, error, yerr=spread, color=color, **marks, ms=8, ls="", zorder=4)
        return handle, errors
    whole = [points for points in whole if len(points) > 1]
    low, high = max(points[0, 0] for points in whole), min(points[-1, 0] for points in whole)
    line = {"color": color, "ls": style["ls"], "lw": 1.8, "ms": 5, "zorder": 3, **marks}
    if low >= high:  # the seeds have no cost in common: nothing to take a median of
        for points in whole:
            (handle,) = axes.plot(points[:, 0], points[:, 1], markevery=-(-len(points) // 6), **line)
        return handle, errors
    grid = np.geomspace(low, high, 160)
    logs = np.array([np.interp(np.log(grid), np.log(points[:, 0]), np.log(points[:, 1])) for points in whole])
    bands = np.exp(np.array([logs.min(0), np.median(logs, axis=0), logs.max(0)]))
    axes.fill_between(grid, bands[0], bands[2], color=color, alpha=0.18, lw=0, zorder=2)
    (handle,) = axes.plot(grid, bands[1], markevery=(5 * index % 25, 25), **line)
    return handle, errors


def _positive(points: Sequence[tuple[float | None, float | None]]) -> np.ndarray:
    """The points that a logarithmic picture can show, as an array (points, 2)."""
    import numpy as np

    kept = [(c, e) for c, e in points if c is not None and e is not None and finite([c, e]) and c > 0 and e > 0]
    return np.array(kept, float).reshape(-1, 2)


def _limits(axes: Any, drawn: Sequence[float], comparison: Comparison) -> None:
    """The range of errors, with the floor if it is near, and without the heights of a curve that blows up."""
    if not drawn:
        return
    levels = [level for _, level, floor in _horizontal(comparison) if floor]
    low = min([min(drawn), *(level for level in levels if level * FLOOR_GAP > min(drawn))])
    final = [row.figures[comparison.columns[0].key] for row in comparison]
    usual = [spread.median for spread in final if spread is not None] or [max(drawn)]
    high = min(max(drawn), 10 * max(usual))
    axes.set_ylim(low / 1.7, max(high, 1.01 * low) * 1.7)


def _labels(axes: Any, lines: Sequence[tuple[str, float, bool]]) -> None:
    """Name the horizontal lines at the right edge, moved apart where they would touch."""
    low, high = (math.log(limit) for limit in axes.get_ylim())
    at = -math.inf
    for name, level, _ in sorted(lines, key=lambda line: line[1]):
        height = (math.log(level) - low) / (high - low)
        below = height < 0
        at = max(at + 0.055, min(max(height, 0.0), 1.0))
        text = f"{plotted(name, 30)} {number(level)}" + (" ↓" if below else "")
        axes.text(1.015, at, text, transform=axes.transAxes, va="center", fontsize=9, color="#444444")
