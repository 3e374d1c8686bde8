"""NVIDIA GPUs against recorded traces: a stand-in for the module pynvml."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hardware import energy
from hardware.devices import Device
from hardware.energy import nvidia
from hardware.energy.nvidia import Gpu, NoGpu, Nvml, SliceOfGpu, nvml_power

# mJ read every 50 ms at about 300 W: the counter moves every 100 ms, as an L4's does.
COUNTER_MJ = [81_204_511, 81_204_511, 81_234_602, 81_234_602, 81_264_420, 81_264_420, 81_294_377]


class FakeNvml:
    """What pynvml offers. `energy` (mJ) and `power` (mW) are traces of which the last value stays; an exception in one
    is raised. `instant`: whether the driver has that field. `slices`: per GPU, the MIG slices as (GPU parts, compute
    parts); None where MIG is off."""

    NVML_FI_DEV_POWER_INSTANT = 186

    slices: Any

    def __init__(self, energy=(0,), power=(70_000,), instant=True, names=("NVIDIA L4",), slices=None, most=7):
        self.energy, self.power, self.instant = list(energy), list(power), instant
        self.names, self.slices, self.most = names, slices, most

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        return ("gpu", index)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if not uuid.startswith("MIG-"):
            raise RuntimeError("Not Found")
        return ("slice", int(uuid.removeprefix("MIG-")))

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{'abcdef'[handle[1]]}0123456"

    def nvmlDeviceGetName(self, handle):
        return self.names[handle[1] if handle[0] == "gpu" else 0]

    def nvmlDeviceIsMigDeviceHandle(self, handle):
        return SimpleNamespace(value=int(handle[0] == "slice"))  # pynvml forgets to unpack this one

    def nvmlDeviceGetMigMode(self, handle):
        if self.slices is None:
            raise RuntimeError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return self.most

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= len(self.slices or ()) or self.slices[index] is None:
            raise RuntimeError("Not Found")
        return ("slice", index)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return ("gpu", 0)

    def nvmlDeviceGetAttributes_v2(self, handle):
        gpu, compute = self.slices[handle[1]]
        return SimpleNamespace(gpuInstanceSliceCount=gpu, computeInstanceSliceCount=compute)

    @staticmethod
    def following(trace):
        value = trace.pop(0) if len(trace) > 1 else trace[0]
        if isinstance(value, Exception):
            raise value
        return value

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        assert handle[0] == "gpu", "NVML refuses to tell the energy of a slice"
        return self.following(self.energy)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.following(self.power)

    def nvmlDeviceGetFieldValues(self, handle, fields):
        value = self.following(self.power) if self.instant else 0
        return [SimpleNamespace(nvmlReturn=0 if self.instant else 3, value=SimpleNamespace(uiVal=value))]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


@pytest.fixture
def install(monkeypatch):
    """Puts a stand-in in the place of pynvml."""
    return lambda library: monkeypatch.setattr(nvidia, "_pynvml", lambda: library)


def test_the_counter_is_in_millijoules():
    reader = Nvml(0, FakeNvml(COUNTER_MJ))
    first, *_, last = [reader.read_j() for _ in COUNTER_MJ]
    assert (first, last) == (81_204.511, 81_294.377)
    assert (reader.method, reader.uncertainty, reader.reason, reader.update_s) == ("measured:nvml", 0.05, None, 0.1)


def test_a_counter_that_fails_half_way_loses_that_reading_only():
    reader = Nvml(0, FakeNvml([1000, RuntimeError("GPU is lost"), 3000]))
    assert [reader.read_j(), reader.read_j()] == [1.0, None]
    assert "GPU is lost" in str(reader.reason)
    assert reader.read_j() == 3.0


def test_a_counter_that_goes_backwards_is_given_up():
    """The driver was loaded anew: what was used in between is lost, and later readings would hide that."""
    reader = Nvml(0, FakeNvml([5_000_000, 5_000_300, 120, 6_000_000]))
    assert [reader.read_j() for _ in range(4)] == [5000.0, 5000.3, None, None]
    assert reader.reason == "the GPU's energy counter went backwards, from 5000300 to 120 mJ"


def chosen(library, index=1):
    return Gpu(index, library).handle


def test_the_visible_devices_are_followed(monkeypatch):
    library = FakeNvml(names=["NVIDIA L4"] * 4)
    assert chosen(library) == ("gpu", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert chosen(library) == ("gpu", 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a0123456,GPU-d0")  # CUDA takes the beginning of a UUID
    assert chosen(library) == ("gpu", 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(NoGpu, match="GPU 1 is not visible: CUDA_VISIBLE_DEVICES is '0'"):
        chosen(library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,7")
    with pytest.raises(NoGpu, match="GPU 7 does not exist: NVML sees 4 here"):
        chosen(library)


def test_the_counter_of_another_gpu_is_never_read(monkeypatch):
    """CUDA numbers GPUs by speed, NVML by slot: with different ones the same number means different GPUs."""
    library = FakeNvml(names=["NVIDIA T4", "NVIDIA H100"])
    with pytest.raises(NoGpu, match="set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        chosen(library)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert chosen(library) == ("gpu", 1)


def test_trap_part_of_a_gpu_for_the_whole(monkeypatch):
    """A MIG slice has no counter of its own; its parent's counts the neighbours too."""
    library = FakeNvml(names=["NVIDIA A100-SXM4-80GB"], slices=[None, (3, 3), (4, 4)])
    with pytest.raises(SliceOfGpu, match="3 of 7 parts"):  # without a choice CUDA runs on the first
        Gpu(0, library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
    with pytest.raises(SliceOfGpu, match=r"4 of 7 parts.*the GPU's counts all slices"):
        Gpu(0, library)
    with pytest.raises(SliceOfGpu, match="has no slices"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        Gpu(0, FakeNvml(slices=[]))


@pytest.mark.parametrize(
    ("parts", "whole"), [((7, 7), True), ((7, 4), False)], ids=["all of it", "part of its compute"]
)
def test_a_slice_that_is_the_whole_gpu_has_its_joules(parts, whole, install):
    install(FakeNvml([7000], slices=[parts]))
    assert energy.best(Device("cuda", "a slice")).read_j() == (7.0 if whole else None)


def test_a_slice_is_not_modelled_either(install):
    install(FakeNvml([7000], names=["NVIDIA A100-SXM4-80GB"], slices=[(1, 1)]))
    reader = energy.best(Device("cuda", "NVIDIA A100-SXM4-80GB"))
    assert (reader.method, reader.read_j()) == ("none", None)


def test_several_gpus_are_summed_and_told_apart(install):
    library = FakeNvml([1000, 2000, 1000, 2000, 5000, 9000], names=["NVIDIA L4"] * 2)
    install(library)
    both = energy.best([Device("cuda", "NVIDIA L4", 0), Device("cuda", "NVIDIA L4", 1), Device("cuda", "NVIDIA L4", 1)])
    assert isinstance(both, energy.Sum) and len(both.parts) == 2, "a GPU named twice draws its power once"
    assert both.each_j() == (1.0, 2.0)
    assert both.read_j() == 5.0 + 9.0
    assert (both.method, both.uncertainty, both.covers) == ("measured:nvml", 0.05, "2 × one GPU without its host")
    both.close()


def test_one_lost_gpu_makes_the_sum_unknown():
    good, lost = Nvml(0, FakeNvml([1000])), Nvml(0, FakeNvml([RuntimeError("GPU is lost")]))
    both = energy.Sum([good, lost])
    assert both.read_j() is None
    assert "GPU is lost" in str(both.reason)


@pytest.mark.parametrize(("failure", "says"), [(ImportError(), "[cuda] extra"), (OSError("no driver"), "no driver")])
def test_no_nvml_library_leaves_unknown_joules(failure, says, monkeypatch):
    def fail():
        raise failure

    monkeypatch.setattr(nvidia, "_pynvml", fail)
    reader = energy.best(Device("cuda", "a GPU"))
    assert (reader.method, reader.read_j()) == ("none", None)
    assert says in str(reader.reason)
    assert says in str(Nvml(0).reason)


def test_the_best_reader_is_the_counter_with_a_check(install):
    install(FakeNvml(COUNTER_MJ))
    reader = energy.best(Device("cuda", "NVIDIA L4"))
    assert isinstance(reader, energy.CrossChecked)
    assert (reader.method, reader.read_j(), reader.uncertainty, reader.notes) == ("measured:nvml", 81_204.511, 0.05, ())
    reader.close()


def test_without_a_counter_the_power_is_integrated(install):
    install(FakeNvml([RuntimeError("Not Supported")], [50_000]))
    reader = energy.best(Device("cuda", "Tesla P100"))
    assert (reader.method, reader.read_j()) == ("measured:nvml_power", 0.0)
    reader.close()


def test_with_neither_it_is_unknown_and_both_reasons_are_told(install):
    install(FakeNvml([RuntimeError("Not Supported")], [RuntimeError("No Permission")], instant=False))
    reader = energy.best(Device("cuda", "GPU without a name"))
    assert reader.read_j() is None
    assert "Not Supported" in str(reader.reason) and "No Permission" in str(reader.reason)


def test_the_power_now_is_preferred_to_its_mean():
    assert Gpu(0, FakeNvml(power=[123_000])).power_w() == 123
    now, mean = (nvml_power(Gpu(0, FakeNvml(instant=instant))) for instant in (True, False))
    assert mean.update_s == nvidia.AVERAGED_S > now.update_s


class Broken(FakeNvml):
    def nvmlDeviceGetFieldValues(self, handle, fields):
        raise AttributeError("this module is too old")


def test_an_old_driver_without_the_field_still_gives_power():
    assert Gpu(0, Broken(power=[88_000])).power_w() == 88


@pytest.mark.parametrize(
    ("name", "seen"),
    [("NVIDIA A100-SXM4-80GB", 0.25), ("NVIDIA H100 80GB HBM3", 0.25), ("NVIDIA L4", 1.0), ("NVIDIA A10", 1.0)],
)
def test_the_chips_that_are_watched_part_of_the_time(name, seen):
    sensor = nvml_power(Gpu(0, FakeNvml(names=[name])))
    assert sensor.duty == seen
    assert bool(sensor.notes) == (seen < 1)


def test_what_check_says(install, monkeypatch):
    install(FakeNvml(COUNTER_MJ, [70_000]))
    gpu = Device("cuda", "NVIDIA L4")
    found = {f.name: f for f in energy.describe(gpu, sleep=lambda _: [nvidia._pynvml().energy.pop(0) for _ in "ab"])}
    assert found["NVIDIA energy counter"].status == "works"
    assert str(found["NVIDIA power sensor"]) == "NVIDIA power sensor: works (70 W, now)"
    assert found["processor counters (RAPL)"].status == "not for this device"
    install(FakeNvml([5000], instant=False))
    stuck, sensor, *_ = energy.describe(gpu, sleep=lambda _: None)
    assert (stuck.status, stuck.advice) == ("does not work", "the counter does not move in 0.3 s")
    assert "mean of up to a second" in str(sensor)
    monkeypatch.setattr(nvidia, "_pynvml", lambda: (_ for _ in ()).throw(ImportError()))
    assert all(f.status == "does not work" for f in energy.describe(gpu)[:2])
    assert "[cuda] extra" in str(energy.describe(gpu)[0])


def test_the_verdict_of_a_gpu(install):
    install(FakeNvml(COUNTER_MJ))
    said = energy.verdict(Device("cuda", "NVIDIA L4"))
    assert said.startswith("Joules on NVIDIA L4 are measured (nvml; ± 5%). They cover one GPU without its host.")
