"""How far a fit would move with other data draws and seeds: the cluster bootstrap, every resample fitted at once.

What varies together is resampled together: all points of one data draw, and all points of one seed. With several
factors the weight of a point is the product of how often each of its levels was drawn (the pigeonhole bootstrap,
Owen 2007, Ann. Appl. Stat. 1:386, whose intervals are on the wide side; those of the jackknife over two factors are
less so). Two models that share draws and seeds are given the same resamples, so that what moves both drops out of
their difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.core import Fit, checked, fit_form, refit
from reports.scaling.forms import CHINCHILLA, FLOOR, Form
from reports.scaling.intervals import Bootstrap

Clusters = ArrayLike | Sequence[ArrayLike] | None


def bootstrap_power_law(
    cost: ArrayLike,
    error: ArrayLike,
    clusters: Clusters = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    delta: float | None = None,
) -> Bootstrap:
    """Bootstraps `fit_power_law`: parameters floor, log_scale, exponent.

    Args:
        clusters: labels (n,) of what varies together, such as the data draw; or several such, such as draw and seed.
            None: every point for itself, which is right only where points share nothing.
        resamples: how many. seed: of the draws. delta: as in the fit; found once, for the whole sample.

    Raises:
        ValueError: as the fit; or a factor with one level, which cannot say how levels vary.
    """
    inputs, y = checked(error, FLOOR.degrees, cost=cost)
    return _bootstrap(FLOOR, inputs, y, clusters, resamples, seed, delta)


def bootstrap_chinchilla(
    n: ArrayLike,
    d: ArrayLike,
    error: ArrayLike,
    clusters: Clusters = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    delta: float | None = None,
) -> Bootstrap:
    """Bootstraps `fit_chinchilla`: floor, log_scale_n, exponent_n, log_scale_d, exponent_d.

    Arguments and errors as of `bootstrap_power_law`.
    """
    inputs, y = checked(error, CHINCHILLA.degrees, n=n, d=d)
    return _bootstrap(CHINCHILLA, inputs, y, clusters, resamples, seed, delta)


def paired_bootstrap(
    first: tuple[ArrayLike, ArrayLike, Clusters],
    second: tuple[ArrayLike, ArrayLike, Clusters],
    *,
    resamples: int = 1000,
    seed: int = 0,
    delta: float | None = None,
) -> tuple[Bootstrap, Bootstrap]:
    """Bootstraps the power laws of two models, each (cost, error, clusters), under the same draws and seeds.

    Clusters are matched by their labels; both models need the same ones. The difference of exponents is then
    `a.minus(b).interval("exponent difference")`.
    """
    data = [checked(error, FLOOR.degrees, cost=cost) for cost, error, _ in (first, second)]
    labels = [factors_of(clusters, len(y)) for (_, _, clusters), (_, y) in zip((first, second), data, strict=True)]
    if len(labels[0]) != len(labels[1]):
        raise ValueError(
            f"the models have {len(labels[0])} and {len(labels[1])} factors of clusters; they must share them"
        )
    for a, b in zip(*labels, strict=True):
        alone = np.setxor1d(a, b)
        if len(alone):
            raise ValueError(
                f"a paired bootstrap needs the same clusters in both models; {alone[0]} and {len(alone) - 1} others "
                "are in one only: leave them out, or bootstrap each model for itself"
            )
    size = len(data[0][1])
    both = tuple(np.concatenate(pair) for pair in zip(*labels, strict=True))
    weights, without = resampled(both, resamples, seed)
    parts = (slice(None, size), slice(size, None))
    a, b = (
        _replicate(fit_form(FLOOR, inputs, y, delta), weights[:, part], [w[:, part] for w in without], len(both))
        for (inputs, y), part in zip(data, parts, strict=True)
    )
    return a, b


def resampled(factors: Sequence[np.ndarray], resamples: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights (R, n) of the points under resampling, and per factor (levels, n), those with each level left out.

    Of two factors there follow, third, those with each crossing of their levels left out.
    """
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, not {resamples}")
    rng, weights, without = np.random.default_rng(seed), np.ones((resamples, len(factors[0]))), []
    for labels in factors:
        levels, of = np.unique(labels, return_inverse=True)
        if len(levels) < 2:
            raise ValueError(
                f"one cluster ({levels[0]}) cannot say how clusters vary: give two draws or seeds at least"
            )
        counts = rng.multinomial(len(levels), np.full(len(levels), 1 / len(levels)), size=resamples)
        weights *= counts[:, of]
        without.append((np.arange(len(levels))[:, None] != of).astype(float))
    if len(factors) == 2:
        codes = np.stack([np.unique(labels, return_inverse=True)[1] for labels in factors])
        of = np.unique(codes, axis=1, return_inverse=True)[1].ravel()
        without.append((np.arange(of.max() + 1)[:, None] != of).astype(float))
    empty = weights.sum(1) == 0  # crossed factors with cells that were never run; drawn so rarely that they are dropped
    return weights[~empty], without


def _bootstrap(
    form: Form, inputs: np.ndarray, y: np.ndarray, clusters: Clusters, resamples: int, seed: int, delta: float | None
) -> Bootstrap:
    factors = factors_of(clusters, len(y))
    weights, without = resampled(factors, resamples, seed)
    return _replicate(fit_form(form, inputs, y, delta), weights, without, len(factors))


def _replicate(fit: Fit, weights: np.ndarray, without: Sequence[np.ndarray], factors: int) -> Bootstrap:
    natural = refit(fit, np.concatenate([weights, *without]))[1]
    sizes = np.cumsum([len(weights), *map(len, without)])
    replicates, *jackknife = np.split(natural, sizes[:-1])
    return Bootstrap(fit.form.parameters, fit.natural, replicates, tuple(jackknife), tuple(map(len, without[:factors])))


def factors_of(clusters: Clusters, n: int) -> tuple[np.ndarray, ...]:
    """The factors as arrays (n,)."""
    if clusters is None:
        return (np.arange(n),)
    several = isinstance(clusters, (tuple, list)) and len(clusters) and np.ndim(clusters[0]) == 1
    factors = tuple(np.asarray(labels) for labels in (clusters if several else (clusters,)))  # type: ignore[union-attr]
    for labels in factors:
        if labels.shape != (n,):
            raise ValueError(f"clusters need one label a point: {n} points, labels of shape {labels.shape}")
    return factors
