"""A structured model against a black box: both laws over the costs that both have, under the same resamples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.scaling import Bootstrap
from reports.text import number
from reports.verdict import estimates as of
from reports.verdict.laws import How, fitted, predicted
from reports.verdict.rules import Evidence, decide, holm
from reports.verdict.types import CANNOT_TELL, Contest, Estimate, Scaling
from reports.verdict.words import contest_sentence, kind_of

HALF_BIN = 10**0.125  # the frontier has four bins a decade
COMMON = " over the costs that both have"
FLOOR_MATTERS = 0.1  # of the least error that both come to
AHEAD = 10.0  # how far beyond the data a crossing not yet seen is foretold: the decade that laws were seen to predict
UNKNOWN = Estimate(None)


@dataclass(frozen=True)
class Match:
    """Two models over the costs that both have, [least, most]; `first` and `second` fitted there, `own` everywhere.
    `error`: the least that both come to."""

    own: tuple[Scaling, Scaling]
    first: Scaling
    second: Scaling
    least: float
    most: float
    error: float
    reasons: tuple[str, ...] = ()

    @property
    def boots(self) -> tuple[Bootstrap, Bootstrap] | None:
        """Of the laws over the common range; without resamples where there is no spread; None without laws."""
        return _boots(self.first, self.second)

    @property
    def own_boots(self) -> tuple[Bootstrap, Bootstrap] | None:
        """Of the laws over each model's own range."""
        return _boots(*self.own)


def match(first: Scaling, second: Scaling, how: How) -> Match:
    """Puts two models of one task and axis side by side."""
    if not (len(first.member_cost) and len(second.member_cost)):
        nan = float("nan")
        return Match((first, second), first, second, nan, nan, nan, ("one of the two has no points",))
    least = max(float(s.start or s.cost[0]) for s in (first, second))
    most = min(float(s.cost[-1]) for s in (first, second))
    error = max(float(s.error.min()) for s in (first, second))
    if least >= most:
        return Match((first, second), first, second, least, most, error, ("they have no range of cost in common",))
    within = _alike(first, second, least / HALF_BIN, most * HALF_BIN, how)
    return Match(_alike(first, second, 0, np.inf, how), *within, least, most, error)


def _alike(first: Scaling, second: Scaling, least: float, most: float, how: How) -> tuple[Scaling, Scaling]:
    """Both fitted to their points in a range of cost and of the (draw, seed) that both have, so that the same resamples
    can be had of both."""
    inside = [(s.member_cost >= least) & (s.member_cost <= most) for s in (first, second)]
    cells = [s.member_cluster @ np.array([1, 1j]) for s in (first, second)]
    shared = np.intersect1d(cells[0][inside[0]], cells[1][inside[1]])
    a, b = (
        _part(s, kept & np.isin(cell, shared), how)
        for s, kept, cell in zip((first, second), inside, cells, strict=True)
    )
    return a, b


def _part(scaling: Scaling, kept: np.ndarray, how: How) -> Scaling:
    """The model fitted to some of its points."""
    if kept.all():
        return scaling
    part = {
        name: getattr(scaling, name)[kept] for name in ("member_cost", "member_error", "member_cluster", "member_run")
    }
    bare = replace(scaling, **part, law=None, boot=None, exponent=None, floor=None, identifiability=None, reasons=())
    return replace(fitted(bare, how, forecast=False), heldout=scaling.heldout)


def contest(pair: Match, improvement: Estimate, how: How) -> tuple[Contest, Evidence]:
    """The numbers of a contest and what speaks for what; `says` follows when all tasks are in, see `settle`."""
    first, second = pair.own
    boots, own = pair.boots, pair.own_boots
    draft = Contest(
        first.task, first.condition, first.axis, first.model, second.model, CANNOT_TELL, "", UNKNOWN, None, None,
        UNKNOWN, UNKNOWN, UNKNOWN, improvement, reasons=(*pair.reasons, *_reasons(pair)),
    )  # fmt: skip
    if boots is None or own is None or pair.reasons:
        return draft, Evidence()
    gap = of.derived(of.exponent_difference, *boots)
    difference = of.estimate(gap, how.level)
    p = float(gap.p_value("quantity")) if len(gap.replicates) else None
    flat = _flat(pair)
    if flat:  # an interval about a number that the data do not fix means nothing
        difference, p = Estimate(None, level=how.level, reason=flat), None
    ends = [
        of.estimate(of.derived(of.log10_error_ratio(cost), *boots), how.level, of.power_of_ten)
        for cost in (pair.least, pair.most)
    ]
    cost_ratio = of.estimate(of.derived(of.log10_cost_ratio(pair.error), *own), how.level, of.power_of_ten)
    if had := _had_untrained(pair):
        cost_ratio = Estimate(None, level=how.level, reason=had)
    crossing = of.derived(of.log10_crossover(pair.least, pair.most), *boots)
    draft = replace(
        draft,
        difference=difference,
        p=p,
        error_ratio=ends[1],
        cost_ratio=cost_ratio,
        crossover=of.estimate(crossing, how.level, of.power_of_ten),
        common=(pair.least, pair.most),
        equal_error=pair.error,
    )
    return draft, _evidence(pair, draft, ends, how)


def settle(drafts: list[tuple[Contest, Evidence]], how: How) -> list[Contest]:
    """Corrects the p values of one pair along one axis over its tasks, and says what can be said of each."""
    corrected = holm([contest.p for contest, _ in drafts])
    settled = []
    for (draft, evidence), p in zip(drafts, corrected, strict=True):
        different = p is not None and p <= 1 - how.level and draft.difference.value
        evidence = replace(evidence, sign=int(np.sign(draft.difference.value)) if different else 0)  # type: ignore[arg-type]
        draft = replace(draft, p_holm=p, says=decide(evidence))
        if draft.says == CANNOT_TELL and evidence.told and not evidence.sign:
            draft = replace(draft, reasons=(*draft.reasons, _undecided(evidence)))
        settled.append(replace(draft, sentence=contest_sentence(draft)))
    return settled


def _undecided(evidence: Evidence) -> str:
    if not evidence.same_floor:
        return "their exponents do not differ, but their floors do"
    return f"the exponents may differ by {evidence.low:.2g} to {evidence.high:.2g}"


def _evidence(pair: Match, draft: Contest, ends: list[Estimate], how: How) -> Evidence:
    difference, cost_ratio = draft.difference, draft.cost_ratio
    (own_first, own_second), laws = pair.own, (pair.first.law, pair.second.law)
    assert laws[0] is not None and laws[1] is not None  # for the type checker: there are bootstraps of both
    known = all(law.identifiability.identified for law in laws if law is not None)
    grid = np.geomspace(pair.least, pair.most, 100)
    behind = laws[0].error(grid) > laws[1].error(grid)
    floors = own_first.floor, own_second.floor
    gap = of.estimate(of.derived(of.floor_difference, *(pair.own_boots or ())), how.level)
    profiles = [s.identifiability.intervals.get("floor") if s.identifiability else None for s in pair.own]
    decades = own_first.identifiability is not None and own_first.identifiability.decades >= 2.5
    floor = bool(decades and floors[0] and floors[0].low > 0 and profiles[0] and profiles[0][0] > 0)
    below = floors[0].low if floors[0] and floor else 0.0
    return Evidence(
        told=known and difference.low is not None,
        predicted=predicted(own_first) and predicted(own_second),
        low=-np.inf if difference.low is None else difference.low,
        high=np.inf if difference.high is None else difference.high,
        dearer_or_cheaper=_excludes_one(cost_ratio),
        same_floor=_same_floor(gap, pair.error),
        was_ahead=bool((~behind).any()),
        floor=floor,
        below_now=bool(own_second.error.min() < below),
        below_later=bool(floors[1] and floors[1].high < below) and _crosses_soon(pair, gap, draft.crossover),
        ahead_now=not behind[-1],
        trailing=bool(behind.all()) and all(end.low is not None and end.low > 1 for end in ends),
    )


def _same_floor(gap: Estimate, error: float) -> bool:
    """Whether no difference of floors is sure that makes up a tenth of the error where the data end."""
    return gap.low is None or gap.high is None or max(gap.low, -gap.high) <= FLOOR_MATTERS * error


def _crosses_soon(pair: Match, gap: Estimate, crossover: Estimate) -> bool:
    """Whether the black box's law is identified, its floor lower under the same resamples too, and the whole interval
    of the crossover within `AHEAD` times the largest common cost."""
    second = pair.own[1].identifiability
    if second is None or not second.identified or gap.low is None or crossover.high is None:
        return False
    return gap.low > 0 and crossover.high <= AHEAD * pair.most


def _had_untrained(pair: Match) -> str:
    """Which of the two is below the least error of both before its law sets in, so that its law has no cost of it."""
    for scaling in pair.own:
        if scaling.start and (scaling.error[scaling.cost < scaling.start * (1 - 1e-9)] <= pair.error).any():
            return f"{scaling.model} is below {number(pair.error)} before training lowers its error"
    return ""


def _flat(pair: Match) -> str:
    """Why the exponents over the common range are no numbers to compare; nothing where they are."""
    for scaling in (pair.first, pair.second):
        if scaling.identifiability is not None and scaling.identifiability.flat:
            return f"{scaling.model}{COMMON}: {scaling.identifiability.flat[0]}"
    return ""


def _reasons(pair: Match) -> tuple[str, ...]:
    """What stands against saying more, by model; each kind of reason once, of its whole range where it holds there."""
    found: dict[str, None] = {}
    for own, common in zip(pair.own, (pair.first, pair.second), strict=True):
        for reason in dict.fromkeys(own.reasons):
            found[f"{own.model}: {reason}"] = None
        said = {kind_of(reason) for reason in own.reasons}
        for reason in dict.fromkeys(common.reasons):
            if kind_of(reason) not in said:
                found[f"{own.model}{COMMON}: {reason}"] = None
        if own.heldout is not None and not predicted(own):
            off = np.exp(abs(own.heldout.forecast("power + floor").bias))
            found[f"{own.model}: its top decade, held out, is not predicted (off by a factor {off:.3g})"] = None
    return tuple(found)


def _excludes_one(ratio: Estimate) -> bool:
    return ratio.low is not None and ratio.high is not None and (ratio.low > 1 or ratio.high < 1)


def _boots(first: Scaling, second: Scaling) -> tuple[Bootstrap, Bootstrap] | None:
    if first.law is None or second.law is None:
        return None
    a, b = (of.lone(s.law) if s.boot is None else s.boot for s in (first, second) if s.law is not None)
    clusters = [np.unique(s.member_cluster, axis=0) for s in (first, second)]
    same = np.array_equal(clusters[0], clusters[1])
    return (a, b) if same else (of.lone(first.law), of.lone(second.law))
