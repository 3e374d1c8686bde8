"""Windows of repeated calls and the idle baseline: counters that move in steps, on a clock that the test moves."""

from __future__ import annotations

import math
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import energy
from hardware.energy.reader import Reader
from hardware.energy.window import Idle, measure, measure_idle, net, relative_uncertainty, wait_for


class Device(Reader):
    """A device of 100 W, and 40 W idle, whose counter moves every 100 ms, and a clock.

    Work is handed over at once and done later: `call` takes 1 ms of the program's time and `work_s` of the device's.
    """

    method, uncertainty, update_s = "measured:test", 0.05, 0.1
    BUSY_W, IDLE_W = 100.0, 40.0

    def __init__(self, work_s=0.02, start=0.0):
        self.now, self.work_s, self.done_at, self.busy_s = start, work_s, start, 0.0
        self.start, self.calls, self.waits = start, 0, 0

    def call(self):
        self.calls += 1
        self.now += 0.001
        self.done_at = max(self.done_at, self.now) + self.work_s
        self.busy_s += self.work_s
        return self

    def block_until_ready(self):
        self.waits += 1
        self.now = max(self.now, self.done_at)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def read_j(self):
        seen = math.floor((self.now + 1e-9) / self.update_s) * self.update_s - self.start
        busy = max(0.0, self.busy_s - max(0.0, self.done_at - self.now))
        return 1000 + self.IDLE_W * seen + (self.BUSY_W - self.IDLE_W) * min(busy, max(seen, 0.0))


@pytest.mark.parametrize("work_s", [0.0005, 0.02, 0.5, 20.0])
def test_a_call_is_measured_by_repetition(work_s):
    """A call of the device takes `work_s`, or 1 ms where handing it over takes longer."""
    device = Device(work_s)
    found = measure(device.call, device, clock=device.clock)
    busy = max(work_s, 0.001)
    assert found.seconds == pytest.approx(busy, rel=0.05, abs=2e-3 / found.calls)
    assert found.window_s >= 5.0 and found.calls == device.calls - 1, "the first call may compile"
    watts = 100 if work_s > 0.001 else 70  # busy half of the time
    assert found.uncertainty is not None and found.energy_j is not None
    assert found.energy_j == pytest.approx(watts * found.seconds, rel=found.uncertainty)
    assert found.uncertainty == pytest.approx(math.hypot(0.05, 0.1 / found.window_s))
    assert (found.method, found.reason) == ("measured:test", None)


def test_trap_asynchronous_window_closed_early():
    """Work handed over in 1 ms a call takes 20 ms: without waiting the window would close with most of it undone."""
    device, blind = Device(), Device()
    waited = measure(device.call, device, clock=device.clock)
    early = measure(blind.call, blind, clock=blind.clock, synchronise=lambda: None)
    assert waited.seconds == pytest.approx(0.02, rel=0.01)
    assert early.seconds == pytest.approx(0.001, rel=0.1), "the stand-in is as asynchronous as the trap needs"
    assert device.done_at <= device.now and blind.done_at > blind.now + 50


def test_the_device_is_waited_for_often():
    """A queue of the whole window's calls would take 20 times as long as the window."""
    device = Device()
    assert measure(device.call, device, clock=device.clock).window_s < 6
    assert device.waits > 10


@settings(max_examples=30)
@given(st.floats(0, 0.1), st.floats(0.001, 0.09))
def test_trap_windows_too_short(start, seconds):
    """A counter of 100 ms says nothing of less: no joules rather than 0 or a whole tick."""
    device = Device(seconds, start)
    found = measure(device.call, device, clock=device.clock, min_seconds=0, min_readings=0)
    assert (found.energy_j, found.net_energy_j, found.uncertainty) == (None, None, None)
    assert "too short for a counter that is updated every 0.1 s" in str(found.reason)


@given(st.floats(0, 0.1), st.integers(1, 100))
def test_the_quantisation_of_a_window_is_within_its_uncertainty(start, updates):
    """Wherever in a tick a window begins. The device works all the time."""
    device = Device(work_s=0.1 * updates, start=start)
    device.uncertainty = 0.0
    found = measure(device.call, device, clock=device.clock, min_seconds=0, min_readings=updates)
    assert found.energy_j is not None and found.uncertainty is not None
    assert abs(found.energy_j / (100 * found.seconds) - 1) <= found.uncertainty + 0.01  # 1 ms of handing over is idle
    assert found.uncertainty <= 1 / updates + 1e-9


def test_a_slower_counter_gets_a_longer_window():
    device = Device()
    device.update_s = 1.0
    assert measure(device.call, device, clock=device.clock).window_s >= 50


def test_idle_power_is_measured_and_taken_off():
    device = Device()
    idle = measure_idle(device, 5.0, device.sleep, device.clock)
    assert idle.power_w == pytest.approx(40, rel=0.02)
    assert idle.uncertainty == pytest.approx(math.hypot(0.05, 0.1 / 5))
    found = measure(device.call, device, clock=device.clock, idle=idle)
    assert found.energy_j is not None and found.net_energy_j is not None and found.net_uncertainty is not None
    assert found.net_energy_j == pytest.approx((100 - 40) * found.seconds, rel=found.net_uncertainty)
    assert found.net_uncertainty > (found.uncertainty or 0), "a difference is less certain than what it is made of"


def test_net_joules():
    gross, idle_j = 100.0, 30.0
    found = net(gross, 0.05, 3.0, Idle(10.0, 0.1))
    assert found == (idle_j, 70.0, pytest.approx(math.hypot(0.05 * gross, 0.1 * idle_j) / 70))
    assert net(gross, None, 3.0, Idle(10.0, 0.1)) == (idle_j, 70.0, None)
    assert net(gross, 0.05, 3.0, Idle(None)) == net(None, None, 3.0, Idle(10.0)) == net(gross, 0.05, 3.0, None)
    assert net(gross, 0.05, 3.0, None) == (None, None, None)


def test_the_uncertainty_of_many_windows():
    """Their ends are independent: 100 windows of 0.5 s are read like one of 5 s."""
    device = Device()
    one, many = relative_uncertainty(device, 5.0), relative_uncertainty(device, 50.0, windows=100)
    assert one == many == math.hypot(0.05, 0.02)
    device.uncertainty = None
    assert relative_uncertainty(device, 5.0) is None, "nobody states one"


class Traced(Reader):
    """A counter that gives a recorded trace."""

    uncertainty = 0.05

    def __init__(self, *trace, method="measured:test"):
        self.trace, self.method = iter(trace), method

    def read_j(self):
        return next(self.trace)


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        ((5.0, 5.0), "did not move in"),
        ((5.0, 4.0), "went backwards, from 5.000 J to 4.000 J"),
        ((None, 4.0), "could not be read"),
        ((5.0, None), "could not be read"),
    ],
)
def test_trap_missing_read_as_0_j(trace, says):
    found = measure(lambda: None, Traced(*trace), min_seconds=0.001)
    assert found.energy_j is None and says in str(found.reason) and found.seconds > 0
    idle = measure_idle(Traced(*trace), 0.001)
    assert idle.power_w is None and says in str(idle.reason)
    assert measure_idle(energy.Unmeasured("no counter here")).reason == "no counter here"


def test_a_model_that_charges_nothing_charges_nothing():
    """0 J is a fault of a counter, but a result of a model: the process may have slept."""
    assert measure(lambda: None, Traced(5.0, 5.0, method="modelled:cpu"), min_seconds=0.001).energy_j == 0


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_a_window_must_be_a_finite_number_that_is_not_negative(wrong):
    """An infinite window would never close, and one of -1 s is a mistake: both are told before anything runs."""
    for name in ("min_seconds", "min_readings"):
        with pytest.raises(ValueError, match=f"{name}={wrong}: it must be a finite number and at least 0"):
            measure(pytest.fail, Traced(1.0, 2.0), **{name: wrong})
    with pytest.raises(ValueError, match=f"seconds={wrong}: it must"):
        measure_idle(Traced(1.0, 2.0), wrong)


def test_an_error_of_the_function_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0, Traced(1.0, 2.0))


def test_a_real_function_on_the_modelled_cpu():
    """Charged is the processor time inside the window: at most all of it, and most of it, as the loop only works."""
    reader, cpu = energy.ModelledCpu(), time.process_time()
    found = measure(lambda: sum(range(20_000)), reader, min_seconds=0.2)
    cpu = time.process_time() - cpu
    assert found.energy_j is not None and found.window_s >= 0.2
    assert 0.8 * reader.power_per_core_w * cpu <= found.energy_j * found.calls <= reader.power_per_core_w * cpu


def test_what_is_waited_for(monkeypatch):
    log = []
    array = SimpleNamespace(block_until_ready=lambda: log.append("jax"))
    tensor = SimpleNamespace(is_cuda=True, device="cuda:1")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(synchronize=log.append)))
    wait_for([array, {"loss": (tensor, 1.0)}, None])
    assert log == ["jax", "cuda:1"]


def test_trap_asynchronous_window_waits_for_arrays_inside_any_tree() -> None:
    """A dataclass that holds the array: else calls are issued for as long as the window lasts, and none has ended."""
    import dataclasses

    import jax
    import jax.numpy as jnp

    waited: list[str] = []

    class Slow:
        def __init__(self, name: str) -> None:
            self.name = name

        def block_until_ready(self) -> None:
            waited.append(self.name)

    @dataclasses.dataclass
    class Plain:
        x: Any
        y: Any

    @jax.tree_util.register_pytree_node_class
    class Tree:
        def __init__(self, leaf: Any) -> None:
            self.leaf = leaf

        def tree_flatten(self) -> Any:
            return (self.leaf,), None

        @classmethod
        def tree_unflatten(cls, aux: Any, leaves: Any) -> Any:
            return cls(*leaves)

    wait_for({"a": [Plain(Slow("x"), (Slow("y"),))], "b": Tree(Slow("z")), "c": None, "d": 1.0, "e": jnp.ones(2)})
    assert waited == ["x", "y", "z"]
