"""A task: a system (or the user's data) with a data protocol, and what every model is given of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import UserError
from experiments.first_guess import first_guess
from experiments.trajectories import DataError, Segments, Trajectories, split
from hardware.devices import host_info
from learners.backends.base import Points
from learners.base import TaskInfo
from physics_models.base import System

NOISE_STREAM = 2**32  # beyond any trajectory's own stream of initial states


@dataclass(frozen=True)
class Protocol:
    """How data are drawn from a system. Times are in the system's own units.

    `n_train`, `n_val`, `n_test` trajectories of length `horizon`, sampled every `spacing`; `noise`: standard deviation
    of the observation noise on training states, relative to each variable's own; `data_seed`: the root of all draws.
    """

    n_train: int = 512
    n_val: int = 64
    n_test: int = 64
    horizon: float = 10.0
    spacing: float = 0.1
    noise: float = 0.0
    data_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_train", "n_val", "n_test", "horizon", "spacing"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, but it is {getattr(self, name)}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be 0 or more, but it is {self.noise}")
        if self.spacing > self.horizon:
            raise ValueError(f"spacing must be at most the horizon ({self.horizon}), but it is {self.spacing}")
        if self.data_seed < 0:
            raise ValueError(f"data_seed must be 0 or more, but it is {self.data_seed}")

    @property
    def times(self) -> np.ndarray:
        return np.arange(round(self.horizon / self.spacing) + 1) * self.spacing


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
    results must know of the data.
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

    @cached_property
    def info(self) -> TaskInfo:
        """Scales by variable, measured on the training data only."""
        return _info(self.train, self.system, self.exact)

    @cached_property
    def scales(self) -> TaskInfo:
        """The same without observation noise where that is known: what errors are measured in."""
        return self.info if self.clean_train is None else _info(self.clean_train, self.system, self.exact)

    @cached_property
    def horizon(self) -> float:
        """The time over which the primary error is really measured: one unit, or all that validation and test have."""
        return min(self.unit, *(_longest(data) for data in (self.val, self.test)))

    def points(self, window: int) -> Points:
        """The training data as flat points, with the start of every window of `window` intervals."""
        inside = self.train.inside
        first = np.concatenate([[0], np.cumsum(self.train.lengths)[:-1]])
        rows, starts = self.train.window_starts(window)
        # Differences of absolute times are taken here, in double precision: single precision cannot hold, say, seconds
        # since 1970 to better than a minute.
        times = self.train.times - self.train.times[:, :1]
        lengths = np.nan_to_num(np.diff(times, axis=1, append=np.nan))
        return Points(times[inside], lengths[inside], self.train.y[inside], first[rows] + starts)

    @cached_property
    def segments(self) -> dict[str, Segments]:
        """Validation and test data cut into stretches of one time unit, each predicted from its first point."""
        found = {}
        for name in ("val", "test"):
            data = getattr(self, name)
            # Data sampled more coarsely than the unit still has one-interval predictions to be judged by.
            found[name] = data.segments(max(self.horizon, float(np.nanmin(np.diff(data.times, axis=1)))))
        return found


def _info(train: Trajectories, system: System | None, exact: bool) -> TaskInfo:
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

    return TaskInfo(
        state_shape=train.state_shape,
        variables=train.variables,
        interval=float(np.median(dt)),
        mean=inside.mean(axis=axes),
        std=positive(std, rounding),
        rate_std=positive(np.sqrt(np.mean((step / dt) ** 2, axis=axes)), rounding / np.median(dt)),
        step_std=positive(np.sqrt(np.mean(step**2, axis=axes)), rounding),
        system=system,
        exact=exact,
    )


def _longest(data: Trajectories) -> float:
    return float(np.nanmax(data.times - data.times[:, :1]))


def simulated(
    name: str, system: System, protocol: Protocol, cache: Path | None, say: Callable[[str], None] = lambda text: None
) -> Task:
    """Draw, simulate (or find in the cache) and split."""
    from physics_models.cache import reference
    from physics_models.simulate import SimulationError

    # Test and validation first: more training data then leave them as they are.
    ends = np.cumsum([protocol.n_test, protocol.n_val, protocol.n_train])
    _check_size(name, system, protocol, int(ends[-1]))
    say(f"simulating {ends[-1]} reference trajectories of {name} (or finding them in the cache)")
    try:
        found = reference(system, protocol.data_seed, int(ends[-1]), protocol.times, cache)
    except SimulationError as problem:
        raise UserError(f"task {name}: {problem}") from None
    blocks = np.split(found.y, ends[:-1])
    parts = {
        part: Trajectories.common(protocol.times, y, system.variables)
        for part, y in zip(("test", "val", "train"), blocks, strict=True)
    }
    clean = parts["train"]
    if protocol.noise:
        axes = tuple(range(clean.y.ndim - 1))
        rng = np.random.default_rng([protocol.data_seed, NOISE_STREAM])
        noise = protocol.noise * clean.y.std(axis=axes) * rng.standard_normal(clean.y.shape)
        parts["train"] = replace(clean, y=clean.y + noise)
    facts = {
        "n_train": protocol.n_train,
        "time_unit": "the system's time unit",
        "noise": protocol.noise,
        "reference_error": found.refinement_error,
    }
    task = Task(name, system, True, **parts, unit=system.time_scale, clean_train=clean, facts=facts)
    facts["horizon"] = f"{task.horizon:.3g} time units"
    return task


def _check_size(name: str, system: System, protocol: Protocol, count: int) -> None:
    """Refuse at once what would fill the memory after hours."""
    points = round(protocol.horizon / protocol.spacing) + 1
    # Held at one time: the solutions at two tolerances, their difference, and what the splits copy.
    needed, memory = 4 * 8 * count * points * math.prod(system.state_shape), host_info()["memory_bytes"]
    if memory and needed > memory:
        raise UserError(
            f"task {name}: {count} trajectories of {points} points need about {needed / 1e9:.3g} GB of memory, more "
            f"than the {memory / 1e9:.3g} GB here: lower task.n_train or task.horizon, or raise task.spacing"
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
