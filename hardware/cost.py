"""What a counter returns: floating-point operations by kind, and what it could not count."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """Floating-point operations. One multiply-add is 2 FLOP; a transcendental function is 1 FLOP, also counted apart.

    `flop`: all operations. `transcendental`: those among them that are exp, log, sin, tanh, sqrt, division, ….
    `uncounted`: names of operations met without a rule; when there is one the count is a lower bound.
    Values are Python ints, so that they are exact however large. A JAX program whose loops depend on data returns a
    `hardware.flops_jax.Tally` instead, which has the same face: `resolve()`, `lanes(n)`, `flop`, ….
    """

    flop: int = 0
    transcendental: int = 0
    uncounted: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_lower_bound(self) -> bool:
        return bool(self.uncounted)

    def resolve(self) -> Cost:
        """Itself: a cost is final."""
        return self

    def lanes(self, n: int) -> list[Cost]:
        """The cost of each of `n` vmapped lanes (or stacked scan steps), which is the same for all of them."""
        return [self] * n

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            self.flop + other.flop, self.transcendental + other.transcendental, self.uncounted | other.uncounted
        )

    def __mul__(self, times: int) -> Cost:
        """`times` repetitions; an operation repeated 0 times is not missing from the count either."""
        return Cost(self.flop * times, self.transcendental * times, self.uncounted if times else frozenset())

    __rmul__ = __mul__
