"""How metrics are taken: at the same points for every model, along a curve and at its end; the cost of inference."""

from __future__ import annotations

import dataclasses
import math
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments import evaluate
from experiments.evaluate import MAX_SEGMENTS, longest_segment, one_step_segments, thin
from experiments.record import Record
from experiments.task import Task
from hardware.energy import Unmeasured
from hardware.meter import Meter
from physics_models.lorenz63 import Lorenz63
from reports.rows import ACCURACY, DETAIL, compare
from reports.tables import render
from tests.experiments.metric_tasks import ALL, NAMES, ROUNDING, metric, moving, random_task, task_of


class Listener:
    """A learner that knows the answer and remembers what it was asked."""

    def __init__(self, task: Task, seeds: int, error: float) -> None:
        self.task, self.info, self.seeds, self.error = task, task.info, tuple(range(seeds)), error
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False, clock: Any = None) -> Any:
        self.asked.append((y0.copy(), times.copy()))
        start = times[:, :1]
        x = y0[:, None, 0] + 2.0 * (times - start) + self.error * (times > start)
        states = np.stack([x, np.broadcast_to(y0[:, None, 1], x.shape)], axis=-1)
        return np.stack([states] * len(self.seeds)), 60.0 if count_flop else None


def test_every_model_is_asked_the_same_and_answers_are_scored_alike() -> None:
    data = moving(2.0, steps=30, dt=0.1, count=300)  # more segments than are evaluated
    task = task_of(data, unit=0.5)
    chosen = {name: metric(name) for name in NAMES if metric(name).applies(task)}
    good, bad = Listener(task, 1, 0.0), Listener(task, 2, 0.25)
    found: list[Any] = [evaluate.test_results(learner, task, chosen) for learner in (good, bad)]  # type: ignore[arg-type]
    assert len(good.asked) == len(bad.asked) > 0
    for (y0, times), (y0_too, times_too) in zip(good.asked, bad.asked, strict=True):
        np.testing.assert_array_equal(y0, y0_too)
        np.testing.assert_array_equal(times, times_too)
        assert len(y0) <= 4 * MAX_SEGMENTS and times.shape[1] - 1 <= longest_segment(task)
    # The motion is computed from the segment's start, and not from 0: equal up to rounding.
    assert found[0].metrics[0]["rollout_nrmse"] == pytest.approx(0, abs=ROUNDING)
    expected = 0.25 / data.y[..., 0].std() / math.sqrt(2)
    assert [seed["rollout_nrmse"] for seed in found[1].metrics] == pytest.approx([expected] * 2, rel=ROUNDING)
    assert found[0].infer_flop_per_time_unit == pytest.approx(60.0, rel=ROUNDING)  # segments of exactly one unit
    np.testing.assert_allclose(found[0].example_predicted[0], found[0].example_truth, atol=ROUNDING)


def test_thinning_takes_segments_evenly_from_all_of_the_data() -> None:
    data = moving(1.0, steps=10, dt=0.1, count=100)
    whole = one_step_segments(data)
    few = thin(whole, 64)
    assert few.count == 64 and thin(few, 64) is few
    np.testing.assert_array_equal(few.y[[0, -1]], whole.y[[0, -1]])
    counts = np.bincount(few.trajectory // 10, minlength=10)
    assert counts.min() >= 6 and counts.max() <= 7  # 6.4 from every tenth
    np.testing.assert_array_equal(thin(whole, 64).times, few.times)


# -- Along a curve, and the cost of inference ------------------------------------------------------------------------


class Drift:
    """Stands in for a learner of two seeds: states move at a constant speed, the second seed's at another."""

    def __init__(self, speeds: tuple[float, float] = (1.0, 2.0), seconds: float = 0.0) -> None:
        self.speeds, self.seconds, self.seeds = speeds, seconds, (0, 1)
        self.engine: Any = self
        self.info, self.predict_batch, self.asked = SimpleNamespace(told=None), 8, []

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False, clock: Any = None) -> Any:
        self.asked.append(times.shape)
        time.sleep(self.seconds)
        moved = (times - times[:, :1])[..., None] * np.array([1.0, 0.0])
        return np.stack([y0[:, None] + speed * moved for speed in self.speeds]), 12.0 if count_flop else None


def test_test_errors_along_a_curve_are_those_at_its_end() -> None:
    """The same segments where there are few enough of them, so the same numbers."""
    task, learner = task_of(moving(1.5, 12, 0.1), unit=0.4), Drift()
    errors, tests = evaluate.CurveErrors(task, ALL)(as_learner(learner))
    final = evaluate.test_results(as_learner(learner), task, ALL)
    for seed in range(2):
        assert tests[seed] == {name: final.metrics[seed][name] for name in ("one_step_nrmse", "rollout_nrmse")}
        # Validation data are the same as test data here.
        assert errors[seed] == tests[seed]["rollout_nrmse"]
    assert tests[0] == pytest.approx(tests[1], rel=1e-9)  # half a unit of speed too little, and too much


def test_evaluation_along_a_curve_stays_small() -> None:
    learner = Drift()
    evaluate.CurveErrors(task_of(moving(1.5, 400, 0.1, count=5), unit=0.4), ALL)(as_learner(learner))
    assert sorted(learner.asked) == [(MAX_SEGMENTS, 2), (MAX_SEGMENTS, 5), (MAX_SEGMENTS, 5)]


def test_what_test_data_say_changes_no_validation_error() -> None:
    data = moving(1.5, 12, 0.1)
    task = task_of(data, unit=0.4)
    other = dataclasses.replace(task, test=dataclasses.replace(data, y=data.y + 7 * data.times[..., None]))
    found = [evaluate.CurveErrors(t, ALL)(as_learner(Drift())) for t in (task, other)]
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]


def as_learner(learner: Drift) -> Any:
    return learner


class Ticking:
    """A measured counter of 10 W that is updated every so many seconds."""

    method, uncertainty, reason = "measured:ticking", 0.05, None

    def __init__(self, update_s: float) -> None:
        self.update_s, self._begin = update_s, time.perf_counter()

    def read_j(self) -> float:
        elapsed = time.perf_counter() - self._begin
        return 10 * (elapsed - elapsed % self.update_s if self.update_s else elapsed)


@pytest.mark.parametrize("update_s", [0.001, 0.06])
def test_inference_is_measured_in_a_window_long_enough(update_s: float) -> None:
    """A call of a hundredth of a second predicts 8 trajectories of both seeds over 0.4 of time units of 0.8."""
    task, learner = task_of(moving(1.5, 4, 0.1), unit=0.8), Drift(seconds=0.01)
    reader = Ticking(update_s)
    meter = Meter(reader)
    seconds, joules = evaluate.measure_inference(as_learner(learner), task, meter, reader)
    window, calls = meter.reading("infer").seconds, len(learner.asked)
    assert window >= max(evaluate.INFER_S, evaluate.INFER_UPDATES * update_s)
    assert seconds == pytest.approx(window / (calls * 8 * 2 * 0.5), rel=1e-9) and seconds >= 0.01 / 8
    # A counter is off by at most an update at either end of ten and more.
    assert joules == pytest.approx(10 * seconds, rel=2 / evaluate.INFER_UPDATES)


def test_inference_without_a_counter_has_no_joules() -> None:
    reader = Unmeasured("no counter")
    task = task_of(moving(1.5, 4, 0.1))
    seconds, joules = evaluate.measure_inference(as_learner(Drift()), task, Meter(reader), reader)
    assert seconds > 0 and joules is None


# -- What is asked beyond rollouts ----------------------------------------------------------------------------------


class Relaxing(Listener):
    """Every state decays at a rate of the seed: 1, 2, …"""

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False, clock: Any = None) -> Any:
        self.asked.append((y0.copy(), times.copy()))
        rates = np.arange(1.0, len(self.seeds) + 1)[:, None, None]
        left = np.exp(-rates * (times - times[:, :1]))
        return left.reshape(*left.shape, *(1,) * (y0.ndim - 1)) * y0[:, None], 1.0 if count_flop else None


def test_a_chaotic_task_asks_for_rates_and_for_the_growth_of_differences() -> None:
    task = random_task(Lorenz63(), points=16)
    learner = Relaxing(task, 2, 0.0)
    found = evaluate.test_results(learner, task, ALL)  # type: ignore[arg-type]
    assert found.metrics[0].keys() == found.metrics[1].keys() == found.units.keys()
    # The rate of exp(-k t) is -k, however long it is asked for.
    growth = [row["lyapunov_exponent"] for row in found.metrics]
    # Twins 3e-5 apart among numbers of order one: 1e-16 / 3e-5, ten thousand times over.
    assert growth == pytest.approx([-1.0, -2.0], abs=1e-7)
    lengths = sorted({round(float(times[0, 1] - times[0, 0]), 6) for _, times in learner.asked})
    assert lengths == [0.0625, 1.0]  # a sixteenth of the interval, for rates
    assert {"vector_field_nrmse", "rollout_nrmse_at_8", "sliced_wasserstein"} <= found.metrics[0].keys()


def test_a_cheap_task_is_not_asked_for_more() -> None:
    """Data without equations: three views, once each; a curve point: validation and two views."""
    task, learner = task_of(moving(1.5, 12, 0.1), unit=0.4), Drift()
    evaluate.test_results(as_learner(learner), task, ALL)
    assert len(learner.asked) == 3
    evaluate.CurveErrors(task, ALL)(as_learner(learner))
    assert len(learner.asked) == 6


def test_tables_for_people_leave_the_details_out() -> None:
    task = task_of(moving(1.5, 60, 0.1), unit=0.4)
    found = evaluate.test_results(as_learner(Drift()), task, ALL)
    said = found.units["rollout_nrmse_at_2"], found.units["rollout_nrmse"], found.units["valid_prediction_time"]
    assert said == ("1, lower is better (detail)", "1, lower is better", "time units, higher is better")
    record = Record("0" * 20, "points", "drift", "jax", "cpu", 0, "finished", {"model": {"name": "drift"}})
    comparison = compare([dataclasses.replace(record, metrics=found.metrics[0], metric_units=found.units)])
    section = {column.name: column.section for column in comparison.columns}
    assert section["rollout_nrmse_at_2"] == section["valid_prediction_time_at_0.1"] == DETAIL
    assert section["rollout_nrmse"] == section["one_step_nrmse"] == section["valid_prediction_time"] == ACCURACY
    assert "rollout nrmse at" not in render(comparison, "markdown").replace("_", " ")
    (line,) = (line for line in render(comparison, "csv").splitlines() if ",rollout_nrmse_at_2," in line)
    assert str(found.metrics[0]["rollout_nrmse_at_2"]) in line and ",lower," in line
