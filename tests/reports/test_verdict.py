"""The verdict of planted worlds: what is planted is said, and what cannot be known is not."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports import verdict as judging
from reports.study import Hypothesis
from reports.verdict import SAYS, Prices, verdict_json
from reports.verdict.types import BEHIND, CANNOT_TELL, CATCHES_UP, CROSSED, ESCAPES, OFFSET
from reports.worlds import HOSTILE, Law, world

judge: Any = judging.judge  # tests read numbers of which the types say that they may be missing
QUICK = {"axes": ["flop"], "resamples": 200}


def planted(structured, black_box, **changes):
    models = {"hybrid_ode": structured, "mlp": black_box}
    return world(models=models, **{"seeds": 5, "sizes": 3, "references": False, **changes})


@pytest.fixture(scope="module")
def data():
    return planted(Law(0.005, 0.5, 0.55), Law(0.005, 1.0, 0.4), references=True)


@pytest.fixture(scope="module")
def verdict(data):
    return judge(data, resamples=200)


WORLDS = {
    "a larger exponent": (Law(0.005, 0.5, 0.6), Law(0.005, 1.0, 0.4), {}, ESCAPES),
    "a factor": (Law(0.005, 0.3, 0.4), Law(0.005, 1.0, 0.4), {}, OFFSET),
    "a floor that was passed": (Law(0.05, 0.3, 0.6), Law(0.002, 1.0, 0.4), {}, CROSSED),
    "a floor that will be passed": (Law(0.023, 0.3, 0.6), Law(0.002, 1.0, 0.4), {"noise": 0.01}, CROSSED),
    "a smaller exponent": (Law(0.002, 0.2, 0.3), Law(0.002, 1.0, 0.6), {}, BEHIND),
    "a smaller exponent, still ahead": (Law(0.0, 0.03, 0.25), Law(0.0, 1.0, 0.45), {}, CATCHES_UP),
    "a black box better throughout": (Law(0.01, 3.0, 0.4), Law(0.005, 0.5, 0.4), {"decades": 2}, BEHIND),
    "two decades": (Law(0.005, 0.3, 0.4), Law(0.005, 1.0, 0.4), {"decades": 2}, CANNOT_TELL),
    "one run of each size": (Law(0.005, 0.5, 0.6), Law(0.005, 1.0, 0.4), {"seeds": 1}, CANNOT_TELL),
}


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_planted_is_said(name):
    structured, black_box, changes, says = WORLDS[name]
    (contest,) = judge(planted(structured, black_box, **changes), **QUICK).contests
    assert contest.says == says, contest
    if says in (ESCAPES, OFFSET) and "decades" not in changes:
        low, high = contest.difference.low, contest.difference.high
        slack = 0.05  # beyond the 90% interval: this is one world of many
        assert low - slack <= structured.exponent - black_box.exponent <= high + slack
    if says == CANNOT_TELL:
        assert contest.reasons


def test_everything_has_its_number_or_a_reason(verdict):
    for contest in verdict.contests:
        assert contest.says in SAYS and contest.sentence.endswith(".")
        for e in (contest.difference, contest.error_ratio, contest.cost_ratio, contest.crossover, contest.improvement):
            assert e.reason or (e.low <= e.value <= e.high)
    for scaling in verdict.scalings:
        assert scaling.law is not None or scaling.reasons
    for extrapolation in verdict.extrapolations:
        assert (
            extrapolation.cost.reason or extrapolation.cost.low <= extrapolation.cost.value <= extrapolation.cost.high
        )
    for break_even in verdict.break_evens:
        assert break_even.queries.reason or break_even.queries.value >= 0


def test_laws_give_costs_that_they_were_planted_with(verdict):
    """The planted law's own cost to a target is within the interval, widened by half for one world of many."""
    law = Law(0.005, 0.5, 0.55)
    found = next(e for e in verdict.extrapolations if e.model == "hybrid_ode" and e.target == 0.015)
    true = 1e6 * (law.scale / (0.015 - law.floor)) ** (1 / law.exponent)
    assert found.cost.low / 1.5 <= true <= found.cost.high * 1.5
    assert found.energy_j.value == pytest.approx(
        found.cost.value * 1e-9, rel=0.1
    )  # J_PER_FLOP of the worlds, ±5% a run


def test_the_order_of_records_does_not_matter(data, verdict):
    rng = np.random.default_rng(1)
    order, points = rng.permutation(len(data)), rng.permutation(len(data.points["run"]))
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    shuffled = {name: column[points] for name, column in data.points.items()}
    shuffled["run"] = place[shuffled["run"]]
    other = replace(data, runs={name: column[order] for name, column in data.runs.items()}, points=shuffled)
    again = judge(other, resamples=200)
    assert [c.says for c in again.contests] == [c.says for c in verdict.contests]
    for a, b in zip(again.contests, verdict.contests, strict=True):
        for name in ("difference", "error_ratio", "cost_ratio", "improvement"):
            one, two = getattr(a, name), getattr(b, name)
            # sums in another order differ by rounding, which the fits' convergence enlarges
            assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), rel=1e-6)


def test_other_names_turn_the_contest_round(data, verdict):
    turned = replace(data, structured=data.black_box, black_box=data.structured)
    (there,), (back,) = ([c for c in v.contests if c.axis == "flop"] for v in (verdict, judge(turned, **QUICK)))
    assert back.difference.value == pytest.approx(-there.difference.value)
    assert back.difference.low == pytest.approx(-there.difference.high)
    assert back.p == pytest.approx(there.p)
    assert back.error_ratio.value == pytest.approx(1 / there.error_ratio.value)
    assert back.cost_ratio.low == pytest.approx(1 / there.cost_ratio.high)
    assert back.improvement.value == pytest.approx(1 - there.improvement.value)
    assert (there.says, back.says) == (ESCAPES, BEHIND)


def test_the_unit_of_cost_does_not_matter(data, verdict):
    """Joules 1000 times as large: the same verdict, costs 1000 times as large."""
    k = 1000.0
    points = data.points | {"flop": data.points["flop"] * k, "tuned_flop": data.points["tuned_flop"] * k}
    runs = data.runs | {name: data.runs[name] * k for name in ("train_flop", "infer_flop_per_time_unit")}
    scaled = judge(replace(data, points=points, runs=runs), **QUICK)
    for a, b in zip(scaled.contests, [c for c in verdict.contests if c.axis == "flop"], strict=True):
        assert a.says == b.says
        # the fit centres ln cost, so that only rounding differs
        assert a.difference.value == pytest.approx(b.difference.value, rel=1e-6)
        assert a.cost_ratio.value == pytest.approx(b.cost_ratio.value, rel=1e-6)
    for a, b in zip(scaled.extrapolations, verdict.extrapolations, strict=True):
        assert a.cost.value == pytest.approx(k * b.cost.value, rel=1e-5)
    one = {(b.model, b.other): b.queries.value for b in verdict.break_evens if b.axis == "flop"}
    for b in scaled.break_evens:  # a number of predictions has no unit of cost
        assert b.queries.value == pytest.approx(one[b.model, b.other], rel=1e-5)


def test_prices_make_money_and_co2(data):
    prices = Prices(usd_per_hour=2.0, co2_g_per_kwh=400.0, pue=1.5, device="a device", grid="a grid")
    for e in judge(data, device_prices=prices, **QUICK).extrapolations:
        if e.cost.value is None:
            continue
        assert e.co2_g.value == pytest.approx(e.energy_j.value / 3.6e6 * 1.5 * 400)
        seconds = e.energy_j.value / 20  # POWER_W of the worlds; their seconds vary by 10% a run
        assert e.money_usd.value == pytest.approx(seconds * 2 / 3600, rel=0.15)
        assert "a device" in e.basis and "a grid" in e.basis
    for e in judge(data, **QUICK).extrapolations:
        assert e.money_usd is None and e.co2_g is None


def test_hypotheses_are_supported_contradicted_or_open(data):
    asked = [
        (Hypothesis("yes", says=ESCAPES), "supported"),
        (Hypothesis("no", says=OFFSET, structured="hybrid_ode"), "contradicted"),
        (Hypothesis("vague"), "not judged"),
        (Hypothesis("elsewhere", task="the moon", says=ESCAPES), CANNOT_TELL),
        (Hypothesis("misspelt", says="escape"), CANNOT_TELL),
        (Hypothesis("another axis", axis="seconds", says=ESCAPES), CANNOT_TELL),
    ]
    found = judge(replace(data, hypotheses=tuple(h for h, _ in asked)), **QUICK).hypotheses
    assert [(o.text, o.outcome) for o in found] == [(h.text, outcome) for h, outcome in asked]
    assert all(o.because for o in found)


def test_references_are_levels(verdict):
    for name in ("persistence", "linear", "true_physics"):
        scaling = verdict.scaling("lorenz63", name)
        assert scaling is not None and scaling.law is None and len(scaling.error) == 1 and scaling.reasons


def test_plain_data_is_json(verdict):
    plain = verdict_json(verdict)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["headline"] == verdict.headline
    assert len(plain["contests"]) == len(verdict.contests)


def test_processes_change_nothing(data):
    few = {"axes": ["flop", "seconds", "samples", "energy_j"], "resamples": 20}
    alone, together = judge(data, **few), judge(data, workers=2, **few)
    assert verdict_json(alone) == verdict_json(together)


def test_hostile_names_stay_on_their_line():
    said = judge(planted(Law(), Law(), hostile=True, hypotheses=(Hypothesis(HOSTILE[3], says=OFFSET),)), **QUICK)
    for text in (
        said.headline,
        *said.notes,
        *(c.sentence for c in said.contests),
        *(o.because for o in said.hypotheses),
    ):
        assert text.isprintable()
    json.dumps(verdict_json(said), allow_nan=False)
