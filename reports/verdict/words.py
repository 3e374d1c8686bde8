"""Verdicts in words, with their numbers. Names are a user's and may hold anything: they are made one line each, and
whoever writes the sentence into HTML or LaTeX escapes it as a whole."""

from __future__ import annotations

import math

from reports.study import AXES
from reports.text import clean, number
from reports.verdict.types import BEHIND, CANNOT_TELL, CROSSED, ESCAPES, OFFSET, Contest, Estimate

COSTS = {
    "flop": "training FLOP",
    "tuned_flop": "training FLOP, tuning charged",
    "energy_j": "training joules",
    "tuned_energy_j": "training joules, tuning charged",
    "seconds": "training seconds",
    "samples": "training windows",
}


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
    exponents = f"exponents differ by {spread(c.difference)}" + (
        f", p = {c.p_holm:.2g}" if c.p_holm is not None else ""
    )
    ratio = (
        f"at {amount(c.common[1], unit)} its error is {spread(c.error_ratio)} times that of {second}"
        if c.common
        else ""
    )
    price = (
        f"to an error of {number(c.equal_error)} {second} needs {spread(c.cost_ratio)} times the cost"
        if c.equal_error
        else ""
    )
    numbers = ", ".join(part for part in (ratio, price) if part)
    if c.says == ESCAPES:
        return f"{head} escapes the wall of {second}: {exponents}; {numbers}."
    if c.says == OFFSET:
        return f"{head} differs from {second} by an offset only: {exponents}; {numbers}."
    if c.says == CROSSED:
        return (
            f"{head} hits a floor, and {second} is better from {crossing(c.crossover, unit)}: {exponents}; {numbers}."
        )
    if c.says == BEHIND:
        return f"{head} is behind {second}: {exponents}; {numbers}."
    why = "; ".join(clean(reason) for reason in c.reasons[:3]) or "the intervals are too wide"
    return f"{head} against {second}: cannot tell, because {why}" + (f" ({exponents}; {numbers})." if numbers else ".")


def crossing(e: Estimate, unit: str) -> str:
    if e.value is None or math.isinf(e.value):
        return "some cost beyond the data on"
    if e.value == 0:
        return "the start"
    bounds = "" if e.low is None or e.high is None else f" [{amount(e.low)}, {amount(e.high)}]"
    return f"{number(e.value)}{bounds} {unit} on"


def headline(contests: tuple[Contest, ...]) -> str:
    """One or two sentences over tasks, along the first axis that was judged."""
    if not contests:
        return "Cannot tell: no structured model and black box were compared on the same task."
    axis = contests[0].axis
    chosen = [c for c in contests if c.axis == axis]
    counts = {says: sum(c.says == says for c in chosen) for says in (ESCAPES, OFFSET, CROSSED, BEHIND, CANNOT_TELL)}
    told = {
        ESCAPES: "the structured model escapes the wall (larger exponent, top decade predicted)",
        OFFSET: "it differs by an offset only",
        CROSSED: "it hits a floor and is or will be passed",
        BEHIND: "the black box is ahead",
        CANNOT_TELL: "the data cannot tell",
    }
    parts = [f"in {n} {told[says]}" for says, n in counts.items() if n]
    count = f"{len(chosen)} comparison{'s' * (len(chosen) > 1)}"
    if len(chosen) == 1:
        return chosen[0].sentence
    if counts[CANNOT_TELL] == len(chosen):
        why = {reason.partition(": ")[2] or reason: None for c in chosen for reason in c.reasons[:1]}
        return f"Cannot tell, in any of {count} by {COSTS[axis]}: {'; '.join(clean(w) for w in list(why)[:2])}."
    return f"Of {count} of a structured model with a black box, by {COSTS[axis]}: {', '.join(parts)}."
