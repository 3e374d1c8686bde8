"""The meter's phases, with a stand-in for the energy counter, and the devices it measures."""

from __future__ import annotations

import math
import random
import threading
import time

import pytest

from hardware import devices
from hardware.devices import Device
from hardware.energy import Idle, ModelledCpu, PowerIntegral
from hardware.meter import PHASES, Meter, MeterError


class Counter:
    """An energy counter that gives a recorded trace."""

    uncertainty = 0.1
    reason = None

    def __init__(self, *trace, method="measured:fake"):
        self.trace, self.method = iter(trace), method

    def read_j(self):
        return next(self.trace)


def test_phases_accumulate():
    meter = Meter(Counter(0.0, 5.0, 7.0, 10.0, 20.0, 21.5))
    for name in ("train", "train", "evaluate"):
        with meter.phase(name):
            time.sleep(0.01)
    assert [meter.reading(name).energy_j for name in ("train", "evaluate")] == [8.0, 1.5]
    assert list(meter.readings()) == ["train", "evaluate"]
    train, evaluate = meter.readings().values()
    assert train.seconds >= 0.02 > evaluate.seconds >= 0.01  # sleep never returns early; 10 ms are room for being late
    assert train.cpu_seconds < train.seconds
    assert (meter.energy_method, meter.energy_uncertainty, meter.energy_reason) == ("measured:fake", 0.1, None)


def test_an_open_phase_can_be_read():
    meter = Meter(Counter(0.0, 1.0, 3.0, 4.0, 6.0))
    with meter.phase("train"):
        first, second = meter.reading("train"), meter.reading("train")
    assert (first.energy_j, second.energy_j, meter.reading("train").energy_j) == (1.0, 3.0, 4.0)
    assert 0 < first.seconds < second.seconds < meter.reading("train").seconds


def test_a_phase_left_by_an_exception_is_closed_and_charged():
    meter = Meter(Counter(0.0, 2.0, 2.0, 5.0))
    with pytest.raises(ZeroDivisionError), meter.phase("train"):
        _ = 1 / 0
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j == 5.0


def test_phases_do_not_nest_and_must_be_known():
    meter = Meter()
    with meter.phase("train"):
        with pytest.raises(MeterError, match="evaluate was opened inside phase train"), meter.phase("evaluate"):
            pass
        assert meter.reading("train").seconds > 0
    with (
        pytest.raises(MeterError, match="training does not exist; the phases are data, compile"),
        meter.phase("training"),
    ):
        pass
    with pytest.raises(MeterError, match="does not exist"):
        meter.reading("training")


def test_unknown_joules_are_none_never_zero():
    meter = Meter()
    with meter.phase("train"):
        pass
    assert all(meter.reading(name).energy_j is None for name in PHASES)
    assert "no energy reader" in str(meter.energy_reason)


def test_one_missing_reading_makes_the_phase_unknown():
    meter = Meter(Counter(0.0, 1.0, 2.0, None, 5.0, 6.0, 7.0, 9.0))
    for name in ("train", "train", "train", "evaluate"):
        with meter.phase(name):
            pass
    assert meter.reading("train").energy_j is None
    assert meter.reading("evaluate").energy_j == 2.0
    assert "could not be read" in str(meter.energy_reason)


def test_a_counter_that_goes_backwards_is_no_reading():
    meter = Meter(Counter(10.0, 4.0))
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j is None
    assert meter.energy_reason == "phase train: the energy counter went backwards, from 10.000 J to 4.000 J"


def test_a_phase_shorter_than_the_counter_ticks_is_unknown():
    meter = Meter(Counter(10.0, 10.0, 10.0, 12.0))
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j is None
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j == 2.0


def test_the_device_is_waited_for():
    log = []
    meter = Meter(synchronise=lambda: log.append("wait"))
    with meter.phase("train"):
        log.append("work")
    with pytest.raises(ZeroDivisionError), meter.phase("train"):
        _ = 1 / 0
    assert log == ["wait", "work", "wait", "wait", "wait"]


def test_an_error_of_the_device_does_not_hide_the_first_one():
    answers = iter([None, RuntimeError("device lost")])

    def synchronise():
        if answer := next(answers):
            raise answer

    meter = Meter(synchronise=synchronise)
    with pytest.raises(ZeroDivisionError), meter.phase("train"):
        _ = 1 / 0


def test_two_meters_do_not_disturb_each_other():
    first, second = Meter(Counter(0.0, 9.0)), Meter(Counter(0.0, 4.0))
    with first.phase("train"), second.phase("tune"):
        pass
    assert (first.reading("train").energy_j, second.reading("tune").energy_j) == (9.0, 4.0)


def test_one_reader_serves_two_meters():
    counter = Counter(0.0, 1.0, 5.0, 6.0)
    first, second = Meter(counter), Meter(counter)
    with first.phase("train"), second.phase("train"):
        pass
    assert (first.reading("train").energy_j, second.reading("train").energy_j) == (6.0, 4.0)


def test_what_went_missing_inside_a_window_stays_missing():
    """The counter came back with a higher number, but may have started again in between."""
    meter = Meter(Counter(10.0, None, 30.0, 50.0, 51.0))
    with meter.phase("train"):
        assert meter.reading("train").energy_j is None
    assert meter.reading("train").energy_j is None
    with meter.phase("evaluate"):
        pass
    assert meter.reading("evaluate").energy_j == 1.0
    assert meter.energy_reason == "phase train: the energy counter could not be read"


def test_a_reader_that_raises_does_not_leave_the_phase_open():
    meter = Meter(Counter())  # its trace is empty
    with meter.phase("train"):
        pass
    with meter.phase("evaluate"):
        pass
    assert meter.reading("train").energy_j is None
    assert "the energy reader failed" in str(meter.energy_reason)


def test_a_synchronise_that_raises_leaves_no_phase_open():
    answers = iter([RuntimeError("device lost"), None, RuntimeError("device lost"), None, None])

    def synchronise():
        if answer := next(answers):
            raise answer

    meter = Meter(Counter(1.0, 2.0, 3.0, 5.0), synchronise)
    for _ in range(2):  # as it opens, and as it closes
        with pytest.raises(RuntimeError, match="device lost"), meter.phase("train"):
            pass
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j == 3.0


class Slow(Counter):
    """A counter that moves every 100 ms."""

    update_s, covers, notes = 0.1, "a thing", ("a note",)


class Clock:
    """In place of the module time: the test lets it pass."""

    now = 0.0

    def perf_counter(self):
        return self.now

    process_time = perf_counter

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("hardware.meter.time", made)
    return made


def test_trap_windows_too_short(clock):
    """Less than one update of the counter is not a reading; many windows of one are, with their uncertainty."""
    meter = Meter(Slow(0.0, 50.0, 50.0, 100.0))
    with meter.phase("train"):
        clock.sleep(0.05)
    assert meter.reading("train").energy_j is None
    assert "0.05 s are too short for a counter that is updated every 0.1 s" in str(meter.energy_reason)
    with meter.phase("train"):
        clock.sleep(0.15)
    found = meter.reading("train")
    assert (found.seconds, found.energy_j, found.windows, meter.energy_reason) == (pytest.approx(0.2), 100.0, 2, None)
    assert found.uncertainty == pytest.approx(math.hypot(0.1, math.sqrt(2) * 0.1 / 0.2))
    assert (meter.energy_notes, meter.energy_covers) == (("a note",), "a thing")


def test_many_short_windows_are_within_their_uncertainty(clock):
    """300 W by a counter of 100 ms in 50 windows of 0.05 to 0.5 s, 100 times over.

    Each end is off by up to a tick, evenly spread: √(windows)·tick is 2.4 standard deviations, so at least 95 of 100
    should lie within (98.6% are expected; fewer than 95 come once in 100 draws, and the draw is fixed).
    """
    rng = random.Random(0)

    class Ticking(Slow):
        uncertainty = 0.0

        def read_j(self):
            return 300.0 * math.floor(clock.now * 10) / 10

    within = 0
    for _ in range(100):
        meter = Meter(Ticking())
        for _ in range(50):
            clock.sleep(rng.uniform(0, 0.3))
            with meter.phase("train"):
                clock.sleep(rng.uniform(0.05, 0.5))
        found = meter.reading("train")
        assert found.energy_j is not None and found.uncertainty is not None
        within += abs(found.energy_j / (300 * found.seconds) - 1) <= found.uncertainty
    assert within >= 95


def test_trap_asynchronous_window_closed_early():
    """Work handed over inside a phase is charged to it, not to the next, because the device is waited for."""
    device = {"done_j": 0.0, "queued_j": 0.0}

    class Queue(Counter):
        def read_j(self):
            return device["done_j"]

    def finish():
        device["done_j"] += device["queued_j"]
        device["queued_j"] = 0.0

    def joules(synchronise):
        device.update(done_j=1.0, queued_j=0.0)
        meter = Meter(Queue(), synchronise)
        with meter.phase("train"):
            device["queued_j"] = 100.0
        with meter.phase("evaluate"):
            finish()
        return [meter.reading(name).energy_j for name in ("train", "evaluate")]

    assert joules(finish) == [100.0, None]
    assert joules(lambda: None) == [None, 100.0], "without waiting it goes to the wrong phase: the trap is real"


def test_trap_compile_evaluate_tune_outside_their_phase_or_counted_twice(clock):
    """Every joule and second is in exactly one phase, or, outside of any, in none."""

    class Steady(Counter):
        def read_j(self):
            return 10.0 * clock.now

    meter = Meter(Steady())
    for seconds, name in enumerate(("compile", "train", "evaluate", "train", "tune"), start=1):
        with meter.phase(name):
            clock.sleep(seconds)
        clock.sleep(100)
    used = {name: (r.seconds, r.energy_j, r.windows) for name, r in meter.readings().items()}
    assert used == {"compile": (1, 10, 1), "tune": (5, 50, 1), "train": (6, 60, 2), "evaluate": (3, 30, 1)}


@pytest.mark.parametrize("wrong", ["cpu", 3, Device("cpu", "a CPU")])
def test_a_meter_needs_a_reader(wrong):
    with pytest.raises(TypeError, match=r"Meter\(energy\) needs an energy reader; it was given .* make one") as raised:
        Meter(wrong)
    assert "\n" not in str(raised.value)
    assert Meter().energy_method == "none", "without any, joules are unknown"


def test_a_modelled_cpu_has_no_net_joules():
    meter = Meter(ModelledCpu())
    start = time.perf_counter()
    idle = meter.measure_idle(60)
    assert time.perf_counter() - start < 5, "a model is not waited for"
    assert idle == Idle(None, reason="the model leaves idle power out")
    with meter.phase("train"):
        sum(range(10**6))
    found = meter.reading("train")
    assert found.energy_j is not None and found.energy_j > 0
    assert (found.idle_j, found.net_energy_j, found.net_uncertainty) == (None, None, None)


def test_trap_idle_and_boundary(clock):
    """Net joules are gross less the idle power over the same seconds; without a baseline they are unknown."""
    meter = Meter(Slow(0.0, 200.0))
    with pytest.raises(MeterError, match="do it before"), meter.phase("train"):
        clock.sleep(2)
        meter.measure_idle(0.0)
    assert (meter.reading("train").energy_j, meter.reading("train").net_energy_j) == (200.0, None)
    baseline = Idle(50.0, 0.1, 5.0)
    meter = Meter(Slow(0.0, 300.0), idle=baseline)
    with meter.phase("train"):
        clock.sleep(2)
    found = meter.reading("train")
    assert (found.energy_j, found.idle_j, found.net_energy_j, meter.idle) == (300.0, 100.0, 200.0, baseline)
    gross = math.hypot(0.1, 0.1 / 2)
    assert found.uncertainty == gross
    assert found.net_uncertainty == pytest.approx(math.hypot(gross * 300, 0.1 * 100) / 200)


def test_the_idle_baseline_is_measured():
    meter = Meter(Slow(0.0, 1.0))
    idle = meter.measure_idle(0.11)
    assert idle.power_w == pytest.approx(1.0 / idle.seconds) and idle.seconds >= 0.11
    assert meter.idle == idle


def test_closing_a_meter_stops_its_reader():
    closed = []
    counter = Slow()
    counter.close = lambda: closed.append(True)  # type: ignore[attr-defined]
    Meter(counter).close()
    Meter(Counter()).close()  # a reader of four members has nothing to stop
    assert closed == [True]


def test_a_forgotten_meter_ends_its_reader():
    before = set(threading.enumerate())
    meter = Meter(PowerIntegral(lambda: 10.0, "measured:test", ""))
    with meter.phase("train"):
        (thread,) = set(threading.enumerate()) - before
    del meter
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("sampled", [False, True], ids=["model", "power sampled in a thread"])
def test_what_the_meter_costs(sampled):
    """A phase and a reading take 20 to 30 µs here: 1% of steps of 3 ms, and nothing of a chunk of half a second.

    The test allows 0.5 ms, 0.1% of a chunk, for machines that are slower or busy; the best of many tries counts.
    """
    meter = Meter(PowerIntegral(lambda: 10.0, "measured:test", "") if sampled else ModelledCpu())

    def seconds():
        start = time.perf_counter()
        with meter.phase("train"):
            pass
        meter.reading("train")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(200)) < 0.5e-3
    meter.close()


def test_peak_memory():
    before = Meter().peak_memory_bytes()
    block = bytearray(64 * 2**20)
    assert Meter(peak_of_device=lambda: 7).peak_memory_bytes().device == 7
    assert before.device is None
    assert 10 * 2**20 < before.host <= Meter().peak_memory_bytes().host  # no Python fits in 10 MiB
    del block


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_the_cpu_is_always_there(framework):
    device = devices.resolve("cpu", framework)
    assert device.kind == "cpu" and device.name and device.index == 0
    assert devices.resolve("auto", framework).kind in ("cpu", "cuda", "tpu")
    assert devices.peak_memory_bytes(device, framework) is None


@pytest.mark.parametrize(
    ("name", "framework", "says"),
    [
        ("tpu", "torch", "device=tpu: torch runs on cpu and cuda here; use backend=jax for a TPU"),
        ("cudda", "jax", "device=cudda: unknown; it must be one of auto, cpu, cuda, tpu; did you mean cuda?"),
        ("cpu:9", "jax", "device=cpu:9: only 1 cpu device(s) are visible here, numbered from 0"),
        ("cuda:one", "jax", "device=cuda:one: the index after the colon must be a whole number, as in cuda:1"),
        ("cpu", "tensorflow", "framework=tensorflow: unknown; it must be one of jax, torch"),
    ],
)
def test_absent_devices_are_refused_in_one_line(name, framework, says):
    with pytest.raises(devices.DeviceError) as error:
        devices.resolve(name, framework)
    assert str(error.value) == says


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_no_gpu_is_said_with_a_remedy(framework, monkeypatch):
    import jax
    import torch

    def refuse(*args):
        raise RuntimeError("Unknown backend")

    monkeypatch.setattr(jax, "devices", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(devices.DeviceError) as error:
        devices.resolve("cuda", framework)
    assert str(error.value) == (
        f"device=cuda: no NVIDIA GPU is visible to {framework} here; use device=cpu or install the [cuda] extra"
    )


def test_what_is_told_of_the_host():
    info = devices.host_info()
    assert info["cpu"] and 1 <= info["cores"] <= info["cores_of_machine"] and info["memory_bytes"] > 2**28
    # Nothing that names the host or its user.
    assert set(info) == {"cpu", "cores", "cores_of_machine", "memory_bytes", "platform", "python"}


def test_trap_a_counter_that_disagrees_is_told_by_the_meter() -> None:
    """187 J by the counter, 327 J by the power: the note and the uncertainty reach whoever reads the meter."""
    from hardware.energy.power import CrossChecked, PowerIntegral
    from hardware.energy.reader import Reader
    from hardware.meter import Meter

    class Counter(Reader):
        method, uncertainty, update_s, covers = "measured:counter", 0.05, 0.1, "a counter"
        joules = 0.0

        def read_j(self) -> float:
            return self.joules

    now, counter = [0.0], Counter()
    power = PowerIntegral(lambda: 32.7, "measured:power", "", clock=lambda: now[0])
    reader = CrossChecked(counter, power, lambda: now[0])
    try:
        reader._poll()
        for _ in range(10):
            now[0] += 1.0
            counter.joules += 18.7  # 10 s: 187 J
            reader._poll()
        meter = Meter(reader)
        with meter.phase("train"):
            counter.joules += 1.0
            threading.Event().wait(0.11)
        assert "and the integrated power 327 J: they differ by 43%" in meter.energy_notes[0]
        assert (meter.reading("train").uncertainty or 0) > 0.4
    finally:
        reader.close()


def test_a_second_meter_does_not_make_the_first_forget_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = [500]
    monkeypatch.setattr("hardware.meter._peak_resident_bytes", lambda: resident[0])
    first = Meter()
    resident[0] = 900
    second = Meter()  # the kernel's record starts anew here
    resident[0] = 100
    assert first.peak_memory_bytes().host == 900 and second.peak_memory_bytes().host == 100
