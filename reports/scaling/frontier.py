"""The compute frontier: at each cost, the best error over model sizes and data sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.scaling.core import checked


@dataclass(frozen=True)
class Frontier:
    """`cost` and `error`, ascending in cost: medians over seeds. `labels`: whose they are.

    `members`: (n,) bool, the points given whose configuration is on the frontier; those are what a fit with clusters
    takes.
    """

    cost: np.ndarray
    error: np.ndarray
    labels: np.ndarray
    members: np.ndarray


def frontier(
    cost: ArrayLike, error: ArrayLike, configuration: ArrayLike, *, per_decade: float = 4, z: float = 1.645
) -> Frontier:
    """The lower envelope over configurations, in bins of cost.

    Points of one configuration are first put together, so that a lucky seed does not make a frontier: medians over
    seeds. In each bin of cost the configuration of least error stays (as Hoffmann et al. 2022 take the least loss at
    each FLOP count). One that a cheaper one betters is dropped, but only if by more than noise would: `z` standard
    errors of the two medians. So a plateau stays, which a set of strict improvements would lose, and with it the floor.
    With one seed everywhere noise is unknown and taken as none.

    Args:
        cost: (n,). error: (n,). configuration: (n,) labels, the same for seeds of one size, data size and checkpoint.
        per_decade: bins to a decade of cost, anchored at the cheapest configuration.

    Raises:
        ValueError: values that are not positive and finite, or labels of another length.
    """
    inputs, y = checked(error, 1, cost=cost)
    labels = np.asarray(configuration)
    if labels.shape != y.shape:
        raise ValueError(f"configuration needs one label a point: {len(y)} points, labels of shape {labels.shape}")
    if not per_decade > 0:
        raise ValueError(f"per_decade must be positive, not {per_decade}")
    names, of = _numbered(labels)
    counts = np.bincount(of)
    x, level = medians([np.log(inputs[0]), np.log(y)], of, counts)
    noise = _standard_errors(np.log(y), of, counts)
    bins = np.floor((x - x.min()) / np.log(10) * per_decade + 1e-9).astype(int)  # 1e-9: bin edges after rounding
    order = np.lexsort((x, level, bins))
    winners = order[np.diff(bins[order], prepend=-1) > 0]
    kept: list[int] = []
    best: int | None = None
    for winner in winners:
        if best is None or level[winner] <= level[best]:
            best = int(winner)
        elif level[winner] - level[best] > z * np.hypot(noise[winner], noise[best]):
            continue
        kept.append(int(winner))
    return Frontier(np.exp(x[kept]), np.exp(level[kept]), names[kept], np.isin(of, kept))


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different labels, sorted, and the place of each point's among them; whole numbers are counted, not sorted."""
    if labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < 4 * len(labels):
        there = np.bincount(labels) > 0
        return np.flatnonzero(there), (np.cumsum(there) - 1)[labels]
    return np.unique(labels, return_inverse=True)


def medians(columns: Sequence[np.ndarray], of: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The median of each group in each column, (columns, groups): of all groups of one size at once."""
    order = np.argsort(of.astype(np.int16) if len(counts) < 2**15 else of, kind="stable")
    first, found = np.cumsum(counts) - counts, np.empty((len(columns), len(counts)))
    for count in np.unique(counts):
        groups = np.flatnonzero(counts == count)
        members = order[first[groups][:, None] + np.arange(count)]
        for column, values in enumerate(columns):
            found[column, groups] = np.median(values[members], axis=1)
    return found


def _standard_errors(log_error: np.ndarray, of: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each median: 1.2533·s/√(seeds), the spread s pooled over configurations since a few seeds cannot tell it."""
    mean = np.bincount(of, log_error) / counts
    squares = float(((log_error - mean[of]) ** 2).sum())
    spread = np.sqrt(squares / max(int((counts - 1).sum()), 1))
    return 1.2533 * spread / np.sqrt(counts)
