"""What a torch counter changes around itself while it counts: threads that start, and graphs that would hide work."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class UncountableError(RuntimeError):
    """Work inside a counter that it would not see."""


@contextlib.contextmanager
def following_threads(make: Callable[[], TorchDispatchMode]) -> Iterator[None]:
    """Threads that start meanwhile enter a mode of their own: `threading` has a hook for their first event."""
    previous = threading.getprofile()

    def begin(*event: Any) -> None:
        sys.setprofile(previous)
        make().__enter__()  # ends with the thread

    threading.setprofile(begin)
    try:
        yield
    finally:
        threading.setprofile(previous)


@contextlib.contextmanager
def refusing_graphs() -> Iterator[None]:
    replay = torch.cuda.CUDAGraph.replay

    def refuse(self: Any) -> None:
        raise UncountableError("a CUDA graph is replayed inside a FlopCounter, which cannot see it: run it uncaptured")

    torch.cuda.CUDAGraph.replay = refuse
    try:
        yield
    finally:
        torch.cuda.CUDAGraph.replay = replay
