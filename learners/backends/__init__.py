"""The only places that know a framework: `jax` and `torch`."""

from __future__ import annotations

from typing import Any

NAMES = ("jax", "torch")


def engine_of(backend: str) -> Any:
    """The engine class of a backend; its framework is imported now and not before."""
    if backend == "jax":
        from learners.backends.jax_engine import JaxEngine

        return JaxEngine
    if backend == "torch":
        from learners.backends.torch_engine import TorchEngine

        return TorchEngine
    raise ValueError(f"backend must be one of {', '.join(NAMES)}, but it is {backend!r}")
