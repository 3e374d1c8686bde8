"""Why a unit ended without its records, by class: the class decides whether it is tried again."""

from __future__ import annotations

import errno
import signal
import traceback
from dataclasses import dataclass

KILLED, OUT_OF_MEMORY, DEVICE_LOST, INTERRUPTED = "killed", "out_of_memory", "device_lost", "interrupted"
BUG, MISTAKE, STORE = "bug", "mistake", "store"
# The machine's fault, which another attempt may not meet. A bug and a mistake in the settings come again every time,
# and a store that cannot be written ends the sweep.
RETRIED = (KILLED, OUT_OF_MEMORY, DEVICE_LOST, INTERRUPTED)

# What JAX, torch, CUDA and libtpu say when the device is gone or in a state that no later call survives.
_LOST = (
    "CUDA_ERROR", "CUDA error", "CUDA driver error", "cudaError", "device lost", "device-side assert", "ECC error",
    "has fallen off the bus", "TPU is unhealthy", "TPU driver", "TPU chip", "halted unexpectedly", "NCCL error",
    "UNAVAILABLE:",
)  # fmt: skip
_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "Cannot allocate memory")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Failure:
    """`kind`: a class of this module; `reason`: one line; `traceback`: of a bug."""

    kind: str
    reason: str
    traceback: str = ""

    @property
    def retried(self) -> bool:
        return self.kind in RETRIED


def of_exception(error: BaseException) -> Failure:
    """The class of an exception that ended a worker."""
    text = f"{type(error).__name__}: {error}"
    line = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, MemoryError) or any(mark in text for mark in _MEMORY):
        return Failure(OUT_OF_MEMORY, line)
    if any(mark in text for mark in _LOST):
        return Failure(DEVICE_LOST, line)
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: their modules would pull in frameworks
    if "StoreError" in names or (isinstance(error, OSError) and error.errno in _FULL):
        return Failure(STORE, line)
    if names & {"UserError", "DeviceError", "ModeError"}:
        return Failure(MISTAKE, line)
    told = "".join(traceback.format_exception(error))[-8000:]
    return Failure(BUG, f"{type(error).__name__}: {line}" if str(error) else line, told)


def of_exit(code: int, last_words: str, memory_was_short: bool = False) -> Failure:
    """The class of a worker that ended without saying why. `code`: as subprocess tells it, negative for a signal.

    `last_words`: the end of what it wrote to stderr; `memory_was_short`: the system killed for memory meanwhile.
    """
    last = next((line.strip() for line in reversed(last_words.splitlines()) if line.strip()), "")[:200]
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL) and (memory_was_short or code > 0):
        return Failure(OUT_OF_MEMORY, "killed by the system, which was out of memory")
    if code in (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT):
        return Failure(INTERRUPTED, f"stopped by signal {abs(code) % 128}")
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return Failure(KILLED, f"killed by {name}" + (f"; its last line: {last}" if last else ""))
    if any(mark in last_words for mark in _MEMORY):
        return Failure(OUT_OF_MEMORY, last)
    return Failure(BUG, f"ended with {code}" + (f": {last}" if last else ""), last_words[-8000:])
