"""The cluster bootstrap: intervals cover at their level, what is shared drops out of a difference, clusters matter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from reports.scaling import bootstrap_chinchilla, bootstrap_power_law, fit_power_law, paired_bootstrap
from reports.scaling.bootstrap import resampled
from reports.scaling.intervals import Bootstrap, expanded_tail


def world(seed, *, floor=0.01, exponent=0.5, clusters=8, sizes=8, sigma=0.05, shared=0.1, decades=4.0):
    """Costs, errors and clusters: log-normal noise of each point, and some that all points of a cluster share."""
    rng = np.random.default_rng(seed)
    cost = np.repeat(np.logspace(0, decades, sizes), clusters)
    labels = np.tile(np.arange(clusters), sizes)
    noise = sigma * rng.standard_normal(len(cost)) + shared * rng.standard_normal(clusters)[labels]
    return cost, (floor + cost**-exponent) * np.exp(noise), labels


def coverage(worlds, method="auto", resamples=400, **settings):
    truth = {"floor": settings.get("floor", 0.01), "exponent": settings.get("exponent", 0.5)}
    hits = {name: 0 for name in truth}
    for seed in range(worlds):
        bootstrap = bootstrap_power_law(*world(seed, **settings), resamples=resamples, seed=seed)
        for name, value in truth.items():
            interval = bootstrap.interval(name, 0.9, method)
            hits[name] += interval.low <= value <= interval.high
    return {name: count / worlds for name, count in hits.items()}


def within_three_errors(share, worlds, level=0.9):
    return abs(share - level) <= 3 * np.sqrt(level * (1 - level) / worlds)  # binomial: missed once in 370


def covers(share, worlds, level=0.9, most=0.95):
    """At least the level, and at most what the widening by √(G/(G − 1)) makes of it where clusters are all that varies:
    0.934 for G = 3, less for more, and a floor that is cut off at 0 is never missed there. Three errors either way."""
    return level - 3 * np.sqrt(0.09 / worlds) <= share <= most + 3 * np.sqrt(most * (1 - most) / worlds)


@pytest.mark.parametrize(("clusters", "method"), [(3, "auto"), (12, "auto")])
def test_intervals_cover_at_their_level(clusters, method):
    worlds = 40
    for name, share in coverage(worlds, method, resamples=300, clusters=clusters).items():
        assert covers(share, worlds), f"{name}: {share}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("auto", {"clusters": 3}),
        ("auto", {"clusters": 5}),
        ("auto", {"clusters": 20}),
        ("bca", {"clusters": 20}),
        ("expanded", {"clusters": 10}),
        ("auto", {"clusters": 10, "floor": 0.0}),
        ("auto", {"clusters": 5, "exponent": 0.2, "floor": 0.1}),
    ],
    ids=str,
)
def test_intervals_cover_at_their_level_over_many_worlds(method, settings):
    worlds = 400
    for name, share in coverage(worlds, method, resamples=2 if method == "auto" else 800, **settings).items():
        assert covers(share, worlds), f"{name}: {share}"


def test_points_that_share_noise_must_be_clustered():
    """Noise that all points of a cluster share shifts the law and does not tilt it: if points are taken as independent,
    the level seems surer, and the exponent less sure, than they are."""
    cost, error, labels = world(0, sigma=0.01, shared=0.2)
    clustered, independent = bootstrap_power_law(cost, error, labels), bootstrap_power_law(cost, error)
    assert clustered.standard_error("log_scale") > independent.standard_error("log_scale")
    assert clustered.standard_error("exponent") < 0.5 * independent.standard_error("exponent")


def test_shared_noise_drops_out_of_the_difference():
    first, second = world(3, sigma=0.0, exponent=0.5), world(3, sigma=0.0, exponent=0.4)
    a, b = paired_bootstrap(first, second, resamples=200)
    difference = a.minus(b)
    assert difference.estimate[2] == pytest.approx(0.1, abs=0.02)
    assert difference.standard_error("log_scale difference") < 0.2 * a.standard_error("log_scale")


def test_a_model_differs_from_itself_by_nothing():
    a, b = paired_bootstrap(world(1), world(1), resamples=50)
    difference = a.minus(b)
    assert not difference.replicates.any() and difference.p_value("exponent difference") == 1.0


def test_the_paired_bootstrap_tells_exponents_apart_and_not_when_they_are_equal():
    a, b = paired_bootstrap(world(5, exponent=0.5), world(5, exponent=0.35), resamples=500)
    assert a.minus(b).p_value("exponent difference") < 0.01
    interval = a.minus(b).interval("exponent difference", 0.999)
    assert 0 < interval.low < 0.15 < interval.high
    null = [paired_bootstrap(world(i), world(i + 500), resamples=2) for i in range(30)]
    p = np.array([a.minus(b).p_value("exponent difference", method="jackknife") for a, b in null])
    assert covers(np.mean(p > 0.1), 30)  # independent seeds: p is uniform, a tenth of it below 0.1


def test_pairs_are_matched_by_label_and_not_by_order():
    cost, error, labels = world(2)
    order = np.random.default_rng(0).permutation(len(cost))
    a, b = paired_bootstrap((cost, error, labels), (cost[order], error[order], labels[order]), resamples=50)
    np.testing.assert_allclose(a.replicates, b.replicates, rtol=1e-5, atol=1e-7)  # sums in another order


@pytest.mark.parametrize("method", ["jackknife", "expanded"])
@pytest.mark.parametrize("clusters", [5, 12])
def test_p_values_and_intervals_agree(method, clusters):
    """A null at the end of the interval at level L has p = 1 − L, but for the step between replicates."""
    bootstrap = bootstrap_power_law(*world(4, clusters=clusters), resamples=2000)
    for level in (0.5, 0.8):
        end = bootstrap.interval("exponent", level, method).high
        assert bootstrap.p_value("exponent", end, method) == pytest.approx(1 - level, abs=0.01)


def test_intervals_nest_and_methods_are_said():
    bootstrap = bootstrap_power_law(*world(6, clusters=12))
    for method in ("auto", "jackknife", "expanded", "percentile", "bca"):
        narrow, wide = bootstrap.interval("exponent", 0.5, method), bootstrap.interval("exponent", 0.95, method)
        assert wide.low < narrow.low < narrow.high < wide.high
        assert narrow.method == ("jackknife" if method == "auto" else method)
    few = bootstrap_power_law(*world(6, clusters=4))
    assert few.interval("exponent", method="bca").method == "expanded"
    assert few.interval("exponent").method == "jackknife"
    percentile, expanded = (few.interval("exponent", method=method) for method in ("percentile", "expanded"))
    assert expanded.low <= percentile.low and percentile.high <= expanded.high
    assert bootstrap_power_law(*world(6, floor=0, clusters=4)).interval("floor").low == 0  # errors have no floor below


def test_bca_of_a_symmetric_unbiased_bootstrap_is_the_percentile_interval():
    values = np.linspace(-1, 1, 2001)[:, None]
    symmetric = Bootstrap(("x",), np.zeros(1), values, (np.linspace(-1, 1, 21)[:, None],), (21,))
    percentile, bca = (symmetric.interval("x", 0.9, method) for method in ("percentile", "bca"))
    assert (bca.low, bca.high) == pytest.approx((percentile.low, percentile.high), abs=1e-3)  # the step of the values


def test_the_jackknife_of_a_mean_is_its_standard_error():
    sample = np.random.default_rng(0).normal(size=9)
    without = np.array([np.delete(sample, i).mean() for i in range(9)])[:, None]
    mean = Bootstrap(("x",), sample.mean(keepdims=True), without, (without,), (9,))
    assert mean.standard_error("x") == pytest.approx(sample.std(ddof=1) / 3)
    half = t.ppf(0.95, 8) * np.sqrt(9 / 8) * sample.std(ddof=1) / 3  # √(G/(G − 1)) wider than Student's
    interval = mean.interval("x")
    assert (interval.low, interval.high) == pytest.approx((sample.mean() - half, sample.mean() + half))
    assert mean.p_value("x", interval.low) == pytest.approx(0.1)


@given(st.integers(0, 1000), st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]))
@settings(max_examples=20, deadline=None)
def test_two_crossed_factors_have_the_variance_of_their_mean(seed, effects):
    """Of a mean over a draws × b seeds with effects of either and noise in each: no less than any part says, and
    Satterthwaite's degrees of freedom lie between the fewest and the most."""
    a, b, rng = 4, 5, np.random.default_rng(seed)
    table = effects[0] * rng.normal(size=(a, 1)) + effects[1] * rng.normal(size=(1, b)) + 0.3 * rng.normal(size=(a, b))
    without = [
        np.array([np.delete(table, i, 0).mean() for i in range(a)]),
        np.array([np.delete(table, i, 1).mean() for i in range(b)]),
        np.array([(table.sum() - x) / (a * b - 1) for x in table.ravel()]),
    ]
    mean = Bootstrap(("x",), table.mean(keepdims=True)[0], np.full((2, 1), table.mean()),
                     tuple(w[:, None] for w in without), (a, b))  # fmt: skip
    rows, columns, cells = (
        table.mean(1).std(ddof=1) ** 2 / a,
        table.mean(0).std(ddof=1) ** 2 / b,
        table.var() / (a * b - 1),
    )
    error, degrees = mean._spread(0)
    assert error**2 == pytest.approx(cells + max(rows - cells, 0) + max(columns - cells, 0))
    assert min(a, b) - 1 <= degrees * (1 + 1e-9) and degrees <= a + b + a * b
    for unit in (1e-140, 1e140):  # at which the squares of variances are no numbers any more
        scaled = replace(mean, jackknife=tuple(jack * unit for jack in mean.jackknife))
        assert scaled._spread(0) == pytest.approx((error * unit, degrees))


def test_expanded_tails_come_down_to_the_plain_ones():
    assert expanded_tail(0.05, 10**7) == pytest.approx(0.05, rel=1e-5)
    assert expanded_tail(0.05, 3) < expanded_tail(0.05, 10) < 0.05


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_weights_are_whole_clusters(draws, seeds, seed):
    draw, run = (x.ravel() for x in np.meshgrid(np.arange(draws), np.arange(seeds)))
    weights, without = resampled((draw, run), 40, seed)
    assert (weights == weights.round()).all() and (weights.sum(1) == draws * seeds).all()  # a full grid stays as large
    for row in weights[:5]:
        grid = row.reshape(seeds, draws)
        assert np.linalg.matrix_rank(grid) == 1  # a product of how often each draw and each seed came
    assert [len(w) for w in without] == [draws, seeds, draws * seeds]  # and each crossing
    assert (without[0].sum(1) == (draws - 1) * seeds).all()


def test_two_factors_widen_the_interval_of_one():
    cost, error, labels = world(7, clusters=12)
    draw, run = labels // 3, labels % 3
    both = bootstrap_power_law(cost, error, (draw, run), resamples=500)
    assert both.levels == (4, 3) and len(both.jackknife) == 3
    assert both.standard_error("log_scale") > bootstrap_power_law(cost, error, draw).standard_error("log_scale")


def test_the_same_seed_gives_the_same_replicates():
    first, second, other = (bootstrap_power_law(*world(0), resamples=30, seed=seed) for seed in (1, 1, 2))
    assert (first.replicates == second.replicates).all() and (first.replicates != other.replicates).any()
    fit = fit_power_law(*world(0)[:2])
    assert tuple(first.estimate) == (fit.floor, fit.log_scale, fit.exponent)


def test_cost_to_an_error_has_an_interval_and_is_infinite_below_the_floor():
    bootstrap = bootstrap_power_law(*world(8, clusters=12))
    reached = bootstrap.log10_cost_to([0.1, 0.001])
    interval = reached.interval("0.1")
    truth = np.log10(0.09**-2)
    assert interval.low < truth < interval.high
    assert np.isinf(reached.interval("0.001").high) and reached.interval("0.001").method == "expanded"
    ratio = reached.minus(reached)
    assert not ratio.values("0.1 difference").any() and np.isnan(ratio.values("0.001 difference")).any()


def test_chinchilla_replicates_scatter_about_the_planted_law():
    rng = np.random.default_rng(0)
    n, d = (x.ravel() for x in np.meshgrid(np.logspace(6, 10, 8), np.logspace(8, 12, 8)))
    loss = (1.7 + 400 / n**0.34 + 2000 / d**0.37) * np.exp(0.005 * rng.standard_normal(64))
    bootstrap = bootstrap_chinchilla(n, d, loss, resamples=300)
    for name, value in (("floor", 1.7), ("exponent_n", 0.34), ("exponent_d", 0.37)):
        interval = bootstrap.interval(name, 0.999)
        assert interval.low < value < interval.high


def test_bad_input_is_named():
    cost, error, labels = world(0)
    with pytest.raises(ValueError, match="one cluster"):
        bootstrap_power_law(cost, error, np.zeros(len(cost)))
    with pytest.raises(ValueError, match="one label a point"):
        bootstrap_power_law(cost, error, labels[:-1])
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_power_law(cost, error, labels, resamples=1)
    with pytest.raises(ValueError, match="same clusters in both"):
        paired_bootstrap((cost, error, labels), (cost, error, labels + 1))
    with pytest.raises(ValueError, match="share them"):
        paired_bootstrap((cost, error, labels), (cost, error, (labels, labels)))
    bootstrap = bootstrap_power_law(cost, error, labels, resamples=10)
    for call, says in (
        (lambda: bootstrap.interval("exponents"), "there are floor, log_scale, exponent"),
        (lambda: bootstrap.interval("exponent", 90), "level"),
        (lambda: bootstrap.interval("exponent", method="best"), "method must be"),
        (lambda: bootstrap.p_value("exponent", method="bca"), "p values"),
        (lambda: bootstrap.minus(bootstrap_power_law(cost, error, labels, resamples=11)), "same resamples"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
