"""The main job: one model beside the reference rows on one task, then the table and the figure."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from experiments.config import REAL_DATA, Settings, data_file, model_from, protocol_from, system_from
from experiments.errors import UserError
from experiments.evaluate import PRIMARY
from experiments.progress import Reporter
from experiments.record import Record
from experiments.run import Interrupted, Job, run
from experiments.store import Store, StoreError
from experiments.task import Task, from_file, simulated
from experiments.tracking import resolve_mode, start
from experiments.trajectories import DataError
from hardware.devices import resolve
from learners.discovery import models
from physics_models.cache import default_cache_dir
from physics_models.discovery import systems

log = logging.getLogger("experiments")


def main_job(settings: Settings, report: Reporter, force: bool = False) -> tuple[list[Record], Store]:
    """Records of the model and of every reference, those already finished taken from the store."""
    tree = settings.tree
    store = Store(settings.runs)
    try:
        store.prepare()
    except StoreError as error:
        raise UserError(str(error)) from None
    try:
        device = resolve(tree["device"], tree["backend"])
        mode = resolve_mode(tree["tracking"]["mode"])
    except ValueError as error:  # DeviceError is one
        raise UserError(str(error)) from None
    before = time.perf_counter()
    task = load_task(settings, report)
    main = Job(
        task,
        settings.model,
        tree["model"],
        settings.budget,
        settings.recipe,
        device,
        tree,
        time.perf_counter() - before,
    )
    if tree["backend"] == "jax":
        from learners.backends.jax_engine import use_compilation_cache

        use_compilation_cache(default_cache_dir().parent / "jax")
    jobs = [*_references(main, settings), main]
    _check(jobs)
    tracker = start(mode, store.root / "tracking", tree["tracking"]["project"])
    records: list[Record] = []
    try:
        for job in jobs:
            records += run(job, settings.seeds, store, tracker, report, force)
        _track_comparison(tracker, settings, records, store)
    except StoreError as error:
        raise UserError(str(error)) from None
    except Interrupted as stop:
        stop.kept += len(records)
        raise
    finally:
        tracker.close()
    return records, store


def load_task(settings: Settings, report: Reporter) -> Task:
    """The task's data: simulated (or from the cache), or read from the user's file."""
    task = settings.tree["task"]
    if settings.task_name == REAL_DATA:
        options = data_file(task)
        report.say(f"reading {options.path}")
        return from_file(options, systems.load(options.equations)() if options.equations else None)
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
        jobs.append(replace(main, model=model_from(options), options=options, required=False))
    return jobs


def _check(jobs: Sequence[Job]) -> None:
    """Mistakes that only the task's data show, found before anything is trained."""
    try:
        jobs[-1].task.train.window_starts(jobs[-1].recipe.window)
    except DataError as error:
        raise UserError(f"training.window={jobs[-1].recipe.window}: {error}") from None
    for job in jobs:
        try:
            if not job.model.skip(job.task.info, job.tree["backend"]):
                job.model.count(job.task.info)
        except ValueError as error:
            raise UserError(f"model.{error}") from None


def _track_comparison(tracker: Any, settings: Settings, records: Sequence[Record], store: Store) -> None:
    """The final table and figure, as a tracked run of their own."""
    from reports.rows import compare
    from reports.tables import render

    tracked = tracker.run(
        name=f"{settings.task_name}-comparison", group=settings.task_name, job_type="comparison", config=settings.tree
    )
    lines = render(compare(records, settings.tree["targets"]), "csv").splitlines()
    import csv

    header, *rows = csv.reader(lines)
    tracked.table("comparison", header, rows)
    for path in draw(records, store, settings.runs / "comparison" / settings.task_name):
        if path.suffix == ".png":
            tracked.image("figure", path)
    tracked.finish()


def draw(records: Sequence[Record], store: Store, stem: Path) -> list[Path]:
    """The figure of these records, as PNG and SVG; none, with a warning, where it cannot be written."""
    from reports.figures import comparison_figure

    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        return comparison_figure(records, {r.identity: store.folder(r.identity) for r in records}, stem)
    except OSError as error:
        log.warning("the figure could not be written to %s: %s", stem.parent, error.strerror)
        return []


def as_json(records: Sequence[Record], store: Store, files: Sequence[Path]) -> str:
    """The result for scripts: every record, where it lies, and the figures."""
    body = {
        "primary_metric": PRIMARY,
        "records": [json.loads(r.to_json()) | {"path": str(store.folder(r.identity) / "record.json")} for r in records],
        "files": [str(path) for path in files],
    }
    return json.dumps(body, indent=1)
