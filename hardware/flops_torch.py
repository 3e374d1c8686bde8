"""Exact FLOPs of any torch program, executed: `with FlopCounter() as counter: ...; counter.cost`.

Every operation that reaches the dispatcher is priced as it runs: forward, backward, optimiser, solver, under
torch.func transformations, `odeint` and `odeint_adjoint`. Conventions: `hardware.flops_torch_rules`. An operation
without a rule is named in `cost.uncounted` and makes the count a lower bound. Operations inside compiled graphs
(torch.compile, TorchScript) do not reach the dispatcher one by one: count the program uncompiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from hardware import flops_torch_kernels  # noqa: F401 (registers its rules)
from hardware.cost import Cost
from hardware.flops_torch_rules import RULES, Call, free, price


class FlopCounter(TorchDispatchMode):
    """Context manager; `cost` is cumulative and may be read at any time. Counters nest, and each counts all inside.

    It follows operations, not modules, so nested autograd (odeint_adjoint) is counted like anything else.
    Inside, an operation takes about 20 µs longer, most of it in torch's dispatch to Python: where steps are alike and
    small, count one and multiply, and never time what runs inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flop = 0
        self._transcendental = 0
        self._uncounted: set[str] = set()
        self._facts: dict[Any, tuple[str, bool, bool]] = {}

    @property
    def cost(self) -> Cost:
        return Cost(self._flop, self._transcendental, frozenset(self._uncounted))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, is_list, is_free = self._facts.get(func) or self._facts.setdefault(func, _facts_of(func))
        if is_free:
            return func(*args, **kwargs)
        if name not in RULES:
            with self:  # composite operations, which inference mode leaves whole, fall apart into priced ones
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        call = Call(name, func, args, kwargs, args[0] if out is None and args else out)  # lists change in place
        for one in _each(call) if is_list else [call]:
            cost = price(one)
            if cost is None:
                self._uncounted.add(name)
            else:
                self._flop += cost.flop
                self._transcendental += cost.transcendental
                self._uncounted |= cost.uncounted
        return out


def _facts_of(func: Any) -> tuple[str, bool, bool]:
    """The name that rules go by, whether it works on lists of tensors, and whether it never costs anything."""
    full = func._schema.name.partition("::")[2]
    name = full.removeprefix("_foreach_").removesuffix("_")
    return name, full.startswith("_foreach_"), func.is_view or RULES.get(name) is free


def _each(call: Call) -> Iterator[Call]:
    """A `_foreach_` call as one call for each tensor: lists of that length among its arguments are dealt out."""
    n = len(call[0])

    def deal(value: Any, i: int) -> Any:
        return value[i] if isinstance(value, list | tuple) and len(value) == n else value

    for i in range(n):
        kwargs = {key: deal(value, i) for key, value in call.kwargs.items()}
        yield Call(call.name, call.func, tuple(deal(a, i) for a in call.args), kwargs, deal(call.out, i))
