"""What a person sees of a sweep: a live view on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.progress import console
from experiments.study.engine import Progress
from experiments.study.folder import StudyFolder
from experiments.study.unit_state import UnitState
from reports.text import duration

EVERY_S, LIVE_EVERY_S = 5.0, 0.5
SHOWN = 12  # running units that a terminal has room for


class View:
    """Shows a sweep. A context manager; `show` is called often, and does little most of the time."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self._started, self._last = quiet, time.monotonic(), 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._said = ""

    def __enter__(self) -> View:
        if self._live and not self.quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and not self.quiet:
            self._live.stop()

    def show(self, progress: Progress, files: StudyFolder, now: bool = False) -> None:
        if self.quiet or (not now and time.monotonic() - self._last < (LIVE_EVERY_S if self._live else EVERY_S)):
            return
        self._last = time.monotonic()
        states = {key: state for key in list(progress.running)[:SHOWN] if (state := files.read(key)) is not None}
        seconds = time.monotonic() - self._started
        if self._live:
            self._live.update(self._picture(progress, states, seconds), refresh=True)
            return
        for line in lines(progress, states, seconds):
            if line != self._said:
                console.print(f"{seconds:5.0f} s  {line}", markup=False, soft_wrap=True)
                self._said = line

    def _picture(self, progress: Progress, states: dict[str, UnitState], seconds: float) -> RenderableType:
        bar = ProgressBar(progress.runs, progress.runs_done, width=60)
        table = Table(box=None, pad_edge=False)
        for title in ("task", "model", "", "runs", "done", "step", "error so far", "power", "left"):
            table.add_column(title, justify="left" if title in ("task", "model", "") else "right")
        for key, unit in list(progress.running.items())[:SHOWN]:
            state = states.get(key) or UnitState(key, "waiting")
            where = " ".join(filter(None, (unit.condition, unit.configuration)))
            table.add_row(unit.task, unit.model, Text(where), str(len(unit.lanes)), *state.cells())
        return Group(Text(summary(progress, seconds)), bar, table if progress.running else Text(""))


def lines(progress: Progress, states: dict[str, UnitState], seconds: float) -> Iterator[str]:
    """One line on the whole and on what runs."""
    running = []
    for key, unit in progress.running.items():
        if state := states.get(key):
            done, _, error, power, _ = state.cells()
            words = [done, f"error {error}", "power unknown" if state.power_w is None else power]
            running.append(f"{unit.model} on {unit.task} {unit.configuration}".strip() + ": " + ", ".join(words))
    yield "; ".join([summary(progress, seconds), *running])


def summary(progress: Progress, seconds: float) -> str:
    """As "12/40 runs done (3 found), 2 units running, 1 failed (bug), about 4 min left"."""
    parts = [f"{progress.runs_done}/{progress.runs} runs done"]
    if progress.found:
        parts[0] += f" ({progress.found} found)"
    if progress.running:
        parts.append(f"{len(progress.running)} running")
    if progress.busy:
        parts.append(f"{len(progress.busy)} with another sweep")
    if progress.retried:
        parts.append(f"{progress.retried} tried again")
    if progress.failed:
        kinds = Counter(failure.kind for _, failure in progress.failed.values())
        parts.append(f"{len(progress.failed)} failed ({', '.join(sorted(kinds))})")
    new = progress.runs_done - progress.found
    left = progress.runs - progress.runs_done - sum(len(unit.lanes) for unit, _ in progress.failed.values())
    if new and left:
        parts.append(f"about {duration(seconds / new * left)} left")
    return ", ".join(parts)
