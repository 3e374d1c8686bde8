"""Where training stops, what it says on the way, and what it is charged."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learners.learner as module
from hardware.energy import Unmeasured
from hardware.meter import Meter, Reading
from learners.budget import enough
from learners.discovery import models
from learners.learner import Budget, BudgetError, Learner, Progress
from tests.learners.conftest import BACKENDS, RECIPE, all_weights, held_out, make_learner, train

BATCH = RECIPE.batch


def tiny(backend: str = "torch", width: int = 4, **options: Any) -> Learner:
    return make_learner(models.load("mlp")(width=width), backend, **options)


def last_of(learner: Learner, budget: Budget, meter: Any = None) -> Progress:
    return list(learner.fit(budget, meter or Meter()))[-1]


def flop_of_a_step(learner: Learner, width: int, extra: dict[str, int]) -> int:
    """By hand, but for a few operations on scalars: an `mlp` with 2 hidden layers of silu, window 1.

    Per multiply-add of the layers: 2 forward, 2 for the gradient of the weights, 2 for that of the inputs, which the
    first layer, whose inputs are data, does not need. Per hidden unit: bias 1, silu 2 (x σ(x)), its derivative 6
    (σ (1 - σ) dσ, then x dσ + σ dx), gradient of the bias 1. Per entry of the state, forward 10: standardise 2, bias 1,
    scale 1, times interval 1, plus state 1, minus truth 1, over scale 1, square 1, sum 1; backward 6: square 2, scale,
    interval, scale 1 each, bias 1. A sum of n is n - 1. Per weight: Adam, averaging 3.
    """
    n, batch = learner.info.size, learner.recipe.batch
    sizes = [(n, width), (width, width), (width, n)]
    products = 6 * batch * sum(a * b for a, b in sizes) - 2 * batch * n * width
    weights = sum((a + 1) * b for a, b in sizes)
    per_entry = 16 + extra["entry"]
    return products + batch * (10 * 2 * width + per_entry * n) - (2 * width + n) + (extra["adam"] + 3) * weights


# optax corrects Adam's bias weight by weight and adds a zero under the root; torch divides the gradient of a mean by
# the number of entries for each of them, JAX once.
EXTRA = {"jax": {"adam": 15, "entry": 0}, "torch": {"adam": 13, "entry": 1}}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_costs_what_it_does(backend: str) -> None:
    learner = tiny(backend, width=8, seeds=(0, 1))
    by_hand = flop_of_a_step(learner, 8, EXTRA[backend])
    found = train(learner, 7)
    for flop in found.flop:
        assert flop % 7 == 0 and 0 <= flop // 7 - by_hand < 20  # schedule, averaging, bias correction: on scalars
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        from hardware.flops_jax import static_cost

        engine: Any = learner.engine
        one = jax.tree.map(lambda a: a[0], engine._state)
        cost = static_cost(engine._step, one, engine._y, engine._t, jnp.zeros(BATCH, jnp.int32))
        assert found.flop == [7 * cost.flop] * 2
    more = train(learner, 5)
    assert [7 * f for f in more.flop] == [5 * f for f in found.flop]


# -- budgets ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)  # the deadline measures other programs on these cores
@given(steps=st.integers(1, 60), part=st.floats(0, 1, exclude_max=True))
def test_a_flop_budget_is_used_up_and_not_passed(steps: int, part: float) -> None:
    one = train(tiny(), 1).flop[0]
    last = last_of(tiny(), Budget(flop=steps * one + math.floor(part * one)))
    assert last.flop == [steps * one] and last.step == steps
    assert last.fraction == pytest.approx(steps / (steps + math.floor(part * one) / one))


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(BATCH, 60 * BATCH))
def test_a_sample_budget_is_used_up_and_not_passed(samples: int) -> None:
    last = last_of(tiny(), Budget(sample=samples))
    assert last.samples == last.step * BATCH <= samples < last.samples + BATCH


def test_seeds_have_a_budget_each() -> None:
    one = train(tiny(), 1).flop[0]
    assert last_of(tiny(seeds=(0, 1, 2)), Budget(flop=5 * one)).flop == [5 * one] * 3


class Clockwork:
    """A meter by which every step of a seed takes a quarter of a second and two joules."""

    energy_method, energy_reason = "modelled:clockwork", None

    def __init__(self, learner: Learner) -> None:
        self.steps = 0
        engine: Any = learner.engine
        engine.train = self.counting(engine.train)

    def counting(self, real: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
        def counted(starts: np.ndarray) -> Any:
            self.steps += starts.shape[0] * starts.shape[1]
            return real(starts)

        return counted

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        yield

    def reading(self, name: str) -> Reading:
        return Reading(0.25 * self.steps, 0.0, 2.0 * self.steps)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize(("budget", "steps"), [(Budget(second=10.1), 40), (Budget(joule=61), 30), (Budget(joule=1), 1)])
def test_seconds_and_joules_stop_before_they_are_passed(budget: Budget, steps: int, seeds: tuple[int, ...]) -> None:
    """Each seed is charged its share. The first step is taken in any case: only then is its price known."""
    learner = tiny(seeds=seeds)
    last = last_of(learner, budget, Clockwork(learner))
    assert (last.step, last.seconds, last.energy_j) == (steps, 0.25 * steps, 2.0 * steps)


def test_the_tightest_limit_stops() -> None:
    learner = tiny()
    budget = Budget(flop=1e9, joule=1000, second=7.6, sample=10**6)
    assert last_of(learner, budget, Clockwork(learner)).step == 30


def test_real_seconds_leave_less_than_a_step() -> None:
    last = last_of(tiny(), Budget(second=0.2))
    assert last.seconds > 0.2 - last.seconds / last.step


class Counter:
    """An energy counter that moves by `quantum_j` with every `every`-th reading, as a GPU's does each 100 ms."""

    method, uncertainty, reason = "measured:counter", None, None

    def __init__(self, every: int, quantum_j: float) -> None:
        self.every, self.quantum_j, self.readings = every, quantum_j, 0

    def read_j(self) -> float:
        self.readings += 1
        return self.readings // self.every * self.quantum_j


def test_a_counter_that_has_not_moved_yet_is_waited_for() -> None:
    last = last_of(tiny(), Budget(joule=20), Meter(Counter(every=30, quantum_j=10)))
    assert last.energy_j is not None and last.energy_j >= 20


def test_unknown_joules_cannot_be_a_budget() -> None:
    with pytest.raises(BudgetError, match=r"budget\.joule cannot be kept: no counter here"):
        last_of(tiny(), Budget(joule=1), Meter(Unmeasured("no counter here")))


def test_too_small_a_budget_names_one_that_is_enough() -> None:
    with pytest.raises(BudgetError, match=r"^budget\.flop=7 .* give at least (\S+)$") as refusal:
        last_of(tiny(), Budget(flop=7))
    least = float(re.sub(".* ", "", str(refusal.value)))
    assert last_of(tiny(), Budget(flop=least)).step == 1


@given(st.integers(1, 10**18))
def test_what_is_named_as_enough_is_enough(flop: int) -> None:
    assert flop <= float(enough(flop)) <= flop * 1.01  # three digits, rounded up


@pytest.mark.parametrize("name", ["linear", "true_physics"])
def test_fits_with_an_end_of_their_own_are_charged_and_not_stopped(name: str) -> None:
    last = last_of(make_learner(models.load(name)(), "torch"), Budget(flop=7))
    plenty = last_of(make_learner(models.load(name)(), "torch"), Budget(flop=1e12))
    assert last.flop == plenty.flop and last.flop[0] > 7


def test_too_few_samples_for_a_batch_are_refused() -> None:
    with pytest.raises(BudgetError, match=r"^budget\.sample=15 .* give at least 16$"):
        last_of(tiny(), Budget(sample=15))


@pytest.mark.parametrize("limit", ["flop", "joule", "second", "sample"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_impossible_budgets_are_refused_by_name(limit: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{limit} must be above 0, but it is {value}"):
        Budget(**{limit: value})
    with pytest.raises(ValueError, match="at least one of flop, joule, second, sample must be given"):
        Budget()


# -- what is told on the way ---------------------------------------------------------------------------------------


def test_checkpoints_are_log_spaced() -> None:
    points = [p.step for p in tiny().fit(Budget(sample=500 * BATCH), Meter()) if p.checkpoint]
    assert points[:2] == [0, 1] and points[-1] == 500  # the untrained model, the first step, the end
    pairs = list(itertools.pairwise(points[1:-1]))
    assert all(b == max(a + 1, math.ceil(a * 1.35)) for a, b in pairs)
    assert all(b / a == pytest.approx(1.35, rel=0.05) for a, b in pairs[-6:])
    assert 7 <= sum(30 <= p < 300 for p in points) <= 9  # eight a decade


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_do_not_change_the_result(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done between two looks at the clock is no part of the mathematics: the same losses, bit by bit."""

    def run() -> tuple[list[list[float]], np.ndarray]:
        learner = tiny(backend, seeds=(0, 1))
        return [p.loss for p in learner.fit(Budget(sample=40 * BATCH), Meter()) if p.checkpoint], all_weights(learner)

    losses, weights = run()
    monkeypatch.setattr(module, "CHUNK_STEPS", 3)
    monkeypatch.setattr(module, "CHUNK_SECONDS", 1e-9)  # as on a machine where a step takes longer than that
    in_threes, same = run()
    np.testing.assert_array_equal(losses, in_threes)
    np.testing.assert_array_equal(weights, same)


# -- loops whose length depends on data ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stiffer_field_costs_more(backend: str) -> None:
    """Twenty times the interval is to a solver what a field twenty times as fast is; fixed steps would not notice."""
    learner = make_learner(models.load("simulator")(solver="dopri5"), backend)
    y0, times = held_out()
    once, twice, long = (learner.predict(y0, t, count_flop=True)[1] or 0.0 for t in (times, times, 20 * times))
    assert long > 2 * once > 0 and once == twice


@pytest.mark.slow
def test_seeds_that_share_a_loop_execute_what_the_slowest_needs() -> None:
    model = models.load("neural_ode")(width=8, depth=1, solver="dopri5")
    together, alone = (make_learner(model, "jax", seeds=seeds) for seeds in ((0, 1), (0,)))
    found, own = train(together, 5), train(alone, 5)
    np.testing.assert_allclose(found.losses[0], own.losses[0], rtol=1e-10)
    assert found.executed[0].flop >= own.executed[0].flop * (1 - 1e-4)  # what no seed changes is computed once for all
