"""Calling a method again and again in the background, for as long as its object lives."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

_locked: weakref.WeakSet[Any] = weakref.WeakSet()


def lock_of(owner: Any) -> threading.Lock:
    """A lock to be kept as `owner._lock`. A child process gets it anew: a fork may copy it while a thread holds it."""
    _locked.add(owner)
    return threading.Lock()


def _relock() -> None:
    for owner in list(_locked):
        owner._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_relock)


class Poller:
    """Calls `method()`, first after `wait_s`; it returns the seconds to wait for the next call, or None to end.

    The thread is a daemon and holds its object weakly: it ends when the object is collected, when `stop` is called,
    and at the interpreter's exit. `method` must not raise.
    """

    def __init__(self, method: Callable[[], float | None], wait_s: float) -> None:
        owner: Any = method.__self__  # type: ignore[attr-defined]  # a bound method
        self._stopping = threading.Event()
        # Called when the owner is collected and at exit. It may run in the thread itself, so it must not join it.
        self._finalizer = weakref.finalize(owner, self._stopping.set)
        self._thread = threading.Thread(
            target=_run, args=(weakref.WeakMethod(method), self._stopping, wait_s), name="energy", daemon=True
        )
        # At the interpreter's exit a new thread would never run, and waiting for it to start would never end.
        if not sys.is_finalizing():
            with contextlib.suppress(RuntimeError):  # what Python 3.12 raises there
                self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping.is_set()

    def stop(self) -> None:
        self._finalizer()


def _run(method: weakref.WeakMethod, stopping: threading.Event, wait: float | None) -> None:
    while wait is not None and not stopping.wait(wait):
        call = method()
        wait = None if call is None else call()
        del call  # else the object would live on while this thread waits
