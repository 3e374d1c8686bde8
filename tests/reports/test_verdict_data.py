"""Whatever the records hold, there is a verdict: what cannot be used is left out and named, nothing raises."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reports.study import StudyData
from reports.verdict import judge, verdict_json
from reports.verdict.types import CANNOT_TELL
from reports.worlds import METRIC, Law, world

QUICK = {"axes": ["flop"], "resamples": 20}
MODELS = {"hybrid_ode": Law(0.005, 0.5, 0.6), "mlp": Law(0.005, 1.0, 0.4)}


def small(**changes):
    return world(models=MODELS, **{"seeds": 2, "sizes": 2, "per_decade": 3, "references": False, **changes})


@pytest.fixture(scope="module")
def data():
    return small()


def said(data, **changes) -> tuple[Any, str]:
    """Everything that the verdict gives as reasons or notes, and that it can be written."""
    verdict: Any = judge(data, **{**QUICK, **changes})
    json.dumps(verdict_json(verdict), allow_nan=False)
    assert verdict.headline
    reasons = [reason for part in (*verdict.scalings, *verdict.contests) for reason in part.reasons]
    return verdict, " | ".join([*reasons, *verdict.notes])


def with_points(data, **columns):
    return replace(data, points=data.points | columns)


def with_runs(data, **columns):
    return replace(data, runs=data.runs | columns)


def test_an_empty_study():
    text = np.empty(0, dtype=object)
    runs = dict.fromkeys(("identity", "task", "condition", "model", "configuration", "status"), text)
    runs |= {"seed": np.empty(0), "draw": np.empty(0)}
    verdict, notes = said(StudyData("none", "", runs, {"run": np.empty(0, int)}, structured=("a",), black_box=("b",)))
    assert "no records" in notes and verdict.headline.startswith("Cannot tell")
    assert not verdict.contests and not verdict.scalings


def test_all_diverged(data):
    broken = with_runs(data, status=np.full(len(data), "diverged", dtype=object))
    verdict, reasons = said(broken)
    assert "no run finished: 4 diverged" in reasons and "configuration is left out" in reasons
    assert {c.says for c in verdict.contests} == {CANNOT_TELL}


def test_a_configuration_that_mostly_diverges_is_left_out_and_named(data):
    worst = (data.runs["model"] == "mlp") & (data.runs["configuration"] == "width=16 n_train=512")
    status = np.where(worst, "diverged", data.runs["status"]).astype(object)
    verdict, reasons = said(with_runs(data, status=status))
    assert "width=16 n_train=512" in reasons
    assert set(verdict.scaling("lorenz63", "mlp").labels) == {"width=8 n_train=512"}
    assert verdict.scaling("lorenz63", "mlp").runs == {"finished": 2, "diverged": 2}


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_errors_that_are_no_errors_are_left_out_and_counted(data, value):
    error = data.points[f"test.{METRIC}"].copy()
    error[::5] = value
    verdict, reasons = said(with_points(data, **{f"test.{METRIC}": error}))
    assert "errors are" in reasons and "left out" in reasons
    assert all(np.isfinite(s.error).all() and (s.error > 0).all() for s in verdict.scalings)
    nothing = with_points(data, **{f"test.{METRIC}": np.full(len(error), value)})
    assert "no point can be used" in said(nothing)[1]


def test_one_seed_has_no_interval():
    verdict, reasons = said(small(seeds=1))
    (contest,) = verdict.contests
    assert contest.says == CANNOT_TELL and "nothing is known of the spread" in reasons
    assert contest.difference.value is not None and contest.difference.low is None and contest.difference.reason


def test_joules_that_nobody_knows():
    verdict, reasons = said(small(unknown_energy=True), axes=["flop", "energy_j"])
    assert "no training energy is known" in reasons and "No run says its joules" in reasons
    assert all(e.energy_j.reason for e in verdict.extrapolations)
    assert all(b.queries.reason for b in verdict.break_evens if b.axis == "energy_j")


def test_a_study_without_one_side(data):
    assert said(replace(data, black_box=()))[0].headline.startswith("Cannot tell")
    assert said(replace(data, black_box=("nobody",)))[0].contests == ()
    assert said(replace(data, structured=data.black_box))[0].contests == ()  # a model is not compared with itself


def test_uncounted_operations_are_said(data):
    assert "lower bound" in said(with_runs(data, uncounted=np.ones(len(data))))[1]


def test_runs_that_are_missing_are_said(data):
    assert f"{len(data)} of 100 planned" in said(replace(data, planned=100))[1]


def test_a_study_file_that_was_changed_is_said(data):
    assert "changed while it ran" in said(replace(data, hashes=("a", "b")))[1]


def test_untrained_points_and_plateaus_are_no_scaling(data):
    """Where the error before training is known, the law is fitted from where a fifth of it is gone."""
    first = data.points["flop"] == data.points["flop"].min()
    points = {name: np.concatenate([column, column[first]]) for name, column in data.points.items()}
    new = slice(len(first), None)
    for name in ("step", "samples", "flop", "energy_j", "seconds", "tuned_flop", "tuned_energy_j", "tuned_seconds"):
        points[name][new] = 0.0
    points[f"test.{METRIC}"][new] = 0.5
    verdict, _ = said(replace(data, points=points))
    for model in MODELS:
        scaling = verdict.scaling("lorenz63", model)
        before = scaling.error[scaling.cost < scaling.start * (1 - 1e-9)]
        assert (before > 0.4).all() and scaling.error[scaling.cost >= scaling.start * (1 - 1e-9)][0] <= 0.4
        assert scaling.cost.min() > 0
    assert any(s.start > s.cost[0] for s in verdict.scalings)  # else nothing was tested


def test_many_points_are_pooled_and_say_the_same():
    from reports.verdict import laws

    big = small(seeds=40, draws=3, per_decade=2)
    pooled: Any = judge(big, **QUICK)
    most, laws.MOST = laws.MOST, 10**6
    try:
        plain: Any = judge(big, **QUICK)
    finally:
        laws.MOST = most
    for a, b in zip(pooled.scalings, plain.scalings, strict=True):
        assert len(a.member_cost) < len(b.member_cost)
        # medians of a dozen points each have a fifth of the noise of the points; the law is the same within it
        assert a.law.exponent == pytest.approx(b.law.exponent, abs=0.02)
    assert [c.says for c in pooled.contests] == [c.says for c in plain.contests]


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.0}, {"resamples": 1}, {"axes": ["joules"]}])
def test_what_makes_no_sense_is_refused(data, wrong):
    with pytest.raises(ValueError, match=r"between 0 and 1|at least 2|no axis"):
        judge(data, **wrong)


STATUSES = ("finished", "diverged", "interrupted", "skipped", "out_of_memory")
NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, -1.0, np.nan, np.inf, 1e-300, 1e300]))


# Each example is a whole verdict. To explain a failure Hypothesis traces every line of its solvers, and what it found
# is lost in the timeout.
@settings(max_examples=8, deadline=None, phases=set(Phase) - {Phase.explain})
@given(st.data())
def test_no_records_raise(drawn):
    """Any statuses, errors and costs: a verdict that is plain data."""
    data = small(decades=2, per_decade=2)
    n, rng = len(data.points["run"]), np.random.default_rng(drawn.draw(st.integers(0, 99)))
    values = np.array(drawn.draw(st.lists(NUMBERS, min_size=1, max_size=4)))
    columns = {}
    for name in drawn.draw(st.sets(st.sampled_from([f"test.{METRIC}", "flop", "samples", "step"]))):
        columns[name] = np.where(rng.random(n) < 0.5, values[rng.integers(0, len(values), n)], data.points[name])
    status = np.array([drawn.draw(st.sampled_from(STATUSES)) for _ in range(len(data))], dtype=object)
    seed = np.where(rng.random(len(data)) < 0.3, np.nan, data.runs["seed"])
    said(with_runs(with_points(data, **columns), status=status, seed=seed))
