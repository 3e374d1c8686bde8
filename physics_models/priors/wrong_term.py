from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from physics_models.base import Array, System
from physics_models.priors.base import Prior, forced, law_states, on_forced, rms

NAME = "spurious"


@dataclass(frozen=True)
class WrongTerm(Prior):
    """All terms, and one that does not exist, `spurious`, of the relative size delta.

    The spurious term is a drag: -delta c v on the velocities of a system of second order, -delta c y on all variables
    of one of first order; agents of first order whose law is the same everywhere are pulled to their mean instead, so
    that no symmetry of space is broken (that is `wrong_symmetry`). c, an inverse time, makes the drag at delta = 1 as
    large as the true rates of the same variables: the ratio of both root mean squares over 64 states of the system's
    own law, so that it depends on no data and no resolution. Where nothing moves in these states, c is one over the
    time scale.

    A system may have a wrong term of its own: a method `spurious_term(t, y)` of shape (..., *state_shape), which is
    then scaled in the same way.
    """

    def term_names(self, system: System) -> tuple[str, ...]:
        return system.term_names if self.is_exact else (*system.term_names, NAME)

    def terms(
        self, system: System, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]
    ) -> dict[str, Array]:
        found = system.terms(t, y, p, [name for name in names if name != NAME])
        if NAME in names:
            found[NAME] = self.delta * spurious(system, t, y)
        return found

    def linear_source(self, system: System) -> System | None:
        return system


def spurious(system: System, t: Array, y: Array) -> Array:
    """The wrong term at delta = 1."""
    return _shape(system, t, y) * _scale(system)


def _shape(system: System, t: Array, y: Array) -> Array:
    """The wrong term before it is scaled."""
    own = getattr(system, "spurious_term", None)
    if own is not None:
        return own(t, y)
    low, high = forced(system)
    part = y[..., low:high]
    structure = system.structure
    if structure.order < 2 and structure.agents is not None and "translation" in structure.symmetries:
        part = part - array_namespace(y).mean(part, axis=-2, keepdims=True)
    return on_forced(y, -part, low, high)


@functools.lru_cache(maxsize=256)
def _scale(system: System) -> float:
    """What makes the wrong term as large as the true rates of the variables that it acts on."""
    y, (low, high) = law_states(system), forced(system)
    rate, size = (rms(part[..., low:high]) for part in (system.field(0.0, y), _shape(system, 0.0, y)))
    return rate / size if rate > 0 and size > 0 else 1 / system.time_scale
