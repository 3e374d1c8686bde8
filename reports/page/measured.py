"""How it was measured: counters, devices, joules and their methods, budgets, tuning, versions, the study's hash."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from reports.page.words import several, text_of
from reports.study import StudyData
from reports.study_tables.sheet import Sheet
from reports.text import clean

MOST = 12  # reasons listed


def measured(data: StudyData, facts: Sheet | None) -> list[dict[str, Any]]:
    """Groups of (term, statements). `facts`: the table of what was run."""
    once, listed = data.distinct(), facts.lines if facts else ()
    runs = {name: column[once] for name, column in data.runs.items()}
    groups = [
        ("What was run", [(line.keys[0].capitalize(), [line.cells[0].text]) for line in listed]),
        ("How costs are read", [
            ("FLOP", _flop(runs)),
            ("Joules", _joules(runs)),
            ("Seconds", ["read after the device has finished; compilation, data and evaluation are not charged"]),
            ("Sharing", _sharing(runs)),
            ("Tuning", _tuning(data)),
            ("Pre-registration", _hashes(data)),
            ("Why runs did not finish", _reasons(runs)),
        ]),
    ]  # fmt: skip
    return [
        {"title": title, "items": [(clean(term), [clean(one) for one in said]) for term, said in items if said]}
        for title, items in groups
    ]


def _hashes(data: StudyData) -> list[str]:
    others = [clean(h) for h in data.hashes if h != data.hash]
    if others:
        was = ", ".join(others)
        return [f"the study file's hash is {clean(data.hash)}; some runs joined under {was}: it was changed in between"]
    return ["every record holds the hash of the study file, which was the same for all runs"]


def _reasons(runs: dict[str, np.ndarray]) -> list[str]:
    if "reason" not in runs:
        return []
    counts = Counter(runs["reason"][runs["reason"].astype(bool)])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{clean(reason)}: {several(count, 'run')}" for reason, count in ordered]
    return said[:MOST] + ([f"and {several(len(said) - MOST, 'other reason')}"] if len(said) > MOST else [])


def _flop(runs: dict[str, np.ndarray]) -> list[str]:
    said = [
        "counted from the program that ran: forward, backward, optimiser, solver, rejected steps; multiply-add is 2"
    ]
    lower = int(np.nansum(runs["uncounted"].astype(float) > 0)) if "uncounted" in runs else 0
    if lower:
        said.append(f"a lower bound in {several(lower, 'run')}, which used an operation without a rule")
    return said


def _joules(runs: dict[str, np.ndarray]) -> list[str]:
    if "energy_method" not in runs:
        return []
    energy = runs.get("train_energy_j", np.full(len(runs["energy_method"]), np.nan)).astype(float)
    said = []
    for method, count in sorted(Counter(runs["energy_method"]).items(), key=lambda item: (-item[1], item[0])):
        mine = runs["energy_method"] == method
        uncertainty = runs["energy_uncertainty"][mine].astype(float) if "energy_uncertainty" in runs else np.empty(0)
        uncertainty = uncertainty[np.isfinite(uncertainty)]
        spread = f", ±{uncertainty.max():.0%}" if len(uncertainty) else ""
        unknown = int((~np.isfinite(energy[mine])).sum())
        missing = f"; unknown in {several(unknown, 'run')}" if unknown and method else ""
        said.append(f"{clean(method) or 'unknown'}{spread}: {several(count, 'run')}{missing}")
    kinds = {str(method).partition(":")[0] for method in runs["energy_method"]} & {"measured", "modelled"}
    if len(kinds) > 1:
        said.append("measured and modelled joules lie side by side here; their difference is no result")
    return said


def _sharing(runs: dict[str, np.ndarray]) -> list[str]:
    if "shared_by" not in runs:
        return []
    shared = runs["shared_by"].astype(float)
    count = int(np.nansum(shared > 1))
    if not count:
        return ["every run had its program and its device to itself"]
    return [
        f"{several(count, 'run')} shared one program with others (up to {text_of(float(np.nanmax(shared)))} together): "
        "their joules and seconds are equal shares of what was measured"
    ]


def _tuning(data: StudyData) -> list[str]:
    trials = data.runs.get("tune_trials")
    if trials is None or not np.nansum(trials.astype(float)):
        return ["none: every model ran with the recipe of its configuration"]
    said = []
    for model in (*data.structured, *data.black_box):
        mine = trials[data.runs["model"] == model].astype(float)
        mine = mine[np.isfinite(mine)]
        if len(mine):
            low, high = text_of(float(mine.min())), text_of(float(mine.max()))
            said.append(f"{clean(model)}: {low if low == high else f'{low} to {high}'} trials a run")
    return [*said, "all charged on the axes that say so, failed trials too"]
