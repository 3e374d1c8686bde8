"""When training stops: a budget, where training stands, and the steps that the one still pays for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hardware.cost import Cost

COUNTER_SECONDS = 1.0  # the slowest energy counter, that of NVIDIA's GPUs, moves ten times in it


class BudgetError(ValueError):
    """The budget does not pay for the smallest thing the learner can do."""


@dataclass(frozen=True)
class Budget:
    """When training stops: at the first of these limits, for each seed. None is no limit; all None is refused."""

    flop: float | None = None
    joule: float | None = None
    second: float | None = None
    sample: int | None = None

    def __post_init__(self) -> None:
        limits = {"flop": self.flop, "joule": self.joule, "second": self.second, "sample": self.sample}
        for name, value in limits.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0, but it is {value}")
        if all(value is None for value in limits.values()):
            raise ValueError("at least one of flop, joule, second, sample must be given, but all are null")


@dataclass
class Progress:
    """Where training stands after a chunk. Lists have one entry a seed; joules and seconds are shared equally.

    `costs`: what the model's training required of each seed, `executed`: what was executed for it, both cumulative.
    `loss`: mean training loss since the last one (NaN where there is none). `checkpoint`: whether the weights are to
    be evaluated now (log-spaced in steps). `fraction`: of the budget used, by its tightest limit.
    """

    step: int = 0
    samples: int = 0
    costs: list[Cost] = field(default_factory=list)
    executed: list[Cost] = field(default_factory=list)
    seconds: float = 0.0
    energy_j: float | None = None
    loss: list[float] = field(default_factory=list)
    checkpoint: bool = False
    fraction: float = 0.0

    @property
    def flop(self) -> list[int]:
        return [cost.flop for cost in self.costs]


def fraction_used(budget: Budget, state: Progress) -> float:
    used = [(max(state.flop), budget.flop), (state.seconds, budget.second), (state.samples, budget.sample)]
    used.append((state.energy_j or 0.0, budget.joule))
    return max(float(value / limit) for value, limit in used if limit is not None)


def steps_by_count(budget: Budget, state: Progress, batch: int) -> float:
    """Steps that FLOPs and samples still pay for, at the cost of a step so far: the same in every repetition.

    Raises BudgetError where the samples do not pay for one.
    """
    if state.step == 0:
        if budget.sample is not None and budget.sample < batch:
            raise BudgetError(f"budget.sample={budget.sample} is less than one batch; give at least {batch}")
        return 1  # what a step costs is known after it
    left = [math.inf]
    if budget.flop is not None:
        each = max(state.flop) / state.step
        left.append((budget.flop - max(state.flop)) / each)
    if budget.sample is not None:
        left.append((budget.sample - state.samples) / batch)
    return _whole(left)


def steps_by_clock(budget: Budget, state: Progress, seeds: int) -> float:
    """Steps that seconds and joules still pay for, which differ from one repetition to the next.

    Raises BudgetError where joules cannot be told.
    """
    if state.step == 0:
        return 1
    left = [math.inf]
    if budget.second is not None:
        left.append((budget.second - state.seconds) / (state.seconds / state.step))
    if budget.joule is not None:
        if state.energy_j is not None:
            left.append((budget.joule - state.energy_j) / max(state.energy_j / state.step, 1e-12))
        elif state.seconds * seeds < COUNTER_SECONDS:
            left.append(1)  # the counter has not moved yet
        else:
            raise BudgetError("budget.joule cannot be kept: the energy counter of this device does not move")
    return _whole(left)


def _whole(left: list[float]) -> float:
    # A budget is reached when less than a step is left; half a step of rounding in a sum of floats is not a step.
    least = min(left)
    return math.floor(least + 1e-9) if least < math.inf else least


def enough(flop: int) -> str:
    """Rounded up to three digits: the number in the message must itself be enough."""
    unit = 10 ** max(0, len(str(flop)) - 3)
    return f"{-(-flop // unit) * unit:.3g}"
