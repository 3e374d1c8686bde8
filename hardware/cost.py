"""What a counter returns: floating-point operations by kind and precision, bytes, and what it could not count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

# Kinds of work that hardware does at different speeds. `transcendental` takes its part out of any of the others.
KINDS = ("matmul", "convolution", "elementwise", "transcendental", "reduction", "scatter", "linalg", "fft")


@dataclass(frozen=True)
class Cost:
    """Floating-point operations. One multiply-add is 2 FLOP; a transcendental function is 1 FLOP, also counted apart.

    `flop`: all operations. `transcendental`: those among them that are exp, log, sin, tanh, sqrt, division, ….
    `uncounted`: names of operations met without a rule; when there is one the count is a lower bound.
    `parts`: sorted (kind, dtype, flop); they sum to `flop` where a counter made the cost (see `by_kind`).
    `operations`: operations that do more than rename or reshape: what is launched where nothing is fused.
    `unfused_bytes`: operands and results of every operation: what moves where nothing is fused or cached.
    `least_bytes`: arguments read and results written, each once: what moves where everything else stays on the chip.
    Values are Python ints, so that they are exact however large. A JAX program whose loops depend on data returns a
    `hardware.flops_jax.Tally` instead, which has the same face: `resolve()`, `lanes(n)`, `flop`, ….
    """

    flop: int = 0
    transcendental: int = 0
    uncounted: frozenset[str] = field(default_factory=frozenset)
    parts: tuple[tuple[str, str, int], ...] = ()
    operations: int = 0
    unfused_bytes: int = 0
    least_bytes: int = 0

    @property
    def is_lower_bound(self) -> bool:
        return bool(self.uncounted)

    @property
    def by_kind(self) -> dict[tuple[str, str], int]:
        """FLOP of each (kind, dtype), as in {("matmul", "float32"): 2097152}."""
        return {(kind, dtype): flop for kind, dtype, flop in self.parts}

    @property
    def intensity(self) -> tuple[float | None, float | None]:
        """Arithmetic intensity in FLOP per byte: (where nothing is fused, where all is); None without bytes."""
        return (
            self.flop / self.unfused_bytes if self.unfused_bytes else None,
            self.flop / self.least_bytes if self.least_bytes else None,
        )

    def of(self, kind: str, dtype: str) -> Cost:
        """Itself, with all its FLOP said to be of one kind (the transcendental ones of their own) and one dtype."""
        shares = {kind: self.flop - self.transcendental, "transcendental": self.transcendental}
        return replace(self, parts=tuple(sorted((k, dtype, flop) for k, flop in shares.items() if flop)))

    def share(self, n: int) -> Cost:
        """An equal share among n, every number rounded down, but for parts that keep their sums (of all, and of the
        transcendental ones): each is the difference of two running totals, rounded."""
        parts, before = [], 0
        for kind, dtype, flop in sorted(self.parts, key=lambda part: part[0] != "transcendental"):
            parts.append((kind, dtype, (before + flop) // n - before // n))
            before += flop
        return replace(
            self,
            flop=self.flop // n,
            transcendental=self.transcendental // n,
            parts=tuple(sorted(part for part in parts if part[2])),
            operations=self.operations // n,
            unfused_bytes=self.unfused_bytes // n,
            least_bytes=self.least_bytes // n,
        )

    def resolve(self) -> Cost:
        """Itself: a cost is final."""
        return self

    def lanes(self, n: int) -> list[Cost]:
        """The cost of each of `n` vmapped lanes (or stacked scan steps), which is the same for all of them."""
        return [self] * n

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        if other == NOTHING:
            return self
        return Cost(
            self.flop + other.flop,
            self.transcendental + other.transcendental,
            self.uncounted | other.uncounted,
            _merge(self.parts, other.parts),
            self.operations + other.operations,
            self.unfused_bytes + other.unfused_bytes,
            self.least_bytes + other.least_bytes,
        )

    def __mul__(self, times: int) -> Cost:
        """`times` repetitions; an operation repeated 0 times is not missing from the count either."""
        if not times:
            return NOTHING
        return Cost(
            self.flop * times,
            self.transcendental * times,
            self.uncounted,
            tuple((kind, dtype, flop * times) for kind, dtype, flop in self.parts),
            self.operations * times,
            self.unfused_bytes * times,
            self.least_bytes * times,
        )

    __rmul__ = __mul__


NOTHING = Cost()

Parts = tuple[tuple[str, str, int], ...]


def _merge(a: Parts, b: Parts) -> Parts:
    if not a or not b:
        return a or b
    total: Counter[tuple[str, str]] = Counter()
    for kind, dtype, flop in (*a, *b):
        total[kind, dtype] += flop
    return tuple(sorted((kind, dtype, flop) for (kind, dtype), flop in total.items()))
