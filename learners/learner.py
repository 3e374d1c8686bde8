"""A model made trainable: `fit` stops at the budget and yields as it goes; `predict` rolls out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.cost import Cost
from hardware.devices import Device
from learners.backends import engine_of
from learners.backends.base import Engine, Points, Recipe
from learners.base import Model, TaskInfo
from learners.gauss_newton import levenberg_marquardt

if TYPE_CHECKING:
    from hardware.meter import Meter

CPU = Device("cpu", "the processor")
# Keys of random streams, beyond those of the data, whose second word is the number of a trajectory.
WEIGHT_STREAM, BATCH_STREAM = 2**32 + 1, 2**32 + 2
CHUNK_STEPS = 200  # steps between looks at the clock, at most: what a compiled call may do
CHUNK_SECONDS = 0.5  # and about how long it may take, so that progress and Ctrl-C are prompt


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


class Learner:
    """One model on one task's training data for several seeds. See `Engine` for what runs where."""

    def __init__(
        self, model: Model, info: TaskInfo, recipe: Recipe, points: Points, seeds: Sequence[int], backend: str,
        dtype: str = "float32", device: Device = CPU, predict_batch: int = 128, predict_times: int = 128,
    ) -> None:  # fmt: skip
        if len(points.starts) == 0:  # batches would be waited for in vain
            raise ValueError(
                f"there must be at least one training window of {recipe.window} intervals, but there is none"
            )
        self.model, self.info, self.recipe, self.points, self.seeds = model, info, recipe, points, tuple(seeds)
        # One stream for a seed's weights and one for its batches, independent of each other and of the data.
        self._batches = [_Batches(points.starts, np.random.default_rng([seed, BATCH_STREAM])) for seed in seeds]
        self._drawn = [self._draw(np.random.default_rng([seed, WEIGHT_STREAM])) for seed in seeds]
        self.engine: Engine = engine_of(backend)(
            model, info, recipe, points, self._drawn, dtype, device, CHUNK_STEPS, predict_batch, predict_times
        )

    def _draw(self, rng: np.random.Generator) -> dict[str, Any]:
        return {name: spec.draw(rng) for name, spec in self.model.parts(self.info).items()}

    @property
    def parameters(self) -> int:
        return self.model.count(self.info)

    def predict(self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False) -> tuple[np.ndarray, float | None]:
        """See `Engine.predict`."""
        return self.engine.predict(y0, times, count_flop)

    def compile(self) -> None:
        """Compile everything ahead of its first use, so that it is charged to its own phase."""
        if self.model.learning == "gradient":
            self.engine.compile_training()
        elif self.model.learning != "none":
            self.engine.compile_fit(self._fit_rows())
        self.engine.compile_prediction()

    def _fit_rows(self) -> int:
        """Windows used by a fit that is not by gradient."""
        return min(getattr(self.model, "max_windows", len(self.points.starts)), len(self.points.starts))

    def fit(self, budget: Budget, meter: Meter) -> Iterator[Progress]:
        """Train until the budget is used, yielding after each chunk; the caller may evaluate between them.

        Only training by gradient goes on for as long as the budget pays; the other fits have an end of their own, and
        cost what they cost. Raises BudgetError when the budget does not pay for one step.
        """
        yield from getattr(self, f"_fit_{self.model.learning}")(budget, meter)

    def _fit_none(self, budget: Budget, meter: Meter) -> Iterator[Progress]:
        yield replace(self._untrained(), fraction=1)

    def _untrained(self) -> Progress:
        """The model as drawn, at no cost: where every curve starts."""
        n = len(self.seeds)
        return Progress(costs=[Cost()] * n, executed=[Cost()] * n, loss=[math.nan] * n, energy_j=0.0, checkpoint=True)

    def _fit_least_squares(self, budget: Budget, meter: Meter) -> Iterator[Progress]:
        starts = self.points.starts
        with meter.phase("train"):
            cost = self.engine.least_squares(starts)
        state = self._reading(meter, Progress(step=1, samples=len(starts)), [cost] * len(self.seeds))
        yield replace(state, loss=[math.nan] * len(self.seeds), checkpoint=True, fraction=1)

    def _fit_gauss_newton(self, budget: Budget, meter: Meter) -> Iterator[Progress]:
        """One iteration of every seed in turn; each has a first guess and windows of its own."""
        rows, most = self._fit_rows(), getattr(self.model, "max_iterations", 50)
        fits = {}
        for index, batches in enumerate(self._batches):
            drawn = self._drawn[index]
            theta = np.concatenate(
                [drawn[part][name].ravel() for part in sorted(drawn) for name in sorted(drawn[part])]
            )
            fits[index] = levenberg_marquardt(self.engine, theta, batches.draw(rows), most)
        total, loss = [Cost()] * len(self.seeds), [math.nan] * len(self.seeds)
        yield self._untrained()
        for iteration in range(1, most + 1):
            with meter.phase("train"):
                for index, fit in list(fits.items()):
                    step = next(fit, None)
                    if step is None:
                        del fits[index]
                        continue
                    total[index], loss[index] = total[index] + step.cost, step.loss
                    self.engine.set_parameters(index, step.theta)
            if not fits:
                return
            state = self._reading(meter, Progress(step=iteration, samples=rows), total)
            yield replace(state, loss=list(loss), checkpoint=True)

    def _fit_gradient(self, budget: Budget, meter: Meter) -> Iterator[Progress]:
        n_seeds, batch = len(self.seeds), self.recipe.batch
        state = Progress(costs=[Cost()] * n_seeds, executed=[Cost()] * n_seeds)
        if budget.joule is not None and meter.energy_method == "none":
            raise BudgetError(f"budget.joule cannot be kept: {meter.energy_reason}")
        yield self._untrained()
        next_checkpoint, steps_now, loss = 1, 1, np.zeros((n_seeds, 0))
        while True:
            affordable = self._affordable(budget, state, batch)
            if not self.model.has_fixed_cost:  # the steps to come may cost more than those so far: end in small steps
                affordable = (affordable + 1) // 2
            n = min(CHUNK_STEPS, steps_now, next_checkpoint - state.step, affordable)
            if n < 1:
                break
            starts = np.stack([batches.steps(n, batch) for batches in self._batches])
            before = time.perf_counter()
            with meter.phase("train"):
                done = self.engine.train(starts)
            took = time.perf_counter() - before
            steps_now = max(1, min(2 * n, int(CHUNK_SECONDS * n / max(took, 1e-9))))
            costs = [a + b for a, b in zip(state.costs, done.costs, strict=True)]
            executed = [a + b for a, b in zip(state.executed, done.executed, strict=True)]
            state = Progress(state.step + n, state.samples + n * batch, executed=executed)
            state = self._reading(meter, state, costs)
            if budget.flop is not None and state.step == 1 and max(state.flop) > budget.flop:
                raise BudgetError(
                    f"budget.flop={budget.flop:g} is less than one training step; "
                    f"give at least {_enough(max(state.flop))}"
                )
            state.fraction = self._fraction(budget, state)
            loss = np.concatenate([loss, done.losses], axis=1)
            last = self._affordable(budget, state, batch) < 1
            due = state.step >= next_checkpoint or last
            state.loss = [float(np.mean(row)) for row in loss]
            yield replace(state, checkpoint=due)
            if due:
                next_checkpoint = max(state.step + 1, math.ceil(state.step * CHECKPOINT_RATIO))
                loss = loss[:, :0]
            if last:
                break

    def _reading(self, meter: Meter, state: Progress, costs: Sequence[Cost]) -> Progress:
        reading, n = meter.reading("train"), len(self.seeds)
        state.costs = list(costs)
        state.executed = state.executed or state.costs
        state.seconds = reading.seconds / n
        state.energy_j = None if reading.energy_j is None else reading.energy_j / n
        return state

    def _fraction(self, budget: Budget, state: Progress) -> float:
        used = [(max(state.flop), budget.flop), (state.seconds, budget.second), (state.samples, budget.sample)]
        used.append((state.energy_j or 0.0, budget.joule))
        return max(float(value / limit) for value, limit in used if limit is not None)

    def _affordable(self, budget: Budget, state: Progress, batch: int) -> int:
        """Steps that the budget still pays for, at the cost of a step so far."""
        if state.step == 0:
            if budget.sample is not None and budget.sample < batch:
                raise BudgetError(f"budget.sample={budget.sample} is less than one batch; give at least {batch}")
            return 1  # what a step costs is known after it
        left = []
        if budget.flop is not None:
            each = max(state.flop) / state.step
            left.append((budget.flop - max(state.flop)) / each)
        if budget.sample is not None:
            left.append((budget.sample - state.samples) / batch)
        if budget.second is not None:
            left.append((budget.second - state.seconds) / (state.seconds / state.step))
        if budget.joule is not None:
            if state.energy_j is not None:
                left.append((budget.joule - state.energy_j) / max(state.energy_j / state.step, 1e-12))
            elif state.seconds * len(self.seeds) < COUNTER_SECONDS:
                left.append(1)  # the counter has not moved yet
            else:
                raise BudgetError("budget.joule cannot be kept: the energy counter of this device does not move")
        # A budget is reached when less than a step is left; half a step of rounding in a sum of floats is not a step.
        return math.floor(min(left) + 1e-9)


CHECKPOINT_RATIO = 1.35  # about eight checkpoints a decade of cost
COUNTER_SECONDS = 1.0  # the slowest energy counter, that of NVIDIA's GPUs, moves ten times in it


def _enough(flop: int) -> str:
    """Rounded up to three digits: the number in the message must itself be enough."""
    unit = 10 ** max(0, len(str(flop)) - 3)
    return f"{-(-flop // unit) * unit:.3g}"


class _Batches:
    """Training windows in random order, every one once before any comes again."""

    def __init__(self, starts: np.ndarray, rng: np.random.Generator) -> None:
        self._starts, self._rng = starts.astype(np.int32), rng
        self._queue = np.empty(0, np.int32)

    def draw(self, n: int) -> np.ndarray:
        while len(self._queue) < n:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._starts)])
        taken, self._queue = self._queue[:n], self._queue[n:]
        return taken

    def steps(self, n: int, batch: int) -> np.ndarray:
        return self.draw(n * batch).reshape(n, batch)
