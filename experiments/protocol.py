"""The data protocol of a simulated task: every key, with what it means, its bounds, and which of them are off."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.errors import nearest
from physics_models.base import Map, System

OOD_SETS = (
    "new_starts", "longer_horizon", "changed_parameter", "more_agents", "added_agent", "removed_agent", "clamped",
    "cut_edge", "kick", "predator",
)  # fmt: skip
INTERVENTIONS = ("kick", "clamp")


def ood_names(asked: Iterable[str]) -> tuple[str, ...]:
    """The sets that are asked for, "all" being every one and "none" none, each once."""
    asked = tuple(asked)
    every = OOD_SETS if "all" in asked else ()
    return tuple(dict.fromkeys(name for name in (*every, *asked) if name not in ("all", "none")))


@dataclass(frozen=True)
class Protocol:
    """How data are drawn from a system. Times are in the system's own units.

    `n_train`, `n_val`, `n_test` trajectories of length `horizon`, sampled every `spacing`; `noise`: standard deviation
    of the observation noise on training states, relative to each variable's own; `data_seed`: the root of all draws.

    The rest is off by default. Of all data: `process_noise`: chance along the way, see `physics_models.simulate`;
    `hidden`: variables that are not observed; `on_blow_up`: "refuse", or "cut" trajectories before they blow up.
    Of training data: `uneven`: fraction of the points (but the first) that are missing, others in each trajectory;
    `corrupted`: fraction of the points whose states have changed places among themselves; `outliers`: fraction of
    the points with an error of `OUTLIER_SIZE` standard deviations; `interventional`: fraction of the trajectories run
    under an `intervention`, "kick" or "clamp"; `fresh`: every pass over the training data is over new ones; `shards`:
    the training data are kept on disk in so many parts, of which one at a time is in memory. `active`: they are
    drawn in so many `rounds`, and after the first one each start (or, where they are `interventional`, each
    intervention) is that one of so many `candidates` of which least is known, see `experiments.active`.
    `ood`: test sets out of distribution, names among `OOD_SETS`, or "all".
    """

    n_train: int = 512
    n_val: int = 64
    n_test: int = 64
    horizon: float = 10.0
    spacing: float = 0.1
    noise: float = 0.0
    data_seed: int = 0
    process_noise: float = 0.0
    hidden: tuple[str, ...] = ()
    on_blow_up: str = "refuse"
    uneven: float = 0.0
    corrupted: float = 0.0
    outliers: float = 0.0
    interventional: float = 0.0
    intervention: str = "kick"
    fresh: bool = False
    shards: int = 1
    active: bool = False
    rounds: int = 8
    candidates: int = 8
    ood: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("n_train", "n_val", "n_test", "horizon", "spacing", "shards"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, but it is {getattr(self, name)}")
        for name in ("noise", "process_noise", "data_seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, but it is {getattr(self, name)}")
        for name in ("uneven", "corrupted", "outliers", "interventional"):
            # A task without a single right point, or with no two points in a trajectory, teaches nothing.
            if not 0 <= getattr(self, name) < 1 and not (name == "interventional" and self.interventional == 1):
                raise ValueError(f"{name} must be a fraction, 0 or more and below 1, but it is {getattr(self, name)}")
        for name, valid in (("on_blow_up", ("refuse", "cut")), ("intervention", INTERVENTIONS)):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} must be one of {', '.join(valid)}, but it is {getattr(self, name)!r}")
        if self.spacing > self.horizon:
            raise ValueError(f"spacing must be at most the horizon ({self.horizon}), but it is {self.spacing}")
        check_divides(self.spacing, self.horizon)
        if len(set(self.hidden)) < len(self.hidden):
            raise ValueError(f"hidden must name no variable twice, but it is {', '.join(self.hidden)}")
        if self.n_train % self.shards:
            raise ValueError(f"shards must divide n_train ({self.n_train}) evenly, but it is {self.shards}")
        for name in self.ood:
            known = (*OOD_SETS, "all", "none")
            if name.partition(":")[0] not in known:
                raise ValueError(f"ood must be one of {', '.join(known)}, but it is {name!r}")
        if "none" in self.ood and set(self.ood) != {"none"}:
            raise ValueError(f"ood must be none alone, or sets without it, but it is {','.join(self.ood)}")
        self._check_together()

    def _check_together(self) -> None:
        if self.fresh and self.shards > 1:
            raise ValueError(f"shards must be 1 where the data are fresh, and are never kept, but it is {self.shards}")
        if self.active:
            self._check_active()
        if self.on_blow_up == "cut":
            others = {"fresh": self.fresh, "shards": self.shards > 1}
            others |= {name: getattr(self, name) > 0 for name in ("process_noise", "interventional")}
            if met := [f"task.{name}" for name, is_on in others.items() if is_on]:
                raise ValueError(f"on_blow_up must be refuse with {' and '.join(met)}, but it is cut: leave one out")

    def _check_active(self) -> None:
        others = {"fresh=true": self.fresh, f"shards={self.shards}": self.shards > 1}
        others["on_blow_up=cut"] = self.on_blow_up == "cut"
        if met := [f"task.{name}" for name, is_on in others.items() if is_on]:
            raise ValueError(f"active must be false with {' and '.join(met)}, but it is true: leave one of them out")
        if not 2 <= self.rounds <= self.n_train:
            raise ValueError(
                f"rounds must be 2 or more, and at most n_train ({self.n_train}), where the data are active, but it is "
                f"{self.rounds}"
            )
        if self.candidates < 2:
            raise ValueError(
                f"candidates must be 2 or more where the data are active, but it is {self.candidates}: give more, or "
                "task.active=false for data that nobody picks"
            )

    @property
    def times(self) -> np.ndarray:
        return np.arange(round(self.horizon / self.spacing) + 1) * self.spacing

    @property
    def ood_sets(self) -> tuple[str, ...]:
        """The sets asked for, each once."""
        return ood_names(self.ood)

    def check(self, system: System) -> None:
        """Raises ValueError for what this system cannot have."""
        for name in self.hidden:
            if name not in system.variables:
                hint = nearest(name, system.variables)
                raise ValueError(f"hidden must be one of {', '.join(system.variables)}, but it is {name!r}{hint}")
        if len(self.hidden) == len(system.variables):
            raise ValueError(f"hidden must leave a variable to observe, but it is {', '.join(self.hidden)}: all")
        for name in self.ood_sets:
            kind, _, which = name.partition(":")
            valid = {"changed_parameter": system.parameters, "clamped": system.variables}.get(kind, ())
            if which and not valid:
                raise ValueError(f"ood={kind} takes no name, but it is {name!r}: give task.ood={kind}")
            if which and which not in valid:
                hint = nearest(which, valid)
                raise ValueError(
                    f"ood must be one of {', '.join(f'{kind}:{v}' for v in valid)}, but it is {name!r}{hint}"
                )
        if self.on_blow_up == "cut" and isinstance(system, Map):
            raise ValueError("on_blow_up must be refuse for a map, but it is cut")


def check_divides(spacing: float, horizon: float) -> None:
    """Raises ValueError for intervals that do not fill the horizon: the last one would be left out in silence."""
    intervals = horizon / spacing
    if not intervals < 2**53 or abs(intervals - round(intervals)) > 1e-6 * intervals:
        raise ValueError(f"spacing must divide the horizon ({horizon}) evenly, but it is {spacing}")


# A key that is off says nothing of a run: the configuration is that of before there was the key.
_ALWAYS = ("n_train", "n_val", "n_test", "horizon", "spacing", "noise", "data_seed")
_OFF = {f.name: f.default for f in dataclasses.fields(Protocol) if f.name not in _ALWAYS}


def switched_on(task: dict[str, Any]) -> dict[str, Any]:
    """A task's configuration without the protocol's keys that are off or say nothing beside others that are."""
    kept = {}
    for key, value in task.items():
        if key == "ood":
            value = sorted(ood_names(value))  # the sets do not depend on each other, nor on how they are asked for
        plain = tuple(value) if isinstance(value, list) else value
        if key in _OFF and plain == _OFF[key]:
            continue
        if key == "intervention" and not task.get("interventional"):
            continue
        if key in ("rounds", "candidates") and not task.get("active"):
            continue
        kept[key] = value
    return kept
