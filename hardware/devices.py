"""Which device a run uses, checked before anything starts, and what this machine is. Frameworks are imported late."""

from __future__ import annotations

import difflib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("auto", "cpu", "cuda", "tpu")
FRAMEWORKS = ("jax", "torch")


class DeviceError(ValueError):
    """The device asked for does not exist here; the message says what to do, in one line."""


@dataclass(frozen=True)
class Device:
    """`kind` is cpu, cuda or tpu; `name` the maker's name; `index` counts the devices of that kind visible here."""

    kind: str
    name: str
    index: int = 0


def resolve(name: str = "auto", framework: str = "jax") -> Device:
    """The device called `name` (auto, cpu, cuda, tpu, or with an index: cuda:1) as `framework` sees it.

    auto is the framework's own best one. Raises DeviceError when it is unknown or absent.
    """
    kind, _, number = name.partition(":")
    if kind not in NAMES:
        near = difflib.get_close_matches(kind, NAMES, 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DeviceError(f"device={name}: unknown; it must be one of {', '.join(NAMES)}{hint}")
    if framework not in FRAMEWORKS:
        raise DeviceError(f"framework={framework}: unknown; it must be one of {', '.join(FRAMEWORKS)}")
    if number and not number.isdigit():
        raise DeviceError(f"device={name}: the index after the colon must be a whole number, as in cuda:1")
    return (_in_jax if framework == "jax" else _in_torch)(name, kind, int(number or 0))


def _absent(name: str, what: str, framework: str, extra: str) -> DeviceError:
    return DeviceError(
        f"device={name}: no {what} is visible to {framework} here; use device=cpu or install the [{extra}] extra"
    )


def _pick(name: str, kind: str, found: list[Any], index: int) -> Any:
    if index >= len(found):
        raise DeviceError(f"device={name}: only {len(found)} {kind} device(s) are visible here, numbered from 0")
    return found[index]


def quieten_libtpu() -> None:
    """Where libtpu is installed but no TPU is: answer what it would ask, and complain of, on every start of JAX."""
    if not any(Path("/dev").glob("accel*")) and not any(Path("/dev").glob("vfio/*")):
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5e-4")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")


def _in_jax(name: str, kind: str, index: int) -> Device:
    quieten_libtpu()
    import jax

    platforms = {"gpu": "cuda", "cuda": "cuda", "rocm": "cuda", "tpu": "tpu"}
    if kind == "auto":
        kind = platforms.get(jax.default_backend(), "cpu")
    if kind == "cpu":
        _pick(name, kind, jax.devices("cpu"), index)
        return Device("cpu", cpu_name(), index)
    try:
        found = jax.devices("gpu" if kind == "cuda" else kind)
    except RuntimeError as error:  # what jax raises for a platform it does not have
        raise _absent(name, "NVIDIA GPU" if kind == "cuda" else "TPU", "jax", kind) from error
    return Device(kind, _pick(name, kind, found, index).device_kind, index)


def _in_torch(name: str, kind: str, index: int) -> Device:
    import torch

    if kind == "tpu":
        raise DeviceError(f"device={name}: torch runs on cpu and cuda here; use backend=jax for a TPU")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        _pick(name, kind, [None], index)
        return Device("cpu", cpu_name())
    if not torch.cuda.is_available():
        raise _absent(name, "NVIDIA GPU", "torch", "cuda")
    index = _pick(name, kind, list(range(torch.cuda.device_count())), index)
    return Device("cuda", torch.cuda.get_device_name(index), index)


def peak_memory_bytes(device: Device, framework: str) -> int | None:
    """The most memory that `framework` has held on an accelerator so far; None on a CPU and where it does not say."""
    if device.kind == "cpu":
        return None
    if framework == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated(device.index))
    import jax

    found = jax.devices("gpu" if device.kind == "cuda" else device.kind)
    return (found[device.index].memory_stats() or {}).get("peak_bytes_in_use")


def cpu_name() -> str:
    """The maker's name of the processor, or the architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def host_info() -> dict[str, Any]:
    """What a record says of the machine: processor, cores, memory, system. Never the names of the host or the user.

    `cores` are those this process may use, which in a container or a batch job are fewer than `cores_of_machine`.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        memory = None
    return {
        "cpu": cpu_name(),
        "cores": usable,
        "cores_of_machine": os.cpu_count(),
        "memory_bytes": memory,
        "platform": f"{platform.system()}-{platform.machine()}",
        "python": platform.python_version(),
    }
