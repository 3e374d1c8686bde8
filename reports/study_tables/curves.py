"""The columns of a study's runs and of their curves, and what they say at a cost or an error."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.study import StudyData


@dataclass(frozen=True)
class Curves:
    """The points of a study in the order of their runs. `first` (runs + 1,): where the points of each run begin."""

    first: np.ndarray
    run: np.ndarray
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, data: StudyData) -> Curves:
        run = np.asarray(data.points["run"], dtype=int)
        columns = data.points
        step = np.asarray(columns["step"], dtype=float)
        if len(run) and not ((np.diff(run) > 0) | ((np.diff(run) == 0) & (np.diff(step) >= 0))).all():
            order = np.lexsort((step, run))
            columns = {name: values[order] for name, values in columns.items()}
            run = run[order]
        return cls(np.searchsorted(run, np.arange(len(data) + 1)), run, columns)

    def column(self, name: str) -> np.ndarray:
        """The column, NaN where the study has none of that name."""
        values = self.columns.get(name)
        return np.full(len(self.run), np.nan) if values is None else np.asarray(values, dtype=float)

    def last(self, name: str) -> np.ndarray:
        """(runs,): the value at each run's last point, NaN for a run without points."""
        values = self.column(name)
        found = np.full(len(self.first) - 1, np.nan)
        some = np.diff(self.first) > 0
        found[some] = values[self.first[1:][some] - 1]
        return found

    def cost_to(self, axis: str, metric: str, target: float | np.ndarray) -> np.ndarray:
        """(runs,): the cost at which each run's test error first came down to `target`, one for all or (runs,), on
        log-log axes between the points around it; infinite if it never did, NaN where costs or errors are unknown."""
        cost, error = self.column(axis), self.column(f"test.{metric}")
        found = np.full(len(self.first) - 1, np.inf)
        runs_known = np.zeros(len(found), dtype=bool)
        known = np.isfinite(error) & np.isfinite(cost)
        runs_known[self.run[known]] = True
        found[~runs_known] = np.nan
        target = np.broadcast_to(target, len(found))[self.run]
        hits = np.flatnonzero(known & (error <= target))
        hits = hits[np.r_[True, np.diff(self.run[hits]) > 0]] if len(hits) else hits  # the first of each run
        value = cost[hits]
        before = np.maximum(hits - 1, 0)
        between = (hits > self.first[self.run[hits]]) & known[before] & (cost[before] > 0) & (error[hits] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.log(error[before] / target[hits]) / np.log(error[before] / error[hits])
            value = np.where(between, cost[before] * (cost[hits] / cost[before]) ** share, value)
        found[self.run[hits]] = value
        return found

    def error_at(self, axis: str, metric: str, costs: np.ndarray) -> np.ndarray:
        """(costs, runs): each run's test error once it had spent as much, on log-log axes between its points; after
        its last point that one's; NaN before its first, or where costs or errors are unknown."""
        cost, error = self.column(axis), self.column(f"test.{metric}")
        known = np.isfinite(cost) & np.isfinite(error) & (cost > 0) & (error > 0)
        run, cost, error = self.run[known], np.log(cost[known]), np.log(error[known])
        first = np.searchsorted(run, np.arange(len(self.first)))
        found = np.full((len(costs), len(self.first) - 1), np.nan)
        for row, at in zip(found, np.log(costs), strict=True):
            spent = np.r_[0, np.cumsum(cost <= at + 1e-9)]  # rounding: the last of equal budgets
            count = spent[first[1:]] - spent[first[:-1]]
            begun = count > 0
            last = first[:-1][begun] + count[begun] - 1
            after = np.minimum(last + 1, first[1:][begun] - 1)
            step = cost[after] - cost[last]
            share = np.divide(at - cost[last], step, out=np.zeros(len(last)), where=step > 0)
            row[begun] = np.exp(error[last] + np.clip(share, 0, 1) * (error[after] - error[last]))
        return found


def codes(values: Iterable[Hashable]) -> tuple[np.ndarray, list[Any]]:
    """(codes, names): which of the distinct values each is; quicker on a million texts than sorting them."""
    seen: dict[Hashable, int] = {}
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    found = np.fromiter((seen.setdefault(value, len(seen)) for value in listed), dtype=int, count=len(listed))
    return found, list(seen)


def column(data: StudyData, name: str, runs: np.ndarray | None = None) -> np.ndarray:
    """A numeric column, of all runs or of some; NaN where the study has none of that name."""
    values = data.runs.get(name)
    if values is None:
        return np.full(len(data) if runs is None else len(runs), np.nan)
    return np.asarray(values if runs is None else values[runs], dtype=float)


def split(labels: np.ndarray) -> list[np.ndarray]:
    """The indices of each distinct label."""
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    return [part for part in np.split(order, edges) if len(part)]
