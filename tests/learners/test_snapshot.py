"""Training that was stopped and goes on in another learner ends where it would have ended, to the bit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import learners.backends.torch_engine as torch_engine
import learners.learner as module
from hardware.cost import Cost
from hardware.meter import Meter
from learners.discovery import models
from learners.learner import Budget, Learner
from learners.snapshot import Snapshot, cost_from_json, cost_to_json
from tests.learners.conftest import BACKENDS, RECIPE, all_weights, held_out, make_learner, train

STEPS = 40
FIXED = [("mlp", {"width": 4, "depth": 1}), ("hybrid_ode", {"width": 4, "depth": 1, "fit_parameters": True})]
ADAPTIVE = ("neural_ode", {"width": 4, "depth": 1, "solver": "bosh3", "rtol": 1e-7})


def fresh(case: tuple[str, dict[str, Any]], backend: str) -> Learner:
    name, options = case
    return make_learner(models.load(name)(**options), backend, seeds=(0, 1), learning_rates=[None, 0.02])


def through_disk(snapshot: Snapshot | None) -> Snapshot:
    """As a file would give it back: copies of arrays, facts by way of JSON."""
    assert snapshot is not None
    return Snapshot({k: v.copy() for k, v in snapshot.arrays.items()}, json.loads(json.dumps(snapshot.facts)))


def trained(case: Any, backend: str, budget: Budget, stops: Sequence[int] = ()) -> dict[str, Any]:
    """All that is left of a training that is stopped before each of these chunks, every time in a new learner."""
    learner, chunk, curve = fresh(case, backend), 0, []
    fit: Any = learner.fit(budget, Meter())
    while (progress := next(fit, None)) is not None:
        if progress.checkpoint:
            curve.append((progress.step, progress.samples, progress.flop, [c.by_kind for c in progress.costs]))
            curve.append(list(progress.loss) if progress.step else [])
            learner.engine.keep_best(np.array([progress.step % 2 == 0, progress.step < 20]))
        chunk += 1
        if chunk in stops and progress.step:
            kept = through_disk(learner.snapshot())
            fit.close()
            train(learner, 2)  # whatever becomes of the old one
            learner = fresh(case, backend)
            learner.restore(kept)
            fit = learner.fit(budget, Meter())
    newest = [all_weights(learner, seed) for seed in range(2)]
    assert learner.progress is not None
    executed = [cost.flop for cost in learner.progress.executed]
    learner.engine.use_best()
    best = [all_weights(learner, seed) for seed in range(2)]
    return {
        "curve": curve, "newest": newest, "best": best, "executed": executed, "fused": learner.engine.fused_work(),
        "predicted": learner.predict(*held_out())[0],
    }  # fmt: skip


def assert_same(found: dict[str, Any], whole: dict[str, Any]) -> None:
    for name, expected in whole.items():
        if name == "fused":  # every call moves some bytes besides those of its steps, and calls go by the clock
            assert (expected is None) == (found[name] is None)
            assert expected is None or found[name] == pytest.approx(expected, rel=0.1)
        elif name in ("newest", "best", "predicted"):
            np.testing.assert_array_equal(found[name], expected, err_msg=name)
        else:
            assert found[name] == expected, name


@pytest.mark.parametrize("case", FIXED, ids=lambda case: case[0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_going_on_is_not_having_stopped(case: Any, backend: str) -> None:
    budget = Budget(sample=STEPS * RECIPE.batch)
    whole = trained(case, backend, budget)
    for stops in ([2], [3, 4, 9]) if backend == "torch" else ([4, 8],):
        assert_same(trained(case, backend, budget, stops), whole)


@settings(max_examples=4, deadline=None)
@given(stops=st.sets(st.integers(2, 30), max_size=3), quick=st.booleans(), part=st.floats(0.0, 0.99))
def test_steps_of_unequal_cost_stop_in_the_same_place(stops: set[int], quick: bool, part: float) -> None:
    """Where chunks end depends on the clock, and on where training was stopped; where it ends does not."""
    budget = Budget(flop=(25 + part) * 2.6e4)
    with pytest.MonkeyPatch.context() as patch:
        whole = trained(ADAPTIVE, "torch", budget)
        patch.setattr(module, "CHUNK_SECONDS", 1e-9 if quick else 1e9)  # one step at a time, or ever longer chunks
        assert_same(trained(ADAPTIVE, "torch", budget, sorted(stops)), whole)
    points = [(point[0], point[2][0]) for point in whole["curve"][::2]]
    assert len({(f - e) / (t - s) for (s, e), (t, f) in itertools.pairwise(points)}) > 1  # they are unequal


@pytest.mark.slow  # the gradient of diffrax's loop compiles for ten seconds
def test_steps_of_unequal_cost_in_jax() -> None:
    budget = Budget(flop=2e6)
    whole = trained(ADAPTIVE, "jax", budget)
    assert_same(trained(ADAPTIVE, "jax", budget, [4, 7]), whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finished_training_stays_finished(backend: str) -> None:
    budget = Budget(sample=5 * RECIPE.batch)
    learner, again = fresh(FIXED[0], backend), fresh(FIXED[0], backend)
    last = list(learner.fit(budget, Meter()))[-1]
    again.restore(through_disk(learner.snapshot()))
    assert list(again.fit(budget, Meter())) == []
    assert again.progress == last


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_learners_snapshot_is_refused(backend: str) -> None:
    learner = fresh(FIXED[0], backend)
    assert learner.snapshot() is None  # before training there is nothing to keep
    list(learner.fit(Budget(sample=RECIPE.batch), Meter()))
    kept = through_disk(learner.snapshot())
    wider = make_learner(models.load("mlp")(width=5, depth=1), backend, seeds=(0, 1))
    with pytest.raises(ValueError, match=r"must be .* but it is"):
        wider.restore(kept)
    with pytest.raises(KeyError):
        fresh(FIXED[0], backend).restore(Snapshot({}, kept.facts))
    foreign = dict(kept.arrays) | {"queue.0": kept.arrays["queue.0"] + 10**6}
    with pytest.raises(ValueError, match="not one of these training windows"):
        fresh(FIXED[0], backend).restore(Snapshot(foreign, kept.facts))


def test_a_cost_comes_back_from_json() -> None:
    cost = Cost(10**30, 3, frozenset({"b", "a"}), (("matmul", "float32", 10**30),), 5, 7, 11)
    assert cost_from_json(json.loads(json.dumps(cost_to_json(cost)))) == cost


# -- what is made ready beforehand ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_making_ready_is_no_training(backend: str) -> None:
    ready, plain = fresh(FIXED[0], backend), fresh(FIXED[0], backend)
    ready.compile()
    np.testing.assert_array_equal(all_weights(ready), all_weights(plain))
    found, expected = train(ready, 5), train(plain, 5)
    np.testing.assert_array_equal(found.losses, expected.losses)
    np.testing.assert_array_equal(all_weights(ready, 1), all_weights(plain, 1))
    assert found.costs == expected.costs


def test_trap_the_first_torch_step_is_counted_before_training_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = fresh(FIXED[0], "torch")
    learner.compile()
    monkeypatch.setattr(torch_engine, "FlopCounter", None)  # to count now would be an error
    assert train(learner, 3).flop[0] > 0
