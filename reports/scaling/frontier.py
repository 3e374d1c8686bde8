"""The compute frontier: at each cost, the best error over model sizes and data sizes."""

from __future__ import annotations

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
    names, of = np.unique(labels, return_inverse=True)
    groups = [np.flatnonzero(of == group) for group in range(len(names))]
    x = np.array([np.median(np.log(inputs[0][group])) for group in groups])
    level = np.array([np.median(np.log(y[group])) for group in groups])
    noise = _standard_errors(np.log(y), groups, level)
    bins = np.floor((x - x.min()) / np.log(10) * per_decade + 1e-9).astype(int)  # 1e-9: bin edges after rounding
    winners = []
    for number in np.unique(bins):
        inside = np.flatnonzero(bins == number)
        winners.append(inside[np.lexsort((x[inside], level[inside]))[0]])
    kept: list[int] = []
    best: int | None = None
    for winner in winners:
        if best is None or level[winner] <= level[best]:
            best = int(winner)
        elif level[winner] - level[best] > z * np.hypot(noise[winner], noise[best]):
            continue
        kept.append(int(winner))
    return Frontier(np.exp(x[kept]), np.exp(level[kept]), names[kept], np.isin(of, kept))


def _standard_errors(log_error: np.ndarray, groups: list[np.ndarray], level: np.ndarray) -> np.ndarray:
    """Of each median: 1.2533·s/√(seeds), the spread s pooled over configurations since a few seeds cannot tell it."""
    counts = np.array([len(group) for group in groups])
    squares = sum(float(((log_error[group] - log_error[group].mean()) ** 2).sum()) for group in groups)
    spread = np.sqrt(squares / max(int((counts - 1).sum()), 1))
    return 1.2533 * spread / np.sqrt(counts)
