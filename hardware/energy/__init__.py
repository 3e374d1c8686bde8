"""Energy readers: cumulative joules behind one small contract, measured where a counter exists, else modelled.

    reader = energy.best(device)              # the best there is for a device, or a list of devices
    energy.measure(function, reader)          # joules a call, with an uncertainty
    energy.measure_idle(reader)               # watts while nothing runs
    energy.describe(device)                   # which readers work here, and how to get the others
    energy.verdict(device)                    # one paragraph: measured or modelled, ± how much

A reader has `method` ("measured:nvml", "modelled:cpu_tdp_per_core", "none"), `uncertainty` (relative, None where nobody
states one), `read_j()` (joules since an arbitrary start, None when it cannot be read) and `reason` (why it could not,
else None). None is never replaced by 0. `hardware.energy.reader.Reader` says what else ours have.
"""

from hardware.energy.choose import best
from hardware.energy.findings import Finding, describe, verdict
from hardware.energy.modelled import ModelledCpu, ModelledDevice
from hardware.energy.nvidia import Nvml
from hardware.energy.power import CrossChecked, PowerIntegral
from hardware.energy.rapl import Rapl
from hardware.energy.reader import EnergyReader, Reader, Sum, Unmeasured
from hardware.energy.window import Idle, Measurement, measure, measure_idle

__all__ = [
    "CrossChecked",
    "EnergyReader",
    "Finding",
    "Idle",
    "Measurement",
    "ModelledCpu",
    "ModelledDevice",
    "Nvml",
    "PowerIntegral",
    "Rapl",
    "Reader",
    "Sum",
    "Unmeasured",
    "best",
    "describe",
    "measure",
    "measure_idle",
    "verdict",
]
