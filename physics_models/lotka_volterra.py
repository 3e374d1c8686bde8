from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System


@dataclass(frozen=True)
class LotkaVolterra(System):
    """Lotka-Volterra predator and prey: two populations that chase each other around closed orbits.

    Equation:

        d prey/dt     = alpha * prey          - beta * prey * predator       growth, predation
        d predator/dt = gamma * prey * predator - delta * predator           reproduction, mortality

    Behaviour: from positive populations every orbit is closed about the equilibrium (delta / gamma, alpha / beta), and
    gamma prey - delta log prey + beta predator - alpha log predator is conserved. Far from the equilibrium the orbits
    have long quiet spells and short bursts. Small orbits have the period 2 pi / sqrt(alpha delta).

    State: (2,), prey and predator, both above 0.

    Arguments: the rates `alpha`, `beta`, `gamma`, `delta` (above 0; the defaults are those of the universal
    differential equations paper, whose trajectory starts at (0.44249296, 4.6280594) and lasts 3 time units);
    `prey_start`, `predator_start`: the middle of the initial populations (0 or more; 0 stands for the equilibrium);
    `spread`, standard deviation of their logarithm about that (0 or more; 0 starts every trajectory there).

    Reference: C. Rackauckas et al., "Universal differential equations for scientific machine learning",
    arXiv:2001.04385; A. J. Lotka, "Elements of physical biology", 1925.
    """

    alpha: float = 1.3
    beta: float = 0.9
    gamma: float = 0.8
    delta: float = 1.8
    prey_start: float = 0.0
    predator_start: float = 0.0
    spread: float = 0.7

    parameters: ClassVar[tuple[str, ...]] = ("alpha", "beta", "gamma", "delta")
    term_names: ClassVar[tuple[str, ...]] = ("growth", "predation", "reproduction", "mortality")
    known_terms: ClassVar[tuple[str, ...]] = ("growth", "mortality")
    positive: ClassVar[tuple[str, ...]] = ("alpha", "beta", "gamma", "delta")
    non_negative: ClassVar[tuple[str, ...]] = ("prey_start", "predator_start", "spread")

    @property
    def variables(self) -> tuple[str, ...]:
        return ("prey", "predator")

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",), conserved=("constant_of_motion",))

    @property
    def time_scale(self) -> float:
        """Period of small orbits."""
        return 2 * math.pi / math.sqrt(self.alpha * self.delta)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        prey, predator = y[..., 0], y[..., 1]
        zero = xp.zeros_like(prey)
        out: dict[str, Array] = {}
        if "growth" in names:
            out["growth"] = xp.stack([p["alpha"] * prey, zero], axis=-1)
        if "mortality" in names:
            out["mortality"] = xp.stack([zero, -p["delta"] * predator], axis=-1)
        if not {"predation", "reproduction"}.isdisjoint(names):
            encounters = prey * predator
            if "predation" in names:
                out["predation"] = xp.stack([-p["beta"] * encounters, zero], axis=-1)
            if "reproduction" in names:
                out["reproduction"] = xp.stack([zero, p["gamma"] * encounters], axis=-1)
        return out

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """Populations log-normal about `prey_start` and `predator_start`, or about the equilibrium."""
        middle = [self.prey_start or self.delta / self.gamma, self.predator_start or self.alpha / self.beta]
        return np.array(middle) * np.exp(self.spread * rng.standard_normal(2))

    def invariants(self, y: Array) -> dict[str, Array]:
        """The constant of motion of the module's equation; not a number where a population is not positive."""
        xp = array_namespace(y)
        prey, predator = y[..., 0], y[..., 1]
        prey_part = self.gamma * prey - self.delta * xp.log(prey)
        return {"constant_of_motion": prey_part + self.beta * predator - self.alpha * xp.log(predator)}
