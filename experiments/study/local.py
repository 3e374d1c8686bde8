"""Units on this machine: a thread each follows its worker, which is a process of its own."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from experiments.study import failures
from experiments.study.devices import find_device, slots
from experiments.study.supervise import FAILED, Order, Outcome, supervise


class LocalHandle:
    def __init__(self, order: Order) -> None:
        self._order, self._stop, self._outcome = order, threading.Event(), None
        # A daemon: where the sweep ends in a hurry, the worker notices that nobody waits for it.
        self._thread = threading.Thread(target=self._work, name=f"unit {order.key}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._outcome: Outcome | None = supervise(self._order, self._stop)
        except Exception as error:  # a fault of ours must not leave the sweep waiting
            self._outcome = Outcome(self._order.key, FAILED, failures.of_exception(error))

    def poll(self) -> Outcome | None:
        return self._outcome

    def stop(self) -> None:
        self._stop.set()


class LocalExecutor:
    """As many units at a time as the devices take; the devices' locks keep other sweeps out too."""

    def __init__(self, device: str, backend: str, packing: int) -> None:
        self.device = find_device(device, backend)
        self.slots = slots(self.device.kind, packing)

    def submit(self, order: Order) -> LocalHandle:
        return LocalHandle(order)

    def batch(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def close(self) -> None:
        pass
