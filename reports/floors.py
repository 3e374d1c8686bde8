"""What a study's runs were told, and the error floors that this alone induces: filled by `experiments`, read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What becomes of the equations that a model is told.
HARD = "hard"  # nothing is learned
FITTED = "fitted"  # their parameters are
SOFT = "soft"  # a network learns what is wrong with them


@dataclass(frozen=True)
class Told:
    """Runs that are told a prior. `condition`, `configuration`: as their records have them (the condition may be a part
    of that under which they are compared); `words`: those of both that say what is told and what becomes of it.
    `prior`: what is told, as "missing_term" or "missing_term term=cohesion". `how`: HARD, FITTED or SOFT. `floor`: what
    tells its floors from those of other tasks and priors."""

    task: str
    condition: str
    model: str
    configuration: str
    prior: str
    delta: float
    how: str
    floor: str = ""
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Floor:
    """The test errors, by metric, that told equations alone have on one draw of the data, solved exactly; infinite
    where they blow up. `floor`: as in `Told`."""

    floor: str
    draw: float
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Floors:
    """All of a study. `metrics`: those that floors have. `notes`: where there is no floor, and why."""

    told: tuple[Told, ...]
    floors: tuple[Floor, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
