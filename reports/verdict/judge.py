"""From the records of a study to its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context

import numpy as np

from reports.scaling import Bootstrap
from reports.study import AXES, StudyData
from reports.verdict.contests import Match, contest, match, settle
from reports.verdict.curves import Curves, Key, charges, curves_of
from reports.verdict.hypotheses import outcome
from reports.verdict.laws import How, fitted, reference_of, scaling_of
from reports.verdict.overall import Finals, improvement, interquartile_means, mean_improvement, profiles, trained
from reports.verdict.prices import Prices, break_even, break_even_simulator, default_targets, extrapolate
from reports.verdict.remarks import remarks
from reports.verdict.surfaces import fitted_surface, surfaces_of
from reports.verdict.types import BreakEven, Contest, Estimate, Extrapolation, Scaling, Verdict
from reports.verdict.words import headline

MAIN = ("flop", "energy_j")
FEW = 20  # scalings that are fitted sooner than processes start
LARGE, LEAST = 150, 200  # scalings to fit, beyond which resamples are few (200), and forms that are compared
MANY = 240  # scalings to fit, beyond which only the main axes are judged
HUGE = 100_000  # runs, beyond which both holds


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # infinite is an answer
def judge(
    data: StudyData,
    *,
    level: float = 0.9,
    resamples: int = 1000,
    axes: Sequence[str] | None = None,
    seed: int = 0,
    device_prices: Prices | None = None,
    workers: int = 1,
) -> Verdict:
    """The verdict of a study. Whatever the records hold, there is one; what cannot be said has its reason.

    Args:
        level: of the intervals. resamples: of the bootstrap, at most `LEAST` in a study of very many models and tasks,
            or of more than `HUGE` runs.
        seed: of its draws; the same records in whatever order give the same verdict.
        axes: of cost, out of `reports.study.AXES`. None: all, but those with tuning charged only if there was tuning,
            and in such a study only those of `MAIN`.
        device_prices: for money and CO2 of what is extrapolated. None: FLOP and joules only.
        workers: processes that fit. They import the caller's main module anew, which must be fit for that.

    Raises:
        ValueError: a level or a number of resamples that makes no sense, or an unknown axis.
    """
    if not 0 < level < 1 or resamples < 2:
        raise ValueError(f"level must lie between 0 and 1 and resamples be at least 2, not {level} and {resamples}")
    unknown = [axis for axis in axes or () if axis not in AXES]
    if unknown:
        raise ValueError(f"no axis of cost is called {unknown[0]!r}; there are {', '.join(AXES)}")
    how = How(level, resamples, seed)
    curves = curves_of(data)
    chosen = tuple(axes) if axes else used_axes(data, sum(not is_reference(data, model) for *_, model in curves))
    prepared = {
        (*key, axis): _prepared(data, curves[key], axis) for axis in chosen for key in sorted(curves, key=_order(data))
    }
    to_fit = sum(len(scaling.member_cost) > 0 for scaling in prepared.values())
    if to_fit > LARGE or len(data) > HUGE:
        how = replace(how, resamples=min(resamples, LEAST), large=True)
    with _mapping(workers if to_fit > FEW else 1) as each:
        scalings = dict(zip(prepared, each(partial(fitted, how=how), prepared.values()), strict=True))
        matches = _matches(data, scalings, chosen, how, each)
        trained = {key: curves[key] for key in sorted(curves, key=_order(data)) if not is_reference(data, key[2])}
        surfaces = tuple(each(partial(fitted_surface, how=how), surfaces_of(data, trained)))
    improvements, overall = _improvements(data, matches, how)
    contests = _contests(matches, improvements, how)
    models = [*data.structured, *(m for m in data.black_box if m not in data.structured)]
    every = tuple(scalings.values())
    return Verdict(
        headline=headline(contests),
        scalings=every,
        contests=contests,
        extrapolations=_extrapolations(data, every, how, device_prices),
        break_evens=_break_evens(data, matches, every, how),
        hypotheses=tuple(outcome(hypothesis, contests) for hypothesis in data.hypotheses),
        profiles={axis: profiles([s for s in every if s.axis == axis], models) for axis in chosen},
        interquartile_mean=_interquartile(data, every, models, how),
        improvement=overall,
        notes=remarks(data, chosen, every, asked=axes is not None),
        surfaces=surfaces,
    )


def used_axes(data: StudyData, curves: int) -> tuple[str, ...]:
    """All axes, but those with tuning charged only where that makes a difference; of very many `curves`, or runs, only
    `MAIN`."""
    used = [axis for axis in AXES if not axis.startswith("tuned_") or charges(data, axis)]
    few = curves * len(used) <= MANY and len(data) <= HUGE
    return tuple(axis for axis in used if axis in MAIN or few)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable]:
    """`map`, over processes where there are to be several. They are spawned, since a fork of threads may hang."""
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=4)


def is_reference(data: StudyData, model: str) -> bool:
    return model in data.references and model not in (*data.structured, *data.black_box)


def _order(data: StudyData):
    """By task and condition; then structured models, black boxes, others, references."""
    rank = {model: i for i, model in enumerate((*data.structured, *data.black_box))}

    def key(of: Key) -> tuple:
        return str(of[0]), str(of[1]), is_reference(data, of[2]), rank.get(of[2], len(rank)), str(of[2])

    return key


def _prepared(data: StudyData, curves: Curves, axis: str) -> Scaling:
    if is_reference(data, curves.key[2]):
        return reference_of(data, curves, axis)
    return scaling_of(data, curves, axis)


def _matches(
    data: StudyData,
    scalings: dict[tuple[str, str, str, str], Scaling],
    axes: Sequence[str],
    how: How,
    each: Callable,
) -> dict[tuple[str, str, str], list[Match]]:
    """By axis, structured model and black box: the two side by side on every task that has both."""
    places, firsts, seconds = [], [], []
    for axis, first, second in product(axes, data.structured, data.black_box):
        for key, scaling in scalings.items():
            other = scalings.get((*key[:2], second, axis))
            if key[2:] == (first, axis) and other is not None and first != second:
                places.append((axis, first, second))
                firsts.append(scaling)
                seconds.append(other)
    found: dict[tuple[str, str, str], list[Match]] = {}
    for place, pair in zip(places, each(partial(match, how=how), firsts, seconds), strict=True):
        found.setdefault(place, []).append(pair)
    return found


def _improvements(
    data: StudyData, matches: dict[tuple[str, str, str], list[Match]], how: How
) -> tuple[dict[tuple[str, str, str, str], Estimate], dict[tuple[str, str], Estimate]]:
    """The probability of improvement by task and pair, and its mean over tasks by pair."""
    finals, found, overall = Finals(data), {}, {}
    for (_, first, second), pairs in matches.items():
        if (first, second) in overall:
            continue
        boots: list[Bootstrap] = []
        values: list[float] = []
        for pair in pairs:
            task = pair.own[0].task, pair.own[0].condition
            runs = [trained(data, data.of(*task, model)) for model in (first, second)]
            value, boot = improvement(finals, runs[0], runs[1], how)
            found[*task, first, second] = value
            values += [] if value.value is None else [value.value]
            boots += [] if boot is None else [boot]
        overall[first, second] = mean_improvement(boots, values, how)
    return found, overall


def _contests(
    matches: dict[tuple[str, str, str], list[Match]], improvements: dict[tuple[str, str, str, str], Estimate], how: How
) -> tuple[Contest, ...]:
    found: list[Contest] = []
    for (_, first, second), pairs in matches.items():
        drafts = []
        for pair in pairs:
            task = pair.own[0].task, pair.own[0].condition
            drafts.append(contest(pair, improvements[*task, first, second], how))
        found += settle(drafts, how)
    return tuple(found)


def _extrapolations(
    data: StudyData, scalings: Sequence[Scaling], how: How, prices: Prices | None
) -> tuple[Extrapolation, ...]:
    """Along training FLOP, with tuning charged too where there was any, of every model that is not a reference."""
    chosen = [s for s in scalings if s.axis in ("flop", "tuned_flop") and not is_reference(data, s.model)]
    best: dict[tuple[str, str], float] = {}
    for s in chosen:
        if len(s.error):
            best[s.task, s.condition] = min(best.get((s.task, s.condition), np.inf), float(s.error.min()))
    found = []
    for s in chosen:
        if (s.task, s.condition) in best:
            targets = data.targets or default_targets(best[s.task, s.condition])
            found += extrapolate(data, s, targets, how, prices)
    return tuple(found)


def _break_evens(
    data: StudyData, matches: dict[tuple[str, str, str], list[Match]], scalings: Sequence[Scaling], how: How
) -> tuple[BreakEven, ...]:
    pairs = [break_even(data, pair, how) for several in matches.values() for pair in several]
    alone = [break_even_simulator(data, s, how) for s in scalings if not is_reference(data, s.model)]
    return tuple(found for found in (*pairs, *alone) if found is not None)


def _interquartile(
    data: StudyData, scalings: Sequence[Scaling], models: Sequence[str], how: How
) -> dict[str, Estimate]:
    """Of the runs of each model's best configuration (that of its frontier's least error), relative to the median of
    the best black box on the same task."""
    if not scalings:
        return {}
    finals, ends, best = Finals(data), {}, {}
    for s in scalings:
        if s.axis != scalings[0].axis or s.model not in models or not len(s.error):
            continue
        rows = data.of(s.task, s.condition, s.model)
        rows = rows[data.runs["configuration"][rows] == s.labels[int(s.error.argmin())]]
        errors = finals.error[rows]
        ends[s.model, s.task, s.condition] = errors = errors[~np.isnan(errors)]
        if s.model in data.black_box and len(errors):
            place = s.task, s.condition
            best[place] = min(best.get(place, np.inf), float(np.median(errors)))
    relative: dict[str, list[np.ndarray]] = {}
    for (model, *place), errors in ends.items():
        unit = best.get(tuple(place))
        if unit and np.isfinite(unit):
            relative.setdefault(model, []).append(errors / unit)
    return interquartile_means(relative, how)
