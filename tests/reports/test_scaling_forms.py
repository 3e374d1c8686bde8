"""The held-out decade and the frontier: each form predicts its own worlds, and noise makes no frontier."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.scaling import compare_forms, frontier
from reports.scaling.forms import BREAK_WIDTH, BROKEN, EXPONENTIAL, FLOOR, POWER

COST = np.logspace(0, 4, 40)
WORLDS = {
    "power": COST**-0.3,
    "power + floor": 0.05 + COST**-0.5,  # the floor shows below the top decade
    "broken power": COST**-0.2 * (1 + (COST / 30) ** (1 / BREAK_WIDTH)) ** (-0.4 * BREAK_WIDTH),
    "exponential": 0.1 + np.exp(-COST / 200),
}


def noisy(name, seed, sigma=0.03):
    return WORLDS[name] * np.exp(sigma * np.random.default_rng(seed).standard_normal(len(COST)))


@pytest.mark.parametrize("name", WORLDS)
def test_each_form_predicts_its_own_world(name):
    compared = compare_forms(COST, noisy(name, 0), level=0.99)
    own = compared.forecast(name)
    assert own.predicts and own.inside > 0.8  # one in a hundred outside, and ten points
    # The noise is 0.03, whose mean size is 0.024; extrapolation adds to it. A wrong form is off by a factor.
    assert own.score < 0.1
    wrong = {"power": "exponential", "exponential": "power"}.get(name, "exponential" if "broken" in name else "power")
    assert compared.forecast(wrong).score > 3 * own.score  # it may be in its interval, which a bad fit makes wide
    assert [f.score for f in compared.forecasts] == sorted(f.score for f in compared.forecasts)
    # Edges: 40 points over 4 decades; one decade of them is held out and the point on its edge is not.
    assert compared.fitted + len(compared.cost) == 40 and compared.cost[0] > COST[-1] / 10 >= COST[compared.fitted - 1]


def test_the_held_out_decade_is_inside_its_interval_as_often_as_it_says():
    worlds, hits = 30, {"power": 0, "power + floor": 0}
    for seed in range(worlds):
        for form in (POWER, FLOOR):
            forecast = compare_forms(COST, noisy(form.name, seed), forms=(form,)).forecasts[0]
            hits[form.name] += forecast.predicts
    for name, count in hits.items():
        assert abs(count / worlds - 0.9) <= 3 * np.sqrt(0.09 / worlds), name  # binomial, three standard errors


@pytest.mark.parametrize("form", [POWER, FLOOR], ids=lambda form: form.name)
def test_at_one_less_p_the_interval_ends_at_the_bias(form):
    for seed in range(3):
        found = compare_forms(COST, noisy("power + floor", seed), forms=(form,)).forecasts[0]
        assert found.predicts == (found.p >= 1 - found.level)
        if form is POWER:  # of a floor at 0, what it may be depends on the level too
            again = compare_forms(COST, noisy("power + floor", seed), forms=(form,), level=1 - found.p).forecasts[0]
            assert again.bias_interval[1] == pytest.approx(abs(again.bias))


def test_a_floor_that_the_fit_holds_at_0_is_not_taken_as_known():
    """Where no floor fits best, the law with one predicts what the plain power does, and is less sure of it."""
    held = 0
    for seed in range(6):
        both = compare_forms(COST, noisy("power", seed), forms=(POWER, FLOOR))
        power, floor = both.forecast("power"), both.forecast("power + floor")
        if np.allclose(power.predicted, floor.predicted, rtol=1e-3):  # so the floor is 0
            held += 1
            assert floor.bias_interval[1] > 1.02 * power.bias_interval[1]
    assert held


def test_clusters_that_share_noise_widen_the_interval_of_the_decade():
    """Ten seeds whose slopes differ: as points of their own they would be surer than as seeds."""
    rng = np.random.default_rng(3)
    cost, seed = np.tile(COST, 10), np.repeat(np.arange(10), len(COST))
    error = cost**-0.3 * np.exp(
        0.02 * np.log(cost) * rng.standard_normal(10)[seed] + 0.01 * rng.standard_normal(len(cost))
    )
    together = compare_forms(cost, error, seed, forms=(POWER,)).forecasts[0]
    alone = compare_forms(cost, error, forms=(POWER,)).forecasts[0]
    assert together.bias == alone.bias and together.bias_interval[1] > 2 * alone.bias_interval[1]


@given(st.floats(-6, 6), st.floats(-6, 6))
@settings(max_examples=5, deadline=None)
def test_units_do_not_change_the_comparison(log_cost, log_error):
    error = noisy("power + floor", 1)
    plain = compare_forms(COST, error)
    other = compare_forms(COST * 10**log_cost, error * 10**log_error)
    for forecast in plain.forecasts:
        twin = other.forecast(forecast.form)
        assert twin.score == pytest.approx(forecast.score, rel=1e-3)  # the solver's 1e-6 in α, over a decade, and more
        np.testing.assert_allclose(twin.predicted, forecast.predicted * 10**log_error, rtol=1e-3)


def test_forms_count_their_parameters():
    assert [form.degrees for form in (POWER, FLOOR, BROKEN, EXPONENTIAL)] == [2, 3, 4, 3]


def test_the_break_is_found_where_it_is():
    held = compare_forms(COST, WORLDS["broken power"], forms=(BROKEN,)).forecasts[0]
    np.testing.assert_allclose(
        held.predicted, WORLDS["broken power"][-len(held.predicted) :], rtol=0.1
    )  # knots every fifth of a decade


def test_too_little_below_is_named():
    with pytest.raises(ValueError, match="lie below the top 1 decades"):
        compare_forms([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    with pytest.raises(ValueError, match="decades must be positive"):
        compare_forms(COST, COST, decades=0)
    with pytest.raises(ValueError, match="no form is called"):
        compare_forms(COST, noisy("power", 0), forms=(POWER,)).forecast("cubic")


def test_the_frontier_is_the_lower_envelope():
    """Three sizes, each with a plateau of its own: the frontier goes from one to the next."""
    cost = np.logspace(0, 4, 17)
    points = [(c, 0.5 / size + c**-0.5 * size**0.7, f"{size}@{c:g}") for size in (1, 4, 16) for c in cost]
    c, e, labels = map(np.array, zip(*points, strict=True))
    found = frontier(c, e, labels)
    best = np.array([e[c == x].min() for x in cost])
    np.testing.assert_allclose(found.cost, cost)
    np.testing.assert_allclose(found.error, best)
    sizes = [int(label.split("@")[0]) for label in found.labels]
    assert sizes == sorted(sizes) and set(sizes) == {1, 4, 16}
    assert found.members.sum() == len(cost) and set(labels[found.members]) == set(found.labels)


def test_a_lucky_seed_makes_no_frontier():
    cost = np.repeat([1.0, 1.01], 5)
    error = np.array([0.5, 0.5, 0.5, 0.5, 0.01, 0.4, 0.4, 0.4, 0.4, 0.4])  # the first has the least error of all
    found = frontier(cost, error, np.repeat(["lucky", "better"], 5))
    assert list(found.labels) == ["better"] and found.error[0] == pytest.approx(0.4)


def test_a_plateau_stays_and_what_is_worse_beyond_noise_goes():
    rng = np.random.default_rng(0)
    cost = np.repeat(np.logspace(0, 4, 9), 5)
    level = np.repeat(np.maximum(np.logspace(0, -4, 9), 1e-2), 5)  # comes down to 0.01 and stays
    labels = np.repeat(np.arange(9), 5)
    noise = np.exp(0.05 * rng.standard_normal(45))
    assert frontier(cost, level * noise, labels, z=3).members.all()
    worse = np.where(labels == 7, 2.0, 1.0)
    assert set(frontier(cost, level * worse * noise, labels, z=3).labels) == set(range(9)) - {7}


@given(st.lists(st.tuples(st.floats(0, 6), st.floats(-3, 3)), min_size=1, max_size=30), st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_with_one_seed_the_frontier_falls(points, shift):
    """Noise is then taken as none: errors fall along the frontier, its last is the least, and units do not matter."""
    c, e = (10 ** np.array(column) for column in zip(*points, strict=True))
    found = frontier(c, e, np.arange(len(c)))
    assert (np.diff(found.cost) > 0).all() and (np.diff(found.error) <= 0).all()
    assert found.error[-1] == pytest.approx(e.min())
    again = frontier(c, e * 10**shift, np.arange(len(c)))
    if len(np.unique(e)) == len(e) and np.diff(np.sort(np.log(e)), prepend=-np.inf).min() > 1e-9:  # no ties
        assert list(again.labels) == list(found.labels)


def test_bad_frontiers_are_named():
    with pytest.raises(ValueError, match="one label a point"):
        frontier([1, 2], [1, 2], ["a"])
    with pytest.raises(ValueError, match="per_decade"):
        frontier([1, 2], [1, 2], ["a", "b"], per_decade=0)
    with pytest.raises(ValueError, match="error must be positive"):
        frontier([1, 2], [1, np.nan], ["a", "b"])
