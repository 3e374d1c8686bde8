"""What a target error would cost by each law, and after how many predictions one model is cheaper than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.study import StudyData
from reports.text import number
from reports.verdict import estimates as of
from reports.verdict.contests import Match
from reports.verdict.laws import How
from reports.verdict.types import BreakEven, Estimate, Extrapolation, Scaling

DIVISORS = (1, 2, 5, 10)  # of the best error reached, where a study asks for no targets
INFERENCE = {
    "flop": "infer_flop_per_time_unit",
    "tuned_flop": "infer_flop_per_time_unit",
    "energy_j": "infer_energy_j_per_time_unit",
    "tuned_energy_j": "infer_energy_j_per_time_unit",
    "seconds": "infer_seconds_per_time_unit",
}
SIMULATOR = "simulator"


@dataclass(frozen=True)
class Prices:
    """What an hour of the device costs, what a kilowatt-hour emits, and how much more than the device the building
    draws; each with its name or source, since all three are somebody else's figures. None: not known, not shown."""

    usd_per_hour: float | None = None
    co2_g_per_kwh: float | None = None
    pue: float = 1.0
    device: str = ""
    grid: str = ""
    building: str = ""


def default_targets(best: float) -> tuple[float, ...]:
    """The best error that any model reached, and a half, a fifth and a tenth of it."""
    return tuple(best / divisor for divisor in DIVISORS)


def extrapolate(
    data: StudyData, scaling: Scaling, targets: Sequence[float], how: How, prices: Prices | None
) -> list[Extrapolation]:
    """The cost of each target error; joules, money and CO2 by the joules and seconds per FLOP of the runs on the
    frontier (their median)."""
    runs = np.unique(scaling.member_run)
    joules, seconds = (_per_flop(data, runs, name) for name in ("train_energy_j", "train_seconds"))
    found = []
    for target in targets:
        cost = cost_to(scaling, target, how)
        found.append(
            Extrapolation(
                scaling.task,
                scaling.condition,
                scaling.model,
                float(target),
                cost,
                scaling.axis,
                energy_j=_times(cost, joules, "no run on the frontier says its joules"),
                money_usd=_money(cost, seconds, prices),
                co2_g=_co2(cost, joules, prices),
                basis=_basis(joules, seconds, prices),
            )
        )
    return found


def cost_to(scaling: Scaling, error: float, how: How) -> Estimate:
    """The cost at which the law comes down to an error: infinite below its floor. Beyond the data the law must be
    identified."""
    if scaling.law is None:
        return Estimate(None, level=how.level, reason="; ".join(scaling.reasons[-1:]) or "no law")
    beyond = error < float(scaling.error.min()) * (1 - 1e-9)
    if beyond and not scaling.law.identifiability.identified:
        return Estimate(None, level=how.level, reason="; ".join(scaling.law.identifiability.reasons))
    boot = scaling.boot if scaling.boot is not None else of.lone(scaling.law)
    return of.estimate(of.derived(of.log10_cost(float(error)), boot), how.level, of.power_of_ten)


def break_even(data: StudyData, pair: Match, how: How) -> BreakEven | None:
    """Predictions after which the first model is cheaper for life than the second, both trained to the least error that
    both come to. None where the axis has no cost of a prediction."""
    first, second = pair.own
    if first.axis not in INFERENCE:
        return None
    boots = pair.own_boots
    base = (first.task, first.condition, first.model, second.model, first.axis)
    if boots is None or not np.isfinite(pair.error):
        why = "; ".join(pair.reasons) or "no law of one of the two"
        return BreakEven(*base, Estimate(None, level=how.level, reason=why))
    rates = [infer_rate(data, s, pair.error) for s in pair.own]
    if rates[0] is None or rates[1] is None:
        return BreakEven(
            *base, Estimate(None, level=how.level, reason="the cost of a prediction is not known"), pair.error
        )
    one = of.log10_cost(pair.error)

    def more(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 10 ** one(a) - 10 ** one(b)

    return _break_even(base, of.derived(more, *boots), rates[1] - rates[0], pair.error, how)


def break_even_simulator(data: StudyData, scaling: Scaling, how: How) -> BreakEven | None:
    """As `break_even`, against the simulator, which needs no training; at the best error that the model comes to, which
    is not the simulator's."""
    base = (scaling.task, scaling.condition, scaling.model, SIMULATOR, scaling.axis)
    rows = data.of(scaling.task, scaling.condition, SIMULATOR)
    if scaling.axis not in INFERENCE or not len(rows):
        return None
    if scaling.law is None or not len(scaling.error):
        return BreakEven(*base, Estimate(None, level=how.level, reason="the model has no law"))
    error = float(scaling.error.min())
    own, its = infer_rate(data, scaling, error), _median(data.runs.get(INFERENCE[scaling.axis]), rows)
    if own is None or its is None:
        return BreakEven(*base, Estimate(None, level=how.level, reason="the cost of a prediction is not known"), error)
    boot = scaling.boot if scaling.boot is not None else of.lone(scaling.law)
    one = of.log10_cost(error)
    return _break_even(base, of.derived(lambda theta: 10 ** one(theta), boot), its - own, error, how)


def infer_rate(data: StudyData, scaling: Scaling, error: float) -> float | None:
    """The median cost of a prediction, over one time unit, by the runs of the cheapest configuration on the frontier
    that comes down to the error, or of the one of least error."""
    good = np.flatnonzero(scaling.error <= error * (1 + 1e-9))
    place = int(good[0]) if len(good) else int(scaling.error.argmin())
    own = scaling.labels[place]
    rows = data.of(scaling.task, scaling.condition, scaling.model)
    rows = rows[data.runs["configuration"][rows] == own]
    return _median(data.runs.get(INFERENCE[scaling.axis]), rows)


def _break_even(
    base: tuple[str, str, str, str, str], training: of.Bootstrap, saving: float, error: float, how: How
) -> BreakEven:
    """`training`: what the model costs more to train; `saving`: what it saves at each prediction.

    Cheaper from the start if both favour it; never if neither does; from training/saving predictions on if it is
    dearer to train; up to that many if it is dearer to use.
    """

    def queries(more: np.ndarray) -> np.ndarray:
        after = more / saving if saving > 0 else np.full_like(more, np.inf)
        return np.where(more <= 0, 0.0, after)

    start = _mapped(training, queries)
    value = _not_negative(of.estimate(start, how.level))
    until = None
    if saving < 0 and value.value == 0:
        until = _not_negative(of.estimate(_mapped(training, lambda more: np.maximum(more / saving, 0.0)), how.level))
    return BreakEven(*base, value, error, until)


def _not_negative(e: Estimate) -> Estimate:
    """Nobody predicts less than nothing, which an interval by the jackknife does not know."""
    return e if e.low is None else replace(e, low=max(e.low, 0.0))


def _mapped(boot: of.Bootstrap, function: of.Quantity) -> of.Bootstrap:
    with np.errstate(all="ignore"):
        parts = function(boot.estimate), function(boot.replicates), tuple(function(j) for j in boot.jackknife)
    return of.Bootstrap(boot.names, *parts, boot.levels)


def _per_flop(data: StudyData, runs: np.ndarray, name: str) -> float | None:
    values, flop = (np.asarray(data.runs.get(n, np.full(len(data), np.nan)), float)[runs] for n in (name, "train_flop"))
    good = np.isfinite(values) & np.isfinite(flop) & (flop > 0) & (values > 0)
    return float(np.median(values[good] / flop[good])) if good.any() else None


def _median(column: np.ndarray | None, rows: np.ndarray) -> float | None:
    values = np.empty(0) if column is None else np.asarray(column, dtype=float)[rows]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _times(cost: Estimate, factor: float | None, why: str) -> Estimate:
    if cost.value is None:
        return cost
    if factor is None:
        return Estimate(None, level=cost.level, reason=why)
    low, high = (None if end is None else end * factor for end in (cost.low, cost.high))
    return Estimate(cost.value * factor, low, high, cost.level, cost.reason)


def _money(cost: Estimate, seconds: float | None, prices: Prices | None) -> Estimate | None:
    if prices is None or prices.usd_per_hour is None:
        return None
    factor = None if seconds is None else seconds * prices.usd_per_hour / 3600
    return _times(cost, factor, "no run on the frontier says its seconds")


def _co2(cost: Estimate, joules: float | None, prices: Prices | None) -> Estimate | None:
    if prices is None or prices.co2_g_per_kwh is None:
        return None
    factor = None if joules is None else joules / 3.6e6 * prices.pue * prices.co2_g_per_kwh
    return _times(cost, factor, "no run on the frontier says its joules")


def _basis(joules: float | None, seconds: float | None, prices: Prices | None) -> str:
    parts = [
        f"{number(value)} {unit}" for value, unit in ((joules, "J/FLOP"), (seconds, "s/FLOP")) if value is not None
    ]
    if prices is not None and prices.usd_per_hour is not None:
        parts.append(f"{number(prices.usd_per_hour)} USD/h" + (f" ({prices.device})" if prices.device else ""))
    if prices is not None and prices.co2_g_per_kwh is not None:
        grid = f" ({prices.grid})" if prices.grid else ""
        building = f" ({prices.building})" if prices.building else ""
        parts.append(f"{number(prices.co2_g_per_kwh)} g CO2/kWh{grid}, PUE {number(prices.pue)}{building}")
    return ", ".join(parts)
