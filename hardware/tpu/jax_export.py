"""A JAX function lowered for TPUs and serialised, without a TPU: what `hardware.tpu.jax_worker` compiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from hardware.cost import Cost
from hardware.flops_jax import count

CALLBACKS = frozenset(["debug_callback", "debug_print", "io_callback", "pure_callback"])


@dataclass(frozen=True)
class Exported:
    """`x64`: whether 64-bit types were on. `prices`: the costs in the function's bill (`hardware.flops_jax.Tally`).

    `callbacks`: calls to the host in the program's text, which a serialised program cannot hold: they were left out.
    """

    program: bytes
    x64: bool
    prices: tuple[Cost, ...]
    callbacks: int


def export_for_tpu(f: Callable, args: tuple[Any, ...]) -> Exported:
    """f, its data-dependent loops labelled as `hardware.count` numbers them, lowered for TPUs and serialised.

    Arguments may be arrays or ShapeDtypeStructs; leaves that are neither (functions in a module) are taken as they are.
    Errors: those of tracing and of lowering for a TPU.
    """
    leaves, tree = jax.tree_util.tree_flatten(args)
    specs = {i: jax.eval_shape(lambda x: x, leaf) for i, leaf in enumerate(leaves) if _is_data(leaf)}
    prices: list[Cost] = []

    def labelled(*data: Any) -> list[Any]:
        known = dict(zip(specs, data, strict=True))
        whole = jax.tree_util.tree_unflatten(tree, [known.get(i, leaf) for i, leaf in enumerate(leaves)])
        result, cost = count(f)(*whole)
        prices[:] = [cost] if isinstance(cost, Cost) else cost.prices
        return [leaf for leaf in jax.tree_util.tree_leaves(result) if _is_data(leaf)]

    closed = jax.make_jaxpr(labelled)(*specs.values())
    found: list[str] = []
    program = jaxpr_as_fun(ClosedJaxpr(_without_callbacks(closed.jaxpr, found), closed.consts))
    exported = export.export(jax.jit(program), platforms=["tpu"])(*specs.values())
    x64 = bool(jax.config.read("jax_enable_x64"))
    return Exported(bytes(exported.serialize()), x64, tuple(prices), len(found))


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, bool | int | float | complex | np.generic) or (
        hasattr(leaf, "shape") and hasattr(leaf, "dtype")
    )


def _without_callbacks(jaxpr: Any, found: list[str]) -> Any:
    """The jaxpr with zeros in place of what the host would answer; the names of the calls are added to `found`."""
    eqns = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in CALLBACKS:
            found.append(eqn.primitive.name)
            if eqn.outvars:
                eqns.append(_answer(eqn))
            continue
        before = len(found)
        params = {name: _rewritten(value, found) for name, value in eqn.params.items()}
        changed = len(found) > before
        eqns.append(eqn.replace(params=params, effects=_quiet(eqn.effects)) if changed else eqn)
    return jaxpr.replace(eqns=eqns, effects=_quiet(jaxpr.effects)) if found else jaxpr


def _rewritten(value: Any, found: list[str]) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_rewritten(v, found) for v in value) if type(value) in (tuple, list) else value
    if hasattr(value, "eqns") and hasattr(value, "jaxpr"):
        return value.replace(jaxpr=_without_callbacks(value.jaxpr, found))
    return _without_callbacks(value, found) if hasattr(value, "eqns") else value


def _answer(eqn: Any) -> Any:
    """An equation that yields zeros which the compiler cannot see through, for a callback's results."""

    def zeros() -> Any:
        return [lax.optimization_barrier(jnp.zeros(v.aval.shape, v.aval.dtype)) for v in eqn.outvars]

    (call,) = jax.make_jaxpr(jax.jit(zeros))().eqns
    return call.replace(outvars=eqn.outvars)


def _quiet(effects: Any) -> Any:
    return frozenset(effect for effect in effects if not any(word in type(effect).__name__ for word in ("Debug", "IO")))
