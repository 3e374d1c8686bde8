"""The lanes of one program, from compilation to a record each: train within the budget, evaluate, leave records."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from experiments import ood
from experiments import record as status
from experiments.checkpoint import UNREADABLE, Checkpoint
from experiments.continued_meter import ContinuedMeter
from experiments.errors import UserError
from experiments.evaluate import PRIMARY, CurveErrors, Evaluation, measure_inference, test_results
from experiments.interrupt import HeldSignals, Interrupted
from experiments.job import Attempt, Job, Lane
from experiments.make_record import make_record, save_arrays
from experiments.metrics.base import Measure
from experiments.metrics.discovery import metrics as metric_registry
from experiments.progress import Reporter, State
from experiments.record import Point, Record
from experiments.store import Store, StoreError
from experiments.tracking import Tracker
from hardware import energy
from hardware.devices import peak_memory_bytes
from learners.learner import BudgetError, Learner, Progress

LOSS_TRAINED = ("gradient", "gauss_newton")


class Execution:
    """Some lanes of a job on their way. `records` does all of it; the rest is its steps."""

    def __init__(
        self, job: Job, lanes: Sequence[Lane], store: Store, tracker: Tracker, report: Reporter, checkpoint: Checkpoint
    ) -> None:
        self.job, self.lanes, self.store, self.report, self.checkpoint = job, list(lanes), store, report, checkpoint
        self.tracker = tracker
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.attempts = [Attempt(lane) for lane in lanes]
        # Tracking is not the run's.
        self.reader = energy.best(job.device, lambda: time.process_time() - tracker.cpu_seconds())
        self.meter = ContinuedMeter(
            self.reader, peak_of_device=lambda: peak_memory_bytes(job.device, job.tree["backend"]), idle=job.idle
        )
        self.learner: Learner | None = None
        self.results: Evaluation | None = None

    def records(self) -> list[Record]:
        """Run the lanes; what they leave is in the store when this returns, and when it raises Interrupted."""
        job = self.job
        if reason := job.model.skip(job.info, job.tree["backend"]):
            return self._skip(reason)
        tracked = [
            self.tracker.run(name=f"{job.name}-{lane}", group=job.task.name, job_type=job.name, config=job.config(lane))
            for lane in self.lanes
        ]
        ended = "failed"
        try:
            with _out_of_memory(self.attempts):
                self._train_and_evaluate(tracked)
                made = self._write()
                for run_, r in zip(tracked, made, strict=True):
                    run_.summary({**r.metrics, "status": r.status, "train_flop": r.costs.train_flop})
                ended = "finished"
                self._tell(made)
                return made
            return self._write()
        except Interrupted as stop:
            if self.results is None:
                for attempt in self.attempts:
                    attempt.status, attempt.reason = status.INTERRUPTED, "stopped by a signal"
            if self.attempts[0].last is not None:
                stop.kept = len(self._write())
            raise
        except BudgetError as error:
            if job.required:
                raise UserError(f"{job.name}: {error}") from None
            return self._skip(str(error))
        finally:
            for run_ in tracked:
                run_.finish(ended)

    def _train_and_evaluate(self, tracked: list[Any]) -> None:
        job, meter = self.job, self.meter
        learner = self.learner = self._learner()
        self.report.say(f"{job.name}: {learner.parameters} parameters; compiling for {job.device.kind}")
        with meter.phase("compile"):
            learner.compile()
        self._train(learner, tracked)
        try:
            learner.engine.use_best()
            with meter.phase("evaluate"):
                measured = test_results(learner, job.task, _metrics())
            self._out_of_distribution(learner, measured)
            measured.infer_seconds_per_time_unit, measured.infer_energy_j_per_time_unit = measure_inference(
                learner, job.task, meter, self.reader
            )
        except Interrupted:
            self._keep(learner)  # training has ended, and need not be repeated
            raise
        _judge(self.attempts, measured)
        self.results = measured  # from here on an interruption finds everything measured

    def _out_of_distribution(self, learner: Learner, measured: Evaluation) -> None:
        """Add the errors on the task's test sets out of distribution, which are simulated at their first use."""
        job = self.job
        if not ood.asked(job.task):
            return
        with self.meter.phase("data"):
            sets = ood.sets(job.task, self.report.say)
        with self.meter.phase("compile"):
            programs = ood.programs(learner, job.task, sets)
        with self.meter.phase("evaluate"):
            ood.evaluate(learner, job.task, sets, measured, programs)
        self.report.say(f"{job.name}: {PRIMARY} out of distribution: {ood.told(sets, measured)}")

    def _learner(self) -> Learner:
        """As drawn, or as a checkpoint of these very runs has kept it."""
        learner, kept = self.job.learner(self.lanes), self.checkpoint.load()
        if kept is None:
            return learner
        try:
            learner.restore(kept.snapshot)
        except UNREADABLE as error:
            self.checkpoint.refuse(error)
            return self.job.learner(self.lanes)
        self.attempts[:], self.started = kept.attempts, kept.started
        for attempt in self.attempts:
            attempt.last = learner.progress
        self.meter.go_on(kept.readings, kept.energy_method, kept.peak)
        self.report.say(f"{self.job.name}: going on from step {learner.progress.step if learner.progress else 0}")
        return learner

    def _train(self, learner: Learner, tracked: list[Any]) -> None:
        """Train to the end of the budget, adding a point to every lane's curve at each checkpoint."""
        job, attempts = self.job, self.attempts
        errors_of = CurveErrors(job.task, _metrics())

        def ended() -> bool:
            return all(a.status == status.DIVERGED for a in attempts)

        with self.report.training(job.name) as show, HeldSignals() as held:
            for progress in learner.fit(job.budget, self.meter) if not ended() else ():
                for attempt in attempts:
                    attempt.last = progress
                if progress.checkpoint:
                    with self.meter.phase("evaluate"):
                        errors, tests = errors_of(learner)
                    learner.engine.keep_best(np.array([e < a.best for e, a in zip(errors, attempts, strict=True)]))
                    for index, attempt in enumerate(attempts):
                        point = _point(progress, index, errors[index], tests[index])
                        _extend(attempt, point, tracked[index], job.model.learning in LOSS_TRAINED)
                show(_state(progress, attempts))
                if held.number or ended():
                    break
                if self.checkpoint.is_due:
                    self._keep(learner)
            if held.number:
                self._keep(learner)

    def _keep(self, learner: Learner) -> None:
        self.checkpoint.save(learner, self.attempts, self.meter, self.started)

    def _write(self) -> list[Record]:
        """Save what is known of every lane; its checkpoint goes when all have come to a result."""
        made, failures = [], []
        learner, results, lanes = self.learner, self.results, len(self.lanes)
        fused = None if learner is None else learner.engine.fused_work()
        for index, attempt in enumerate(self.attempts):
            r = make_record(self.job, attempt, index, lanes, self.meter, learner, results, self.started, fused)
            made.append(r)
            if r.status == status.INTERRUPTED and self.store.finished(r.identity):
                continue  # a part does not replace the whole that --force was to repeat
            if learner is not None and results is not None:
                save_arrays(self.store, r.identity, self.job, learner, results, index)
            try:
                self.store.save(r)
            except StoreError as error:  # each of the others must be kept too
                failures.append(str(error))
        if failures:
            raise StoreError("; ".join(failures))
        if all(r.status in status.FINAL for r in made):
            self.checkpoint.remove()
        return made

    def _skip(self, reason: str) -> list[Record]:
        self.report.say(f"{self.job.name}: skipped, {reason}")
        self.attempts[:] = [Attempt(lane, status=status.SKIPPED, reason=reason) for lane in self.lanes]
        self.results = None
        return self._write()

    def _tell(self, made: list[Record]) -> None:
        errors = [r.metrics.get(PRIMARY) for r in made]
        shown = ", ".join("not finite" if e is None or not math.isfinite(e) else f"{e:.3g}" for e in errors)
        seconds = made[0].costs.seconds.get("train", 0.0) * len(made)
        self.report.say(f"{self.job.name}: {PRIMARY} {shown} on test data, {seconds:.1f} s of training")


def _judge(attempts: list[Attempt], results: Evaluation) -> None:
    """A model that cannot be rolled out has diverged, even if its training loss has not."""
    for attempt, measured in zip(attempts, results.metrics, strict=True):
        if attempt.status == status.FINISHED and not math.isfinite(attempt.best):
            attempt.status, attempt.reason = status.DIVERGED, "no checkpoint had a finite validation error"
        elif attempt.status == status.FINISHED and not math.isfinite(measured[PRIMARY] or 0.0):
            attempt.status, attempt.reason = status.DIVERGED, "the rollouts of test data are not finite"
        if not math.isfinite(attempt.best):
            measured.clear()  # the weights that were tested are untrained ones


def _metrics() -> dict[str, Measure]:
    return {name: metric_registry.load(name)() for name in metric_registry.names()}


def _point(progress: Progress, index: int, error: float, test: dict[str, float]) -> Point:
    return Point(
        step=progress.step,
        samples=progress.samples,
        flop=progress.flop[index],
        seconds=progress.seconds,
        energy_j=progress.energy_j,
        train_loss=_finite(progress.loss[index]),
        error=_finite(error),
        test={name: _finite(value) for name, value in test.items()},
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _extend(attempt: Attempt, point: Point, tracked: Any, trains_by_loss: bool) -> None:
    if attempt.status == status.DIVERGED:
        return  # its curve ends where it diverged
    if point.error is not None:
        attempt.best = min(attempt.best, point.error)
    attempt.curve.append(point)
    tracked.log(
        {"step": point.step, "flop": point.flop, "train/loss": point.train_loss, "val/error": point.error,
         "samples": point.samples, "energy_j": point.energy_j, "train_s": point.seconds}
        | {f"test/{name}": value for name, value in point.test.items()}
    )  # fmt: skip
    if trains_by_loss and point.step and point.train_loss is None:
        attempt.status, attempt.reason = status.DIVERGED, f"the training loss was not finite by step {point.step}"


def _state(progress: Progress, attempts: list[Attempt]) -> State:
    best = float(np.median([a.best for a in attempts]))
    joules = None if progress.energy_j is None else progress.energy_j * len(attempts)
    flop, seconds = float(sum(progress.flop)), progress.seconds * len(attempts)
    return State(progress.fraction, progress.step, _finite(best), flop, seconds, joules)


@contextmanager
def _out_of_memory(attempts: list[Attempt]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Each framework has its own class for this, and only backends import frameworks.
        if (
            not isinstance(error, MemoryError)
            and "RESOURCE_EXHAUSTED" not in str(error)
            and "out of memory" not in str(error)
        ):
            raise
        for attempt in attempts:
            attempt.status, attempt.reason = status.OUT_OF_MEMORY, str(error).split("\n")[0][:200]
