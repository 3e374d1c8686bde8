"""The contract of all metrics: what they say of themselves, of a perfect prediction and of a failed one."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import get_args

import numpy as np
import pytest

from experiments.evaluate import _test_segments
from experiments.metrics.base import Measure, Metric, Probe, View
from experiments.metrics.discovery import metrics
from experiments.trajectories import Segments
from tests.experiments.metric_tasks import ALL, NAMES, OF_ROLLOUTS, example, metric, moving, numbers, task_of

OF_ANSWERS = ("auroc", "brier_score", "expected_calibration_error")


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    cls = metrics.load(name)
    assert issubclass(cls, Metric | Probe) and dataclasses.is_dataclass(cls)
    made = cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, "new", 1)  # noqa: B010 (pyright knows that it has none)
    assert made.direction in ("lower", "higher", "truth") and made.unit
    assert not isinstance(made, Metric) or made.view in get_args(View)
    assert made.shown or not made.along_curve, "what a study may fit is shown"
    text = inspect.getdoc(cls) or ""
    assert text not in {inspect.getdoc(base) for base in (Measure, Metric, Probe)}, "a docstring of its own"
    assert text.partition("\n")[0].endswith("."), "its first line, which `list` shows, is a sentence"
    assert all(isinstance(made.applies(task), bool) for task in (example(name), task_of(moving(1.0, 3, 1.0))))


@pytest.mark.parametrize("name", OF_ROLLOUTS)
def test_values_are_finite_numbers_with_names_of_their_own(name: str) -> None:
    made, task = metric(name), example(name)
    true = _test_segments(task, made.view)
    found = numbers(made(task, true, true.y.copy()))
    assert found and all(type(value) is float and math.isfinite(value) for value in found.values())
    # One that has several numbers tells them apart by endings that no metric's name has.
    assert all(ending == "" or (ending.startswith("_") and name + ending not in NAMES) for ending in found)


@pytest.mark.parametrize("name", OF_ROLLOUTS)
def test_a_perfect_prediction_is_the_best_and_padding_does_not_count(name: str) -> None:
    made, task = metric(name), example(name)
    true = _test_segments(task, made.view)
    best = numbers(made(task, true, true.y.copy()))
    if made.direction == "lower":
        assert set(best.values()) == {0.0}
    rng = np.random.default_rng(1)
    for scale in (0.1, 3.0):
        worse = numbers(made(task, true, true.y + scale * rng.standard_normal(true.y.shape)))
        assert worse.keys() == best.keys()
        for key in best:
            assert made.direction == "truth" or (worse[key] > best[key]) == (made.direction == "lower")
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
@pytest.mark.parametrize("name", OF_ROLLOUTS)
def test_a_failed_prediction_is_the_worst(name: str, bad: float) -> None:
    """And it is no reason for a warning: a model that diverges is a result."""
    made, task = metric(name), example(name)
    true = _test_segments(task, made.view)
    predicted = np.full_like(true.y, bad)
    predicted[:, 0] = true.y[:, 0]
    for value in numbers(made(task, true, predicted)).values():
        if name == "histogram_kl" and math.isfinite(bad):
            assert 0.5 < value < math.inf  # all values in one bin: as far as counts can tell
        elif name in OF_ANSWERS and math.isfinite(bad):
            assert value == 0.5  # always sure of the same answer, which is right half of the time
        elif made.direction == "lower":
            assert value == math.inf
        elif made.direction == "higher":
            assert value == 0
        elif not math.isfinite(bad):
            assert not math.isfinite(value)  # a flock of nothing has no statistics


def test_data_without_equations_have_the_errors_that_need_none() -> None:
    task = task_of(moving(1.0, 30, 0.1))
    found = {name for name in NAMES if ALL[name].applies(task)}
    assert found == {
        "one_step_nrmse", "rollout_nrmse", "rollout_nrmse_at", "valid_prediction_time", "valid_prediction_time_at",
    }  # fmt: skip
    # Equations whose states are others than the data, as where a variable is hidden, tell nothing.
    other = dataclasses.replace(task, system=example("lyapunov_exponent").system)
    assert {name for name in NAMES if ALL[name].applies(other)} == found


def test_the_errors_that_a_study_may_fit_are_taken_along_the_curve() -> None:
    along = {name for name in NAMES if ALL[name].along_curve}
    assert along == {"auroc", "brier_score", "one_step_nrmse", "rollout_nrmse", "vector_field_nrmse"}
