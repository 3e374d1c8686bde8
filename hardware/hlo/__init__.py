"""Optimised HLO text, as XLA's CPU, GPU and TPU compilers print it: computations, instructions, shapes and layouts.

    module = parse(compiled.as_text())
    module.computations[module.entry].root.shapes

Needs no framework. What a loop executes is `hardware.hlo.walk`'s matter. Grammar: XLA's `hlo_parser.cc`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

BITS = {"pred": 8, "token": 0, "opaque": 0}  # the others carry their width in their name


class HloError(ValueError):
    """The text is not optimised HLO."""


@dataclass(frozen=True)
class Shape:
    """One array. `layout` runs from the most minor dimension; `tiles` are those of the layout, as in T(8,128)(2,1).

    `memory_space` is 0 for the device's main memory; on TPUs 1 is the vector memory on the chip.
    """

    dtype: str
    dims: tuple[int, ...] = ()
    layout: tuple[int, ...] = ()
    tiles: tuple[tuple[int, ...], ...] = ()
    memory_space: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """What the numbers take, without padding."""
        return _bytes(self.elements, self.dtype)

    @property
    def padded_bytes(self) -> int:
        """What the buffer takes: the most minor dimensions are rounded up to whole tiles."""
        if not self.tiles or not self.dims:  # scalars live in the scalar unit's memory
            return self.bytes
        tile = self.tiles[0]
        physical = [self.dims[d] for d in reversed(self.layout)] if self.layout else list(self.dims)
        physical = [1] * (len(tile) - len(physical)) + physical
        outer, inner = physical[: len(physical) - len(tile)], physical[len(physical) - len(tile) :]
        padded = [-(-n // t) * t for n, t in zip(inner, tile, strict=True)]
        return _bytes(math.prod(outer) * math.prod(padded), self.dtype)


def _bytes(elements: int, dtype: str) -> int:
    return -(-elements * _bits(dtype) // 8)


def _bits(dtype: str) -> int:
    if dtype in BITS:
        return BITS[dtype]
    width = re.search(r"\d+", dtype)
    return int(width[0]) if width else 0


Tree = Shape | tuple["Tree", ...]


def leaves(tree: Tree) -> Iterator[Shape]:
    if isinstance(tree, Shape):
        yield tree
    else:
        for part in tree:
            yield from leaves(part)


@dataclass(frozen=True)
class Instruction:
    """`attributes`: the text behind the operands. `literal`: what stands in a constant's or parameter's brackets."""

    name: str
    opcode: str
    shape: Tree
    operands: tuple[str, ...]
    attributes: str
    literal: str = ""

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The arrays of the result, a tuple's one after another."""
        return tuple(leaves(self.shape))

    @cached_property
    def called(self) -> dict[str, tuple[str, ...]]:
        """Computations by role: calls, to_apply, condition, body, branch_computations, …"""
        bare = _STRING.sub('""', self.attributes)
        found = {m[1]: (m[2],) for m in _CALLED.finditer(bare)}
        lists = {m[1]: tuple(re.findall(r"[\w.\-]+", m[2])) for m in _CALLED_LIST.finditer(bare)}
        return found | lists

    @cached_property
    def op_name(self) -> str:
        """Where the instruction comes from in the program: jit(f)/while/body/dot_general; "" where unsaid."""
        found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return found[1] if found else ""

    @cached_property
    def estimated_cycles(self) -> int | None:
        """The TPU compiler's own estimate; None where it made none."""
        return self._integer(r'estimated_cycles\\?":\s*\\?"?(\d+)')

    @cached_property
    def known_trip_count(self) -> int | None:
        return self._integer(r'known_trip_count\\?":\s*\{\s*\\?"n\\?":\s*\\?"?(\d+)')

    @cached_property
    def index(self) -> int | None:
        """The element that a get-tuple-element takes."""
        return self._integer(r"\bindex=(\d+)")

    def attribute(self, name: str) -> str | None:
        """The text of `name=…`, without the braces or quotes around it."""
        found = re.search(rf'\b{name}=(?:\{{([^}}]*)\}}|"([^"]*)"|([^\s,]+))', self.attributes)
        return next((g for g in found.groups() if g is not None), None) if found else None

    def _integer(self, pattern: str) -> int | None:
        found = re.search(pattern, self.attributes)
        return int(found[1]) if found else None


@dataclass(frozen=True)
class Computation:
    name: str
    instructions: dict[str, Instruction]  # in the order of execution
    root: Instruction

    @cached_property
    def parameters(self) -> dict[int, Instruction]:
        return {int(i.literal): i for i in self.instructions.values() if i.opcode == "parameter"}

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """The instructions that take each instruction's result."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                users.setdefault(operand, []).append(instruction)
        return users


@dataclass(frozen=True)
class Module:
    name: str
    computations: dict[str, Computation]
    entry: str


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = re.compile(r"/\*.*?\*/")
_CALLED = re.compile(
    r"\b(calls|to_apply|condition|body|true_computation|false_computation|async_execution_thread_computation)"
    r"=%?([\w.\-]+)"
)
_CALLED_LIST = re.compile(r"\b(branch_computations|called_computations|calls)=\{([^}]*)\}")
_HEAD = re.compile(r"^\s*(ENTRY\s+)?%?([\w.\-]+)\s*(?:\(.*\)\s*->\s*.*)?\{\s*$")
_LINE = re.compile(r"^\s*(ROOT\s+)?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_ARRAY = re.compile(r"\s*([a-z]\w*)\[([^\]]*)\](?:\{([^}]*)\})?")
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[(){}\[\],]')
_NAME = re.compile(r"%([\w.\-]+)")


def parse(text: str) -> Module:
    """The module of optimised HLO text. Raises HloError where it has no entry computation."""
    module, entry, computations = "", "", {}
    head, instructions, root = "", {}, None
    for line in text.splitlines():
        if line.startswith("HloModule"):
            module = line.split()[1].rstrip(",")
            continue
        start = _HEAD.match(line)
        if start and " = " not in line.partition("(")[0]:
            head, instructions, root = start[2], {}, None
            entry = head if start[1] else entry
            continue
        if line.strip() == "}" and head:
            if root is None:
                root = next(reversed(instructions.values()), None)
            if root is not None:
                computations[head] = Computation(head, instructions, root)
            head = ""
            continue
        found = _LINE.match(line) if head else None
        if found:
            instruction = _instruction(found[2], _COMMENT.sub("", found[3]))
            instructions[instruction.name] = instruction
            root = instruction if found[1] else root
    if entry not in computations:
        raise HloError(f"optimised HLO text must hold an ENTRY computation; none is in these {len(text)} characters")
    return Module(module, computations, entry)


def _instruction(name: str, text: str) -> Instruction:
    shape, at = _shape(text, 0)
    opcode = _OPCODE.match(text, at)
    if opcode is None:
        raise HloError(f"instruction {name} must have an opcode behind its shape, not {text[at : at + 40]!r}")
    end = _closing(text, opcode.end() - 1)
    inside = text[opcode.end() : end]
    plain = opcode[1] in ("constant", "parameter")
    return Instruction(
        name, opcode[1], shape, () if plain else _operands(inside), text[end + 1 :], inside if plain else ""
    )


def _operands(inside: str) -> tuple[str, ...]:
    if "%" in inside:
        return tuple(_NAME.findall(inside))
    return tuple(part.split()[-1] for part in _split(inside) if part.strip())  # names without a mark


def _split(text: str) -> list[str]:
    """The parts between commas that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for mark in _MARKS.finditer(text):
        depth += (mark[0] in "({[") - (mark[0] in ")}]")
        if mark[0] == "," and depth == 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    return [*parts, text[start:]]


def _closing(text: str, start: int) -> int:
    """The index of the bracket that closes the one at `start`."""
    depth = 0
    for mark in _MARKS.finditer(text, start):
        depth += (mark[0] in "({[") - (mark[0] in ")}]")
        if depth == 0:
            return mark.start()
    raise HloError(f"a bracket must be closed: {text[start : start + 60]!r}")


def _shape(text: str, at: int) -> tuple[Tree, int]:
    """The shape that starts at `at`, an array or a tuple of shapes, and where it ends."""
    while text[at] == " ":
        at += 1
    if text[at] == "(":
        end = _closing(text, at)
        return tuple(_shape(part, 0)[0] for part in _split(text[at + 1 : end]) if part.strip()), end + 1
    found = _ARRAY.match(text, at)
    if found is None:
        raise HloError(f"a shape was expected, not {text[at : at + 60]!r}")
    dims = tuple(int(d.strip().lstrip("<=")) for d in found[2].split(",") if d.strip())
    order, _, rest = (found[3] or "").partition(":")
    tiling = re.search(r"T((?:\([\d,*]*\))+)", rest)
    tiles = tuple(
        tuple(1 if t == "*" else int(t) for t in tile.split(",") if t)
        for tile in re.findall(r"\(([\d,*]*)\)", tiling[1] if tiling else "")
    )
    space = re.search(r"S\((\d+)\)", rest)
    layout = tuple(int(d) for d in order.split(",") if d.strip())
    return Shape(found[1], dims, layout, tiles, int(space[1]) if space else 0), found.end()
