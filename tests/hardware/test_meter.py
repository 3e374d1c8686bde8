"""The meter's phases, with a stand-in for the energy counter, and the devices it measures."""

from __future__ import annotations

import time

import pytest

from hardware import devices
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
    assert meter.energy_reason == "the energy counter went backwards, from 10.000 J to 4.000 J"


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
