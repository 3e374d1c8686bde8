"""The errors of all runs at the same costs, so that models can be compared at each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.record import FINISHED
from reports.study_tables.curves import codes, split
from reports.study_tables.summary import Row, Summary

AXIS = "flop"
PER_DECADE, MOST_COSTS = 3, 24

Place = tuple[str, str]  # task, condition


@dataclass(frozen=True)
class Grid:
    """Test errors (costs, runs) of the runs that finished, at costs evenly spaced over what the study covers; see
    `Curves.error_at`."""

    costs: np.ndarray
    error: np.ndarray
    configuration: np.ndarray

    @classmethod
    def of(cls, summary: Summary) -> Grid:
        cost, error = (summary.curves.column(name) for name in (AXIS, f"test.{summary.data.metric}"))
        trained = np.diff(summary.curves.first)[summary.curves.run] > 1
        known = cost[trained & np.isfinite(error) & (cost > 0)]
        configuration = codes(summary.data.runs["configuration"])[0]
        if not len(known) or known.max() <= known.min():
            return cls(np.array([]), np.zeros((0, len(summary.data))), configuration)
        count = math.ceil(math.log10(known.max() / known.min()) * PER_DECADE) + 1
        costs = np.geomspace(known.min(), known.max(), min(max(count, 4), MOST_COSTS))
        error = summary.curves.error_at(AXIS, summary.data.metric, costs)
        error[:, summary.data.runs["status"] != FINISHED] = np.nan  # what it had before it diverged is no result
        return cls(costs, error, configuration)

    def configurations(self, runs: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(runs, median errors (costs,)) of each configuration; NaN at costs that fewer than half of them reached."""
        found = []
        for part in split(self.configuration[runs]):
            members = runs[part]
            error = self.error[:, members]
            some = 2 * np.isfinite(error).sum(1) >= len(members)
            median = np.full(len(self.costs), np.nan)
            median[some] = np.nanmedian(error[some], axis=1)
            found.append((members, median))
        return found


def competitors(summary: Summary, place: Place) -> list[Row]:
    return [row for row in summary.rows.get(place, []) if not row.reference]
