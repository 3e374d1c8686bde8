"""The error that a wrong prior alone induces: the told equations solved exactly, against the truth."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.errors import UserError
from experiments.evaluate import MAX_SEGMENTS, PRIMARY, one_step_segments, thin
from experiments.metrics.one_step_nrmse import OneStepNrmse
from experiments.metrics.rollout_nrmse import RolloutNrmse
from experiments.study.spec import Study
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.base import Map, System
from physics_models.priors.base import Prior
from physics_models.priors.discovery import priors
from physics_models.simulate import SimulationError, simulate
from physics_models.syntax import canonical

if TYPE_CHECKING:
    from experiments.progress import Reporter

log = logging.getLogger("experiments")

EXPECTED = (UserError, ValueError, OSError, MemoryError, SimulationError)  # that a floor is not known for it
ONE_STEP = "one_step_nrmse"
METRICS = (PRIMARY, ONE_STEP)


def floor(task: Task, prior: Prior) -> dict[str, float]:
    """The test errors "rollout_nrmse" and "one_step_nrmse" of the equations that a prior tells, solved to 1e-10.

    They are those of a hard prior (told equations, nothing learned) with a perfect solver: what cannot be got below
    without training anything. To first order in delta the error of a state after a time h is delta times the integral
    over h of the propagated field error, so floors are proportional to delta while they are small. As for every model,
    time counts from the start of each test trajectory. Infinite where the told equations blow up.

    Raises ValueError for data whose true equations are not known, or that hold chance of their own, and SimulationError
    where there is no trustworthy solution for another reason than that it ends.
    """
    chance = task.source is not None and task.source.protocol.process_noise > 0
    _refuse(task.name, type(task.system) if task.system is not None and task.exact else None, chance)
    assert task.system is not None  # for the type checker
    unit, steps = thin(task.segments["test"], 4 * MAX_SEGMENTS), thin(one_step_segments(task.test))
    told = prior.tell(task.system)
    timed = _depends_on_time(told, steps.y[:, 0])
    found = {}
    for metric, name, segments in ((RolloutNrmse(), PRIMARY, unit), (OneStepNrmse(), ONE_STEP, steps)):
        clock = task.clock(segments, task.test, told=True) if timed else None
        try:
            found[name] = metric(task, segments, _to_its_end(told, segments, clock))
        except SimulationError as problem:
            if problem.stopped_at is None:
                raise
            found[name] = float("inf")
    return found


def floors(task: Task, kind: str, deltas: Iterable[float], **options: Any) -> list[dict[str, Any]]:
    """Rows of a table: task, kind, delta and the errors of `floor`; `options` are the prior's."""
    found = [(delta, floor(task, priors.load(kind)(delta=delta, **options))) for delta in deltas]
    return [{"task": task.name, "kind": kind, "delta": delta, **errors} for delta, errors in found]


def study_floors(
    study: Study, kept: Iterable[Mapping[str, Any]] = (), report: Reporter | None = None
) -> list[dict[str, Any]]:
    """The floors of every prior in a study, by task and data draw, simulated (or from the cache): see `floors`.

    A row also has "condition", as records of the study have it, "data_seed", and two of `floor_key`: "key", and, the
    same for all data draws, "floor". Rows of before that are `kept` and whose key is the same are taken over, and
    nothing is simulated for them. Where there is no floor, a row has the "reason" in place of errors: whatever fails,
    the other rows are there. `report` is told of each.
    """
    from experiments.prior import prior_config, prior_from

    known = {row.get("key"): row for row in kept if all(isinstance(row.get(name), int | float) for name in METRICS)}
    told: dict[str, dict[str, Any]] = {}
    for tree in told_trees(study):
        told.setdefault(repr(tree["task"]) + repr(prior_from(prior_config(tree, True))), tree)
    held = _Held()
    rows = []
    for number, tree in enumerate(told.values(), 1):
        options = prior_config(tree, True)
        prior = prior_from(options)
        row = {
            "task": tree["task"]["name"],
            "data_seed": tree["task"]["data_seed"],
            "kind": tree["prior"]["kind"],
            "delta": prior.delta,
            "condition": study.condition({**tree, "prior": options}),
            "floor": floor_key({**tree["task"], "data_seed": None}, options),
            "key": floor_key(tree["task"], options),
        }
        if row["key"] in known:
            rows.append(row | {name: known[row["key"]][name] for name in METRICS})
            continue
        if report is not None:
            what = f"{row['task']}, {row['kind']}, delta={row['delta']:g}"
            report.say(f"floor {number} of {len(told)}: {what}")
        try:
            rows.append(row | floor(held.task(tree), prior))
        except Exception as error:  # a file that is gone, a system that its own data refute, memory
            if not isinstance(error, EXPECTED):
                log.warning("the floor of %s, %s", row["task"], row["kind"], exc_info=True)  # a bug keeps its traceback
            rows.append(row | {"reason": " ".join(str(error).split()) or type(error).__name__})
    return rows


class _Held:
    """The task whose floors are being computed: one at a time, since they may be large."""

    def __init__(self) -> None:
        self._data, self._task = "", None

    def task(self, tree: dict[str, Any]) -> Task:
        """Raises ValueError, before anything is simulated, for a task of a kind that has no floors."""
        from experiments.config import settings
        from experiments.main_job import load_task
        from experiments.progress import Reporter
        from physics_models.discovery import systems

        system = None if "path" in tree["task"] else systems.load(tree["task"]["name"])
        _refuse(tree["task"]["name"], system, tree["task"].get("process_noise", 0) > 0)
        if self._task is None or self._data != repr(tree["task"]):
            self._data, self._task = repr(tree["task"]), None
            self._task = load_task(settings(tree), Reporter(quiet=True))
        return self._task


def _refuse(name: str, system: type[System] | None, chance: bool) -> None:
    """Raises ValueError for data whose true equations are not known, or that hold chance of their own."""
    if system is None:
        raise ValueError(f"the true equations of the task must be known, but those of {name} are not")
    if issubclass(system, Map):
        raise ValueError(f"{name} steps in time and by chance: it has no floor that an exact solution could tell")
    if chance:
        raise ValueError(f"task.process_noise adds chance to {name}: what it adds to errors no prior is to blame for")


def floor_key(task: Mapping[str, Any], prior: Mapping[str, Any]) -> str:
    """A hash of all that decides a floor: the configurations of the task and of the prior, the code, the libraries."""
    from experiments.identity import code_hash, versions
    from physics_models.discovery import systems

    system = () if "path" in task else (systems.load(task["name"]),)
    own = canonical(Path(__file__).read_text(encoding="utf-8"))
    parts = (dict(task), dict(prior), code_hash((*system, priors.load(prior["kind"]), Prior)), own, versions())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def told_trees(study: Study) -> Iterator[dict[str, Any]]:
    """The configurations of a study whose models are told a prior that is not the default, by task."""
    from experiments.prior import prior_config
    from experiments.study.expand import shapes
    from learners.discovery import models

    trees = [shape.tree for shape in shapes(study)]
    for tree in sorted(trees, key=lambda tree: repr(tree["task"])):
        if prior_config(tree, models.load(tree["model"]["name"]).takes_prior):
            yield tree


def _depends_on_time(system: System, y: np.ndarray) -> bool:
    """Whether the rates at states y are others a while later; what the system says of itself may be the truth's."""
    with np.errstate(all="ignore"):
        return not np.array_equal(system.field(0.0, y), system.field(system.time_scale / 7, y), equal_nan=True)


def _to_its_end(system: System, segments: Segments, clock: np.ndarray | None) -> np.ndarray:
    """Predictions (S, P, *state) of segments, of which each is solved no further than it goes where others go on."""
    try:
        return _solved(system, segments, clock)
    except SimulationError as problem:
        if problem.stopped_at is None:
            raise
    last = segments.mask.sum(axis=1)
    out = np.empty_like(segments.y)
    for points in np.unique(last):  # as many as there are lengths: data that end early are cut where they blow up
        rows = last == points
        out[rows] = _solved(system, segments.select(rows), None if clock is None else clock[rows])
    return out


def _solved(system: System, segments: Segments, clock: np.ndarray | None) -> np.ndarray:
    """Predictions of segments, each from its first point, by one solution on the times of all; where the time matters
    at which they begin, `clock`, by one for each of these."""
    after = np.where(segments.mask, segments.times - segments.times[:, :1], 0.0)
    # Differences of times differ by rounding between segments; a millionth of the shortest interval is no difference.
    shortest = float(np.diff(after, axis=1)[segments.mask[:, 1:]].min())
    keys = np.rint(after / (1e-6 * shortest)).astype(np.int64)
    grid, first = np.unique(keys.ravel(), return_index=True)
    times, y0 = after.ravel()[first], segments.y[:, 0]
    begin = np.zeros(len(y0)) if clock is None else np.rint(clock / (1e-6 * shortest)) * (1e-6 * shortest)
    y = np.empty((len(y0), len(times), *y0.shape[1:]))
    for start in np.unique(begin):
        y[begin == start] = simulate(system, y0[begin == start], start + times).y
    return y[np.arange(len(y))[:, None], np.searchsorted(grid, keys)]
