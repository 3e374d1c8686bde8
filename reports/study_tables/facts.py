"""How it was measured: what was run, with which code, on which machines, and what became of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reports.study import StudyData
from reports.study_tables.curves import column
from reports.study_tables.sheet import Column, Line, Sheet, words
from reports.text import number, si, where

MOST = 12  # different values that one fact lists


def missing(data: StudyData) -> list[str]:
    """What stands between these records and the study as declared; empty when it is whole."""
    said = []
    there, wanting = len(data.distinct()), data.planned - len(data.distinct())
    if wanting > 0:
        said.append(f"Partial: {there} of {data.planned} runs have a record; {wanting} {_are(wanting)} missing.")
    other = [h for h in data.hashes if h != data.hash]
    if other:
        said.append(
            f"The study file was changed while it ran: it now has hash {data.hash}, but runs joined under "
            f"{', '.join(other)}."
        )
    have = set(data.runs["model"].tolist())
    absent = [model for model in (*data.structured, *data.black_box) if model not in have]
    if absent and len(data):
        said.append(f"No record of {', '.join(absent)}.")
    broken = sorted({(t, c, m) for t, c, m in _without_result(data)})
    for task, condition, model in broken[:MOST]:
        said.append(f"No run of {model} on {where(task, condition)} finished.")
    if len(broken) > MOST:
        said.append(f"… and {len(broken) - MOST} more such.")
    return said


def facts_sheet(data: StudyData) -> Sheet:
    """The protocol, as (what, value) rows. Every run counts once, also where it stands for several conditions."""
    conditions = data.runs["condition"]
    data = _once(data)
    facts: list[tuple[str, str]] = [
        ("study", data.name),
        ("hash of the study file", ", ".join(dict.fromkeys((data.hash, *data.hashes)))),
        ("question", data.question),
        ("error", f"{data.metric} on test data"),
        ("runs", f"{len(data)}" + (f" of {data.planned} planned" if data.planned else "")),
        ("by status", _counts(data.runs["status"])),
        ("by role", _counts(data.runs["role"]) if "role" in data.runs else ""),
        ("structured models", ", ".join(data.structured)),
        ("black boxes", ", ".join(data.black_box)),
        ("references", ", ".join(data.references)),
        ("tasks", _counts(data.runs["task"])),
        ("conditions", _counts(conditions)),
    ]
    for name, title in (("seed", "seeds"), ("draw", "data draws")):
        facts.append((title, str(len(np.unique(column(data, name)))) if len(data) else ""))
    for name, title in (
        ("backend", "backends"),
        ("device", "devices"),
        ("device_name", "machines"),
        ("energy_method", "joules"),
    ):
        facts.append((title, _counts(data.runs[name]) if name in data.runs else ""))
    facts += [
        (f"{title}, all runs", _spent(data, phase)) for phase, title in (("train", "training"), ("tune", "tuning"))
    ]
    trials = column(data, "tune_trials")
    if np.isfinite(trials).any() and np.nanmax(trials) > 0:
        facts.append(("tuning trials a run", f"up to {number(float(np.nanmax(trials)))}"))
    started = sorted(s for s in data.runs.get("started", np.array([])).tolist() if s)
    if started:
        facts.append(("started", started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"))
    facts += [(key.replace("_", " "), _said(value)) for key, value in _flat(data.facts)]
    lines = tuple(Line((what,), (words(value),), about={"fact": what}) for what, value in facts if value)
    return Sheet("facts", "How it was measured", ("fact",), (Column("value", "value", words=True),), lines)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _once(data: StudyData) -> StudyData:
    """The table of runs with every run once; without points."""
    rows = data.distinct()
    if len(rows) == len(data):
        return data
    return replace(data, runs={name: column[rows] for name, column in data.runs.items()}, points={})


def _without_result(data: StudyData) -> list[tuple[str, str, str]]:
    names = [data.runs[name].tolist() for name in ("task", "condition", "model", "status")]
    every: dict[tuple[str, str, str], bool] = {}
    for task, condition, model, status in zip(*names, strict=True):
        place = (task, condition, model)
        every[place] = every.get(place, False) or status == "finished"
    return [place for place, any_finished in every.items() if not any_finished]


def _spent(data: StudyData, phase: str) -> str:
    """FLOP, joules and seconds of all runs together, of all trials each once; nothing where none were spent."""
    if phase == "tune" and data.tuning:
        units = (("flop", "FLOP"), ("energy_j", "J"), ("seconds", "s"))
        return ", ".join(si(data.tuning[name], unit) for name, unit in units if data.tuning.get(name))
    said = []
    for axis, unit in (("flop", "FLOP"), ("energy_j", "J"), ("seconds", "s")):
        values = column(data, f"{phase}_{axis}")
        known = values[np.isfinite(values)]
        share = "" if len(known) == len(values) else f" (known of {len(known)} runs)"
        if known.any():
            said.append(si(float(known.sum()), unit) + share)
    return ", ".join(said)


def _counts(values: np.ndarray) -> str:
    counts = Counter(str(value) for value in values.tolist())
    counts.pop("", None)
    listed = [f"{name} {n}" for name, n in counts.most_common(MOST)]
    return ", ".join([*listed, *([f"and {len(counts) - MOST} more"] if len(counts) > MOST else [])])


def _flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in facts.items():
        found += _flat(value, f"{before}{key}: ") if isinstance(value, Mapping) else [(f"{before}{key}", value)]
    return found


def _said(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple | set):
        listed = [str(item) for item in value]
        return ", ".join([*listed[:MOST], *([f"and {len(listed) - MOST} more"] if len(listed) > MOST else [])])
    return "" if value is None else str(value)
