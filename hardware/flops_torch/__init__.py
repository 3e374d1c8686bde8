"""Exact FLOPs and bytes of any torch program, executed: `with FlopCounter() as counter: ...; counter.cost`.

Every operation that reaches the dispatcher is priced as it runs: forward, backward, optimiser, solver, under
torch.func transformations, `odeint` and `odeint_adjoint`. Conventions: `hardware.flops_torch.rules`. An operation
without a rule is named in `cost.uncounted` and makes the count a lower bound, and so is one whose rule fails: the
program that is counted never sees it.

Compiled functions (torch.compile) run eagerly inside, so that what is counted is the program, not its fused kernels.
Work in threads that start inside is counted too. What never passes the dispatcher is not seen: a CUDA graph's replay
(refused), the backward pass inside of a function that ran compiled outside, an AOTInductor package, TorchScript's fused
kernels on a GPU, work in threads that were there before or in other processes.

One thing is not as outside: under any dispatch mode torch computes the vectors as well where only singular values or
eigenvalues are asked for (svdvals, eigvalsh), and they are counted.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hardware.cost import Cost
from hardware.flops_torch import kernels, layers, linalg, pooling, products  # noqa: F401 (they register their rules)
from hardware.flops_torch.bytes import Operand, Storages, unfused
from hardware.flops_torch.kernels import is_masked
from hardware.flops_torch.operation import Operation, describe
from hardware.flops_torch.rules import KIND, RULES, Call, dtype_of, free, price
from hardware.flops_torch.scope import UncountableError, following_threads, refusing_graphs


class _Dispatch(TorchDispatchMode):
    """Hands operations to a counter; one for each thread that the counter follows."""

    supports_higher_order_operators = True

    def __init__(self, handle: Callable) -> None:
        super().__init__()
        self._handle = handle

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # compiled functions run eagerly inside: there is nothing to skip, and it costs 1 µs an operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._handle(self, func, args, kwargs or {})


class FlopCounter:
    """Context manager; `cost` is cumulative and may be read at any time. Counters nest, and each counts all inside.

    It follows operations, not modules, so nested autograd (odeint_adjoint) is counted like anything else.
    Inside, an operation takes about 10 µs longer, most of it in torch's dispatch to Python: where steps are alike and
    small, count one and multiply, and never time what runs inside. No tensor is kept alive.
    `least_bytes` of `cost` is that of all blocks together; inside a block, as if it ended there.
    Raises UncountableError where one counter is entered again inside itself, and at the replay of a CUDA graph.
    """

    def __init__(self) -> None:
        self._operations: dict[int, Operation] = {}
        self._priced: dict[Any, list[Any]] = {}  # [times, cost] of each different call
        self._past = _Sum()
        self._storages = Storages()
        self._lock = threading.Lock()
        self._block: contextlib.ExitStack | None = None

    @property
    def cost(self) -> Cost:
        with self._lock:
            return self._sum().cost(self._storages.least_bytes)

    def __enter__(self) -> FlopCounter:
        if self._block is not None:
            raise UncountableError("this FlopCounter is counting already: use a second one inside it")
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(refusing_graphs())
            stack.enter_context(following_threads(lambda: _Dispatch(self._handle)))
            stack.enter_context(_Dispatch(self._handle))
            self._block = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        block, self._block = self._block, None
        with self._lock:
            self._storages.close()
        if block:
            block.__exit__(*exception)

    def _handle(self, mode: _Dispatch, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self._block is None:  # a thread that outlives the block
            return func(*args, **kwargs)
        operation = self._operations.get(id(func))  # operations live for ever, and hash slowly
        if operation is None:
            if not isinstance(func, torch._ops.OpOverload):
                return self._higher_order(mode, func, args, kwargs)
            operation = self._operations[id(func)] = describe(func)
        if operation.is_nothing:
            return func(*args, **kwargs)
        if operation.name not in RULES and operation.is_known:
            with mode:  # composite operations, which inference mode leaves whole, fall apart into priced ones
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if operation.is_prim and type(out) is Tensor and out.is_meta:
            return out  # torch works out a shape
        with self._lock:
            try:
                self._record(operation, args, kwargs, out)
            except Exception:  # whatever it is, it is no fault of the program's, which goes on
                self._past.add(Cost(uncounted=frozenset({operation.name})), 1)
        return out

    def _higher_order(self, mode: _Dispatch, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Control flow that takes functions: the branch taken is counted; others run, and are named."""
        if func.name() == "cond":
            condition, if_true, if_false, operands = args
            with mode:
                return (if_true if condition else if_false)(*operands)
        if func.name() == "while_loop":
            condition, body, carried, constants = args
            with mode:
                while condition(*carried, *constants):
                    carried = body(*carried, *constants)
            return carried
        with self._lock:
            self._past.add(Cost(uncounted=frozenset({func.name()})), 1)
        return func(*args, **kwargs)

    def _record(self, operation: Operation, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        storages = self._storages
        outside: list[Operand] = []
        is_plain, key, known = type(out) is Tensor and not operation.is_special, None, None
        if not operation.by_value or (operation.is_indexed and not is_masked(args[1])):
            try:
                key = (
                    id(operation),
                    _key(args, outside, storages.made),
                    _key(kwargs.items(), outside, storages.made) if kwargs else None,
                )
                known = self._priced.get(key)
            except (RuntimeError, TypeError):  # a sparse tensor has no storage of its own; a symbolic size no hash
                key = None
        if key is None:
            if operation.is_allocating:
                storages.make(out)
                return
            is_plain = False
            self._past.add(_price(operation, Call(operation.name, operation.func, args, kwargs, out)), 1)
        elif known is not None:
            known[0] += 1
        else:
            if len(self._priced) >= 4096:  # many different calls: keep their sum
                self._past = self._sum()
                self._priced.clear()
            self._priced[key] = [1, _price_once(key, operation, args, kwargs, out)]
        if is_plain and out.layout is torch.strided:
            for t, storage, part in outside:
                storages.read(t, storage, part)
            storages.write(out)
        else:
            storages.follow_special(operation, Call(operation.name, operation.func, args, kwargs, out))

    def _sum(self) -> _Sum:
        total = self._past.copy()
        for times, cost in self._priced.values():
            total.add(cost, times)
        return total


class _Sum:
    """Costs added up in place, which is quicker than adding them as values; without `least_bytes`."""

    def __init__(self) -> None:
        self._numbers = [0, 0, 0, 0]
        self._parts: dict[tuple[str, str], int] = {}
        self._uncounted: set[str] = set()

    def copy(self) -> _Sum:
        twin = _Sum()
        twin._numbers, twin._parts, twin._uncounted = [*self._numbers], {**self._parts}, {*self._uncounted}
        return twin

    def add(self, cost: Cost, times: int) -> None:
        numbers = self._numbers
        numbers[0] += times * cost.flop
        numbers[1] += times * cost.transcendental
        numbers[2] += times * cost.operations
        numbers[3] += times * cost.unfused_bytes
        if cost.uncounted:
            self._uncounted |= cost.uncounted
        parts = self._parts
        for kind, dtype, flop in cost.parts:
            parts[kind, dtype] = parts.get((kind, dtype), 0) + times * flop

    def cost(self, least_bytes: int) -> Cost:
        flop, transcendental, operations, unfused_bytes = self._numbers
        parts = tuple(sorted((kind, dtype, n) for (kind, dtype), n in self._parts.items()))
        uncounted = frozenset(self._uncounted)
        return Cost(flop, transcendental, uncounted, parts, operations, unfused_bytes, least_bytes)


def _price_once(key: Any, operation: Operation, args: Any, kwargs: dict[str, Any], out: Any) -> Cost:
    rule = RULES.get(operation.name)
    known_rule, cost = _KNOWN.get(key, (None, None))
    if cost is None or known_rule is not rule:
        cost = _price(operation, Call(operation.name, operation.func, args, kwargs, out))
        if not cost.uncounted:  # a failure may be of the moment
            if len(_KNOWN) >= 65536:
                _KNOWN.clear()
            _KNOWN[key] = rule, cost
    return cost


def _price(operation: Operation, call: Call) -> Cost:
    """The cost of one call with its kinds, precision and bytes; of a `_foreach_` call, of all its tensors together.

    What a rule, or its bytes, cannot make sense of is named, not raised.
    """
    total, unknown = Cost(operations=1), Cost(uncounted=frozenset({operation.name}))
    try:
        total += Cost(unfused_bytes=unfused(operation, call))
    except Exception:
        total += unknown
    if RULES.get(operation.name) is free:
        return total
    try:
        work = Cost()
        for one in _each(call) if operation.is_list else [call]:
            cost = price(one)
            work += unknown if cost is None else _tagged(cost, one)
        return total + (work if _makes_sense(work) else unknown)
    except Exception:
        return total + unknown


def _makes_sense(cost: Cost) -> bool:
    """Numbers are integers (not sizes that stand for unknown ones), and none is negative."""
    numbers = (cost.flop, cost.transcendental, *(flop for *_, flop in cost.parts))
    return all(isinstance(n, int) and n >= 0 for n in numbers)


def _tagged(cost: Cost, call: Call) -> Cost:
    """Parts that a rule told apart keep their kind; the rest of the work is of the operation's own."""
    dtype = dtype_of(call)
    apart = [(k, dtype, flop) for k, _, flop in cost.parts]
    rest = replace(cost, flop=cost.flop - sum(flop for *_, flop in apart)).of(KIND.get(call.name, "elementwise"), dtype)
    return replace(cost, parts=tuple(sorted((*apart, *rest.parts))))


def _each(call: Call) -> Iterator[Call]:
    """A `_foreach_` call as one call for each tensor: lists of that length among its arguments are dealt out."""
    results = call[0] if call.out is None else call.out
    n = len(results)

    def deal(value: Any, i: int) -> Any:
        return value[i] if isinstance(value, list | tuple) and len(value) == n else value

    for i in range(n):
        kwargs = {key: deal(value, i) for key, value in call.kwargs.items()}
        yield Call(call.name, call.func, tuple(deal(a, i) for a in call.args), kwargs, deal(results, i))


_FRACTION = object()
# Prices of earlier calls, with the rule that set them: a counter of one step of many is quick from the second one on.
_KNOWN: dict[Any, tuple[Any, Cost]] = {}


def _key(values: Any, outside: list[Operand], made: dict[int, weakref.ref]) -> tuple[Any, ...]:
    """What a rule may ask of arguments, hashable; tensors whose storage was not made inside are added to `outside`.

    All finite numbers that are not whole are alike, so that a rate that changes with each step makes no new key.
    """
    found = []
    for value in values:
        if isinstance(value, Tensor):
            shape, stride = value.shape, value.stride()
            storage = value.untyped_storage()
            known = made.get(storage._cdata)
            if known is None or known() is not storage:  # as in `Storages.is_outside`, which would take longer
                outside.append((value, storage, (value.storage_offset(), shape, stride)))
            found += (shape, value.dtype, stride)
        elif isinstance(value, list | tuple):
            found.append(_key(value, outside, made))
        elif isinstance(value, float):
            if value.is_integer():
                found.append((float, value))  # the pair tells 2.0 from 2
            else:
                found.append(_FRACTION if math.isfinite(value) else str(value))
        elif isinstance(value, complex):
            found.append((complex, _key((value.real, value.imag), outside, made)))
        else:
            found.append(value)
    return tuple(found)
