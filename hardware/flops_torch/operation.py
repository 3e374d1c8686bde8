"""What the counter knows of a torch operation before it is called: `describe(func) -> Operation`.

What is a view, what is taken or put in part, and what is written, follow from the operation's schema, and from the
lists below where a schema does not say it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

# Nothing is computed and no byte moves: renaming, and bookkeeping of the framework.
_NOTHING = """
    _conj _efficientzerotensor _has_same_storage_numel _is_zerotensor _neg_view _record_function_enter_new
    _record_function_exit _reshape_alias _sparse_coo_tensor_unsafe _sparse_coo_tensor_with_dims_and_tensors
    _coalesced _indices _values _unsafe_view alias detach dense_dim is_coalesced is_pinned is_same_size lift lift_fresh
    promote_types resize set sparse_dim sparse_resize sparse_resize_and_clear sym_numel sym_size sym_storage_offset
    sym_stride
"""
# What makes room for values yet to be written.
_ALLOCATING = "empty empty_like empty_permuted empty_strided new_empty new_empty_strided"
# What is read of the first argument is what is taken, as much as the result.
_TAKING = "index _unsafe_index index_select gather embedding take masked_select"
# What is written of the first argument is what is put, as much as the named one.
_PUTTING = {
    "scatter": "src", "scatter_add": "src", "scatter_reduce": "src", "index_add": "source", "index_copy": "source",
    "index_reduce": "source", "index_put": "values", "_index_put_impl": "values", "_unsafe_index_put": "values",
    "masked_scatter": "source", "put": "source",
}  # fmt: skip
# In place, the first argument is written without being read.
_OVERWRITING = "bernoulli cauchy copy exponential fill geometric log_normal normal random uniform zero"
# Dearer for some values than for others; or with results whose size depends on values, see `torch.Tag`.
_BY_VALUE = "linalg_matrix_exp"

_nothing, _allocating, _taking, _overwriting, _by_value = (
    frozenset(x.split()) for x in (_NOTHING, _ALLOCATING, _TAKING, _OVERWRITING, _BY_VALUE)
)


@dataclass(slots=True, frozen=True)
class Operation:
    """One overload of an operation. `written` and `overwritten` are positions among the schema's arguments."""

    name: str  # without namespace, `_foreach_` prefix and trailing underscore; other namespaces than aten are kept
    func: Any
    is_list: bool
    is_prim: bool  # what torch's own decompositions are made of
    is_nothing: bool  # moves no byte, makes no room and computes nothing
    is_allocating: bool  # makes room, and nothing else
    is_known: bool  # to torch's dispatcher, which ends the process where it is asked for the parts of another one
    by_value: bool  # its cost may be no function of the shapes and scalars among its arguments, or it has none
    is_taking: bool
    putting: str | None  # the argument that is put into the first one
    written: tuple[int, ...]
    overwritten: frozenset[int]
    names: dict[str, int]  # positions of the arguments
    is_indexed: bool  # puts at indices that may be masks, whose number of places is data
    is_special: bool  # reads or writes its arguments in part, or changes what it does not return


@functools.cache
def describe(func: Any) -> Operation:
    schema = func._schema
    namespace, _, full = schema.name.partition("::")
    is_list = full.startswith("_foreach_")
    name = full.removeprefix("_foreach_").removesuffix("_")
    name = name if namespace in ("aten", "prims") else f"{namespace}::{full}"
    arguments = schema.arguments
    written = tuple(i for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write)
    if name.startswith("_fused_"):  # gradients are written only by a scaler, which is not the optimiser's work
        written = tuple(i for i in written if arguments[i].name != "grads")
    overwritten = {i for i in written if arguments[i].is_out or (i == 0 and name in _overwriting)}
    is_indexed = _PUTTING.get(name) == "values"
    is_special = bool(overwritten or is_list or len(written) > 1 or name in _taking or name in _PUTTING)
    return Operation(
        name=name,
        func=func,
        is_list=is_list,
        is_prim=namespace == "prims",
        is_nothing=func.is_view or name in _nothing or namespace in ("profiler", "prim"),
        is_allocating=name in _allocating,
        is_known=torch._C._dispatch_has_kernel(func.name()),
        by_value=is_indexed or name in _by_value | _allocating or torch.Tag.dynamic_output_shape in func.tags,
        is_taking=name in _taking,
        putting=_PUTTING.get(name),
        written=written,
        overwritten=frozenset(overwritten),
        names={a.name: i for i, a in enumerate(arguments)},
        is_indexed=is_indexed,
        is_special=is_special,
    )
