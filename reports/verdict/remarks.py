"""What a reader must know of a study besides its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.record import FINAL
from reports.study import AXES, StudyData
from reports.text import clean
from reports.verdict.curves import charges, codes
from reports.verdict.types import Scaling


def remarks(data: StudyData, axes: Sequence[str], scalings: Sequence[Scaling], asked: bool = False) -> tuple[str, ...]:
    """One line each, without names of runs. A run that diverged or was skipped is a result, and not missing. `asked`:
    whether somebody chose the axes."""
    runs, lines = data.runs, []
    if not len(data):
        return ("The study has no records.",)
    results = int(np.isin(runs["status"][data.distinct()], FINAL).sum())
    if data.planned > results:
        lines.append(f"{results} of {data.planned} planned runs have a result: what is missing may change the verdict.")
    if len(set(data.hashes)) > 1:
        lines.append(f"The study file was changed while it ran: its runs come from {len(set(data.hashes))} versions.")
    elif data.hashes and data.hash and data.hash not in data.hashes:
        lines.append("The study file was changed after its runs were made.")
    uncounted = np.nan_to_num(np.asarray(runs.get("uncounted", np.zeros(len(data))), float)) > 0
    if uncounted.any():
        models = ", ".join(sorted({clean(model) for model in runs["model"][uncounted]}))
        lines.append(f"FLOP of {models} are a lower bound: some operations could not be counted.")
    energy = [str(m) for m in codes(runs.get("energy_method", ()))[1] if m]
    if len({m.partition(":")[0] for m in energy}) > 1:
        lines.append(
            f"Joules come from different methods ({', '.join(sorted(map(clean, energy)))}): do not compare them."
        )
    if (np.nan_to_num(np.asarray(runs.get("shared_by", np.ones(len(data))), float), nan=1) > 1).any():
        lines.append("Seeds that trained together in one program: their seconds and joules are equal shares.")
    devices = [str(d) for d in codes(runs.get("device_name", ()))[1] if d]
    if len(devices) > 1:
        lines.append(f"The runs are from {len(devices)} devices: seconds and joules do not compare across them.")
    lines += _untold_trials(data)
    left = [axis for axis in AXES if axis.startswith("tuned_") and axis not in axes]
    if left and "flop" in axes:
        lines += _without_tuning(data, left, asked)
    joules = [s for s in scalings if s.axis == "energy_j"]
    if joules and not any(len(s.cost) for s in joules):
        lines.append("No run says its joules.")
    return tuple(lines)


def _without_tuning(data: StudyData, left: Sequence[str], asked: bool) -> list[str]:
    """Why costs with tuning charged are not judged; nothing where they are those without, as of unknown joules."""
    if not (np.nan_to_num(np.asarray(data.runs.get("tune_trials", np.zeros(len(data))), float)) > 0).any():
        return ["Nothing was tuned: no cost has tuning to be charged."]
    titles = ", ".join(AXES[axis][0] for axis in left if charges(data, axis))
    why = "they were not asked for" if asked else "the study is too large for more than the main axes"
    return [f"There was tuning, but some costs that charge it are not judged, since {why}: {titles}."] if titles else []


def _untold_trials(data: StudyData) -> list[str]:
    """Where the charge for tuning leaves trials out."""
    lines = []
    for axis in AXES:
        column = data.runs.get(f"tune_{axis}_unknown")
        if column is None:
            continue
        lacking = np.nan_to_num(np.asarray(column, dtype=float)) > 0
        if lacking.any():
            models = ", ".join(sorted({clean(model) for model in data.runs["model"][lacking]}))
            unit = AXES[axis][1]
            lines.append(f"Some trials of {models} do not say their {unit}: the tuning charged is a lower bound.")
    return lines
