"""The scaling law of one model along one axis of cost: frontier, fit, bootstrap, held-out decade, band."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.scaling import Bootstrap, Frontier, bootstrap_power_law, compare_forms, fit_power_law, frontier
from reports.scaling.forms import FLOOR, POWER
from reports.scaling.frontier import medians
from reports.scaling.heldout import FORMS
from reports.study import AXES, StudyData
from reports.verdict.curves import POOLED, Curves
from reports.verdict.estimates import derived, interval_of, log10_error, power_of_ten
from reports.verdict.types import Scaling

BEGUN = 0.8  # share of the untrained error below which training has begun to lower it
MOST = 600  # points that are fitted as they are
BAND_COSTS, BAND_DECADES = 25, 2.0
REFUSED = 0.01  # of the laws that hold: see `predicted`
CLOSE, SMALL = np.log(1.5), np.log(1.1)
REFERENCE = "a reference: a level, without scaling"


@dataclass(frozen=True)
class How:
    """How a verdict is reached: the level of intervals, how many resamples, and their seed. `large`: of a study of very
    many models and tasks, where fewer forms are compared on the held-out decade."""

    level: float = 0.9
    resamples: int = 1000
    seed: int = 0
    large: bool = False


def scaling_of(data: StudyData, curves: Curves, axis: str) -> Scaling:
    """The frontier of a model along one axis and the points on it, to be `fitted`; or why there are none."""
    column = data.points.get(axis)
    cost = np.full(len(curves.point), np.nan) if column is None else np.asarray(column, dtype=float)[curves.point]
    good = np.isfinite(cost) & (cost > 0)
    empty = np.empty(0)
    scaling = Scaling(
        *curves.key, axis, curves.runs, empty, empty, np.empty(0, object), empty, empty, np.empty((0, 2)),
        np.empty(0, int), reasons=curves.reasons,
    )  # fmt: skip
    if not good.any():
        why = "no point can be used" if not len(good) else f"no {AXES[axis][0]} is known"
        return replace(scaling, reasons=(*curves.reasons, why))
    front = frontier(cost[good], curves.error[good], curves.cell[good])
    labels, run = curves.labels[front.labels], curves.run[good]
    first = begun(front, curves.untrained)
    scaling = replace(scaling, cost=front.cost, error=front.error, labels=labels, start=float(front.cost[first]))
    member = front.members & np.isin(curves.cell[good], front.labels[first:])
    columns = cost[good], curves.error[good], curves.cluster[good], curves.pooled[good], run, curves.cell[good]
    scaling = replace(scaling, **_members(*(column[member] for column in columns)))
    if curves.untrained is not None and first == 0 and front.error.min() > BEGUN * curves.untrained:
        scaling = replace(scaling, reasons=(*scaling.reasons, "training lowers its error by less than a fifth"))
    return scaling


def reference_of(data: StudyData, curves: Curves, axis: str) -> Scaling:
    """A reference row: one point, the medians of its runs. Its cost may be 0."""
    last = np.isin(np.arange(len(data)), data.of(*curves.key))
    error = final_error(data)
    total = np.asarray(data.runs.get(f"train_{axis}", np.full(len(data), np.nan)), dtype=float)
    chosen = np.flatnonzero(last & np.isfinite(error))
    empty = np.empty(0)
    point = np.array([np.median(error[chosen])]) if len(chosen) else empty
    cost = np.array([np.median(total[chosen])]) if len(chosen) else empty
    labels = np.array([curves.key[2]] * len(point), dtype=object)
    reasons = (*curves.reasons, REFERENCE)
    return Scaling(*curves.key, axis, curves.runs, cost, point, labels, empty, empty, np.empty((0, 2)),
                   np.empty(0, int), reasons=reasons)  # fmt: skip


def final_error(data: StudyData) -> np.ndarray:
    """(runs,): the test error of each at its end; not a number where there is none."""
    metric = data.runs.get(f"metrics.{data.metric}")
    if metric is not None:
        return np.asarray(metric, dtype=float)
    final, error = np.full(len(data), np.nan), data.points.get(f"test.{data.metric}")
    if error is not None:
        order = np.lexsort((data.points["step"], data.points["run"]))
        final[data.points["run"][order]] = error[order]  # the last of each run stays
    return final


def begun(front: Frontier, untrained: float | None) -> int:
    """The place on the frontier from which a law is fitted: where the error is first below `BEGUN` of the untrained
    one. What lies before is not yet scaling. The whole frontier, if that is unknown or never comes."""
    if untrained is None:
        return 0
    below = front.error <= BEGUN * untrained
    return int(below.argmax()) if below.any() else 0


def factors(cluster: np.ndarray) -> list[np.ndarray]:
    """Those of draw and seed, columns of (n, 2), that vary."""
    return [column for column in cluster.T if len(np.unique(column)) > 1]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # absurd records have absurd laws
def fitted(scaling: Scaling, how: How, *, forecast: bool = True) -> Scaling:
    """With law, bootstrap, intervals, held-out decade and band, or the reasons why not. `forecast`: the last two."""
    if not len(scaling.member_cost):
        return scaling
    cost, error, reasons = scaling.member_cost, scaling.member_error, list(scaling.reasons)
    try:
        law = fit_power_law(cost, error)
    except ValueError as failure:
        return replace(scaling, reasons=(*reasons, f"no law can be fitted: {failure}"))
    reasons += law.identifiability.reasons
    scaling = replace(scaling, law=law, identifiability=law.identifiability)
    varying = factors(scaling.member_cluster)
    if not varying:
        reasons.append("one draw and one seed: nothing is known of the spread")
        return replace(scaling, reasons=tuple(reasons))
    boot = bootstrap_power_law(cost, error, varying, resamples=how.resamples, seed=how.seed)
    exponent, floor = boot.interval("exponent", how.level), boot.interval("floor", how.level)
    scaling = replace(scaling, boot=boot, exponent=exponent, floor=floor)
    if forecast:
        try:
            forms = (POWER, FLOOR) if how.large else FORMS
            heldout = compare_forms(cost, error, varying, level=how.level, forms=forms)
            scaling = replace(scaling, heldout=heldout)
        except ValueError as failure:
            reasons.append(f"no decade can be held out: {failure}")
        scaling = replace(scaling, band=band(boot, scaling.cost, how.level))
    return replace(scaling, reasons=tuple(reasons))


def predicted(scaling: Scaling) -> bool:
    """Whether the law predicts the top decade, which it was not fitted to. The mean of ln(observed/predicted) may be as
    far from 0 as that of all but one in a hundred of the laws that hold (at a level of 0.9 one in ten would be
    refused), and a tenth always, since nothing is a law to all digits. And the points may be off by a factor 1.5 on
    average, since a law that fits badly predicts everything."""
    if scaling.heldout is None:
        return False
    forecast = scaling.heldout.forecast("power + floor")
    return bool((forecast.p >= REFUSED or abs(forecast.bias) <= SMALL) and forecast.score <= CLOSE)


def band(boot: Bootstrap, cost: np.ndarray, level: float) -> np.ndarray:
    """Costs, and the median, low and high of the error there, from the data to two decades beyond them: (4, m)."""
    grid = np.geomspace(cost.min(), cost.max() * 10**BAND_DECADES, BAND_COSTS)
    rows = []
    for at in grid:
        one = derived(log10_error(float(at)), boot)
        interval = interval_of(one, level)
        low, high = (np.nan, np.nan) if interval is None else (interval.low, interval.high)
        rows.append((at, *(power_of_ten(value) for value in (one.estimate[0], low, high))))
    return np.array(rows).T


def _members(
    cost: np.ndarray, error: np.ndarray, cluster: np.ndarray, pooled: np.ndarray, run: np.ndarray, cell: np.ndarray
) -> dict[str, np.ndarray]:
    """The points in an order of their own, whatever that of the records. Of more than `MOST`, medians over those of one
    configuration, group of draws and group of seeds stand for them; the groups are then what is resampled."""
    if len(cost) > MOST:
        place = (cell * POOLED + pooled[:, 0].astype(int)) * POOLED + pooled[:, 1].astype(int)
        _, first, group, counts = np.unique(place, return_index=True, return_inverse=True, return_counts=True)
        cost, error = np.exp(medians([np.log(cost), np.log(error)], group, counts))
        cluster, run = pooled[first], run[first]
    order = np.lexsort((run, cluster[:, 1], cluster[:, 0], error, cost))
    return {
        "member_cost": cost[order],
        "member_error": error[order],
        "member_cluster": cluster[order],
        "member_run": run[order],
    }
