"""Bytes of torch operations: `unfused(operation, call)` from shapes, `Storages` for what a block must move.

A tensor that was expanded is as large as what is stored of it, and a sparse one as its indices and values.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch

from hardware.flops_torch.kernels import places
from hardware.flops_torch.operation import Operation
from hardware.flops_torch.rules import Call, tensors

Part = tuple[Any, ...]  # offset, shape and strides of a tensor: the part of its storage that it is
Operand = tuple[torch.Tensor, torch.UntypedStorage, Part]


def strided(value: Any) -> list[torch.Tensor]:
    """The tensors inside a value that have a storage of their own: of a sparse one, its indices and values."""
    found = []
    for t in (value,) if isinstance(value, torch.Tensor) else tensors(value):
        if t.layout is torch.strided:
            found.append(t)
        elif t.layout is torch.sparse_coo:
            found += (t._indices(), t._values())
        elif t.layout in (torch.sparse_csr, torch.sparse_bsr):
            found += (t.crow_indices(), t.col_indices(), t.values())
        elif t.layout in (torch.sparse_csc, torch.sparse_bsc):
            found += (t.ccol_indices(), t.row_indices(), t.values())
        elif t.layout is torch.jagged:
            found += (t.values(), t.offsets())  # pyright: ignore[reportAttributeAccessIssue]
        else:
            raise ValueError(f"bytes must be of a known layout; got {t.layout}")
    return found


def stored(t: torch.Tensor) -> int:
    """Bytes of a strided tensor, each once: an expanded dimension repeats them."""
    stride = t.stride()
    if 0 in stride:
        return t.element_size() * math.prod(n for n, step in zip(t.shape, stride, strict=True) if step or not n)
    return t.nbytes


def total(value: Any) -> int:
    return sum(stored(t) for t in strided(value))


def unfused(operation: Operation, call: Call) -> int:
    """Bytes of the operands and of the results: what one call moves where it is run alone.

    Taking (index, gather, embedding) reads as much as it gives, and the indices; putting (scatter, index_add) in place
    reads what is put, as much of it as is used, and the indices, and writes each place.
    """
    arguments = [value for _, value in bound(operation, call)]
    if operation.is_taking:
        return 2 * total(call.out) + total(arguments[1:])
    if operation.putting:
        values, written = total(call.option(operation.putting)), put(operation, call)
        indices = total(arguments[1:]) - values
        in_place = 0 in operation.written
        return min(values, written) + written + indices + (0 if in_place else 2 * total(call.out))
    read = sum(total(value) for i, value in bound(operation, call) if i not in operation.overwritten)
    return read + sum(stored(t) for t in results(operation, call))


def put(operation: Operation, call: Call) -> int:
    """Bytes of the places that are written; of `masked_scatter`, whose mask is data, all that it is given."""
    if operation.name == "masked_scatter":
        return total(call.option("source"))
    return places(call) * call[0].element_size()


def bound(operation: Operation, call: Call) -> list[tuple[int, Any]]:
    """(position in the schema, value) of each argument."""
    return [*enumerate(call.args), *((operation.names.get(name, -1), value) for name, value in call.kwargs.items())]


def results(operation: Operation, call: Call) -> list[torch.Tensor]:
    """Tensors that the call made or changed, each once."""
    if not operation.written:
        return strided(call.out)
    changed = [value for i, value in bound(operation, call) if i in operation.written]
    return list({id(t): t for t in strided([call.out, changed])}.values())


class _Storage:
    """A storage of which parts are read or written. The parts are summed where they are many."""

    __slots__ = ("is_new", "read", "reference", "size", "written")

    def __init__(self, storage: torch.UntypedStorage, is_new: bool = False) -> None:
        self.is_new = is_new  # made inside, and written in part: it is not read from outside
        self.reference = weakref.ref(storage)
        self.size = storage.nbytes()
        self.read: dict[Any, int] = {}
        self.written: dict[Any, int] = {}

    def add(self, parts: dict[Any, int], part: Any, size: int) -> None:
        parts[part] = size
        if len(parts) > 64:
            total = min(self.size, sum(parts.values()))
            parts.clear()
            parts[None] = total

    def least_bytes(self) -> int:
        is_alive = self.reference() is not None
        return min(self.size, sum(self.read.values())) + is_alive * min(self.size, sum(self.written.values()))


class Storages:
    """What a block reads that was there before it, and what it leaves behind: `least_bytes`.

    Each part of a storage counts once, however often it is read or written; what is written first and read afterwards
    is not read from outside. `close()` ends the block: what is alive then outlives it.
    Storages are known by address and by a weak reference, which tells whether an address is used again. References are
    Python's: torch's own would keep a small block beside each freed array, into which no later array then fits.
    """

    def __init__(self) -> None:
        self.made: dict[int, weakref.ref] = {}  # storages made inside, as most are
        self._seen: dict[int, _Storage] = {}  # others
        self._done = 0
        self._limit = 4096

    def is_outside(self, storage: torch.UntypedStorage) -> bool:
        made = self.made.get(storage._cdata)
        return made is None or made() is not storage

    def read(self, t: torch.Tensor, storage: torch.UntypedStorage, part: Part, taken: int | None = None) -> None:
        """A part of a storage from outside. `taken`: bytes that are read where they are fewer than all."""
        seen = self._find(storage) or self._meet(storage)
        if seen.is_new:
            return
        if taken is not None:
            seen.add(seen.read, None, seen.read.get(None, 0) + taken)
        elif part not in seen.read and part not in seen.written:
            seen.add(seen.read, part, stored(t))

    def write(self, t: torch.Tensor, put: int | None = None) -> None:
        """`put`: bytes that are written where they are fewer than all."""
        storage = t.untyped_storage()
        if not self.is_outside(storage):
            return
        seen = self._find(storage)
        if (seen is None or seen.is_new) and t.nbytes >= storage.nbytes():
            self._seen.pop(storage._cdata, None)
            self.made[storage._cdata] = weakref.ref(storage)
            if len(self.made) >= self._limit:
                self._forget()
            return
        seen = seen or self._meet(storage)
        if put is not None:
            seen.add(seen.written, None, seen.written.get(None, 0) + put)
        else:
            seen.add(seen.written, (t.storage_offset(), t.shape, t.stride()), stored(t))

    def make(self, t: Any) -> None:
        """Room for values yet to be written, as `torch.empty` gives it: what is read of it was written inside."""
        if type(t) is torch.Tensor and t.layout is torch.strided and not t.is_nested:
            storage = t.untyped_storage()
            if self.is_outside(storage) and self._find(storage) is None:
                self._meet(storage, is_new=True)

    def follow_special(self, operation: Operation, call: Call) -> None:
        """An operation that reads or writes its arguments in part, or gives other than one tensor."""
        written = put(operation, call) if operation.putting else 0
        for i, value in bound(operation, call):
            if i not in operation.overwritten and isinstance(value, torch.Tensor | list | tuple):
                taken = None
                if i == 0 and operation.is_taking:
                    taken = total(call.out)
                elif i == 0 and operation.putting and 0 in operation.written:
                    taken = 0
                elif operation.putting and i == operation.names.get(operation.putting) and written < total(value):
                    taken = written
                for t in strided(value):
                    storage = t.untyped_storage()
                    if self.is_outside(storage):
                        self.read(t, storage, (t.storage_offset(), t.shape, t.stride()), taken)
        for t in results(operation, call):
            self.write(t, written if operation.putting and 0 in operation.written else None)

    @property
    def least_bytes(self) -> int:
        made = sum(storage.nbytes() for reference in self.made.values() if (storage := reference()) is not None)
        return self._done + made + sum(storage.least_bytes() for storage in self._seen.values())

    def _find(self, storage: torch.UntypedStorage) -> _Storage | None:
        seen = self._seen.get(storage._cdata)
        if seen is None or seen.reference() is storage:
            return seen
        self._done += seen.least_bytes()  # of one that is gone, and had this address before
        del self._seen[storage._cdata]
        return None

    def _meet(self, storage: torch.UntypedStorage, is_new: bool = False) -> _Storage:
        if len(self._seen) >= self._limit:
            self._forget()
        seen = self._seen[storage._cdata] = _Storage(storage, is_new)
        return seen

    def _forget(self) -> None:
        """Storages that are gone: what was read of them stays in the sum."""
        for address, reference in list(self.made.items()):
            if reference() is None:
                del self.made[address]
        for address, storage in list(self._seen.items()):
            if storage.reference() is None:
                self._done += storage.least_bytes()
                del self._seen[address]
        self._limit = max(4096, 2 * len(self.made), 2 * len(self._seen))

    def close(self) -> None:
        self._done = self.least_bytes
        self.made.clear()
        self._seen.clear()
