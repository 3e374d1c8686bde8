from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import weighted
from physics_models.base import PAIRS, Array, Structure, System

DISTRIBUTIONS = ("normal", "lorentz")


@dataclass(frozen=True)
class Kuramoto(System):
    """Kuramoto oscillators: clocks of different speeds that pull each other into step, or fail to.

    Equation (averages run over all N oscillators j):

        d phase_i/dt     = frequency_i                                          rotation
                           + coupling * mean_j sin(phase_j - phase_i)           coupling
        d frequency_i/dt = 0

    Behaviour: the order parameter r = |mean_j exp(i phase_j)| tells how far they are in step. Up to the critical
    coupling 2 / (pi g(0)), g being the density of the natural frequencies (1.596 width for the normal distribution,
    2 width for Lorentz's), r stays of the order N^(-1/2); above it the oscillators near the middle lock to each
    other, and many oscillators with Lorentz's distribution tend to r = (1 - critical / coupling)^(1/2). The mean of
    the phases advances at the mean frequency, whatever the coupling. Small groups, at a coupling about the critical
    one, are weakly chaotic.

    State: (N, 2), phase in radians, not wrapped, so that trajectories are smooth, and natural frequency in radians
    per time unit: a constant of each oscillator, kept in the state so that all oscillators obey one law. Frequencies
    are told in the frame that turns with their middle.

    Arguments: `n_agents`, oscillators (2 or more; 10 is easy to watch, 1000 is close to the limit); `coupling` (0 or
    more; 0 lets each go alone); `width` of the natural frequencies: standard deviation, or the half width at half
    maximum of Lorentz's distribution (0 or more, and not 0 with coupling 0; 0 makes all alike); `distribution`, normal
    or lorentz (whose extreme frequencies are hard to learn).

    Reference: Y. Kuramoto, "Chemical oscillations, waves, and turbulence", 1984; S. H. Strogatz, "From Kuramoto to
    Crawford", Physica D 143 (2000), doi:10.1016/S0167-2789(00)00094-4.
    """

    n_agents: int = 10
    coupling: float = 2.0
    width: float = 1.0
    distribution: str = "normal"

    parameters: ClassVar[tuple[str, ...]] = ("coupling",)
    term_names: ClassVar[tuple[str, ...]] = ("rotation", "coupling")
    known_terms: ClassVar[tuple[str, ...]] = ("rotation",)
    non_negative: ClassVar[tuple[str, ...]] = ("coupling", "width")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_agents < 2:
            raise ValueError(f"n_agents must be 2 or more, but it is {self.n_agents}")
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, but it is {self.distribution!r}")
        if self.coupling == self.width == 0:
            raise ValueError("coupling must be above 0 if width is 0, but both are: nothing would ever move")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("phase", "frequency")

    @property
    def structure(self) -> Structure:
        return Structure(
            agents=self.n_agents,
            space_dim=1,
            symmetries=("translation", "permutation", "time"),
            conserved=("mean_frequency",),
            pairwise=True,
            box=2 * math.pi,
        )

    @property
    def time_scale(self) -> float:
        """Period of an oscillator whose frequency is the width and the coupling together, as fast as most will go."""
        return 2 * math.pi / (self.width + self.coupling)

    @property
    def critical_coupling(self) -> float:
        """2 / (pi g(0)): below it infinitely many oscillators stay out of step."""
        return self.width * (math.sqrt(8 / math.pi) if self.distribution == "normal" else 2)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        phase, frequency = y[..., 0], y[..., 1]
        zero = xp.zeros_like(phase)
        out: dict[str, Array] = {}
        if "rotation" in names:
            out["rotation"] = xp.stack([frequency, zero], axis=-1)
        if "coupling" in names:
            # sin(b - a) = sin b cos a - cos b sin a: sums over one index instead of a table of pairs.
            sin, cos = xp.sin(phase), xp.cos(phase)
            if p.get(PAIRS) is None:
                pulls = [xp.mean(part, axis=-1)[..., None] for part in (sin, cos)]
            else:
                weights = weighted(xp.ones_like(phase[..., None] * phase[..., None, :]), p)
                pulls = [(weights @ part[..., None])[..., 0] / y.shape[-2] for part in (sin, cos)]
            out["coupling"] = xp.stack([p["coupling"] * (pulls[0] * cos - pulls[1] * sin), zero], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Phases uniform around the circle, natural frequencies from the distribution about 0."""
        phase = rng.uniform(-math.pi, math.pi, self.n_agents)
        draw = rng.standard_normal if self.distribution == "normal" else rng.standard_cauchy
        return np.stack([phase, self.width * draw(self.n_agents)], axis=-1)

    def invariants(self, y: Array) -> dict[str, Array]:
        """The order parameter r, between 0 and 1, which is not constant, and the mean frequency, which is."""
        xp = array_namespace(y)
        sin, cos = (xp.mean(part, axis=-1) for part in (xp.sin(y[..., 0]), xp.cos(y[..., 0])))
        return {"order_parameter": xp.sqrt(sin**2 + cos**2), "mean_frequency": xp.mean(y[..., 1], axis=-1)}
