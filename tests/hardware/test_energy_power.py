"""Integrated power, and a counter checked against it: recorded traces, a clock and a thread that the test moves."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.energy import power
from hardware.energy.power import CrossChecked, PowerIntegral, update_period_s
from hardware.energy.reader import Reader


class ByHand:
    """In place of the thread: the test calls what the thread would."""

    def __init__(self, method, wait_s):
        self.method, self.alive = method, True

    def stop(self):
        self.alive = False


@pytest.fixture
def by_hand(monkeypatch):
    monkeypatch.setattr(power, "Poller", ByHand)


class Sensor:
    """A power sensor over a load `watts(t)`, which looks at the last `looks_s` of each `every_s`, and a clock."""

    def __init__(self, watts, every_s=0.1, looks_s=0.1):
        self.now, self.watts, self.every_s, self.looks_s = 0.0, watts, every_s, looks_s
        self.reads = 0

    def clock(self):
        return self.now

    def mean_w(self, start, end, points=50):
        return sum(self.watts(start + (end - start) * (i + 0.5) / points) for i in range(points)) / points

    def power_w(self):
        self.reads += 1
        update = int(self.now / self.every_s + 1e-9) * self.every_s
        return self.mean_w(update - self.looks_s, update)

    def reader(self, **options):
        return PowerIntegral(self.power_w, "measured:test", "a sensor", 0.05, clock=self.clock, **options)

    def run(self, reader, seconds):
        """Let time pass with the thread sampling as it asks to; joules over that time."""
        start, end = reader.read_j(), self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + reader._poller.method())
        return reader.read_j() - start


@given(st.lists(st.tuples(st.floats(0.001, 10), st.floats(1, 1000)), min_size=2, max_size=30))
def test_any_trace_is_integrated_by_the_trapezoid_rule(trace):
    samples = iter(trace)
    now = watts = 0.0

    def sample():
        nonlocal now, watts
        gap, watts = next(samples)
        now += gap
        return watts

    reader = PowerIntegral(sample, "measured:test", "", clock=lambda: now)
    readings = []
    for _ in trace:
        readings.append(reader._sample() and reader._joules)
    expected = sum((a[1] + b[1]) / 2 * b[0] for a, b in itertools.pairwise(trace))
    assert readings[0] == 0.0
    assert readings[-1] == pytest.approx(expected, rel=1e-9)  # sums of floats in another order


def test_a_steady_load_is_measured_exactly(by_hand):
    sensor = Sensor(lambda t: 250.0)
    reader = sensor.reader()
    assert sensor.run(reader, 10) == pytest.approx(2500, rel=1e-12)
    assert reader.uncertainty == pytest.approx(0.05)
    assert (reader.reason, reader.notes) == (None, ())


def test_a_changing_load_is_measured_within_its_uncertainty(by_hand):
    sensor = Sensor(lambda t: 100 + 40 * t)
    reader = sensor.reader()
    assert sensor.run(reader, 10) == pytest.approx(10 * 300, rel=0.02)  # the sensor lags by half an update: 2 W


@pytest.mark.parametrize("period_s", [0.02, 0.05, 0.1])
def test_the_period_of_a_recorded_sensor_is_found(period_s):
    """Read every 2 ms for a second; one update in ten repeats its value, and one reading is a spurious spike."""
    times = [0.002 * i for i in range(500)]
    updates = [int(t / period_s + 1e-9) for t in times]
    watts = [70.0 + (u - (u % 10 == 0)) % 13 for u in updates]
    watts[100] = 500.0
    assert update_period_s(times, watts) == pytest.approx(period_s, abs=0.002)  # a reading's distance


@pytest.mark.parametrize("watts", [[70.0] * 500, [70.0] * 250 + [80.0] * 250], ids=["never changes", "changes once"])
def test_a_sensor_that_hardly_changes_tells_no_period(watts):
    assert update_period_s([0.002 * i for i in range(500)], watts) == 0.1


@given(st.lists(st.floats(1, 500), min_size=2, max_size=50), st.floats(1e-6, 10))
def test_the_period_stays_within_bounds(watts, step):
    period = update_period_s([step * i for i in range(len(watts))], watts)
    assert power.BOUNDS_S[0] <= period <= power.BOUNDS_S[1]


@pytest.mark.parametrize("every_s", [0.03, 0.1])
def test_the_thread_settles_at_the_sensors_period(by_hand, every_s):
    sensor = Sensor(lambda t: 200 + 50 * (t * 7.3 % 1), every_s, every_s)
    reader = sensor.reader()
    sensor.run(reader, 3)
    assert reader.update_s == pytest.approx(every_s, abs=0.011)  # it was watched every 10 ms
    sensor.reads = 0
    sensor.run(reader, 10)
    assert sensor.reads == pytest.approx(10 / every_s, rel=0.4)


@pytest.mark.parametrize("load_s", [0.013, 0.07, 0.13, 0.3, 0.77, 3.0])
def test_trap_part_time_power_sampling(by_hand, load_s):
    """A100 and H100 look at 25 ms of each 100 ms: a load that switches between 100 and 400 W is half unseen.

    The error stays within what the reader says. At 0.3 s, three updates, it is 20%: more than the maker's 5%.
    """
    sensor = Sensor(lambda t: 400.0 if t % load_s < load_s / 2 else 100.0, looks_s=0.025)
    reader = sensor.reader(duty=0.25)
    measured = sensor.run(reader, 30)
    assert reader.uncertainty is not None
    assert abs(measured / (30 * 250) - 1) <= reader.uncertainty
    assert "looks at 25% of the time" in reader.notes[0]


def test_trap_part_time_power_sampling_in_step(by_hand):
    """What no sample can tell: the load repeats with the sensor, and only the note warns of the error of 60%."""
    sensor = Sensor(lambda t: 400.0 if t % 0.1 >= 0.05 else 100.0, looks_s=0.025)
    reader = sensor.reader(duty=0.25)
    assert sensor.run(reader, 30) == pytest.approx(30 * 400, rel=0.01)
    assert "in step" in reader.notes[0]


def test_a_sensor_that_raises_half_way_loses_that_reading_only(by_hand):
    trace = iter([100.0, 100.0, RuntimeError("GPU is lost"), 100.0])
    now = 0.0

    def sample():
        nonlocal now
        now += 0.1
        if isinstance(value := next(trace), Exception):
            raise value
        return value

    reader = PowerIntegral(sample, "measured:test", "", 0.05, clock=lambda: now)
    assert [reader.read_j() for _ in range(3)] == [0.0, pytest.approx(10), None]
    assert "GPU is lost" in str(reader.reason)
    assert reader.read_j() == pytest.approx(30)
    assert reader.reason is None


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan")])
def test_trap_missing_read_as_0_w(by_hand, watts):
    reader = PowerIntegral(lambda: watts, "measured:test", "")
    assert reader.read_j() is None
    assert "the power sensor cannot be read: it says" in str(reader.reason)


def test_time_without_samples_is_in_the_uncertainty(by_hand):
    """The process was held up for 3 of 13 s: what the device did then is not known."""
    sensor = Sensor(lambda t: 250.0)
    reader = sensor.reader()
    sensor.run(reader, 10)
    sensor.now += 3
    reader.read_j()
    assert reader.uncertainty == pytest.approx((0.05**2 + (3 / 13) ** 2) ** 0.5, rel=0.01)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "forgotten"])
def test_the_real_thread_samples_and_ends(closed):
    before = set(threading.enumerate())
    reader = PowerIntegral(lambda: 10.0, "measured:test", "", 0.05)
    start = reader.read_j()
    assert start == 0.0
    (thread,) = set(threading.enumerate()) - before
    began = time.monotonic()
    while reader._n < 3:
        time.sleep(0.001)
        assert time.monotonic() - began < 5
    if closed:
        reader.close()
    else:
        del reader
    thread.join(5)
    assert not thread.is_alive()


class Counter(Reader):
    method, uncertainty, update_s, covers = "measured:counter", 0.05, 0.1, "a counter"

    def __init__(self, sensor, factor):
        self.sensor, self.factor = sensor, factor

    def read_j(self):
        return 1e6 + self.factor * 100 * int(self.sensor.now * 10 + 1e-9) / 10


def checked(factor, seconds=20):
    """A counter that says `factor` times the joules of a steady 100 W, after some seconds beside its power."""
    sensor = Sensor(lambda t: 100.0)
    reader = CrossChecked(Counter(sensor, factor), sensor.reader(), sensor.clock)
    assert reader.read_j() == 1e6
    end = sensor.now + seconds
    while sensor.now < end:
        sensor.now += reader._poller.method()  # type: ignore[union-attr]
    reader._poller.method()  # type: ignore[union-attr]
    return reader


@pytest.mark.parametrize(
    ("factor", "flagged"), [(1.0, False), (1.04, False), (0.96, False), (1.07, True), (0.57, True)]
)
def test_trap_counter_against_integral(by_hand, factor, flagged):
    """0.57 is what was seen at idle: 187 J by the counter, 327 J by the power."""
    reader = checked(factor)
    assert bool(reader.notes) == flagged
    assert reader.uncertainty == pytest.approx(abs(factor - 1) if flagged else 0.05, rel=0.05)
    if flagged:
        assert "they differ by" in reader.notes[0]
    assert reader.read_j() == Counter(reader.counter.sensor, factor).read_j(), "the counter's joules are given as read"  # type: ignore[attr-defined]


def test_nothing_is_said_of_a_short_time(by_hand):
    assert checked(0.5, seconds=3).compared_j is None


def test_a_sensor_that_fails_leaves_the_counter_alone(by_hand):
    def fail():
        raise RuntimeError("No Permission")

    sensor = Sensor(lambda t: 100.0)
    reader = CrossChecked(Counter(sensor, 1.0), PowerIntegral(fail, "measured:test", ""), sensor.clock)
    assert reader.read_j() == 1e6
    reader._poller.method()  # type: ignore[union-attr]
    assert (reader.read_j(), reader.reason, reader.uncertainty, reader.notes) == (1e6, None, 0.05, ())


def test_closing_during_a_poll_leaves_no_thread() -> None:
    """The poll reads the power sensor, whose thread that would start again."""

    class Counter(Reader):
        method, uncertainty, update_s, covers = "measured:counter", 0.05, 0.1, "a counter"

        def read_j(self) -> float:
            return 1.0

    began, go_on = threading.Event(), threading.Event()

    def slow_sensor() -> float:
        began.set()
        go_on.wait(5)
        return 30.0

    power = PowerIntegral(slow_sensor, "measured:power", "")
    reader = CrossChecked(Counter(), power)
    polling = threading.Thread(target=reader._poll)
    polling.start()
    assert began.wait(5)
    reader.close()
    go_on.set()
    polling.join(5)
    assert power._poller is None or not power._poller.alive


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_child_process_is_not_stuck_on_a_lock_that_a_thread_held() -> None:
    power = PowerIntegral(lambda: 30.0, "measured:power", "")
    with power._lock:  # as the sampling thread holds it while the process forks
        child = os.fork()
        if child == 0:
            os._exit(0 if power._lock.acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
