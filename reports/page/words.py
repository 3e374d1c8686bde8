"""Numbers, estimates and names as the page writes them."""

from __future__ import annotations

import math
import re
from typing import Any

from reports.text import clean, number
from reports.verdict.types import Estimate

UNKNOWN = "—"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text_of(value: Any) -> str:
    """A number with powers of ten as people write them, 1.23×10⁹; "—" where it is unknown; names made harmless."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    shown = number(float(value))
    shown = re.sub(r"(.+)e(-?\d+)$", lambda m: f"{m[1]}×10{m[2].translate(RAISED)}", shown)
    return re.sub(r"^(-?)1×10", r"\g<1>10", shown).replace("-", "−")


def phrase(estimate: Estimate | None) -> str:
    """A number and its interval: 0.12 [0.08, 0.15]."""
    if estimate is None or estimate.value is None:
        return UNKNOWN
    return between(estimate.value, estimate.low, estimate.high)


def between(value: float, low: float | None, high: float | None) -> str:
    """A number and its interval, where that says more than the number alone."""
    shown = [text_of(value), text_of(low), text_of(high)]
    if low is None or high is None or len(set(shown)) == 1:
        return shown[0]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def prose(text: str) -> str:
    """A sentence of the verdict, its numbers as `text_of` writes them."""
    text = re.sub(r"(?<![\w.])-?\d+(?:\.\d+)?e[+-]?\d{1,2}\b", lambda m: text_of(float(m[0])), clean(text))
    return re.sub(r"(?<![\w.)\]])-(?=\d)", "−", text)


def label(task: str, condition: str) -> str:
    """What a panel is called."""
    return f"{clean(task)} · {clean(condition)}" if condition else clean(task)


def rounded(value: Any, digits: int = 4) -> float | int | None:
    """For JSON: so many significant digits, None where there is no finite number."""
    value = float(value)
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e6 else short


def several(count: int, one: str, many: str = "") -> str:
    """1 run, 2 runs."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
