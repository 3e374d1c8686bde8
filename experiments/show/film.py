"""The motion as a film: GIF, or MP4 where ffmpeg is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import UserError
from experiments.show.motion import BY_COLOR, FADED, FEW, form, shades, square_window, window, wrapped
from experiments.show.scene import Scene
from reports.styles import STYLE, quiet
from reports.text import plotted

MOST_FRAMES = 900
TAIL = 0.12  # the part of the whole time that a tail is long

Update = Callable[[int], None]


def check(kind: str, seconds: float, fps: int) -> None:
    """Raises UserError for a film that cannot be made here."""
    for name, value in (("--seconds", seconds), ("--fps", fps)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} must be above 0, but it is {value:g}")
    if not 2 <= round(seconds * fps) <= MOST_FRAMES:
        raise UserError(
            f"a film must have 2 to {MOST_FRAMES} pictures, but {seconds:g} seconds at {fps:g} a second make "
            f"{seconds * fps:.0f}: change --seconds or --fps"
        )
    if kind == "mp4":
        from matplotlib.animation import writers

        if not writers.is_available("ffmpeg"):
            raise UserError(
                "--format mp4 needs the program ffmpeg, which is not on the path: install it, or use --format gif"
            )


def film(scene: Scene, title: str, path: Path, seconds: float, fps: int) -> Path:
    """Write the motion to `path`, GIF or MP4 by its suffix; the whole time in `seconds`."""
    import matplotlib
    from matplotlib.animation import FFMpegWriter, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = np.linspace(0, len(scene.times) - 1, round(seconds * fps)).round().astype(int)
    writer: Any = PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)
    with matplotlib.rc_context(STYLE), quiet():
        figure = Figure(figsize=(6.4, 5.4))
        FigureCanvasAgg(figure)
        update = _scene(figure, scene)
        heading = figure.suptitle("", x=0.02, ha="left", fontsize=11)
        name = plotted(title.partition(":")[0], 40)
        with writer.saving(figure, str(path), dpi=100):
            for at in frames:
                update(int(at))
                heading.set_text(f"{name}, t = {scene.times[at]:.3g}")
                writer.grab_frame()
    return path


def _scene(figure: Any, scene: Scene) -> Update:
    kind = form(scene)
    if kind == "space" and scene.structure.space_dim == 2:
        return _plane(figure, scene)
    if kind in ("field1", "heat"):
        return _curve(figure, scene, kind)
    if kind == "field2":
        return _image(figure, scene)
    if kind in ("space", "portrait"):
        return _path(figure, scene)
    return _growing(figure, scene)


def _tail(scene: Scene, at: int) -> slice:
    start = np.searchsorted(scene.times, scene.times[at] - TAIL * (scene.times[-1] - scene.times[0]))
    return slice(int(start), at + 1)


def _plane(figure: Any, scene: Scene) -> Update:
    """Agents in the plane with tails. A window as large as the group follows it where it flies far."""
    assert scene.bodies is not None
    box, n = scene.structure.box, scene.bodies.shape[1]
    free = scene.bodies[..., :2]
    x = wrapped(free, box)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_xlabel(plotted(scene.variables[0]))
    axes.set_ylabel(plotted(scene.variables[1]))
    colors = [BY_COLOR[k % 6] for k in range(n)] if n <= FEW else [BY_COLOR[0]] * n
    tails = [axes.plot([], [], color=color, lw=1.3, alpha=0.55)[0] for color in colors]
    dots = axes.scatter(*x[0].T, s=34 if n <= 60 else 8, c=colors, zorder=3)
    if box is not None:
        axes.set_xlim(0, box)
        axes.set_ylim(0, box)
        axes.spines[["top", "right"]].set_visible(True)
    centre, half = _following(free)

    def update(at: int) -> None:
        part = x[_tail(scene, at)].copy()
        if box is not None:
            part[1:][np.abs(np.diff(part, axis=0)).max(axis=-1) > box / 2] = np.nan
        else:
            axes.set_xlim(centre[at, 0] - half, centre[at, 0] + half)
            axes.set_ylim(centre[at, 1] - half, centre[at, 1] + half)
        for k, line in enumerate(tails):
            line.set_data(part[:, k, 0], part[:, k, 1])
        dots.set_offsets(x[at])

    return update


def _following(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The middle (T, 2) of the window and half its side, for positions (T, N, 2): fixed, unless the group flies far."""
    across, along = square_window(x[..., 0], x[..., 1])
    fixed = max(across[1] - across[0], along[1] - along[0]) / 2
    middle = x.mean(axis=1)
    group = 1.15 * float(np.abs(x - middle[:, None]).max()) or fixed
    if x.shape[1] > 1 and fixed > 1.5 * group:
        return middle, group
    return np.tile([sum(across) / 2, sum(along) / 2], (len(x), 1)), fixed


def _path(figure: Any, scene: Scene) -> Update:
    """A phase portrait, or bodies in three dimensions: a point with its tail over the whole path."""
    y = scene.first[:, None] if scene.bodies is None else scene.bodies
    d = 3 if (scene.bodies is not None or len(scene.variables) == 3) else 2
    axes = figure.add_subplot(projection="3d") if d == 3 else figure.add_subplot()
    axes.set_xlabel(plotted(scene.variables[0]))
    axes.set_ylabel(plotted(scene.variables[1]))
    if d == 3:
        axes.set_zlabel(plotted(scene.variables[2]))
    lines, heads = [], []
    for k in range(y.shape[1]):
        if y.shape[1] == 1:
            axes.plot(*y[:, k, :d].T, color=FADED, lw=0.7)
        lines.append(axes.plot(*y[:1, k, :d].T, color=BY_COLOR[k % 6], lw=1.8)[0])
        heads.append(axes.plot(*y[:1, k, :d].T, "o", color=BY_COLOR[k % 6], ms=6)[0])
    for k, axis in enumerate("xyz"[:d]):
        axes.set(**{f"{axis}lim": window(y[..., k])})

    def update(at: int) -> None:
        for k, (line, head) in enumerate(zip(lines, heads, strict=True)):
            for artist, part in ((line, y[_tail(scene, at), k, :d]), (head, y[at : at + 1, k, :d])):
                if d == 3:
                    artist.set_data_3d(*part.T)
                else:
                    artist.set_data(*part.T)

    return update


def _curve(figure: Any, scene: Scene, kind: str) -> Update:
    """A field on a line, or variables by their index, as a curve for each variable."""
    y = scene.first if kind == "field1" else scene.first[..., None]
    place = np.arange(y.shape[1]) * (scene.structure.extent[0] / y.shape[1] if kind == "field1" else 1.0)
    shown = min(y.shape[-1], 3)
    all_axes = np.atleast_1d(figure.subplots(shown, 1, sharex=True))
    lines = []
    for k, axes in enumerate(all_axes):
        lines.append(axes.plot(place, y[0, :, k], color=BY_COLOR[k], lw=1.8)[0])
        axes.set_ylim(window(y[..., k]))
        axes.set_ylabel(plotted(scene.variables[k]) if kind == "field1" else "value")
    all_axes[-1].set_xlabel("place x" if kind == "field1" else "index")

    def update(at: int) -> None:
        for k, line in enumerate(lines):
            line.set_ydata(y[at, :, k])

    return update


def _image(figure: Any, scene: Scene) -> Update:
    k = int(np.argmax(scene.first.std(axis=(0, 1))))
    grid, sides = scene.structure.grid, scene.structure.extent
    assert grid is not None
    images = scene.first[..., k].reshape(len(scene.times), *grid[:2], -1)[..., 0]
    axes = figure.add_subplot()
    axes.grid(False)
    shown = axes.imshow(images[0].T, origin="lower", extent=(0, sides[0], 0, sides[1]), **shades(images))
    axes.set_xlabel("place x")
    axes.set_ylabel("place y")
    figure.colorbar(shown, ax=axes, shrink=0.85).set_label(plotted(scene.variables[k]))
    return lambda at: shown.set_data(images[at].T)


def _growing(figure: Any, scene: Scene) -> Update:
    """Everything else: series that grow."""
    y = scene.first if scene.first.ndim == 3 else scene.first[:, None]
    shown = min(y.shape[-1], 4)
    all_axes = np.atleast_1d(figure.subplots(shown, 1, sharex=True))
    lines = []
    for k, axes in enumerate(all_axes):
        for body in range(min(y.shape[1], 40)):
            lines.append((axes.plot([], [], color=BY_COLOR[body % 6], lw=1.4)[0], body, k))
        axes.set_xlim(window(scene.times, 0.01))
        axes.set_ylim(window(y[..., k]))
        axes.set_ylabel(plotted(scene.variables[k], 20))
    all_axes[-1].set_xlabel(scene.time_label)

    def update(at: int) -> None:
        for line, body, k in lines:
            line.set_data(scene.times[: at + 1], y[: at + 1, body, k])

    return update
