"""`check`: what this machine can run and count, how its joules are obtained, and how fast it is; then a verdict."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.progress import Reporter
from hardware import energy
from hardware.calibrate import Calibration, CalibrationError, calibrate
from hardware.devices import Device, DeviceError, host_info, resolve
from learners.backends import NAMES
from physics_models.cache import default_cache_dir

CALIBRATION_S = 10.0
# What a part of the accounting needs, by the name it is installed under, and how to get it.
PARTS = {
    "jax": ("FLOP of JAX programs, by walking them", "pip install jax"),
    "torch": ("FLOP of torch programs, operation by operation", "pip install torch"),
    "nvidia-ml-py": ("joules of NVIDIA GPUs", "the [cuda] extra"),
    "zeus": ("joules of AMD GPUs and Apple processors", "the [zeus] extra"),
    "libtpu": ("the TPU compiler, also without a TPU", "the [tpu] extra"),
    "wandb": ("tracking", "pip install wandb"),
}


@dataclass(frozen=True)
class Findings:
    """What was found. `devices`: by "backend kind"; `energy`: findings by device kind; `calibration`: of the default
    device, None where it was skipped."""

    host: dict[str, Any]
    devices: dict[str, str]
    parts: dict[str, str]
    energy: dict[str, list[str]]
    idle: dict[str, str]
    calibration: Calibration | None
    calibration_note: str
    verdict: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        host = self.host
        lines = [f"machine   {host['cpu']}, {host['cores']} of {host['cores_of_machine']} cores, {host['platform']}"]
        lines += ["", "devices"] + [f"  {name:<11} {value}" for name, value in self.devices.items()]
        lines += ["", "parts"] + [f"  {name:<13} {value}" for name, value in self.parts.items()]
        for kind, found in self.energy.items():
            lines += ["", f"joules of the {kind}", *(f"  {line}" for line in found), f"  idle power: {self.idle[kind]}"]
        lines += ["", *(self.calibration.lines() if self.calibration else []), self.calibration_note]
        return [*lines, "", *self.verdict.values()]


def check(report: Reporter, anew: bool = False, quick: bool = False) -> Findings:
    """Look at the machine. `anew`: calibrate even if an earlier calibration is kept; `quick`: neither that nor watch
    idle counters for seconds."""
    here: dict[str, Device] = {}
    devices: dict[str, str] = {}
    for backend in NAMES:
        for kind in ("cpu", "cuda", "tpu"):
            try:
                device = resolve(kind, backend)
                here.setdefault(kind, device)
                devices[f"{backend} {kind}"] = device.name
            except DeviceError as error:
                devices[f"{backend} {kind}"] = f"absent: {str(error).split(': ', 1)[-1]}"
    readers = {kind: energy.best(device) for kind, device in here.items()}
    found, idle, verdict = {}, {}, {}
    for kind, device in here.items():
        report.say(f"{kind}: looking for energy counters")
        found[kind] = [str(finding) for finding in energy.describe(device) if finding.status != "not for this device"]
        idle[kind] = "not watched (--quick)" if quick else _idle(energy.measure_idle(readers[kind]))
        verdict[kind] = energy.verdict(device, readers[kind])
    calibration, note = _calibration(resolve("auto", "jax"), report, anew, quick)
    return Findings(host_info(), devices, _parts(), found, idle, calibration, note, verdict)


def _idle(idle: energy.Idle) -> str:
    if idle.power_w is None:
        return f"unknown ({idle.reason})"
    sure = "" if idle.uncertainty is None else f" ± {idle.uncertainty:.0%}"
    return f"{idle.power_w:.3g} W{sure}"


def _parts() -> dict[str, str]:
    found = {}
    for name, (what, how) in PARTS.items():
        try:
            found[name] = f"{importlib.metadata.version(name)}: {what}"
        except importlib.metadata.PackageNotFoundError:
            found[name] = f"absent: {what} ({how})"
    return found


def kept_calibration(device: Device) -> Path:
    """Where a device's calibration is kept: with the user's other caches, since it is the machine's and no run's."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{device.kind}-{device.name}").strip("-")
    return default_cache_dir().parent / "calibration" / f"{name}.json"


def load_calibration(device: Device) -> Calibration | None:
    """The kept calibration; None where there is none that can be read."""
    try:
        return Calibration.load(kept_calibration(device))
    except (OSError, CalibrationError):
        return None


def _calibration(device: Device, report: Reporter, anew: bool, quick: bool) -> tuple[Calibration | None, str]:
    kept = None if anew else load_calibration(device)
    if kept is not None:
        return kept, "  (kept from an earlier check; --calibrate measures again)"
    if quick:
        return None, "calibration: not done (--quick)"
    report.say(f"{device.kind}: calibrating for {CALIBRATION_S:g} s; let the machine rest meanwhile")
    found, path = calibrate(CALIBRATION_S, device=device), kept_calibration(device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found.save(path)
    except OSError as error:
        return found, f"  (it could not be kept: {error.strerror})"
    return found, "  (kept; --calibrate measures again)"
