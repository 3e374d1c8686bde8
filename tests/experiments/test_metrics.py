"""Metrics on cases whose answer is known, and the contract of all of them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from typing import Any, get_args

import numpy as np
import pytest

from experiments import evaluate
from experiments.evaluate import MAX_SEGMENTS, full_segments, longest_segment, one_step_segments, thin
from experiments.metrics.base import Metric, View
from experiments.metrics.discovery import metrics
from experiments.task import Task
from experiments.trajectories import Segments, Trajectories
from hardware.energy import Unmeasured
from hardware.meter import Meter
from physics_models.flocking import Flocking

NAMES = metrics.names()
# Differences of numbers of order one, each with a rounding error of 1e-16: ten digits are safe.
ROUNDING = 1e-10


def metric(name: str, **options: Any) -> Metric:
    return metrics.load(name)(**options)


def moving(speed: float, steps: int, dt: float, count: int = 3) -> Trajectories:
    """Points that move at constant speed, from different starts, with a second variable that stays where it is."""
    t = np.arange(steps + 1) * dt
    x = speed * t + np.arange(count)[:, None]
    return Trajectories.common(t, np.stack([x, np.ones_like(x)], axis=-1), ["x", "still"])


def task_of(data: Trajectories, unit: float = 1.0, system: Any = None) -> Task:
    return Task("hand-made", system, True, train=data, val=data, test=data, unit=unit)


def flock_task(states: np.ndarray) -> tuple[Task, Segments]:
    """A flocking task of states (R, T, N, 4), and its trajectories whole."""
    system = Flocking(n_agents=states.shape[2])
    data = Trajectories.common(np.arange(float(states.shape[1])), states, system.variables)
    task = task_of(data, system=system)
    return task, full_segments(task.test)


def some_flock(seed: int = 0, agents: int = 5) -> tuple[Task, Segments]:
    return flock_task(np.random.default_rng(seed).standard_normal((3, 4, agents, 4)))


def view_of(task: Task, view: View) -> Segments:
    return {"one_step": one_step_segments, "full": full_segments, "unit": lambda _: task.segments["test"]}[view](
        task.test
    )


# -- All metrics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    cls = metrics.load(name)
    assert issubclass(cls, Metric) and dataclasses.is_dataclass(cls)
    made = cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, "new", 1)  # noqa: B010 (pyright knows that it has none)
    assert made.view in get_args(View) and made.direction in ("lower", "higher", "truth") and made.unit
    text = inspect.getdoc(cls) or ""
    assert text != inspect.getdoc(Metric), "a docstring of its own"
    assert text.partition("\n")[0].endswith("."), "its first line, which `list` shows, is a sentence"
    task, _ = some_flock()
    assert isinstance(made.applies(task), bool)
    true = view_of(task, made.view)
    value = made(task, true, true.y.copy())
    assert type(value) is float and math.isfinite(value)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_is_the_best_and_padding_does_not_count(name: str) -> None:
    made = metric(name)
    task, _ = some_flock()
    true = view_of(task, made.view)
    best = made(task, true, true.y.copy())
    if made.direction == "lower":
        assert best == 0
    rng = np.random.default_rng(1)
    for scale in (0.1, 3.0):
        worse = made(task, true, true.y + scale * rng.standard_normal(true.y.shape))
        assert made.direction == "truth" or (worse > best) == (made.direction == "lower")
    # One more point on every segment, after its end: what is predicted there means nothing.
    extra = np.full((true.count, 1), np.nan)
    padded = Segments(
        np.concatenate([true.times, extra], axis=1),
        np.concatenate([true.y, np.full((true.count, 1, *task.info.state_shape), np.nan)], axis=1),
        np.concatenate([true.mask, np.zeros_like(extra, bool)], axis=1),
        true.trajectory,
    )
    predicted = true.y + rng.standard_normal(true.y.shape)
    value = made(task, true, predicted)
    for nonsense in (0.0, 1.7e308, np.inf, np.nan):
        behind = np.full((true.count, 1, *task.info.state_shape), nonsense)
        assert made(task, padded, np.concatenate([predicted, behind], axis=1)) == value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.7e308])
@pytest.mark.parametrize("name", NAMES)
def test_a_failed_prediction_is_the_worst(name: str, bad: float) -> None:
    """And it is no reason for a warning: a model that diverges is a result."""
    made = metric(name)
    task, _ = some_flock()
    true = view_of(task, made.view)
    predicted = np.full_like(true.y, bad)
    predicted[:, 0] = true.y[:, 0]
    value = made(task, true, predicted)
    if made.direction == "lower":
        assert value == math.inf
    elif made.direction == "higher":
        assert value == 0
    elif not math.isfinite(bad):
        assert not math.isfinite(value)  # a flock of nothing has no statistics


# -- Errors --------------------------------------------------------------------------------------------------------


def test_a_constant_offset_is_measured_in_standard_deviations() -> None:
    data = moving(speed=2.0, steps=10, dt=0.1)
    task = task_of(data)
    std = data.y[..., 0].std()
    true = task.segments["test"]
    predicted = true.y + np.array([0.3, 0.0])
    predicted[:, 0] = true.y[:, 0]
    # The mean runs over both variables, of which one is exact.
    expected = 0.3 / std / math.sqrt(2)
    assert metric("rollout_nrmse")(task, true, predicted) == pytest.approx(expected, rel=ROUNDING)


def test_the_first_point_is_given_and_does_not_count() -> None:
    task = task_of(moving(1.0, 10, 0.1))
    true = task.segments["test"]
    predicted = true.y.copy()
    predicted[:, 0] = 1e9
    assert metric("rollout_nrmse")(task, true, predicted) == 0


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_persistence_of_a_linear_motion(steps: int) -> None:
    """Behind by v dt k after k steps: the mean of k² over 1…n is (n + 1)(2n + 1)/6."""
    speed, dt = 3.0, 0.1
    data = moving(speed, steps=20, dt=dt)
    task = task_of(data, unit=steps * dt)
    true = task.segments["test"]
    assert true.times.shape[1] == steps + 1
    predicted = np.repeat(true.y[:, :1], steps + 1, axis=1)
    behind = speed * dt * math.sqrt((steps + 1) * (2 * steps + 1) / 6) / data.y[..., 0].std()
    assert metric("rollout_nrmse")(task, true, predicted) == pytest.approx(behind / math.sqrt(2), rel=ROUNDING)
    # An increment is the unit of the one-step error: 1 for x, 0 for what never moves.
    pairs = one_step_segments(data)
    value = metric("one_step_nrmse")(task, pairs, np.repeat(pairs.y[:, :1], 2, axis=1))
    assert value == pytest.approx(1 / math.sqrt(2), rel=ROUNDING)


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_the_valid_time_of_an_error_that_grows_exponentially(rate: float) -> None:
    """An error of e0 exp(rate t) passes the threshold at log(threshold / e0) / rate; the last sample before counts."""
    dt, unit, e0, threshold = 0.01, 2.0, 1e-3, 0.4
    data = moving(1.0, steps=2000, dt=dt, count=4)
    task = task_of(data, unit=unit)
    true = full_segments(data)
    grows = e0 * np.exp(rate * true.times)[..., None] * task.scales.std * np.array([1.0, 1.0])
    value = metric("valid_prediction_time")(task, true, true.y + grows)
    crossing = math.log(threshold / e0) / rate
    assert value == pytest.approx(math.floor(crossing / dt) * dt / unit, rel=ROUNDING)
    # With half the threshold it is over sooner, by exactly log 2 / rate, to a sample.
    half = metric("valid_prediction_time", threshold=threshold / 2)(task, true, true.y + grows)
    assert (value - half) * unit == pytest.approx(math.log(2) / rate, abs=1.01 * dt)


def test_the_valid_time_is_a_median_and_bounded_by_the_data() -> None:
    data = moving(1.0, steps=10, dt=0.5, count=3)
    task = task_of(data, unit=1.0)
    true = full_segments(data)
    predicted = true.y.copy()
    assert metric("valid_prediction_time")(task, true, predicted) == pytest.approx(5.0, rel=ROUNDING)
    predicted[0, 1:] = np.nan  # never valid
    predicted[1, 4:] = np.inf  # valid at 0.5, 1 and 1.5
    predicted[1, 6:] = true.y[1, 6:]  # and again later, which is too late
    assert metric("valid_prediction_time")(task, true, predicted) == pytest.approx(1.5, rel=ROUNDING)


# -- Flocks --------------------------------------------------------------------------------------------------------


def test_polarisation_of_flocks_made_by_hand() -> None:
    velocities = {
        1.0: [[1, 0], [2, 0], [0.1, 0], [5, 0]],  # one heading, whatever the speeds
        0.0: [[1, 0], [-1, 0], [0, 3], [0, -3]],
        math.sqrt(2) / 2: [[1, 0], [1, 0], [0, 1], [0, 1]],
        0.5: [[1, 0], [1, 0], [0, 0], [0, 0]],  # who rests heads nowhere
    }
    for expected, v in velocities.items():
        states = np.zeros((2, 3, 4, 4))
        states[:, -1, :, 2:] = v
        states[:, 0, :, 2:] = [1.0, 7.0]  # before the end: does not matter
        task, true = flock_task(states)
        assert metric("polarisation")(task, true, states) == pytest.approx(expected, abs=ROUNDING)


def test_nearest_neighbour_distance_of_flocks_made_by_hand() -> None:
    states = np.zeros((2, 3, 4, 4))
    states[:, -1, :, :2] = [[0, 0], [0, 1], [3, 0], [3, 2]]
    task, true = flock_task(states)
    assert metric("nearest_neighbour_distance")(task, true, states) == pytest.approx((1 + 1 + 2 + 2) / 4, rel=ROUNDING)
    turned = states.copy()
    turned[..., :2] = 10 - states[..., 1::-1]  # turned, mirrored and moved: the same flock
    assert metric("nearest_neighbour_distance")(task, true, turned) == pytest.approx(1.5, rel=ROUNDING)
    for name in ("polarisation", "nearest_neighbour_distance"):
        assert not metric(name).applies(task_of(moving(1.0, 3, 1.0)))


# -- The same points for every model -------------------------------------------------------------------------------


class Listener:
    """A learner that knows the answer and remembers what it was asked."""

    def __init__(self, task: Task, seeds: int, error: float) -> None:
        self.task, self.seeds, self.error = task, tuple(range(seeds)), error
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False) -> Any:
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
        self.predict_batch, self.asked = 8, []

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False) -> tuple[np.ndarray, float | None]:
        self.asked.append(times.shape)
        time.sleep(self.seconds)
        moved = (times - times[:, :1])[..., None] * np.array([1.0, 0.0])
        return np.stack([y0[:, None] + speed * moved for speed in self.speeds]), 12.0 if count_flop else None


ALL: dict[str, Metric] = {name: metric(name) for name in NAMES}


def test_the_error_that_a_study_fits_is_taken_along_the_curve() -> None:
    assert {name for name in NAMES if ALL[name].along_curve} == {"one_step_nrmse", "rollout_nrmse"}


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
