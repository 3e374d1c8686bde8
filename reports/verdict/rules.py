"""What may be said of a structured model against a black box: the protocol's points 8 and 9 as a table of rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reports.verdict.types import BEHIND, CANNOT_TELL, CATCHES_UP, CROSSED, ESCAPES, OFFSET

EQUIVALENT = 0.1  # exponents that differ by less are the same to us: the smallest difference that a verdict looks for


@dataclass(frozen=True)
class Evidence:
    """What the rules look at, about one contest.

    `told`: both exponents are identified over the common range of cost. `predicted`: the held-out decade of both.
    `sign`: of the difference of exponents (structured less black box), 0 where its interval, corrected over tasks,
    holds 0. `low`, `high`: its interval. `dearer_or_cheaper`: the interval of the cost ratio excludes 1.
    `same_floor`: no difference of floors is sure that matters. `was_ahead`: the structured model is, somewhere in the
    common range. `floor`: its floor is identified and above 0; `below_now`: the black box's least error is below that
    floor's interval; `below_later`: its own floor, identified, surely is, and it crosses soon. `trailing`: the
    structured model is behind in all of the common range, surely so at both ends; `ahead_now`: it is ahead at the end.
    """

    told: bool = False
    predicted: bool = False
    sign: int = 0
    low: float = -np.inf
    high: float = np.inf
    dearer_or_cheaper: bool = False
    same_floor: bool = True
    was_ahead: bool = False
    floor: bool = False
    below_now: bool = False
    below_later: bool = False
    trailing: bool = False
    ahead_now: bool = False

    @property
    def width(self) -> float:
        """The largest difference of exponents that the interval allows."""
        return max(abs(self.low), abs(self.high))

    @property
    def same_exponent(self) -> bool:
        """No difference that matters; or none found, none twice as large as that possible, and costs that do differ."""
        near = self.width <= EQUIVALENT or (self.width <= 2 * EQUIVALENT and self.dearer_or_cheaper)
        return self.sign == 0 and near and self.same_floor


# The first that holds is what is said. A floor comes first: a model that will be passed has not escaped.
RULES: tuple[tuple[str, Callable[[Evidence], bool]], ...] = (
    (CROSSED, lambda e: e.was_ahead and e.floor and e.below_now),
    (CROSSED, lambda e: e.was_ahead and e.floor and e.below_later and e.predicted),
    (ESCAPES, lambda e: e.told and e.predicted and e.sign > 0),
    (CATCHES_UP, lambda e: e.told and e.predicted and e.sign < 0 and e.ahead_now),
    (BEHIND, lambda e: e.told and e.predicted and e.sign < 0),
    (OFFSET, lambda e: e.told and e.same_exponent),
    (BEHIND, lambda e: e.trailing),
    (CANNOT_TELL, lambda e: True),
)


def decide(evidence: Evidence) -> str:
    """One of `SAYS`."""
    return next(says for says, holds in RULES if holds(evidence))


def holm(p: list[float | None]) -> list[float | None]:
    """p values corrected for how many there are, so that any false one is said with probability p at most (Holm 1979,
    Scand. J. Stat. 6:65): in ascending order p_(i) becomes max over j ≤ i of min(1, (m − j + 1)·p_(j)). What is None or
    not a number is no test."""
    known = [i for i, value in enumerate(p) if value is not None and np.isfinite(value)]
    corrected: list[float | None] = [None] * len(p)
    worst = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p[i])):  # type: ignore[arg-type, return-value]
        worst = max(worst, min(1.0, (len(known) - rank) * float(p[i])))  # type: ignore[arg-type]
        corrected[i] = worst
    return corrected
