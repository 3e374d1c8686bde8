"""AMD GPUs and Apple processors through zeus, with stand-ins for its modules that behave as version 0.16 does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hardware import energy
from hardware.devices import Device
from hardware.energy import through_zeus
from hardware.energy.through_zeus import amd_gpu, apple


class NotSupported(Exception):
    pass


class FakeAmdGpu:
    """One GPU of zeus: mJ and mW, an exception where it has none."""

    def __init__(self, energy=None, instant: int | None = 120_000, average: int | None = 110_000, name="MI300X"):
        self.energy, self.instant, self.average = energy, instant, average
        self.name = f"AMD Instinct {name}"

    def get_name(self):
        return self.name

    def supports_get_total_energy_consumption(self):
        return self.energy is not None

    def get_total_energy_consumption(self):
        if isinstance(self.energy, Exception):
            raise self.energy
        return self.energy

    def get_instant_power_usage(self):
        return self.known(self.instant)

    def get_average_power_usage(self):
        return self.known(self.average)

    @staticmethod
    def known(value):
        if value is None:
            raise NotSupported("not supported on this AMD GPU")
        return value


def zeus_with(*gpus, available=True):
    """The module zeus.device.gpu.amd."""

    class AMDGPUs:
        def __init__(self):
            self.gpus = list(gpus)

        def __len__(self):
            return len(self.gpus)

    return SimpleNamespace(amdsmi_is_available=lambda: available, AMDGPUs=AMDGPUs)


def test_the_counter_is_in_millijoules_and_checked_against_the_power():
    reader = amd_gpu(1, zeus_with(FakeAmdGpu(1), FakeAmdGpu(5_000_000)))
    assert isinstance(reader, energy.CrossChecked)
    assert (reader.method, reader.read_j(), reader.uncertainty) == ("measured:amdsmi", 5000.0, None)
    reader.close()


def test_without_a_counter_the_power_is_integrated():
    reader = amd_gpu(0, zeus_with(FakeAmdGpu(None)))
    assert isinstance(reader, energy.PowerIntegral)
    assert (reader.method, reader.power_w(), reader.read_j()) == ("measured:amdsmi_power", 120.0, 0.0)
    reader.close()


def test_a_gpu_with_mean_power_only():
    reader = amd_gpu(0, zeus_with(FakeAmdGpu(None, instant=None)))
    assert isinstance(reader, energy.PowerIntegral) and reader.power_w() == 110.0


def test_the_silent_chip_of_a_pair_is_unknown():
    """Of the two chips of an MI250 one reports the power of both, the other none."""
    pair = zeus_with(FakeAmdGpu(9000, name="MI250X"), FakeAmdGpu(None, None, None, name="MI250X"))
    first = amd_gpu(0, pair)
    assert first.covers == "both chips of an MI250 without their host"
    second = amd_gpu(1, pair)
    assert (second.method, second.read_j()) == ("none", None)
    assert "neither an energy counter nor a power sensor" in str(second.reason)


def test_a_counter_that_raises_falls_back_on_power():
    reader = amd_gpu(0, zeus_with(FakeAmdGpu(RuntimeError("driver is gone"))))
    assert reader.method == "measured:amdsmi_power"


def test_trap_missing_read_as_0_j():
    """With no device zeus makes its window all the same, and says 0 J."""
    nothing = amd_gpu(0, zeus_with())
    assert (nothing.method, nothing.read_j()) == ("none", None)
    assert nothing.reason == "GPU 0 is not visible: zeus sees 0 AMD GPUs here"
    assert "install ROCm" in str(amd_gpu(0, zeus_with(available=False)).reason)


def test_without_zeus_it_says_which_extra_is_missing(monkeypatch):
    def missing():
        raise ImportError("No module named 'zeus'")

    monkeypatch.setattr(through_zeus, "_amd", missing)
    monkeypatch.setattr(through_zeus, "_apple", missing)
    assert "[zeus] extra" in str(amd_gpu().reason)
    assert "[zeus] extra" in str(apple().reason)
    reader = energy.best(Device("cuda", "AMD Instinct of an unknown kind"))
    assert reader.read_j() is None and "[zeus] extra" in str(reader.reason)


def test_an_amd_gpu_is_never_asked_through_nvml(monkeypatch):
    """jax and torch call ROCm's GPUs cuda too."""
    monkeypatch.setattr(through_zeus, "_amd", lambda: zeus_with(FakeAmdGpu(7000)))
    reader = energy.best(Device("cuda", "AMD Instinct MI300X"))
    assert (reader.method, reader.read_j()) == ("measured:amdsmi", 7.0)
    reader.close()


def zeus_on_a_mac(available=True, **parts):
    """The module zeus.device.soc.apple on a processor that has some of the parts."""
    names = ["cpu_total_mj", "efficiency_cores_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj"]
    measured = SimpleNamespace(**{name: parts.get(name) for name in names})
    soc = SimpleNamespace(get_total_energy_consumption=lambda: measured)
    return SimpleNamespace(apple_silicon_is_available=lambda: available, AppleSilicon=lambda: soc)


def test_the_parts_of_an_apple_processor_are_added_once():
    reader = apple(zeus_on_a_mac(cpu_total_mj=4000, efficiency_cores_mj=[500, 500], gpu_mj=2000, dram_mj=1000))
    assert (reader.method, reader.read_j(), reader.uncertainty) == ("measured:apple", 7.0, None)


@pytest.mark.parametrize(
    ("library", "says"),
    [
        (zeus_on_a_mac(gpu_mj=2000), "the processor's part is missing"),
        (zeus_on_a_mac(available=False), "no Apple processor"),
        (SimpleNamespace(), "zeus cannot read this processor"),
    ],
)
def test_an_apple_processor_that_cannot_be_read(library, says):
    reader = apple(library)
    assert (reader.method, reader.read_j()) == ("none", None)
    assert says in str(reader.reason)


def test_the_stand_ins_have_the_names_of_the_real_library():
    """Where zeus is installed, what is called here must exist there."""
    amd = pytest.importorskip("zeus.device.gpu.amd", reason="zeus is an optional extra")
    from zeus.device.soc import apple as soc  # type: ignore[import-not-found]

    for name in ("get_name", "supports_get_total_energy_consumption", "get_instant_power_usage"):
        assert hasattr(amd.AMDGPU, name)
    assert set(through_zeus._AppleCounter.PARTS) <= set(soc.AppleSiliconMeasurement.__dataclass_fields__)
    assert callable(amd.amdsmi_is_available) and callable(soc.apple_silicon_is_available)
