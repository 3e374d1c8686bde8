"""Bytes that a compiled JAX program moves after fusion: the operands and results of every kernel, loops multiplied out.

    compiled = jax.jit(count(f)).lower(*args).compile()  # jit(f) does where no loop depends on data
    result, cost = compiled(*args)
    fused(compiled, cost).fused_bytes

An estimate, since a cache may keep what one kernel wrote until the next reads it. It lies between `Cost.least_bytes`
and `Cost.unfused_bytes` wherever f reads its arguments whole, apart from copies that the compiler adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hardware.hlo import Computation, Instruction, Module, Shape, parse
from hardware.hlo.walk import LABEL, Executed, execute, measured_trips

# Names for data that is there already, and marks of control flow. Asynchronous ends are free too: starts are charged.
FREE = frozenset(
    [
        *("add-dependency", "after-all", "bitcast", "constant", "domain", "get-tuple-element", "opt-barrier"),
        *("optimization-barrier", "parameter", "partition-id", "replica-id", "tuple"),
    ]
)
COPIES = ("copy", "copy-start")
NO_WORK = frozenset(["AllocateBuffer", "ConcatBitcast"])  # targets of custom calls
# What they read of their first operand is what they yield.
TAKES = frozenset(["dynamic-slice", "gather", "slice"])
# They change their first operand in place; the operand named here is the change.
CHANGES = {"dynamic-update-slice": 1, "scatter": 2}
# They hand on the elements that are asked for, so that a slice of their result takes only a slice of their operand.
SAME = frozenset(["bitcast", "convert", "copy", "reshape", "transpose"])


@dataclass(frozen=True)
class Fused:
    """What one device moves and launches.

    `fused_bytes`: to and from the device's memory. `on_chip_bytes`: to and from what the compiler placed on the chip
    (a TPU's vector memory; 0 elsewhere). `padded_bytes`: `fused_bytes` as stored, in whole tiles.
    `kernels`: top-level instructions that do work: what is launched. `copied_bytes`: the part of `fused_bytes` that
    plain copies move. `unknown_loops` were counted as one trip, so that all is a lower bound where there are any;
    of `conditionals` the heaviest branch was taken.
    """

    fused_bytes: int
    on_chip_bytes: int
    padded_bytes: int
    copied_bytes: int
    kernels: int
    unknown_loops: tuple[str, ...] = ()
    conditionals: tuple[str, ...] = ()

    @property
    def is_lower_bound(self) -> bool:
        return bool(self.unknown_loops)

    def intensity(self, flop: int) -> float | None:
        """FLOP per byte moved, of the program's count; None where nothing moves. See `Cost.intensity`."""
        return flop / self.fused_bytes if self.fused_bytes else None


def fused(compiled: Any, tally: Any = None) -> Fused:
    """The bytes and kernels of a `jax.stages.Compiled` (or of its HLO text), those of one device where it has several.

    `tally`, of `hardware.count` over the same program, tells the trips of loops that depend on data, whose names only a
    program compiled from `jit(count(f))` carries. Raises HloError where there is no HLO text, ValueError for a tally of
    several lanes and for one of another program: other than those that `compiled` returns, where it returns some, or
    with a counter too few for the loops that it names.
    """
    module = parse(compiled if isinstance(compiled, str) else compiled.as_text() or "")
    _check_sites(module, tally)
    returned = list(_returned_prices(getattr(compiled, "out_tree", None)))
    if hasattr(tally, "prices") and returned and tally.prices not in returned:
        raise ValueError("the tally must be of this program, but it is none of those that the program returns")
    return fused_of(execute(module, measured_trips(tally), lambda c, i: sum(s.bytes for s in traffic(module, c, i))))


def _returned_prices(tree: Any) -> Iterator[Any]:
    """The prices of the tallies in a pytree's definition."""
    node = None if tree is None else tree.node_data()
    if tree is None or node is None:
        return
    if node[0].__name__ == "Tally":
        yield from node[1]
    else:
        for child in tree.children():
            yield from _returned_prices(child)


def _check_sites(module: Module, tally: Any) -> None:
    """Raises ValueError where the tally has no counter for a loop that the program names: it is of another program."""
    if tally is None:
        return
    known = len(getattr(tally, "times", ()))
    every = (i for c in module.computations.values() for i in c.instructions.values() if i.opcode == "while")
    named = {int(found[1]) for i in every if (found := LABEL.search(i.op_name))}
    if named and max(named) >= known:
        raise ValueError(
            f"the tally must be of this program, which has a loop_{max(named)}, but it has {known} counters; pass the "
            "cost that the same count(f) returned"
        )


def fused_of(executed: Executed) -> Fused:
    """The same of a program that has been walked already."""
    memory = on_chip = padded = copied = kernels = 0
    for step in executed.steps:
        if not is_kernel(step.instruction):
            continue
        kernels += step.times
        for shape in traffic(executed.module, step.computation, step.instruction):
            moved = step.times * shape.bytes
            if shape.memory_space:
                on_chip += moved
            else:
                memory += moved
                padded += step.times * shape.padded_bytes
                copied += moved if step.instruction.opcode in COPIES else 0
    return Fused(memory, on_chip, padded, copied, kernels, executed.unknown_loops, executed.conditionals)


def is_kernel(instruction: Instruction) -> bool:
    opcode = instruction.opcode
    if opcode in FREE or opcode.endswith(("-done", "-update")):
        return False
    return opcode != "custom-call" or instruction.attribute("custom_call_target") not in NO_WORK


def traffic(module: Module, computation: Computation, instruction: Instruction) -> list[Shape]:
    """The arrays that a top-level instruction reads and writes; where it only slices or changes one, the part."""
    if not is_kernel(instruction):
        return []
    if instruction.opcode == "copy-start":
        return list(instruction.shapes[:2])  # (copy, source, context)
    if instruction.opcode == "slice-start":
        *sources, part, _ = instruction.shapes  # ((source,), slice, context)
        return [part, replace(part, memory_space=sources[0].memory_space)]
    if instruction.opcode != "fusion":
        return _by_one(computation, instruction)
    inside = module.computations[instruction.called["calls"][0]]
    reads = []
    for number, name in enumerate(instruction.operands):
        whole = computation.instructions[name].shapes
        reads += _read(module, inside, inside.parameters[number].name, whole)
    return reads + _written(module, inside, inside.root.name, instruction.shapes)


def _by_one(computation: Computation, instruction: Instruction) -> list[Shape]:
    """The traffic of an instruction that is not fused. It changes in place, since XLA makes the copies it needs."""
    opcode = instruction.opcode
    operands = {name: computation.instructions[name].shapes for name in instruction.operands}
    if opcode in TAKES or opcode in CHANGES:
        first = instruction.operands[0]
        part = instruction.shapes if opcode in TAKES else operands[instruction.operands[CHANGES[opcode]]]
        others = [shape for name, shapes in operands.items() if name != first for shape in shapes]
        return [*others, *(part if opcode in CHANGES else (*part, *part))]
    results = instruction.shapes
    if opcode == "custom-call" and len(results) > 1 and results[-1].dtype in ("s8", "u8"):
        results = results[:-1]  # the workspace of a library on NVIDIA GPUs: memory that it may use
    return [*(shape for shapes in operands.values() for shape in shapes), *results]


def _read(module: Module, computation: Computation, name: str, whole: tuple[Shape, ...]) -> list[Shape]:
    """What the users of `name`, which holds an operand of a fusion, read of it: never more than all of it."""
    pieces = list(whole) if name == computation.root.name else []
    for user in computation.users[name]:
        if user.opcode == "fusion":
            inside = module.computations[user.called["calls"][0]]
            for number, operand in enumerate(user.operands):
                pieces += _read(module, inside, inside.parameters[number].name, whole) if operand == name else []
        elif user.opcode in SAME:
            pieces += _read(module, computation, user.name, whole)
        else:
            pieces += _read_by(module, computation, user, name)
    if len(whole) != 1:
        return list(whole)
    # The parts are counted in the type and the place of the operand, which the fusion may convert as it reads.
    parts = [replace(p, dtype=whole[0].dtype, memory_space=whole[0].memory_space) for p in pieces]
    return parts if sum(p.bytes for p in parts) < whole[0].bytes else list(whole)


def _read_by(module: Module, computation: Computation, user: Instruction, name: str) -> list[Shape]:
    """What one instruction reads of its operand `name`."""
    if user.operands.index(name) == 0 and name not in user.operands[1:]:
        if user.opcode in TAKES:
            return list(user.shapes)
        if user.opcode in CHANGES and _is_parameter(computation, name):
            return []
    return list(computation.instructions[name].shapes)


def _written(module: Module, computation: Computation, name: str, whole: tuple[Shape, ...]) -> list[Shape]:
    """What a fusion writes to make `name`, of its results `whole`, which know where they lie."""
    instruction = computation.instructions[name]
    if instruction.opcode == "tuple":
        parts, rest = [], iter(whole)
        for operand in instruction.operands:
            own = tuple(next(rest) for _ in computation.instructions[operand].shapes)
            parts += _written(module, computation, operand, own)
        return parts
    if instruction.opcode == "bitcast":
        return _written(module, computation, instruction.operands[0], whole)
    if instruction.opcode == "fusion":
        inside = module.computations[instruction.called["calls"][0]]
        return _written(module, inside, inside.root.name, whole)
    if instruction.opcode in CHANGES and _is_parameter(computation, instruction.operands[0]):
        change = computation.instructions[instruction.operands[CHANGES[instruction.opcode]]].shapes
        return [replace(shape, memory_space=whole[0].memory_space) for shape in change]
    return list(whole)


def _is_parameter(computation: Computation, name: str) -> bool:
    """Whether `name` is a fusion's operand as it stands, so that a change of it may be made in its own buffer."""
    instruction = computation.instructions[name]
    if instruction.opcode in ("bitcast", "reshape"):
        return _is_parameter(computation, instruction.operands[0])
    return instruction.opcode == "parameter"
