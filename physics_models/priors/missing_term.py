from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from physics_models.base import Array, System
from physics_models.priors.base import Prior, choose, law_states


@dataclass(frozen=True)
class MissingTerm(Prior):
    """All terms, one of them too weak: it is told as (1 - delta) of itself.

    `term` names it. By default it is the last of those that act and that the system does not call known: what a hybrid
    model has to learn where nothing is said of priors (Lorenz's products, the friction of a pendulum). The field is
    wrong by delta times that term; with delta = 1 the term is not told at all.
    """

    term: str | None = None

    def check(self, system: System) -> None:
        self.missing(system)

    def missing(self, system: System) -> str:
        """The name of the term."""
        acting = _acting(system)
        unknown = [name for name in acting if name not in system.known_terms]
        found = choose("term", self.term, system.term_names, (unknown or acting)[-1])
        if found not in acting:
            raise ValueError(f"term must be one that acts ({', '.join(acting)}), but {found} is 0 for these parameters")
        return found

    def term_names(self, system: System) -> tuple[str, ...]:
        left_out = {self.missing(system)} if self.delta == 1 else set()
        return tuple(name for name in system.term_names if name not in left_out)

    def terms(
        self, system: System, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]
    ) -> dict[str, Array]:
        weak = self.missing(system)
        found = system.terms(t, y, p, names)
        return {name: part * (1 - self.delta) if name == weak else part for name, part in found.items()}

    def linear_source(self, system: System) -> System | None:
        return system if self.is_exact or self.missing(system) not in system.linear_terms else None


@functools.lru_cache(maxsize=256)
def _acting(system: System) -> tuple[str, ...]:
    """The terms that are not 0: at states of the system's law, moved a little, because what is 0 at the start need not
    stay so."""
    y = law_states(system)
    size = np.sqrt(np.mean(y**2, axis=tuple(range(y.ndim - 1))))
    y = y + 1e-3 * np.where(size > 0, size, 1.0) * np.random.default_rng(1).standard_normal(y.shape)
    parts = system.terms(system.time_scale / 7, y, system.values, system.term_names)
    found = tuple(name for name in system.term_names if np.any(parts[name] != 0))
    return found or tuple(system.term_names)
