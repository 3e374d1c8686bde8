"""What `check` says of joules: which readers work on this machine, how to get the others, and a verdict."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

from hardware import catalogue
from hardware.devices import Device
from hardware.energy import through_zeus
from hardware.energy.choose import best, check_device, is_amd, modelled
from hardware.energy.nvidia import Gpu, NoGpu, Nvml
from hardware.energy.rapl import Rapl
from hardware.energy.reader import Reader, Unmeasured

PROBE_S = 0.3  # three updates of the slowest counter


@dataclass(frozen=True)
class Finding:
    """One way to get joules: `status` is "works", "does not work" or "not for this device", `advice` the way to it."""

    name: str
    status: str
    advice: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f" ({self.advice})" if self.advice else "")


def describe(device: Device, sleep: Callable[[float], object] = time.sleep) -> list[Finding]:
    """Every reader with whether it works for this device, why not, and how to get it. Takes up to a second."""
    check_device(device)
    amd, gpu = is_amd(device), device.kind == "cuda"
    return [
        _try("NVIDIA energy counter", gpu and not amd, lambda: Nvml(device.index), sleep),
        _sensor(device) if gpu and not amd else Finding("NVIDIA power sensor", "not for this device"),
        _try("AMD GPU through zeus", gpu and amd, lambda: through_zeus.amd_gpu(device.index), sleep),
        _try("processor counters (RAPL)", device.kind == "cpu", Rapl, sleep),
        _try(
            "Apple processor through zeus",
            device.kind == "cpu" and platform.system() == "Darwin",
            through_zeus.apple,
            sleep,
        ),
        _model(device),
    ]


def _try(name: str, here: bool, make: Callable[[], Reader], sleep: Callable[[float], object]) -> Finding:
    if not here:
        return Finding(name, "not for this device")
    reader = make()
    try:
        start_j = reader.read_j()
        if start_j is not None:
            sleep(PROBE_S)
            end_j = reader.read_j()
            if end_j is not None and end_j > start_j:
                return Finding(name, "works", "; ".join(reader.notes) or None)
        return Finding(name, "does not work", reader.reason or f"the counter does not move in {PROBE_S:g} s")
    finally:
        reader.close()


def _sensor(device: Device) -> Finding:
    name = "NVIDIA power sensor"
    try:
        gpu = Gpu(device.index)
        power = gpu.power_w()
    except NoGpu as error:
        return Finding(name, "does not work", str(error))
    except Exception as error:  # what NVML raises, made at import time
        return Finding(name, "does not work", f"the power cannot be read: {error}")
    kind = "now" if gpu.has_instant_power else "mean of up to a second; a newer driver tells the power now"
    return Finding(name, "works", f"{power:.0f} W, {kind}")


def _model(device: Device) -> Finding:
    name = "model from the catalogue"
    if device.kind == "cpu":
        return Finding(name, "works", "processor time × TDP per core of generic_server_cpu")
    reader = modelled(device, "")
    if isinstance(reader, Unmeasured):
        known = ", ".join(n for n in catalogue.names() if catalogue.load(n).kind == device.kind)
        return Finding(
            name, "does not work", f"the catalogue has no power for {device.name}; it knows {known or 'none'}"
        )
    return Finding(name, "works", reader.method)


def verdict(device: Device, reader: Reader | None = None) -> str:
    """One paragraph: whether joules on this device are measured or modelled, of what, and how far to trust them."""
    check_device(device)
    reader = reader or best(device)
    kind, _, how = reader.method.partition(":")
    if kind == "none":
        return f"Joules on {device.name} are unknown here, and stay empty: {reader.reason}."
    error = "nobody states an uncertainty" if reader.uncertainty is None else f"± {reader.uncertainty:.0%}"
    parts = [f"Joules on {device.name} are {kind} ({how}; {error}). They cover {reader.covers}."]
    if kind == "measured" and reader.update_s:
        parts.append(f"The counter moves every {reader.update_s:g} s: windows under 5 s are read less well.")
    if kind == "modelled":
        parts.append("They must not be ranked against measured ones.")
    parts += [f"Note: {note}." for note in reader.notes]
    return " ".join(parts)
