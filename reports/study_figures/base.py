"""What the figures of a study share: pages of small panels, the look of each model, legends, and files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.study import AXES, StudyData
from reports.styles import STYLE, quiet, reference_style, style
from reports.text import clean, plotted

PANELS = 6  # on a page, at most
TALLEST = 10.5  # inches of panels on a page
FORMATS = ("png", "svg", "pdf")
GRAY, DARK = "#666666", "#333333"
DPI = 200


@dataclass(frozen=True)
class Drawing:
    """One page: a matplotlib figure, or `reason`, why there is nothing to draw. `name`: of its files, without ending.
    `caption`: what it shows and how to read it, in a sentence or two."""

    name: str
    caption: str
    figure: Any = None
    reason: str = ""


@dataclass(frozen=True)
class Look:
    """How each model of a study is drawn; the same in every figure."""

    styles: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: StudyData) -> Look:
        declared = dict.fromkeys((*data.structured, *data.black_box))
        trained = [*declared, *sorted(set(data.runs["model"].tolist()) - set(declared) - set(data.references))]
        styles = {model: style(i) for i, model in enumerate(trained)}
        levels = {model: reference_style(model) for model in data.references}
        of_a_model = {part: {"color": styles[whole]["color"]} for part, whole in data.parts.items() if part in levels}
        return cls(levels | {part: levels[part] | color for part, color in of_a_model.items()} | styles)

    def __getitem__(self, model: str) -> dict[str, Any]:
        return self.styles.get(model, reference_style(model))


def label(name: object, most: int = 30) -> str:
    """A name for a legend, long ones without their middle; matplotlib hides those that begin with an underscore."""
    text = clean(name)
    if len(text) > most:
        text = f"{text[: most - most // 2 - 1]}…{text[-(most // 2) :]}"
    return f" {plotted(text, most)}" if text.startswith("_") else plotted(text, most)


def axis_label(axis: str) -> str:
    title, unit = AXES.get(axis, (axis, ""))
    return f"{title} ({unit})" if unit and unit not in title else title


def pages(
    name: str,
    title: str,
    caption: str,
    items: Sequence[Any],
    draw: Callable[[Any, Any], None],
    *,
    legend: Callable[[Sequence[Any]], list[tuple[Any, str]]] | None = None,
    size: tuple[float, float] = (3.6, 3.0),
    rows_of: int = 1,
    columns_of: int = 3,
) -> Iterator[Drawing]:
    """A figure for every `PANELS` items, or fewer where they are tall.

    `draw(axes, item)` fills a panel; with `rows_of` 2 it is given two axes, one above the other, and half as many items
    go on a page. `legend(items)`: (handle, name) of what the page shows.
    `columns_of`: panels side by side, at most."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    most = min(PANELS // rows_of, columns_of * max(1, int(TALLEST / size[1] / rows_of)))
    count = math.ceil(len(items) / most)
    for page in range(count):
        shown = items[page * most : (page + 1) * most]
        columns = len(shown) if rows_of > 1 else min({1: 1, 2: 2, 3: 3, 4: 2}.get(len(shown), 3), columns_of)
        rows = rows_of * math.ceil(len(shown) / columns)
        with rc_context({**STYLE, "font.size": 9}):
            entries = legend(shown) if legend else []
            width = max(size[0] * columns, 5.0 if columns == 1 else 0)
            per_line = _per_line([text for _, text in entries], width)
            height = size[1] * rows + 0.55 + 0.2 * math.ceil(len(entries) / per_line)
            figure = Figure(figsize=(width, height), layout="constrained")
            grid = figure.subplots(rows, columns, squeeze=False)
            for i, item in enumerate(shown):
                column, row = i % columns, rows_of * (i // columns)
                draw(grid[row : row + rows_of, column] if rows_of > 1 else grid[row, column], item)
                for axes in grid[row : row + rows_of, column] if column else ():
                    if axes.get_ylabel() == grid[row + int(axes is not grid[row, column]), 0].get_ylabel():
                        axes.set_ylabel("")  # said once a line
            for axes in grid.ravel()[len(shown) * rows_of :] if rows_of == 1 else []:
                axes.set_axis_off()
            of = f"   ({page + 1} of {count})" if count > 1 else ""
            lines = math.ceil(len(title) * 0.085 / width)
            figure.suptitle(_broken(title, lines) + of, fontsize=10.5, x=0.01, ha="left")
            if entries:
                handles, names = zip(*entries, strict=True)
                figure.legend(handles, names, loc="outside lower center", ncols=per_line, frameon=False, fontsize=8.5)
            suffix = f"-{page + 1}" if count > 1 else ""
            yield Drawing(name + suffix, caption, figure)


def _per_line(names: Sequence[str], width: float) -> int:
    """Legend entries to a line: a letter takes some 0.075 inches, a handle 0.5."""
    longest = max(map(len, names), default=0)
    return max(1, min(len(names) or 1, int(width / (0.55 + 0.068 * longest))))


def _broken(text: str, lines: int) -> str:
    """The text over some lines, broken between words."""
    import textwrap

    return "\n".join(textwrap.wrap(text, max(20, math.ceil(len(text) / max(lines, 1)) + 6)))


def model_legend(models: Sequence[str], look: Look, line: bool) -> list[tuple[Any, str]]:
    """An entry each, as `pages` wants them; with its `line`, or the marker alone."""
    from matplotlib.lines import Line2D

    entries = []
    for model in dict.fromkeys(models):
        style = look[model]
        ls = style["ls"] if line else ""
        handle = Line2D([], [], color=style["color"], marker=style["marker"], ls=ls, ms=5 if line else 8, lw=1.5)
        entries.append((handle, label(model)))
    return entries


def tidy_log(axes: Any) -> None:
    """Fewer ticks on logarithmic axes that cover many decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for scale in (axes.xaxis, axes.yaxis):
        if scale.get_scale() != "log":
            continue
        low, high = scale.get_view_interval()
        if high > 100 * low > 0:  # over many decades they are clutter, and most of the time it takes to draw
            scale.set_major_locator(LogLocator(numticks=6))
            scale.minorticks_off()
        elif high > 10 * low > 0:
            scale.set_minor_formatter(NullFormatter())


def say(axes: Any, text: str) -> None:
    """A message in the middle of an empty panel."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GRAY, fontsize=9, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])


def save(drawing: Drawing, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the files of a drawing; the same drawing gives the same bytes."""
    from matplotlib import rc_context

    paths = []
    with rc_context({**STYLE, "font.size": 9, "pdf.fonttype": 42}), quiet():
        drawing.figure.draw_without_rendering()
        drawing.figure.set_layout_engine("none")  # it has done its work
        for kind in formats:
            path = folder / f"{drawing.name}.{kind}"
            metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
            drawing.figure.savefig(path, dpi=DPI, metadata=metadata)
            paths.append(path)
    return paths
