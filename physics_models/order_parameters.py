"""Order parameters of groups of agents: plain NumPy functions from (..., N, d) to (...,)."""

from __future__ import annotations

import numpy as np


def polarisation(velocities: np.ndarray) -> np.ndarray:
    """|mean_i v_i / |v_i||: 1 if all agents head the same way, about N^(-1/2) if headings are random.

    `velocities`: (..., N, d). Returns (...,), dimensionless, between 0 and 1. An agent at rest has no heading and
    counts as zero. Source: T. Vicsek et al., Physical Review Letters 75 (1995), doi:10.1103/PhysRevLett.75.1226.
    """
    velocities = np.asarray(velocities)
    speed = np.linalg.norm(velocities, axis=-1, keepdims=True)
    heading = velocities / np.where(speed > 0, speed, 1)
    return np.linalg.norm(heading.mean(axis=-2), axis=-1)


def nearest_neighbour_distance(positions: np.ndarray) -> np.ndarray:
    """Mean over agents of the distance to the nearest other agent, in the units of the positions.

    `positions`: (..., N, d). Returns (...,). Raises ValueError if N is 1.
    """
    positions = np.asarray(positions)
    n = positions.shape[-2]
    if n < 2:
        raise ValueError(
            f"nearest_neighbour_distance needs 2 agents or more, but positions has shape {positions.shape}"
        )
    distance = np.linalg.norm(positions[..., None, :, :] - positions[..., :, None, :], axis=-1)
    distance[..., np.arange(n), np.arange(n)] = np.inf
    return distance.min(axis=-1).mean(axis=-1)
