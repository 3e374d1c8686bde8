"""`Meter`: seconds, processor seconds and joules of each phase of a run, cumulative, and peak memory."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hardware.energy import EnergyReader, Unmeasured

PHASES = ("data", "compile", "tune", "train", "evaluate", "infer")


class MeterError(RuntimeError):
    """A phase that does not exist, or one inside another."""


@dataclass(frozen=True)
class Reading:
    """Cumulative over all times the phase was open. `energy_j` is None where it is not known, never 0 in its place."""

    seconds: float
    cpu_seconds: float
    energy_j: float | None


@dataclass(frozen=True)
class PeakMemory:
    """Bytes: the process' largest resident set, and the most an accelerator held (None without one)."""

    host: int
    device: int | None


class Meter:
    """Phases data, compile, tune, train, evaluate, infer, one open at a time:

        meter = Meter(energy.best(device))
        with meter.phase("train"):
            ...
        meter.reading("train").energy_j

    Work that a device still has to do when a phase closes would be charged to the next one: the caller waits for it
    (block_until_ready) before leaving the block or taking a reading, or hands over `synchronise`, which is called as a
    phase opens and closes. A phase that an exception leaves is closed and keeps what it used.
    `peak_of_device` returns the accelerator's peak in bytes (see `hardware.devices.peak_memory_bytes`).
    Seconds are wall-clock; processor seconds are those of this process, all threads.
    """

    def __init__(
        self,
        energy: EnergyReader | None = None,
        synchronise: Callable[[], object] | None = None,
        peak_of_device: Callable[[], int | None] | None = None,
    ) -> None:
        self._energy = energy or Unmeasured("the meter was given no energy reader")
        self._synchronise = synchronise or (lambda: None)
        self._peak_of_device = peak_of_device or (lambda: None)
        self._closed: dict[str, Reading] = {}
        self._open: tuple[str, float, float, float | None] | None = None
        self._fault: str | None = None
        _forget_peak()

    @property
    def energy_method(self) -> str:
        return self._energy.method

    @property
    def energy_uncertainty(self) -> float | None:
        """Relative; None where nobody states one."""
        return self._energy.uncertainty

    @property
    def energy_reason(self) -> str | None:
        """Why joules are missing, or None."""
        return self._fault or self._energy.reason

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to `name`. Raises MeterError inside another phase or for an unknown name."""
        self._check(name)
        if self._open:
            raise MeterError(f"phase {name} was opened inside phase {self._open[0]}: phases do not nest")
        self._synchronise()
        self._open = (name, time.perf_counter(), time.process_time(), self._energy.read_j())
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._synchronise()
            raise
        else:
            self._synchronise()
        finally:
            total = self._raw(name)
            self._closed[name], self._open = total, None

    def reading(self, name: str) -> Reading:
        """What the phase has used up to now, closed or still open."""
        self._check(name)
        raw = self._raw(name)
        if raw.energy_j == 0 and raw.seconds > 0 and self._energy.method.startswith("measured"):
            self._fault = f"phase {name} was too short for the energy counter to move"
            return Reading(raw.seconds, raw.cpu_seconds, None)
        return raw

    def _raw(self, name: str) -> Reading:
        past = self._closed.get(name, Reading(0.0, 0.0, None if self._energy.method == "none" else 0.0))
        if not self._open or self._open[0] != name:
            return past
        _, wall, cpu, joules = self._open
        energy = self._since(joules)
        return Reading(
            past.seconds + time.perf_counter() - wall,
            past.cpu_seconds + time.process_time() - cpu,
            None if energy is None or past.energy_j is None else past.energy_j + energy,
        )

    def readings(self) -> dict[str, Reading]:
        """The phases opened so far."""
        opened = {*self._closed, *([self._open[0]] if self._open else [])}
        return {name: self.reading(name) for name in PHASES if name in opened}

    def peak_memory_bytes(self) -> PeakMemory:
        """The peak since the meter was made; where the system cannot forget the past, since the process began."""
        return PeakMemory(_peak_resident_bytes(), self._peak_of_device())

    def _since(self, start_j: float | None) -> float | None:
        now_j = self._energy.read_j()
        if start_j is None or now_j is None:
            self._fault = self._energy.reason or "the energy counter could not be read"
            return None
        if now_j < start_j:
            self._fault = f"the energy counter went backwards, from {start_j:.3f} J to {now_j:.3f} J"
            return None
        return now_j - start_j

    @staticmethod
    def _check(name: str) -> None:
        if name not in PHASES:
            raise MeterError(f"phase {name} does not exist; the phases are {', '.join(PHASES)}")


def _forget_peak() -> None:
    """Set the kernel's record of the largest resident set back to the present one, where it allows that (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak_resident_bytes() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
