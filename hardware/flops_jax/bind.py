"""One jaxpr equation: run it, replace what it runs but keep its derivative, or look inside its implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero


def bind(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # a pair before jax 0.10
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(*functions, *inputs, **params)
    return list(outs) if eqn.primitive.multiple_results else [outs]


def with_derivative_of(eqn: Any, counted: Any) -> Any:
    """`counted`, differentiated by the equation's own rule (a custom one), which is applied to the uncounted equation.

    Reached only by grad(count(f)): the backward pass is then not counted, and the forward one runs twice. Only the
    inputs that are really differentiated reach the rule, since some rules (equinox) refuse the others.
    """

    def original(values: Sequence[Any], moving: Sequence[bool]) -> tuple[Any, list[Any]]:
        def function(*changing: Any) -> Any:
            rest = iter(changing)
            return bind(eqn, [next(rest) if m else v for v, m in zip(values, moving, strict=True)])

        return function, [v for v, m in zip(values, moving, strict=True) if m]

    if eqn.primitive.name.startswith("custom_vjp"):
        outer = jax.custom_vjp(counted)

        def forward(*primals: Any) -> Any:
            values, moving = [x.value for x in primals], [x.perturbed for x in primals]
            function, changing = original(values, moving)
            outs, pull_back = jax.vjp(function, *changing)
            mask = [() if m else None for m in moving]  # both are trees without leaves, so the mask stays static
            return (outs, counted(*values)[1]), (pull_back, mask)

        def backward(residuals: Any, cotangents: Any) -> Any:
            pull_back, mask = residuals
            rest = iter(pull_back([_instantiated(c) for c in cotangents[0]]))
            return tuple(next(rest) if m is not None else None for m in mask)

        outer.defvjp(forward, backward, symbolic_zeros=True)
        return outer

    outer = jax.custom_jvp(counted)

    def push_forward(primals: Any, tangents: Any) -> Any:
        moving = [not isinstance(t, SymbolicZero) for t in tangents]
        function, changing = original(primals, moving)
        outs, out_tangents = jax.jvp(function, changing, [t for t, m in zip(tangents, moving, strict=True) if m])
        times = counted(*primals)[1]
        still = [np.zeros(jnp.shape(t), jax.dtypes.float0) for t in times]
        return (outs, times), (out_tangents, still)

    outer.defjvp(push_forward, symbolic_zeros=True)
    return outer


def _instantiated(cotangent: Any) -> Any:
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    zero: Any = cotangent
    make = np.zeros if zero.dtype == jax.dtypes.float0 else jnp.zeros
    return make(zero.shape, zero.dtype)


def jitted(counted: Any, p: dict[str, Any], n_sites: int) -> Any:
    """jit with the options of the equation: where its arguments and results lie, and which arguments it may reuse."""
    options: dict[str, Any] = {"inline": p["inline"]}
    places = {name: tuple(p.get(name, ())) for name in ("in_shardings", "out_shardings")}
    if any(isinstance(s, jax.sharding.Sharding) for s in places["in_shardings"]):
        options["in_shardings"] = places["in_shardings"]
    if any(isinstance(s, jax.sharding.Sharding) for s in places["out_shardings"]):
        options["out_shardings"] = (list(places["out_shardings"]), [None] * n_sites)
    donated = tuple(i for i, given in enumerate(p.get("donated_invars", ())) if given)
    return jax.jit(counted, donate_argnums=donated, **options)


def of_one_lane(counted: Any) -> Any:
    """A `custom_vmap` function whose cost depends on data: its rule would replace the program that is counted."""
    outer = jax.custom_batching.custom_vmap(counted)

    @outer.def_vmap
    def refuse(axis_size: int, in_batched: Any, *args: Any) -> Any:
        raise NotImplementedError(
            "vmap(count(f)) cannot tell what one lane costs where f holds a custom_vmap function whose cost depends on "
            "data, since its rule runs all lanes in its own way; use count(vmap(f)), the cost of all lanes together"
        )

    return outer


def implementation(eqn: Any) -> Any:
    """The jaxpr of a primitive that is written in JAX itself, else None.

    Those are a few of JAX's own, its sparse arrays' and those that other packages define (equinox, lineax); the
    implementations of JAX's other primitives call the compiler, or run eagerly and so tell nothing.
    """
    arguments = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    name, run = eqn.primitive.name, eqn.primitive.impl
    module = getattr(getattr(run, "func", run), "__module__", "jax")
    foreign = module.partition(".")[0] != "jax" or module.startswith("jax.experimental.sparse")
    if not foreign and name not in ("custom_linear_solve", "random_gamma"):
        return None
    options = {"use_vmap": True} if name == "random_gamma" else {}  # as it is compiled: samples go round together

    def call(*args: Any) -> Any:
        return run(*args, **eqn.params, **options)

    try:
        return jax.make_jaxpr(call)(*arguments)
    except Exception:  # an implementation may do anything with its arguments, and some cannot be traced
        return None
