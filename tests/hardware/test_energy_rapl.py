"""RAPL against recorded traces: a folder in place of sysfs, and a clock that the test moves."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.energy import rapl
from hardware.energy.rapl import Rapl

RANGE_UJ = 262_143_328_850  # max_energy_range_uj of a Xeon package
RANGE_AMD_UJ = 65_532_610_987  # of an EPYC package: a counter of 32 bits in steps of 15.3 µJ

# Two Xeon packages, the first with its cores and DRAM, and the board.
XEON = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}
EPYC = {"0": "package-0", "0:0": "core"}

# (seconds since the last line, counter): 180 W, and a wrap between the third and the fourth line.
TRACE_WITH_A_WRAP = [(1, 261_600_000_000), (1, 261_780_000_000), (1, 261_960_000_000), (2, 176_671_150)]


class Machine:
    """A powercap folder whose counters and clock are moved by hand."""

    def __init__(self, root, domains=XEON, size=RANGE_UJ, nested=False):
        self.root, self.now, self.nested = Path(root), 0.0, nested
        for domain, name in domains.items():
            self.folder(domain).mkdir(parents=True)
            (self.folder(domain) / "name").write_text(f"{name}\n")
            (self.folder(domain) / "max_energy_range_uj").write_text(f"{size}\n")
            self.set(domain, 0)

    def folder(self, domain):
        parent = f"intel-rapl:{domain.split(':')[0]}" if self.nested and ":" in domain else "."
        return self.root / parent / f"intel-rapl:{domain}"

    def set(self, domain, microjoules):
        """As sysfs does, a reader sees the old number or the new one, never a part."""
        new = self.folder(domain) / "new"
        new.write_text(f"{microjoules}\n")
        new.rename(self.folder(domain) / "energy_uj")

    def reader(self, cpu="Intel Xeon"):
        return Rapl(self.root, lambda: self.now, cpu)

    def after(self, seconds, counters):
        self.now += seconds
        for domain, microjoules in counters.items():
            self.set(domain, microjoules)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("nested", [False, True], ids=["class folder", "mounted device folder"])
def test_packages_and_dram_are_summed_and_nothing_else(tmp_path, nested):
    machine = Machine(tmp_path, nested=nested)
    reader = machine.reader()
    machine.after(1, {"0": 2_000_000, "0:0": 1_500_000, "0:1": 500_000, "1": 3_000_000, "2": 9_000_000})
    assert reader.read_j() == 2 + 0.5 + 3
    assert (reader.method, reader.reason, reader.notes, reader.uncertainty) == ("measured:rapl", None, (), None)
    assert reader.covers == "all processor packages and their DRAM, other programs included"


def test_amd_has_no_dram_and_a_modelled_counter(tmp_path):
    machine = Machine(tmp_path, EPYC, RANGE_AMD_UJ)
    reader = machine.reader("AMD EPYC 7763 64-Core Processor")
    machine.after(1, {"0": 200_000_000, "0:0": 90_000_000})
    assert reader.read_j() == 200
    assert reader.covers == "all processor packages without DRAM, other programs included"
    assert reader.notes == ("AMD's counter is a model computed in the processor, not a measurement (arXiv 2108.00808)",)


def test_a_recorded_wrap(machine):
    machine.set("0", TRACE_WITH_A_WRAP[0][1])
    reader = machine.reader()
    for seconds, counter in TRACE_WITH_A_WRAP[1:]:
        machine.after(seconds, {"0": counter})
        joules = reader.read_j()
    assert joules == pytest.approx(4 * 180, rel=1e-9)  # the trace is whole µJ: rounding of the division only


@st.composite
def traces(draw):
    """(range, start, [(seconds, increment)]): a package of at most 1 kW, read before its counter can wrap twice."""
    size = draw(st.integers(10**7, 10**12))
    longest = size / 1e6 / rapl.MOST_POWER_W
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        seconds = draw(st.floats(0.01, 0.99)) * longest
        steps.append((seconds, int(draw(st.floats(0, 1)) * seconds * rapl.MOST_POWER_W * 1e6)))
    return size, draw(st.integers(0, size - 1)), steps


class Still:
    """In place of the thread, which would read between the clock and the counter that the test moves."""

    def __init__(self, *_):
        self.alive = True


@settings(max_examples=60, deadline=None)
@given(traces())
def test_any_increments_below_the_range_are_recovered_exactly(trace):
    size, start, steps = trace
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patched:
        patched.setattr(rapl, "Poller", Still)
        machine = Machine(root, EPYC, size)
        machine.set("0", start)
        reader = machine.reader()
        counted = itertools.accumulate(increment for _, increment in steps)
        for (seconds, _), total in zip(steps, counted, strict=True):
            machine.after(seconds, {"0": (start + total) % size})
            assert reader.read_j() == total / 1e6


def test_a_counter_that_went_backwards_without_wrapping(machine):
    machine.set("0", 5_000_000)
    reader = machine.reader()
    machine.after(1, {"0": 4_000_000})
    assert reader.read_j() is None
    assert "backwards from 5000000 to 4000000" in str(reader.reason)


def test_a_counter_left_unread_for_too_long(machine):
    reader = machine.reader()
    machine.after(300, {"0": 1_000_000})  # 262 kJ at 1 kW are 262 s
    assert reader.read_j() is None
    assert "may have wrapped unseen" in str(reader.reason)
    assert reader.read_j() is None


@pytest.mark.parametrize("size", [RANGE_UJ, RANGE_AMD_UJ])
def test_the_thread_reads_well_within_a_wrap(tmp_path, size):
    reader = Machine(tmp_path, EPYC, size).reader()
    assert reader.poll_s <= size / 1e6 / rapl.MOST_POWER_W / 4


def left_unread(root, steps=12, step_uj=40_000_000):
    """Joules of a counter of 200 J, which wraps in 0.2 s at 1 kW, that nobody but the thread reads for 480 J."""
    machine = Machine(root, EPYC, 200_000_000)
    reader = Rapl(root, cpu="AMD")
    assert reader.read_j() == 0
    for step in range(1, steps + 1):
        machine.set("0", step * step_uj % 200_000_000)
        began = time.monotonic()
        while reader._total_uj < step * step_uj and reader.reason is None:
            time.sleep(0.001)
            assert time.monotonic() - began < 5, "the thread does not read"
    reader.close()
    return reader._total_uj / 1e6 if reader.reason is None else None


def test_a_meter_may_leave_the_counter_unread_for_many_wraps(tmp_path):
    for attempt in range(5):  # a machine that holds the thread up for 0.2 s makes the joules unknown: try again
        (tmp_path / str(attempt)).mkdir()
        if (joules := left_unread(tmp_path / str(attempt))) is not None:
            break
    assert joules == 480


def test_the_thread_ends_with_its_reader(machine):
    before = set(threading.enumerate())
    reader = machine.reader()
    assert not set(threading.enumerate()) - before, "no thread before somebody reads"
    reader.read_j()
    (thread,) = set(threading.enumerate()) - before
    reader.read_j()
    assert set(threading.enumerate()) - before == {thread}
    reader.close()
    thread.join(5)
    assert not thread.is_alive()
    reader.read_j()
    (thread,) = set(threading.enumerate()) - before
    del reader
    thread.join(5)
    assert not thread.is_alive()


def test_no_privilege_is_one_line_that_says_what_to_do(machine, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:  # as after a boot: the names may be read, the counters may not
        patched.setattr(rapl.os, "open", refuse)
        reader = machine.reader()
    assert reader.read_j() is None
    assert reader.reason == (
        f"RAPL counters under {machine.root} may be read by root only: run as root, or once after each boot "
        f"(a udev rule can do it): sudo chmod a+r {machine.root}/intel-rapl:*/energy_uj"
    )


def test_a_counter_that_stops_being_readable(machine):
    reader = machine.reader()
    (machine.folder("1") / "energy_uj").unlink()
    assert reader.read_j() is None
    assert "stopped being readable" in str(reader.reason)


def test_a_file_that_holds_no_number(machine):
    machine.set("1", "<not counted>")
    assert "cannot be read" in str(machine.reader().reason)


def test_no_counters_is_told_with_the_way_out_of_a_container(tmp_path):
    reader = Rapl(tmp_path / "absent")
    assert reader.read_j() is None
    assert all(word in str(reader.reason) for word in ("no RAPL counters", "intel_rapl_msr", "POWERCAP_ROOT"))


def test_a_container_names_another_folder(machine, monkeypatch):
    monkeypatch.setenv("POWERCAP_ROOT", str(machine.root))
    assert Rapl(cpu="Intel").read_j() == 0


def test_two_readers_at_once(machine):
    first = machine.reader()
    machine.after(1, {"0": 1_000_000})
    second = machine.reader()
    machine.after(1, {"0": 3_000_000})
    assert (first.read_j(), second.read_j()) == (3, 2)
