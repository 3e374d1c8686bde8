from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, displacements, pull, weighted
from physics_models.base import Array, Structure


@dataclass(frozen=True)
class LennardJones(Group):
    """Particles that slide down a Lennard-Jones potential until they lie in a small crystal.

    Equation, of first order (average over all N particles j; term `forces`):

        dx_i/dt = mean_j phi(|x_j - x_i|) (x_j - x_i),  phi(r) = U'(r) / r
        U(r)    = 4 depth ((size / r)^12 - (size / r)^6)    for r >= cutoff * size

    Nearer than cutoff * size U is continued by its Taylor polynomial of second degree in r^2, so that U has two
    continuous derivatives, phi one, and particles in one place feel no force. This is the gradient flow of the energy
    E = sum_{i<j} U / N: dx_i/dt = -dE/dx_i.

    Behaviour: close pairs fly apart in a hundredth of a time unit, then particles find neighbours at the distance
    2^(1/6) size and clusters form, which draw together ever more slowly: the tail of phi falls as r^-8. The energy
    never grows, dE/dt = -sum_i |dx_i/dt|^2, and the centre of mass is conserved.

    State: (N, d), positions.

    Arguments: `n_agents` (2 or more; 7 is the size studied in the reference); `space_dim` (2 or 3); `depth` of the
    potential (above 0; 1 sets the time unit); `size`, the distance at which it is 0 (above 0; 1 sets the unit of
    length); `cutoff`, relative to the size (above 0 and at most 2^(1/6); 0.95 as in the reference, less is stiff);
    `spread`: standard deviation of the initial positions along each axis (0 or more).

    Reference: F. Lu, M. Zhong, S. Tang and M. Maggioni, "Nonparametric inference of interaction laws in systems of
    agents from trajectory data", Proceedings of the National Academy of Sciences 116 (2019), arXiv:1812.06003, which
    continues phi by a exp(-b r^12).
    """

    n_agents: int = 7
    depth: float = 1.0
    size: float = 1.0
    cutoff: float = 0.95
    spread: float = 1.0

    order: ClassVar[int] = 1
    parameters: ClassVar[tuple[str, ...]] = ("depth", "size")
    term_names: ClassVar[tuple[str, ...]] = ("forces",)
    positive: ClassVar[tuple[str, ...]] = ("depth", "size", "cutoff")
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cutoff > 2 ** (1 / 6):
            raise ValueError(f"cutoff must be at most 2^(1/6), the bottom of the potential, but it is {self.cutoff}")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
            conserved=tuple(f"centre_{axis}" for axis in self.variables),
            pairwise=True,
        )

    @property
    def time_scale(self) -> float:
        """Relaxation time of a pair at the bottom of the potential, N / (2 U'')."""
        return self.n_agents * self.size**2 / (2 * 36 * 2 ** (2 / 3) * self.depth)

    def kernel(self, r: Array) -> Array:
        """The true interaction kernel phi at distances r >= 0, elementwise: dx_i/dt = mean_j phi(|r_ij|) r_ij."""
        return self._phi(r * r, self.values)

    def potential(self, r: Array) -> Array:
        """U at distances r >= 0, elementwise."""
        return self._potential(r * r)

    def _phi(self, distance2: Array, p: Mapping[str, Any]) -> Array:
        """phi = 2 dU/d(r^2), with q = (size / r)^2: 24 depth / size^2 (q^4 - 2 q^7)."""
        xp = array_namespace(distance2)
        size2 = p["size"] ** 2
        edge2 = self.cutoff**2 * size2
        short = distance2 < edge2
        q = size2 / xp.where(short, edge2 + xp.zeros_like(distance2), distance2)
        scale = 24 * p["depth"] / size2
        slope = scale / size2 * (14 * self.cutoff**-16 - 4 * self.cutoff**-10)  # d phi / d(r^2) at the edge
        return scale * (q**4 - 2 * q**7) + slope * xp.where(short, distance2 - edge2, xp.zeros_like(distance2))

    def _potential(self, distance2: Array) -> Array:
        xp = array_namespace(distance2)
        edge2 = (self.cutoff * self.size) ** 2
        inside = xp.where(distance2 < edge2, distance2 - edge2, xp.zeros_like(distance2))
        q = self.size**2 / (distance2 - inside)
        at_edge = 24 * self.depth / self.size**2 * (self.cutoff**-8 - 2 * self.cutoff**-14)
        slope = 24 * self.depth / self.size**4 * (14 * self.cutoff**-16 - 4 * self.cutoff**-10)
        return 4 * self.depth * (q**6 - q**3) + at_edge / 2 * inside + slope / 4 * inside**2

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        if "forces" not in names:
            return {}
        xp = array_namespace(y)
        r = displacements(y)
        kernel = self._phi(xp.sum(r * r, axis=-1), p) / y.shape[-2]
        return {"forces": pull(weighted(kernel, p), r)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Independent Gaussian positions about the origin."""
        return self.spread * rng.standard_normal((self.n_agents, self.space_dim))

    def invariants(self, y: Array) -> dict[str, Array]:
        """The centre of mass, which is constant, and the energy E, which never grows."""
        xp = array_namespace(y)
        n, r = y.shape[-2], displacements(y)
        both = xp.sum(self._potential(xp.sum(r * r, axis=-1)), axis=(-2, -1))
        alone = n * self._potential(xp.zeros_like(y[..., 0, 0]))  # each with itself
        centre = xp.mean(y, axis=-2)
        return {f"centre_{axis}": centre[..., k] for k, axis in enumerate(self.variables)} | {
            "energy": (both - alone) / (2 * n)
        }
