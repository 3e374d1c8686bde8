"""Energy readers: cumulative joules behind one small contract, measured where a counter exists, else modelled.

A reader has `method` ("measured:nvml", "measured:rapl", "modelled:cpu_tdp_per_core", "none"), `uncertainty` (relative,
None where nobody states one), `read_j()` (joules since an arbitrary start, None when it cannot be read) and `reason`
(why it could not, else None). None is never replaced by 0. `best(device)` picks the reader for a device.

What each covers: nvml one GPU, not its host; rapl all processor packages and DRAM of the machine, other programs
included; modelled the processor time of this process (threads, not children), without memory and idle power.
Not yet here: power sampling where a GPU has no energy counter, MIG slices, AMD, Apple, modelled GPUs and TPUs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hardware import catalogue
from hardware.devices import Device


class EnergyReader(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def uncertainty(self) -> float | None: ...
    @property
    def reason(self) -> str | None: ...
    def read_j(self) -> float | None: ...


class Unmeasured:
    """Stands where no joules are known, and says why."""

    method = "none"
    uncertainty = None

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def read_j(self) -> float | None:
        return None


class ModelledCpu:
    """Processor seconds of this process times the power of one core: TDP / cores of a catalogue entry.

    6.25 W a core with the default entry. `cpu_seconds` returns seconds summed over threads.
    """

    method = "modelled:cpu_tdp_per_core"
    reason = None

    def __init__(self, entry: str = "generic_server_cpu", cpu_seconds: Callable[[], float] = time.process_time) -> None:
        device = catalogue.load(entry)
        self.power_per_core_w = device.value("tdp_w") / device.value("cores")
        self.uncertainty: float | None = device.value("uncertainty")
        self._cpu_seconds = cpu_seconds

    def read_j(self) -> float | None:
        return self._cpu_seconds() * self.power_per_core_w


class Nvml:
    """The total-energy counter of one NVIDIA GPU (Volta and later): mJ since driver load, updated each 100 ms.

    `index` counts the GPUs visible to this process (CUDA_VISIBLE_DEVICES). Uncertainty: NVIDIA's NVML manual states
    ±5% for power readings. `library` is the module `pynvml` of the package nvidia-ml-py, or a stand-in.
    """

    method = "measured:nvml"
    uncertainty: float | None = 0.05

    def __init__(self, index: int = 0, library: Any = None) -> None:
        self.reason: str | None = None
        self._handle = None
        try:
            self._library = library or _pynvml()
            self._library.nvmlInit()
            self._handle = _nvml_handle(self._library, index)
        except ImportError:
            self.reason = "the NVIDIA management library's Python module is missing: install the [cuda] extra"
        except Exception as error:  # NVMLError is made at import time, and a broken driver raises other kinds too
            self.reason = f"NVML does not work here: {error}"

    def read_j(self) -> float | None:
        if self._handle is None:
            return None
        try:
            millijoules = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except Exception as error:  # as above; a counter that fails half-way is a missing reading, not a crash
            self.reason = f"the GPU's energy counter cannot be read: {error}"
            return None
        self.reason = None
        return millijoules / 1000


def _pynvml() -> Any:
    import pynvml

    return pynvml


def _nvml_handle(library: Any, index: int) -> Any:
    """NVML numbers all GPUs of the machine; CUDA_VISIBLE_DEVICES lists the visible ones by number or by UUID."""
    visible = [v.strip() for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    chosen = visible[index] if index < len(visible) else str(index)
    if chosen.isdigit():
        return library.nvmlDeviceGetHandleByIndex(int(chosen))
    return library.nvmlDeviceGetHandleByUUID(chosen)


class Rapl:
    """The energy counters of the processor packages, and of DRAM where it has one, from the powercap files of Linux.

    Counters wrap around at `max_energy_range_uj` (every few minutes under load): each reading adds the difference to
    the last one. A gap in which a counter may have wrapped unseen makes the readings None from then on, with the
    reason. Intel states no uncertainty.
    """

    method = "measured:rapl"
    uncertainty: float | None = None

    # No package draws more: the shortest time in which a counter can wrap is its range over this.
    MOST_POWER_W = 1000.0

    def __init__(self, root: str | Path = "/sys/class/powercap", clock: Callable[[], float] = time.monotonic) -> None:
        self.reason: str | None = None
        self._clock = clock
        self._total_uj = 0
        self._domains: list[tuple[Path, int]] = []
        self._last: list[int] = []
        try:
            self._domains = list(_rapl_domains(Path(root)))
            self._last, self._last_time = self._counters(), clock()
        except OSError as error:
            self.reason = f"RAPL counters cannot be read ({error.strerror}): make {root} readable, or run as root"
            self._domains = []
        else:
            if not self._domains:
                self.reason = f"this machine shows no RAPL counters under {root}"

    def _counters(self) -> list[int]:
        return [int((folder / "energy_uj").read_text()) for folder, _ in self._domains]

    def read_j(self) -> float | None:
        if not self._domains:
            return None
        try:
            counters, now = self._counters(), self._clock()
        except (OSError, ValueError) as error:
            return self._give_up(f"a RAPL counter stopped being readable: {error}")
        gap = now - self._last_time
        for (folder, size), old, new in zip(self._domains, self._last, counters, strict=True):
            if gap * self.MOST_POWER_W * 1e6 >= size:
                return self._give_up(f"{folder.name} was not read for {gap:.0f} s, in which it may have wrapped unseen")
            moved = new - old if new >= old else new - old + size
            if moved > gap * self.MOST_POWER_W * 1e6 + size * 0.01:
                return self._give_up(f"{folder.name} went backwards from {old} to {new} µJ")
            self._total_uj += moved
        self._last, self._last_time = counters, now
        return self._total_uj / 1e6

    def _give_up(self, reason: str) -> None:
        self.reason, self._domains = reason, []


def _rapl_domains(root: Path) -> Any:
    """(folder, range in µJ) of each package and DRAM; core and uncore are parts of a package, psys is all of it."""
    for folder in sorted(root.glob("intel-rapl:*")):
        name = (folder / "name").read_text().strip()
        if name.startswith("package") or name == "dram":
            yield folder, int((folder / "max_energy_range_uj").read_text())


def best(device: Device, cpu_seconds: Callable[[], float] = time.process_time) -> EnergyReader:
    """The best reader for a device. A GPU without counter gives `Unmeasured`: its joules are None, never the CPU's.

    `cpu_seconds`: processor seconds to charge where joules are modelled, those of the whole process by default.
    """
    if device.kind == "cuda":
        reader = Nvml(device.index)
        return reader if reader.read_j() is not None else Unmeasured(reader.reason or "the GPU has no energy counter")
    if device.kind == "cpu":
        rapl = Rapl()
        return rapl if rapl.reason is None else ModelledCpu(cpu_seconds=cpu_seconds)
    return Unmeasured("TPUs have no public power counter")
