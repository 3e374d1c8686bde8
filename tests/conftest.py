"""What all tests share: they never write into the user's home, never ask a server, and compute on the CPU."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module imports a framework, and inherited by every program a test starts.
HOME = Path(tempfile.mkdtemp(prefix="structured-vs-blackbox-tests-"))
for name in [name for name in os.environ if name.startswith("WANDB_") or name == "XDG_CONFIG_HOME"]:
    del os.environ[name]
os.environ |= {
    "HOME": str(HOME),
    "XDG_CACHE_HOME": str(HOME / "cache"),  # data, compilation and font caches live for one session
    "MPLBACKEND": "agg",
    "JAX_PLATFORMS": "cpu",
    "WANDB_MODE": "offline",
}


@pytest.fixture(autouse=True)
def signals_of_one_test() -> Iterator[None]:
    """A command that runs in this process has handlers of its own, and may end with signals ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def console_log_of_one_test() -> Iterator[None]:
    """A command that runs in this process puts our log on the console; the next test has its own."""
    before = logging.root.handlers[:]
    yield
    for handler in logging.root.handlers[:]:
        if type(handler).__name__ == "RichHandler" and handler not in before:
            logging.root.removeHandler(handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
