"""Numbers with their intervals, a row each: exponents, differences of exponents, break-even."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from reports.study_figures.base import DARK, GRAY, Drawing, Look, axis_label, label, pages, tidy_log
from reports.study_tables.summary import Summary
from reports.text import where
from reports.verdict.types import (
    BEHIND,
    CANNOT_TELL,
    CATCHES_UP,
    CROSSED,
    ESCAPES,
    OFFSET,
    BreakEven,
    Contest,
    Scaling,
    Verdict,
)

ROWS = 24  # in a panel, at most
SAYS = {
    ESCAPES: ("#0072B2", "^"),
    OFFSET: ("#009E73", "o"),
    CROSSED: ("#E69F00", "X"),
    CATCHES_UP: ("#CC79A7", "<"),
    BEHIND: ("#D55E00", "v"),
    CANNOT_TELL: (GRAY, "D"),
}


def exponent_figures(summary: Summary, verdict: Verdict, axis: str) -> Iterator[Drawing]:
    """A panel a task, a row a model."""
    name, title = f"exponents_{axis}", f"Scaling exponent α over {axis_label(axis)}"
    levels = {s.exponent.level for s in verdict.scalings if s.axis == axis and s.exponent is not None}
    caption = (
        f"{title}, of error = E + A·cost^(−α), with {_percent(levels)} intervals. Hollow: exponent or floor cannot be "
        "told from these data; where the likelihood is flat without an interval. Further right is better."
    )
    references = summary.data.references
    scalings = [s for s in verdict.scalings if s.axis == axis and s.model not in references]
    panels = _chunks(scalings, lambda s: where(s.task, s.condition))
    if not any(s.law is not None for _, rows in panels for s in rows):
        yield Drawing(name, caption, reason=f"no law could be fitted over {axis_label(axis)}")
        return
    look = Look.of(summary.data)
    tall = max(len(rows) for _, rows in panels)
    yield from pages(
        name,
        f"{title}, {_percent(levels)} intervals",
        caption,
        panels,
        lambda axes, panel: _exponents(axes, panel, look, axis),
        legend=_exponent_legend,
        size=(3.6, 1.1 + 0.27 * tall),
    )


def _exponents(axes: Any, panel: tuple[str, list[Scaling]], look: Look, axis: str) -> None:
    title, rows = panel
    for y, s in enumerate(rows):
        style = look[s.model]
        if s.law is None:
            axes.text(0.02, y, _reason(s.reasons), transform=_beside(axes), va="center", fontsize=7.5, color=GRAY)
            continue
        low, high = (s.exponent.low, s.exponent.high) if s.exponent else (math.nan, math.nan)
        told = s.identifiability is None or s.identifiability.identified
        if s.identifiability is not None and s.identifiability.flat:
            low = high = math.nan
        _bar(axes, y, s.law.exponent, low, high, style["color"], style["marker"], hollow=not told)
    _rows(axes, title, [label(s.model, 20) for s in rows])
    axes.set_xlabel(f"α over {axis_label(axis)}")


def difference_figures(summary: Summary, verdict: Verdict, axis: str) -> Iterator[Drawing]:
    """A panel a pair of models, a row a task: how much larger the exponent of the structured one is."""
    name, title = f"differences_{axis}", f"Difference of exponents Δα over {axis_label(axis)}, structured − black box"
    levels = {c.difference.level for c in verdict.contests if c.axis == axis and c.difference.low is not None}
    caption = (
        f"{title}, with {_percent(levels)} intervals, and what is said of it. Right of 0: the structured model's error "
        "falls faster."
    )
    panels = _chunks([c for c in verdict.contests if c.axis == axis], lambda c: f"{c.structured} − {c.black_box}")
    if not any(c.difference.value is not None for _, rows in panels for c in rows):
        reason = "no structured model could be compared with a black box" + _why(verdict, axis)
        yield Drawing(name, caption, reason=reason)
        return
    tall = max(len(rows) for _, rows in panels)
    tall *= 1.35 if any(c.condition for c in verdict.contests) else 1  # names of two lines
    yield from pages(
        name,
        f"{title}, {_percent(levels)} intervals",
        caption,
        panels,
        lambda axes, panel: _differences(axes, panel),
        legend=lambda items: _says_legend([c for _, rows in items for c in rows]),
        size=(3.6, 1.1 + 0.27 * tall),
    )


def _differences(axes: Any, panel: tuple[str, list[Contest]]) -> None:
    title, rows = panel
    axes.axvline(0, color=DARK, lw=0.9, zorder=1.5)
    for y, c in enumerate(rows):
        d = c.difference
        if d.value is None:
            said = label(_in_short(d.reason), 38)
            axes.text(0.02, y, said, transform=_beside(axes), va="center", fontsize=7.5, color=GRAY)
            continue
        color, marker = SAYS.get(c.says, SAYS[CANNOT_TELL])
        low, high = (math.nan if v is None else v for v in (d.low, d.high))
        _bar(axes, y, d.value, low, high, color, marker)
    _rows(axes, title, [_two_lines(c.task, c.condition) for c in rows])
    axes.set_xlabel("Δα")


def break_even_figures(summary: Summary, verdict: Verdict, axis: str) -> Iterator[Drawing]:
    """A panel a task, a row a pair: after how many predictions the first has cost less than the second."""
    name, title = f"break_even_{axis}", f"Break-even over {axis_label(axis)}: when the first model has cost less"
    caption = (
        f"{title} than the second, training and predictions together, at equal error; in time units predicted. Arrows "
        "at the edges: from the start (left), never (right)."
    )
    panels = _chunks([b for b in verdict.break_evens if b.axis == axis], lambda b: where(b.task, b.condition))
    finite = [v for _, rows in panels for b in rows for v in _ends(b) if 0 < v < math.inf]
    if not any(b.queries.value is not None for _, rows in panels for b in rows):
        yield Drawing(name, caption, reason="no break-even could be computed" + _why(verdict, axis))
        return
    low, high = (min(finite) / 10, max(finite) * 10) if finite else (1.0, 1e6)
    look = Look.of(summary.data)
    tall = max(len(rows) for _, rows in panels)
    yield from pages(
        name,
        title,
        caption,
        panels,
        lambda axes, panel: _break_evens(axes, panel, look, (low, high)),
        size=(5.0, 1.1 + 0.27 * tall),
        columns_of=2,
    )


def _break_evens(axes: Any, panel: tuple[str, list[BreakEven]], look: Look, limits: tuple[float, float]) -> None:
    title, rows = panel
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    for y, b in enumerate(rows):
        style, value = look[b.model], b.queries.value
        if value is None:
            axes.text(0.02, y, _reason([b.queries.reason]), transform=_beside(axes), va="center", fontsize=7.5)
            continue
        at, low, high = (min(max(v, limits[0]), limits[1]) for v in (value, *_ends(b)[1:]))
        axes.plot([low, high], [y, y], color=style["color"], lw=1.4, zorder=2, solid_capstyle="butt")
        edge = {limits[0]: "<", limits[1]: ">"}.get(at)
        marker, said = edge or style["marker"], {"<": "from the start  ", ">": "never  "}.get(edge or "", "")
        axes.plot(at, y, marker=marker, color=style["color"], ms=6, zorder=3, clip_on=False)
        if said:
            left = edge == "<"
            shift = {"xytext": (8 if left else -8, 5), "textcoords": "offset points", "ha": "left" if left else "right"}
            axes.annotate(said.strip(), (at, y), fontsize=7, color=DARK, va="bottom", annotation_clip=False, **shift)
    _rows(axes, title, [f"{label(b.model, 18)} – {label(b.other, 18)}" for b in rows])
    axes.set_xlabel("predicted time units Q*")
    tidy_log(axes)


def _ends(b: BreakEven) -> tuple[float, float, float]:
    value = b.queries.value if b.queries.value is not None else math.nan
    low, high = (value if v is None else v for v in (b.queries.low, b.queries.high))
    return value, low, high


def _bar(
    axes: Any, y: float, value: float, low: float, high: float, color: str, marker: str, hollow: bool = False
) -> None:
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [y, y], color=color, lw=1.6, zorder=2, solid_capstyle="butt")
        axes.plot([low, high], [y, y], "|", color=color, ms=6, zorder=2)
    axes.plot(value, y, marker=marker, color=color, ms=6, zorder=3, markerfacecolor="white" if hollow else color)


def _rows(axes: Any, title: str, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_title(label(title, 44), loc="right", fontsize=9.5)  # the names of the rows take room at the left


def _two_lines(task: str, condition: str) -> str:
    return label(task, 22) + (f"\n{label(condition, 24)}" if condition else "")


def _beside(axes: Any) -> Any:
    """x in shares of the panel, y in rows."""
    from matplotlib.transforms import blended_transform_factory

    return blended_transform_factory(axes.transAxes, axes.transData)


def _chunks(rows: Sequence[Any], title: Any) -> list[tuple[str, list[Any]]]:
    """The rows by title, at most ROWS of one in a panel."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(title(row), []).append(row)
    return [(name, group[i : i + ROWS]) for name, group in groups.items() for i in range(0, len(group), ROWS)]


def _reason(reasons: Sequence[str]) -> str:
    return label("; ".join(reasons) or "unknown", 52)


def _in_short(reason: str) -> str:
    """Whose reason it is, and its last clause."""
    whose, *clauses = reason.split(": ")
    return f"{whose.partition(' ')[0]}: {clauses[-1]}" if clauses else reason or "unknown"


def _why(verdict: Verdict, axis: str) -> str:
    reasons = [r for c in verdict.contests if c.axis == axis for r in (c.difference.reason, *c.reasons) if r]
    return f": {reasons[0]}" if reasons else ""


def _percent(levels: set[float]) -> str:
    return f"{100 * min(levels):g}%" if len(levels) == 1 else "bootstrap"


def _exponent_legend(items: Sequence[tuple[str, list[Scaling]]]) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    rows = [s for _, scalings in items for s in scalings if s.law is not None and s.identifiability is not None]
    if all(s.identifiability is not None and s.identifiability.identified for s in rows):
        return []
    hollow = Line2D([], [], color=GRAY, marker="o", ls="", ms=6, markerfacecolor="white")
    return [(Line2D([], [], color=GRAY, marker="o", ls="", ms=6), "told by the data"), (hollow, "cannot be told")]


def _says_legend(rows: Sequence[Contest]) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    said = [s for s in SAYS if any(c.says == s for c in rows)]
    return [(Line2D([], [], color=SAYS[s][0], marker=SAYS[s][1], ls="", ms=6), s) for s in said]
