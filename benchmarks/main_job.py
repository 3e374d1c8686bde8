"""The main job as a new user runs it: nothing cached, then again with the caches that the first run left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "experiments", "run", "flocking", "model=neural_ode"]


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        first = _run([*COMMAND, f"runs={folder}/runs"], environment)
        again = _run([*COMMAND, f"runs={folder}/runs", "--force"], environment)
        found = _run([*COMMAND, f"runs={folder}/runs"], environment)
    return {
        "first run: whole (s)": first[0],
        "first run: to the first progress line (s)": first[1],
        "first run: peak memory of the largest process (GB)": first[2],
        "second run, same caches, --force: whole (s)": again[0],
        "same command again, records found: whole (s)": found[0],
    }


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds in all, seconds to the first line on stderr, and peak resident memory in GB."""
    before = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    to_first = time.perf_counter() - before
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    process.stderr.read()
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return time.perf_counter() - before, to_first, peak[0] / 1e6


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Keep the largest VmHWM (kB) that the process reports; it is the kernel's own maximum."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        except OSError:
            return
        peak[0] = max(peak[0], *(int(line.split()[1]) for line in lines), 0)
        time.sleep(0.05)
