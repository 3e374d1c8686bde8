"""What is known of each unit of a study, while it runs and after: a small file each, for `status` and `watch`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from reports.text import duration

RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"
LOST_AFTER_S = 120.0  # a heartbeat older than this: nobody is there any more
HEARTBEAT_S = 5.0


@dataclass(frozen=True)
class UnitState:
    """One unit at one moment. None is unknown.

    `heartbeat`: seconds since 1970 when its supervisor last wrote; `started`: of this attempt, likewise.
    `attempts`: how often it has been tried, this time included. `fraction`: of its work, over all lanes.
    `error`: best validation error so far (median over the lanes that run); `errors`: test error of the lanes that have
    finished, by identity. `failure`: the class of `experiments.study.failures` ("class" in the file), with its
    `reason` in a line and, for a bug, the `traceback`.
    """

    key: str
    state: str
    host: str = ""
    pid: int = 0
    started: float = 0.0
    heartbeat: float = 0.0
    attempts: int = 1
    fraction: float = 0.0
    step: int = 0
    error: float | None = None
    errors: dict[str, float | None] = field(default_factory=dict)
    power_w: float | None = None
    seconds_left: float | None = None
    reason: str = ""
    failure: str = ""
    traceback: str = ""

    @property
    def lost(self) -> bool:
        """It says that it runs, but nothing has been heard of it for too long."""
        return self.state == RUNNING and time.time() - self.heartbeat > LOST_AFTER_S

    def cells(self) -> tuple[str, str, str, str, str]:
        """How far it is, for a table: done, step, error, power, time left; – where that is not known."""
        known = (
            None if self.error is None else f"{self.error:.3g}",
            None if self.power_w is None else f"{self.power_w:.1f} W",
            None if self.seconds_left is None else duration(self.seconds_left),
        )
        error, power, left = ("–" if text is None else text for text in known)
        return f"{self.fraction:.0%}", f"{self.step:,}", error, power, left

    def to_json(self) -> str:
        raw = asdict(self)
        raw["class"] = raw.pop("failure")
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> UnitState:
        """Raises ValueError when it is none."""
        raw: Any = json.loads(text)
        if not isinstance(raw, dict) or not isinstance(raw.get("key"), str) or not isinstance(raw.get("state"), str):
            raise ValueError("not the state of a unit")
        raw["failure"] = raw.pop("class", "")
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in raw.items() if name in known})
