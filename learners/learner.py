"""A model made trainable: `fit` stops at the budget and yields as it goes; `predict` rolls out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.cost import Cost
from hardware.devices import Device
from learners.backends import engine_of
from learners.backends.base import Engine, Points, Recipe
from learners.base import Model, TaskInfo
from learners.batches import Batches
from learners.budget import Budget, BudgetError, Progress, enough, fraction_used, steps_by_clock, steps_by_count
from learners.gauss_newton import levenberg_marquardt
from learners.snapshot import Snapshot, cost_from_json, cost_to_json, under

if TYPE_CHECKING:
    from hardware.meter import Meter

CPU = Device("cpu", "the processor")
# Keys of random streams, beyond those of the data, whose second word is the number of a trajectory.
WEIGHT_STREAM, BATCH_STREAM = 2**32 + 1, 2**32 + 2
CHUNK_STEPS = 200  # steps between looks at the clock, at most: what a compiled call may do
CHUNK_SECONDS = 0.5  # and about how long it may take, so that progress and Ctrl-C are prompt


@dataclass
class _Position:
    """Where training by gradient stands: all that a fit needs to go on, besides the engine and the batches.

    `leg_end`: the step up to which FLOPs and samples are known to pay. `steps_now`: the length of the next chunk.
    `loss`: (S, n) since the last checkpoint.
    """

    progress: Progress
    loss: np.ndarray
    next_checkpoint: int = 1
    leg_end: int = 0
    steps_now: int = 1


class Learner:
    """One model on one task's training data for several seeds. See `Engine` for what runs where.

    `learning_rates`: of each seed where it differs from the recipe's (None where it does not). A seed may come twice
    with another rate. `parts`: the training data in parts 0, 1, … without end, of which `points` is the first: training
    by gradient goes over each part once, and then over the next; the scales in `info` and other fits know the first.
    """

    def __init__(
        self, model: Model, info: TaskInfo, recipe: Recipe, points: Points, seeds: Sequence[int], backend: str,
        dtype: str = "float32", device: Device = CPU, predict_batch: int = 128, predict_times: int = 128,
        learning_rates: Sequence[float | None] | None = None, parts: Callable[[int], Points] | None = None,
    ) -> None:  # fmt: skip
        if len(points.starts) == 0:  # batches would be waited for in vain
            raise ValueError(
                f"there must be at least one training window of {recipe.window} intervals, but there is none"
            )
        self.model, self.info, self.recipe, self.points, self.seeds = model, info, recipe, points, tuple(seeds)
        # One stream for a seed's weights and one for its batches, independent of each other and of the data.
        self._batches = [Batches(points.starts, np.random.default_rng([seed, BATCH_STREAM])) for seed in seeds]
        self._drawn = [self._draw(np.random.default_rng([seed, WEIGHT_STREAM])) for seed in seeds]
        self.engine: Engine = engine_of(backend)(
            model,
            info,
            recipe,
            points,
            self._drawn,
            dtype,
            device,
            CHUNK_STEPS,
            predict_batch,
            predict_times,
            [recipe.learning_rate if rate is None else rate for rate in learning_rates or [None] * len(self.seeds)],
        )
        self._parts, self._part = parts, 0  # the part that the engine holds
        self._part_steps = max(1, len(points.starts) // recipe.batch)
        self.device = device
        self._position: _Position | None = None  # before training by gradient

    def _draw(self, rng: np.random.Generator) -> dict[str, Any]:
        return {name: spec.draw(rng) for name, spec in self.model.parts(self.info).items()}

    @property
    def parameters(self) -> int:
        return self.model.count(self.info)

    def predict(
        self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False, clock: np.ndarray | None = None
    ) -> tuple[np.ndarray, float | None]:
        """See `Engine.predict`."""
        return self.engine.predict(y0, times, count_flop, clock)

    def elsewhere(self, info: TaskInfo, predict_times: int) -> Learner:
        """This model as it is now, on another task: to predict with, up to `predict_times` intervals.

        Raises ValueError where its weights do not fit.
        """
        few = Points(self.points.times[:2], self.points.lengths[:2], self.points.y[:2], self.points.starts[:1])
        engine = self.engine
        other = Learner(
            self.model, info, self.recipe, few, self.seeds, engine.backend, engine.dtype, self.device,
            engine.predict_batch, predict_times,
        )  # fmt: skip
        other.engine.take_weights(engine)
        return other

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
        """Chunks of steps, each a call of the engine, in legs; at the end of a leg it is seen how many more steps FLOPs
        and samples pay for. Where legs end depends on nothing but the steps, and so does the result, whatever the
        chunks were and however often training was stopped and gone on with."""
        if budget.joule is not None and meter.energy_method == "none":
            raise BudgetError(f"budget.joule cannot be kept: {meter.energy_reason}")
        n_seeds, batch = len(self.seeds), self.recipe.batch
        if self._position is None:
            yield self._untrained()
            nothing = Progress(costs=[Cost()] * n_seeds, executed=[Cost()] * n_seeds)
            self._position = _Position(nothing, np.zeros((n_seeds, 0)))
        at = self._position
        while True:
            state = at.progress
            if state.step >= at.leg_end:
                paid = self._careful(steps_by_count(budget, state, batch))
                at.leg_end = int(min(at.next_checkpoint, state.step + paid))
            by_clock = self._careful(steps_by_clock(budget, state, n_seeds))
            n = int(min(CHUNK_STEPS, at.steps_now, at.leg_end - state.step, by_clock))
            if n < 1:
                return
            if self._parts is not None:
                self._take_part(state.step, meter)
                n = min(n, self._part_steps - state.step % self._part_steps)
            starts = np.stack([batches.steps(n, batch) for batches in self._batches])
            before = time.perf_counter()
            with meter.phase("train"):
                done = self.engine.train(starts)
            took = time.perf_counter() - before
            costs = [a + b for a, b in zip(state.costs, done.costs, strict=True)]
            state = Progress(state.step + n, state.samples + n * batch, executed=done.executed)
            state = self._reading(meter, state, costs)
            if budget.flop is not None and state.step == 1 and max(state.flop) > budget.flop:
                raise BudgetError(
                    f"budget.flop={budget.flop:g} is less than one training step; "
                    f"give at least {enough(max(state.flop))}"
                )
            state.fraction = fraction_used(budget, state)
            loss = np.concatenate([at.loss, done.losses], axis=1)
            state.loss = [float(np.mean(row)) for row in loss]
            paid = steps_by_count(budget, state, batch) if state.step >= at.leg_end else 1
            last = min(paid, steps_by_clock(budget, state, n_seeds)) < 1
            state.checkpoint = state.step >= at.next_checkpoint or last
            # All of it before the caller has its turn, who may take a snapshot.
            at.progress, at.loss = state, loss[:, :0] if state.checkpoint else loss
            at.steps_now = max(1, min(2 * n, int(CHUNK_SECONDS * n / max(took, 1e-9))))
            if state.checkpoint:
                at.next_checkpoint = max(state.step + 1, math.ceil(state.step * CHECKPOINT_RATIO))
            yield state
            if last:
                return

    def _take_part(self, step: int, meter: Meter) -> None:
        """Have the engine hold the part of the training data that this step is on, at the cost of phase "data"."""
        part = step // self._part_steps
        if part != self._part:
            with meter.phase("data"):
                self._hold(part)
        if step % self._part_steps == 0:  # elsewhere the order was begun before training was stopped
            for batches in self._batches:
                batches.renew(self.points.starts)

    def _hold(self, part: int) -> None:
        if part != self._part and self._parts is not None:
            self.points = self._parts(part)
            self.engine.replace_points(self.points)
            self._part = part

    @property
    def windows_seen(self) -> int:
        """Distinct training windows there were to learn from."""
        step = 0 if self._position is None else self._position.progress.step
        parts = 1 if self._parts is None else max(1, math.ceil(step / self._part_steps))
        return parts * len(self.points.starts)

    def _careful(self, affordable: float) -> float:
        """Where steps differ in cost those to come may cost more than those so far: the end is approached in halves."""
        return affordable if self.model.has_fixed_cost else min(CHUNK_STEPS, (affordable + 1) // 2)

    def _reading(self, meter: Meter, state: Progress, costs: Sequence[Cost]) -> Progress:
        reading, n = meter.reading("train"), len(self.seeds)
        state.costs = list(costs)
        state.executed = state.executed or state.costs
        state.seconds = reading.seconds / n
        state.energy_j = None if reading.energy_j is None else reading.energy_j / n
        return state

    # -- stopping and going on ------------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """Where training by gradient stands; None before it has begun, and for other fits."""
        return None if self._position is None else self._position.progress

    def snapshot(self) -> Snapshot | None:
        """All that training by gradient has changed, between two chunks of `fit`; None where that is nothing, and for
        the other fits, which are short and start anew."""
        at = self._position
        if at is None:
            return None
        engine, batches = self.engine.snapshot(), [batches.state() for batches in self._batches]
        queues = {str(i): queue for i, (queue, _) in enumerate(batches)}
        progress = asdict(at.progress)
        for name in ("costs", "executed"):
            progress[name] = [cost_to_json(cost) for cost in getattr(at.progress, name)]
        facts = {
            "engine": engine.facts,
            "generators": [generator for _, generator in batches],
            "progress": progress,
            "position": {name: getattr(at, name) for name in ("next_checkpoint", "leg_end", "steps_now")},
        }
        return Snapshot({**under("engine", engine.arrays), **under("queue", queues), "loss": at.loss.copy()}, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Be as the learner was of which this is a snapshot; `fit` then goes on. Raises ValueError or KeyError for a
        snapshot of another learner, which leaves this one unusable."""
        facts, queues = snapshot.facts, snapshot.part("queue")
        self.engine.restore(Snapshot(snapshot.part("engine"), facts["engine"]))
        raw = facts["progress"]
        if self._parts is not None and raw["step"]:
            self._hold((raw["step"] - 1) // self._part_steps)  # the part that the order of batches is of
        for i, (batches, generator) in enumerate(zip(self._batches, facts["generators"], strict=True)):
            batches.renew(self.points.starts)
            batches.restore(queues[str(i)], generator)
        costs = {name: [cost_from_json(cost) for cost in raw[name]] for name in ("costs", "executed")}
        self._position = _Position(Progress(**{**raw, **costs}), snapshot.arrays["loss"], **facts["position"])


CHECKPOINT_RATIO = 1.35  # about eight checkpoints a decade of cost
