"""The motion itself: agents in space, phase portraits, space-time maps and snapshots of fields, series for the rest."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from experiments.show.scene import Scene
from reports.styles import COLORS, DASHES
from reports.text import plotted

FEW = 5  # bodies that are told apart by colour
FADED = "#C9C9C9"
# The first two keep their order for colour-blind readers and in grey; of the third, whose two ends all tell apart,
# the bar beside it tells the sign in grey.
TIME_COLORS, FIELD_COLORS, SIGNED_COLORS = "viridis", "cividis", "RdBu_r"
SNAPSHOTS = 6
BY_COLOR = (*COLORS, "#CC79A7")


def form(scene: Scene) -> str:
    """How a task's motion is drawn: space, field1, field2, heat, portrait, lines or, by its variables alone, series."""
    structure, size = scene.structure, len(scene.variables)
    if structure.grid is not None:
        return f"field{min(len(structure.grid), 2)}"
    if scene.bodies is not None:
        return "space"
    if structure.agents is not None:
        return "lines" if scene.system is not None else "series"
    if size > 6 and len({re.sub(r"_?\d+$", "", name) for name in scene.variables}) == 1:
        return "heat"
    return "portrait" if size in (2, 3) or (size <= 6 and scene.system is not None and size > 1) else "series"


def draw_motion(panel: Any, scene: Scene) -> None:
    """Fill a subfigure, in every form but series, which the panel of variables is."""
    {
        "space": _space,
        "field1": _field1,
        "field2": _field2,
        "heat": _heat,
        "portrait": _portrait,
        "lines": _lines,
    }[form(scene)](panel, scene)


def window(values: np.ndarray, margin: float = 0.06) -> tuple[float, float]:
    """Limits around the values."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    pad = margin * (high - low) or 0.1 * max(1.0, abs(low))
    return low - pad, high + pad


def square_window(x: np.ndarray, y: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of two axes with one scale, neither less than a third of the other."""
    (a, b), (c, d) = window(x), window(y)
    wide, high = max(b - a, (d - c) / 3), max(d - c, (b - a) / 3)
    return ((a + b - wide) / 2, (a + b + wide) / 2), ((c + d - high) / 2, (c + d + high) / 2)


def shades(values: np.ndarray) -> dict[str, Any]:
    """Colours of a field's values: from blue over white to red about 0 where both signs are as large, else in order."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high and min(-low, high) > 0.3 * max(-low, high):
        most = max(-low, high)
        return {"cmap": SIGNED_COLORS, "vmin": -most, "vmax": most}
    return {"cmap": FIELD_COLORS, "vmin": low, "vmax": high}


def wrapped(x: np.ndarray, box: float | None) -> np.ndarray:
    return x if box is None else x % box


def _axes3(panel: Any, variables: tuple[str, ...]) -> Any:
    axes = panel.add_subplot(projection="3d")
    axes.set_xlabel(plotted(variables[0]))
    axes.set_ylabel(plotted(variables[1]))
    axes.set_zlabel(plotted(variables[2]))
    axes.tick_params(labelsize=8)
    axes.set_box_aspect(None, zoom=0.86)  # room for the labels
    return axes


def timed_path(axes: Any, points: np.ndarray, times: np.ndarray, lw: float, jump: float = math.inf) -> Any:
    """A path (T, 2 or 3) coloured by time; pieces longer than `jump` along an axis are left out."""
    from matplotlib.collections import LineCollection

    pieces = np.stack([points[:-1], points[1:]], axis=1)
    whole = (np.abs(np.diff(points, axis=0)) < jump).all(axis=-1)
    kind: Any = LineCollection
    if points.shape[-1] == 3:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection as kind
    lines = kind(pieces[whole], cmap=TIME_COLORS, lw=lw, capstyle="round")
    lines.set_array(times[:-1][whole])
    lines.set_clim(times[0], times[-1])
    return axes.add_collection(lines)


def _time_bar(panel: Any, axes: Any, lines: Any, scene: Scene) -> None:
    bar = panel.colorbar(lines, ax=axes, shrink=0.75, pad=0.03 if axes.name == "rectilinear" else 0.1, aspect=28)
    bar.set_label(scene.time_label)
    bar.outline.set_visible(False)


def _space(panel: Any, scene: Scene) -> None:
    assert scene.bodies is not None
    d, box, n = min(scene.structure.space_dim, 3), scene.structure.box, scene.bodies.shape[1]
    x = wrapped(scene.bodies[..., :d], box)
    axes = _axes3(panel, scene.variables) if d == 3 else panel.add_subplot()
    jump = math.inf if box is None else box / 2
    few = n <= FEW
    lines = None
    for k in range(n):
        if few:
            broken = x[:, k].copy()
            broken[1:][(np.abs(np.diff(x[:, k], axis=0)) > jump).any(axis=-1)] = np.nan
            label = f"{'agent' if scene.system is None else 'body'} {k + 1}" if n > 1 else None
            axes.plot(*broken.T, color=BY_COLOR[k], ls=DASHES[k % len(DASHES)], lw=1.5, label=label)
        else:
            lines = timed_path(axes, x[:, k], scene.times, 1.4 if n <= 40 else 0.7, jump)
    axes.scatter(*x[0].T, s=26, facecolors="white", edgecolors="#808080", lw=1.2, zorder=3, label="start")
    if few or d == 3 or scene.structure.order != 2:
        color = [BY_COLOR[k] for k in range(n)] if few else "black"
        axes.scatter(*x[-1].T, s=30 if n <= 40 else 9, c=color, zorder=4, label="end" if n == 1 or not few else None)
    else:
        _headings(axes, scene, x[-1])
    if d == 2:
        axes.set_xlabel(plotted(scene.variables[0]))
        axes.set_ylabel(plotted(scene.variables[1]))
        axes.set_aspect("equal", adjustable="box")
        if box is not None:
            axes.set_xlim(0, box)
            axes.set_ylim(0, box)
            axes.spines[["top", "right"]].set_visible(True)  # the box
        else:
            across, along = square_window(x[..., 0], x[..., 1])
            axes.set_xlim(across)
            axes.set_ylim(along)
        if n == 1 and scene.system is not None:
            axes.plot(0, 0, "+", color="black", ms=9, label="origin")
    elif box is None:
        for k, axis in enumerate("xyz"[:d]):
            axes.set(**{f"{axis}lim": window(x[..., k])})
    panel.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if lines is not None:
        _time_bar(panel, axes, lines, scene)


def _headings(axes: Any, scene: Scene, x: np.ndarray) -> None:
    """A dart for every agent at the end, along its velocity."""
    assert scene.bodies is not None
    v = scene.bodies[-1, :, 2:4]
    speed = np.linalg.norm(v, axis=-1, keepdims=True)
    way = v / np.where(speed > 0, speed, 1)
    width = 0.012 if len(x) <= 40 else 0.006
    axes.quiver(
        *x.T, *way.T, pivot="mid", scale=26 if len(x) <= 40 else 50, width=width, headwidth=2.6, headlength=3.2,
        headaxislength=2.6, color="black", zorder=5,
    )  # fmt: skip
    axes.plot([], [], ">", color="black", ms=7, label="end, and heading")


def _portrait(panel: Any, scene: Scene) -> None:
    d = 3 if len(scene.variables) == 3 else 2
    axes = _axes3(panel, scene.variables) if d == 3 else panel.add_subplot()
    for other in scene.y[1:]:
        axes.plot(*other[:, :d].T, color=FADED, lw=0.7, zorder=1)
    path = scene.first[:, :d]
    lines = timed_path(axes, path, scene.times, 1.6)
    axes.scatter(*path[:1].T, s=30, facecolors="white", edgecolors="black", zorder=5)
    axes.scatter(*path[-1:].T, s=30, c="black", zorder=5)
    for k, axis in enumerate("xyz"[:d]):
        axes.set(**{f"{axis}lim": window(scene.y[..., k])})
    if d == 2:
        axes.set_xlabel(plotted(scene.variables[0]))
        axes.set_ylabel(plotted(scene.variables[1]))
    _time_bar(panel, axes, lines, scene)
    grey = f"; grey: {len(scene.y) - 1} other starts" if len(scene.y) > 1 else ""
    axes.set_title(f"○ start, ● end{grey}", fontsize=9, loc="left", color="#505050")


def _field1(panel: Any, scene: Scene) -> None:
    """Each variable over space and time; at most three."""
    shown = min(len(scene.variables), 3)
    for k, axes in enumerate(np.atleast_1d(panel.subplots(shown, 1, sharex=True))):
        _map(panel, axes, scene, scene.first[..., k].T, (0, scene.structure.extent[0]), scene.variables[k])
        axes.set_ylabel("place x")
    axes.set_xlabel(scene.time_label)


def _heat(panel: Any, scene: Scene) -> None:
    axes = panel.add_subplot()
    name = re.sub(r"_?\d+$", "", scene.variables[0])
    _map(panel, axes, scene, scene.first.T, (-0.5, len(scene.variables) - 0.5), f"{name}_i")
    axes.set_ylabel("index i")
    axes.set_xlabel(scene.time_label)


def _map(panel: Any, axes: Any, scene: Scene, values: np.ndarray, across: tuple[float, float], name: str) -> None:
    """Values (P, T) as colours over time and place."""
    edges = np.linspace(*across, len(values) + 1)
    middle = (scene.times[1:] + scene.times[:-1]) / 2
    columns = np.concatenate([scene.times[:1], middle, scene.times[-1:]])
    found = axes.pcolormesh(columns, edges, values, **shades(values), rasterized=True)
    axes.grid(False)
    bar = panel.colorbar(found, ax=axes, pad=0.02, aspect=24)
    bar.set_label(plotted(name))
    bar.outline.set_visible(False)


def _field2(panel: Any, scene: Scene) -> None:
    """Snapshots of the variable that varies most, at even times."""
    k = int(np.argmax(scene.first.std(axis=(0, 1))))
    which = np.unique(np.linspace(0, len(scene.times) - 1, SNAPSHOTS).round().astype(int))
    grid = scene.structure.grid
    assert grid is not None
    images = scene.first[..., k].reshape(len(scene.times), *grid[:2], -1)[..., 0]  # of a volume, its first slice
    all_axes = panel.subplots(2, 3, sharex=True, sharey=True)
    sides = scene.structure.extent
    for axes, at in zip(all_axes.flat, which, strict=False):
        shown = axes.imshow(images[at].T, origin="lower", extent=(0, sides[0], 0, sides[1]), **shades(images[which]))
        axes.set_title(f"t = {scene.times[at]:.3g}", fontsize=9, loc="left")
        axes.grid(False)
    for axes in all_axes.flat[len(which) :]:
        axes.set_axis_off()
    panel.supxlabel("place x", fontsize=10)
    panel.supylabel("place y", fontsize=10)
    bar = panel.colorbar(shown, ax=all_axes, shrink=0.8, pad=0.02, aspect=30)
    bar.set_label(plotted(scene.variables[k]))
    bar.outline.set_visible(False)


def _lines(panel: Any, scene: Scene) -> None:
    """Agents on a line or a circle: the first variable of each."""
    axes = panel.add_subplot()
    x = scene.first[..., 0]
    for k in range(min(x.shape[1], 60)):
        axes.plot(scene.times, x[:, k], color=BY_COLOR[k % 6], ls=DASHES[(k // 6) % 4], lw=1.2)
    axes.set_xlabel(scene.time_label)
    axes.set_ylabel(f"{plotted(scene.variables[0])} of each of the {x.shape[1]} agents")
