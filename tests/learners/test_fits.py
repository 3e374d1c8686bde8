"""Fits that are not by gradient, and models that start from what is known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

from hardware.meter import Meter
from learners.discovery import models
from learners.learner import Budget, Learner, Progress
from tests.learners.conftest import BACKENDS, IDENTIFIABLE, RECIPE, all_weights, held_out, make_learner, small_task

PLENTY = Budget(flop=1e12)
both = pytest.mark.parametrize("backend", BACKENDS)
every_system = pytest.mark.parametrize("system", IDENTIFIABLE)


def fitted(name: str, backend: str, system: str, seeds: tuple[int, ...] = (0,), **options: Any) -> Any:
    learner = make_learner(models.load(name)(**options), backend, system, seeds)
    return learner, list(learner.fit(PLENTY, Meter()))


def error_of_truth(learner: Learner) -> float:
    """Mean squared residual of the exact equations with their true parameters: what the integrator gets wrong."""
    theta = np.zeros(learner.parameters)
    residual, _ = learner.engine.residual(theta, np.asarray(learner.points.starts, np.int32))
    return float(np.mean(residual**2))


@both
@every_system
def test_parameters_are_recovered_to_the_integrator_floor(system: str, backend: str) -> None:
    """Noise-free float64 data of the very equations: all that is left is the error of rk4's two steps an interval.

    The least residual cannot be above that of the true parameters (1e-6 for the last iteration, which gains less than
    1e-4 of what is left). The parameters are those of the data but for what makes up for the integrator's error: in
    the mean one such error, up to 7 of them for the least visible parameter (the damping of a pendulum); 20 is allowed.
    """
    learner, progress = fitted("true_physics", backend, system, seeds=(0, 1), steps=2)
    floor = error_of_truth(learner)
    wrong = [np.abs(np.concatenate([np.ravel(v) for v in drawn["physics"].values()])).max() for drawn in learner._drawn]
    assert min(wrong) > 0.1  # logarithms: first guesses that are a tenth off, and more
    assert progress[-1].step <= 12  # near the end each step squares the error: a wrong Jacobian would take dozens
    for seed, loss in enumerate(progress[-1].loss):
        assert loss <= floor * (1 + 1e-6)
        assert np.abs(all_weights(learner, seed)).max() < 20 * math.sqrt(floor)


def test_finer_steps_lower_the_floor_by_their_order() -> None:
    """rk4: halved steps, a sixteenth of the error, in the parameters too; 13 to 19 for what higher orders add."""
    errors = [np.abs(all_weights(fitted("true_physics", "torch", "pendulum", steps=n)[0])).max() for n in (2, 4)]
    assert 13 < errors[0] / errors[1] < 19


def test_the_curve_of_a_fit_goes_down_and_is_charged_by_iteration() -> None:
    _, progress = fitted("true_physics", "torch", "lotka_volterra", seeds=(0, 1))
    assert progress[0].flop == [0, 0] and progress[0].step == 0
    for before, after in itertools.pairwise(progress[1:]):
        assert all(b <= a for a, b in zip(before.loss, after.loss, strict=True))
        assert all(b >= a for a, b in zip(before.flop, after.flop, strict=True)) and after.flop != before.flop
        assert after.step == before.step + 1


def test_a_fit_of_data_that_overflow_is_told_and_not_raised() -> None:
    """A first guess e^300 times too large: the residual is not finite, so there is no way down."""
    learner = make_learner(models.load("true_physics")(spread=0.0), "torch", "lotka_volterra")
    for value in learner._drawn[0]["physics"].values():
        value[...] = 300.0
    last: Progress = list(learner.fit(PLENTY, Meter()))[-1]
    assert math.isnan(last.loss[0])


@both
@every_system
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_the_linear_fit_is_the_least_squares_solution(system: str, backend: str, ridge: float) -> None:
    """By NumPy, with the rows that ridge regression adds. 1e-9: rounding times the condition number, some 1e4."""
    learner, _ = fitted("linear", backend, system, ridge=ridge)
    info, points = learner.info, learner.points
    y0, y1 = points.y[points.starts], points.y[points.starts + 1]
    h = points.lengths[points.starts].reshape(-1, *(1,) * len(info.state_shape))
    rows = len(y0)
    x = np.concatenate([((y0 - info.mean) / info.std).reshape(rows, -1), np.ones((rows, 1))], axis=1)
    target = ((y1 - y0) / h / info.rate_std).reshape(rows, -1)
    x = np.concatenate([x, math.sqrt(ridge * rows) * np.eye(x.shape[1])])
    target = np.concatenate([target, np.zeros((x.shape[1], target.shape[1]))])
    expected = np.linalg.lstsq(x, target)[0]
    np.testing.assert_allclose(all_weights(learner).reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)


@both
def test_a_linear_system_is_fitted_exactly(backend: str) -> None:
    """With strength 0, Cucker and Smale's agents fly straight on: a linear map, so the fit leaves rounding alone."""
    task = small_task("cucker_smale")
    y0 = task.train.y[:, 0]
    times = task.train.times
    y = np.repeat(y0[:, None], times.shape[1], axis=1)
    y[..., :2] += times[:, :, None, None] * y[..., 2:]
    straight = dataclasses.replace(task, train=dataclasses.replace(task.train, y=y))
    learner = Learner(
        models.load("linear")(), straight.info, RECIPE, straight.points(1), (0,), backend, "float64", predict_times=10
    )
    list(learner.fit(PLENTY, Meter()))
    states, _ = learner.predict(y0, times)
    np.testing.assert_allclose(states[0], y, atol=1e-5)  # ridge 1e-8 of the windows' number biases by as much


@pytest.mark.parametrize(("system", "backend"), [*((name, "torch") for name in IDENTIFIABLE), ("pendulum", "jax")])
def test_all_terms_known_start_at_the_simulators_error(system: str, backend: str) -> None:
    """A network that starts at zero adds exactly nothing: the same operations in the same order."""
    hybrid = make_learner(models.load("hybrid_ode")(known="all", width=4, depth=1), backend, system)
    simulator = make_learner(models.load("simulator")(), backend, system)
    states, others = (learner.predict(*held_out(system))[0] for learner in (hybrid, simulator))
    np.testing.assert_allclose(states, others, rtol=1e-13, atol=1e-13)
    truth = small_task(system).val.y
    nothing = make_learner(models.load("persistence")(), backend, system).predict(*held_out(system))[0]
    assert np.abs(states[0] - truth).max() < 0.1 * np.abs(nothing[0] - truth).max()


@both
@pytest.mark.parametrize("stride", [1, 3])
def test_a_map_is_stepped_as_it_steps(backend: str, stride: int) -> None:
    """Without its chance the simulator of a map is the map, sampled at each of its steps or at every third."""
    task = small_task("vicsek")
    system: Any = task.system
    info = dataclasses.replace(task.info, interval=stride * system.interval)
    simulator = Learner(
        models.load("simulator")(), info, RECIPE, task.points(1), (0,), backend, "float64", predict_times=1
    )
    start = task.val.y[:, 0]
    times = np.tile([0.0, stride * system.interval], (len(start), 1))
    wanted = start
    for _ in range(stride):
        wanted = system.step(wanted, 0.0)
    states, _ = simulator.predict(start, times)
    np.testing.assert_allclose(states[0, :, 1], wanted, rtol=1e-12, atol=1e-12)  # y + h (step - y) / h rounds twice


def test_no_terms_known_is_a_plain_neural_ode() -> None:
    hybrid, plain = (
        make_learner(models.load(name)(width=4, depth=1, **options), "torch", seeds=(5,))
        for name, options in (("hybrid_ode", {"known": "none"}), ("neural_ode", {}))
    )
    assert hybrid.parameters == plain.parameters
    states, _ = hybrid.predict(*held_out())
    np.testing.assert_array_equal(states[0], np.repeat(states[0][:, :1], states.shape[2], axis=1))  # it starts at zero


@both
def test_data_of_unknown_parameters_have_them_trained(backend: str) -> None:
    """Where the equations are the user's guess, nothing right could be held fixed, and there is no true simulator."""
    task = small_task("pendulum")
    info = dataclasses.replace(task.info, exact=False)
    hybrid = models.load("hybrid_ode")(width=4)
    assert hybrid.count(info) == hybrid.count(task.info) + len(task.info.system.values)  # type: ignore[union-attr]
    assert models.load("simulator")().skip(info, backend) == "the true parameter values are not known"
    without = dataclasses.replace(info, system=None)
    for name in ("hybrid_ode", "true_physics", "simulator"):
        assert "no equations are known" in (models.load(name)().skip(without, backend) or "")
