"""The records of one study as columns: what the verdict, the tables, the figures and the page are made from.

Columns and not records, so that a million runs are a few arrays. `experiments` fills them from a store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The costs that errors are compared at, by the name of their column in `points`. "tuned_…" charges every trial.
AXES = {
    "flop": ("training FLOP", "FLOP"),
    "tuned_flop": ("training FLOP, tuning charged", "FLOP"),
    "energy_j": ("training energy", "J"),
    "tuned_energy_j": ("training energy, tuning charged", "J"),
    "seconds": ("training time", "s"),
    "samples": ("training samples", "windows"),
}


@dataclass(frozen=True)
class Hypothesis:
    """What somebody expected before the study ran. `text` is theirs; the rest, where given, can be checked:
    `says`, one of `reports.verdict.SAYS`, of `structured` against `black_box` on `task` along `axis`."""

    text: str
    task: str = ""
    structured: str = ""
    black_box: str = ""
    axis: str = "flop"
    says: str = ""


@dataclass(frozen=True)
class StudyData:
    """A study and its records. A table's columns are equally long; text is in object arrays, an unknown number NaN.

    `name`, `hash`: of the study and its file; `hashes`: those of the file when the runs joined, more than one where it
    was changed in between. `metric`: the error that is compared, a column "test.<metric>" of `points`.
    `structured`, `black_box`: models whose comparison was declared; `references`: rows that every comparison shows.
    `targets`: errors whose cost is asked for. `planned`: how many runs the study has, finished or not.

    `runs`, one entry a run (tuning trials are not among them):
        identity, task, condition, model, configuration, status, reason, role, backend, device, device_name,
        energy_method, started, command (text); seed, draw (data_seed), parameters (N), data (D: training windows),
        train_flop, train_energy_j, train_seconds, tune_flop, tune_energy_j, tune_seconds, tune_trials,
        infer_flop_per_time_unit, infer_energy_j_per_time_unit, infer_seconds_per_time_unit, peak_memory_bytes,
        shared_by, uncounted (1 where FLOP are a lower bound) and "metrics.<name>" (numbers).
        `condition`: what sets the task of a verdict apart besides its name, as "noise=0.1", or "".
        `configuration`: what sets the run apart from others of its task, condition and model, seeds and data draws
        left out, as "width=64 n_train=512".
    `points`, one entry a point of a run's curve: run (index into `runs`), step, samples, flop, seconds, energy_j,
        tuned_flop, tuned_energy_j, tuned_seconds, error (on validation data), "test.<name>".
    """

    name: str
    hash: str
    runs: dict[str, np.ndarray]
    points: dict[str, np.ndarray]
    question: str = ""
    hypotheses: tuple[Hypothesis, ...] = ()
    metric: str = "one_step_nrmse"
    structured: tuple[str, ...] = ()
    black_box: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    targets: tuple[float, ...] = ()
    hashes: tuple[str, ...] = ()
    planned: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.runs["identity"])

    def tasks(self) -> list[tuple[str, str]]:
        """Every (task, condition), sorted."""
        return sorted(set(zip(self.runs["task"], self.runs["condition"], strict=True)))

    def of(self, task: str, condition: str = "", model: str | None = None) -> np.ndarray:
        """Indices of the runs of a task, and of one of its models where that is given."""
        chosen = (self.runs["task"] == task) & (self.runs["condition"] == condition)
        if model is not None:
            chosen &= self.runs["model"] == model
        return np.flatnonzero(chosen)
