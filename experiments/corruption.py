"""What is done to training data on purpose: noise, missing points, outliers, states that changed places.

Each has a random stream of its own, so that one does not change the draws of another. The order is fixed: points change
places and go missing after noise and outliers have been added, as in a real table.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from experiments.protocol import Protocol
from experiments.trajectories import Trajectories

# Beyond any trajectory's own stream of initial states. Learners use 2**32 + 1 and + 2.
NOISE_STREAM, OUTLIER_STREAM, CORRUPTION_STREAM, UNEVEN_STREAM, INTERVENTION_STREAM, PART_STREAM, ACTIVE_STREAM = (
    2**32, 2**32 + 3, 2**32 + 4, 2**32 + 5, 2**32 + 6, 2**32 + 7, 2**32 + 8,
)  # fmt: skip
OUTLIER_SIZE = 10.0  # standard deviations of the variable: no model can take it for anything else


def stream(protocol: Protocol, kind: int, part: int = 0) -> np.random.Generator:
    """The random stream of one kind of draws for a part (a generation, a shard) of the training data."""
    # Without the part for the first one, which is all there is by default. A zero at the end would change nothing.
    return np.random.default_rng([protocol.data_seed, kind, *([part] if part else [])])


def seen(clean: Trajectories, protocol: Protocol, std: np.ndarray, part: int = 0) -> Trajectories:
    """Training data as they are given to models. `std`: (D,) of the clean states, what errors are relative to."""
    y = clean.y
    inside = clean.inside
    if protocol.noise:
        y = y + protocol.noise * std * stream(protocol, NOISE_STREAM, part).standard_normal(y.shape)
    if protocol.outliers:
        rng = stream(protocol, OUTLIER_STREAM, part)
        rows = _chosen(rng, inside, protocol.outliers)
        y = y.copy()
        y[rows] += OUTLIER_SIZE * std * rng.choice([-1.0, 1.0], size=y[rows].shape)
    if protocol.corrupted:
        rng = stream(protocol, CORRUPTION_STREAM, part)
        rows = _chosen(rng, inside, protocol.corrupted)
        y = y.copy()
        y[rows] = y[rows][_derangement(rng, len(rows[0]))]
    given = clean if y is clean.y else replace(clean, y=y)
    return thinned(given, protocol.uneven, stream(protocol, UNEVEN_STREAM, part)) if protocol.uneven else given


def _chosen(rng: np.random.Generator, inside: np.ndarray, fraction: float) -> tuple[np.ndarray, ...]:
    """Trajectory and point of a fraction of all points, at least one."""
    where = np.argwhere(inside)
    count = max(1, round(fraction * len(where)))
    return tuple(where[np.sort(rng.choice(len(where), count, replace=False))].T)


def _derangement(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random order of n things that leaves none in its place: one random cycle through all. One thing stays."""
    cycle = rng.permutation(n)
    order = np.empty(n, int)
    order[cycle] = np.roll(cycle, 1)
    return order


def thinned(data: Trajectories, fraction: float, rng: np.random.Generator) -> Trajectories:
    """Each trajectory without this fraction of its points, never the first (where its clock starts) and never so many
    that fewer than two are left."""
    left = np.minimum(data.lengths, np.maximum(2, data.lengths - np.rint(fraction * data.lengths).astype(int)))
    stop = int(left.max())
    times = np.full((data.count, stop), np.nan)
    y = np.full((data.count, stop, *data.state_shape), np.nan)
    for row, (n, length) in enumerate(zip(left, data.lengths, strict=True)):
        kept = np.sort(np.append(0, 1 + rng.choice(length - 1, n - 1, replace=False)))
        times[row, :n], y[row, :n] = data.times[row, kept], data.y[row, kept]
    return Trajectories(times, y, left, data.variables)


def observed(data: Trajectories, hidden: tuple[str, ...]) -> Trajectories:
    """The data without the hidden variables."""
    if not hidden:
        return data
    kept = [k for k, name in enumerate(data.variables) if name not in hidden]
    return Trajectories(data.times, data.y[..., kept], data.lengths, tuple(data.variables[k] for k in kept))
