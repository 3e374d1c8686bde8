"""What the page's charts and its table of runs are drawn from: columns, with so many digits as can be seen.

Bounded whatever the size of the study. Up to `MOST_RUNS` runs are all listed, with their commands; of more, the
configurations are, each with the query that finds its runs, and a sample of the runs is drawn. Of points, the last of
each run comes first. Samples are drawn by chance, since runs lie in a regular order, but always the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.page.styles import styles
from reports.page.words import label, phrase, prose, rounded
from reports.study import AXES, StudyData
from reports.study_figures.grid import Grid
from reports.study_figures.phases import phases
from reports.study_tables import Summary
from reports.study_tables.priors import Family
from reports.study_tables.summary import Figure
from reports.text import clean
from reports.verdict.types import BreakEven, Contest, Estimate, Scaling, Verdict

MOST_RUNS = 2000  # listed one by one
MOST_ROWS = 2000  # configurations listed, where there are more runs than that
MOST_POINTS = 8000  # drawn
MOST_PANELS = 36  # tasks and conditions drawn
MOST_PHASED = 100_000  # runs of a study whose phase diagram the page makes again: it takes its time
BAND = 32  # points of a band
NUMBERS = {
    "seed": 12, "draw": 12, "parameters": 4, "data": 4, "train_flop": 4, "train_energy_j": 4, "train_seconds": 4
}  # fmt: skip
TEXTS = ("identity", "configuration", "status", "reason", "role", "backend", "energy_method", "command")


def payload(summary: Summary, verdict: Verdict) -> dict[str, Any]:
    """All that the page's programs read. Panels, models and devices are numbered; every other table refers to them."""
    data = summary.data
    panels = data.tasks()
    drawn = panels[:MOST_PANELS]
    models = styles(data)
    index = Index({panel: i for i, panel in enumerate(drawn)}, {model["key"]: i for i, model in enumerate(models)})
    axes = [axis for axis in AXES if any(s.axis == axis for s in verdict.scalings)] or ["flop"]
    devices = [clean(name) for name in sorted(set(device_names(data)))]
    chosen = _chosen(data)
    whole = len(chosen) == len(data)
    scalings = [s for s in verdict.scalings if (s.task, s.condition) in index.panels and s.model in index.models]
    return {
        "study": clean(data.name),
        "metric": clean(data.metric),
        "axes": [{"key": axis, "title": AXES[axis][0], "unit": AXES[axis][1]} for axis in axes],
        "panels": [{"task": clean(t), "condition": clean(c), "label": label(t, c)} for t, c in drawn],
        "models": [{name: value for name, value in model.items() if name != "key"} for model in models],
        "devices": devices,
        "runs": _runs(summary, chosen, panels, index, devices),
        "points": _points(summary, chosen, axes),
        "totals": {"runs": len(data.distinct()), "points": len(data.points["run"]), "panels": len(panels)},
        "configurations": None if whole else _configurations(summary, index),
        "scalings": [_scaling(s, index) for s in scalings],
        "levels": _levels(summary, index),
        "differences": [_difference(c, index) for c in verdict.contests if (c.task, c.condition) in index.panels],
        "breakEvens": [_break_even(b, index) for b in verdict.break_evens if (b.task, b.condition) in index.panels],
        "phases": _phases(summary, index) if len(data) <= MOST_PHASED else [],
        "profiles": _profiles(verdict, index),
        "priors": [_family(family, index) for family in summary.families],
    }


@dataclass(frozen=True)
class Index:
    panels: dict[tuple[str, str], int]
    models: dict[str, int]


def device_names(data: StudyData) -> np.ndarray:
    """Of each run: the name of its device, or where it has none the kind."""
    kinds = data.runs["device"]
    names = data.runs.get("device_name", kinds)
    return np.where(names.astype(bool), names, kinds).astype(object)


def _chosen(data: StudyData) -> np.ndarray:
    """The runs that are shown one by one: all, or a sample of those that finished."""
    if len(data) <= MOST_RUNS:
        return np.arange(len(data))
    finished = np.flatnonzero(data.runs["status"] == "finished")
    pool = finished if len(finished) >= MOST_RUNS else np.arange(len(data))
    return _sample(pool, MOST_RUNS)


def _sample(values: np.ndarray, count: int) -> np.ndarray:
    """So many of the values, in their order; the same ones each time."""
    if len(values) <= count:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), count, replace=False))]


def _runs(
    summary: Summary, chosen: np.ndarray, panels: list[tuple[str, str]], index: Index, devices: list[str]
) -> dict[str, list[Any]]:
    data = summary.data
    runs, names, place = data.runs, device_names(data), {name: i for i, name in enumerate(devices)}
    every = {panel: i for i, panel in enumerate(panels)}
    model, task, condition = (runs[name][chosen].tolist() for name in ("model", "task", "condition"))
    columns: dict[str, list[Any]] = {
        "panel": [every[pair] for pair in zip(task, condition, strict=True)],
        "model": [index.models[name] for name in model],
        "device": [place[clean(names[i])] for i in chosen],
        "error": [rounded(x) for x in summary.final[chosen]],
        "task": [clean(name) for name in task],
        "condition": [clean(name) for name in condition],
    }
    for name, digits in NUMBERS.items():
        if name in runs:
            columns[name] = [rounded(x, digits) for x in runs[name][chosen]]
    for name in TEXTS:
        if name in runs:
            columns[name] = [clean(x) for x in runs[name][chosen]]
    return columns


def _points(summary: Summary, chosen: np.ndarray, axes: list[str]) -> dict[str, list[Any]]:
    """Points with a test error, of the chosen runs: the last of each run, then a sample."""
    curves, data = summary.curves, summary.data
    error = curves.column(f"test.{data.metric}")
    place = np.full(len(data), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    usable = np.flatnonzero((place[curves.run] >= 0) & np.isfinite(error) & (error > 0))
    if len(usable) > MOST_POINTS:
        last = curves.first[1:][chosen] - 1  # of a run without points that of the run before: no harm
        ends = np.intersect1d(last, usable)
        others = np.setdiff1d(usable, ends, assume_unique=True)
        usable = np.union1d(ends, _sample(others, max(MOST_POINTS - len(ends), 0)))
    columns: dict[str, list[Any]] = {
        "run": [int(x) for x in place[curves.run[usable]]],
        "error": [rounded(x) for x in error[usable]],
    }
    for axis in axes:
        columns[axis] = [rounded(x) for x in curves.column(axis)[usable]]
    return columns


def _configurations(summary: Summary, index: Index) -> dict[str, Any]:
    """Runs put together by configuration, the first `MOST_ROWS` of them in order of their names."""
    data, names = summary.data, ("task", "condition", "model", "configuration")
    columns = [data.runs[name] for name in names]
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(zip(*columns, strict=True)):
        groups.setdefault(key, []).append(i)
    errors, status = summary.final, data.runs["status"]
    rows = []
    for key in sorted(groups)[:MOST_ROWS]:
        members = np.array(groups[key])
        known = errors[members][np.isfinite(errors[members])]
        rows.append(
            {
                "task": clean(key[0]),
                "condition": clean(key[1]),
                "panel": index.panels.get((key[0], key[1]), -1),
                "model": index.models[key[2]],
                "configuration": clean(key[3]),
                "runs": len(members),
                "finished": int((status[members] == "finished").sum()),
                "error": rounded(np.median(known)) if len(known) else None,
                "train_flop": _median(data.runs, "train_flop", members),
                "train_energy_j": _median(data.runs, "train_energy_j", members),
                "train_seconds": _median(data.runs, "train_seconds", members),
                "query": query(dict(zip(names, key, strict=True))),
            }
        )
    return {"total": len(groups), "rows": rows, "query": query({})}


def _median(runs: dict[str, np.ndarray], name: str, members: np.ndarray) -> float | None:
    values = runs[name][members].astype(float) if name in runs else np.empty(0)
    values = values[np.isfinite(values)]
    return rounded(np.median(values)) if len(values) else None


def query(where: dict[str, str]) -> str:
    """DuckDB's SQL that finds runs in the runs.parquet beside the page."""

    def quoted(text: str) -> str:
        return "'" + clean(text).replace("'", "''") + "'"

    conditions = " AND ".join(f"{name} = {quoted(value)}" for name, value in where.items())
    return f"SELECT * FROM 'runs.parquet'{' WHERE ' + conditions if conditions else ''}"


def _scaling(scaling: Scaling, index: Index) -> dict[str, Any]:
    made: dict[str, Any] = {
        "panel": index.panels[scaling.task, scaling.condition],
        "model": index.models[scaling.model],
        "axis": scaling.axis,
        "frontier": [_list(scaling.cost), _list(scaling.error), [clean(name) for name in scaling.labels]],
        "sure": not scaling.reasons,
    }
    flat = scaling.identifiability is not None and scaling.identifiability.flat
    if scaling.exponent is not None and scaling.law is not None and not flat:  # else the tables say why there is none
        made["exponent"] = [rounded(x) for x in (scaling.law.exponent, scaling.exponent.low, scaling.exponent.high)]
    if scaling.band is not None and scaling.band.size:
        fitted = np.flatnonzero(scaling.band[0] >= (scaling.start or 0) * (1 - 1e-9))  # before that there is no law
        # The last cost that was observed is among the points, so that what lies beyond it begins there.
        keep = fitted[np.unique(np.linspace(0, len(fitted) - 1, min(BAND, len(fitted))).astype(int))]
        made["band"] = [_list(row[keep]) for row in scaling.band]
        made["reach"] = rounded(scaling.cost.max()) if len(scaling.cost) else None
    if scaling.heldout is not None:
        held = scaling.heldout
        forecast = held.forecast("power + floor")  # the law's own
        made["heldout"] = [_list(x) for x in (held.cost, held.error, forecast.low, forecast.high)]
    return made


def _list(values: np.ndarray) -> list[float | int | None]:
    return [rounded(x) for x in np.asarray(values, dtype=float)]


def _levels(summary: Summary, index: Index) -> list[dict[str, Any]]:
    """The errors of the reference rows."""
    return [
        {"panel": panel, "model": index.models[row.model], "error": rounded(row.error.value)}
        for place, panel in index.panels.items()
        for row in summary.rows.get(place, [])
        if row.reference and rounded(row.error.value) is not None
    ]


def _phases(summary: Summary, index: Index) -> list[dict[str, Any]]:
    """Which model has the least error at each cost, as in the static figure; cells reach halfway to the next."""
    grid = Grid.of(summary)
    made = []
    for panel in phases(summary, grid)[:MOST_PANELS]:
        middle = np.sqrt(grid.costs[:-1] * grid.costs[1:])
        edges = np.r_[grid.costs[0] ** 2 / middle[0], middle, grid.costs[-1] ** 2 / middle[-1]]
        cells = [
            {
                "row": prose(panel.names[y]),
                "from": rounded(edges[x]),
                "to": rounded(edges[x + 1]),
                "model": index.models[panel.models[winner]],
                "clear": bool(panel.clear[y, x]),
            }
            for (y, x), winner in np.ndenumerate(panel.winner)
            if winner >= 0
        ]
        rows = [prose(name) for name in panel.names]
        made.append({"title": clean(panel.title), "by": clean(panel.axis), "rows": rows, "cells": cells})
    return made


def _difference(contest: Contest, index: Index) -> dict[str, Any]:
    return {
        "panel": index.panels[contest.task, contest.condition],
        "axis": contest.axis,
        "pair": f"{clean(contest.structured)} − {clean(contest.black_box)}",
        "models": [index.models.get(contest.structured, -1), index.models.get(contest.black_box, -1)],
        "says": contest.says,
        "estimate": _estimate(contest.difference),
        "text": phrase(contest.difference),
    }


def _break_even(found: BreakEven, index: Index) -> dict[str, Any]:
    return {
        "panel": index.panels[found.task, found.condition],
        "axis": found.axis,
        "pair": f"{clean(found.model)} against {clean(found.other)}",
        "model": index.models.get(found.model, -1),
        "estimate": _estimate(found.queries),
        "never": found.queries.value is not None and bool(np.isinf(found.queries.value)),
        "text": phrase(found.queries),
    }


def _family(family: Family, index: Index) -> dict[str, Any]:
    """Errors by delta: computed floors, measured, and those of black boxes, each with its interval."""
    steps = [
        {
            "delta": step.delta,
            "floor": rounded(step.floor.value),
            "measured": {how: _ends(error) for how, error in step.measured.items()},
        }
        for step in family.steps
    ]
    boxes = [{"model": index.models[name], "error": _ends(error)} for name, error in family.black_boxes.items()]
    return {
        "task": clean(family.task),
        "title": f"{label(family.task, family.condition)}: {clean(family.prior)}",
        "metric": clean(family.metric),
        "model": index.models[family.model],
        "steps": steps,
        "boxes": boxes,
    }


def _ends(error: Figure) -> list[float | int | None]:
    return [rounded(x) for x in (error.value, error.low, error.high)]


def _estimate(estimate: Estimate) -> list[float | int | None]:
    return [None if x is None else rounded(x) for x in (estimate.value, estimate.low, estimate.high)]


def _profiles(verdict: Verdict, index: Index) -> list[dict[str, Any]]:
    return [
        {"axis": axis, "model": index.models[model], "ratio": _list(ratio), "share": _list(share)}
        for axis, models in verdict.profiles.items()
        for model, (ratio, share) in models.items()
        if model in index.models
    ]
