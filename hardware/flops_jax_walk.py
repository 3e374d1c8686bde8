"""The walk over a jaxpr: its bill (static costs, and sites whose cost depends on data) and its counted evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

from hardware.cost import Cost
from hardware.flops_jax_bind import bind, implementation, with_derivative_of
from hardware.flops_jax_rules import price

# Primitives that run one jaxpr once, and the parameters that may hold it, as several versions of JAX spell them.
CALLS = frozenset(
    [
        "call",
        "checkpoint",
        "closed_call",
        "composite",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "custom_vmap_call",
        "eval_jaxpr",
        "jit",
        "linear_call",
        "pjit",
        "remat",
        "remat2",
    ]
)
HOLDERS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee")

NOTHING = Cost()


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
        self._bills: dict[int, tuple[Any, Bill]] = {}  # the object is kept so that its id stays its own
        self._bodies: dict[int, tuple[Any, Any]] = {}

    # ---- bills ----

    def bill(self, jaxpr: Any) -> Bill:
        if id(jaxpr) not in self._bills:
            total = Bill()
            for eqn in jaxpr.eqns:
                total += self._bill_of(eqn)
            self._bills[id(jaxpr)] = (jaxpr, total)
        return self._bills[id(jaxpr)][1]

    def _bill_of(self, eqn: Any) -> Bill:
        if id(eqn) not in self._bills:
            self._bills[id(eqn)] = (eqn, self._new_bill(eqn))
        return self._bills[id(eqn)][1]

    def _new_bill(self, eqn: Any) -> Bill:
        name, params = eqn.primitive.name, eqn.params
        if name == "scan":
            body = self.bill(params["jaxpr"].jaxpr)
            return Bill(body.fixed * params["length"], body.sites if params["length"] else ())
        if name == "while":
            test, body = self.bill(params["cond_jaxpr"].jaxpr), self.bill(params["body_jaxpr"].jaxpr)
            trip = test.fixed + body.fixed
            if trip == NOTHING and not (test.sites or body.sites):
                return Bill()  # integers only: nothing to count, so nothing to carry
            return Bill(test.fixed, (trip, *test.sites, *body.sites))
        if name == "cond":
            branches = [self.bill(b.jaxpr) for b in params["branches"]]
            if len(set(branches)) == 1 and not branches[0].sites:
                return branches[0]
            paid = tuple(b.fixed for b in branches if b.fixed != NOTHING)
            return Bill(NOTHING, sum((b.sites for b in branches), paid))
        known = price(eqn)
        if known is not None:
            return Bill(known)
        body = self._body(eqn)
        return Bill(Cost(uncounted=frozenset({name}))) if body is None else self.bill(body.jaxpr)

    def _body(self, eqn: Any) -> Any:
        """The closed jaxpr that a call-like equation runs, else None."""
        if id(eqn) not in self._bodies:
            name = eqn.primitive.name
            if name in CALLS:
                body = next(eqn.params[holder] for holder in HOLDERS if holder in eqn.params)
                body = body if hasattr(body, "consts") else jex.ClosedJaxpr(body, ())
            else:
                body = implementation(eqn)
            self._bodies[id(eqn)] = (eqn, body)
        return self._bodies[id(eqn)][1]

    # ---- evaluation ----

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Outputs, and one counter for each site of `bill(jaxpr)`, in the same order."""
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        times: list[Any] = []

        def read(v: Any) -> Any:
            return v.val if isinstance(v, jex.Literal) else values[v]

        for eqn in jaxpr.eqns:
            inputs = [read(v) for v in eqn.invars]
            if self._bill_of(eqn).sites:
                outs, new = self._run_counted(eqn, inputs)
                times += new
            else:
                outs = bind(eqn, inputs)
            values.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars], times

    def _run_closed(self, closed: Any, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        return self.run(closed.jaxpr, closed.consts, args)

    def _run_counted(self, eqn: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        special = {"scan": self._scan, "while": self._while, "cond": self._cond}.get(eqn.primitive.name)
        return special(eqn, inputs) if special else self._call(eqn, inputs)

    def _zeros(self, eqn: Any) -> list[Any]:
        return _zeros(len(self._bill_of(eqn).sites))

    def _scan(self, eqn: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        p = eqn.params
        if "ft_in" in p:  # jax 0.11 and later
            consts, carry, xs = (list(part) for part in p["ft_in"].update(inputs).unpack())
        else:
            n, m = p["num_consts"], p["num_consts"] + p["num_carry"]
            consts, carry, xs = inputs[:n], inputs[n:m], inputs[m:]

        def body(state: Any, x: Any) -> Any:
            carry, times = state
            outs, new = self._run_closed(p["jaxpr"], [*consts, *carry, *x])
            return (outs[: len(carry)], _add(times, new)), outs[len(carry) :]

        start = (carry, self._zeros(eqn))
        (carry, times), ys = lax.scan(body, start, xs, p["length"], reverse=p["reverse"], unroll=p["unroll"])
        return [*carry, *ys], times

    def _while(self, eqn: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        p = eqn.params
        n_test, n_body = p["cond_nconsts"], p["body_nconsts"]
        test_consts, body_consts, start = inputs[:n_test], inputs[n_test : n_test + n_body], inputs[n_test + n_body :]

        def test(carry: Any) -> Any:
            (keep_on,), new = self._run_closed(p["cond_jaxpr"], [*test_consts, *carry])
            return keep_on, new

        def advance(keep_on: Any, carry: list[Any]) -> Any:
            outs, new = self._run_closed(p["body_jaxpr"], [*body_consts, *carry])
            if jnp.ndim(keep_on):  # a vmapped loop goes on while any lane does; lanes that are done keep their values
                outs = [_select(keep_on, o, c) for o, c in zip(outs, carry, strict=True)]
            return outs, new

        n_test_sites = len(self.bill(p["cond_jaxpr"].jaxpr).sites)
        lanes = p["cond_jaxpr"].out_avals[0].shape
        if not n_test_sites:

            def body(state: Any) -> Any:
                carry, times = state
                outs, new = advance(test(carry)[0] if lanes else True, carry)
                return outs, _add(times, [1, *new])

            return lax.while_loop(lambda state: jnp.any(test(state[0])[0]), body, (start, self._zeros(eqn)))

        # The test itself holds a loop or a branch to count: it moves to the end of the body, where counters can leave.
        def body_then_test(state: Any) -> Any:
            keep_on, carry, times = state
            outs, new = advance(keep_on, carry)
            keep_on, of_test = test(outs)
            return keep_on, outs, _add(times, [1, *of_test, *new])

        keep_on, of_test = test(start)
        zeros = self._zeros(eqn)
        times = [zeros[0], *of_test, *zeros[1 + n_test_sites :]]
        _, outs, times = lax.while_loop(lambda state: jnp.any(state[0]), body_then_test, (keep_on, start, times))
        return outs, times

    def _cond(self, eqn: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        index, *operands = inputs
        branches = eqn.params["branches"]
        bills = [self.bill(b.jaxpr) for b in branches]
        inner = [len(b.sites) for b in bills]
        taken = [(index == i).astype(_zero().dtype) for i, b in enumerate(bills) if b.fixed != NOTHING]
        if not any(inner):  # nothing to count inside, so the branches stay as they are
            return bind(eqn, inputs), taken

        def counted(i: int) -> Any:
            def branch(*args: Any) -> Any:
                outs, new = self._run_closed(branches[i], args)
                return outs, [*_zeros(sum(inner[:i])), *new, *_zeros(sum(inner[i + 1 :]))]

            return branch

        outs, times = lax.switch(index, [counted(i) for i in range(len(branches))], *operands)
        return outs, [*taken, *times]

    def _call(self, eqn: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        name, p, body = eqn.primitive.name, eqn.params, self._body(eqn)

        def counted(*args: Any) -> Any:
            return self._run_closed(body, args)

        if name in ("jit", "pjit"):
            counted.__name__ = p["name"]
            return jax.jit(counted, inline=p["inline"])(*inputs)
        if name in ("remat", "remat2", "checkpoint"):
            return jax.checkpoint(counted, prevent_cse=p["prevent_cse"], policy=p["policy"])(*inputs)
        if name in ("closed_call", "core_call", "call", "eval_jaxpr"):
            return counted(*inputs)
        return with_derivative_of(eqn, counted)(*inputs)


def _zero() -> Any:
    return jnp.zeros((), jax.dtypes.canonicalize_dtype(jnp.int64))


def _zeros(n: int) -> list[Any]:
    return [_zero()] * n


def _select(keep_on: Any, new: Any, old: Any) -> Any:
    shape = jnp.shape(new)
    return lax.select(lax.broadcast_in_dim(keep_on, shape, range(jnp.ndim(keep_on))), new, jnp.asarray(old))


def _add(times: list[Any], new: list[Any]) -> list[Any]:
    return [a + b for a, b in zip(times, new, strict=True)]
