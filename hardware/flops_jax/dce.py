"""Dead code inside loops: values that a `while` carries round although nothing needs them, as compilers remove.

JAX's own elimination (`dce_jaxpr`) goes into scans, branches and calls, but takes a `while` whole.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters.partial_eval import dce_jaxpr


def without_dead_code(jaxpr: Any) -> Any:
    """The jaxpr without equations and carried values that no output needs; its arguments all stay.

    Equations with effects stay, and so does a `while` that has some.
    """
    alive, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    pruned = _prune(alive, {})
    return alive if pruned is alive else without_dead_code(pruned)  # what fed a dead value may be dead now


def _prune(jaxpr: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """One pass, from the last equation to the first; the same object where there is nothing to remove."""
    if id(jaxpr) not in seen:
        needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
        eqns = []
        for eqn in reversed(jaxpr.eqns):
            new = _prune_inside(eqn, seen)
            if eqn.primitive.name == "while" and not eqn.effects:
                new = _prune_while(new, [v in needed for v in eqn.outvars])
            needed |= {v for v in new.invars if not isinstance(v, Literal)}
            eqns.append(new)
        eqns.reverse()
        same = all(new is old for new, old in zip(eqns, jaxpr.eqns, strict=True))
        seen[id(jaxpr)] = (jaxpr, jaxpr if same else jaxpr.replace(eqns=eqns))
    return seen[id(jaxpr)][1]


def _prune_inside(eqn: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    def pruned(value: Any) -> Any:
        if isinstance(value, ClosedJaxpr):
            inner = _prune(value.jaxpr, seen)
            return value if inner is value.jaxpr else ClosedJaxpr(inner, value.consts)
        return _prune(value, seen) if isinstance(value, Jaxpr) else value

    changed = {}
    for name, value in eqn.params.items():
        new = tuple(pruned(one) for one in value) if type(value) is tuple else pruned(value)
        if new is not value and not (type(value) is tuple and all(a is b for a, b in zip(new, value, strict=True))):
            changed[name] = new
    return eqn.replace(params=eqn.params | changed) if changed else eqn


def _prune_while(eqn: Any, used: list[bool]) -> Any:
    p = eqn.params
    n_test, n_body = p["cond_nconsts"], p["body_nconsts"]
    test, body = p["cond_jaxpr"], p["body_jaxpr"]
    keep = [a or b for a, b in zip(used, dce_jaxpr(test.jaxpr, [True])[1][n_test:], strict=True)]
    while True:  # a value is needed if one that is needed is computed from it
        more = [a or b for a, b in zip(keep, dce_jaxpr(body.jaxpr, keep)[1][n_body:], strict=True)]
        if more == keep:
            break
        keep = more
    if all(keep):
        return eqn
    new_test, test_reads = dce_jaxpr(test.jaxpr, [True], instantiate=[False] * n_test + keep)
    new_body, body_reads = dce_jaxpr(body.jaxpr, keep, instantiate=[False] * n_body + keep)
    reads = [*test_reads[:n_test], *body_reads[:n_body], *keep]
    return eqn.replace(
        invars=[v for v, read in zip(eqn.invars, reads, strict=True) if read],
        outvars=[v for v, kept in zip(eqn.outvars, keep, strict=True) if kept],
        params=p | {
            "cond_nconsts": sum(test_reads[:n_test]),
            "body_nconsts": sum(body_reads[:n_body]),
            "cond_jaxpr": ClosedJaxpr(new_test, test.consts),
            "body_jaxpr": ClosedJaxpr(new_body, body.consts),
        },
    )  # fmt: skip
