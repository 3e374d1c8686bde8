"""`Meter`: seconds, processor seconds and joules (gross, and net of idle) of each phase of a run, and peak memory."""

from __future__ import annotations

import contextlib
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hardware.energy.reader import EnergyReader, Unmeasured, check_reader
from hardware.energy.window import WINDOW_S, Idle, measure_idle, moved_j, net, relative_uncertainty

PHASES = ("data", "compile", "tune", "train", "evaluate", "infer")


class MeterError(RuntimeError):
    """A phase that does not exist, or one inside another."""


@dataclass(frozen=True)
class Reading:
    """Cumulative over all times the phase was open. `energy_j` is None where it is not known, never 0 in its place.

    `energy_j` is gross; `idle_j` is the idle power over the same seconds, None without a baseline. The uncertainties
    are relative: that of gross joins the reader's to the quantisation of `windows` windows, that of net adds idle's.
    """

    seconds: float
    cpu_seconds: float
    energy_j: float | None
    idle_j: float | None = None
    net_energy_j: float | None = None
    uncertainty: float | None = None
    net_uncertainty: float | None = None
    windows: int = 0


@dataclass(frozen=True)
class _Used:
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    joules: float = 0.0
    windows: int = 0
    unknown: bool = False


@dataclass(frozen=True)
class _Window:
    name: str
    wall: float
    cpu: float
    start_j: float | None


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
    `peak_of_device` returns the accelerator's peak in bytes (see `hardware.devices.peak_memory_bytes`). `idle`: the
    power of the idle device, for net joules; `measure_idle` measures it.
    Seconds are wall-clock; processor seconds are those of this process, all threads.

    Several meters may run at once, on one reader or on several: each reads a counter that nobody resets.
    Raises TypeError where `energy` is no energy reader.
    """

    def __init__(
        self,
        energy: EnergyReader | None = None,
        synchronise: Callable[[], object] | None = None,
        peak_of_device: Callable[[], int | None] | None = None,
        idle: Idle | None = None,
    ) -> None:
        if energy is not None:
            check_reader("Meter(energy)", energy)
        self._energy = energy or Unmeasured("the meter was given no energy reader")
        self._synchronise = synchronise or (lambda: None)
        self._peak_of_device = peak_of_device or (lambda: None)
        self._idle = idle
        self._closed: dict[str, _Used] = {}
        self._open: _Window | None = None
        self._faults: dict[str, str] = {}
        self._peak_bytes = 0
        _forget_peak()
        _meters.add(self)

    @property
    def energy_method(self) -> str:
        return self._energy.method

    @property
    def energy_uncertainty(self) -> float | None:
        """The reader's, relative, of a long window; None where nobody states one. `Reading` has that of a phase."""
        return self._energy.uncertainty

    @property
    def energy_reason(self) -> str | None:
        """Why joules are missing, or None."""
        return next(iter(self._faults.values()), None) or self._energy.reason

    @property
    def energy_notes(self) -> tuple[str, ...]:
        """Faults found while reading, such as a counter that disagrees with the integrated power."""
        return getattr(self._energy, "notes", ())

    @property
    def energy_covers(self) -> str:
        """What draws the joules: one GPU without its host, all processors of the machine."""
        return getattr(self._energy, "covers", "")

    @property
    def idle(self) -> Idle | None:
        """The idle baseline; None before `measure_idle`, unless one was given."""
        return self._idle

    def measure_idle(self, seconds: float = WINDOW_S) -> Idle:
        """Measure the idle power for some seconds, for net joules from here on. Raises MeterError inside a phase."""
        if self._open:
            raise MeterError(f"idle power was to be measured inside phase {self._open.name}: do it before")
        self._synchronise()
        self._idle = measure_idle(self._energy, seconds)
        return self._idle

    def close(self) -> None:
        """Stop what the reader runs in the background. It stops by itself when the meter is forgotten."""
        getattr(self._energy, "close", lambda: None)()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to `name`. Raises MeterError inside another phase or for an unknown name."""
        self._check(name)
        if self._open:
            raise MeterError(f"phase {name} was opened inside phase {self._open.name}: phases do not nest")
        self._synchronise()
        self._open = _Window(name, time.perf_counter(), time.process_time(), self._read_j(name))
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._synchronise()
            raise
        else:
            self._synchronise()
        finally:
            used = self._used(name)
            self._closed[name], self._open = used, None

    def reading(self, name: str) -> Reading:
        """What the phase has used up to now, closed or still open."""
        self._check(name)
        used = self._used(name)
        known = self._energy.method != "none" and not used.unknown
        joules, why = moved_j(self._energy, 0.0, used.joules, used.seconds) if known else (None, "")
        if used.seconds == 0 and known:
            joules, why = 0.0, ""  # a phase that was never open used nothing
        if why:
            self._faults[name] = f"phase {name}: {why}"
        elif known:
            self._faults.pop(name, None)
        uncertainty = None if joules is None else relative_uncertainty(self._energy, used.seconds, used.windows)
        idle_j, net_j, net_uncertainty = net(joules, uncertainty, used.seconds, self._idle)
        return Reading(
            used.seconds, used.cpu_seconds, joules, idle_j, net_j, uncertainty, net_uncertainty, used.windows
        )

    def _used(self, name: str) -> _Used:
        past = self._closed.get(name, _Used())
        if not self._open or self._open.name != name:
            return past
        window, now_j = self._open, self._read_j(name)
        seconds = time.perf_counter() - window.wall
        moved = 0.0 if window.start_j is None or now_j is None else now_j - window.start_j
        if window.start_j is None or now_j is None or moved < 0:
            _, why = moved_j(self._energy, window.start_j, now_j, seconds)
            self._faults.setdefault(name, f"phase {name}: {why}")
            # What was missed inside a window stays missed: a counter that comes back may have started again.
            self._open, moved = replace(window, start_j=None), 0.0
        return _Used(
            past.seconds + seconds,
            past.cpu_seconds + time.process_time() - window.cpu,
            past.joules + moved,
            past.windows + 1,
            past.unknown or self._open.start_j is None,
        )

    def readings(self) -> dict[str, Reading]:
        """The phases opened so far."""
        opened = {*self._closed, *([self._open.name] if self._open else [])}
        return {name: self.reading(name) for name in PHASES if name in opened}

    def peak_memory_bytes(self) -> PeakMemory:
        """The peak since the meter was made; where the system cannot forget the past, since the process began."""
        return PeakMemory(max(self._peak_bytes, _peak_resident_bytes()), self._peak_of_device())

    def _read_j(self, name: str) -> float | None:
        if sys.is_finalizing():
            return None  # a phase left open is closed at exit, where a thread of the reader may be dead with its lock
        try:
            return self._energy.read_j()
        except Exception as error:  # a reader of somebody else's: a phase must close whatever it does
            self._faults.setdefault(name, f"phase {name}: the energy reader failed: {error}")
            return None

    @staticmethod
    def _check(name: str) -> None:
        if name not in PHASES:
            raise MeterError(f"phase {name} does not exist; the phases are {', '.join(PHASES)}")


_meters: weakref.WeakSet[Meter] = weakref.WeakSet()


def _forget_peak() -> None:
    """Set the kernel's record of the largest resident set back to the present one, where it allows that (Linux); what
    it was is first told to the meters that still want to know."""
    peak = _peak_resident_bytes()
    for meter in list(_meters):
        meter._peak_bytes = max(meter._peak_bytes, peak)
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
