"""The panels beside the motion: a few variables, invariants and order over time, and the errors of wrong priors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.show.measures import Measure
from experiments.show.motion import BY_COLOR, FADED, form
from experiments.show.scene import Scene
from experiments.show.told import Told
from reports.styles import DASHES
from reports.text import plotted

MOST_LINES = 6
MOST_AXES = 4
LEAST_DRIFT = 1e-17  # where a drift of exactly 0 is drawn
ROUNDING = 2.0**-52
TOLERANCE = 1e-10  # that of the reference trajectories
# By delta. From dark to light along viridis, so that the order is seen without colours; 0 is black. Any other is the
# user's own, and stands out.
DIAL: dict[float, tuple[str, Any]] = {
    0.0: ("#000000", "-"),
    0.01: ("#440154", DASHES[2]),
    0.03: ("#31688E", DASHES[1]),
    0.1: ("#35B779", "-"),
    0.3: ("#E0A800", DASHES[3]),
}
OWN_DIAL = ("#D55E00", "-")


def draw_series(panel: Any, scene: Scene) -> None:
    """One small picture a variable: the agents' own lines, the first point and range of a field, one line for the
    rest; where nothing else shows the motion, from every start."""
    shown = min(len(scene.variables), MOST_AXES)
    others = scene.y[1:] if form(scene) == "series" else []
    y, times = scene.first, scene.times
    for k, axes in enumerate(np.atleast_1d(panel.subplots(shown, 1, sharex=True))):
        values = y[..., k]
        if scene.structure.grid is not None:
            axes.fill_between(times, values.min(axis=1), values.max(axis=1), color="#CFE3F1", lw=0)
            axes.plot(times, values[:, 0], color=BY_COLOR[0], lw=1.3)
        elif values.ndim == 2:
            for body in range(min(values.shape[1], MOST_LINES)):
                axes.plot(times, values[:, body], color=BY_COLOR[body], ls=DASHES[body % 4], lw=1.2)
        else:
            for other in others:
                axes.plot(times, other[:, k], color=FADED, lw=1.2)
            axes.plot(times, values, color=BY_COLOR[0], lw=1.4)
        axes.set_ylabel(plotted(scene.variables[k], 18))
    axes.set_xlabel(scene.time_label)
    panel.align_ylabels()
    note = _series_note(scene)
    if note:
        panel.get_axes()[0].set_title(note, fontsize=9, loc="left", color="#505050")


def _series_note(scene: Scene) -> str:
    if scene.structure.grid is not None:
        return "line: at the first point; band: range over all"
    count, size = scene.first.shape[1] if scene.first.ndim == 3 else 1, len(scene.variables)
    notes = [f"{MOST_LINES} of {count} agents"] if count > MOST_LINES else []
    notes += [f"first {MOST_AXES} of {size} variables"] if size > MOST_AXES else []
    if form(scene) == "series" and len(scene.y) > 1:
        notes.append(f"grey: {len(scene.y) - 1} other starts")
    return "; ".join(notes)


def draw_measures(panel: Any, scene: Scene, found: Sequence[Measure]) -> None:
    """Drifts together on a logarithmic axis, fractions together from 0 to 1, every other quantity by itself."""
    drifts, fractions = [m for m in found if m.drift], [m for m in found if m.fraction]
    others = [m for m in found if not m.drift and not m.fraction]
    groups = [group for group in (drifts, fractions) if group]
    groups += [[m] for m in others[: MOST_AXES - 1 - len(groups)]]
    sizes = [1.6 if group is drifts else 1.0 for group in groups]
    all_axes = np.atleast_1d(panel.subplots(len(groups), 1, sharex=True, height_ratios=sizes))
    for axes, group in zip(all_axes, groups, strict=True):
        if group is drifts:
            _drifts(axes, scene, group)
            continue
        for k, m in enumerate(group):
            axes.plot(scene.times, m.values, color=BY_COLOR[k], ls=DASHES[k], lw=1.4, label=plotted(m.name))
        if group is fractions:
            axes.set_ylim(-0.04, 1.04)
        else:
            axes.set_ylabel(plotted(group[0].name, 24).replace("_", " "), fontsize=9)
        if len(group) > 1 or group is fractions:
            axes.legend(fontsize=8, frameon=False, loc="best")
    all_axes[-1].set_xlabel(scene.time_label)
    panel.align_ylabels()


def _drifts(axes: Any, scene: Scene, group: Sequence[Measure]) -> None:
    top = 1e-9
    for k, m in enumerate(group[: len(BY_COLOR)]):
        shown = np.maximum(m.values[1:], LEAST_DRIFT)
        top = max(top, 10 * float(np.nanmax(shown)))
        name = plotted(m.name).replace("_", " ")
        axes.semilogy(scene.times[1:], shown, color=BY_COLOR[k], ls=DASHES[k % 4], lw=1.2, label=name)
    for level, text in ((ROUNDING, "rounding "), (TOLERANCE, "tolerance of a step ")):
        axes.axhline(level, color="#9A9A9A", lw=0.8, ls=(0, (3, 2)), zorder=0)
        axes.text(
            0.99, level, text, transform=axes.get_yaxis_transform(), fontsize=8, ha="right", va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        )  # fmt: skip
    axes.set_ylim(LEAST_DRIFT / 3, min(top, 1e12))
    axes.set_ylabel("relative drift |I − I(0)|/|I(0)|", fontsize=9)
    # Above the lines, which may be anywhere.
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)


def draw_told(panel: Any, scene: Scene, told: Sequence[Told]) -> None:
    """A picture a kind of prior: errors against time, one line a delta; or why there are none."""
    from matplotlib.lines import Line2D

    all_axes = np.atleast_1d(panel.subplots(1, len(told), sharey=True))
    known = [t for t in told if not t.reason]
    low, high = _range(known)
    for axes, t in zip(all_axes, told, strict=True):
        axes.set_title(f"{t.kind}\n", loc="left", fontsize=10, fontweight="bold")
        if t.reason:
            axes.set_axis_off()
            axes.text(0, 0.95, _filled(f"left out: {t.reason}", 38), transform=axes.transAxes, va="top", fontsize=9)
            continue
        note = f" ({t.note})" if t.note else ""
        axes.text(0, 1.02, plotted(t.what + note, 56), transform=axes.transAxes, fontsize=9, color="#505050")
        for k, error in enumerate(t.errors):
            visible = np.where(error[1:] > 0, error[1:], np.nan)
            color, dashes = DIAL.get(t.deltas[k], OWN_DIAL)
            axes.semilogy(t.times[1:], visible, color=color, ls=dashes, lw=1.5)
        axes.axhline(1, color="#9A9A9A", lw=0.8, zorder=0)
        axes.set_ylim(low, high)
        axes.set_xlim(scene.times[0], scene.times[-1])
        axes.set_xlabel(scene.time_label)
    first = next((axes for axes, t in zip(all_axes, told, strict=True) if not t.reason), None)
    if first is None:
        return
    first.set_ylabel("error / standard deviation")
    first.tick_params(labelleft=True)
    styles = [DIAL.get(delta, OWN_DIAL) for delta in known[0].deltas]
    handles = [Line2D([], [], color=color, ls=dashes, lw=1.8) for color, dashes in styles]
    own = max(float(t.errors[0].max()) for t in known)
    names = [f"δ = {delta:g}" + ("" if delta in DIAL else " (asked for)") for delta in known[0].deltas]
    names[0] += f", the solver's own error: at most {own:.0e}" + (", not in sight" if own < low else "")
    panel.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)


def _range(told: Sequence[Told]) -> tuple[float, float]:
    """Of the axis of errors: all that wrong priors do but for their first moments, and of runaways the beginning."""
    wrong = [t.errors[1:, 1:] for t in told]
    known = np.concatenate([e[np.isfinite(e) & (e > 0)] for e in wrong]) if wrong else np.empty(0)
    if not known.size:
        return 1e-6, 10.0
    low = 10.0 ** np.floor(np.log10(np.quantile(known, 0.01)))
    return max(low, 1e-12), 3 * min(max(float(known.max()), 1.0), 1e4)


def draw_words(panel: Any, text: str) -> None:
    axes = panel.add_subplot()
    axes.set_axis_off()
    axes.text(0, 0.5, _filled(text, 150), va="center", fontsize=10, color="#505050")


def _filled(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False)).replace("$", r"\$")
