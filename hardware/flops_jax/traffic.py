"""What one JAX equation moves: the operations it launches and the bytes it reads and writes where nothing is fused.

Conventions: an equation that only renames, reshapes or views launches nothing and moves nothing; a broadcast operand
counts what it stores; gathers read what they take, and scatters write in place, so that both move twice the values
moved, and their indices; every other operation moves its array operands and its results. Scalars in the program's
text are free. A call, a loop or a branch moves what its body moves; a scan also the rows that it stacks, twice.

An array is changed in place where it is needed no more and is the program's own: made by an operation, or carried by a
loop (whose start, if it is not, is copied once, which is not counted). Else it is copied first. A result that is a view
of an argument is a copy of it too, since a compiled program's results are its own.
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
_ON_REFERENCES = frozenset(["swap", "addupdate", "accum_grad_in_ref"])
_SLICES = frozenset(["dynamic_slice", "gather", "slice"])
_RENAMES = frozenset(["expand_dims", "reshape", "squeeze", "transpose"])
_CALLS = frozenset(
    ["jit", "pjit", "closed_call", "checkpoint", "remat", "remat2", "custom_jvp_call", "custom_vjp_call"]
)


def size(aval: Any) -> int:
    """Bytes of one array; 0 for what is no array (tokens)."""
    if not hasattr(aval, "shape") or not hasattr(aval, "dtype"):
        return 0
    return math.prod(aval.shape) * aval.dtype.itemsize


def traffic(eqn: Any, stored: dict[Any, int] | None = None, mine: frozenset[int] = frozenset()) -> tuple[int, int]:
    """(operations, bytes) of one equation that is no call and no loop.

    `stored` tells, for variables that view something smaller, the bytes behind them; views met here are added to it.
    `mine`: places of the operands that it may overwrite (`overwritable`).
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
        whole = eqn.invars[0]
        spread = not isinstance(whole, jex.Literal) and stored.get(whole, size(whole.aval)) < size(whole.aval)
        in_place = name in _ON_REFERENCES or (0 in mine and not spread)
        copied = 0 if in_place else moved([whole]) + size(whole.aval)
        return 1, moved(eqn.invars[1:]) + size(eqn.invars[put].aval) + copied
    return 1, moved(eqn.invars) + sum(size(out.aval) for out in eqn.outvars)


def overwritable(jaxpr: Any, mine: frozenset[int]) -> list[frozenset[int]]:
    """For each equation, the places of the operands that it may overwrite: of arrays that are the jaxpr's own (made in
    it, or its arguments at `mine`) and that neither a later equation nor the caller needs, by any name."""
    root: dict[Any, Any] = {}  # of views, the array that they show
    last: dict[Any, int] = {}
    for place, eqn in enumerate(jaxpr.eqns):
        for v in eqn.invars:
            if not isinstance(v, jex.Literal):
                last[root.get(v, v)] = place
        if eqn.primitive.name in _VIEWS and eqn.invars and not isinstance(eqn.invars[0], jex.Literal):
            root.update(dict.fromkeys(eqn.outvars, root.get(eqn.invars[0], eqn.invars[0])))
    last.update({root.get(v, v): len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, jex.Literal)})
    foreign = {*jaxpr.constvars, *(v for i, v in enumerate(jaxpr.invars) if i not in mine)}
    free = []
    for place, eqn in enumerate(jaxpr.eqns):
        roots = [None if isinstance(v, jex.Literal) else root.get(v, v) for v in eqn.invars]
        free.append(frozenset(
            i for i, r in enumerate(roots)
            if r is not None and r not in foreign and last[r] == place and roots.count(r) == 1
        ))  # fmt: skip
    return free


def results_traffic(jaxpr: Any) -> tuple[int, int]:
    """(operations, bytes) of a program's results that only show an argument, or spread fewer values: copies."""
    behind: dict[Any, int | None] = dict.fromkeys([*jaxpr.invars, *jaxpr.constvars])  # bytes; None: its own
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in _VIEWS:
            known = [v for v in eqn.invars if not isinstance(v, jex.Literal)]
            stored = sum(size(v.aval) if behind.get(v) is None else behind[v] or 0 for v in known)
            for out in eqn.outvars:
                if all(v in behind for v in known) or stored < size(out.aval):
                    behind[out] = min(stored, size(out.aval))
    given = {*jaxpr.invars, *jaxpr.constvars}
    made = {v for v in jaxpr.outvars if not isinstance(v, jex.Literal) and v in behind} - given
    moved = [(behind[v] or 0) + size(v.aval) for v in made]
    return sum(n > 0 for n in moved), sum(moved)


def least_bytes(jaxpr: Any, constants: Sequence[Any]) -> int:
    """Arguments that an equation reads, constants and results, each once. A result that is an argument does not move.

    Of an argument that is only sliced or gathered from, at the top or in calls and scans, what is taken counts, at most
    the whole. Where a `while`, a branch or an inner jaxpr's own constant is concerned, the whole counts.
    """
    read = {v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, jex.Literal)}
    given = {*jaxpr.invars, *jaxpr.constvars}
    made = {v for v in jaxpr.outvars if not isinstance(v, jex.Literal)} - given
    taken = {v: min(size(v.aval), _taken(jaxpr, v)) for v in read & given}
    captured = {id(c): size(c) for c in _captured(jaxpr, set())}
    own: dict[int, int] = {}
    for v, c in zip(jaxpr.constvars, constants, strict=True):
        if v in read and id(c) not in captured:
            own[id(c)] = min(size(c), own.get(id(c), 0) + taken[v])
    read_bytes = sum(taken[v] for v in taken.keys() & set(jaxpr.invars))
    return sum(size(v.aval) for v in made) + read_bytes + sum(own.values()) + sum(captured.values())


def _taken(jaxpr: Any, var: Any) -> int:
    """Bytes of `var` that the equations of a jaxpr read."""
    total = 0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        for place, operand in enumerate(eqn.invars):
            if operand is not var:
                continue
            if name in _SLICES and not place:
                total += sum(size(out.aval) for out in eqn.outvars)
            elif name in _RENAMES:
                total += _taken(jaxpr, eqn.outvars[0])
            else:
                total += _taken_inside(eqn, place)
    return total + (size(var.aval) if var in jaxpr.outvars else 0)


def _taken_inside(eqn: Any, place: int) -> int:
    """The same of one operand of an equation that may be a call or a scan."""
    whole, p = size(eqn.invars[place].aval), eqn.params
    inner = next(inner_jaxprs(eqn), None)
    body = getattr(inner, "jaxpr", inner)
    if body is not None and eqn.primitive.name in _CALLS and len(body.invars) == len(eqn.invars):
        return _taken(body, body.invars[place])
    if body is not None and eqn.primitive.name == "scan" and place < p.get("num_consts", 0):
        return p["length"] * _taken(body, body.invars[place])
    return whole


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
