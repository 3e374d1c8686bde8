"""Calibration: fits find planted prices, turns cancel drift, files are checked, a real one gives positive numbers."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.calibrate import Calibration, CalibrationError, HeldOut, calibrate, measure_jax
from hardware.calibrate.fit import EnergyFit, FitError, fit_energy, in_turns, price_at, prices
from hardware.catalogue import Entry, Number
from hardware.cost import Cost
from hardware.energy import Unmeasured
from hardware.projection import ProjectionError, project

CPU = Entry("a_cpu", "cpu", "a stand-in", {"price_usd_per_hour": Number(3.6, 2026, "a stand-in", "estimate")})
MADE = Calibration(
    device="a processor",
    kind="cpu",
    date="2026-11-22",
    versions={"jax": "0"},
    seconds=10.0,
    rounds=5,
    prices={
        "matmul float32": ((1e4, 2e-11), (1e6, 1e-11)),
        "elementwise float32": ((1e4, 2e-10), (1e6, 1e-10)),
        "transcendental float32": ((1e4, 1e-9),),
        "bytes": ((1e4, 1e-11), (1e8, 4e-11)),
    },
    peaks={"matmul float32": 1e11, "bytes, main memory": 2.5e10},
    launch_s=1e-7,
    call_s=5e-6,
    fit_residual=0.05,
    aa_spread=0.01,
    held_out=(HeldOut("one", 1.0, 0.8), HeldOut("two", 1.0, 1.25), HeldOut("three", 2.0, 2.0)),
)
WORK = Cost(3000, 0, frozenset(), (("elementwise", "float32", 1000), ("matmul", "float32", 2000)), 10, 10**7, 10**5)


# ---- the fits ----

LAW = settings(deadline=None)  # a deadline would measure what else runs on these cores
SWEEP = [(k * n, 12.0 * n) for n in (1e4, 1e6) for k in (1, 2, 8, 32, 128)]  # (flop, bytes)
planted = st.floats(1e-13, 1e-9)


def seconds_of(flop: float, moved: float) -> float:
    """A roofline, so that time is not a sum of flop and bytes and π0 can be told apart."""
    return max(flop / 5e10, moved / 2e10)


@LAW
@given(planted, planted, st.floats(0.1, 300))
def test_the_energy_fit_finds_planted_prices_from_noiseless_data(flop_j: float, byte_j: float, power_w: float) -> None:
    flop, moved = zip(*SWEEP, strict=True)
    seconds = [seconds_of(w, q) for w, q in SWEEP]
    joules = [w * flop_j + q * byte_j + power_w * t for w, q, t in zip(flop, moved, seconds, strict=True)]
    fit = fit_energy(flop, moved, seconds, joules)
    # Double precision times the condition of the problem: prices whose share of the energy is tiny are less certain.
    for found, true, unit in (
        (fit.energy_j_per_flop, flop_j, flop),
        (fit.energy_j_per_byte, byte_j, moved),
        (fit.constant_power_w, power_w, seconds),
    ):
        largest_share = max(true * u / j for u, j in zip(unit, joules, strict=True))
        assert found == pytest.approx(true, rel=1e-9 / largest_share)
    assert fit.residual < 1e-9


def test_the_energy_fit_finds_planted_prices_from_noisy_data() -> None:
    """2% noise on 40 readings, each price at least a quarter of the energy somewhere: 10% is some 6 standard errors."""
    rng = np.random.default_rng(0)
    sweep = SWEEP * 4
    seconds = np.array([seconds_of(w, q) for w, q in sweep])
    flop, moved = np.array(sweep).T
    joules = (flop * 4e-10 + moved * 1e-9 + 5.0 * seconds) * (1 + 0.02 * rng.standard_normal(len(sweep)))
    fit = fit_energy(flop.tolist(), moved.tolist(), seconds.tolist(), joules.tolist())
    assert fit.energy_j_per_flop == pytest.approx(4e-10, rel=0.1)
    assert fit.energy_j_per_byte == pytest.approx(1e-9, rel=0.1)
    assert fit.constant_power_w == pytest.approx(5.0, rel=0.2)  # time goes with flop or bytes, so it is told less well
    assert 0 < fit.residual < 0.04


def test_prices_are_never_negative_and_refuse_too_little() -> None:
    found, _ = prices([[1, 1], [1, 2], [1, 3]], [3, 2, 1])  # falls as the second amount grows
    assert np.all(found >= 0)
    with pytest.raises(FitError, match="at least as many"):
        prices([[1, 1]], [1])
    with pytest.raises(FitError, match="positive"):
        prices([[1], [1]], [1, 0])


@LAW
@given(st.floats(1, 1e12))
def test_a_price_lies_between_those_of_the_sizes_around_it(size: float) -> None:
    table = ((1e3, 3.0), (1e6, 1.0), (1e9, 2.0))
    assert 1.0 <= price_at(table, size) <= 3.0
    assert price_at(table, 1e3) == 3.0 and price_at(table, 1.0) == 3.0 and price_at(table, 1e12) == 2.0
    assert price_at(table, None) == 1.0


# ---- trap: thermal and order bias ----


class Machine:
    """A clock that goes on with the work done, on a machine that slows down by `drift` a second."""

    def __init__(self, drift: float) -> None:
        self.now, self.drift = 0.0, drift

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float) -> Callable[[], float]:
        def run() -> float:
            took = seconds * (1 + self.drift * self.now)
            self.now += took
            return took

        return run


@LAW
@given(st.floats(0, 0.05), st.integers(2, 10))
def test_the_same_work_measured_twice_differs_little_on_a_machine_that_slows_down(drift: float, others: int) -> None:
    """Turns, forwards and backwards, cancel a linear drift; one after the other, the second looks slower."""
    machine = Machine(drift)
    works = [machine.work(0.1), *(machine.work(0.05) for _ in range(others)), machine.work(0.1)]
    turns = in_turns(works, 1e9, most_rounds=20, clock=machine.clock)
    a, b = np.mean(turns[0]), np.mean(turns[-1])
    # The drift compounds, so that not quite all cancels: half the growth within two rounds, squared.
    growth = drift * (0.2 + 0.05 * others) * 2
    assert abs(a / b - 1) <= growth**2 + 1e-12
    if drift > 0.001:
        alone = Machine(drift)
        one_after_the_other = [[work() for _ in range(20)] for work in (alone.work(0.1), alone.work(0.1))]
        assert np.mean(one_after_the_other[1]) / np.mean(one_after_the_other[0]) - 1 > abs(a / b - 1)


def test_turns_stop_in_time_but_give_each_work_its_least() -> None:
    machine = Machine(0.0)
    works = [machine.work(1.0), machine.work(2.0)]
    assert [len(r) for r in in_turns(works, 10.0, clock=machine.clock)] == [3, 3]
    assert machine.now == 9.0  # a fourth round would end at 12
    assert len(in_turns(works, 0.0, clock=machine.clock)[0]) == 3
    assert len(in_turns(works, 1e9, most_rounds=7, clock=machine.clock)[0]) == 7
    order: list[str] = []
    in_turns([lambda: order.append("a") or 0.0, lambda: order.append("b") or 0.0], 0.0)
    assert "".join(order) == "abbaab"


# ---- projecting with one ----


def test_a_calibrated_projection_uses_the_measured_prices_and_the_errors_held_out() -> None:
    found = project(WORK, CPU, fused_bytes=10**6, launches=4, calibration=MADE)
    seconds = 1000 * 1e-10 + 2000 * 1e-11 + 10**6 * price_at(MADE.prices["bytes"], 10**6) + 4 * 1e-7
    assert found.method == "modelled:roofline_calibrated" and found.bound_by == "memory" and found.seconds
    assert found.seconds.value == pytest.approx(seconds)
    # Measured/predicted of those held out are 0.8, 1 and 1.25: their 10% and 90% quantiles lie a fifth of the way in.
    assert found.seconds.low == pytest.approx(0.84 * seconds) and found.seconds.high == pytest.approx(1.2 * seconds)
    assert found.money_usd and found.money_usd.value == pytest.approx(seconds * 1e-3)
    assert found.energy_j is None and any("no joules" in note for note in found.notes)


def test_calibrated_time_scales_with_the_cost() -> None:
    one = project(WORK, CPU, calibration=MADE).seconds
    many = project(WORK * 1000, CPU, calibration=MADE).seconds
    assert one and many and many.value == pytest.approx(1000 * one.value)


def test_without_programs_held_out_the_interval_is_30_percent() -> None:
    found = project(WORK, CPU, calibration=replace(MADE, held_out=())).seconds
    assert found and found.low == pytest.approx(0.7 * found.value) and found.high == pytest.approx(1.3 * found.value)


def test_a_fitted_energy_is_used_and_never_exceeds_the_power_seen() -> None:
    fit = EnergyFit(1e-9, 1e-10, 2.0, 0.03)
    found = project(WORK, CPU, fused_bytes=10**6, calibration=replace(MADE, energy=fit))
    assert found.energy_j and found.seconds
    assert found.energy_j.value == pytest.approx(3000 * 1e-9 + 10**6 * 1e-10 + 2 * found.seconds.value)
    capped = project(WORK, CPU, fused_bytes=10**6, calibration=replace(MADE, energy=fit, loaded_w=3.0)).energy_j
    assert capped and capped.value == pytest.approx(3 * found.seconds.value)
    between = project(WORK, CPU, calibration=replace(MADE, idle_w=1.0, loaded_w=3.0))
    assert between.energy_j and between.seconds and between.energy_j.value == pytest.approx(3 * between.seconds.value)


def test_a_calibration_is_not_carried_to_another_kind_of_device_or_dtype() -> None:
    with pytest.raises(ProjectionError, match="calibrate there"):
        project(WORK, replace(CPU, kind="cuda"), calibration=MADE)
    half = replace(WORK, parts=(("matmul", "bfloat16", 3000),))
    found = project(half, CPU, calibration=MADE)
    assert found.seconds is None and any("bfloat16" in note for note in found.notes)


# ---- files ----


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    made = replace(MADE, idle_w=10.0, loaded_w=50.0, energy=EnergyFit(1e-12, 1e-11, 9.0, 0.02), spreads={"call": 0.1})
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made
    older = json.loads((tmp_path / "c.json").read_text())
    del older["spreads"]
    (tmp_path / "c.json").write_text(json.dumps(older))
    assert Calibration.load(tmp_path / "c.json") == replace(made, spreads={}), "files without spreads still load"
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def changed(**fields: Any) -> str:
    return json.dumps({"format": 1} | asdict(MADE) | fields)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a calibration"),
        ("{", "not a calibration"),
        ("[]", "format 1"),
        (changed(format=2), "format 1"),
        (changed(colour="red"), "colour"),
        (changed(launch_s="quick"), "launch_s"),
        (changed(launch_s=-1), "launch_s"),
        (changed(call_s=float("nan")), "call_s"),
        (changed(rounds=None), "rounds"),
        (changed(device=3), "device"),
        (changed(prices={}), "bytes"),
        (changed(prices={"bytes": []}), "at least one size"),
        (changed(prices={"bytes": [[2, 1], [1, 1]]}), "larger than the one before"),
        (changed(prices={"bytes": [[1, 1, 1]]}), "not a calibration"),
        (changed(held_out=[{"name": "x"}]), "predicted_s"),
        (changed(held_out=[{"name": "x", "predicted_s": 0, "measured_s": 1}]), "took no time"),
        (changed(spreads={"launch": -1}), "launch must be a number"),
        (changed(spreads=[1]), "not a calibration"),
        (changed(energy={"energy_j_per_flop": 1}), "energy_j_per_byte"),
        (json.dumps({"format": 1, "device": "x"}), "missing"),
    ],
)
def test_a_corrupt_file_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=says) as raised:
        Calibration.load(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_an_absent_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "none.json")


def test_lines_show_model_against_measurement_with_signed_errors() -> None:
    text = "\n".join(MADE.lines())
    assert MADE.median_error == pytest.approx(0.2) and MADE.worst and MADE.worst.name in ("one", "two")
    assert MADE.median_signed_error == 0 and "busy" not in text
    assert "busy" in "\n".join(replace(MADE, aa_spread=0.3).lines())
    for shown in ("+25%", "-20%", "+0%", "median 20%", "0.84 to 1.2 times", "A/A", "idle power", "unknown", "launch"):
        assert shown in text
    assert "not known" in "\n".join(replace(MADE, held_out=()).lines())


def test_an_error_that_rounds_to_nothing_has_no_minus() -> None:
    (line,) = [x for x in replace(MADE, held_out=(HeldOut("one", 0.999, 1.0),)).lines() if x.startswith("  one ")]
    assert line.endswith(" +0%")


def test_lines_say_what_their_words_mean() -> None:
    text = "\n".join(MADE.lines())
    for word, meaning in (
        ("A/A", "one kernel, measured as if it were two"),
        ("held out", "the model was not fitted to them"),
        ("sign", "below 0: programs take longer than modelled"),
    ):
        (line,) = [line for line in text.splitlines() if re.search(rf"\b{word}\b", line)]
        assert meaning in line


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-4, 1e4), min_size=12, max_size=12))
def test_lines_have_at_most_three_significant_digits(x: list[float]) -> None:
    """No rate here repeats to better than 1%, so a fourth digit would be noise."""
    made = Calibration(
        "a processor", "cpu", "2026-11-22", {}, x[0], 27, MADE.prices,
        {"matmul float": x[1] * 1e9, "bytes, main memory": x[2] * 1e9}, x[3] * 1e-6, x[4] * 1e-6, x[5], x[6],
        (HeldOut("one", x[7], x[8]), HeldOut("two", x[8], x[7])), x[9], x[10], EnergyFit(x[9], x[10], x[11], x[5]),
        spreads={"matmul float": x[11], "launch": x[6]},
    )  # fmt: skip
    for line in made.lines():
        for number in re.findall(r"\d[\d.]*(?:e[+-]\d+)?", line.replace(made.date, "")):
            digits = number.split("e")[0].replace(".", "").lstrip("0")
            whole = digits.rstrip("0") if "." not in number else digits
            assert len(whole) <= 3, line


def test_lines_show_how_far_the_rounds_lay_apart() -> None:
    made = replace(MADE, spreads={"matmul float32": 0.034, "bytes, main memory": 0.456, "call": 0.2})
    lines = made.lines()
    assert "middle 80% of rounds" in lines[1]
    shown = {line.split("  ")[1].strip(): line for line in lines if line.endswith("apart")}
    assert shown.keys() == {"matmul float32", "bandwidth, main memory", "call from Python"}
    assert shown["matmul float32"].endswith(" 3.4% apart")
    assert "  rounds differ most in bandwidth, main memory: 45.6%" in lines
    assert not any("rounds" in line for line in MADE.lines()[1:]), "nothing is said where nothing is known"


def test_the_spread_is_that_of_the_middle_80_percent() -> None:
    """0 to 10 in steps of 1: from 1 to 9, about a median of 5; one disturbed round in eleven changes nothing."""
    assert measure_jax._spread([float(i) for i in range(1, 12)]) == pytest.approx(8 / 6)
    assert measure_jax._spread([*(float(i) for i in range(1, 11)), 1e6]) == pytest.approx(8 / 6)
    assert measure_jax._spread([2.0] * 8) == 0


# ---- a real one ----


class Steady:
    """A counter of a device that always draws 10 W."""

    method, uncertainty, reason = "measured:stand-in", 0.01, None

    def read_j(self) -> float | None:
        return 10.0 * time.perf_counter()


@pytest.fixture(scope="module")
def real() -> Iterator[Calibration]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_jax, "WINDOW_S", 0.05)
        patch.setattr(measure_jax, "IDLE_S", 0.05)
        yield calibrate(1.0, reader=Steady())


def test_a_real_calibration_gives_finite_positive_numbers(real: Calibration, tmp_path: Path) -> None:
    """No accuracy is asserted: what else the machine does while tests run is not known."""
    rates = [*real.peaks.values(), real.launch_s, real.call_s]
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)
    assert set(real.spreads) == {*real.peaks, "launch", "call"}
    assert all(math.isfinite(spread) and spread >= 0 for spread in real.spreads.values())
    assert all(price >= 0 for table in real.prices.values() for _, price in table)
    for name in (
        "matmul float32",
        "matmul float64",
        "elementwise float32",
        "elementwise float64",
        "bytes, main memory",
    ):
        assert real.peaks[name] > 0
    assert {"transcendental float32", "transcendental float64"} <= set(real.peaks)
    assert real.rounds >= 8 and real.aa_spread >= 0
    real.save(tmp_path / "real.json")
    assert Calibration.load(tmp_path / "real.json") == real


def test_a_real_calibration_is_tried_on_at_least_eight_programs_that_it_was_not_fitted_to(real: Calibration) -> None:
    assert len(real.held_out) >= 8
    assert all(p.predicted_s > 0 and p.measured_s > 0 for p in real.held_out)
    low, high = real.error_interval
    assert low <= 1 <= high and real.median_error is not None
    assert sum(line.count("µs") == 2 and "%" in line for line in real.lines()) == len(real.held_out)


def test_power_is_that_of_the_counter_and_all_of_it_constant(real: Calibration) -> None:
    """Joules are 10 W times the seconds of the same clock. Between the two readings of it another program may have its
    turn, some 10 ms of the window's 50: hence half, which still tells 10 W from 0, from mW and from joules."""
    assert real.idle_w == pytest.approx(10, rel=0.5) and real.loaded_w == pytest.approx(10, rel=0.5)
    assert real.energy and real.energy.constant_power_w == pytest.approx(10, rel=0.5)
    assert real.energy_reason is None and any("power under load" in line and "W" in line for line in real.lines())


def test_without_a_counter_power_is_unknown_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = measure_jax.kernels

    def few(*args: Any) -> list[Any]:
        return [k for k in all_of_them(*args) if k.size < 1e6 and k.dtype == "float32"]

    monkeypatch.setattr(measure_jax, "kernels", few)
    made = calibrate(0.1, reader=Unmeasured("no counter in this test"), hold_out=False)
    assert made.idle_w is made.loaded_w is made.energy is None and made.held_out == ()
    assert any("idle power" in line and "no counter in this test" in line for line in made.lines())


def test_a_budget_must_be_a_positive_number() -> None:
    with pytest.raises(CalibrationError, match="positive"):
        calibrate(float("nan"))


def test_trap_a_calibration_takes_turns_and_measures_one_work_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """`in_turns` cancels a drift only if the calibration uses it; A/A are the first and the last work of a round."""
    seen: list[Any] = []
    turns, all_of_them = measure_jax.in_turns, measure_jax.kernels

    def watched(works: Any, *args: Any, **options: Any) -> Any:
        seen.append(works)
        return turns(works, *args, **options)

    monkeypatch.setattr(measure_jax, "in_turns", watched)
    monkeypatch.setattr(
        measure_jax, "kernels", lambda *a: [k for k in all_of_them(*a) if k.size < 1e6 and k.dtype == "float32"]
    )
    made = calibrate(0.1, reader=Unmeasured("no counter in this test"), hold_out=False)
    (works,) = seen
    assert len(works) > 5 and works[0] == works[-1] not in works[1:-1]
    assert made.rounds >= measure_jax.LEAST_ROUNDS
