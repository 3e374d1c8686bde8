"""What all tests share: they never write into the user's home, never ask a server, and compute on the CPU."""

from __future__ import annotations

import os
import shutil
import tempfile
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


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
