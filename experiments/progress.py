"""What a person sees while a run works: a live bar on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn

console = Console(stderr=True, highlight=False)
PLAIN_EVERY_S = 5.0


@dataclass(frozen=True)
class State:
    """A moment of training. `error`: best validation error so far (median over seeds), None before there is one."""

    fraction: float
    step: int
    error: float | None
    flop: float
    seconds: float
    energy_j: float | None

    @property
    def flop_per_s(self) -> float:
        return self.flop / self.seconds if self.seconds else 0.0

    @property
    def power_w(self) -> float | None:
        return self.energy_j / self.seconds if self.energy_j is not None and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        return self.seconds * (1 / self.fraction - 1) if 0 < self.fraction <= 1 and self.seconds > 0.2 else None

    def words(self) -> str:
        power = "power unknown" if self.power_w is None else f"{self.power_w:.1f} W"
        error = "error –" if self.error is None else f"error {self.error:.3g}"
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        return f"step {self.step}, {error}, {self.flop_per_s:.2e} FLOP/s, {power}{left}"


class Reporter:
    """Says what is going on. `quiet` keeps warnings only."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._start = time.perf_counter()

    def say(self, text: str) -> None:
        if not self.quiet:
            console.print(f"[dim]{time.perf_counter() - self._start:5.1f} s[/dim]  ", end="")
            console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def training(self, label: str) -> Iterator[Any]:
        """Yields a function to be called with a `State` after every chunk."""
        if self.quiet:
            yield lambda state: None
        elif console.is_terminal:
            columns = (TextColumn("         {task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
            with Progress(*columns, TextColumn("{task.fields[words]}"), console=console, transient=True) as bar:
                task = bar.add_task(label, total=1.0, words="compiling")
                yield lambda state: bar.update(task, completed=min(1.0, state.fraction), words=state.words())
        else:
            last = [time.perf_counter()]

            def plain(state: State) -> None:
                if time.perf_counter() - last[0] >= PLAIN_EVERY_S:
                    last[0] = time.perf_counter()
                    self.say(f"{label}: {min(1.0, state.fraction):.0%}, {state.words()}")

            yield plain


def terminal_width() -> int:
    """Characters to a line of text for people, wherever it goes."""
    return min(max(shutil.get_terminal_size((110, 24)).columns, 60), 130)


def log_to_console(verbose: bool = False) -> None:
    """Our log on the same console as the bar, so that neither overwrites the other; other libraries' warnings too."""
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s", force=True)
    if verbose:
        logging.getLogger("experiments").setLevel(logging.INFO)
