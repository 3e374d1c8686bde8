"""A run that was stopped, on disk: one file of plain arrays, from which the same run goes on to the same result."""

from __future__ import annotations

import io
import json
import logging
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.continued_meter import ContinuedMeter
from experiments.job import Attempt, Job, Lane
from experiments.record import Point
from experiments.store import write_atomic
from hardware.meter import PeakMemory, Reading
from learners.learner import Learner
from learners.snapshot import Snapshot, under

log = logging.getLogger("experiments")

FILE, FORMAT = "checkpoint.npz", 1
EVERY_S = 60.0
# What damaged, cut off or foreign files make their readers raise.
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds besides the learner's own state."""

    snapshot: Snapshot
    attempts: list[Attempt]
    readings: dict[str, Reading]
    energy_method: str
    peak: PeakMemory
    started: str


class Checkpoint:
    """The state of the lanes that train together, in a folder of theirs; without a folder, nothing is kept.

    Training by gradient alone is kept: other fits are short and start anew.
    """

    def __init__(self, folder: Path | None, job: Job, lanes: Sequence[Lane], every_s: float = EVERY_S) -> None:
        self._path = None if folder is None else folder / FILE
        self._lanes, self._every_s = list(lanes), every_s
        self._whose = {"format": FORMAT, "identities": [job.identity(lane) for lane in lanes], "code": job.code}
        self._latest = time.monotonic()

    def load(self) -> Kept | None:
        """What was kept of these very runs; None, and a line in the log, for anything else."""
        if self._path is None:
            return None
        try:
            # Opened here, because NumPy leaves a damaged file open.
            with open(self._path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = json.loads(arrays.pop("facts").tobytes())
            for name, mine in self._whose.items():
                if facts[name] != mine:
                    raise ValueError(f"its {name} {_words(facts[name])} is not this run's, {_words(mine)}")
            return Kept(
                Snapshot(Snapshot(arrays, {}).part("learner"), facts["learner"]),
                [_attempt(lane, raw) for lane, raw in zip(self._lanes, facts["attempts"], strict=True)],
                {name: Reading(**raw) for name, raw in facts["readings"].items()},
                facts["energy_method"],
                PeakMemory(**facts["peak"]),
                facts["started"],
            )
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            self.refuse(error)
            return None

    def refuse(self, error: Exception) -> None:
        log.warning("the checkpoint %s is not used (%s): the run starts anew", self._path, error or type(error))

    @property
    def is_due(self) -> bool:
        return self._path is not None and time.monotonic() - self._latest >= self._every_s

    def save(self, learner: Learner, attempts: Sequence[Attempt], meter: ContinuedMeter, started: str) -> None:
        """Write everything, or leave the file as it was. A disk that is full ends no training: it is logged."""
        snapshot = None if self._path is None else learner.snapshot()
        if self._path is None or snapshot is None:
            return
        facts = self._whose | {
            "learner": snapshot.facts,
            "attempts": [_facts(attempt) for attempt in attempts],
            "readings": {name: asdict(reading) for name, reading in meter.readings().items()},
            "energy_method": meter.energy_method,
            "peak": asdict(meter.peak_memory_bytes()),
            "started": started,
        }
        arrays = under("learner", snapshot.arrays) | {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, buffer.getvalue())
        except OSError as error:
            log.warning("the checkpoint %s could not be written (%s); the run goes on", self._path, error.strerror)
        self._latest = time.monotonic()

    def remove(self) -> None:
        """The run has a record: nothing is left to go on with."""
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
                self._path.parent.rmdir()
            except OSError:  # a folder in which there is something else
                return


def _facts(attempt: Attempt) -> dict[str, Any]:
    return {
        "curve": [asdict(point) for point in attempt.curve],
        "best": attempt.best,
        "status": attempt.status,
        "reason": attempt.reason,
    }


def _attempt(lane: Lane, raw: dict[str, Any]) -> Attempt:
    return Attempt(lane, None, [Point(**point) for point in raw["curve"]], raw["best"], raw["status"], raw["reason"])


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
