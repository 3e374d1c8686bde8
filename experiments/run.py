"""One model on one task for some seeds: train within the budget, evaluate, and leave one record a seed."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from experiments import record as status
from experiments.errors import UserError
from experiments.evaluate import (
    PRIMARY,
    Evaluation,
    test_results,
    validation_errors,
    validation_predictions,
)
from experiments.job import Attempt, Job
from experiments.make_record import make_record, save_arrays
from experiments.metrics.base import Metric
from experiments.metrics.discovery import metrics as metric_registry
from experiments.progress import Reporter, State
from experiments.record import Point, Record
from experiments.store import Store, StoreError
from experiments.tracking import Tracker
from hardware import energy
from hardware.devices import peak_memory_bytes
from hardware.meter import Meter
from learners.learner import BudgetError, Learner, Progress

LOSS_TRAINED = ("gradient", "gauss_newton")


class Interrupted(BaseException):
    """A signal asked to stop; what was measured has been kept."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        self.kept = 0


def run(
    job: Job, seeds: Sequence[int], store: Store, tracker: Tracker, report: Reporter, force: bool = False
) -> list[Record]:
    """Records of all seeds, from the store where they are finished, else by running them together now."""
    seeds = seeds if job.model.stochastic else [0]  # a model without a draw of its own has one result
    with ExitStack() as locks:
        for name in sorted(job.identity(seed) for seed in seeds):
            if not locks.enter_context(store.lock(name)):
                force = False  # the other process has just done what was asked for
        found = {} if force else {seed: r for seed in seeds if (r := store.finished(job.identity(seed)))}
        missing = [seed for seed in seeds if seed not in found]
        if found:
            names = ", ".join(str(seed) for seed in found)
            report.say(f"{job.name}: already finished for seed {names} (--force runs it again)")
        # Seeds whose steps cost differently cannot share a program without paying for each other, and a budget would
        # stop them together: they run one after another, each result its own.
        groups = [missing] if job.model.has_fixed_cost else [[seed] for seed in missing]
        try:
            for group in groups if missing else []:
                for r in _execute(job, group, store, tracker, report):
                    found[r.seed] = r
        except Interrupted as stop:
            stop.kept += len(found)
            raise
    return [found[seed] for seed in seeds]


def _execute(job: Job, seeds: list[int], store: Store, tracker: Tracker, report: Reporter) -> list[Record]:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    attempts = [Attempt(seed) for seed in seeds]
    reader = energy.best(job.device, lambda: time.process_time() - tracker.cpu_seconds())  # tracking is not the run's
    meter = Meter(reader, peak_of_device=lambda: peak_memory_bytes(job.device, job.tree["backend"]), idle=job.idle)

    def write(learner: Learner | None, results: Evaluation | None) -> list[Record]:
        made, failures = [], []
        fused = None if learner is None else learner.engine.fused_work()
        for index, attempt in enumerate(attempts):
            r = make_record(job, attempt, index, len(seeds), meter, learner, results, started, fused)
            made.append(r)
            if r.status == status.INTERRUPTED and store.finished(r.identity):
                continue  # a part does not replace the whole that --force was to repeat
            if learner is not None and results is not None:
                save_arrays(store, r.identity, job, learner, results, index)
            try:
                store.save(r)
            except StoreError as error:  # each of the others must be kept too
                failures.append(str(error))
        if failures:
            raise StoreError("; ".join(failures))
        return made

    def skip(reason: str, learner: Learner | None = None) -> list[Record]:
        report.say(f"{job.name}: skipped, {reason}")
        attempts[:] = [Attempt(seed, status=status.SKIPPED, reason=reason) for seed in seeds]
        return write(learner, None)

    if reason := job.model.skip(job.task.info, job.tree["backend"]):
        return skip(reason)
    tracked = [
        tracker.run(name=f"{job.name}-{seed}", group=job.task.name, job_type=job.name, config=job.config(seed))
        for seed in seeds
    ]
    learner: Learner | None = None
    results: Evaluation | None = None
    ended = "failed"
    try:
        with _out_of_memory(attempts):
            learner = job.learner(seeds)
            report.say(f"{job.name}: {learner.parameters} parameters; compiling for {job.device.kind}")
            with meter.phase("compile"):
                learner.compile()
            _train(job, learner, attempts, meter, report, tracked)
            learner.engine.use_best()
            with meter.phase("evaluate"):
                measured = test_results(learner, job.task, _metrics())
            with meter.phase("infer"):
                validation_predictions(learner, job.task)
            _judge(attempts, measured)
            results = measured  # from here on an interruption finds everything measured
            made = write(learner, results)
            for run_, r in zip(tracked, made, strict=True):
                run_.summary({**r.metrics, "status": r.status, "train_flop": r.costs.train_flop})
            ended = "finished"
            _tell(report, job, made)
            return made
        return write(learner, None)  # out of memory
    except Interrupted as stop:
        if results is None:
            for attempt in attempts:
                attempt.status, attempt.reason = status.INTERRUPTED, "stopped by a signal"
        if attempts[0].last is not None:
            stop.kept = len(write(learner, results))
        raise
    except BudgetError as error:
        if job.required:
            raise UserError(f"{job.name}: {error}") from None
        return skip(str(error), learner)
    finally:
        for run_ in tracked:
            run_.finish(ended)


def _judge(attempts: list[Attempt], results: Evaluation) -> None:
    """A model that cannot be rolled out has diverged, even if its training loss has not."""
    for attempt, measured in zip(attempts, results.metrics, strict=True):
        if attempt.status == status.FINISHED and not math.isfinite(attempt.best):
            attempt.status, attempt.reason = status.DIVERGED, "no checkpoint had a finite validation error"
        elif attempt.status == status.FINISHED and not math.isfinite(measured[PRIMARY]):
            attempt.status, attempt.reason = status.DIVERGED, "the rollouts of test data are not finite"
        if not math.isfinite(attempt.best):
            measured.clear()  # the weights that were tested are untrained ones


def _metrics() -> dict[str, Metric]:
    return {name: metric_registry.load(name)() for name in metric_registry.names()}


def _train(
    job: Job, learner: Learner, attempts: list[Attempt], meter: Meter, report: Reporter, tracked: list[Any]
) -> None:
    """Train to the end of the budget, adding a point to every seed's curve at each checkpoint."""
    primary = _metrics()[PRIMARY]
    with report.training(job.name) as show:
        for progress in learner.fit(job.budget, meter):
            for attempt in attempts:
                attempt.last = progress
            if progress.checkpoint:
                with meter.phase("evaluate"):
                    errors = validation_errors(learner, job.task, primary)
                learner.engine.keep_best(np.array([e < a.best for e, a in zip(errors, attempts, strict=True)]))
                for index, (attempt, error) in enumerate(zip(attempts, errors, strict=True)):
                    _checkpoint(attempt, index, progress, error, tracked[index], job.model.learning in LOSS_TRAINED)
            best = float(np.median([a.best for a in attempts]))
            joules = None if progress.energy_j is None else progress.energy_j * len(attempts)
            show(
                State(
                    progress.fraction,
                    progress.step,
                    best if math.isfinite(best) else None,
                    float(sum(progress.flop)),
                    progress.seconds * len(attempts),
                    joules,
                )
            )
            if all(a.status == status.DIVERGED for a in attempts):
                return


def _checkpoint(
    attempt: Attempt, index: int, progress: Progress, error: float, tracked: Any, trains_by_loss: bool
) -> None:
    if attempt.status == status.DIVERGED:
        return  # its curve ends where it diverged
    loss = progress.loss[index]
    attempt.best = min(attempt.best, error)
    point = Point(
        step=progress.step,
        samples=progress.samples,
        flop=progress.flop[index],
        seconds=progress.seconds,
        energy_j=progress.energy_j,
        train_loss=loss if math.isfinite(loss) else None,
        error=error if math.isfinite(error) else None,
    )
    attempt.curve.append(point)
    tracked.log(
        {"step": point.step, "flop": point.flop, "train/loss": point.train_loss, "val/error": point.error,
         "energy_j": point.energy_j, "train_s": point.seconds}
    )  # fmt: skip
    if trains_by_loss and progress.step and not math.isfinite(loss):
        attempt.status, attempt.reason = status.DIVERGED, f"the training loss was not finite by step {progress.step}"


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


def _tell(report: Reporter, job: Job, made: list[Record]) -> None:
    errors = [r.metrics.get(PRIMARY) for r in made]
    shown = ", ".join("not finite" if e is None or not math.isfinite(e) else f"{e:.3g}" for e in errors)
    seconds = made[0].costs.seconds.get("train", 0.0) * len(made)
    report.say(f"{job.name}: {PRIMARY} {shown} on test data, {seconds:.1f} s of training")
