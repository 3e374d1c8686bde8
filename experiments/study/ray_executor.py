"""Units on Ray: one task each, which starts the same worker, so that a measured run has a fresh process there too."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

from experiments.errors import UserError
from experiments.study import failures
from experiments.study.devices import find_device
from experiments.study.executors import portable
from experiments.study.failures import Failure
from experiments.study.supervise import FAILED, ROOT, STOPPED, Order, Outcome, supervise_plainly
from hardware.devices import Device

RESOURCES = {"cuda": "GPU", "tpu": "TPU", "cpu": "CPU"}


class RayExecutor:
    """The cluster at RAY_ADDRESS, else a Ray of this machine that ends with the sweep.

    A task asks for a whole device (a GPU; all chips, or all processors, of a node), or for its share where `packing`
    allows several at a time. The lock of the device, taken by `supervise` on its node, holds whatever Ray thinks.
    """

    def __init__(self, device: str, backend: str, packing: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
        import ray.exceptions

        self._ray, self._started = ray, not ray.is_initialized()
        try:
            if self._started:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise UserError(f"Ray could not be reached: {' '.join(str(error).split())[:300]}") from None
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there = [kind for kind, resource in RESOURCES.items() if any(node.get(resource) for node in nodes)]
        kind = device if device != "auto" else (there or ["cpu"])[0]
        have = [node[RESOURCES[kind]] for node in nodes if node.get(RESOURCES[kind])]
        if not have:
            self.close()
            raise UserError(f"device={device}: no node of this Ray cluster has one")
        each = (1 if kind == "cuda" else min(have)) / packing
        self._options: dict[str, Any] = {"max_retries": 0, "num_cpus": each if kind == "cpu" else 0}
        if kind == "cuda":
            self._options["num_gpus"] = each
        elif kind == "tpu":
            self._options["resources"] = {"TPU": each}
        self.slots = max(1, int(sum(have) / each + 1e-9))
        self._remote = ray.remote(portable())
        try:
            found: Any = ray.get(self._call(f"{find_device.__module__}:as_words", kind, backend))
        except ray.exceptions.RayTaskError as error:
            self.close()
            raise UserError(" ".join(str(error.cause).split())) from None
        self.device = Device(**found)

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._remote.options(**self._options).remote(ROOT, name, arguments)

    def submit(self, order: Order) -> RayHandle:
        return RayHandle(
            self._ray, self._call(f"{supervise_plainly.__module__}:supervise_plainly", *order.plain()), order
        )

    def batch(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()


class RayHandle:
    def __init__(self, ray: Any, reference: Any, order: Order) -> None:
        self._ray, self._reference, self._order = ray, reference, order

    def poll(self) -> Outcome | None:
        errors = self._ray.exceptions
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return Outcome.from_plain(self._ray.get(self._reference))
        except errors.TaskCancelledError:
            return Outcome(self._order.key, STOPPED)
        except errors.RayTaskError as error:
            return Outcome(self._order.key, FAILED, failures.of_exception(error.cause or error))
        except errors.RayError as error:  # the node, or Ray's process there, is gone
            line = " ".join(str(error).split())[:300]
            kind = failures.OUT_OF_MEMORY if "OutOfMemory" in type(error).__name__ else failures.KILLED
            return Outcome(self._order.key, FAILED, Failure(kind, f"{type(error).__name__}: {line}"))

    def stop(self) -> None:
        self._ray.cancel(self._reference, force=False, recursive=False)
