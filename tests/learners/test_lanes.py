"""Seeds and learning rates that share a program: each lane is the run that it would be alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from hardware.meter import Meter
from learners.backends.base import Recipe
from learners.discovery import models
from learners.learner import Budget, Learner
from tests.learners.conftest import BACKENDS, RECIPE, all_weights, make_learner, train

LANES = [(0, None), (0, 0.03), (1, 0.0005)]  # a seed twice, and the recipe's own rate
STEPS = 12  # warm-up, which every rate has, ends on the way
both = pytest.mark.parametrize("backend", BACKENDS)


def lanes(backend: str, chosen: Any = LANES, recipe: Recipe = RECIPE, **options: Any) -> Learner:
    model = models.load("mlp")(width=4, depth=1)
    seeds, rates = zip(*chosen, strict=True)
    return make_learner(model, backend, seeds=seeds, recipe=recipe, learning_rates=rates, **options)


@both
def test_a_lane_is_the_run_with_its_rate_in_the_recipe(backend: str) -> None:
    """To rounding, as seeds together are seeds alone: in float64 1e-16 a sum, which Adam passes on."""
    decaying = dataclasses.replace(RECIPE, weight_decay=0.1)  # decay is a part of the rate
    together = lanes(backend, recipe=decaying)
    found = train(together, STEPS)
    for index, (seed, rate) in enumerate(LANES):
        recipe = decaying if rate is None else dataclasses.replace(decaying, learning_rate=rate)
        alone = lanes(backend, [(seed, None)], recipe)
        own = train(alone, STEPS)
        np.testing.assert_allclose(found.losses[index], own.losses[0], rtol=1e-12)
        np.testing.assert_allclose(all_weights(together, index), all_weights(alone), rtol=1e-9, atol=1e-12)
        assert found.costs[index].by_kind == own.costs[0].by_kind and found.flop[index] == own.flop[0]
    assert (all_weights(together, 0) != all_weights(together, 1)).any()  # the same seed at two rates


@both
def test_rates_of_their_own_cost_no_flop(backend: str) -> None:
    with_rates, without = lanes(backend), lanes(backend, [(seed, None) for seed, _ in LANES])
    found, plain = train(with_rates, 3), train(without, 3)
    assert found.costs == plain.costs and found.executed == plain.executed


def test_twins_agree_at_every_rate() -> None:
    """Between backends to 1e-10, as the twins; see there."""
    np.testing.assert_allclose(*(train(lanes(backend), STEPS).losses for backend in BACKENDS), rtol=1e-10)


def test_one_program_serves_every_rate() -> None:
    """The rate is an argument: the compiled program of other rates is the same one."""
    texts = []
    for rates in ((0.1, 0.2), (0.003, None)):
        learner = lanes("jax", list(zip((0, 1), rates, strict=True)))
        program, arguments = learner.engine.training_program(3) or (None, ())
        assert program is not None
        texts.append(jax.jit(program).lower(*arguments).as_text())
    assert texts[0] == texts[1]


@both
def test_a_model_not_trained_by_gradient_has_no_rate(backend: str) -> None:
    model = models.load("linear")()
    plain, rated = (make_learner(model, backend, learning_rates=rates) for rates in (None, [0.5]))
    for learner in (plain, rated):
        list(learner.fit(Budget(flop=1e9), Meter()))
    np.testing.assert_array_equal(all_weights(plain), all_weights(rated))


def test_as_many_rates_as_seeds() -> None:
    with pytest.raises(ValueError, match="2 seeds must have a learning rate each, not 1"):
        make_learner(models.load("mlp")(width=4), "torch", seeds=(0, 1), learning_rates=[0.1])
