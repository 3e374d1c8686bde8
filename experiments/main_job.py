"""The main job: one model beside the reference rows on one task, then the table and the figure."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments import detection
from experiments.config import Settings, data_file, detection_from, model_from, protocol_from, system_from
from experiments.config_tree import REAL_DATA
from experiments.errors import UserError
from experiments.evaluate import PRIMARY
from experiments.job import Job, Lane
from experiments.progress import Reporter
from experiments.record import REFERENCE, Record
from experiments.refusals import refuse_skipped
from experiments.run import Interrupted, run
from experiments.store import Store, StoreError
from experiments.task import Task, from_file, simulated
from experiments.tracking import ModeError, Tracker, resolve_mode, start
from experiments.trajectories import DataError
from hardware import energy
from hardware.devices import Device, DeviceError, resolve
from learners.discovery import models
from physics_models.cache import default_cache_dir
from physics_models.discovery import systems

log = logging.getLogger("experiments")


@dataclass(frozen=True)
class Outcome:
    """What the main job leaves: every row's records, where they lie, and the figure's files."""

    records: list[Record]
    store: Store
    files: list[Path]


def main_job(settings: Settings, report: Reporter, force: bool = False) -> Outcome:
    """Run the model and every reference, those already finished taken from the store; draw them together."""
    tree = settings.tree
    store = Store(settings.tree["runs"])
    records: list[Record] = []
    try:
        store.prepare()
        device = resolve(tree["device"], tree["backend"])
        tracker = start(resolve_mode(tree["tracking"]["mode"]), store.root / "tracking", tree["tracking"]["project"])
        tracker.warm()
        try:
            jobs = _jobs(settings, device, report)
            for job in jobs:
                records += _guarded(job, settings, store, tracker, report, force)
            files = draw(records, store, store.root / "comparison" / f"{settings.task_name}-{settings.model_name}")
            _track_comparison(tracker, settings, records, files)
        finally:
            tracker.close()
    except (StoreError, DeviceError, ModeError) as error:
        raise UserError(str(error)) from None
    except Interrupted as stop:
        stop.kept += len(records)
        raise
    return Outcome(records, store, files)


def _guarded(
    job: Job, settings: Settings, store: Store, tracker: Tracker, report: Reporter, force: bool
) -> list[Record]:
    """The job's records. A bug in a reference shows its traceback, but does not cost the user the model's own run."""
    try:
        lanes = [Lane(seed) for seed in settings.seeds]
        checkpoint = store.root / ".checkpoints" / job.identity(lanes[0])
        return run(job, lanes, store, tracker, report, force, checkpoint)
    except (UserError, StoreError):
        raise
    except Exception:
        if job.required:
            raise
        log.exception("the reference %s failed and is left out; the run goes on", job.name)
        return []


def _jobs(settings: Settings, device: Device, report: Reporter) -> list[Job]:
    """The references, then the model itself, on the task's data."""
    tree = settings.tree
    before = time.perf_counter()
    task = load_task(settings, report)
    seconds = time.perf_counter() - before
    if tree["backend"] == "jax":
        from learners.backends.jax_engine import use_compilation_cache

        use_compilation_cache(default_cache_dir().parent / "jax")
    main = Job(
        task, settings.model, tree["model"], settings.budget, settings.recipe, device, tree, seconds,
        idle=_idle(device, report),
    )  # fmt: skip
    jobs = [*_references(main, settings), main]
    _check(jobs)
    refuse_skipped(settings, main.model.skip(main.info, tree["backend"]))
    if main.model.learning in ("least_squares", "gauss_newton"):
        report.say(f"{main.name} has an end of its own: the budget does not stop it")
    return jobs


def _idle(device: Device, report: Reporter) -> energy.Idle | None:
    """The power of the resting device, where something measures it: a few seconds, once a command."""
    reader = energy.best(device)
    if not reader.method.startswith("measured"):
        return None
    report.say(f"measuring the idle power of {device.name}")
    return energy.measure_idle(reader)


def load_task(settings: Settings, report: Reporter) -> Task:
    """The task's data: simulated (or from the cache), or read from the user's file."""
    task = settings.tree["task"]
    if settings.task_name == REAL_DATA:
        options = data_file(task)
        report.say(f"reading {options.path}")
        return from_file(options, systems.load(options.equations)() if options.equations else None, report.say)
    if settings.task_name == detection.NAME:
        return detection.detection(system_from(detection.RULE, task["system"]), detection_from(task), report.say)
    return simulated(
        settings.task_name, system_from(settings.task_name, task["system"]), protocol_from(task), None, report.say
    )


def _references(main: Job, settings: Settings) -> list[Job]:
    """The reference rows that are not the model itself, with the model's solver where it has one."""
    jobs = []
    for name in settings.tree["references"]:
        if name == main.name:
            continue
        cls = models.load(name)
        options: dict[str, Any] = {"name": name, **{f.name: f.default for f in fields(cls)}}
        for key in ("solver", "steps", "rtol", "atol"):  # the integrator floor is that of the solver in use
            if key in options and key in main.options:
                options[key] = main.options[key]
        jobs.append(replace(main, model=model_from(options), options=options, required=False, role=REFERENCE))
    return jobs


def _check(jobs: Sequence[Job]) -> None:
    """Mistakes that only the task's data show, found before anything is trained."""
    try:
        jobs[-1].task.train.window_starts(jobs[-1].recipe.window)
    except DataError as error:
        raise UserError(f"training.window={jobs[-1].recipe.window}: {error}") from None
    for job in jobs:
        try:
            if not job.model.skip(job.info, job.tree["backend"]):
                job.model.count(job.info)
        except ValueError as error:
            raise UserError(f"model.{error}") from None


def _track_comparison(tracker: Tracker, settings: Settings, records: Sequence[Record], files: Sequence[Path]) -> None:
    """The final table and figure, as a tracked run of their own."""
    if tracker.off:
        return
    from reports.rows import compare
    from reports.tables import render

    tracked = tracker.run(
        name=f"{settings.task_name}-comparison", group=settings.task_name, job_type="comparison", config=settings.tree
    )
    header, *rows = csv.reader(render(compare(records, settings.tree["targets"]), "csv").splitlines())
    tracked.table("comparison", header, rows)
    for path in files:
        if path.suffix == ".png":
            tracked.image("figure", path)
    tracked.finish()


def draw(records: Sequence[Record], store: Store, stem: Path, mix_joules: bool = False) -> list[Path]:
    """The figure of these records, as PNG and SVG; none, with a warning, where it cannot be written."""
    from reports.figures import comparison_figure

    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        folders = {r.identity: store.folder(r.identity) for r in records}
        return comparison_figure(records, folders, stem, mix_joules=mix_joules)
    except OSError as error:
        log.warning("the figure could not be written to %s: %s", stem.parent, error.strerror)
        return []


def as_json(outcome: Outcome) -> str:
    """The result for scripts: every record, where it lies, and the figures."""
    folder = outcome.store.folder
    body = {
        "primary_metric": PRIMARY,
        "records": [
            json.loads(r.to_json()) | {"path": str(folder(r.identity) / "record.json")} for r in outcome.records
        ],
        "files": [str(path) for path in outcome.files],
    }
    return json.dumps(body, indent=1)
