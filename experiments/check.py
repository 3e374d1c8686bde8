"""`check`: what this machine can run and count, how its joules are obtained, and how fast it is; then a verdict."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.progress import Reporter
from hardware import energy
from hardware.calibrate import Calibration, CalibrationError, calibrate
from hardware.devices import Device, DeviceError, host_info, resolve
from learners.backends import NAMES
from physics_models.cache import default_cache_dir
from reports.text import wrapped

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
class Joules:
    """How the joules of one kind of device are obtained. `readers`: what was tried; None is unknown."""

    name: str
    method: str
    uncertainty: float | None
    covers: str
    idle_power_w: float | None
    idle_uncertainty: float | None
    idle_reason: str | None
    readers: list[str]
    verdict: str

    def idle(self) -> str:
        if self.idle_power_w is None:
            return f"unknown ({self.idle_reason})"
        sure = "± ?" if self.idle_uncertainty is None else f"± {self.idle_uncertainty:.0%}"
        return f"{self.idle_power_w:.3g} W {sure}"


@dataclass(frozen=True)
class Findings:
    """What was found. `devices`: by "backend kind"; `joules`: by device kind; `calibration`: of the default device,
    None where it was skipped."""

    host: dict[str, Any]
    devices: dict[str, str]
    parts: dict[str, str]
    joules: dict[str, Joules]
    calibration: Calibration | None
    calibration_note: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self, width: int = 110) -> list[str]:
        host = self.host
        lines = [f"machine   {host['cpu']}, {host['cores']} of {host['cores_of_machine']} cores, {host['platform']}"]
        lines += ["", "devices"] + [f"  {name:<11} {value}" for name, value in self.devices.items()]
        lines += ["", "parts"] + [f"  {name:<13} {value}" for name, value in self.parts.items()]
        for kind, found in self.joules.items():
            lines += ["", f"joules of the {kind}", *(f"  {line}" for line in found.readers)]
            lines += [f"  idle power: {found.idle()}"]
        lines += ["", *(self.calibration.lines() if self.calibration else []), self.calibration_note]
        lines += ["", *(found.verdict for found in self.joules.values())]
        return wrapped(lines, width)


def check(report: Reporter, anew: bool = False, quick: bool = False, only: str = "all") -> Findings:
    """Look at the machine. `anew`: calibrate even if an earlier calibration is kept; `quick`: neither that nor watch
    idle counters for seconds; `only`: one device, as in device=cuda (DeviceError where it is absent)."""
    here: dict[str, Device] = {}
    devices: dict[str, str] = {}
    default = resolve("auto" if only == "all" else only, "jax")
    for backend in NAMES:
        for kind in ("cpu", "cuda", "tpu"):
            try:
                device = resolve(kind, backend)
                here.setdefault(kind, device)
                devices[f"{backend} {kind}"] = device.name
            except DeviceError as error:
                devices[f"{backend} {kind}"] = f"absent: {str(error).split(': ', 1)[-1]}"
    if only != "all":
        here = {default.kind: default}
    joules = {}
    for kind, device in here.items():
        report.say(f"{kind}: looking for energy counters")
        joules[kind] = _joules(device, quick)
    calibration, note = _calibration(default, report, anew, quick)
    return Findings(host_info(), devices, _parts(), joules, calibration, note)


def _joules(device: Device, quick: bool) -> Joules:
    reader = energy.best(device)
    idle = energy.Idle(None, reason="not watched: --quick") if quick else energy.measure_idle(reader)
    tried = [str(finding) for finding in energy.describe(device) if finding.status != "not for this device"]
    return Joules(
        device.name, reader.method, reader.uncertainty, reader.covers, idle.power_w, idle.uncertainty, idle.reason,
        tried, energy.verdict(device, reader),
    )  # fmt: skip


def _parts() -> dict[str, str]:
    found = {}
    for name, (what, how) in PARTS.items():
        try:
            found[name] = f"{importlib.metadata.version(name)}: {what}"
        except importlib.metadata.PackageNotFoundError:
            found[name] = f"absent: {what} ({how})"
    return found


def kept_calibration(device: Device) -> Path:
    """Where a device's calibration is kept: with the user's other caches, since it is the machine's and no run's.

    A home may be shared by machines whose processors have one name: host and cores are part of the file's name.
    """
    machine = hashlib.sha256(f"{platform.node()} {host_info()['cores']}".encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{device.kind}-{device.name}").strip("-")
    return default_cache_dir().parent / "calibration" / f"{name}-{machine}.json"


def load_calibration(device: Device) -> Calibration | None:
    """The kept calibration; None where there is none that can be read, or it is of another device or version of JAX."""
    try:
        found = Calibration.load(kept_calibration(device))
    except (OSError, CalibrationError):
        return None
    same = (found.kind, found.device) == (device.kind, device.name)
    return found if same and found.versions.get("jax") == importlib.metadata.version("jax") else None


def _calibration(device: Device, report: Reporter, anew: bool, quick: bool) -> tuple[Calibration | None, str]:
    kept = None if anew else load_calibration(device)
    if kept is not None:
        return kept, f"  (kept from {kept.date}; --calibrate measures again)"
    if quick:
        return None, "calibration: not done (--quick)"
    report.say(
        f"{device.kind}: calibrating for {CALIBRATION_S:g} s and some compilation; let the machine rest meanwhile"
    )
    found, path = calibrate(CALIBRATION_S, device=device), kept_calibration(device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found.save(path)
    except OSError as error:
        return found, f"  (it could not be kept: {error.strerror})"
    return found, "  (kept; --calibrate measures again)"
