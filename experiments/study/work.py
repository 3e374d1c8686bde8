"""What a worker does: the runs of one unit, each leaving a record that says which study it is part of."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments import record as status
from experiments.config import settings
from experiments.job import Job, Lane
from experiments.main_job import load_task
from experiments.progress import Reporter, State, log_to_console
from experiments.record import Record
from experiments.run import run
from experiments.store import Store
from experiments.study import failures
from experiments.study.devices import file_name, lock_folder
from experiments.study.failures import Failure
from experiments.study.folder import StudyFolder
from experiments.study.unit import Unit
from experiments.tracking import Run, Tracker, resolve_mode
from hardware import energy
from hardware.devices import Device, resolve
from physics_models.cache import default_cache_dir

IDLE_FOR_S = 900.0  # how long a measured idle power is taken to hold
EVERY_S = 1.0  # between two progress events
Emit = Callable[..., None]


def work(order: Mapping[str, Any], emit: Emit) -> Failure | None:
    """Run the unit of an order (see `supervise.Order`). None when every lane has come to a result."""
    log_to_console()
    unit = _unit(order["unit"])
    job = _job(order, unit)
    if tuple(job.identity(lane) for lane in unit.lanes) != unit.identities:
        return Failure(
            failures.MISTAKE,
            f"this machine would make other runs than were planned (here: {job.device.name}; the versions of libraries "
            "and the code count too): plan and run a study on machines of one kind",
        )
    emit("start", pid=os.getpid(), device=job.device.name)
    store = LabelledStore(order, unit, emit)
    tracking = job.tree["tracking"]
    tracker = GroupedTracker(resolve_mode(tracking["mode"]), store.root, tracking["project"], order["study"])
    tracker.warm()
    checkpoint = StudyFolder(store, order["folder"]).checkpoint(unit.key)
    try:
        made = run(job, unit.lanes, store, tracker, Events(emit), checkpoint=checkpoint)
    finally:
        tracker.close()
    short = [r for r in made if r.status == status.OUT_OF_MEMORY]
    return Failure(failures.OUT_OF_MEMORY, short[0].reason) if short else None


class LabelledStore(Store):
    """A store in which every record that is saved says what it is part of, and which tells that it was saved."""

    def __init__(self, order: Mapping[str, Any], unit: Unit, emit: Emit) -> None:
        super().__init__(order["root"])
        self._order, self._unit, self._emit = order, unit, emit

    def save(self, record: Record) -> Any:
        costs, packing = record.costs, self._order["packing"]
        if packing > 1:
            note = f"up to {packing} runs shared the device: its joules and seconds are not this run's alone"
            costs = replace(costs, energy_notes=(*costs.energy_notes, note))
        studies = {**record.studies, **self._order["study"]}
        path = super().save(replace(record, costs=costs, studies=studies, tuning=self._unit.tuning))
        error = record.metrics.get(self._order["metric"])
        error = error if error is not None and math.isfinite(error) else None
        self._emit("record", identity=record.identity, status=record.status, error=error)
        return path


class GroupedTracker(Tracker):
    """Tracking in which a study is one group of runs, and a run's name says its task."""

    def __init__(self, mode: Any, folder: Path, project: str, study: Mapping[str, str]) -> None:
        super().__init__(mode, folder / "tracking", project, 10.0)
        [self._study] = study

    def run(
        self, *, name: str, group: str, job_type: str, config: Mapping[str, Any] | None = None, tags: Iterable[str] = ()
    ) -> Run:
        name = f"{group}-{name}"
        return super().run(name=name, group=self._study, job_type=job_type, config=config, tags=[*tags, group])


class Events(Reporter):
    """Progress as events, at most one a second; what is said goes to the log."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit, self._last = emit, 0.0

    @contextmanager
    def training(self, label: str) -> Iterator[Any]:
        untold: State | None = None

        def show(state: State) -> None:
            nonlocal untold
            untold = state
            if time.monotonic() - self._last >= EVERY_S:
                tell()

        def tell() -> None:
            nonlocal untold
            if untold is not None:
                self._emit(
                    "progress", fraction=min(1.0, untold.fraction), step=untold.step, error=untold.error,
                    power_w=untold.power_w, seconds_left=untold.seconds_left,
                )  # fmt: skip
            self._last, untold = time.monotonic(), None

        yield show
        tell()  # where training ended


def _unit(raw: Mapping[str, Any]) -> Unit:
    lists = {name: tuple(raw[name]) for name in ("identities", "after")}
    return Unit(**{**raw, **lists, "lanes": tuple(Lane(**lane) for lane in raw["lanes"])})


def _job(order: Mapping[str, Any], unit: Unit) -> Job:
    """The unit's job on this machine, its data simulated or taken from the cache."""
    chosen = settings({**unit.tree, "seed": [unit.lanes[0].seed]})
    tree = chosen.tree
    device = resolve(tree["device"], tree["backend"])
    before = time.perf_counter()
    task = load_task(chosen, Reporter())
    seconds = time.perf_counter() - before
    if tree["backend"] == "jax":
        from learners.backends.jax_engine import use_compilation_cache

        use_compilation_cache(default_cache_dir().parent / "jax")
    return Job(
        task, chosen.model, tree["model"], chosen.budget, chosen.recipe, device, tree, seconds,
        required=unit.role != status.REFERENCE, role=unit.role, idle=_idle(device) if order["packing"] == 1 else None,
    )  # fmt: skip


def _idle(device: Device) -> energy.Idle | None:
    """The power of the resting device, where something measures it: we hold the device, and nobody else uses it.

    It takes seconds, so that what another unit has measured a short while ago is taken over.
    """
    reader = energy.best(device)
    if not reader.method.startswith("measured"):
        return None
    words = [os.uname().nodename, device.kind, device.name, os.environ.get("CUDA_VISIBLE_DEVICES", "")]
    path = lock_folder() / f"{file_name('-'.join(words))}.idle.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        if time.time() - path.stat().st_mtime < IDLE_FOR_S:
            return energy.Idle(**json.loads(path.read_text()))
    idle = energy.measure_idle(reader)
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(asdict(idle)))
    return idle
