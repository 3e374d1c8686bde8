"""The walk over a jaxpr: its bill (static costs, and sites whose cost depends on data) and its counted evaluation.

Each site has a counter, and its place among them is its name: the `while` whose trips counter i counts runs inside
`jax.named_scope("loop_{i}")`, so that compiled programs tell which of their loops it is (metadata `op_name`; the last
such name counts where they nest; of nested `count`s only the outermost names loops). A loop inside another loop's test
appears twice, before that loop and in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

from hardware.cost import NOTHING, Cost
from hardware.flops_jax import collectives, linalg  # noqa: F401 (they register their prices)
from hardware.flops_jax.bind import bind, implementation, jitted, of_one_lane, with_derivative_of
from hardware.flops_jax.rules import price
from hardware.flops_jax.traffic import overwritable, size, traffic

# Primitives that run one jaxpr once, and the parameters that may hold it, as several versions of JAX spell them.
CALLS = """
    call checkpoint closed_call composite compute_on core_call custom_jvp_call custom_jvp_call_jaxpr
    custom_partitioning custom_vjp_call custom_vjp_call_jaxpr custom_vmap_call eval_jaxpr jit linear_call pjit remat
    remat2 remat_opt xla_metadata_call
"""
KERNELS = "pallas_call run_scoped run_state"  # run one jaxpr on references, where no counter can leave
HOLDERS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee", "fwd_jaxpr")


@dataclass(frozen=True)
class Bill:
    """What a jaxpr costs: `fixed` always, and each of `sites` as often as its counter says."""

    fixed: Cost = NOTHING
    sites: tuple[Cost, ...] = ()

    def __add__(self, other: Bill) -> Bill:
        return Bill(self.fixed + other.fixed, self.sites + other.sites)


class Walk:
    """One traversal; remembers the bill of each jaxpr and equation, so that billing and running agree."""

    def __init__(self) -> None:
        self._bills: dict[Any, tuple[Any, Bill]] = {}  # the object is kept so that its id stays its own
        self._bodies: dict[int, tuple[Any, Any]] = {}
        self._varying: tuple[Any, ...] = ()  # axes of the mesh whose devices may count differently

    # ---- bills ----

    def bill(self, jaxpr: Any, mine: frozenset[int] = frozenset()) -> Bill:
        """`mine`: places of the arguments that the jaxpr may overwrite. Only bytes depend on it, never the sites."""
        if (id(jaxpr), mine) not in self._bills:
            total, stored = Bill(), {}
            for eqn, own in zip(jaxpr.eqns, overwritable(jaxpr, mine), strict=True):
                new = self._new_bill(eqn, stored, own)
                self._bills.setdefault(id(eqn), (eqn, new))
                total += new
            self._bills[id(jaxpr), mine] = (jaxpr, total)
        return self._bills[id(jaxpr), mine][1]

    def _bill_of(self, eqn: Any) -> Bill:
        """Of an equation of a jaxpr whose bill is made; its bytes are those of the first place that it was met in."""
        if id(eqn) not in self._bills:
            self._bills[id(eqn)] = (eqn, self._new_bill(eqn, {}, frozenset()))
        return self._bills[id(eqn)][1]

    def _new_bill(self, eqn: Any, stored: dict[Any, int], mine: frozenset[int]) -> Bill:
        try:
            return self._priced(eqn, stored, mine)
        except Exception:  # a rule's mistake, or a parameter that a later JAX has renamed, must not stop the program
            return Bill(_uncounted(eqn, stored))

    def _priced(self, eqn: Any, stored: dict[Any, int], mine: frozenset[int]) -> Bill:
        name, params = eqn.primitive.name, eqn.params
        if name == "scan":  # what a loop carries, and the row it takes, are its own
            consts, carry = _scan_sizes(eqn)
            body = self.bill(params["jaxpr"].jaxpr, frozenset(range(consts, len(params["jaxpr"].in_avals))))
            rows = [size(aval) for aval in params["jaxpr"].out_avals[carry:]]  # read, and written into their stack
            stacking = Cost(operations=sum(n > 0 for n in rows), unfused_bytes=2 * sum(rows))
            if not params["length"]:  # its results are copies of what it would have carried
                copies = [size(v.aval) for v in eqn.outvars[:carry]]
                return Bill(Cost(operations=sum(n > 0 for n in copies), unfused_bytes=2 * sum(copies)))
            return Bill((body.fixed + stacking) * params["length"], body.sites)
        if name == "while":
            own = frozenset(range(params["body_nconsts"], len(params["body_jaxpr"].in_avals)))
            test, body = self.bill(params["cond_jaxpr"].jaxpr), self.bill(params["body_jaxpr"].jaxpr, own)
            return Bill(test.fixed, (test.fixed + body.fixed, *test.sites, *body.sites))
        if name == "cond":
            own = frozenset(i - 1 for i in mine if i)
            bills = [self.bill(b.jaxpr, own) for b in params["branches"]]
            plain = [self.bill(b.jaxpr) for b in params["branches"]]  # which sites there are must not depend on `mine`
            if _same(plain):
                return max(bills, key=lambda b: b.fixed.unfused_bytes)
            paid = tuple(b.fixed for b in bills if b.fixed != NOTHING)
            return Bill(NOTHING, sum((b.sites for b in bills), paid))
        if name == "shard_map":  # each device runs the body; the counters of all devices are summed
            body = self.bill(params["jaxpr"], mine)
            return Bill(body.fixed * math.prod(params["mesh"].shape[a] for a in _manual_axes(eqn)), body.sites)
        if name in KERNELS.split():
            return Bill(self._kernel(eqn, stored))
        known = price(eqn, stored, mine)
        if known is not None:
            return Bill(known)
        body = self._body(eqn)
        if body is None:
            return Bill(_uncounted(eqn, stored))
        return self.bill(body.jaxpr, mine if len(body.in_avals) == len(eqn.invars) else frozenset())

    def _kernel(self, eqn: Any, stored: dict[Any, int]) -> Cost:
        """A Pallas kernel: its body once for each point of the grid, and what it moves by its operands and results.

        Loops and branches whose length depends on data have no counter in there: the kernel is then named uncounted.
        """
        body, p = self.bill(eqn.params["jaxpr"]), eqn.params
        grid = p["grid_mapping"].grid if "grid_mapping" in p else ()
        outside = _uncounted(eqn, stored)
        if not all(isinstance(n, int) for n in grid):
            return outside
        known = not any(site.flop or site.uncounted for site in body.sites)
        inside = replace(body.fixed * math.prod(grid), operations=0, unfused_bytes=0)
        return inside + (replace(outside, uncounted=frozenset()) if known else outside)

    def _body(self, eqn: Any) -> Any:
        """The closed jaxpr that a call-like equation runs, else None."""
        if id(eqn) not in self._bodies:
            name = eqn.primitive.name
            if name in CALLS.split():
                body = next(eqn.params[holder] for holder in HOLDERS if holder in eqn.params)
                body = body if hasattr(body, "consts") else jex.ClosedJaxpr(body, ())
            else:
                body = implementation(eqn)
            self._bodies[id(eqn)] = (eqn, body)
        return self._bodies[id(eqn)][1]

    # ---- evaluation ----

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], at: int) -> tuple[list[Any], list[Any]]:
        """Outputs, and one counter for each site of `bill(jaxpr)`, in the same order; `at` is the first one's place."""
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        times: list[Any] = []

        def read(v: Any) -> Any:
            return v.val if isinstance(v, jex.Literal) else values[v]

        for eqn in jaxpr.eqns:
            inputs = [read(v) for v in eqn.invars]
            if self._bill_of(eqn).sites:
                outs, new = self._run_counted(eqn, inputs, at + len(times))
                times += new
            else:
                outs = bind(eqn, inputs)
            values.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars], times

    def _run_closed(self, closed: Any, args: Sequence[Any], at: int) -> tuple[list[Any], list[Any]]:
        return self.run(closed.jaxpr, closed.consts, args, at)

    def _run_counted(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        special = {"scan": self._scan, "while": self._while, "cond": self._cond, "shard_map": self._shard_map}
        return special.get(eqn.primitive.name, self._call)(eqn, inputs, at)

    def _zero(self) -> Any:
        zero = jnp.zeros((), jax.dtypes.canonicalize_dtype(jnp.int64))
        return lax.pcast(zero, self._varying, to="varying") if self._varying else zero

    def _zeros(self, n: int) -> list[Any]:
        return [self._zero()] * n

    def _scan(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        p = eqn.params
        if "ft_in" in p:  # jax 0.11 and later
            consts, carry, xs = (list(part) for part in p["ft_in"].update(inputs).unpack())
        else:
            n, m = _scan_sizes(eqn)
            consts, carry, xs = inputs[:n], inputs[n : n + m], inputs[n + m :]

        def body(state: Any, x: Any) -> Any:
            carry, times = state
            outs, new = self._run_closed(p["jaxpr"], [*consts, *carry, *x], at)
            return (outs[: len(carry)], _add(times, new)), outs[len(carry) :]

        start = (carry, self._zeros(len(self._bill_of(eqn).sites)))
        (carry, times), ys = lax.scan(body, start, xs, p["length"], reverse=p["reverse"], unroll=p["unroll"])
        return [*carry, *ys], times

    def _while(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        p = eqn.params
        n_test, n_body = p["cond_nconsts"], p["body_nconsts"]
        test_consts, body_consts, start = inputs[:n_test], inputs[n_test : n_test + n_body], inputs[n_test + n_body :]
        zeros = self._zeros(len(self._bill_of(eqn).sites))
        n_test_sites = len(self.bill(p["cond_jaxpr"].jaxpr).sites)
        lanes = p["cond_jaxpr"].out_avals[0].shape

        def test(carry: Any) -> Any:
            (keep_on,), new = self._run_closed(p["cond_jaxpr"], [*test_consts, *carry], at + 1)
            return keep_on, new

        def advance(keep_on: Any, carry: list[Any]) -> Any:
            outs, new = self._run_closed(p["body_jaxpr"], [*body_consts, *carry], at + 1 + n_test_sites)
            if jnp.ndim(keep_on):  # a vmapped loop goes on while any lane does; lanes that are done keep their values
                outs = [_select(keep_on, o, c) for o, c in zip(outs, carry, strict=True)]
            return outs, new

        def loop(test: Any, body: Any, start: Any) -> Any:
            with jax.named_scope(f"loop_{at}"):
                return lax.while_loop(test, body, start)

        if not n_test_sites:

            def body(state: Any) -> Any:
                carry, times = state
                outs, new = advance(test(carry)[0] if lanes else True, carry)
                return outs, _add(times, [1, *new])

            return loop(lambda state: jnp.any(test(state[0])[0]), body, (start, zeros))

        # The test itself holds a loop or a branch to count: it moves to the end of the body, where counters can leave.
        def body_then_test(state: Any) -> Any:
            keep_on, carry, times = state
            outs, new = advance(keep_on, carry)
            keep_on, of_test = test(outs)
            return keep_on, outs, _add(times, [1, *of_test, *new])

        keep_on, of_test = test(start)
        times = [zeros[0], *of_test, *zeros[1 + n_test_sites :]]
        _, outs, times = loop(lambda state: jnp.any(state[0]), body_then_test, (keep_on, start, times))
        return outs, times

    def _cond(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        index, *operands = inputs
        branches = eqn.params["branches"]
        bills = [self.bill(b.jaxpr) for b in branches]
        inner = [len(b.sites) for b in bills]
        zero = self._zero()
        taken = [zero + (index == i).astype(zero.dtype) for i, b in enumerate(bills) if b.fixed != NOTHING]
        if not any(inner):  # nothing to count inside, so the branches stay as they are
            return bind(eqn, inputs), taken

        def counted(i: int) -> Any:
            def branch(*args: Any) -> Any:
                before = sum(inner[:i])
                outs, new = self._run_closed(branches[i], args, at + len(taken) + before)
                return outs, [*self._zeros(before), *new, *self._zeros(sum(inner[i + 1 :]))]

            return branch

        outs, times = lax.switch(index, [counted(i) for i in range(len(branches))], *operands)
        return outs, [*taken, *times]

    def _shard_map(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        p, axes = eqn.params, _manual_axes(eqn)
        n_sites = len(self._bill_of(eqn).sites)

        def counted(*args: Any) -> Any:
            outs, times = self.run(p["jaxpr"], (), args, at)
            return (*outs, *(t[None] for t in times))

        outside, self._varying = self._varying, (*self._varying, *(axes if p["check_vma"] else ()))
        outs = jax.shard_map(
            counted,
            mesh=p["mesh"],
            in_specs=tuple(p["in_specs"]),
            out_specs=(*p["out_specs"], *[jax.sharding.PartitionSpec(axes)] * n_sites),
            axis_names=set(axes),
            check_vma=p["check_vma"],
        )(*inputs)
        self._varying = outside
        return list(outs[:-n_sites]), [jnp.sum(t, dtype=t.dtype) for t in outs[-n_sites:]]

    def _call(self, eqn: Any, inputs: list[Any], at: int) -> tuple[list[Any], list[Any]]:
        name, p, body = eqn.primitive.name, eqn.params, self._body(eqn)

        def counted(*args: Any) -> Any:
            return self._run_closed(body, args, at)

        if name in ("jit", "pjit"):
            counted.__name__ = p["name"]
            return jitted(counted, p, len(self.bill(body.jaxpr).sites))(*inputs)
        if name in ("remat", "remat2", "checkpoint"):
            return jax.checkpoint(counted, prevent_cse=p["prevent_cse"], policy=p["policy"])(*inputs)
        if name in ("closed_call", "core_call", "call", "eval_jaxpr"):
            return counted(*inputs)
        if name == "custom_vmap_call":
            return with_derivative_of(eqn, of_one_lane(counted))(*inputs)
        return with_derivative_of(eqn, counted)(*inputs)


def _scan_sizes(eqn: Any) -> tuple[int, int]:
    """How many constants a scan has, and how many values it carries."""
    p = eqn.params
    if "ft_in" in p:  # jax 0.11 and later
        consts, carry, _ = (list(part) for part in p["ft_in"].update(list(range(len(eqn.invars)))).unpack())
        return len(consts), len(carry)
    return p["num_consts"], p["num_carry"]


def _same(bills: list[Bill]) -> bool:
    return len(set(bills)) == 1 and not bills[0].sites


def _uncounted(eqn: Any, stored: dict[Any, int]) -> Cost:
    """An equation without a price: its name (and its target's, of a call into foreign code), and what it moves."""
    target = eqn.params.get("target_name")
    name = f"{eqn.primitive.name}[{target}]" if target else eqn.primitive.name
    try:
        operations, unfused_bytes = traffic(eqn, stored)
    except Exception:  # of an equation unlike any that we know
        operations, unfused_bytes = 1, 0
    return Cost(uncounted=frozenset({name}), operations=operations, unfused_bytes=unfused_bytes)


def _manual_axes(eqn: Any) -> tuple[Any, ...]:
    """The axes of the mesh that a shard_map maps over, in the mesh's order; JAX has renamed the parameter."""
    axes = next(eqn.params[name] for name in ("newly_manual_axes", "manual_axes") if name in eqn.params)
    return tuple(a for a in eqn.params["mesh"].axis_names if a in axes)


def _select(keep_on: Any, new: Any, old: Any) -> Any:
    shape = jnp.shape(new)
    return lax.select(lax.broadcast_in_dim(keep_on, shape, range(jnp.ndim(keep_on))), new, jnp.asarray(old))


def _add(times: list[Any], new: list[Any]) -> list[Any]:
    return [a + b if isinstance(b, int) else plus(a, b) for a, b in zip(times, new, strict=True)]


def plus(a: Any, b: Any) -> Any:
    """The sum of two counters; it stays negative once it, or one of them, has overflowed."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    return (a + b) | ((a | b) & jnp.iinfo(jnp.result_type(a, b)).min)
