"""The choice of an energy reader, what it says of itself, and that nothing of it outlives the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from hardware import catalogue, energy
from hardware.catalogue import CatalogueError, Entry, Number
from hardware.devices import Device
from hardware.energy import choose, findings
from hardware.energy.reader import Reader, total

CPU = Device("cpu", "a CPU")


class Fixed(Reader):
    """A counter that always says the same."""

    def __init__(self, joules, method="measured:fake", uncertainty: float | None = 0.1, reason=None):
        self.joules, self.method, self.uncertainty, self.reason = joules, method, uncertainty, reason
        self.covers, self.notes, self.update_s, self.closed = "a thing", ("a note",), 0.2, False

    def read_j(self):
        return self.joules

    def close(self):
        self.closed = True


def test_the_best_reader_of_a_cpu(monkeypatch):
    rapl = Fixed(5.0, "measured:rapl")
    monkeypatch.setattr(choose, "Rapl", lambda: rapl)
    assert energy.best(CPU) is rapl
    monkeypatch.setattr(choose, "Rapl", lambda: Fixed(None, reason="unreadable"))
    monkeypatch.setattr(choose.platform, "system", lambda: "Linux")
    assert energy.best(CPU).method == "modelled:cpu_tdp_per_core"
    monkeypatch.setattr(choose.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(choose.through_zeus, "apple", lambda: Fixed(7.0, "measured:apple"))
    assert energy.best(CPU).method == "measured:apple"
    monkeypatch.setattr(choose.through_zeus, "apple", lambda: energy.Unmeasured("no zeus"))
    assert energy.best(CPU).method == "modelled:cpu_tdp_per_core"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: energy.best("cpu"), r"must be a Device; it is 'cpu' \(str\): resolve_device\(\"cpu\"\) finds one"),  # type: ignore
        (lambda: energy.best(None), r"it is None \(NoneType\): resolve_device\(\"auto\"\)"),  # type: ignore
        (lambda: energy.best([CPU, "cuda:1"]), r"it is 'cuda:1' .*resolve_device\(\"cuda:1\"\)"),  # type: ignore
        (lambda: energy.describe("cpu"), "must be a Device"),  # type: ignore
        (lambda: energy.verdict("cpu"), "must be a Device"),  # type: ignore
        (lambda: energy.measure(lambda: None, "cpu"), r"measure\(function, reader\) needs an energy reader; .* 'cpu'"),  # type: ignore
        (lambda: energy.measure(3, energy.ModelledCpu()), r"function must be callable; it is 3 \(int\)"),  # type: ignore
        (lambda: energy.measure_idle(CPU), r"measure_idle\(reader\) needs an energy reader.*best_energy_reader\("),  # type: ignore
    ],
)
def test_arguments_of_another_type_are_refused_in_one_line(call, says):
    with pytest.raises(TypeError, match=says) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_processors_of_one_machine_are_read_once(monkeypatch):
    monkeypatch.setattr(choose, "Rapl", lambda: Fixed(5.0, "measured:rapl"))
    assert energy.best([Device("cpu", "a CPU", index) for index in range(4)]).read_j() == 5.0


def test_the_modelled_cpu_draws_its_share_of_the_tdp():
    reader = energy.ModelledCpu(cpu_seconds=lambda: 8.0)
    known = catalogue.load("generic_server_cpu")
    assert reader.read_j() == 8.0 * known.value("tdp_w") / known.value("cores")
    assert reader.uncertainty == known.value("uncertainty")
    assert energy.measure_idle(reader, 1e9) == energy.Idle(None, reason="the model leaves idle power out")


def test_trap_missing_idle_power_read_as_0_w():
    """What a model leaves out is not known: no net joules, and none that equal the gross ones."""
    now = iter(range(0, 1000, 5))
    reader = energy.ModelledCpu(cpu_seconds=lambda: float(next(now)))
    both = energy.Sum([reader, energy.ModelledDevice(device_entry(busy_w=number(170), idle_w=number(90)))])
    assert energy.measure_idle(both).reason == "the model leaves idle power out"
    found = energy.measure(lambda: None, reader, idle=energy.measure_idle(reader), min_seconds=0)
    assert found.energy_j is not None and found.energy_j > 0
    assert (found.net_energy_j, found.net_uncertainty) == (None, None)


def number(value, low=None, high=None):
    return Number(value, 2021, "a paper", "measured", None, low, high)


def device_entry(**numbers):
    return Entry("tpu_vx", "tpu", "A chip.", numbers)


@pytest.mark.parametrize(
    ("numbers", "power_w", "uncertainty", "method"),
    [
        # TPU v4: 170 W on average, 90 to 192 W seen; the average stands further from the least.
        ({"busy_w": number(170, 90, 192), "tdp_w": number(300)}, 170, 80 / 170, "modelled:tpu_vx_busy_w"),
        ({"busy_w": number(170), "uncertainty": number(0.4)}, 170, 0.4, "modelled:tpu_vx_busy_w"),
        ({"busy_w": number(170)}, 170, None, "modelled:tpu_vx_busy_w"),
        # 0.7 of the TDP, from 0.3 to 1 of it.
        ({"tdp_w": number(200)}, 140, 0.4 / 0.7, "modelled:tpu_vx_tdp_w"),
    ],
)
def test_a_modelled_device_is_busy_seconds_times_power(numbers, power_w, uncertainty, method):
    busy = iter([10.0, 12.5])
    reader = energy.ModelledDevice(device_entry(**numbers), lambda: next(busy))
    start = reader.read_j()
    assert reader.read_j() == pytest.approx(start + 2.5 * power_w)
    assert reader.uncertainty == (None if uncertainty is None else pytest.approx(uncertainty))
    assert reader.method == method


def test_a_device_of_unknown_power_is_not_modelled():
    with pytest.raises(CatalogueError, match="nobody has published a power for tpu_vx"):
        energy.ModelledDevice(device_entry(idle_w=number(50)))


def test_the_idle_power_of_a_model_is_the_catalogues():
    known = energy.ModelledDevice(device_entry(busy_w=number(170), idle_w=number(90)))
    assert energy.measure_idle(known).power_w == 90
    unknown = energy.measure_idle(energy.ModelledDevice(device_entry(busy_w=number(170))))
    assert (unknown.power_w, unknown.reason) == (None, "nobody has published the idle power of this device")


@pytest.fixture
def known_tpu(monkeypatch):
    made = device_entry(busy_w=number(170, 90, 192), devices_per_chip=number(2))
    monkeypatch.setattr(catalogue, "match", lambda name: made if "TPU" in name else None)


@pytest.mark.usefixtures("known_tpu")
def test_a_tpu_is_modelled_and_says_so():
    reader = energy.best(Device("tpu", "TPU v4"))
    assert reader.method == "modelled:tpu_vx_busy_w"
    assert reader.notes == ("TPUs have no public power counter",)
    said = energy.verdict(Device("tpu", "TPU v4"))
    assert "are modelled (tpu_vx_busy_w; ± 47%)" in said and "must not be ranked against measured" in said


@pytest.mark.usefixtures("known_tpu")
def test_trap_per_device_against_global():
    """Two devices of JAX on one chip draw its power once; three are two chips."""

    def power_of(n):
        reader = energy.best([Device("tpu", "TPU v3", index) for index in range(n)])
        return sum(part.power_w for part in reader.parts)  # type: ignore[attr-defined]

    assert [power_of(n) for n in (1, 2, 3, 4)] == [170, 170, 340, 340]


@pytest.mark.usefixtures("known_tpu")
def test_a_device_that_nobody_knows_is_unknown_never_the_cpus():
    reader = energy.best(Device("tpu", "an unheard-of chip"))
    assert (reader.method, reader.read_j()) == ("none", None)
    assert "the catalogue does not know an unheard-of chip" in str(reader.reason)
    assert energy.verdict(Device("tpu", "an unheard-of chip")).startswith("Joules on an unheard-of chip are unknown")


def test_trap_modelled_ranked_against_measured():
    """A sum is measured only when all of it is."""
    measured, model, unknown = Fixed(1.0), Fixed(2.0, "modelled:m", 0.5), energy.Unmeasured("no counter")
    assert energy.Sum([measured, measured]).method == "measured:fake"
    assert energy.Sum([measured, model]).method == "modelled:fake+m"
    assert energy.Sum([measured, unknown]).method == "none"


def test_trap_missing_read_as_0_j():
    assert total([1.0, None]) is None
    assert total([]) == 0
    assert energy.Unmeasured("no counter").read_j() is None
    with pytest.raises(ValueError, match="at least one reader"):
        energy.Sum([])


def test_a_sum_speaks_for_its_parts():
    parts = [Fixed(1.0), Fixed(2.0, uncertainty=0.3)]
    both = energy.Sum(parts)
    assert both.read_j() == 3.0
    assert (both.uncertainty, both.update_s, both.notes, both.covers) == (0.3, 0.2, ("a note",), "2 × a thing")
    assert energy.Sum([Fixed(1.0), Fixed(1.0, uncertainty=None)]).uncertainty is None
    both.close()
    assert all(part.closed for part in parts)


def test_trap_idle_and_boundary():
    """Joules of a GPU alone and of a whole node are not comparable: every reader says what it covers."""
    readers = [energy.Nvml(0, object()), energy.ModelledCpu(), energy.ModelledDevice(device_entry(tdp_w=number(1)))]
    assert all("without" in reader.covers for reader in readers)
    assert "They cover a thing." in energy.verdict(CPU, Fixed(1.0))


def test_what_check_says_of_a_cpu(monkeypatch):
    trace = iter([5.0, 6.0])
    monkeypatch.setattr(findings, "Rapl", lambda: type("Moving", (Fixed,), {"read_j": lambda self: next(trace)})(0))
    found = {f.name: f for f in energy.describe(CPU, sleep=lambda _: None)}
    assert found["processor counters (RAPL)"].status == "works"
    assert found["model from the catalogue"].status == "works"
    assert found["NVIDIA energy counter"].status == "not for this device"
    stuck = Fixed(5.0)
    monkeypatch.setattr(findings, "Rapl", lambda: stuck)
    rapl = next(f for f in energy.describe(CPU, sleep=lambda _: None) if "RAPL" in f.name)
    assert str(rapl) == "processor counters (RAPL): does not work (the counter does not move in 0.3 s)"
    assert stuck.closed


@pytest.mark.usefixtures("known_tpu")
def test_what_check_says_of_an_accelerator():
    model = energy.describe(Device("tpu", "TPU v4"))[-1]
    assert (model.status, model.advice) == ("works", "modelled:tpu_vx_busy_w")
    model = energy.describe(Device("tpu", "an unheard-of chip"))[-1]
    assert model.status == "does not work" and "no power for an unheard-of chip" in str(model.advice)


def test_nothing_here_imports_a_framework():
    program = (
        "import sys, hardware, hardware.cost, hardware.devices, hardware.energy, hardware.meter, hardware.formulas;"
        "sys.exit(' '.join({'jax', 'torch', 'yaml', 'pynvml', 'zeus', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "1 / 0"], ids=["end", "exit", "error"])
def test_threads_neither_warn_nor_hang_at_exit(end):
    """Readers that sample, a phase left open, and one read for the first time as all is torn down."""
    program = f"""
        import tempfile, pathlib
        from hardware.energy import PowerIntegral, Rapl
        from hardware.meter import Meter
        root = pathlib.Path(tempfile.mkdtemp()) / "intel-rapl:0"
        root.mkdir()
        for name, text in dict(name="package-0", max_energy_range_uj=10**10, energy_uj=1).items():
            (root / name).write_text(str(text))
        rapl, power = Rapl(root.parent, cpu="AMD"), PowerIntegral(lambda: 1.0, "measured:x", "")
        assert rapl.read_j() == 0 and power.read_j() == 0
        phase = Meter(power).phase("train")
        phase.__enter__()
        class Last:
            reader = PowerIntegral(lambda: 1.0, "measured:y", "")
            def __del__(self):
                self.reader.read_j()  # would start a thread that never runs
        last = Last()
        {end}
    """
    run = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=30)
    assert done.returncode == {"": 0, "raise SystemExit(3)": 3, "1 / 0": 1}[end], done.stderr
    complaints = [line for line in done.stderr.splitlines() if line and "Zero" not in line and not line.startswith(" ")]
    assert complaints in ([], ["Traceback (most recent call last):"])
