"""Published figures come out again: Thompson's regressions and toy, the re-fit of the Chinchilla law.

The data are not part of this repository. The environment variable ANCHORS names their folder; without them these tests
are skipped, and say so.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from reports.scaling import bootstrap_chinchilla, fit_chinchilla
from reports.scaling.thompson import MODELS, regress, toy

FOLDER = Path(os.environ.get("ANCHORS", Path(__file__).parents[3] / "shared" / "anchors"))


def read(name):
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"NOT CHECKED against published figures: no {name}; set ANCHORS to the folder that holds it")
    return np.genfromtxt(path, delimiter=",", names=True)


# Thompson et al. 2020, as in section 7 of the design: n, a, b, R². Four digits and three are given.
@pytest.mark.parametrize(
    ("name", "column", "points", "intercept", "exponent", "r_squared"),
    [
        ("thompson_imagenet.csv", "network_operations_flop", 77, -0.8539, 0.0836, 0.720),
        ("thompson_imagenet.csv", "hardware_burden_flop", 36, -1.1563, 0.0933, 0.766),
        ("thompson_squad.csv", "hardware_burden_flop", 12, -1.1230, 0.0956, 0.872),
    ],
)
def test_the_regressions_of_thompson(name, column, points, intercept, exponent, r_squared):
    table = read(name)
    known = np.isfinite(table[column])
    found = regress(table[column][known], 1 - table["score"][known] / 100)
    assert found.points == points
    assert found.intercept == pytest.approx(intercept, abs=5.1e-5)  # half of the last digit given
    assert found.exponent == pytest.approx(exponent, abs=5.1e-5)
    assert found.r_squared == pytest.approx(r_squared, abs=5.1e-4)


def chinchilla():
    table = read("chinchilla_fig4.csv")
    assert len(table) == 245
    table = np.sort(table, order="loss")[:-5]  # the five of highest loss are left out
    return table["model_size"], table["training_flop"] / (6 * table["model_size"]), table["loss"]


def test_the_refit_of_the_chinchilla_law():
    """Besiroglu et al. 2024 (arXiv 2404.10102) and section 7 of the design, with their δ = 0.001."""
    fit = fit_chinchilla(*chinchilla(), delta=1e-3)
    assert fit.objective == pytest.approx(0.00101827, abs=5.1e-9)
    assert fit.floor == pytest.approx(1.8172, abs=5.1e-5)
    assert fit.exponent_n == pytest.approx(0.3473, abs=5.1e-5)
    assert fit.exponent_d == pytest.approx(0.3672, abs=5.1e-5)
    assert fit.scale_n == pytest.approx(478, abs=0.51)
    assert fit.scale_d == pytest.approx(2144, abs=1.1)  # "≈": 2143.4 at a gradient of 1e-12
    assert fit.identifiability.identified


def test_the_bootstrap_of_the_chinchilla_law_agrees_with_the_published_one():
    """Besiroglu et al. give standard errors of 0.03, 0.02 and 0.02 for E, α and β: digits that rounding has left."""
    bootstrap = bootstrap_chinchilla(*chinchilla(), resamples=1000, delta=1e-3)
    for name, error in (("floor", 0.03), ("exponent_n", 0.02), ("exponent_d", 0.02)):
        assert bootstrap.values(name).std() == pytest.approx(error, abs=0.0065)


def test_the_toy_of_thompson():
    """The expert leads early, hits the floor of the feature that it lacks, and is overtaken; the oracle never is."""
    samples = (20, 60, 200, 600, 2000)
    found = toy(samples, repeats=1)
    oracle, expert, flexible, regularised = found.error
    assert MODELS == ("oracle", "expert", "flexible", "regularised")
    assert (expert[:2] < np.minimum(flexible, regularised)[:2]).all()  # it leads early
    assert 0.1 < expert[-1] < 0.11 and expert[-2] < 0.115  # a tenth of the variance lies in what it lacks
    assert (regularised[2:] < expert[2:]).all()  # and is overtaken
    assert flexible[-1] < 1.1 * expert[-1] < flexible[-2]  # in the end, even by what knows nothing
    assert (oracle <= found.error).all()
    assert oracle[0] > 10 * oracle[-1] and oracle[-1] < 1e-3
    assert (found.flop[1] < 0.05 * found.flop[2:]).all()  # knowing is cheap
    assert found.error.shape == found.flop.shape == (4, 5) and found.repeats == 1


def test_the_oracle_of_the_toy_has_the_error_that_theory_gives():
    """Least squares on k of k normal features: expected excess σ²·k/(n − k − 1), over the variance k of the truth."""
    found = toy((60,), features=40, repeats=60, noise=0.5)
    # A median of 60 draws of a χ² of 10: 7% of standard error, and 7% below the mean.
    assert found.error[0, 0] == pytest.approx(0.25 / 49, rel=0.28)
    with pytest.raises(ValueError, match="10 samples at least"):
        toy((5,))


def test_a_regression_recovers_its_line():
    cost = np.logspace(3, 9, 7)
    found = regress(cost, 10**-0.5 * cost**-0.1)
    assert (found.intercept, found.exponent, found.r_squared) == pytest.approx((0.5, 0.1, 1.0))
    assert found.cost(10**-1.5) == pytest.approx(1e10)
    with pytest.raises(ValueError, match="same cost"):
        regress([1, 1, 1], [1, 2, 3])
