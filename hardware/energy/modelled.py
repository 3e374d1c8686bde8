"""Joules that are modelled because nothing measures them: seconds of work times a power from the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable

from hardware import catalogue
from hardware.energy.reader import Reader

# Where nobody has published the power of a device under load: this part of its TDP, from the least to the most. A
# judgement: TPU v3 and v4 drew 0.47 (least), 0.84 and 0.89 (mean) to 1 of the most they were seen to draw, servers of
# eight H100 0.76 of their rating while training (arXiv 2506.14551), and small models leave a device idle in part.
TDP_PART = (0.3, 0.7, 1.0)


class ModelledCpu(Reader):
    """Processor seconds of this process times the power of one core: TDP / cores of a catalogue entry.

    6.25 W a core with the default entry. `cpu_seconds` returns seconds summed over threads. Idle power is left out, so
    it is not known, and neither are net joules.
    """

    method = "modelled:cpu_tdp_per_core"
    covers = "the processor time of this process, without memory, idle power and child processes"
    idle_reason = "the model leaves idle power out"

    def __init__(self, entry: str = "generic_server_cpu", cpu_seconds: Callable[[], float] = time.process_time) -> None:
        device = catalogue.load(entry)
        self.power_per_core_w = device.value("tdp_w") / device.value("cores")
        self.uncertainty = device.value("uncertainty")
        self._cpu_seconds = cpu_seconds

    def read_j(self) -> float | None:
        return self._cpu_seconds() * self.power_per_core_w


class ModelledDevice(Reader):
    """Busy seconds of an accelerator times its power under load from the catalogue.

    The power is `busy_w` (a published mean under load) where there is one, else 0.7 of `tdp_w`. The uncertainty spans
    the published least and most, else 0.3 to 1 of the TDP. Raises CatalogueError when the entry has neither figure.

    `busy_seconds` counts the seconds in which the device works; by default it is the wall clock, so that a device
    counts as busy for as long as a phase is open, which is an upper bound for a program that makes it wait.
    """

    def __init__(
        self, entry: catalogue.Entry, busy_seconds: Callable[[], float] = time.perf_counter, why: str = ""
    ) -> None:
        busy, tdp, idle = entry.get("busy_w"), entry.get("tdp_w"), entry.get("idle_w")
        if busy is not None:
            low, self.power_w, high = busy.low or busy.value, busy.value, busy.high or busy.value
            self.method = f"modelled:{entry.name}_busy_w"
        elif tdp is not None:
            low, self.power_w, high = (part * tdp.value for part in TDP_PART)
            self.method = f"modelled:{entry.name}_tdp_w"
        else:
            raise catalogue.CatalogueError(
                f"nobody has published a power for {entry.name}: it has no busy_w and no tdp_w"
            )
        spread = max(high - self.power_w, self.power_w - low) / self.power_w
        # A mean without its range is somebody else's load: no better than what the entry itself says of its figures.
        judged = entry.get("uncertainty")
        self.uncertainty = spread or (judged.value if judged else None)
        self.idle_power_w = idle.value if idle else None
        self.covers = f"one {entry.name} for as long as a phase is open, without its host"
        self.notes = (why,) if why else ()
        self._busy_seconds = busy_seconds

    def read_j(self) -> float | None:
        return self._busy_seconds() * self.power_w
