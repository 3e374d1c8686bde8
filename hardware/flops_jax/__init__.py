"""Exact FLOPs of any JAX program: `count(f)(*args) -> (f(*args), cost)`, a transformation in the spirit of jax.grad.

The function is traced to a jaxpr and each equation priced (`hardware.flops_jax.rules`): `scan` times its length,
`while` times the trips really taken, `cond` the branch really taken, calls (jit, custom_jvp, custom_vjp, remat, …)
walked into. Dead equations are left out, and values that loops carry for nothing, as compilers do; other optimisations
(merging equal expressions, say) are not guessed: the count is of the program as written.

- All loops static: the cost is a `Cost` of Python ints and the program that runs is exactly f's.
- Else the loops run with one integer counter for each data-dependent site, and the cost is a `Tally`: a pytree (so it
  leaves jit, vmap, scan) of counters times static prices, multiplied on the host in Python ints: costs never overflow,
  and a counter that did (2**31 - 1 trips of one site in one call without jax_enable_x64) raises OverflowError.
  The `while` of counter i runs in `jax.named_scope("loop_{i}")`, which compiled programs show.

Both have one face: `cost.resolve()` is the exact `Cost` (FLOP by kind and dtype, operations, bytes), `cost.lanes(n)`
the list of them for n vmapped lanes.

    (params, loss), cost = jax.jit(count(chunk))(params)                    # cost.resolve().flop
    (params, loss), cost = jax.jit(jax.vmap(count(chunk)))(params_of_seeds) # [c.flop for c in cost.lanes(seeds)]

Model FLOP (needed) and executed FLOP are two numbers. `vmap(count(f))` tells what each lane needed, `count(vmap(f))`
what the batched program executed. Equinox's and diffrax's loops are an exception: their lanes go round together
(`unvmap_any`), forward and backward, so a lane is charged for every round of the shared loop, and both ways tell the
executed FLOPs; `lax.map(count(f), xs)`, one lane after the other, tells what each needs. Rejected steps and
rematerialisation are executed, and counted.

`count(grad(f))` includes the backward pass; `grad(count(f), has_aux=True)` counts only f.

Over several devices the cost is of all of them: a `shard_map` is its body times the devices (loops: the rounds of all
devices summed; a psum over n devices adds n - 1 times), an array sharded by the compiler is one array. Counted inside
the body of a shard_map, a program tells one device's share. XLA's own count is of one device after compilation.

`vmap(count(f))` refuses a `custom_vmap` function whose cost depends on data: what its rule does is of no one lane.

`unfused_bytes` and `operations` follow `hardware.flops_jax.traffic`; `least_bytes` is of the function given to
`count`: arguments that are read (of those only sliced or gathered from, what is taken), captured constants and
results, each once.

Importing this module answers what libtpu would ask where it is installed without a TPU (`quieten_libtpu`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun

from hardware.cost import Cost
from hardware.devices import quieten_libtpu
from hardware.flops_jax.dce import without_dead_code
from hardware.flops_jax.traffic import least_bytes, results_traffic
from hardware.flops_jax.walk import Bill, Walk, plus

quieten_libtpu()  # before JAX starts a backend
jax.tree_util.register_static(Cost)


class DynamicCostError(ValueError):
    """A static cost was asked of a program whose cost depends on data."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["times"], meta_fields=["prices"])
@dataclass(frozen=True)
class Tally:
    """A cost that depends on data: `prices[i]`, static, was paid `times[i]` times, an integer array.

    Scalars for one program; under vmap (or stacked by scan) each array has a leading axis of lanes.
    A counter is int32 (int64 under jax_enable_x64): one site may be passed 2**31 - 1 times in one call. Beyond, the
    counter stays negative however many are added to it, and reading it raises OverflowError; only a single loop of
    2**32 rounds in one run, and devices of a shard_map whose sum is that large, can wrap unseen.
    Tallies added outside a trace hold Python ints (int64 arrays for lanes), which have no such limit.
    """

    prices: tuple[Cost, ...]
    times: tuple[Any, ...]

    def resolve(self) -> Cost:
        """The exact cost, on the host. Raises ValueError for a tally of several lanes: use `lanes`."""
        if any(np.ndim(t) for t in self.times):
            raise ValueError(f"this tally has lanes of shape {np.shape(self.times[0])}: use lanes(n)")
        times = [_host(t) for t in self.times]
        return _whole(sum((price * t for price, t in zip(self.prices, times, strict=True)), Cost()))

    def lanes(self, n: int) -> list[Any]:
        """The n lanes of the leading axis, each a `Cost` (a `Tally` where further axes remain)."""
        times = [np.asarray(t) for t in self.times]
        if any(t.ndim == 0 or len(t) != n for t in times):
            raise ValueError(f"{n} lanes were asked of a tally with counters of shape {times[0].shape}")
        parts = [Tally(self.prices, tuple(t[i] for t in times)) for i in range(n)]
        return parts if times[0].ndim > 1 else [part.resolve() for part in parts]

    def __add__(self, other: Tally) -> Tally:
        """Counters added, site by site: both must come from the same counted program.

        Outside a trace this waits for the device and adds on the host. Raises OverflowError for a counter that did.
        """
        if not isinstance(other, Tally) or other.prices != self.prices:
            return NotImplemented
        pairs = list(zip(self.times, other.times, strict=True))
        if any(isinstance(t, Tracer) for pair in pairs for t in pair):
            return Tally(self.prices, tuple(plus(a, b) for a, b in pairs))
        return Tally(self.prices, tuple(_host(a) + _host(b) for a, b in pairs))

    flop = property(lambda self: self.resolve().flop)
    transcendental = property(lambda self: self.resolve().transcendental)
    uncounted = property(lambda self: self.resolve().uncounted)
    is_lower_bound = property(lambda self: self.resolve().is_lower_bound)
    parts = property(lambda self: self.resolve().parts)
    by_kind = property(lambda self: self.resolve().by_kind)
    operations = property(lambda self: self.resolve().operations)
    unfused_bytes = property(lambda self: self.resolve().unfused_bytes)
    least_bytes = property(lambda self: self.resolve().least_bytes)
    intensity = property(lambda self: self.resolve().intensity)


def _host(counter: Any) -> Any:
    """A counter as a Python int, counters of lanes as an int64 array."""
    times = np.asarray(counter, np.int64) if np.ndim(counter) else int(counter)
    if np.any(np.less(times, 0)):
        raise OverflowError(
            "a loop or branch was passed more often than its int32 counter can hold (2**31 - 1 times in one call); set "
            "jax_enable_x64, or count calls of fewer steps and add their tallies"
        )
    return times


def count(f: Callable) -> Callable:
    """`count(f)(*args, **kwargs) -> (f(*args, **kwargs), Cost | Tally)`.

    Leaves of the arguments that are not arrays or numbers (functions in a module, strings) are taken as they are.
    Each call traces f anew: wrap the result in jit where it is called often. Errors: those of f and of tracing.
    """

    @functools.wraps(f)
    def counted(*args: Any, **kwargs: Any) -> tuple[Any, Cost | Tally]:
        traced = _trace(f, args, kwargs)
        walk = Walk()
        bill = traced.bill(walk)
        if not bill.sites:
            outs = jaxpr_as_fun(traced.closed)(*traced.inputs)
            return traced.rebuild(outs), _whole(bill.fixed)
        outs, times = walk.run(traced.alive, traced.closed.consts, traced.inputs, at=1)
        one = jnp.ones_like(times[0])
        return traced.rebuild(outs), Tally((bill.fixed, *bill.sites), (one, *times))

    return counted


def static_cost(f: Callable, *args: Any, **kwargs: Any) -> Cost:
    """The cost of f without running it; arguments may be arrays or ShapeDtypeStructs.

    Raises DynamicCostError where it depends on data: count(f)(...) then measures it.
    """
    bill = _trace(f, args, kwargs).bill(Walk())
    if bill.sites:
        raise DynamicCostError(
            f"the cost depends on data at {len(bill.sites)} loops or branches; run count(f)(...) to measure it"
        )
    return _whole(bill.fixed)


def _whole(cost: Cost) -> Cost:
    """The cost in Python ints: shares of collectives are fractions that sum to whole numbers over a mesh's devices."""
    if isinstance(cost.flop, int):
        return cost
    parts = tuple((kind, dtype, round(flop)) for kind, dtype, flop in cost.parts)
    return replace(cost, flop=round(cost.flop), parts=parts)


@dataclass(frozen=True)
class _Traced:
    closed: Any  # all of f
    alive: Any  # its jaxpr without equations that no output needs
    inputs: Sequence[Any]
    rebuild: Callable[[Sequence[Any]], Any]

    def bill(self, walk: Walk) -> Bill:
        """With what is paid once: the least that must move, and results that are views of arguments, copied."""
        bill = walk.bill(self.alive)
        operations, copied = results_traffic(self.alive)
        fixed = replace(
            bill.fixed,
            operations=bill.fixed.operations + operations,
            unfused_bytes=bill.fixed.unfused_bytes + copied,
            least_bytes=least_bytes(self.alive, self.closed.consts),
        )
        return Bill(fixed, bill.sites)


def _is_data(leaf: Any) -> bool:
    return isinstance(leaf, int | float | complex) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _trace(f: Callable, args: Any, kwargs: Any) -> _Traced:
    leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
    inputs = [leaf for leaf in leaves if _is_data(leaf)]
    shape_of_result: list[Any] = []

    def flat(*data: Any) -> list[Any]:
        rest = iter(data)
        args, kwargs = jax.tree_util.tree_unflatten(tree, [next(rest) if _is_data(x) else x for x in leaves])
        outs, out_tree = jax.tree_util.tree_flatten(f(*args, **kwargs))
        shape_of_result[:] = [out_tree, [None if _is_data(x) else (x,) for x in outs]]
        return [x for x in outs if _is_data(x)]

    def rebuild(outs: Sequence[Any]) -> Any:
        out_tree, others = shape_of_result
        rest = iter(outs)
        return jax.tree_util.tree_unflatten(out_tree, [next(rest) if o is None else o[0] for o in others])

    closed = jax.make_jaxpr(flat)(*inputs)
    # Inputs are kept even where unused, so that the two jaxprs are called alike.
    return _Traced(closed, without_dead_code(closed.jaxpr), inputs, rebuild)
