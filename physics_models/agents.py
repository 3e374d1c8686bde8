"""What systems of agents share: two options, the names of their variables, and sums over pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import PAIRS, Array, System, beside


@dataclass(frozen=True)
class Group(System):
    """Agents in a space without walls: their positions and, with `order` 2, their velocities.

    Class variables a subclass may set: `order`, of its equation in time; `dimensions`, those of the spaces it may live
    in. Raises ValueError for fewer than 2 agents and for other dimensions.
    """

    n_agents: int = 10
    space_dim: int = 2

    order: ClassVar[int] = 2
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_agents < 2:
            raise ValueError(f"n_agents must be 2 or more, but it is {self.n_agents}")
        if self.space_dim not in self.dimensions:
            *first, last = map(str, self.dimensions)
            raise ValueError(f"space_dim must be {', '.join(first)} or {last}, but it is {self.space_dim}")

    @property
    def variables(self) -> tuple[str, ...]:
        axes = ("x", "y", "z")[: self.space_dim]
        return axes if self.order == 1 else (*axes, *(f"v{axis}" for axis in axes))


def displacements(x: Array) -> Array:
    """r[..., i, j, :] = x_j - x_i, (..., N, N, d), from positions (..., N, d): it points from agent i to agent j."""
    return x[..., None, :, :] - x[..., :, None, :]


def weighted(kernel: Array, p: Mapping[str, Any], block: tuple[slice, slice] = (slice(None), slice(None))) -> Array:
    """A kernel (..., N, N), or a block of it, times the pair weights in `p`, where there are any.

    The kernel keeps its precision and place. `block`: its rows and columns.
    """
    if p.get(PAIRS) is None:
        return kernel
    return kernel * beside(p[PAIRS][block], kernel)


def pull(kernel: Array, r: Array) -> Array:
    """sum_j kernel_ij (x_j - x_i), (..., N, d), from a kernel (..., N, N) and displacements r."""
    return array_namespace(r).sum(kernel[..., None] * r, axis=-2)


def cruise(v: Array, p: Mapping[str, Any]) -> Array:
    """regulation * (1 - |v|^2 / cruise_speed^2) v: every agent returns to the cruise speed."""
    speed2 = array_namespace(v).sum(v * v, axis=-1)[..., None]
    return (p["regulation"] - speed2 * (p["regulation"] / p["cruise_speed"] ** 2)) * v


def consensus(kernel: Array, v: Array) -> Array:
    """sum_j kernel_ij (v_j - v_i), (..., N, d), as a matrix product: no pairwise differences are formed."""
    return kernel @ v - array_namespace(v).sum(kernel, axis=-1)[..., None] * v


def cloud(rng: np.random.Generator, n: int, d: int, spread: float, disorder: float, speed: float) -> np.ndarray:
    """States (n, 2 d) of a group that sets out: Gaussian positions about the origin, of standard deviation `spread`.

    Velocity = common random heading + disorder * Gaussian, scaled to a root-mean-square of `speed`, so that the speeds
    differ between agents.
    """
    x = spread * rng.standard_normal((n, d))
    heading = rng.standard_normal(d)
    heading /= np.linalg.norm(heading)
    v = heading + disorder / np.sqrt(d) * rng.standard_normal((n, d))
    v *= speed / np.sqrt(np.mean(np.sum(v**2, axis=-1)))
    return np.concatenate([x, v], axis=-1)
