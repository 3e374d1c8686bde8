"""Energy counters of Intel and AMD processors (RAPL), from the powercap files of Linux."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hardware.devices import cpu_name
from hardware.energy.poll import Poller, lock_of
from hardware.energy.reader import Reader

ROOT = "/sys/class/powercap"

# No package draws more: the shortest time in which a counter can wrap is its range over this.
MOST_POWER_W = 1000.0
READS_PER_WRAP = 4  # in that shortest time, so that a delayed thread still comes in time
LONGEST_POLL_S = 30.0


class Rapl(Reader):
    """The counters of all processor packages, and of DRAM where the processor has one, as joules.

    A counter wraps around at `max_energy_range_uj`: 262 kJ on Intel's servers, 65.5 kJ on AMD, minutes under load. Each
    reading adds the difference to the last one, and a thread reads well within the time of a wrap from the first
    reading on. Where it could not (the process was stopped), a wrap may have gone unseen: the readings are None from
    then on, with the reason. Neither maker states an uncertainty. Intel's counter is measured since Haswell
    (Hackenberg et al. 2015); AMD's is a model computed in the processor and has no DRAM domain (arXiv 2108.00808).

    The environment variable POWERCAP_ROOT names another folder than /sys/class/powercap, as containers need.
    """

    method = "measured:rapl"
    update_s = 0.001  # Intel's manual: the counters are updated about every millisecond

    def __init__(
        self, root: str | Path | None = None, clock: Callable[[], float] = time.monotonic, cpu: str | None = None
    ) -> None:
        self._root = Path(root or os.environ.get("POWERCAP_ROOT") or ROOT)
        self._clock = clock
        self._lock = lock_of(self)
        self._poller: Poller | None = None
        self._total_uj = 0
        self._domains: list[_Domain] = []
        self._last: list[int] = []
        try:
            self._domains = sorted(_domains(self._root), key=lambda d: d.folder.name)
            self._last, self._last_time = self._counters(), clock()
        except PermissionError:
            self._give_up(
                f"RAPL counters under {self._root} may be read by root only: run as root, or once after each boot "
                f"(a udev rule can do it): sudo chmod a+r {self._root}/intel-rapl:*/energy_uj"
            )
        except (OSError, ValueError) as error:
            self._give_up(f"RAPL counters under {self._root} cannot be read: {error}")
        else:
            if not self._domains:
                self._give_up(
                    f"no RAPL counters under {self._root}: on a bare machine load the kernel module intel_rapl_msr "
                    "(for AMD too); a container needs the host's /sys/devices/virtual/powercap mounted and "
                    "POWERCAP_ROOT=<mount>/intel-rapl; virtual machines have none"
                )
        dram = any(domain.name == "dram" for domain in self._domains)
        self.covers = f"all processor packages {'and their DRAM' if dram else 'without DRAM'}, other programs included"
        if self._domains and "AMD" in (cpu_name() if cpu is None else cpu):
            self.notes = ("AMD's counter is a model computed in the processor, not a measurement (arXiv 2108.00808)",)

    def read_j(self) -> float | None:
        with self._lock:
            joules = self._advance()
            if joules is not None and (self._poller is None or not self._poller.alive):
                self._poller = Poller(self._poll, self.poll_s)
            return joules

    def close(self) -> None:
        if self._poller:
            self._poller.stop()

    @property
    def poll_s(self) -> float:
        """Seconds between the readings of the thread."""
        smallest = min(domain.range_uj for domain in self._domains)
        return min(LONGEST_POLL_S, smallest / 1e6 / MOST_POWER_W / READS_PER_WRAP)

    def _poll(self) -> float | None:
        with self._lock:
            return None if self._advance() is None else self.poll_s

    def _counters(self) -> list[int]:
        return [_number(domain.counter) for domain in self._domains]

    def _advance(self) -> float | None:
        if not self._domains:
            return None
        try:
            counters, now = self._counters(), self._clock()
        except (OSError, ValueError) as error:
            return self._give_up(f"a RAPL counter stopped being readable: {error}")
        gap = now - self._last_time
        most_uj = gap * MOST_POWER_W * 1e6
        for domain, old, new in zip(self._domains, self._last, counters, strict=True):
            name, size = domain.folder.name, domain.range_uj
            if most_uj >= size:
                return self._give_up(f"{name} was not read for {gap:.0f} s, in which it may have wrapped unseen")
            moved = new - old if new >= old else new - old + size
            if moved > most_uj + size * 0.01:  # 1%: the clock and the counter are not read at the same instant
                return self._give_up(f"{name} went backwards from {old} to {new} µJ")
            self._total_uj += moved
        self._last, self._last_time = counters, now
        return self._total_uj / 1e6

    def _give_up(self, reason: str) -> None:
        self.reason, self._domains = reason, []


def _number(file: str) -> int:
    """A fifth of the time that `Path.read_text` takes: this is read as each phase opens and closes."""
    opened = os.open(file, os.O_RDONLY)
    try:
        return int(os.read(opened, 32))
    finally:
        os.close(opened)


@dataclass(frozen=True)
class _Domain:
    folder: Path
    counter: str
    name: str
    range_uj: int


def _domains(root: Path) -> Iterator[_Domain]:
    """Packages and DRAM. Core and uncore are parts of a package, and psys is all of the board.

    DRAM lies inside the folder of its package, and in the class folder beside it once more.
    """
    found = [*root.glob("intel-rapl:*"), *root.glob("intel-rapl:*/intel-rapl:*:*")]
    for folder in {folder.name: folder for folder in found}.values():
        name = (folder / "name").read_text().strip()
        if name.startswith("package") or name == "dram":
            yield _Domain(folder, str(folder / "energy_uj"), name, int((folder / "max_energy_range_uj").read_text()))
