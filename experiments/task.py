"""A task: a system (or the user's data) with a data protocol, and what every model is given of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.corruption import observed, seen
from experiments.drawing import Source
from experiments.errors import UserError
from experiments.first_guess import first_guess
from experiments.noise_floor import noise_floor
from experiments.protocol import Protocol
from experiments.trajectories import DataError, Segments, Trajectories, split
from hardware.devices import host_info
from learners.backends.base import Points
from learners.base import Question, TaskInfo
from physics_models.base import System
from physics_models.interventions import InterventionError
from physics_models.solution import SimulationError

__all__ = ["DataFile", "Protocol", "Task", "content_hash", "from_file", "refuse_too_much", "simulated"]


@dataclass(frozen=True)
class DataFile:
    """The user's own data. docs/data.md and configs/task/trajectories.yaml say what each option means."""

    path: str = "???"
    time: str = "time"
    trajectory: str = "trajectory"
    variables: tuple[str, ...] = ()
    missing: str = "drop"
    split: str = "auto"
    unit: float | None = None
    data_seed: int = 0
    equations: str | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a data file, but there is none: give task.path=FILE (see docs/data.md)")
        for name, valid in (("missing", ("drop", "refuse")), ("split", ("auto", "trajectory", "time"))):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} must be one of {', '.join(valid)}, but it is {getattr(self, name)!r}")
        if self.unit is not None and not self.unit > 0:
            raise ValueError(f"unit must be above 0, but it is {self.unit}")
        if self.data_seed < 0:
            raise ValueError(f"data_seed must be 0 or more, but it is {self.data_seed}")


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that is equal for all models. Truth in `val` and `test` is free of noise where that is known.

    `unit`: the time over which the primary error is measured, the system's time scale. `facts`: what a reader of the
    results must know of the data. `system`: the equations of what is observed; None where nobody knows them and where
    some variables are `hidden`, which its equations need; `origin`: the class of the system that the data come from.
    `held` (R, *state): entries of the training trajectories that an experimenter held. `part`: training data 0, 1, …
    and what was held in them, where there are more than `train`, which is part 0. `source`: where simulated data are
    from. `question`: what is asked about the states, where that is all that models are asked.
    """

    name: str
    system: System | None
    exact: bool
    train: Trajectories
    val: Trajectories
    test: Trajectories
    unit: float
    clean_train: Trajectories | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    origin: type | None = None
    held: np.ndarray | None = None
    part: Callable[[int], tuple[Trajectories, np.ndarray | None]] | None = None
    source: Source | None = None
    question: Question | None = None

    @cached_property
    def info(self) -> TaskInfo:
        """Scales by variable, measured on the training data only."""
        return _info(self.train, self.system, self.exact, self.hidden, self.question)

    @cached_property
    def scales(self) -> TaskInfo:
        """The same without observation noise where that is known: what errors are measured in."""
        return self.info if self.clean_train is None else _info(self.clean_train, self.system, self.exact, self.hidden)

    @cached_property
    def spread(self) -> np.ndarray:
        """(D,): `scales.std`, but of the places of agents that no place holds (translation is a symmetry) the standard
        deviation about the centre of their group at the same time: by how much they differ from each other."""
        std, system = self.scales.std, self.system
        if system is None or system.structure.agents in (None, 1) or "translation" not in system.structure.symmetries:
            return std
        train = self.train if self.clean_train is None else self.clean_train
        y = train.y[train.inside][..., : system.structure.space_dim]
        about = (y - y.mean(axis=-2, keepdims=True)).std(axis=tuple(range(y.ndim - 1)))
        return np.concatenate([np.where(about > 0, about, 1.0), std[..., system.structure.space_dim :]], axis=-1)

    @cached_property
    def horizon(self) -> float:
        """The time over which the primary error is really measured: one unit, or all that validation and test have."""
        return min(self.unit, *(_longest(data) for data in (self.val, self.test)))

    def points(self, window: int) -> Points:
        """The training data as flat points, with the start of every window of `window` intervals."""
        return _points(self.train, self.held, window)

    def parts(self, window: int) -> Callable[[int], Points] | None:
        """The same of part 0, 1, … of the training data, each drawn or read when it is asked for; None if there is one
        part only."""
        if self.part is None:
            return None
        draw = self.part
        return lambda number: _points(*draw(number), window)

    def clock(self, segments: Segments, data: Trajectories, told: bool = False) -> np.ndarray | None:
        """(S,) when each segment of `data` begins, since the start of its trajectory; None where that does not matter.

        Equations that depend on time are the only ones that ask, be they the true ones or those that a prior has
        `told`, which may be wrong about it. (For others it would change the rounding of results.)
        """
        if self.system is None or ("time" in self.system.structure.symmetries and not told):
            return None
        return segments.times[:, 0] - data.times[segments.trajectory, 0]

    @cached_property
    def segments(self) -> dict[str, Segments]:
        """Validation and test data cut into stretches of one time unit, each predicted from its first point."""
        found = {}
        for name in ("val", "test"):
            data = getattr(self, name)
            # Data sampled more coarsely than the unit still has one-interval predictions to be judged by.
            found[name] = data.segments(max(self.horizon, float(np.nanmin(np.diff(data.times, axis=1)))))
        return found


def _points(train: Trajectories, held: np.ndarray | None, window: int) -> Points:
    inside = train.inside
    first = np.concatenate([[0], np.cumsum(train.lengths)[:-1]])
    rows, starts = train.window_starts(window)
    # Differences of absolute times are taken here, in double precision: single precision cannot hold, say, seconds
    # since 1970 to better than a minute.
    times = train.times - train.times[:, :1]
    lengths = np.nan_to_num(np.diff(times, axis=1, append=np.nan))
    still = None if held is None else np.repeat(held, train.lengths, axis=0)
    return Points(times[inside], lengths[inside], train.y[inside], first[rows] + starts, still)


def _info(
    train: Trajectories, system: System | None, exact: bool, hidden: tuple[str, ...] = (), asked: Question | None = None
) -> TaskInfo:
    times, y = train.windows(1)
    step = y[:, 1] - y[:, 0]
    dt = np.diff(times, axis=1).reshape(-1, *(1,) * (y.ndim - 2))
    axes = tuple(range(step.ndim - 1))
    inside = train.y[train.inside]
    std = inside.std(axis=axes)
    if not np.isfinite(std).all():
        raise UserError("training states overflow: check the parameters or the horizon")

    # A variable that never changes has no scale but the rounding errors of its own size; 1 leaves it as it is.
    rounding = 1e-12 * np.abs(inside).max(axis=axes)

    def positive(scale: np.ndarray, least: np.ndarray) -> np.ndarray:
        return np.where(scale > least, scale, 1.0)

    std, step_std = positive(std, rounding), positive(np.sqrt(np.mean(step**2, axis=axes)), rounding)
    if asked is not None:  # answers count from 1/2, so that an error of 1 is that of knowing nothing
        std[-asked.answers :] = step_std[-asked.answers :]
    return TaskInfo(
        state_shape=train.state_shape,
        variables=train.variables,
        interval=float(np.median(dt)),
        mean=inside.mean(axis=axes),
        std=std,
        rate_std=positive(np.sqrt(np.mean((step / dt) ** 2, axis=axes)), rounding / np.median(dt)),
        step_std=step_std,
        system=system,
        exact=exact,
        hidden=hidden,
        question=asked,
    )


def _longest(data: Trajectories) -> float:
    return float(np.nanmax(data.times - data.times[:, :1]))


def simulated(
    name: str, system: System, protocol: Protocol, cache: Path | None, say: Callable[[str], None] = lambda text: None
) -> Task:
    """Draw, simulate (or find in the cache) and split. Raises UserError for what cannot be."""
    p = protocol
    source = Source(system, p, cache)
    count = p.n_test + p.n_val + p.n_train // p.shards
    _check_size(name, system, p, count)
    say(f"simulating {count} reference trajectories of {name} (or finding them in the cache)")
    try:
        p.check(system)
        test, val = (observed(data, p.hidden) for data in source.held_out())
        drawn = source.training()

        def later(part: int) -> tuple[Trajectories, np.ndarray | None]:
            # A shard that comes again is the same to the last bit: noise that is drawn anew could be averaged out.
            part = part % p.shards if p.shards > 1 else part
            try:
                return source.given(source.training(part), part)
            except SimulationError as problem:
                raise UserError(f"task {name}: part {part} of the training data: {problem}") from None

        train, held = source.given(drawn)
        floors = noise_floor(system, p, seen(drawn.passive, p, source.std), test, drawn.passive)
    except SimulationError as problem:
        cut = problem.stopped_at is not None and not p.active  # see Protocol
        hint = "; task.on_blow_up=cut keeps what comes before" if cut else ""
        raise UserError(f"task {name}: {problem}{hint}") from None
    except (DataError, InterventionError) as problem:
        raise UserError(f"task {name}: {problem}") from None
    except ValueError as problem:
        raise UserError(f"task.{problem}") from None
    facts = {
        "n_train": p.n_train,
        "time_unit": "the system's time unit",
        "noise": p.noise,
        "data_hash": content_hash(train, val, test),
        **source.facts,
        **floors,
    }
    hidden = tuple(variable for variable in system.variables if variable in p.hidden)
    task = Task(
        name, None if hidden else system, not hidden, train, val, test, system.time_scale,
        clean_train=observed(drawn.passive, p.hidden), facts=facts, hidden=hidden, origin=type(system), held=held,
        part=later if source.in_parts else None, source=source,
    )  # fmt: skip
    facts["horizon"] = f"{task.horizon:.3g} time units"
    return task


def content_hash(*parts: Trajectories) -> str:
    """Of the content of all data that a run sees at first. What comes later follows from it and the configuration."""
    return hashlib.sha256("".join(part.content_hash() for part in parts).encode()).hexdigest()[:32]


def _check_size(name: str, system: System, protocol: Protocol, count: int) -> None:
    points = round(protocol.horizon / protocol.spacing) + 1
    # Held at one time: the solutions at two tolerances, their difference, and what the splits copy.
    needed = 4 * 8 * count * points * math.prod(system.state_shape)
    refuse_too_much(
        name, f"{count} trajectories of {points} points", needed,
        "lower task.n_train or task.horizon, raise task.spacing, or keep the training data on disk in task.shards "
        "parts",
    )  # fmt: skip


def refuse_too_much(name: str, what: str, needed_bytes: int, instead: str) -> None:
    """Refuse at once what would fill the memory after hours. Raises UserError."""
    memory = host_info()["memory_bytes"]
    if memory and needed_bytes > memory:
        raise UserError(
            f"task {name}: {what} need about {needed_bytes / 1e9:.3g} GB of memory, more than the "
            f"{memory / 1e9:.3g} GB here: {instead}"
        )


def from_file(options: DataFile, equations: System | None, say: Callable[[str], None] = lambda text: None) -> Task:
    """The user's own data: read, checked and split; see docs/data.md."""
    from experiments.read_trajectories import read

    missing: Any = options.missing  # OmegaConf knows no Literal; DataFile has checked both
    by: Any = options.split
    try:
        data = read(options.path, options.time, options.trajectory, options.variables or None, missing)
        train, val, test = split(data, by=by, seed=options.data_seed)
    except DataError as error:
        raise UserError(str(error)) from None
    if equations is not None:
        if equations.state_shape != data.state_shape:
            raise UserError(
                f"task.equations needs states of shape {equations.state_shape} ({', '.join(equations.variables)}), but "
                f"the file has {data.state_shape} ({', '.join(data.variables)}); task.variables chooses the columns"
            )
        pairs = zip(data.variables, equations.variables, strict=True)
        say(f"{options.equations}: " + ", ".join(f"{column} is {variable}" for column, variable in pairs))
        equations = first_guess(equations, train)
    unit = options.unit or 5 * float(np.nanmedian(np.diff(data.times, axis=1)))
    facts: dict[str, Any] = {"n_train": train.count, "content": data.content_hash()}
    if equations is not None:
        facts["first_guess"] = equations.values
    task = Task("trajectories", equations, False, train, val, test, unit, facts=facts)
    facts["horizon"] = f"{task.horizon:.3g} of the data's time units"
    return task
