"""A signal that asks to stop: where it comes in the middle of a step, it waits until the step is whole."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Any


class Interrupted(BaseException):
    """A signal asked to stop; what was measured has been kept. `kept`: how many records."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        self.kept = 0


class HeldSignals:
    """A context in which SIGINT and SIGTERM wait. Who works inside looks at `number` where stopping is possible, and
    leaves; the signal then goes to whoever handled it before, and Interrupted is raised where nobody did.

        with HeldSignals() as held:
            for step in steps:
                step()
                if held.number:
                    break

    In a thread that gets no signals it does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.number = self.number or number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.number:
            handler = self._before[self.number]
            if callable(handler):
                handler(self.number, None)
            raise Interrupted(self.number)
