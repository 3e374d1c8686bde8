"""What a study consists of: units of runs of one shape, and the plan that holds them all."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.errors import UserError
from experiments.job import Lane
from experiments.record import RUN
from experiments.study.spec import Study

# Seconds of a unit's process, its start and its imports, which records do not have: least, likely and most.
START_S = (2.5, 4.0, 8.0)


@dataclass(frozen=True)
class Unit:
    """Runs of one shape: one worker, one compilation; each lane is a run with a record of its own.

    `key`: content hash of what it runs: name of its lock, checkpoint and status files. `tree`: the resolved
    configuration, in which `seed` is a placeholder. `identities`: of the lanes, in order; of a tuned run they are
    unknown until its trials are done (see `resolve`). `after`: keys of the units that must be done first.
    `tuning`: {"group": name of what belongs together}; of a tuned run also {"trials": [identities], "values":
    [settings of each], "space", "device"}, and once resolved {"group", "trials", "chosen", "space"}.
    `reason`: why it cannot be run, if it cannot. `condition`, `configuration`: see `reports.study.StudyData`.
    """

    key: str
    tree: dict[str, Any]
    lanes: tuple[Lane, ...]
    identities: tuple[str, ...]
    role: str = RUN
    after: tuple[str, ...] = ()
    tuning: dict[str, Any] = field(default_factory=dict)
    condition: str = ""
    configuration: str = ""
    reason: str = ""

    @property
    def task(self) -> str:
        return self.tree["task"]["name"]

    @property
    def model(self) -> str:
        return self.tree["model"]["name"]

    @property
    def learning(self) -> str:
        """How the model is fitted, see `learners.base.Model`: it may depend on the model's options."""
        return _learning(json.dumps(self.tree["model"], sort_keys=True))

    @property
    def group(self) -> str:
        """What must not be parted: a tuned run and its trials have the same."""
        return self.tuning.get("group", self.key)


@functools.lru_cache(maxsize=4096)
def _learning(options: str) -> str:
    from experiments.config import model_from  # Hydra, which who only looks on does without

    return model_from(json.loads(options)).learning


@dataclass(frozen=True)
class Plan:
    """All units of a study, each after those that it waits for. `notes`: what to know before it starts."""

    study: Study
    units: tuple[Unit, ...]
    notes: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        return sum(len(unit.lanes) for unit in self.units)


def shard(plan: Plan, index: int, count: int) -> Plan:
    """Part `index` of `count` (from 1): every unit is in exactly one, with the trials that it waits for."""
    if count < 1 or not 1 <= index <= count:
        raise UserError(f"--shard must be i/n with i from 1 to n, but it is {index}/{count}")
    units = tuple(unit for unit in plan.units if int(unit.group, 16) % count == index - 1)
    return replace(plan, units=units)
