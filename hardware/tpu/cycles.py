"""The TPU compiler's estimates in its optimised HLO, added up: cycles by kind of work; how matrices are multiplied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from hardware.compiled_jax import is_kernel, traffic
from hardware.hlo import Computation, Instruction, Module
from hardware.hlo.walk import Executed

# The kind of a fusion is that of the first of these that it holds.
KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("matmul", frozenset(["convolution", "dot"])),
    ("scatter", frozenset(["gather", "scatter"])),
    ("sort", frozenset(["sort"])),
    ("reduction", frozenset(["reduce", "reduce-window", "select-and-scatter"])),
    ("custom_call", frozenset(["custom-call"])),
)
MOVES = frozenset(
    [
        *("bitcast", "broadcast", "concatenate", "constant", "copy", "copy-done", "copy-start", "dynamic-slice"),
        *("dynamic-update-slice", "pad", "parameter", "reshape", "reverse", "slice", "transpose", "tuple"),
    ]
)
PASSES = {"highest": 6, "high": 3}  # products of bfloat16 parts that make one float32 product


@dataclass(frozen=True)
class Cycles:
    """Cycles of one TensorCore, as the compiler estimates them, loops multiplied out.

    `by_kind`: matmul, scatter, sort, reduction, custom_call, elementwise, move. `unestimated`: executed kernels without
    an estimate, by opcode, so that `total` is a lower bound; work on scalars alone (loop counters) never has one and is
    not listed. `unestimated_share` is theirs of all bytes moved.
    `products`: executed matrix products by the bfloat16 passes that each takes. `mxu_fill`: the share of the matrix
    units' weight tiles that the products' sizes fill, weighted by cycles; None without products.
    """

    total: int
    by_kind: dict[str, int]
    unestimated: dict[str, int]
    unestimated_share: float
    products: dict[int, int]
    mxu_fill: float | None

    def shares(self) -> dict[str, float]:
        """The part of the cycles that each kind takes, the largest first."""
        ordered = sorted(self.by_kind.items(), key=lambda item: -item[1])
        return {kind: n / self.total for kind, n in ordered if n}


def cycles_of(executed: Executed, mxu: int) -> Cycles:
    """The cycles of a walked TPU program; `mxu` is the side of the generation's matrix unit."""
    by_kind, unestimated, products = Counter[str](), Counter[str](), Counter[int]()
    filled = weighed = bytes_all = bytes_unestimated = 0.0
    for step in executed.steps:
        if not is_kernel(step.instruction) or not step.times:
            continue
        moved = step.times * sum(s.bytes for s in traffic(executed.module, step.computation, step.instruction))
        bytes_all += moved
        estimate = step.instruction.estimated_cycles
        if estimate is None and any(shape.elements > 1 for shape in step.instruction.shapes):
            unestimated[step.instruction.opcode] += step.times
            bytes_unestimated += moved
        inside = list(_inside(executed.module, step.computation, step.instruction))
        by_kind[_kind({i.opcode for _, i in inside})] += step.times * (estimate or 0)
        for computation, instruction in inside:
            if instruction.opcode in ("convolution", "dot"):
                products[_passes(computation, instruction)] += step.times
                weight = step.times * (estimate or 1)
                filled += weight * _fill(computation, instruction, mxu)
                weighed += weight
    return Cycles(
        sum(by_kind.values()),
        dict(by_kind),
        dict(unestimated.most_common()),
        bytes_unestimated / bytes_all if bytes_all else 0.0,
        dict(sorted(products.items())),
        filled / weighed if weighed else None,
    )


def _inside(
    module: Module, computation: Computation, instruction: Instruction
) -> Iterator[tuple[Computation, Instruction]]:
    """The instruction itself, or all that a fusion holds."""
    if instruction.opcode != "fusion":
        yield computation, instruction
        return
    fused = module.computations[instruction.called["calls"][0]]
    for inner in fused.instructions.values():
        yield from _inside(module, fused, inner)


def _kind(opcodes: set[str]) -> str:
    for kind, members in KINDS:
        if opcodes & members:
            return kind
    return "elementwise" if opcodes - MOVES else "move"


def _passes(computation: Computation, product: Instruction) -> int:
    dtypes = {s.dtype for operand in product.operands for s in computation.instructions[operand].shapes}
    asked = (product.attribute("operand_precision") or "").split(",")
    return max(PASSES.get(word.strip(), 1) for word in asked) if "f32" in dtypes else 1


def _fill(computation: Computation, product: Instruction, mxu: int) -> float:
    """How much of whole `mxu` × `mxu` weight tiles the right factor's contracted and kept sizes take."""
    labels = product.attribute("dim_labels") or ""
    right = labels.partition("_")[2].partition("-")[0]
    sizes = computation.instructions[product.operands[1]].shapes[0].dims
    share = 1.0
    for mark, size in zip(right, sizes, strict=False):
        if mark in "io" and size:
            share *= size / (-(-size // mxu) * mxu)
    return share
