from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import displacements, weighted
from physics_models.base import Array, Map, Structure


@dataclass(frozen=True)
class Vicsek(Map):
    """Vicsek's flock: constant speed, the mean heading of the neighbours and noise, in a periodic box.

    Equation, from one time unit to the next (theta: heading; u: uniform on [-1/2, 1/2], independent draws; a mean
    heading is the heading of the sum of velocities over all j within `radius`, i itself among them):

        x_i(t + 1) = x_i(t) + v_i(t)                                              inertia
        theta_i(t + 1) = mean heading + noise * u, |v_i(t + 1)| = speed           alignment

    Positions move by the old velocity, as the paper writes it. Many programs move by the new one instead.

    Behaviour: below a critical noise all head the same way, above it headings are random. The mean polarisation of the
    paper's group (n_agents 300, box 7, speed 0.03, radius 1), in long runs (standard errors of the last digit in
    brackets), against figures in circulation, which come without errors:

        noise              1           2           3           4
        old velocity   0.9531(3)   0.8210(6)   0.6196(11)   0.3682(16)
        new velocity   0.9526(1)   0.8176(2)   0.6150(5)    0.3480(8)
        published      0.953       0.818       0.622        0.358

    The published ones lie within 0.01 of both conventions and do not tell between them. Where neighbours just come
    within the radius the step jumps. Agents whose neighbours' velocities cancel exactly keep their own heading.

    State: (N, 4), positions x, y and velocities; positions are not wrapped into the box, distances are taken to the
    nearest image. Lengths in units of the paper's radius; one time unit is one step.

    Arguments: `n_agents` (2 or more; 20 is quick to learn from, 300 is the paper's); `box`, side of the periodic box
    (above 0); `speed`, length per step (above 0; 0.03 is the paper's); `radius` of the neighbourhood (above 0; no
    gradient leads to it, hence it is no parameter to fit); `noise`, width of the heading's noise in radians (0 or more;
    2 pi is complete disorder). Pair weights, if given, weigh the velocities in the sum; i's own is on the diagonal.

    Reference: T. Vicsek, A. Czirok, E. Ben-Jacob, I. Cohen and O. Shochet, "Novel type of phase transition in a system
    of self-driven particles", Physical Review Letters 75 (1995), doi:10.1103/PhysRevLett.75.1226.
    """

    n_agents: int = 20
    box: float = 4.0
    speed: float = 0.1
    radius: float = 1.0
    noise: float = 0.3

    parameters: ClassVar[tuple[str, ...]] = ("speed",)
    term_names: ClassVar[tuple[str, ...]] = ("inertia", "alignment")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia",)
    positive: ClassVar[tuple[str, ...]] = ("box", "speed", "radius")
    non_negative: ClassVar[tuple[str, ...]] = ("noise",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_agents < 2:
            raise ValueError(f"n_agents must be 2 or more, but it is {self.n_agents}")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "vx", "vy")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=2,
            order=2,
            symmetries=("translation", "reflection", "permutation", "time"),
            box=self.box,
        )

    @property
    def interval(self) -> float:
        return 1.0

    @property
    def time_scale(self) -> float:
        """Time in which an agent crosses its neighbourhood's radius."""
        return self.radius / self.speed

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform on [-1/2, 1/2), one for every agent: (*shape, N)."""
        return rng.uniform(-0.5, 0.5, (*shape, self.n_agents))

    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        return xp.concat([x + v, self._turned(y, u, self.values if p is None else p)], axis=-1)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        v = y[..., 2:]
        zero = xp.zeros_like(v)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        if "alignment" in names:
            out["alignment"] = xp.concat([zero, self._turned(y, 0.0, p) - v], axis=-1)
        return out

    def _turned(self, y: Array, u: Array, p: Mapping[str, Any]) -> Array:
        """The velocities one step on."""
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        r = displacements(x)
        r = r - self.box * xp.round(r / self.box)
        near = xp.astype(xp.sum(r * r, axis=-1) < self.radius**2, y.dtype)
        total = weighted(near, p) @ v
        size2 = xp.sum(total * total, axis=-1)[..., None]
        total = xp.where(size2 > 0, total, v)
        size2 = xp.sum(total * total, axis=-1)
        # An agent at rest among others at rest has no heading: it stays.
        size = xp.sqrt(xp.where(size2 > 0, size2, xp.ones_like(size2)))
        angle = self.noise * u + xp.zeros_like(size)
        c, s = xp.cos(angle) * p["speed"] / size, xp.sin(angle) * p["speed"] / size
        a, b = total[..., 0], total[..., 1]
        return xp.stack([c * a - s * b, s * a + c * b], axis=-1)

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Positions uniform in the box, headings uniform, the speed of all."""
        x = rng.uniform(0, self.box, (self.n_agents, 2))
        heading = rng.uniform(-math.pi, math.pi, self.n_agents)
        return np.concatenate([x, self.speed * np.stack([np.cos(heading), np.sin(heading)], axis=-1)], axis=-1)
