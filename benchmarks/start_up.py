"""Seconds that `--help` and `list` take: the least of ten runs, since only delays come from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

COMMANDS = (["--help"], ["list"], ["list", "task"])


def measure() -> dict[str, Any]:
    return {" ".join(words) + " (s)": min(_seconds(words) for _ in range(10)) for words in COMMANDS}


def _seconds(words: list[str]) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "experiments", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before
