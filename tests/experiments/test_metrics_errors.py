"""Errors of predictions against trajectories, on cases whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import pytest

from experiments.evaluate import _test_segments, full_segments, one_step_segments
from experiments.metrics.kernel_error import pairwise_parts
from experiments.metrics.short import SHORT
from physics_models.base import System
from physics_models.pendulum import Pendulum
from tests.experiments.metric_tasks import (
    ROUNDING,
    Springs,
    flock_task,
    metric,
    moving,
    random_task,
    task_of,
    task_with,
)


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


def test_the_error_at_each_horizon_of_one_that_grows_with_time() -> None:
    """Behind by v t at time t, in both units: sampled every tenth, four units long, so up to the horizon 4."""
    unit, dt = 0.5, 0.05
    data = moving(3.0, steps=40, dt=dt)
    task = task_of(data, unit=unit)
    true = full_segments(data)
    predicted = np.repeat(true.y[:, :1], 41, axis=1)
    found = metric("rollout_nrmse_at")(task, true, predicted)
    per_unit = 3.0 * unit / data.y[..., 0].std() / math.sqrt(2)
    # A quarter has no sample within an eighth of it: those of 0.2 and 0.3 are a fifth of it away.
    assert found == {f"_{h:g}": pytest.approx(h * per_unit, rel=ROUNDING) for h in (0.5, 1.0, 2.0, 4.0)}
    # A horizon that only some trajectories reach is judged by those.
    short = dataclasses.replace(true, mask=true.mask & ((np.arange(41) < 11) | (np.arange(3) == 2)[:, None]))
    predicted[2] = true.y[2]
    part = metric("rollout_nrmse_at")(task, short, predicted)
    assert part == {f"_{h:g}": pytest.approx(h * per_unit * math.sqrt(2 / 3), rel=ROUNDING) for h in (0.5, 1.0)} | {
        "_2": 0.0,
        "_4": 0.0,
    }


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
    # Each halving of the threshold ends it sooner by exactly log 2 / rate, to a sample.
    sweep = metric("valid_prediction_time_at")(task, true, true.y + grows)
    assert list(sweep) == ["_0.1", "_0.2", "_0.4", "_0.8"] and sweep["_0.4"] == value
    steps = np.diff(list(sweep.values())) * unit
    np.testing.assert_allclose(steps, math.log(2) / rate, rtol=0, atol=1.01 * dt)


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


# -- Rates ---------------------------------------------------------------------------------------------------------


def swings(system: System, dt: float = 0.1) -> Any:
    """Small swings of a pendulum: close to a circle in phase space."""
    t = np.arange(41) * dt
    a = np.array([0.1, 0.2, 0.3])[:, None]
    return task_with(system, np.stack([a * np.cos(t), -a * np.sin(t)], axis=-1), dt)[0]


def test_a_flock_that_shrinks_to_a_point_is_not_predicted() -> None:
    """A far journey makes the laboratory's unit of length as large as the flock itself, which it does not excuse."""
    rng, steps = np.random.default_rng(0), np.arange(11.0)
    places = rng.standard_normal((4, 1, 6, 2)) + 5 * steps[:, None, None]
    states = np.concatenate([places, np.broadcast_to(rng.standard_normal((4, 1, 6, 2)), places.shape)], axis=-1)
    task, true = flock_task(states)
    shrunk = true.y.copy()
    share = np.minimum(steps / 4, 1)[:, None, None]
    centre = places.mean(axis=2, keepdims=True)
    shrunk[..., :2] += share * (centre - places)
    assert np.std(places) > 10 and task.spread[:2] == pytest.approx([1, 1], rel=0.3)
    assert metric("valid_prediction_time", threshold=0.4)(task, true, shrunk) < 4
    # Wherever the flock is seen from.
    away = np.array([70.0, -30.0, 0, 0])
    assert metric("valid_prediction_time_at")(*flock_task(states + away), shrunk + away) == (
        metric("valid_prediction_time_at")(task, true, shrunk)
    )
    np.testing.assert_array_equal(task.spread[2:], task.scales.std[2:])


def test_the_true_state_a_short_time_later() -> None:
    """Harmonic motion, which small swings are to a part in a²/16: cos and sin of a sixteenth of the interval."""
    task = swings(Pendulum(damping=0.0), dt=0.5)
    segments = _test_segments(task, "short")
    h = 0.5 * SHORT
    np.testing.assert_allclose(segments.times[:, 1] - segments.times[:, 0], h, rtol=ROUNDING)
    angle, velocity = segments.y[:, 0].T
    turned = np.stack([np.cos(h) * angle + np.sin(h) * velocity, np.cos(h) * velocity - np.sin(h) * angle], axis=-1)
    # The sine's cubic term, a³/6, acts for h.
    np.testing.assert_allclose(segments.y[:, 1], turned, atol=0.3**3 / 6 * h)


@dataclasses.dataclass(frozen=True)
class Falling(System):
    """Decay at very different rates, and a third variable that falls at the rate 1 until it is 0, and then at 3."""

    term_names: ClassVar[tuple[str, ...]] = ("all",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("slow", "fast", "kink")

    def terms(self, t: Any, y: Any, p: Any, names: Any) -> dict[str, Any]:
        rate = np.stack([-y[..., 0], -300 * y[..., 1], np.where(y[..., 2] > 0, -1.0, -3.0)], axis=-1)
        return {"all": rate}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.5, 1, 3)


def test_the_true_state_is_found_where_one_step_would_not_do() -> None:
    """A sixteenth of an interval is 19 times as long as the fast variable's time; one row in four meets the kink."""
    y = np.random.default_rng(0).uniform(0.5, 1, (3, 9, 3))
    y[..., 2] = np.linspace(0.06, 0.3, 27).reshape(3, 9) - 0.015
    task, _ = task_with(Falling(), y)
    segments = _test_segments(task, "short")
    h, start, later = SHORT, segments.y[:, 0], segments.y[:, 1]
    size = np.sqrt(np.mean((later - start) ** 2))
    exact = start[:, :2] * np.exp([-h, -300 * h])
    smooth = start[:, 2] > h
    np.testing.assert_allclose(later[smooth, :2], exact[smooth], rtol=0, atol=1e-8 * size)  # ten times its accuracy
    below = 3 * (start[:, 2] - h)
    np.testing.assert_allclose(later[:, 2], np.where(smooth, start[:, 2] - h, below), rtol=0, atol=3e-3 * size)
    assert 0 < np.sum(~smooth) < len(start)
    assert _test_segments(task, "short") is segments  # once for all models


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.2])
def test_a_field_that_is_off_by_a_factor(factor: float) -> None:
    """True rates of constant size 1 times a factor f are off by 1 - f of their root mean square."""
    task = swings(Pendulum(damping=0.0))
    true = _test_segments(task, "short")
    predicted = true.y[:, :1] + factor * (true.y - true.y[:, :1])
    rates = (true.y[:, 1] - true.y[:, 0]) / (0.1 * SHORT) / task.scales.rate_std
    expected = abs(1 - factor) * np.sqrt(np.mean(rates**2))
    value = metric("vector_field_nrmse")(task, true, predicted)
    assert value == pytest.approx(expected, rel=ROUNDING)
    assert value == pytest.approx(abs(1 - factor), rel=0.01)  # the mean rate over an interval is the rate, to dt²/24


def test_rates_are_known_where_the_exact_equations_are() -> None:
    task = random_task(Pendulum())
    assert metric("vector_field_nrmse").applies(task)
    assert not metric("vector_field_nrmse").applies(dataclasses.replace(task, exact=False))


# -- Interaction kernels -------------------------------------------------------------------------------------------


def test_the_kernel_of_known_rates_is_found() -> None:
    system = Springs()
    x = np.random.default_rng(0).standard_normal((400, 5, 2))
    rates = system.field(0.0, x)
    (phi,), weights = pairwise_parts(x, [rates])
    r = np.linalg.norm(x[:, None] - x[:, :, None], axis=-1)[:, ~np.eye(5, dtype=bool)]
    assert weights.sum() == pytest.approx(np.mean(r**2), rel=ROUNDING)
    edges = np.quantile(r, np.arange(33) / 32)
    # phi falls by exp(-width) across a bin, so its mean there lies between the values at the bin's ends. Across the
    # first and last it falls most, and weights within a bin are not even: they are left out.
    assert np.all(phi[1:-1] < system.kernel(edges[1:-2]) * 1.05) and np.all(
        phi[1:-1] > system.kernel(edges[2:-1]) / 1.05
    )


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_a_kernel_that_is_off_by_a_factor(factor: float) -> None:
    task = random_task(Springs())
    true = _test_segments(task, "short")
    predicted = true.y[:, :1] + factor * (true.y - true.y[:, :1])
    assert metric("kernel_error")(task, true, predicted) == pytest.approx(abs(1 - factor), rel=1e-8)


def test_what_no_pair_does_is_no_error_of_the_kernel() -> None:
    """A common drift moves all alike: pairs, which push and pull with opposite forces, cannot make it."""
    task = random_task(Springs())
    true = _test_segments(task, "short")
    assert metric("kernel_error")(task, true, true.y + np.array([0.3, -0.2])) < 1e-10
    assert metric("vector_field_nrmse")(task, true, true.y + np.array([0.3, -0.2])) > 0.1
    assert not metric("kernel_error").applies(random_task(Pendulum()))
