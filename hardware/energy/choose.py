"""The best energy reader for a device."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence

from hardware import catalogue
from hardware.devices import Device
from hardware.energy import through_zeus
from hardware.energy.modelled import ModelledCpu, ModelledDevice
from hardware.energy.nvidia import Gpu, NoGpu, Nvml, SliceOfGpu, nvml_power
from hardware.energy.power import CrossChecked
from hardware.energy.rapl import Rapl
from hardware.energy.reader import Reader, Sum, Unmeasured

AMD_NAMES = ("AMD", "INSTINCT", "RADEON", "GFX")


def best(device: Device | Sequence[Device], cpu_seconds: Callable[[], float] = time.process_time) -> Reader:
    """The best reader for a device, or for several at once, whose joules are summed.

    A counter, else integrated power, else a model from the catalogue, which `method` and `notes` then say; what the
    catalogue does not know is `Unmeasured`: the joules of an accelerator are None, never the CPU's. So are those of
    a slice of a GPU: no model knows its share.

    `cpu_seconds`: processor seconds to charge where those of a CPU are modelled, of the whole process by default.
    Raises TypeError for anything but a Device or several.
    """
    if isinstance(device, Device):
        return _best(device, cpu_seconds)
    if isinstance(device, str) or not isinstance(device, Iterable):
        check_device(device)
    device = list(device)
    for one in device:
        check_device(one)
    # One counter covers all processors of the machine, and a device named twice draws its power once.
    different = list(dict.fromkeys((d.kind, d.name, 0 if d.kind == "cpu" else d.index) for d in device))
    parts: list[Reader] = []
    for kind, name in dict.fromkeys(key[:2] for key in different):
        indices = [key[2] for key in different if key[:2] == (kind, name)]
        if kind == "tpu":
            indices = indices[: _chips(name, len(indices))]
        parts += [_best(Device(kind, name, index), cpu_seconds) for index in indices]
    return Sum(parts)


def check_device(device: object) -> None:
    """Raises TypeError where `device` is none."""
    if not isinstance(device, Device):
        name = device if isinstance(device, str) and device else "auto"
        raise TypeError(
            f'a device must be a Device; it is {device!r} ({type(device).__name__}): resolve_device("{name}") finds one'
        )


def _best(device: Device, cpu_seconds: Callable[[], float]) -> Reader:
    if device.kind == "cpu":
        return _cpu(cpu_seconds)
    if device.kind == "tpu":
        return modelled(device, "TPUs have no public power counter")
    if is_amd(device):
        reader = through_zeus.amd_gpu(device.index)
        return reader if reader.method != "none" else modelled(device, str(reader.reason))
    return _nvidia(device)


def _cpu(cpu_seconds: Callable[[], float]) -> Reader:
    reader: Reader = Rapl()
    if reader.reason and platform.system() == "Darwin":
        reader = through_zeus.apple()
    return reader if reader.reason is None else ModelledCpu(cpu_seconds=cpu_seconds)


def _nvidia(device: Device) -> Reader:
    try:
        gpu = Gpu(device.index)
    except SliceOfGpu as error:
        return Unmeasured(str(error))
    except NoGpu as error:
        return modelled(device, str(error))
    counter, power = Nvml(gpu), nvml_power(gpu)
    if counter.read_j() is not None:
        return CrossChecked(counter, power)
    try:
        gpu.power_w()
    except Exception as error:  # what NVML raises, made at import time
        return modelled(device, f"{counter.reason}, and neither can its power: {error}")
    return power


def modelled(device: Device, why: str) -> Reader:
    """The catalogue's power for a device that nothing measures, `why` being the reason; Unmeasured without an entry."""
    entry = catalogue.match(device.name)
    if entry is None:
        return Unmeasured(f"{why}; the catalogue does not know {device.name}, so its joules cannot be modelled either")
    try:
        return ModelledDevice(entry, why=why)
    except catalogue.CatalogueError as error:
        return Unmeasured(f"{why}; {error.args[0]}")


def is_amd(device: Device) -> bool:
    return any(name in device.name.upper() for name in AMD_NAMES)


def _chips(name: str, devices: int) -> int:
    """Chips behind some devices of JAX: a TPU v3 chip is two of them and draws its power once."""
    entry = catalogue.match(name)
    per_chip = entry.get("devices_per_chip") if entry else None
    return math.ceil(devices / per_chip.value) if per_chip else devices
