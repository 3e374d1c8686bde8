"""The table of rules, Holm's correction, and the quantities that follow from laws."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.scaling import Bootstrap
from reports.scaling.forms import FLOOR
from reports.verdict import estimates as of
from reports.verdict.laws import How
from reports.verdict.overall import interquartile_means, profiles
from reports.verdict.prices import _break_even
from reports.verdict.rules import EQUIVALENT, Evidence, decide, holm
from reports.verdict.types import BEHIND, CANNOT_TELL, CATCHES_UP, CROSSED, ESCAPES, OFFSET, Scaling

SURE = Evidence(told=True, predicted=True, low=-0.05, high=0.05, was_ahead=True)
LARGER = replace(SURE, sign=1, low=0.05, high=0.2)
SMALLER = replace(SURE, sign=-1, low=-0.2, high=-0.05)
FLOORED = replace(LARGER, floor=True)

CASES = {
    "a larger exponent": (LARGER, ESCAPES),
    "a larger exponent, decade not predicted": (replace(LARGER, predicted=False), CANNOT_TELL),
    "a larger exponent, not identified": (replace(LARGER, told=False), CANNOT_TELL),
    "a floor that the black box is below": (replace(FLOORED, below_now=True), CROSSED),
    "a floor that the black box will be below": (replace(FLOORED, below_later=True), CROSSED),
    "the same, decade not predicted": (replace(FLOORED, below_later=True, predicted=False), CANNOT_TELL),
    "a floor that nobody is below": (FLOORED, ESCAPES),
    "a floor, never ahead": (replace(SMALLER, floor=True, below_now=True, was_ahead=False), BEHIND),
    "a smaller exponent": (SMALLER, BEHIND),
    "a smaller exponent, still ahead": (replace(SMALLER, ahead_now=True), CATCHES_UP),
    "a smaller exponent, not identified": (replace(SMALLER, told=False), CANNOT_TELL),
    "behind throughout, nothing identified": (Evidence(trailing=True), BEHIND),
    "the same exponent": (SURE, OFFSET),
    "the same exponent, behind throughout": (replace(SURE, trailing=True), OFFSET),
    "the same exponent, another floor": (replace(SURE, same_floor=False), CANNOT_TELL),
    "about the same exponent, dearer": (replace(SURE, high=1.5 * EQUIVALENT, dearer_or_cheaper=True), OFFSET),
    "about the same exponent, no dearer": (replace(SURE, high=1.5 * EQUIVALENT), CANNOT_TELL),
    "a wide interval, dearer": (replace(SURE, high=3 * EQUIVALENT, dearer_or_cheaper=True), CANNOT_TELL),
    "nothing known": (Evidence(), CANNOT_TELL),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_of_rules(name):
    evidence, says = CASES[name]
    assert decide(evidence) == says


@given(st.builds(Evidence, *[st.booleans()] * 2, st.sampled_from([-1, 0, 1]), st.floats(-1, 0), st.floats(0, 1)))
def test_nothing_escapes_without_identification_prediction_and_a_difference(evidence):
    if decide(evidence) == ESCAPES:
        assert evidence.told and evidence.predicted and evidence.sign > 0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, None, float("nan"), 0.6]) == [pytest.approx(0.04), None, None, pytest.approx(0.6)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(p):
    corrected: Any = holm(list(p))
    for value, own in zip(corrected, p, strict=True):
        assert own <= value <= min(1.0, len(p) * own) + 1e-12  # rounding
    for i in range(len(p)):
        for j in range(len(p)):
            assert not p[i] < p[j] or corrected[i] <= corrected[j]


def boot(*thetas):
    """A bootstrap whose only resamples are the laws given, the first being the estimate."""
    values = np.array(thetas, dtype=float)
    return Bootstrap(FLOOR.parameters, values[0], values, (values,), (len(values),))


def test_costs_errors_and_crossovers_of_known_laws():
    slow, fast = boot((0.0, 0.0, 0.25)), boot((0.01, 0.0, 0.5))
    assert of.derived(of.log10_cost(0.1), slow).estimate[0] == pytest.approx(4)
    assert of.derived(of.log10_error(1e8), slow).estimate[0] == pytest.approx(-2)
    assert of.derived(of.log10_cost_ratio(0.11), fast, slow).estimate[0] == pytest.approx(-4 * np.log10(0.11) - 2)
    # C^(-1/4) = 0.01 + C^(-1/2): with u = C^(-1/4), u² − u + 0.01 = 0, and the lower root is the later crossing
    u = (1 - np.sqrt(1 - 0.04)) / 2
    crossing = of.derived(of.log10_crossover(1e2, 1e6), fast, slow).estimate[0]
    assert crossing == pytest.approx(-4 * np.log10(u), abs=0.01)  # interpolated on a grid of 1/25 decade
    assert of.derived(of.log10_crossover(1e2, 1e6), slow, slow).estimate[0] == np.inf  # never better
    assert of.derived(of.log10_crossover(1e2, 1e6), boot((0, 1, 0.25)), slow).estimate[0] == -np.inf  # from the start


def test_what_is_never_reached_is_infinite_with_its_interval():
    found: Any = of.estimate(
        of.derived(of.log10_cost(0.005), boot((0.01, 0, 0.5), (0.001, 0, 0.5))), 0.9, of.power_of_ten
    )
    assert found.value == np.inf and np.isfinite(found.low) and found.high == np.inf


def base():
    return "task", "", "model", "other", "flop"


@pytest.mark.parametrize(
    ("training", "saving", "queries", "until"),
    [(10.0, 2.0, 5.0, None), (10.0, -2.0, np.inf, None), (-10.0, 2.0, 0.0, None), (-10.0, -2.0, 0.0, 5.0)],
)
def test_break_even_by_hand(training, saving, queries, until):
    values = np.array([[training]] * 4)
    boot = Bootstrap(("quantity",), values[0], values, (values,), (4,))
    found = _break_even(base(), boot, saving, 0.1, How())
    assert (found.queries.value, found.queries.low, found.queries.high) == (queries, queries, queries)
    assert (found.until and found.until.value) == until


def level(task, model, error):
    empty = np.empty(0)
    return Scaling(task, "", model, "flop", {}, np.array([1.0, 10.0]), np.array([2 * error, error]), empty, empty,
                   empty, empty, empty)  # fmt: skip


def test_profiles_by_hand():
    scalings = [
        level("a", "x", 1.0),
        level("a", "y", 2.0),
        level("b", "x", 3.0),
        level("b", "y", 1.0),
        level("c", "x", 1.0),
    ]
    found = profiles(scalings, ["x", "y"])
    for model, at_one, at_two, at_end in (("x", 2 / 3, 2 / 3, 1.0), ("y", 1 / 3, 2 / 3, 2 / 3)):
        tau, share = found[model]
        assert share[0] == pytest.approx(at_one) and share[-1] == pytest.approx(at_end)
        assert share[np.searchsorted(tau, 2.01)] == pytest.approx(at_two)
        assert (np.diff(share) >= 0).all()


def test_the_interquartile_mean_is_of_the_middle_half():
    values = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0, 1000.0])]
    found: Any = interquartile_means({"x": values, "y": [np.array([2.0])], "z": []}, How())
    assert found["x"].value == pytest.approx(3.5) and found["x"].low <= 3.5 <= found["x"].high
    assert found["y"].value == 2.0 and found["y"].low is None and found["y"].reason
    assert found["z"].value is None and found["z"].reason
