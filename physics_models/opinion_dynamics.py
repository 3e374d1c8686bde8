from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import Group, displacements, pull, weighted
from physics_models.base import Array, Structure


@dataclass(frozen=True)
class OpinionDynamics(Group):
    """Opinions with bounded confidence: people move towards those who think nearly as they do, and form camps.

    Equation, of first order (average over all N agents j; term `influence`):

        dx_i/dt = mean_j phi(|x_j - x_i|) (x_j - x_i)
        phi(r)  = strength / (1 + exp((r^2 - confidence^2) / (2 confidence softness)))

    phi is `strength` for close opinions and falls to 0 about r = confidence within some `softness`: a step as softness
    tends to 0, which is the model of Hegselmann and Krause in continuous time. phi is a smooth function of r^2.

    Behaviour: neighbouring opinions merge into camps in which all agree, at least about a confidence apart; many
    agents spread evenly end some two confidences apart. Camps draw near each other no more than phi's tail lets them:
    with softness 0.1 of the confidence two of them 1.5 apart keep their distance for some hundred time units, 2 apart
    for millions. The mean opinion is conserved, the variance never grows, and all opinions stay within the hull of the
    first ones. One time unit over `strength` is the time in which a camp contracts.

    State: (N, d), opinions on d matters.

    Arguments: `n_agents` (2 or more); `space_dim`, number of matters (1, 2 or 3); `strength` (0 or more; 1 sets the
    time unit); `confidence` (above 0; 1 sets the unit of opinions); `softness` (above 0; 0.1 is nearly a step, 1 wide);
    `spread`: opinions start uniform between -spread and spread in each matter (0 or more; 2.5 ends in two or three
    camps).

    Reference: R. Hegselmann and U. Krause, "Opinion dynamics and bounded confidence: models, analysis and simulation",
    Journal of Artificial Societies and Social Simulation 5 (2002); its kernel learned: F. Lu, M. Zhong, S. Tang and
    M. Maggioni, "Nonparametric inference of interaction laws in systems of agents from trajectory data", Proceedings
    of the National Academy of Sciences 116 (2019), arXiv:1812.06003.
    """

    space_dim: int = 1
    strength: float = 1.0
    confidence: float = 1.0
    softness: float = 0.1
    spread: float = 2.5

    order: ClassVar[int] = 1
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    parameters: ClassVar[tuple[str, ...]] = ("strength", "confidence", "softness")
    term_names: ClassVar[tuple[str, ...]] = ("influence",)
    positive: ClassVar[tuple[str, ...]] = ("confidence", "softness")
    non_negative: ClassVar[tuple[str, ...]] = ("strength", "spread")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=self.space_dim,
            symmetries=("translation", "rotation", "reflection", "permutation", "time"),
            conserved=tuple(f"mean_{axis}" for axis in self.variables),
            pairwise=True,
        )

    @property
    def time_scale(self) -> float:
        """The time in which a camp contracts, or 1 if nothing moves."""
        return 1 / self.strength if self.strength else 1.0

    def kernel(self, r: Array) -> Array:
        """The true interaction kernel phi at distances r >= 0, elementwise: dx_i/dt = mean_j phi(|r_ij|) r_ij."""
        return self._phi(r * r, self.values)

    def _phi(self, distance2: Array, p: Mapping[str, Any]) -> Array:
        """The logistic function written as a tanh, which does not overflow far from the edge."""
        xp = array_namespace(distance2)
        edge = (distance2 - p["confidence"] ** 2) / (4 * p["confidence"] * p["softness"])
        return p["strength"] * (0.5 - 0.5 * xp.tanh(edge))

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        if "influence" not in names:
            return {}
        xp = array_namespace(y)
        r = displacements(y)
        kernel = self._phi(xp.sum(r * r, axis=-1), p) / y.shape[-2]
        return {"influence": pull(weighted(kernel, p), r)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Independent opinions, uniform between -spread and spread in each matter."""
        return rng.uniform(-self.spread, self.spread, (self.n_agents, self.space_dim))

    def invariants(self, y: Array) -> dict[str, Array]:
        """Mean opinion in each matter, which is constant, and the variance over all matters, which never grows."""
        xp = array_namespace(y)
        mean = xp.mean(y, axis=-2)
        variance = xp.sum(xp.mean((y - mean[..., None, :]) ** 2, axis=-2), axis=-1)
        return {f"mean_{axis}": mean[..., k] for k, axis in enumerate(self.variables)} | {"variance": variance}
