"""Prices of collectives, as one device's share: reductions are arithmetic, all else only moves bytes.

A sum over n devices adds n - 1 arrays, wherever that is done; a device's share is (n - 1)/n of its array: a fraction,
so that the shares of all devices sum to a whole number. Bytes are each device's operands and results; how often they
cross a link is the network's affair.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from hardware.cost import Cost
from hardware.flops_jax.rules import each, rule

EXCHANGES = """
    all_gather all_gather_done all_gather_invariant all_gather_reduced all_gather_reduced_start all_gather_start
    all_to_all all_to_all_done all_to_all_start pbroadcast pbroadcast_done pbroadcast_start ppermute ppermute_done
    ppermute_start precv psend psum_done ragged_all_to_all reduce_scatter_done
"""
REDUCTIONS = """
    pmax pmin psum psum_invariant psum_invariant_start psum_start reduce_scatter reduce_scatter_start
    unreduced_reduce_scatter unreduced_reduce_scatter_start
"""


@rule(*EXCHANGES.split())
def _exchange(eqn: Any) -> Cost:
    return Cost()


@rule(*REDUCTIONS.split(), kind="reduction")
def _reduction(eqn: Any) -> Cost:
    p = eqn.params
    names = p["axes"] if "axes" in p else p["axis_name"]
    names = names if isinstance(names, tuple) else (names,)
    total = Fraction(0)
    for given, made in zip(eqn.invars, eqn.outvars, strict=True):
        x, out = given.aval, made.aval
        over_devices = x.size
        if any(isinstance(name, int) for name in names):  # axes of the array itself, of a program under vmap
            total += max(0, x.size - out.size) * each(x, "add")
            over_devices = out.size
        n = _group(eqn, [name for name in names if not isinstance(name, int)])
        if n is None:
            return Cost(uncounted=frozenset({eqn.primitive.name}))
        total += Fraction(over_devices * (n - 1), n) * each(x, "add")
    return Cost(total)  # type: ignore[arg-type] (the sum over the devices of a mesh is whole)


def _group(eqn: Any, names: list[Any]) -> int | None:
    """How many devices reduce together; None where the program does not tell."""
    p = eqn.params
    if p.get("axis_index_groups") is not None:
        return len(p["axis_index_groups"][0])
    if "axis_size" in p:
        return p["axis_size"]
    sizes = eqn.ctx.cur_abstract_mesh.shape
    return math.prod(sizes[name] for name in names) if all(name in sizes for name in names) else None
