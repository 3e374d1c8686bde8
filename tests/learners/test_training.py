"""What a training step does to the weights, and what seeds have to do with each other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.devices import Device
from learners.backends import engine_of
from learners.backends.base import Engine, Recipe
from learners.base import Array, OdeModel, Operations, Parts, TaskInfo
from learners.batches import Batches
from learners.discovery import models
from learners.learner import Budget, Learner
from tests.learners.conftest import BACKENDS, RECIPE, Relaxation, all_weights, held_out, make_learner, small_task, train

SEEDS = (0, 1)
both = pytest.mark.parametrize("backend", BACKENDS)


def tiny(backend: str, recipe: Recipe = RECIPE, seeds: tuple[int, ...] = SEEDS) -> Learner:
    return make_learner(models.load("mlp")(width=4, depth=1), backend, recipe=recipe, seeds=seeds)


# -- the step --------------------------------------------------------------------------------------------------------
# On torch alone where the twins say that JAX does the same: JAX compiles a second for each learner.


@pytest.mark.parametrize(("system", "backend"), [("pendulum", "jax"), ("pendulum", "torch"), ("cucker_smale", "torch")])
def test_the_loss_is_the_error_of_rollouts(backend: str, system: str) -> None:
    """Mean squared error along windows of two intervals, over the scale of increments: here from `predict`."""
    recipe = dataclasses.replace(RECIPE, window=2)
    learner = make_learner(models.load("mlp")(width=4, depth=1), backend, system, recipe=recipe)
    starts = learner._batches[0].steps(1, recipe.batch)
    rows = starts[0][:, None] + np.arange(3)
    truth = learner.points.y[rows]
    states, _ = learner.predict(truth[:, 0], learner.points.times[rows])
    loss = np.mean(((states[0] - truth)[:, 1:] / learner.info.step_std) ** 2)
    assert learner.engine.train(starts[None]).losses[0, 0] == pytest.approx(loss, rel=1e-12)  # float64, another order


def test_warm_up_and_the_constant_rate_after_it() -> None:
    """Adam's first step moves every weight by the rate itself (g / |g|, less 1e-8 / |g|), so it shows the rate."""
    recipe = Recipe(learning_rate=0.01, warmup_steps=4, batch=16)
    rates = [recipe.rate(k) for k in range(7)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01, 0.01])
    learner = tiny("torch", recipe)
    before = all_weights(learner)
    train(learner, 1)
    moved = np.abs(all_weights(learner) - before)
    assert moved.max() <= 0.0025 * (1 + 1e-9) and np.median(moved) == pytest.approx(0.0025, rel=1e-3)


@pytest.mark.parametrize("averaging", [8.0, 0.0])
def test_averaging_is_the_polynomial_one(averaging: float) -> None:
    """Recomputed in NumPy from the weights themselves, which an average of infinite degree shows (to 1e-14)."""
    newest = tiny("torch", dataclasses.replace(RECIPE, averaging=1e15))
    learner = tiny("torch", dataclasses.replace(RECIPE, averaging=averaging))
    average = np.zeros_like(all_weights(newest))
    history = []
    for k in range(6):
        assert np.array_equal(train(newest, 1).losses, train(learner, 1).losses)  # averaging changes no step
        history.append(all_weights(newest))
        average += (averaging + 1) / (k + averaging + 1) * (history[-1] - average)
        np.testing.assert_allclose(all_weights(learner), average, rtol=1e-12)
    if averaging == 0:
        np.testing.assert_allclose(average, np.mean(history, axis=0), rtol=1e-12)


def test_weight_decay_is_decoupled() -> None:
    """Each step takes rate · decay of the weight as it was, besides what Adam does: exactly so in the first step."""
    plain, decayed = (tiny("torch", dataclasses.replace(RECIPE, weight_decay=decay)) for decay in (0.0, 0.1))
    before = all_weights(plain)
    for learner in (plain, decayed):
        train(learner, 1)
    np.testing.assert_allclose(all_weights(plain) - all_weights(decayed), 0.1 * RECIPE.rate(0) * before, rtol=1e-9)


def test_training_lowers_the_loss() -> None:
    losses = train(tiny("torch", dataclasses.replace(RECIPE, batch=80)), 100).losses  # all windows: losses compare
    assert (losses[:, -1] < 0.8 * losses[:, 0]).all()


# -- batches ---------------------------------------------------------------------------------------------------------


@given(windows=st.integers(1, 40), draws=st.lists(st.integers(1, 50), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_batches_cover_every_window_once_before_any_repeats(windows: int, draws: list[int], seed: int) -> None:
    starts = 3 * np.arange(windows)
    batches = Batches(starts, np.random.default_rng(seed))
    stream = np.concatenate([batches.draw(n) for n in draws])
    whole = len(stream) // windows
    for epoch in np.split(stream[: whole * windows], whole) if whole else []:
        assert sorted(epoch) == list(starts)
    rest = stream[whole * windows :]
    assert len(set(rest)) == len(rest)
    # What is asked for at a time does not matter: the stream is the seed's.
    np.testing.assert_array_equal(stream, Batches(starts, np.random.default_rng(seed)).draw(sum(draws)))


# -- seeds -------------------------------------------------------------------------------------------------------------


@both
def test_the_same_seed_twice_is_the_same_to_the_bit(backend: str) -> None:
    one, other = tiny(backend), tiny(backend)
    losses = train(one, 20).losses
    np.testing.assert_array_equal(train(other, 20).losses, losses)
    for seed in range(2):
        np.testing.assert_array_equal(all_weights(one, seed), all_weights(other, seed))
    np.testing.assert_array_equal(one.predict(*held_out())[0], other.predict(*held_out())[0])
    assert (losses[0] != losses[1]).all()  # another seed is another run


@both
def test_the_best_is_kept_for_each_seed(backend: str) -> None:
    learner = tiny(backend)
    drawn = all_weights(learner, 1)
    train(learner, 3)
    third = all_weights(learner, 0)
    learner.engine.keep_best(np.array([True, False]))
    train(learner, 3)
    sixth = all_weights(learner, 0)
    learner.engine.keep_best(np.array([False, False]))
    learner.engine.use_best()
    np.testing.assert_array_equal(all_weights(learner, 0), third)
    np.testing.assert_array_equal(all_weights(learner, 1), drawn)  # never told to be better than as drawn
    assert (third != sixth).any()
    # Neither the kept nor the drawn weights are touched by what comes after.
    train(learner, 3)
    learner.engine.use_best()
    np.testing.assert_array_equal(all_weights(learner, 0), third)
    np.testing.assert_array_equal(all_weights(tiny(backend), 1), drawn)


@both
def test_scalars_do_not_share_memory_with_what_is_kept(backend: str) -> None:
    """Tensors in float64, such as known equations have: arrays that a framework may take over without a copy."""
    learner = make_learner(Relaxation(1.0), backend)
    before = all_weights(learner)
    train(learner, 3)
    assert (learner._drawn[0]["rate"]["k"] == 1.0).all() and (all_weights(learner) != 1.0).all()
    learner.engine.use_best()
    np.testing.assert_array_equal(all_weights(learner), before)


def poisoned(backend: str, solver: str) -> list[Engine]:
    """An engine with two healthy seeds, and one whose first seed has weights that are not numbers."""
    task, model = small_task("pendulum"), models.load("neural_ode")(width=4, depth=1, solver=solver)
    spec = model.parts(task.info)["net"]
    healthy = [{"net": spec.draw(np.random.default_rng(seed))} for seed in SEEDS]
    sick: Any = {"net": [(np.nan * weight, np.nan * bias) for weight, bias in healthy[0]["net"]]}
    rest: Any = RECIPE, task.points(1)
    return [
        engine_of(backend)(model, task.info, *rest, weights, "float64", Device("cpu", "here"), 5, 4, 10)
        for weights in (healthy, [sick, healthy[1]])
    ]


@pytest.mark.parametrize(
    ("backend", "solver"),
    [*((b, "euler") for b in BACKENDS), ("torch", "dopri5"), pytest.param("jax", "dopri5", marks=pytest.mark.slow)],
)
def test_a_seed_that_diverges_leaves_the_others_alone(backend: str, solver: str) -> None:
    starts = np.random.default_rng(0).integers(0, 10, (2, 5, RECIPE.batch), np.int32)
    healthy, sick = poisoned(backend, solver)
    expected, found = healthy.train(starts), sick.train(starts)
    assert np.isnan(found.losses[0]).all()
    np.testing.assert_array_equal(found.losses[1], expected.losses[1])
    for name, value in healthy.weights(1).items():
        np.testing.assert_array_equal(sick.weights(1)[name], value)
    states, _ = sick.predict(*held_out())
    assert np.isnan(states[0, :, 1:]).all()
    np.testing.assert_array_equal(states[1], healthy.predict(*held_out())[0][1])
    # Its weights stay what they have become; a run is told so by its loss, and its best ones are those of before.
    sick.keep_best(np.array([False, True]))
    assert np.isfinite(sick.predict(*held_out())[0][1]).all()


# -- prediction ------------------------------------------------------------------------------------------------------


@both
def test_a_rollout_is_one_interval_after_another(backend: str) -> None:
    learner = tiny(backend)
    y0, times = held_out()
    states, _ = learner.predict(y0, times)
    y = y0
    for k in range(3):
        y = learner.predict(y, times[:, k : k + 2])[0][0, :, 1]
        np.testing.assert_array_equal(states[0, :, k + 1], y)


@both
def test_batching_and_padding_of_predictions_do_not_show(backend: str) -> None:
    """Batches of 4 are compiled: 1, 2 and 9 trajectories are cut and filled up; ends that are missing are NaN times."""
    learner = tiny(backend)
    y0, times = (np.concatenate([a] * 5)[:9] for a in held_out())
    together, flop = learner.predict(y0, times, count_flop=True)
    alone, flop_alone = learner.predict(y0[:1], times[:1], count_flop=True)
    np.testing.assert_allclose(together[:, :1], alone, rtol=1e-13)  # torch's products may depend on the batch's size
    assert flop == pytest.approx(flop_alone, rel=1e-12)
    short = times.copy()
    short[0, 4:] = np.nan
    cut, _ = learner.predict(y0, short)
    np.testing.assert_array_equal(cut[:, 0, :4], together[:, 0, :4])
    np.testing.assert_array_equal(cut[:, 1:], together[:, 1:])
    with pytest.raises(ValueError, match="predicts at most 10 intervals, not 11"):
        learner.predict(y0, np.tile(np.arange(12.0), (9, 1)))


@dataclass(frozen=True)
class Tide(OdeModel):
    """dy/dt = cos(t), t since the start of the trajectory: all that starts from y ends at y + sin(t)."""

    learning: ClassVar[str] = "none"

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        return ops.xp.zeros_like(y) + ops.xp.cos(t)


@both
@pytest.mark.parametrize("origin", [0.0, 1.7e9])
def test_time_counts_from_the_start_of_a_trajectory(backend: str, origin: float) -> None:
    y0, times = held_out()
    states, _ = make_learner(Tide(), backend).predict(y0, times + origin)
    # Seconds since 1970 are exact to 2e-7 in float64; rk4 integrates cos over a tenth as Simpson's rule, to 1e-8.
    np.testing.assert_allclose(states[0], y0[:, None] + np.sin(times)[..., None], rtol=0, atol=1e-6)


@both
def test_the_origin_of_time_does_not_matter(backend: str) -> None:
    """Seconds since 1970 are exact to 1e-7 s in float64, and to 128 s in float32: intervals must be taken before."""
    task, origin = small_task("pendulum"), 1.7e9
    later = dataclasses.replace(task, train=dataclasses.replace(task.train, times=task.train.times + origin))
    for name in ("times", "lengths"):
        np.testing.assert_allclose(getattr(later.points(1), name), getattr(task.points(1), name), rtol=0, atol=1e-6)
    learner = make_learner(models.load("mlp")(width=4, depth=1), backend, dtype="float32")
    y0, times = held_out()
    np.testing.assert_allclose(
        learner.predict(y0, times + origin)[0], learner.predict(y0, times)[0], rtol=0, atol=2e-5
    )  # ten intervals that are 2e-7 off, of rates of order one, and single precision


def test_data_without_a_single_window_is_refused() -> None:
    task = small_task("pendulum")
    empty = dataclasses.replace(task.points(1), starts=np.empty(0, int))
    with pytest.raises(ValueError, match="at least one training window"):
        Learner(models.load("mlp")(), task.info, RECIPE, empty, (0,), "torch")


def test_budgets_do_not_change_what_is_learnt() -> None:
    """A shorter run is the beginning of a longer one: the whole curve is valid."""
    from hardware.meter import Meter

    long, short = tiny("torch"), tiny("torch")
    seen = {p.step: all_weights(long) for p in long.fit(Budget(sample=40 * RECIPE.batch), Meter())}
    list(short.fit(Budget(sample=13 * RECIPE.batch), Meter()))
    at = min(step for step in seen if step >= 13)
    if at == 13:
        np.testing.assert_array_equal(all_weights(short), seen[13])
    again = tiny("torch")
    train(again, 13)
    np.testing.assert_array_equal(all_weights(short), all_weights(again))
