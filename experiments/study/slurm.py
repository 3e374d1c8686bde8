"""Units on SLURM: an array of jobs by submitit, each of which starts the same worker on its node."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.study import failures
from experiments.study.devices import find_device
from experiments.study.executors import portable
from experiments.study.failures import Failure
from experiments.study.supervise import FAILED, GRACE_S, ROOT, STOPPED, Order, Outcome, supervise_plainly
from hardware.devices import Device

AT_A_TIME = 100  # jobs of an array that run at once
MINUTES = 24 * 60  # of a job, unless SBATCH_TIMELIMIT says otherwise
WAITING = 1000  # the usual limit of a SLURM array
LOOK_S = 2.0  # between two looks at a job, each of which asks the shared disk
_STATES = {  # how SLURM says that a job ended without a result
    "OUT_OF_MEMORY": failures.OUT_OF_MEMORY,
    "TIMEOUT": failures.INTERRUPTED,
    "PREEMPTED": failures.INTERRUPTED,
    "CANCELLED": failures.INTERRUPTED,
    "NODE_FAIL": failures.KILLED,
    "BOOT_FAIL": failures.KILLED,
}


class SlurmExecutor:
    """Jobs with one GPU each, or with a node's processors for themselves unless `packing` lets them share.

    Partition, account and time limit are SLURM's own variables (SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT).
    `folder`: for submitit's files, on a disk that all nodes see. `cluster="local"` is submitit's stand-in for tests.
    """

    def __init__(self, device: str, backend: str, packing: int, folder: Path, cluster: str = "slurm") -> None:
        import submitit
        from submitit.core.utils import UncompletedJobError

        if device == "auto":
            raise UserError(
                "which device? --engine slurm needs device=cpu or device=cuda: this machine is not the node"
            )
        self._executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
        self._executor.update_parameters(
            name="study", timeout_min=MINUTES, tasks_per_node=1, slurm_array_parallelism=AT_A_TIME,
            slurm_signal_delay_s=int(GRACE_S), gpus_per_node=1 if device == "cuda" else 0,
            **({"slurm_exclusive": True} if device == "cpu" and packing == 1 else {}),
        )  # fmt: skip
        self.slots = WAITING
        job = self._submit(f"{find_device.__module__}:as_words", device, backend)
        try:
            self.device = Device(**job.result())
        except UncompletedJobError as error:
            raise UserError(f"no node could tell its device: {' '.join(str(error).split())[-300:]}") from None

    def _submit(self, name: str, *arguments: Any) -> Any:
        with _submitting():
            return self._executor.submit(portable(), ROOT, name, arguments)

    def submit(self, order: Order) -> SlurmHandle:
        return SlurmHandle(self._submit(f"{supervise_plainly.__module__}:supervise_plainly", *order.plain()), order)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        with _submitting(), self._executor.batch():
            yield

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _submitting() -> Iterator[None]:
    """What sbatch refuses (a partition that is not there, a limit) is the user's to mend."""
    from submitit.core.utils import FailedJobError

    try:
        yield
    except FailedJobError as error:
        raise UserError(f"SLURM took no jobs: {' '.join(str(error).split())[-300:]}") from None


class SlurmHandle:
    def __init__(self, job: Any, order: Order) -> None:
        self._job, self._order, self._stopped, self._next = job, order, False, 0.0

    def poll(self) -> Outcome | None:
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + LOOK_S
        if not self._job.done():
            return None
        try:
            return Outcome.from_plain(self._job.result())
        except Exception as error:  # submitit has a class for each way, and reads our exceptions back as text
            if self._stopped:
                return Outcome(self._order.key, STOPPED)
            state = str(self._job.state).upper()
            kind = next((kind for name, kind in _STATES.items() if name in state), failures.KILLED)
            line = " ".join(str(error).split())[-300:]
            return Outcome(self._order.key, FAILED, Failure(kind, f"SLURM says {state}: {line}"))

    def stop(self) -> None:
        self._stopped = True
        self._job.cancel(check=False)
