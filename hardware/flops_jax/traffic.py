"""What one JAX equation moves: the operations it launches and the bytes it reads and writes where nothing is fused.

Conventions: an equation that only renames, reshapes or views launches nothing and moves nothing; a broadcast operand
counts what it stores; gathers read what they take, and scatters write in place, so that both move twice the values
moved, and their indices; every other operation moves its array operands and its results. Scalars in the program's
text are free. A call, a loop or a branch moves what its body moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.extend.core as jex

VIEWS = """
    add_dependency after_all announce_jaxpr assert_consumed_value axis_index bitcast_convert_type broadcast_in_dim
    broadcast_to copy_p create_token dce_sink debug_callback debug_print device_put dim_as_value dimension_size empty
    empty_ref expand_dims free_ref freeze from_edtype imag inspect_sharding layout_cast layout_constraint
    max_contiguous multiple_of name new_ref nonbatchable nondifferentiable_backward nontraceable num_programs
    optimization_barrier pin platform_index preduced program_id pvary random_unwrap random_wrap real
    reduced_vary_cast_p reshape select_if_vmap shape_assertion shard_alike sharding_constraint slice split squeeze
    stop_gradient to_edtype transpose unpin unstack unvmap_all unvmap_any unvmap_max vary_unreduced_cast_p
    with_memory_space_constraint xla_metadata_value
"""
TAKES = frozenset(["dynamic_slice", "gather", "get"])  # the values taken are the result
# The values put, as a position among the operands; the operands after the first and beside it are indices.
PUTS = {"dynamic_update_slice": 1, "swap": 1, "addupdate": 1, "accum_grad_in_ref": 1, "scatter": 2}

_VIEWS = frozenset(VIEWS.split())


def size(aval: Any) -> int:
    """Bytes of one array; 0 for what is no array (tokens)."""
    if not hasattr(aval, "shape") or not hasattr(aval, "dtype"):
        return 0
    return math.prod(aval.shape) * aval.dtype.itemsize


def traffic(eqn: Any, stored: dict[Any, int] | None = None) -> tuple[int, int]:
    """(operations, bytes) of one equation that is no call and no loop.

    `stored` tells, for variables that view something smaller, the bytes behind them; views met here are added to it.
    """
    name, stored = eqn.primitive.name, {} if stored is None else stored

    def moved(variables: Sequence[Any]) -> int:
        total = 0
        for v in variables:
            if not isinstance(v, jex.Literal):
                total += stored.get(v, size(v.aval))
            elif getattr(v.aval, "shape", ()):  # scalars in the program's text are free
                total += size(v.aval)
        return total

    same = name == "convert_element_type" and eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype
    if name in _VIEWS or same:
        behind = moved(eqn.invars)
        stored.update({out: behind for out in eqn.outvars if behind < size(out.aval)})
        return 0, 0
    if name in TAKES:
        return 1, 2 * sum(size(out.aval) for out in eqn.outvars) + moved(eqn.invars[1:])
    put = PUTS.get("scatter" if name.startswith("scatter") else name)
    if put is not None:
        return 1, moved(eqn.invars[1:]) + moved(eqn.invars[put : put + 1])
    return 1, moved(eqn.invars) + sum(size(out.aval) for out in eqn.outvars)


def least_bytes(jaxpr: Any, constants: Sequence[Any]) -> int:
    """Arguments that an equation reads, constants and results, each once. A result that is an argument does not move.

    An argument of which only some rows are taken counts whole.
    """
    read = {v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, jex.Literal)}
    given = {*jaxpr.invars, *jaxpr.constvars}
    made = {v for v in jaxpr.outvars if not isinstance(v, jex.Literal)} - given
    own = [c for v, c in zip(jaxpr.constvars, constants, strict=True) if v in read]
    captured = {id(c): size(c) for c in [*own, *_captured(jaxpr, set())]}
    return sum(size(v.aval) for v in [*made, *(read & set(jaxpr.invars))]) + sum(captured.values())


def _captured(jaxpr: Any, seen: set[int]) -> Iterator[Any]:
    """Arrays captured by the jaxprs within."""
    for eqn in jaxpr.eqns:
        for inner in inner_jaxprs(eqn):
            if id(inner) not in seen:
                seen.add(id(inner))
                yield from getattr(inner, "consts", ())
                yield from _captured(getattr(inner, "jaxpr", inner), seen)


def inner_jaxprs(eqn: Any) -> Iterator[Any]:
    """Jaxprs, open or closed, among the parameters of an equation."""
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, jex.Jaxpr | jex.ClosedJaxpr):
                yield one
