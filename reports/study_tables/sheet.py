"""A table as such: keys, columns and cells, ready for any of the formats that `render` writes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from reports.text import number

UNKNOWN = "—"


@dataclass(frozen=True)
class Cell:
    """What one cell shows (`text`, and `aside`, mostly its interval) and what it means to a machine.

    `best`: it is shown as the best of its column. `value`, `low`, `high`, `level`: None is unknown, infinite is never.
    `method`: how value and interval were obtained. `reason`: why they are missing.
    """

    text: str = UNKNOWN
    aside: str = ""
    best: bool = False
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int | None = None
    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Column:
    """`name`: in CSV; `title` and `unit` elsewhere. `target`: an error to reach. `words`: text, and not a figure."""

    name: str
    title: str
    unit: str = ""
    target: float | None = None
    words: bool = False


@dataclass(frozen=True)
class Line:
    """One row: `keys` say what it is of (`under`: a second line below the last key); `apart`: a rule goes above it.
    `about`: the same for CSV, by the name of its column."""

    keys: tuple[str, ...]
    cells: tuple[Cell, ...]
    under: str = ""
    apart: bool = False
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """One table. `name`: in CSV. `keys`: titles of the columns that say what a row is of. `empty`: what to say where
    there are no rows."""

    name: str
    title: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    empty: str = ""


def figure(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    never: str = "never",
    bound: str = "",
    best: bool = False,
    level: float | None = None,
    n: int | None = None,
    method: str = "",
    reason: str = "",
) -> Cell:
    """A cell of a number and its interval, written "low, high"; `bound` goes before the number."""
    value, low, high = (None if v is None or math.isnan(v) else float(v) for v in (value, low, high))
    if value is None:
        return Cell(reason=reason, method=method)
    text = never if math.isinf(value) else bound + number(value)
    aside = ""
    if low is not None and high is not None and number(low) != number(high):
        aside = f"{number(low)}, {number(high)}"
    return Cell(text, aside, best, value, low, high, level, n, method, reason)


def words(text: str, **about: str) -> Cell:
    return Cell(text or UNKNOWN, method=about.get("method", ""), reason=about.get("reason", ""))
