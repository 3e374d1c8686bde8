"""Verdicts in words, with their numbers. Names are a user's and may hold anything: they are made one line each, and
whoever writes the sentence into HTML or LaTeX escapes it as a whole."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from reports.study import AXES
from reports.text import clean, number
from reports.verdict.types import BEHIND, CANNOT_TELL, CATCHES_UP, CROSSED, ESCAPES, OFFSET, SAYS, Contest, Estimate

COSTS = {
    "flop": "training FLOP",
    "tuned_flop": "training FLOP, tuning charged",
    "energy_j": "training joules",
    "tuned_energy_j": "training joules, tuning charged",
    "seconds": "training seconds",
    "samples": "training windows",
}


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
SOON = 1e3  # how far beyond the data a crossover is believed


def place(task: str, condition: str) -> str:
    return clean(task) + (f" ({clean(condition)})" if condition else "")


def amount(value: float, unit: str = "") -> str:
    return "never" if math.isinf(value) else f"{number(value)} {unit}".strip()


def spread(e: Estimate) -> str:
    """ "2.1 [1.5, 3]", or the value alone, or why there is none."""
    if e.value is None:
        return f"unknown ({e.reason})" if e.reason else "unknown"
    if e.low is None or e.high is None:
        return f"{amount(e.value)} (no interval)"
    return f"{amount(e.value)} [{amount(e.low)}, {amount(e.high)}]"


def contest_sentence(c: Contest) -> str:
    """One sentence: who, where, what is said, and the numbers that it rests on."""
    first, second, unit = clean(c.structured), clean(c.black_box), AXES[c.axis][1]
    head = f"On {place(c.task, c.condition)}, by {COSTS[c.axis]}, {first}"
    exponents = _exponents(c)
    ratio = (
        f"at {amount(c.common[1], unit)} its error is {spread(c.error_ratio)} times that of {second}"
        if c.common
        else ""
    )
    numbers = ", ".join(part for part in (ratio, _price(c, first, second)) if part)
    if c.says == ESCAPES:
        return f"{head} escapes the wall of {second}: {exponents}; {numbers}."
    if c.says == OFFSET:
        return f"{head} differs from {second} by an offset only: {exponents}; {numbers}."
    if c.says == CROSSED:
        return f"{head} hits a floor, and {second} is better from {crossing(c, unit)}: {exponents}; {numbers}."
    if c.says == CATCHES_UP:
        return f"{head} is ahead, but {second} catches up, from {crossing(c, unit)}: {exponents}; {numbers}."
    if c.says == BEHIND:
        return f"{head} is behind {second}: {exponents}; {numbers}."
    why = "; ".join(clean(reason) for reason in c.reasons[:3]) or "the intervals are too wide"
    return f"{head} against {second}: cannot tell, because {why}" + (f" ({exponents}; {numbers})." if numbers else ".")


def _price(c: Contest, first: str, second: str) -> str:
    """The cost ratio at the least error that both come to; where it is infinite or 0, whose law never comes there."""
    ratio = c.cost_ratio
    if not c.equal_error or ratio.value is None:
        return clean(ratio.reason)
    error = number(c.equal_error)
    if 0 < ratio.value < math.inf:
        return f"to an error of {error} {second} needs {spread(ratio).replace('never', '∞')} times the cost"
    said = f"by its law {second if ratio.value else first} never comes to an error of {error}"
    if ratio.low is None or ratio.high is None or ratio.low == ratio.high:
        return said
    if (ratio.low, ratio.high) == (0, math.inf):
        return f"{said} (the interval excludes no ratio of costs)"
    bound = f"begins at {amount(ratio.low)}" if ratio.value else f"ends at {amount(ratio.high)}"
    return f"{said} (the interval {bound} times the cost)"


def _exponents(c: Contest) -> str:
    """The difference, and p: after Holm's correction, which the interval does not have."""
    if c.difference.value is None:
        return "their exponents cannot be compared"
    said = f"exponents differ by {spread(c.difference)}"
    if c.p_holm is None:
        return said
    corrected = " corrected over tasks (Holm; the interval is not)" if c.p_holm != c.p else ""
    return f"{said}, p = {c.p_holm:.2g}{corrected}"


def kind_of(reason: str) -> str:
    """The reason without its numbers."""
    return re.sub(r"[\d.e+-]+", "", reason)


def out_of_reach(c: Contest) -> bool:
    """Whether the crossover lies further beyond the data than they can foretell."""
    e = c.crossover
    return e.value is not None and c.common is not None and SOON * c.common[1] < e.value < math.inf


def crossing(c: Contest, unit: str) -> str:
    """From which cost the black box is better, and whether that was seen."""
    e = c.crossover
    if e.value is None or math.isinf(e.value):
        return "some cost beyond the data on"
    if e.value == 0:
        return "the start"
    bounds = "" if e.low is None or e.high is None else f" [{amount(e.low)}, {amount(e.high)}]"
    beyond = c.common is not None and e.value > c.common[1]
    reach = ", not within reach of these data" if out_of_reach(c) else ""
    return f"{number(e.value)}{bounds} {unit} on" + (f" (extrapolated{reach})" if beyond else "")


def headline(contests: tuple[Contest, ...]) -> str:
    """One or two sentences over tasks, along the first axis that was judged."""
    if not contests:
        return "Cannot tell: no structured model and black box were compared on the same task."
    axis = contests[0].axis
    chosen = [c for c in contests if c.axis == axis]
    counts = {says: sum(c.says == says for c in chosen) for says in SAYS}
    told = {
        ESCAPES: "the structured model escapes the wall (larger exponent, top decade predicted)",
        OFFSET: "it differs by an offset only",
        CROSSED: "it hits a floor and is or will be passed",
        CATCHES_UP: "it is ahead and the black box catches up (larger exponent, top decade predicted)",
        BEHIND: "the black box is ahead",
        CANNOT_TELL: "the data cannot tell",
    }
    parts = [f"in {n} {told[says]}" for says, n in counts.items() if n]
    count = f"{len(chosen)} comparison{'s' * (len(chosen) > 1)}"
    if len(chosen) == 1:
        return chosen[0].sentence
    if counts[CANNOT_TELL] == len(chosen):
        return f"Cannot tell, in any of {count} by {COSTS[axis]}. {most_often(chosen)}".strip()
    return f"Of {count} of a structured model with a black box, by {COSTS[axis]}: {', '.join(parts)}."


def most_often(contests: Sequence[Contest]) -> str:
    """The two commonest reasons, with how many contests have one of the kind; of numbers that differ, the range."""
    kinds: dict[str, dict[int, list[str]]] = {}  # by kind and contest: both of its models may give one
    for i, contest in enumerate(contests):
        for reason in contest.reasons:
            told = reason.partition(": ")[2] or reason
            kinds.setdefault(kind_of(told), {}).setdefault(i, []).append(told)
    often = sorted(kinds.values(), key=len, reverse=True)[:2]
    said = (f"{clean(_ranged([r for own in kind.values() for r in own]))} ({len(kind)} of {len(contests)})"
            for kind in often)  # fmt: skip
    return f"Most often: {'; '.join(said)}." if often else ""


def _ranged(reasons: Sequence[str]) -> str:
    """Reasons of one kind as one, each number as the range of them: "covers 1.2 to 2.1 decades"."""
    figures = [NUMBER.findall(reason) for reason in reasons]
    if len({len(found) for found in figures}) > 1:
        return reasons[0]
    ranges = []
    for column in zip(*figures, strict=True):
        low, high = min(column, key=float), max(column, key=float)
        ranges.append(low if low == high else f"{low} to {high}")
    parts = NUMBER.split(reasons[0])
    text = "".join(part + value for part, value in zip(parts, [*ranges, ""], strict=True))
    return re.sub(r"^its ", "the ", text)
