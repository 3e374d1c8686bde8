"""What our two counters say of a program, and how often it evaluated its vector field as counted by the field itself.

Both return ({"E": …}, cost), or None where the battery has no version of the program for the framework.
"""

from __future__ import annotations

import jax

from hardware.cost import Cost
from hardware.flops_jax import DynamicCostError, count, static_cost
from hardware.flops_torch import FlopCounter
from tests.hardware.battery.program import Program

Counted = tuple[dict[str, int], Cost]


def in_jax(program: Program) -> Counted | None:
    """Without running the program where its cost is static."""
    if program.jax is None:
        return None
    f, arguments = program.jax()
    if program.lanes:
        return {}, sum(jax.jit(jax.vmap(count(f)))(*arguments)[1].lanes(program.lanes), Cost())
    if "jax" not in program.evaluations:
        try:
            return {}, static_cost(f, *arguments)
        except DynamicCostError:
            return {}, jax.jit(count(f))(*arguments)[1].resolve()
    result, cost = jax.jit(count(f))(*arguments)
    return program.evaluations["jax"](jax.block_until_ready(result)), cost.resolve()


def in_torch(program: Program) -> Counted | None:
    if program.torch is None:
        return None
    f, arguments = program.torch()
    with FlopCounter() as counter:
        result = f(*arguments)
    cost = counter.cost  # read while the result lives: least_bytes counts what outlives the block
    return program.evaluations["torch"](result) if "torch" in program.evaluations else {}, cost


COUNTERS = {"jax": in_jax, "torch": in_torch}
