"""`check`: which devices, counters and meters this machine has, and what the joules of a run here would be."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from hardware import energy
from hardware.devices import DeviceError, host_info, resolve
from learners.backends import NAMES


def check(as_json: bool) -> str:
    """The findings as lines of text or as JSON."""
    facts: dict[str, Any] = {"host": host_info(), "devices": {}, "energy": {}}
    for backend in NAMES:
        for kind in ("cpu", "cuda", "tpu"):
            try:
                device = resolve(kind, backend)
                facts["devices"][f"{backend} {kind}"] = device.name
                facts["energy"].setdefault(kind, _energy(device))
            except DeviceError as error:
                facts["devices"][f"{backend} {kind}"] = f"absent: {str(error).split(': ', 1)[-1]}"
    facts["wandb"] = "installed" if importlib.util.find_spec("wandb") else "absent: pip install wandb"
    if as_json:
        return json.dumps(facts, indent=1)
    host = facts["host"]
    lines = [f"machine   {host['cpu']}, {host['cores']} of {host['cores_of_machine']} cores, {host['platform']}"]
    lines += [f"{name:<9} {value}" for name, value in facts["devices"].items()]
    lines += [f"joules    {kind}: {value}" for kind, value in facts["energy"].items()]
    return "\n".join([*lines, f"wandb     {facts['wandb']}"])


def _energy(device: Any) -> str:
    reader = energy.best(device)
    if reader.method == "none":
        return f"unknown ({reader.reason})"
    return reader.method + (f" ± {reader.uncertainty:.0%}" if reader.uncertainty is not None else "")
