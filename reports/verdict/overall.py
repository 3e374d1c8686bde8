"""Over runs and tasks: probability of improvement, interquartile mean, performance profiles.

After Agarwal et al. 2021 (arXiv 2108.13264), whose recommendations these are, and Dolan & Moré 2002 (profiles).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import trim_mean

from experiments.record import DIVERGED, FINISHED, OUT_OF_MEMORY
from reports.scaling import Bootstrap
from reports.scaling.bootstrap import resampled
from reports.study import StudyData
from reports.verdict.curves import clusters_of
from reports.verdict.estimates import NO_SPREAD, estimate
from reports.verdict.laws import How, factors, final_error
from reports.verdict.types import Estimate, Scaling

MOST_RUNS = 600  # of each model that are compared with each other one by one
PROFILE = 60  # factors τ at which a profile is given
QUARTER = 0.25


class Finals:
    """The final errors of the runs of a study. A run that diverged or had no memory left has an infinite one: it is a
    result, and the worst."""

    def __init__(self, data: StudyData) -> None:
        error, status = final_error(data), data.runs["status"]
        self.error = np.where(np.isin(status, (DIVERGED, OUT_OF_MEMORY)), np.inf, error)
        self.error[~np.isin(status, (DIVERGED, OUT_OF_MEMORY, FINISHED))] = np.nan
        self.cluster = clusters_of(data)

    def chosen(self, runs: np.ndarray) -> np.ndarray:
        """Those of the runs that have an error; of very many, evenly some of them by error."""
        runs = runs[~np.isnan(self.error[runs])]
        order = np.lexsort((self.cluster[runs, 1], self.cluster[runs, 0], self.error[runs]))
        step = max(len(runs) / MOST_RUNS, 1.0)
        return runs[order][np.arange(0, len(runs), step).astype(int)] if len(runs) else runs


def trained(data: StudyData, runs: np.ndarray) -> np.ndarray:
    """Those of a model's runs that cost something to train, where any did: told equations alone are no training of the
    model that learns what is wrong with them, and no points of its law either."""
    flop = np.asarray(data.runs.get("train_flop", np.full(len(data), np.nan)), dtype=float)[runs]
    some = runs[~(flop == 0)]
    return some if len(some) else runs


def improvement(finals: Finals, first: np.ndarray, second: np.ndarray, how: How) -> tuple[Estimate, Bootstrap | None]:
    """P(a run of the first ends with a lower error than one of the second), ties counted half, over all pairs of runs;
    the interval by the cluster bootstrap over draws and seeds, the same for both, and at least Wilson's of as many runs
    as there are clusters: where every run of one betters every run of the other no resample differs."""
    first, second = finals.chosen(first), finals.chosen(second)
    if not (len(first) and len(second)):
        return Estimate(None, level=how.level, reason="one of the two has no run with a result"), None
    a, b = finals.error[first][:, None], finals.error[second][None]
    wins = (a < b) + 0.5 * (a == b)
    together = np.concatenate([finals.cluster[first], finals.cluster[second]])
    varying = factors(together)
    if not varying:
        return Estimate(float(wins.mean()), level=how.level, reason=NO_SPREAD), None

    def of(weights: np.ndarray) -> np.ndarray:
        one, two = weights[:, : len(first)], weights[:, len(first) :]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (((one @ wins) * two).sum(1) / (one.sum(1) * two.sum(1)))[:, None]

    weights, without = resampled(varying, how.resamples, how.seed)
    levels = tuple(map(len, without[: len(varying)]))
    boot = Bootstrap(("quantity",), of(np.ones((1, len(together))))[0], of(weights), tuple(map(of, without)), levels)
    return _at_least_wilson(_share(estimate(boot, how.level)), min(levels)), boot


def mean_improvement(boots: Sequence[Bootstrap], values: Sequence[float], how: How) -> Estimate:
    """The mean over tasks; they are independent, so that resamples may be put together in any order."""
    if not values:
        return Estimate(None, level=how.level, reason="no task has results of both")
    mean = float(np.mean(values))
    if len(boots) < len(values):
        return Estimate(mean, level=how.level, reason=NO_SPREAD)
    rng, errors = np.random.default_rng(how.seed), []
    for boot in boots:
        known = boot.replicates[~np.isnan(boot.replicates[:, 0]), 0]
        errors.append(rng.choice(known, size=how.resamples))
    low, high = np.quantile(np.mean(errors, axis=0), ((1 - how.level) / 2, (1 + how.level) / 2))
    found = _share(Estimate(mean, float(min(low, mean)), float(max(high, mean)), how.level))
    return _at_least_wilson(found, sum(min(boot.levels) for boot in boots))


def interquartile_means(ends: dict[str, list[np.ndarray]], how: How) -> dict[str, Estimate]:
    """Of each model, from its errors relative to the black box, by task: the mean of the middle half of all, with a
    bootstrap stratified by task (runs are drawn again within each), its percentiles widened for how few runs a task
    has."""
    found = {}
    for model, tasks in sorted(ends.items()):
        tasks = [np.sort(values) for values in tasks if len(values)]
        if not tasks:
            found[model] = Estimate(None, level=how.level, reason="no final errors")
            continue
        every = np.concatenate(tasks)
        value = float(trim_mean(every, QUARTER))
        if max(map(len, tasks)) < 2:
            found[model] = Estimate(value, level=how.level, reason=NO_SPREAD)
            continue
        rng = np.random.default_rng(how.seed)
        drawn = np.concatenate([rng.choice(values, (how.resamples, len(values))) for values in tasks], axis=1)
        with np.errstate(invalid="ignore"):
            means = np.asarray(trim_mean(drawn, QUARTER, axis=1))
        tail = _tail((1 - how.level) / 2, [len(values) for values in tasks])
        low, high = np.quantile(means, (tail, 1 - tail), method="inverted_cdf")
        found[model] = Estimate(value, float(min(low, value)), float(max(high, value)), how.level)
    return found


def error_at(scaling: Scaling, cost: float) -> float:
    """The least error of the frontier up to a cost, interpolated on log-log axes; infinite before it begins."""
    if not len(scaling.cost) or cost < scaling.cost[0] * (1 - 1e-9):
        return float("inf")
    best = np.log(np.minimum.accumulate(scaling.error))
    return float(np.exp(np.interp(np.log(cost), np.log(scaling.cost), best)))


def profiles(scalings: Sequence[Scaling], models: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each model, for factors τ ≥ 1, the share of tasks on which its error, at the largest cost that all models of
    the task have, is within τ of the best one. `scalings` are of one axis."""
    tasks: dict[tuple[str, str], list[Scaling]] = {}
    for scaling in scalings:
        if scaling.model in models and len(scaling.cost):
            tasks.setdefault((scaling.task, scaling.condition), []).append(scaling)
    ratios = np.full((len(models), len(tasks)), np.inf)
    for column, several in enumerate(tasks.values()):
        cost = min(float(s.cost[-1]) for s in several)
        errors = {s.model: error_at(s, cost) for s in several}
        best = min(errors.values())
        for model, error in errors.items():
            ratios[models.index(model), column] = error / best if np.isfinite(best) else np.inf
    if not tasks:
        return {}
    finite = ratios[np.isfinite(ratios)]
    tau = np.geomspace(1, 1.1 * max(finite.max(initial=1.0), 1.01), PROFILE)
    return {model: (tau, (ratios[row][None] <= tau[:, None] * (1 + 1e-12)).mean(1)) for row, model in enumerate(models)}


def _share(e: Estimate) -> Estimate:
    """Within [0, 1]."""
    if e.low is None or e.high is None:
        return e
    return Estimate(e.value, max(e.low, 0.0), min(e.high, 1.0), e.level, e.reason)


def _at_least_wilson(e: Estimate, count: int) -> Estimate:
    """The interval, widened to that of a share of `count` independent trials (Wilson 1927, JASA 22:209)."""
    if e.value is None or e.low is None or e.high is None:
        return e
    z2 = float(ndtri((1 - e.level) / 2)) ** 2 / count
    centre = (e.value + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (e.value * (1 - e.value) + z2 / 4)) / (1 + z2)
    low, high = max(float(centre - half), 0.0), min(float(centre + half), 1.0)
    return Estimate(e.value, min(e.low, low, e.value), max(e.high, high, e.value), e.level, e.reason)


def _tail(tail: float, counts: Sequence[int]) -> float:
    """The tail of the percentiles to take where strata are as small as `counts`: √(n/(n − 1))·t, n of the least that
    varies (as Hesterberg 2015, Am. Stat. 69:371, of one stratum)."""
    several = [count for count in counts if count > 1]
    least, degrees = min(several), sum(several) - len(several)
    return float(ndtr(np.sqrt(least / (least - 1)) * stdtrit(degrees, tail)))
