"""What is shown of a task: a few of its trajectories, and what is known of where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from experiments.config import Settings, data_file, protocol_from, system_from
from experiments.config_tree import REAL_DATA
from experiments.errors import UserError
from experiments.protocol import Protocol
from experiments.trajectories import DataError
from physics_models.base import Map, Structure, System
from physics_models.solution import SimulationError

STARTS = 4
POINTS = 600  # smooth motion is solved at so many times: the task's own may be too few to draw
MOST_NUMBERS = 20_000_000  # of all states shown together: 160 MB
TRIES = 4


@dataclass(frozen=True, eq=False)
class Scene:
    """Trajectories `y` (R, T, *state) at `times` (T,); the first is the one whose motion is drawn.

    `system`: their equations, None for the user's own data. `notes`: what a reader of the picture must know.
    Of own data with agents, positions come first and velocities next, as in a system's states.
    """

    name: str
    times: np.ndarray
    y: np.ndarray
    variables: tuple[str, ...]
    system: System | None = None
    protocol: Protocol | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def structure(self) -> Structure:
        if self.system is not None:
            return self.system.structure
        if self.y.ndim < 4:
            return Structure()
        places, velocities = _motion(self.variables)
        return Structure(agents=self.y.shape[2], space_dim=len(places), order=2 if velocities else 1)

    @property
    def first(self) -> np.ndarray:
        """(T, *state) of the trajectory whose motion is drawn."""
        return self.y[0]

    @property
    def bodies(self) -> np.ndarray | None:
        """(T, N, D) of what moves in a plane or in space; one body where the state is that of a single one."""
        if self.structure.space_dim < 2:
            return None
        return self.first if self.structure.agents is not None else self.first[:, None]

    @property
    def time_label(self) -> str:
        return "time (the data's units)" if self.system is None else "time (time units)"


def scene_of(settings: Settings) -> Scene:
    """The trajectories of a task. Raises UserError where there are none."""
    task = settings.tree["task"]
    if settings.task_name == REAL_DATA:
        return _from_file(task)
    system, protocol = system_from(settings.task_name, task["system"]), protocol_from(task)
    times = _times(system, protocol)
    if STARTS * len(times) * np.prod(system.state_shape, dtype=float) > MOST_NUMBERS:
        raise UserError(
            f"show {settings.task_name} would hold {STARTS} trajectories of {len(times)} points of "
            f"{np.prod(system.state_shape)} numbers, more than {MOST_NUMBERS:.0e} in all: give a smaller system"
        )
    scene = Scene(settings.task_name, times, np.empty(0), system.variables, system, protocol)
    if protocol.process_noise:
        scene.notes.append(f"with process noise {protocol.process_noise:g}")
    if protocol.hidden:
        scene.notes.append(f"{', '.join(protocol.hidden)} hidden from models, shown here")
    return _simulated(scene, system, protocol)


def _simulated(scene: Scene, system: System, protocol: Protocol) -> Scene:
    """With its trajectories, up to where the first one blows up."""
    from physics_models.cache import reference

    times = scene.times
    for left in reversed(range(TRIES)):
        noise = {"process_noise": protocol.process_noise} if protocol.process_noise else {}
        try:
            found = reference(system, protocol.data_seed, STARTS, times, None, **noise)
        except ValueError as error:
            raise UserError(f"task.{error}") from None
        except SimulationError as error:
            before = times if error.stopped_at is None else times[times < 0.98 * error.stopped_at]
            if left == 0 or not 2 < len(before) < len(times):
                raise UserError(f"task {scene.name}: {error}") from None
            scene.notes[:] = [note for note in scene.notes if "blows up" not in note]
            scene.notes.append(f"a trajectory blows up at t = {error.stopped_at:.3g}")
            times = before
            continue
        return replace(scene, times=times, y=found.y)
    raise AssertionError("the last try returns or raises")


def _times(system: System, protocol: Protocol) -> np.ndarray:
    """Even times; those of the task, or every k-th of them, where chance along the way depends on them."""
    own = protocol.times
    if isinstance(system, Map) or protocol.process_noise:
        return own[:: -(-len(own) // POINTS)]
    return np.linspace(own[0], own[-1], POINTS + 1)


def _from_file(task: dict[str, Any]) -> Scene:
    from experiments.read_trajectories import read

    options = data_file(task)
    missing: Any = options.missing  # OmegaConf knows no Literal; DataFile has checked it
    try:
        data = read(options.path, options.time, options.trajectory, options.variables or None, missing)
    except DataError as error:
        raise UserError(str(error)) from None
    longest = int(np.argmax(data.lengths))
    length = int(data.lengths[longest])
    if length < 2:
        raise UserError(f"{options.path} must have a trajectory of 2 points or more, but the longest has {length}")
    notes = ["your own data: its equations are not known"]
    if data.count > 1:
        notes.append(f"trajectory {longest + 1} of {data.count}, the longest")
    y, variables = data.y[None, longest, :length], data.variables
    if y.ndim > 3:
        places, velocities = _motion(variables)
        order = [*places, *velocities, *(k for k in range(len(variables)) if k not in (*places, *velocities))]
        y, variables = y[..., order], tuple(variables[k] for k in order)
    return Scene(REAL_DATA, data.times[longest, :length], y, variables, notes=notes)


def _motion(variables: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Where the positions x, y (and z) stand among variables, and where vx, vy (and vz) do; empty where not all are."""
    at = {name.lower(): k for k, name in enumerate(variables)}
    axes = [axis for axis in "xyz" if axis in at]
    if axes[:2] != ["x", "y"]:
        return [], []
    velocities = [at[f"v{axis}"] for axis in axes if f"v{axis}" in at]
    return [at[axis] for axis in axes], velocities if len(velocities) == len(axes) else []


def told_apart(scene: Scene) -> str:
    """Why this task has no equations that a prior could tell; "" where it has."""
    if scene.system is None:
        return "No prior is shown: the true equations of your own data are not known."
    if isinstance(scene.system, Map):
        return (
            f"No prior is shown: {scene.name} steps in time, with chance of its own, so that no exact solution of told "
            "equations stands beside the true one."
        )
    return ""
