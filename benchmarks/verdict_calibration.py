"""Is the verdict right as often as it says? Measured on synthetic studies whose laws are planted (`reports.worlds`).

Studies of two models are judged as any study is: those with equal exponents, where "escapes the wall" is wrong, and
those whose exponents differ by 0.1 over three decades, where it is right. Intervals are checked against what was
planted in these and in more designs, straight from the fits. The intervals of the shares are of 95% (Clopper & Pearson
1934, Biometrika 26:404).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.special import betaincinv

from reports.scaling import Bootstrap, HeldOut, compare_forms, frontier, paired_bootstrap
from reports.scaling.forms import FLOOR
from reports.study import StudyData
from reports.verdict import judge, laws
from reports.verdict.types import ESCAPES, SAYS
from reports.worlds import METRIC, Law, Noise, world

WORLDS, LEVEL = 1000, 0.9
STRUCTURED, BLACK_BOX = "hybrid_ode", "mlp"
RUNS, ROUGH, DRAWS = Noise(0, 0.05, 0.03), Noise(0, 0.1, 0.06), Noise(0.05, 0.05, 0.03)
COVERED = (0.88, 0.92)
ESCAPES_AT_MOST, FOUND_AT_LEAST = 0.05, 0.9


@dataclass(frozen=True)
class Design:
    """A study of two models. With one data draw the intervals are for that draw, and draws have no noise here."""

    name: str
    structured: Law
    black_box: Law
    settings: dict[str, Any]

    def study(self, seed: int) -> StudyData:
        models = {STRUCTURED: self.structured, BLACK_BOX: self.black_box}
        return world(models=models, structured=[STRUCTURED], references=False, targets=(), seed=seed, **self.settings)

    @property
    def difference(self) -> float:
        return self.structured.exponent - self.black_box.exponent


def _equal(name: str, floors: tuple[float, float] = (0.01, 0.01), **settings: Any) -> Design:
    return Design(name, Law(floors[0], 0.5, 0.4), Law(floors[1], 1.0, 0.4), settings)


JUDGED = (
    _equal("equal exponents and floors, 3 seeds", seeds=3, noise=RUNS),
    _equal("equal exponents, floors 0.02 and 0.005, 5 seeds", (0.02, 0.005), seeds=5, noise=RUNS),
    *(
        Design(
            f"exponents 0.5 and 0.4 over 3 decades, {seeds} seeds",
            Law(0.01, 0.5, 0.5),
            Law(0.01, 1.0, 0.4),
            {"seeds": seeds, "noise": RUNS, "decades": 3.0},
        )
        for seeds in (5, 7)
    ),
)
FITTED = (
    _equal("9 seeds", seeds=9, noise=RUNS),
    _equal("3 seeds × 3 draws", seeds=3, draws=3, noise=DRAWS),
    _equal("5 seeds, noise 0.1", seeds=5, noise=ROUGH),
    _equal("5 seeds, no floors", (0.0, 0.0), seeds=5, noise=RUNS),
)
# Error against cost from 1 to 10⁴, of which the top decade is held out.
TRUE_FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "power": lambda cost: cost**-0.4,
    "power + floor": lambda cost: 0.03 + cost**-0.4,
    "broken power": lambda cost: cost**-0.2 * (1 + (cost / 100) ** 4) ** -0.125,
    "exponential": lambda cost: 0.03 + np.exp(-cost / 300),
}


@dataclass
class Count:
    """How often something was so. `wanted`: the range of its share, None where none is asked for."""

    of: str
    what: str
    wanted: tuple[float, float] | None = None
    hits: int = 0
    worlds: int = 0

    def add(self, hits: Iterable[bool]) -> None:
        for hit in hits:
            self.hits, self.worlds = self.hits + bool(hit), self.worlds + 1

    @property
    def share(self) -> float:
        return self.hits / self.worlds if self.worlds else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        tail, k, n = (1 - level) / 2, self.hits, self.worlds
        low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
        return low, float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0

    @property
    def fits(self) -> bool:
        """Whether the share is as wanted."""
        return self.wanted is None or self.wanted[0] <= self.share <= self.wanted[1]


class Counts:
    """Counts by what they are of, in the order of their first appearance."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Count] = {}

    def add(self, of: str, what: str, hits: Iterable[bool], wanted: tuple[float, float] | None = None) -> None:
        self._counts.setdefault((of, what), Count(of, what, wanted)).add(hits)

    def __iter__(self):
        return iter(self._counts.values())


def measure(worlds: int = WORLDS) -> dict[str, Any]:
    counts = Counts()
    for design in JUDGED:
        judged(design, range(worlds), counts)
    for design in FITTED:
        fitted(design, range(worlds), counts)
    for form in TRUE_FORMS:
        forms(form, range(worlds // 4), counts)
    return figures_of(counts)


def figures_of(counts: Counts) -> dict[str, Any]:
    return {f"{count.of}: {count.what}": figure(count) for count in counts}


def figure(count: Count) -> dict[str, Any]:
    low, high = count.interval()
    return {
        "share": round(count.share, 4), "low": round(low, 4), "high": round(high, 4), "worlds": count.worlds,
        "wanted": count.wanted, "fits": count.fits, "of": count.of, "what": count.what,
    }  # fmt: skip


def judged(design: Design, seeds: Sequence[int], counts: Counts) -> None:
    """What the verdict says of the design, and whether its intervals hold what was planted."""
    name, planted = design.name, {STRUCTURED: design.structured, BLACK_BOX: design.black_box}
    for seed in seeds:
        with patch.object(laws, "FORMS", (FLOOR,)):  # the others are shown and not judged by
            verdict = judge(design.study(seed), axes=["flop"], resamples=100, level=LEVEL)
        (contest,) = verdict.contests
        wanted = (FOUND_AT_LEAST, 1.0) if design.difference > 0 else (0.0, ESCAPES_AT_MOST)
        for says in SAYS:
            counts.add(name, f"“{says}”", [contest.says == says], wanted if says == ESCAPES else None)
        gap = contest.difference
        if gap.low is not None and gap.high is not None:
            counts.add(name, "difference of exponents covered", [gap.low <= design.difference <= gap.high], COVERED)
        for scaling in verdict.scalings:
            law = planted[scaling.model]
            for what, found, value in (
                ("exponent covered", scaling.exponent, law.exponent),
                ("floor covered", scaling.floor, law.floor),
            ):
                if found is not None:
                    counts.add(name, what, [found.low <= value <= found.high], COVERED)
            if scaling.heldout is not None:
                _held_out(name, scaling.heldout, counts)


def fitted(design: Design, seeds: Sequence[int], counts: Counts) -> None:
    """As `judged`, from the fits alone."""
    for seed in seeds:
        data = design.study(seed)
        members = [_frontier(data, model) for model in (STRUCTURED, BLACK_BOX)]
        boots = paired_bootstrap(*members, resamples=2)
        _covered(design, boots, counts)
        for cost, error, clusters in members:
            _held_out(design.name, compare_forms(cost, error, clusters, level=LEVEL, forms=(FLOOR,)), counts)


def _frontier(data: StudyData, model: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """(cost, error, clusters) of the points on the frontier."""
    run, points = data.points["run"], data.points
    own = np.isin(run, data.of(*data.tasks()[0], model))
    names, of = np.unique(data.runs["configuration"][data.of(*data.tasks()[0], model)].astype(str), return_inverse=True)
    code = np.zeros(len(data), dtype=int)
    code[data.of(*data.tasks()[0], model)] = of
    checkpoint = np.unique(points["flop"], return_inverse=True)[1]
    cell = code[run[own]] + len(names) * checkpoint[own]
    cost, error = points["flop"][own], points[f"test.{METRIC}"][own]
    kept = frontier(cost, error, cell).members
    factors = [data.runs[name][run[own]][kept] for name in ("draw", "seed")]
    return cost[kept], error[kept], [labels for labels in factors if len(np.unique(labels)) > 1]


def _covered(design: Design, boots: tuple[Bootstrap, Bootstrap], counts: Counts) -> None:
    gap = boots[0].minus(boots[1]).interval("exponent difference", LEVEL)
    counts.add(design.name, "difference of exponents covered", [gap.low <= design.difference <= gap.high], COVERED)
    for boot, law in zip(boots, (design.structured, design.black_box), strict=True):
        for name, value in (("exponent", law.exponent), ("floor", law.floor)):
            found = boot.interval(name, LEVEL)
            wanted = COVERED if value > 0 else None  # an end of the interval is 0, and 0 is the truth: one side only
            counts.add(design.name, f"{name} covered", [found.low <= value <= found.high], wanted)


def _held_out(name: str, heldout: HeldOut, counts: Counts) -> None:
    forecast = heldout.forecast("power + floor")
    counts.add(name, "held-out decade inside its interval", [forecast.predicts], COVERED)


def forms(true: str, seeds: Sequence[int], counts: Counts) -> None:
    """How often the true form predicts the held-out decade best, or within a tenth of the best."""
    cost = np.logspace(0, 4, 40)
    for seed in seeds:
        noise = 0.05 * np.random.default_rng([seed, 7]).standard_normal(len(cost))
        found = compare_forms(cost, TRUE_FORMS[true](cost) * np.exp(noise))
        best, own = found.forecasts[0], found.forecast(true)
        counts.add(f"{true} is true", "its score is the best", [best.form == true])
        counts.add(f"{true} is true", "its score is within 10% of the best", [own.score <= 1.1 * best.score])


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| worlds | what | share | 95% interval | n | wanted | met |",
        "| --- | --- | ---: | --- | ---: | --- | --- |",
    ]
    before = ""
    for row in figures.values():
        of = row["of"] if row["of"] != before else ""
        before = row["of"]
        wanted, met = "", ""
        if row["wanted"]:
            low, high = row["wanted"]
            wanted = f"≤ {high:.0%}" if low == 0 else f"≥ {low:.0%}" if high == 1 else f"{low:.0%} to {high:.0%}"
            met = "yes" if row["fits"] else "no"
        lines.append(
            f"| {of} | {row['what']} | {row['share']:.1%} | {row['low']:.1%} to {row['high']:.1%} "
            f"| {row['worlds']} | {wanted} | {met} |"
        )
    return "\n".join(lines)
