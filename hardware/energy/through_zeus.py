"""AMD GPUs and Apple processors through the package zeus, of which only the device layer is used.

Its windows and its power monitor are not: `total_energy` is 0 without a word when there is no device, a window closes
before the work of JAX on a CPU is done, a monitor with fewer than two samples says 0.0 J. Nor is its Jetson support:
it starts a process that imports the user's program again, and finds a Jetson only where `platform.processor()` names
the architecture. Nor `get_gpus()`, which hands out NVIDIA's GPUs on a machine that has both.
"""

from __future__ import annotations

from typing import Any

from hardware.energy.power import CrossChecked, PowerIntegral
from hardware.energy.reader import Reader, Unmeasured

UPDATE_S = 0.1  # not documented for either; that of NVIDIA's counter, the slowest known


class _Counter(Reader):
    """A cumulative counter in mJ behind a function of zeus."""

    update_s = UPDATE_S

    def __init__(self, method: str, covers: str, source: Any, notes: tuple[str, ...] = ()) -> None:
        self.method, self.covers, self.notes = method, covers, notes
        self._source = source

    def read_j(self) -> float | None:
        try:
            millijoules = self._millijoules()
        except Exception as error:  # zeus and the makers' libraries raise many kinds: a missing reading, not a crash
            self.reason = f"the energy counter cannot be read: {error}"
            return None
        self.reason = None
        return millijoules / 1000

    def _millijoules(self) -> float:
        return self._source.get_total_energy_consumption()


class _AppleCounter(_Counter):
    # cpu_total holds its cores and clusters, so those are not added.
    PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")

    def _millijoules(self) -> float:
        measured = self._source.get_total_energy_consumption()
        parts = [getattr(measured, part) for part in self.PARTS]
        if parts[0] is None:
            raise ValueError("the processor's part is missing")
        return sum(part for part in parts if part is not None)


def amd_gpu(index: int = 0, library: Any = None) -> Reader:
    """The energy of one AMD GPU: its counter, checked against its power, else its integrated power.

    `index` counts as HIP and torch do. zeus accepts a counter that is wrong by up to a factor of ten, and one chip of
    an MI250 reports the power of both and the other none, so the counter runs with a check. AMD states no uncertainty.
    `library` stands in for the module `zeus.device.gpu.amd`.
    """
    try:
        amd = library or _amd()
        if not amd.amdsmi_is_available():
            return Unmeasured("AMD's management library does not work here: install ROCm 6.2 or later with amd-smi")
        gpus = amd.AMDGPUs()  # waits half a second to see whether the counters move
        if index >= len(gpus):
            return Unmeasured(f"GPU {index} is not visible: zeus sees {len(gpus)} AMD GPUs here")
        gpu = gpus.gpus[index]
        name = gpu.get_name()
    except ImportError:
        return Unmeasured("AMD GPUs are read through the package zeus, which is missing: install the [zeus] extra")
    except Exception as error:  # as above
        return Unmeasured(f"zeus cannot read AMD GPUs here: {error}")
    shared = "MI250" in name
    covers = "one GPU without its host" if not shared else "both chips of an MI250 without their host"

    # Holds `gpus` on purpose: zeus shuts AMD's library down when its list of GPUs is collected.
    def power_w() -> float:
        try:
            return gpus.gpus[index].get_instant_power_usage() / 1000
        except Exception:  # its own class for an unsupported question; some GPUs have one kind of power only
            return gpus.gpus[index].get_average_power_usage() / 1000

    power = PowerIntegral(power_w, "measured:amdsmi_power", covers)
    if gpu.supports_get_total_energy_consumption():
        counter = _Counter("measured:amdsmi", covers, gpu)
        if counter.read_j() is not None:
            return CrossChecked(counter, power)
    try:
        power_w()
    except Exception as error:
        return Unmeasured(f"this AMD GPU has neither an energy counter nor a power sensor that works: {error}")
    return power


def apple(library: Any = None) -> Reader:
    """The energy of an Apple processor with its GPU, neural engine and memory; its maker states no uncertainty.

    `library` stands in for the module `zeus.device.soc.apple`.
    """
    try:
        soc = library or _apple()
        if not soc.apple_silicon_is_available():
            return Unmeasured("no Apple processor is visible to zeus: install the [zeus] extra on an Apple machine")
        counter = _AppleCounter(
            "measured:apple", "the processor with its GPU and memory, other programs included", soc.AppleSilicon()
        )
    except ImportError:
        return Unmeasured(
            "Apple processors are read through the package zeus, which is missing: install the [zeus] extra"
        )
    except Exception as error:  # as above
        return Unmeasured(f"zeus cannot read this processor: {error}")
    return counter if counter.read_j() is not None else Unmeasured(str(counter.reason))


def _amd() -> Any:
    from zeus.device.gpu import amd  # type: ignore[import-not-found]

    return amd


def _apple() -> Any:
    from zeus.device.soc import apple  # type: ignore[import-not-found]

    return apple
