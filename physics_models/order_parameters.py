"""Order parameters of groups of agents: NumPy functions of positions and velocities (..., N, d) or phases (..., N)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

DENSE = 512  # agents up to which all pairs are looked at; beyond it neighbours are searched by a tree


def polarisation(velocities: np.ndarray) -> np.ndarray:
    """|mean_i v_i / |v_i||: 1 if all agents head the same way, about N^(-1/2) if headings are random.

    `velocities`: (..., N, d). Returns (...,), dimensionless, between 0 and 1. An agent at rest has no heading and
    counts as zero. Source: T. Vicsek et al., Physical Review Letters 75 (1995), doi:10.1103/PhysRevLett.75.1226.
    """
    velocities = np.asarray(velocities)
    speed = np.linalg.norm(velocities, axis=-1, keepdims=True)
    heading = velocities / np.where(speed > 0, speed, 1)
    return np.linalg.norm(heading.mean(axis=-2), axis=-1)


def milling(positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """|sum_i r_i x v_i| / sum_i |r_i| |v_i|, r_i from the centre of the group: normalised angular momentum.

    1 if all agents circle about the centre in one sense, 0 for a group that only moves on: with equal velocities the
    r_i, whose sum is 0, cancel. `positions`, `velocities`: (..., N, d), d 2 or 3. Returns (...,), dimensionless,
    between 0 and 1; 0 where nothing moves. Raises ValueError for another d.
    Source: Y.-L. Chuang et al., Physica D 232 (2007), doi:10.1016/j.physd.2007.05.007.
    """
    positions, velocities = np.asarray(positions), np.asarray(velocities)
    d = positions.shape[-1]
    if d not in (2, 3):
        raise ValueError(f"milling needs agents in 2 or 3 dimensions, but positions has shape {positions.shape}")
    r = positions - positions.mean(axis=-2, keepdims=True)
    if d == 2:
        total = np.abs(np.sum(r[..., 0] * velocities[..., 1] - r[..., 1] * velocities[..., 0], axis=-1))
    else:
        total = np.linalg.norm(np.cross(r, velocities).sum(axis=-2), axis=-1)
    most = np.sum(np.linalg.norm(r, axis=-1) * np.linalg.norm(velocities, axis=-1), axis=-1)
    return total / np.where(most == 0, 1, most)


def synchrony(phases: np.ndarray) -> np.ndarray:
    """|mean_j exp(i theta_j)|: 1 if all phases are equal, about N^(-1/2) if they are random.

    `phases`: (..., N) in radians. Returns (...,), dimensionless, between 0 and 1. Source: Y. Kuramoto, "Chemical
    oscillations, waves, and turbulence", Springer 1984, doi:10.1007/978-3-642-69689-3.
    """
    phases = np.asarray(phases)
    return np.hypot(np.cos(phases).mean(axis=-1), np.sin(phases).mean(axis=-1))


def nearest_neighbour_distance(positions: np.ndarray, box: float | None = None) -> np.ndarray:
    """Mean over agents of the distance to the nearest other agent, in the units of the positions.

    `positions`: (..., N, d); `box`: side of the periodic box, or None. Returns (...,). Raises ValueError if N is 1.
    """
    positions = np.asarray(positions)
    n = positions.shape[-2]
    if n < 2:
        raise ValueError(
            f"nearest_neighbour_distance needs 2 agents or more, but positions has shape {positions.shape}"
        )
    if n > DENSE:
        flat = positions.reshape(-1, *positions.shape[-2:])
        return np.reshape([_mean_nearest(x, box) for x in flat], positions.shape[:-2])
    distance = distances(positions, box)
    distance[..., np.arange(n), np.arange(n)] = np.inf
    return distance.min(axis=-1).mean(axis=-1)


def displacements(positions: np.ndarray, box: float | None = None) -> np.ndarray:
    """x_j - x_i, (..., N, N, d) with i before j, of agents at (..., N, d); in a periodic box to the nearest image."""
    positions = np.asarray(positions)
    difference = positions[..., None, :, :] - positions[..., :, None, :]
    return difference if box is None else difference - box * np.round(difference / box)


def distances(positions: np.ndarray, box: float | None = None) -> np.ndarray:
    """|x_j - x_i|, (..., N, N), of agents at (..., N, d); in a periodic box to the nearest image."""
    return np.linalg.norm(displacements(positions, box), axis=-1)


def clusters(positions: np.ndarray, distance: float, box: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Number of clusters, and size of the largest one as a fraction of all agents.

    Two agents are in one cluster if a chain of agents joins them with no step longer than `distance` (single linkage).
    `positions`: (..., N, d); `box`: side of the periodic box, or None. Returns (...,) integers and (...,) in (0, 1].
    Agents at places that are not finite are each alone. Raises ValueError unless `distance` is finite and 0 or more.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not (math.isfinite(distance) and distance >= 0):
        raise ValueError(f"distance must be finite and 0 or more, but it is {distance}")
    positions = np.asarray(positions)
    *batch, n, _ = positions.shape
    count = math.prod(batch)
    group, i, j = _near(positions.reshape(count, n, -1), distance, box)
    ones = np.ones(len(group), dtype=bool)
    # All groups as one graph: no edge leads from one group to another.
    graph = coo_array((ones, (group * n + i, group * n + j)), shape=(count * n, count * n))
    _, label = connected_components(graph, directed=False)
    label = np.sort(label.reshape(count, n), axis=1)
    new = np.ones((count, n), dtype=bool)
    new[:, 1:] = label[:, 1:] != label[:, :-1]
    rank = np.cumsum(new, axis=1) - 1  # of each agent's cluster within its group
    sizes = np.zeros((count, n), dtype=int)
    np.add.at(sizes, (np.arange(count)[:, None], rank), 1)
    return new.sum(axis=1).reshape(batch), (sizes.max(axis=1) / n).reshape(batch)


def _near(positions: np.ndarray, distance: float, box: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, first and second agent of pairs no further apart than `distance`, in groups (G, N, d), in any order."""
    count, n, _ = positions.shape
    if n <= DENSE:
        group, i, j = np.nonzero(distances(positions, box) <= distance)  # never where not finite
        return group, i, j
    found = []
    for x in positions:
        finite = np.flatnonzero(np.isfinite(x).all(axis=-1))
        found.append(finite[_tree(x[finite], box).query_pairs(distance, output_type="ndarray")])
    pairs = np.concatenate(found)
    return np.repeat(np.arange(count), [len(each) for each in found]), pairs[:, 0], pairs[:, 1]


def _mean_nearest(positions: np.ndarray, box: float | None) -> float:
    if not np.isfinite(positions).all():
        return np.nan
    tree = _tree(positions, box)
    return float(tree.query(tree.data, k=2)[0][:, 1].mean())


def _tree(positions: np.ndarray, box: float | None) -> Any:
    """A k-d tree of finite positions (n, d), wrapped into the box if there is one."""
    from scipy.spatial import KDTree

    if box is not None:
        positions = positions % box
        positions = np.where(positions < box, positions, 0.0)  # rounding may end on the far side
    return KDTree(positions, boxsize=box)
