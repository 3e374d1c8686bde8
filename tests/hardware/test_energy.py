"""Energy readers against recorded traces: a folder in place of sysfs, a stand-in for the NVML module."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from hardware import catalogue, energy
from hardware.devices import Device

RANGE_UJ = 262_143_328_850  # max_energy_range_uj of a Xeon package


class Machine:
    """A powercap folder with two packages, of which the first has cores and DRAM, and a clock."""

    def __init__(self, root):
        self.root, self.now = root, 0.0
        for domain, name in {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}.items():
            folder = root / f"intel-rapl:{domain}"
            folder.mkdir()
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.set(domain, 0)

    def set(self, domain, microjoules):
        (self.root / f"intel-rapl:{domain}" / "energy_uj").write_text(f"{microjoules}\n")

    def reader(self):
        return energy.Rapl(self.root, lambda: self.now)

    def after(self, seconds, **counters):
        self.now += seconds
        for domain, microjoules in counters.items():
            self.set(domain.removeprefix("d").replace("_", ":"), microjoules)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_rapl_sums_packages_and_dram_only(machine):
    reader = machine.reader()
    machine.after(1, d0=2_000_000, d0_0=1_500_000, d0_1=500_000, d1=3_000_000, d2=9_000_000)
    assert reader.read_j() == 2 + 0.5 + 3
    assert (reader.method, reader.reason) == ("measured:rapl", None)


def test_rapl_wraps_around(machine):
    machine.set("0", RANGE_UJ - 1_000_000)
    reader = machine.reader()
    machine.after(1, d0=RANGE_UJ - 400_000)
    machine.after(1, d0=2_000_000)
    assert reader.read_j() == pytest.approx(3.0, rel=1e-12)  # 1 J up to the end and 2 J after: rounding only
    machine.after(1, d0=2_500_000)
    assert reader.read_j() == pytest.approx(3.5, rel=1e-12)


def test_rapl_that_went_backwards_without_wrapping(machine):
    machine.set("0", 5_000_000)
    reader = machine.reader()
    machine.after(1, d0=4_000_000)
    assert reader.read_j() is None
    assert "backwards from 5000000 to 4000000" in str(reader.reason)


def test_rapl_left_unread_for_too_long(machine):
    reader = machine.reader()
    machine.after(300, d0=1_000_000)  # 262 kJ at 1 kW are 262 s
    assert reader.read_j() is None
    assert "may have wrapped unseen" in str(reader.reason)
    assert reader.read_j() is None


def test_rapl_that_cannot_be_read(machine, monkeypatch):
    def refuse(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(energy.Path, "read_text", refuse)
    reader = machine.reader()
    assert reader.read_j() is None
    assert "Permission denied" in str(reader.reason)


def test_rapl_that_stops_being_readable(machine):
    reader = machine.reader()
    (machine.root / "intel-rapl:1" / "energy_uj").unlink()
    assert reader.read_j() is None
    assert "stopped being readable" in str(reader.reason)


def test_no_rapl(tmp_path):
    reader = energy.Rapl(tmp_path / "absent")
    assert reader.read_j() is None
    assert "no RAPL counters" in str(reader.reason)


class FakeNvml(SimpleNamespace):
    """What pynvml offers, for GPUs whose counters give a recorded trace in mJ; an exception in it is raised."""

    def __init__(self, trace):
        super().__init__(trace=iter(trace), asked=[])

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        self.asked.append(index)
        return index

    nvmlDeviceGetHandleByUUID = nvmlDeviceGetHandleByIndex

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        value = next(self.trace)
        if isinstance(value, Exception):
            raise value
        return value


def test_nvml_counts_millijoules():
    reader = energy.Nvml(0, FakeNvml([1_234_567, 1_240_000]))
    assert [reader.read_j(), reader.read_j()] == [1234.567, 1240.0]
    assert (reader.method, reader.uncertainty, reader.reason) == ("measured:nvml", 0.05, None)


def test_nvml_that_fails_half_way():
    reader = energy.Nvml(0, FakeNvml([1000, RuntimeError("GPU is lost"), 3000]))
    assert [reader.read_j(), reader.read_j()] == [1.0, None]
    assert "GPU is lost" in str(reader.reason)
    assert reader.read_j() == 3.0


@pytest.mark.parametrize(("visible", "asked"), [(None, 1), ("3,2", 2), ("GPU-a,GPU-b", "GPU-b")])
def test_nvml_follows_the_visible_devices(visible, asked, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    library = FakeNvml([])
    energy.Nvml(1, library)
    assert library.asked == [asked]


@pytest.mark.parametrize(("failure", "says"), [(ImportError(), "[cuda] extra"), (OSError("no driver"), "no driver")])
def test_a_gpu_without_a_counter_has_unknown_joules(failure, says, monkeypatch):
    def fail():
        raise failure

    monkeypatch.setattr(energy, "_pynvml", fail)
    reader = energy.best(Device("cuda", "a GPU"))
    assert reader.method == "none"
    assert reader.read_j() is None
    assert says in reader.reason


def test_the_best_reader_of_a_cpu(machine, monkeypatch):
    reader = machine.reader()
    monkeypatch.setattr(energy, "Rapl", lambda: reader)
    assert energy.best(Device("cpu", "a CPU")).method == "measured:rapl"
    monkeypatch.setattr(energy, "Rapl", lambda: SimpleNamespace(reason="unreadable"))
    assert energy.best(Device("cpu", "a CPU")).method == "modelled:cpu_tdp_per_core"
    assert energy.best(Device("tpu", "a TPU")).read_j() is None


def test_the_modelled_cpu_draws_its_share_of_the_tdp():
    reader = energy.ModelledCpu(cpu_seconds=lambda: 8.0)
    assert reader.power_per_core_w == 350 / 56 == 6.25
    assert reader.read_j() == 50.0
    assert reader.uncertainty == 0.5


@pytest.mark.parametrize("name", catalogue.names())
def test_every_number_of_the_catalogue_has_a_source_and_a_year(name):
    entry = catalogue.load(name)
    for number, facts in entry.numbers.items():
        assert facts["source"].strip() and facts["year"] >= 1990, number
        assert isinstance(entry.value(number), int | float)


def test_what_is_not_in_the_catalogue_is_refused():
    with pytest.raises(catalogue.CatalogueError, match="did you mean generic_server_cpu"):
        catalogue.load("generic_server")
    with pytest.raises(catalogue.CatalogueError, match="has no idle_power_w"):
        catalogue.load("generic_server_cpu").value("idle_power_w")


def test_nothing_here_imports_a_framework():
    program = (
        "import sys, hardware, hardware.cost, hardware.devices, hardware.energy, hardware.meter, hardware.formulas;"
        "sys.exit(' '.join({'jax', 'torch', 'yaml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
