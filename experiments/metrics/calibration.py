"""How good a classifier's scores and probabilities are: plain functions of scores and labels, in NumPy."""

from __future__ import annotations

import numpy as np


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the receiver operating characteristic: P(score of a positive > that of a negative) + P(equal) / 2.

    `scores`, `labels`: (n,), labels 0 or 1. 1/2 is chance, 1 perfect ranking; higher is better. NaN if a score is NaN.
    Raises ValueError unless both labels occur. Source: J. A. Hanley and B. J. McNeil, Radiology 143 (1982),
    doi:10.1148/radiology.143.1.7063747.
    """
    scores, positive = np.asarray(scores, float), _positive(scores, labels)
    n = int(positive.sum())
    if n in (0, len(positive)):
        raise ValueError(f"labels must hold both 0 and 1, but all {len(positive)} are {int(n > 0)}")
    if np.isnan(scores).any():
        return np.nan
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]  # ties share the mean of their ranks
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """mean (p - label)²: 0 is perfect, 1/4 is always saying 1/2; lower is better.

    `probabilities` (n,) of label 1, `labels` (n,), 0 or 1. NaN if a probability is NaN. Raises ValueError for
    probabilities outside 0 to 1. Source: G. W. Brier, Monthly Weather Review 78 (1950).
    """
    positive = _positive(probabilities, labels)
    return float(np.mean((_checked(probabilities) - positive) ** 2))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """sum over bins of (share of cases) |mean label - mean probability|: 0 if what is said with p happens with p.

    `probabilities` (n,) of label 1, `labels` (n,), 0 or 1; bins are equally wide, [k, k + 1) / bins, the last one
    closed. Lower is better. With n cases a perfectly calibrated classifier has about (bins / 4 n)^(1/2), not 0. NaN if
    a probability is NaN. Raises ValueError for probabilities outside 0 to 1 and for fewer bins than 1.
    Source: M. P. Naeini, G. F. Cooper and M. Hauskrecht, AAAI 2015, doi:10.1609/aaai.v29i1.9602.
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, but there are {bins}")
    positive, p = _positive(probabilities, labels), _checked(probabilities)
    if np.isnan(p).any():
        return np.nan
    which = np.minimum((p * bins).astype(int), bins - 1)
    gap = np.bincount(which, weights=positive - p, minlength=bins)  # each bin's count times its gap
    return float(np.abs(gap).sum() / len(p))


def _positive(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or np.shape(scores) != labels.shape or len(labels) == 0:
        raise ValueError(
            f"scores and labels must be (n,) with n above 0, but they are {np.shape(scores)}, {labels.shape}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, but they hold {sorted(set(labels.tolist()) - {0, 1})[0]!r}")
    return labels.astype(bool)


def _checked(probabilities: np.ndarray) -> np.ndarray:
    p = np.asarray(probabilities, float)
    outside = (p < 0) | (p > 1)
    if outside.any():
        raise ValueError(f"probabilities must lie in 0 to 1, but there is {p[outside][0]:g}")
    return p
