"""How often a `while` of optimised HLO goes round, read from its text where it is static.

The compiler says it (`known_trip_count`: CPU, GPU), or the condition compares an induction variable, which the body
changes by a constant step, with a limit that no round changes (the TPU's text has only this).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hardware.hlo import Computation, Instruction, Module

Path = tuple[int, ...]  # which element of a tuple, from the outside in

# They hand their first operand on; a copy-start's result is (copy, source, context).
SAME = frozenset(["bitcast", "convert", "copy", "copy-done", "opt-barrier", "optimization-barrier", "reshape"])
SWAPPED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE", "EQ": "EQ", "NE": "NE"}


@dataclass(frozen=True)
class Carried:
    """What a loop's round began with, in element `path` of the loop's state, plus `offset`."""

    path: Path
    offset: int = 0


Value = int | Carried | None


@dataclass(frozen=True)
class Frame:
    """A computation where it is used: what its parameters hold, and the loop whose body or condition it is."""

    module: Module
    computation: Computation
    argument: Callable[[int, Path], Value] = lambda number, path: None
    loop: tuple[Frame, Instruction] | None = None

    def value(self, name: str, path: Path = ()) -> Value:
        """What an instruction yields, as far as constants and the loop's state tell."""
        instruction = self.computation.instructions[name]
        opcode, operands = instruction.opcode, instruction.operands
        if opcode == "constant":
            return _integer(instruction.literal)
        if opcode == "parameter":
            return self.argument(int(instruction.literal), path)
        if opcode == "get-tuple-element" and instruction.index is not None:
            return self.value(operands[0], (instruction.index, *path))
        if opcode == "tuple" and path:
            return self.value(operands[path[0]], path[1:])
        if opcode in SAME:
            return self.value(operands[0], path)
        if opcode == "copy-start":
            return self.value(operands[0], path[1:])
        if opcode in ("add", "subtract") and all(shape.elements == 1 for shape in instruction.shapes):
            return _sum(self.value(operands[0]), self.value(operands[1]), 1 if opcode == "add" else -1)
        if opcode in ("fusion", "call"):
            inner = self.inner(instruction)
            return inner.value(inner.computation.root.name, path)
        if opcode == "while" and loop_frame(self, instruction).step(path) == 0:
            return self.value(operands[0], path)
        return None

    def inner(self, instruction: Instruction) -> Frame:
        """The frame of what a fusion or a call runs."""
        called = instruction.called.get("calls") or instruction.called["to_apply"]
        computation = self.module.computations[called[0]]
        return Frame(self.module, computation, lambda n, path: self.value(instruction.operands[n], path), self.loop)

    def step(self, path: Path) -> int | None:
        """What a round of this loop's body adds to element `path` of the state; None where that is no constant."""
        after = self.value(self.computation.root.name, path)
        return after.offset if isinstance(after, Carried) and after.path == path else None

    def constant(self, name: str, path: Path = ()) -> int | None:
        """The integer that an instruction yields in every round of every loop around it, else None."""
        return self._outside(self.value(name, path))

    def _outside(self, value: Value) -> int | None:
        if not isinstance(value, Carried):
            return value
        if self.loop is None or loop_frame(*self.loop).step(value.path) != 0:
            return None
        outer, loop = self.loop
        start = outer.constant(loop.operands[0], value.path)
        return None if start is None else start + value.offset


def loop_frame(outer: Frame, loop: Instruction, role: str = "body") -> Frame:
    """The frame of a loop's body (or condition): its one parameter is the loop's state."""
    computation = outer.module.computations[loop.called[role][0]]
    return Frame(outer.module, computation, lambda number, path: Carried(path), (outer, loop))


def static_trips(outer: Frame, loop: Instruction) -> int | None:
    """The rounds of a `while` that stands in `outer`; None where the text does not tell, or it would never end."""
    if loop.known_trip_count is not None:
        return loop.known_trip_count
    test = loop_frame(outer, loop, "condition")
    inner, compare = _comparison(test, test.computation.root.name)
    if compare is None:
        return None
    left, right = (inner.value(name) for name in compare.operands)
    direction = compare.attribute("direction") or ""
    body = loop_frame(outer, loop)
    if not (isinstance(left, Carried) and body.step(left.path)):
        left, right, direction = right, left, SWAPPED.get(direction, "")
    if not isinstance(left, Carried):
        return None
    step, limit = body.step(left.path), test._outside(right)
    start = outer.constant(loop.operands[0], left.path)
    if not step or limit is None or start is None:
        return None
    return _rounds(start + left.offset, step, direction, limit)


def _comparison(frame: Frame, name: str) -> tuple[Frame, Instruction | None]:
    """The comparison that decides, looked for inside of fusions and behind copies."""
    instruction = frame.computation.instructions[name]
    if instruction.opcode == "compare":
        return frame, instruction
    if instruction.opcode in SAME:
        return _comparison(frame, instruction.operands[0])
    if instruction.opcode in ("fusion", "call"):
        inner = frame.inner(instruction)
        return _comparison(inner, inner.computation.root.name)
    return frame, None


def _rounds(start: int, step: int, direction: str, limit: int) -> int | None:
    """The first k for which `start + k step (direction) limit` is false."""
    if direction in ("LT", "LE", "GT", "GE"):
        up = direction in ("LT", "LE")
        distance = (limit - start if up else start - limit) + (direction in ("LE", "GE"))
        towards = step if up else -step
        return 0 if distance <= 0 else -(-distance // towards) if towards > 0 else None
    if direction == "NE":
        rounds, rest = divmod(limit - start, step)
        return rounds if rest == 0 and rounds >= 0 else None
    return int(start == limit) if direction == "EQ" else None


def _integer(literal: str) -> int | None:
    try:
        return int(literal)
    except ValueError:
        return None


def _sum(a: Value, b: Value, sign: int) -> Value:
    if isinstance(b, Carried) and sign == 1:
        a, b = b, a
    if a is None or b is None or isinstance(b, Carried):
        return None
    return Carried(a.path, a.offset + sign * b) if isinstance(a, Carried) else a + sign * b
