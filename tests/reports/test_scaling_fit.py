"""Scaling fits: planted laws come back, units do not matter, bad input is named, and flat data are called flat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from reports.scaling import fit_chinchilla, fit_power_law
from reports.scaling.core import fit_form
from reports.scaling.forms import BROKEN, CHINCHILLA, EXPONENTIAL, FLOOR, POWER
from reports.scaling.solver import Points, _expand, huber, log_model, minimise, terms

COST = np.logspace(6, 10, 25)

# Floors from none to a tenth of the error at the largest cost and up: E is told where it shows.
laws = st.tuples(
    st.one_of(st.just(0.0), st.floats(0.1, 10)),  # E over the power part at the largest cost
    st.floats(-3, 3),  # log10 of the power part at the smallest cost
    st.floats(0.05, 1.2),  # α
)


def planted(law, cost=COST):
    share, start, exponent = law
    power = 10**start * (cost / cost[0]) ** -exponent
    floor = share * power[-1]
    return floor, 10**start * cost[0] ** exponent, floor + power


def noisy(seed=0, floor=0.01, exponent=0.5, decades=4.0, n=25, sigma=0.05):
    rng = np.random.default_rng(seed)
    cost = np.logspace(0, decades, n)
    return cost, (floor + cost**-exponent) * np.exp(sigma * rng.standard_normal(n))


@given(laws)
@settings(max_examples=12, deadline=None)
def test_a_planted_law_comes_back(law):
    floor, scale, error = planted(law)
    fit = fit_power_law(COST, error)
    assert fit.exponent == pytest.approx(law[2], rel=1e-6)  # the brief's tolerance; 1e-9 and better is usual
    assert fit.scale == pytest.approx(scale, rel=1e-5)  # A is the error at C = 1, six decades away: 14·Δα
    assert fit.floor == pytest.approx(floor, rel=1e-6, abs=1e-6 * error[-1])
    np.testing.assert_allclose(fit.error(COST), error, rtol=1e-6)


@given(laws, st.integers(0, 100), st.floats(-6, 6), st.floats(-6, 6))
@settings(max_examples=8, deadline=None)
def test_units_of_cost_and_error_do_not_matter(law, seed, log_cost_unit, log_error_unit):
    """k·C multiplies A by k^α and changes nothing else; k·error scales E and A. The solver stops at 1e-13 of the
    objective, so at some 1e-6 of a parameter. A flat law may sit anywhere in its plain, but its curve may not."""
    _, _, error = planted(law)
    error = error * np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(COST)))
    k, m = 10**log_cost_unit, 10**log_error_unit
    fit, other = fit_power_law(COST, error), fit_power_law(COST * k, error * m)
    np.testing.assert_allclose(other.error(COST * k), fit.error(COST) * m, rtol=1e-4)
    assert other.objective == pytest.approx(fit.objective, rel=1e-6)
    assert other.decades == pytest.approx(fit.decades)
    assert other.identifiability.verdict == fit.identifiability.verdict
    if not fit.identifiability.identified:
        return
    assert other.exponent == pytest.approx(fit.exponent, rel=1e-5)
    assert other.floor == pytest.approx(fit.floor * m, rel=1e-5, abs=1e-5 * m * error.min())
    assert other.log_scale == pytest.approx(fit.log_scale + fit.exponent * np.log(k) + np.log(m), abs=1e-3)
    assert other.residual_scale == pytest.approx(fit.residual_scale, rel=1e-4)


@given(st.permutations(range(25)))
@settings(max_examples=4, deadline=None)
def test_the_order_of_points_does_not_matter(order):
    cost, error = noisy()
    fit, other = fit_power_law(cost, error), fit_power_law(cost[order], error[order])
    assert (other.floor, other.exponent) == pytest.approx((fit.floor, fit.exponent), rel=1e-6)


def test_the_planted_chinchilla_law_comes_back():
    n, d = (x.ravel() for x in np.meshgrid(np.logspace(6, 10, 9), np.logspace(8, 12, 9)))
    fit = fit_chinchilla(n, d, 1.7 + 400 / n**0.34 + 2000 / d**0.37)
    found = (fit.floor, fit.exponent_n, fit.exponent_d, fit.scale_n, fit.scale_d)
    assert found == pytest.approx((1.7, 0.34, 0.37, 400, 2000), rel=1e-6)
    assert fit.identifiability.identified
    assert fit.optimal_exponent == pytest.approx(0.37 / 0.71)
    assert fit.error(1e8, 1e10) == pytest.approx(1.7 + 400 / 1e8**0.34 + 2000 / 1e10**0.37)


@pytest.mark.parametrize("form", [POWER, FLOOR, EXPONENTIAL, BROKEN, CHINCHILLA], ids=lambda form: form.name)
def test_the_derivatives_are_those_of_the_loss(form):
    rng = np.random.default_rng(0)
    inputs = np.exp(rng.normal(size=(2 if form is CHINCHILLA else 1, 30)))
    features = form.candidates(inputs)[0](inputs)
    points = Points(rng.normal(size=30), features, 0.7)  # some residuals on either side of δ
    theta = np.abs(rng.normal(size=(1, len(form.parameters)))) + 0.1
    weights = rng.uniform(0.5, 2, 30)

    def loss(x):
        return float((weights * huber(log_model(x, features) - points.log_y, 0.7)).sum())

    value, gradient, hessian, _ = _expand(points, theta, weights)
    assert value[0] == pytest.approx(loss(theta))
    for i in range(theta.shape[1]):
        h = 1e-5
        up, down = theta.copy(), theta.copy()
        up[0, i] += h
        down[0, i] -= h
        # Central differences of step 1e-5: their error is some 1e-10, and rounding 1e-16/1e-5 times the loss.
        assert gradient[0, i] == pytest.approx((loss(up) - loss(down)) / (2 * h), abs=1e-7)
        slopes = (_expand(points, up, weights)[1] - _expand(points, down, weights)[1])[0] / (2 * h)
        np.testing.assert_allclose(hessian[0, i], slopes, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_optimiser_finds_a_better_fit(seed):
    """scipy's L-BFGS-B and Nelder–Mead from the planted law, and from beside it, find no lower loss."""
    cost, error = noisy(seed, floor=0.02, sigma=0.1)
    fit = fit_form(FLOOR, cost[None], error)
    points = fit.points[0]

    def loss(x):
        return float(huber(log_model(np.array([[abs(x[0]), *x[1:]]]), points.features) - points.log_y, fit.delta).sum())

    rng = np.random.default_rng(seed)
    for method in ("L-BFGS-B", "Nelder-Mead"):
        start = fit.theta * (1 + 0.3 * rng.standard_normal(3))
        # The search stops at 1e-10 of the loss or so.
        assert minimize(loss, start, method=method).fun >= fit.objective * (1 - 1e-8)


def test_fits_of_a_batch_do_not_know_of_each_other():
    cost, error = noisy()
    fit = fit_form(FLOOR, cost[None], error)
    weights = np.random.default_rng(0).multinomial(25, np.full(25, 0.04), size=300).astype(float)
    together, _ = minimise(fit.points[0], np.repeat(fit.theta[None], 300, 0), weights)
    for row in (0, 150, 299):
        alone, _ = minimise(fit.points[0], fit.theta[None], weights[row])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-6, atol=1e-9)  # sums in another order


def test_one_wild_point_moves_the_fit_little():
    """The influence of a point is bounded: a hundredfold error moves α no more than one ten times as large does."""
    cost, error = noisy(sigma=0.02)
    exponents = []
    for factor in (1, 10, 1000):
        wild = error.copy()
        wild[12] *= factor
        exponents.append(fit_power_law(cost, wild).exponent)
    assert abs(exponents[1] - exponents[0]) < 0.02
    assert abs(exponents[2] - exponents[1]) < 0.005


def test_cost_undoes_error_and_floors_are_never_reached():
    fit = fit_power_law(*noisy())
    assert fit.cost(fit.error([1e2, 1e5])) == pytest.approx([1e2, 1e5], rel=1e-9)
    assert np.isinf(fit.cost([fit.floor, fit.floor / 2])).all()
    cost, error = noisy(floor=0, exponent=-0.3)
    rising = fit_power_law(cost, error)
    assert rising.exponent < 0 and np.isinf(rising.cost(1e-3))


def test_a_floor_that_shows_and_one_that_is_absent_are_told():
    for floor in (0.0, 0.03):
        fit = fit_power_law(*noisy(floor=floor, sigma=0.02))
        judged = fit.identifiability
        assert judged.verdict == "identified", judged.reasons
        for name, value in (("floor", fit.floor), ("exponent", fit.exponent)):
            low, high = judged.intervals[name]
            assert low <= value <= high and (low, high) != (value, value)


def test_profile_intervals_cover_at_their_level():
    hits = []
    for world in range(40):
        cost, error = noisy(world, floor=0.02, sigma=0.05)
        low, high = fit_power_law(cost, error).identifiability.intervals["exponent"]
        hits.append(low <= 0.5 <= high)
    # 90% of 40, less three binomial standard errors of 4.7%: a right interval fails once in a thousand.
    assert np.mean(hits) > 0.9 - 3 * np.sqrt(0.09 / 40)


def test_cannot_tell():
    short = fit_power_law(*noisy(decades=2.4, sigma=0.001)).identifiability
    assert short.verdict == "cannot tell" and "2.4 decades" in short.reasons[0]
    assert fit_power_law(*noisy(decades=2.5, sigma=0.001)).identifiability.identified
    rng = np.random.default_rng(1)
    flat = fit_power_law(np.logspace(0, 4, 20), np.exp(0.2 * rng.standard_normal(20))).identifiability
    assert any("floor" in reason for reason in flat.reasons)  # no floor, or nothing but one
    hidden = fit_power_law(*noisy(floor=0.005, exponent=0.2, decades=2.6, n=10, sigma=0.15)).identifiability
    assert hidden.verdict == "cannot tell"
    few = fit_power_law([1, 1e2, 1e4], [1, 0.1, 0.05]).identifiability
    assert "leave nothing" in few.reasons[0] and not few.intervals


@pytest.mark.parametrize(
    ("cost", "error", "says"),
    [
        ([1, 10, 100], [1, 0.5, 0], "error must be positive and finite; point 2 is 0"),
        ([1, 10, -1], [1, 0.5, 0.1], "cost must be positive and finite; point 2 is -1"),
        ([1, np.inf, 100], [1, 0.5, 0.1], "point 1 is inf"),
        ([1, 10, 100], [np.nan, 0.5, 0.1], "point 0 is nan"),
        ([1, 10], [1, 0.5], "3 parameters need at least 3 points, got 2"),
        ([], [], "got 0"),
        ([10, 10, 10], [1, 0.5, 0.1], r"the same cost \(10\)"),
        ([1, 10, 100], [1, 0.5], "lengths"),
        ([[1, 10, 100]], [1, 0.5, 0.1], "flat list"),
    ],
)
def test_bad_input_is_named(cost, error, says):
    with pytest.raises(ValueError, match=says):
        fit_power_law(cost, error)


def test_more_bad_input_is_named():
    with pytest.raises(ValueError, match="delta"):
        fit_power_law(*noisy(), delta=0)
    with pytest.raises(ValueError, match="5 parameters need"):
        fit_chinchilla([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1])
    with pytest.raises(ValueError, match="the same n"):
        fit_chinchilla([1] * 5, [1, 2, 3, 4, 5], [1] * 5)


def test_extreme_but_valid_input_is_fitted():
    """Constant errors, tiny and huge units, a step: a finite fit and no warning (warnings are errors here)."""
    cost = np.logspace(0, 4, 12)
    for error in (np.ones(12), np.full(12, 1e-250), np.where(cost > 50, 1e-8, 1.0), np.where(cost < 2, 1e6, 1.0)):
        fit = fit_power_law(cost * 1e200, error)
        assert np.isfinite([fit.floor, fit.exponent, fit.log_scale, fit.objective]).all()


def test_degenerate_fits_end():
    """Two terms of the same feature, terms that vanish everywhere, weights of one point: no error."""
    n = np.logspace(0, 3, 8)
    fit = fit_chinchilla(n, n, 1 + 1 / n)
    np.testing.assert_allclose(fit.error(n, n), 1 + 1 / n, rtol=1e-6)
    assert fit.identifiability.verdict == "cannot tell"
    fitted = fit_form(CHINCHILLA, np.stack([n, n]), 1 + 1 / n)
    starts = np.array([[1.0, -800, 1, -800, 1], [0, -800, 1, -800, 1], [0, 800, 1, 0, 1], [1, 0, 1, 0, 1]])
    for weights in (np.ones(8), np.eye(8)[:4], np.zeros(8)):
        theta, objective = minimise(fitted.points[0], starts, weights)
        assert np.isfinite(theta).all() and not np.isnan(objective).any()


def test_terms_add_up():
    theta = np.array([[0.5, 0.1, 0.2, -0.3, 0.4]])
    features = (np.array([[0.0, 1.0]]), np.array([[2.0, 3.0]]))
    by_hand = 0.5 + np.exp(0.1 - 0.2 * features[0][0]) + np.exp(-0.3 - 0.4 * features[1][0])
    np.testing.assert_allclose(0.5 + np.sum(terms(theta, features), axis=0)[0], by_hand)
    np.testing.assert_allclose(np.exp(log_model(theta, features))[0], by_hand)
