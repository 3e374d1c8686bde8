"""Figures of classifiers, and the price of acting, on cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.metrics.calibration import auroc, brier_score, expected_calibration_error
from experiments.metrics.ratios import interventional_ratio


@pytest.mark.parametrize("seed", range(5))
def test_auroc_counts_pairs(seed: int) -> None:
    """Every positive against every negative, ties half: many ties here, scores being whole numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(60) < 7 + 10 * seed)
    scores = rng.integers(0, 8, 60) + 2 * labels
    above = scores[labels][:, None] - scores[~labels]
    assert auroc(scores, labels) == pytest.approx(np.mean(np.sign(above) / 2 + 0.5), abs=1e-12)
    # Order alone counts, and the opposite order gives what is missing to 1.
    assert auroc(np.exp(scores), labels) == auroc(scores, labels)
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_auroc_of_extremes() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auroc(np.array([0.1, 0.2, 0.3, np.inf]), labels) == 1
    assert auroc(np.zeros(4), labels) == 0.5
    assert math.isnan(auroc(np.array([0.1, np.nan, 0.3, 0.4]), labels))
    with pytest.raises(ValueError, match="both 0 and 1, but all 4 are 1"):
        auroc(np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match="labels must be 0 or 1, but they hold 2"):
        auroc(np.zeros(2), np.array([1, 2]))
    with pytest.raises(ValueError, match=r"\(n,\) with n above 0"):
        auroc(np.zeros(3), np.ones(4))


def test_brier_score() -> None:
    assert brier_score(np.array([1.0, 0.0]), np.array([1, 0])) == 0
    assert brier_score(np.full(6, 0.5), np.array([1, 0, 0, 1, 1, 1])) == 0.25
    assert brier_score(np.array([0.8, 0.3]), np.array([1, 1])) == pytest.approx((0.04 + 0.49) / 2)
    with pytest.raises(ValueError, match=r"0 to 1, but there is 1\.5"):
        brier_score(np.array([1.5]), np.array([1]))


def test_calibration_of_what_is_said_with_the_right_frequency() -> None:
    """Ten cases each said with p = 0, .1, …, 1, of which just so many happen: no error, whatever the ranking."""
    p = np.repeat(np.arange(11) / 10, 10)
    labels = np.tile(np.arange(10), 11) < 10 * p - 0.5
    assert expected_calibration_error(p, labels, bins=20) == pytest.approx(0, abs=1e-12)
    # Certainty where half happen is off by a half; and half of the cases off by .3 are .15 on the whole.
    assert expected_calibration_error(np.ones(4), np.array([1, 0, 1, 0])) == 0.5
    p, labels = np.repeat([0.2, 0.8], 10), np.tile(np.arange(10), 2) < np.repeat([5, 8], 10)
    assert expected_calibration_error(p, labels, bins=5) == pytest.approx(0.15)
    assert math.isnan(expected_calibration_error(np.array([np.nan, 1.0]), np.array([0, 1])))
    with pytest.raises(ValueError, match="bins must be 1 or more"):
        expected_calibration_error(p, labels, bins=0)


def test_calibration_error_of_calibrated_draws_is_their_scatter() -> None:
    """Labels drawn with the probability said: each bin is off by a normal deviate of standard deviation
    sqrt(p (1 - p) n_bin) cases, whose mean size is sqrt(2 / pi) times that."""
    rng, n, bins = np.random.default_rng(0), 20_000, 10
    p = rng.uniform(size=n)
    value = expected_calibration_error(p, rng.uniform(size=n) < p, bins)
    variance = np.array([np.sum((p * (1 - p))[(p * bins).astype(int) == k]) for k in range(bins)])
    expected = math.sqrt(2 / math.pi) * np.sqrt(variance).sum() / n
    # Four standard deviations of a sum of ten half-normal deviates: sqrt(1 - 2 / pi) of each one's own.
    assert abs(value - expected) < 4 * math.sqrt((1 - 2 / math.pi) * variance.sum()) / n


def test_the_interventional_ratio_is_a_geometric_mean() -> None:
    metrics = {
        "rollout_nrmse": 0.1,
        "ood/clamped/error_ratio": 2.0,
        "ood/kick/error_ratio": 8.0,
        "ood/new/error_ratio": 9.0,
    }
    assert interventional_ratio(metrics, ["clamped", "kick"]) == pytest.approx(4.0)
    assert interventional_ratio(metrics | {"ood/kick/error_ratio": math.inf}, ["clamped", "kick"]) == math.inf
    assert interventional_ratio(metrics | {"ood/kick/error_ratio": 0.0}, ["clamped", "kick"]) == 0
    for sets in ([], ["clamped", "unknown"]):
        assert math.isnan(interventional_ratio(metrics, sets))
    assert math.isnan(interventional_ratio(metrics | {"ood/kick/error_ratio": None}, ["kick"]))
