from __future__ import annotations

from dataclasses import dataclass

from physics_models.base import System
from physics_models.priors.base import Prior


@dataclass(frozen=True)
class Default(Prior):
    """The terms that the system itself calls known, exactly: nothing is wrong, something is missing.

    It has no dial: what a model is told is the system, and `known_terms` says how much of it. delta must be 0.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta:
            raise ValueError(
                f"delta must be 0 for prior=default, which is exact, but it is {self.delta:g}: choose what is to be "
                "wrong, as in prior=parameters"
            )

    def tell(self, system: System) -> System:
        return system
