"""NVIDIA GPUs through NVML: the total-energy counter, the power sensor, and slices (MIG), which have neither."""

from __future__ import annotations

import os
from typing import Any

from hardware.energy.poll import lock_of
from hardware.energy.power import PowerIntegral
from hardware.energy.reader import Reader

STATED = 0.05  # NVIDIA's NVML manual: power readings are accurate to ±5%
COUNTER_UPDATE_S = 0.1
AVERAGED_S = 1.0  # nvmlDeviceGetPowerUsage is the mean of the last second on Ampere and later
# Chips (GA100, GH100) whose sensor looks at 25 ms of every 100 ms (arXiv 2312.02741).
PART_TIME = ("A100", "A800", "H100", "H800", "H200", "GH200")
PART_TIME_DUTY = 0.25


class NoGpu(RuntimeError):
    """The GPU cannot be asked for its energy; the message says why and what to do."""


class SliceOfGpu(NoGpu):
    """A part of a GPU (MIG), of which neither a counter nor a model knows the share."""


class Gpu:
    """The handle of one visible GPU. `index` counts as CUDA does; raises NoGpu.

    `library` is the module `pynvml` of the package nvidia-ml-py, or a stand-in.
    """

    def __init__(self, index: int = 0, library: Any = None) -> None:
        try:
            self.library = library or _pynvml()
            self.library.nvmlInit()
            self.handle = _handle(self.library, index)
            self.name = _text(self.library.nvmlDeviceGetName(self.handle))
            self.handle = self._whole(self.handle)
        except NoGpu:
            raise
        except ImportError as error:
            raise NoGpu("the NVIDIA management library's Python module is missing: install the [cuda] extra") from error
        except Exception as error:  # NVMLError is made at import time, and a broken driver raises other kinds too
            raise NoGpu(f"NVML does not work here: {error}") from error

    def _whole(self, handle: Any) -> Any:
        """The GPU that a slice is all of, or the GPU itself. A part of a GPU has no power or energy of its own."""
        nvml = self.library
        try:
            is_slice = bool(_plain(nvml.nvmlDeviceIsMigDeviceHandle(handle)))
            if not is_slice and not _plain(nvml.nvmlDeviceGetMigMode(handle)[0]):
                return handle
        except Exception:  # GPUs before Ampere and drivers before MIG do not know the question
            return handle
        # In MIG mode a program runs on one slice, by default the first, although NVML hands out the whole GPU.
        one = handle if is_slice else _first_slice(nvml, handle)
        parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(one) if is_slice else handle
        most, parts = nvml.nvmlDeviceGetMaxMigDeviceCount(parent), nvml.nvmlDeviceGetAttributes_v2(one)
        if parts.gpuInstanceSliceCount == parts.computeInstanceSliceCount == most:
            return parent
        raise SliceOfGpu(
            f"this is a slice of {self.name} (MIG, {parts.computeInstanceSliceCount} of {most} parts), which has no "
            "energy counter of its own, and the GPU's counts all slices: use a slice that is the whole GPU, or turn "
            "MIG off (nvidia-smi -mig 0)"
        )

    def power_w(self) -> float:
        """The power now where the driver tells it, else its mean over up to a second. Raises what NVML raises."""
        instant = self._instant_mw()
        return (instant or self.library.nvmlDeviceGetPowerUsage(self.handle)) / 1000

    @property
    def has_instant_power(self) -> bool:
        return self._instant_mw() is not None

    def _instant_mw(self) -> int | None:
        nvml = self.library
        try:
            field = nvml.nvmlDeviceGetFieldValues(self.handle, [nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        except Exception:  # an old driver or an old module has no such field; the caller has another way to ask
            return None
        return int(field.value.uiVal) if field.nvmlReturn == 0 and field.value.uiVal > 0 else None


class Nvml(Reader):
    """The total-energy counter of one NVIDIA GPU (Volta and later): mJ since driver load, updated each 100 ms.

    `gpu` is a Gpu or the index of one. A counter that goes backwards (the driver was loaded anew, the GPU was reset)
    makes the readings None from then on.
    """

    method = "measured:nvml"
    uncertainty = STATED
    update_s = COUNTER_UPDATE_S
    covers = "one GPU without its host"

    def __init__(self, gpu: Gpu | int = 0, library: Any = None) -> None:
        self._gpu: Gpu | None = None
        self._last_mj = 0
        self._lock = lock_of(self)  # else one thread's older reading would look like a counter that goes backwards
        try:
            self._gpu = gpu if isinstance(gpu, Gpu) else Gpu(gpu, library)
        except NoGpu as error:
            self.reason = str(error)

    def read_j(self) -> float | None:
        with self._lock:
            if self._gpu is None:
                return None
            try:
                now = int(self._gpu.library.nvmlDeviceGetTotalEnergyConsumption(self._gpu.handle))
            except Exception as error:  # any kind, as above; one that fails half-way is a missing reading, not a crash
                self.reason = f"the GPU's energy counter cannot be read: {error}"
                return None
            if now < self._last_mj:
                self._gpu = None
                self.reason = f"the GPU's energy counter went backwards, from {self._last_mj} to {now} mJ"
                return None
            self._last_mj, self.reason = now, None
            return now / 1000


def nvml_power(gpu: Gpu) -> PowerIntegral:
    """The integrated power of a GPU: what is left where it has no energy counter."""
    part_time = any(name in gpu.name.replace("-", " ").split() for name in PART_TIME)
    return PowerIntegral(
        gpu.power_w,
        "measured:nvml_power",
        Nvml.covers,
        STATED,
        PART_TIME_DUTY if part_time else 1.0,
        0.0 if gpu.has_instant_power else AVERAGED_S,
    )


def _pynvml() -> Any:
    import pynvml

    return pynvml


def _handle(library: Any, index: int) -> Any:
    """NVML numbers all GPUs of the machine by slot; CUDA_VISIBLE_DEVICES lists the visible ones by number or UUID."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = None if listed is None else [v.strip() for v in listed.split(",") if v.strip()]
    if visible is not None and index >= len(visible):
        raise NoGpu(f"GPU {index} is not visible: CUDA_VISIBLE_DEVICES is {listed!r}")
    chosen = str(index) if visible is None else visible[index]
    if not chosen.isdigit():
        return _by_uuid(library, chosen)
    handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
    if int(chosen) >= len(handles):
        raise NoGpu(f"GPU {chosen} does not exist: NVML sees {len(handles)} here, numbered from 0")
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        # By default CUDA's first GPU is the fastest and NVML's is that of the first slot.
        names = {_text(library.nvmlDeviceGetName(handle)) for handle in handles}
        if len(names) > 1:
            raise NoGpu(
                f"the GPUs here differ ({', '.join(sorted(names))}), and CUDA and NVML number them differently: "
                "set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )
    return handles[int(chosen)]


def _by_uuid(library: Any, uuid: str) -> Any:
    """CUDA takes the beginning of a GPU's UUID where it is unique; NVML wants all of it."""
    if uuid.startswith("GPU-"):
        for i in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(i)
            if _text(library.nvmlDeviceGetUUID(handle)).startswith(uuid):
                return handle
    return library.nvmlDeviceGetHandleByUUID(uuid)


def _first_slice(library: Any, gpu: Any) -> Any:
    for i in range(library.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            return library.nvmlDeviceGetMigDeviceHandleByIndex(gpu, i)
        except Exception:  # an empty place raises; the next may hold one
            continue
    raise SliceOfGpu("this GPU is in MIG mode and has no slices: make one, or turn MIG off (nvidia-smi -mig 0)")


def _plain(value: Any) -> Any:
    """Some of NVML's answers are still ctypes numbers."""
    return getattr(value, "value", value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
