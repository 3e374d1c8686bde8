"""What a run's identity is made of: the configuration that matters to it, and the code that matters."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import detection
from experiments.errors import UserError
from experiments.prior import prior_classes, prior_config
from experiments.protocol import switched_on
from experiments.record import SCHEMA, identity_of
from physics_models.discovery import systems
from physics_models.syntax import canonical

if TYPE_CHECKING:
    from experiments.config import Settings
    from experiments.job import Lane
    from hardware.devices import Device

ROOT = Path(__file__).parent.parent
# What decides a run's numbers; the command line, tables and tracking do not.
# Of systems and models only the one in use counts, wherever it is: adding one changes no other's identity.
CODE = (
    "physics_models/base.py", "physics_models/simulate.py", "physics_models/cache.py", "physics_models/order_*.py",
    "physics_models/agents.py", "physics_models/solution.py", "physics_models/solve_*.py",
    "physics_models/periodic*.py", "physics_models/mechanics.py", "physics_models/*interv*.py",
    "learners/*.py", "learners/backends/*.py", "hardware/cost.py", "hardware/flops_*/*.py", "hardware/formulas.py",
    "hardware/energy/*.py", "hardware/meter.py", "hardware/compiled_jax.py", "hardware/hlo/*.py",
    "hardware/catalogue/entry.py", "hardware/catalogue/__init__.py", "hardware/catalogue/generic_server_cpu.yaml",
    "experiments/metrics/*.py", "experiments/task.py", "experiments/protocol.py", "experiments/drawing.py",
    "experiments/active.py", "experiments/corruption.py", "experiments/noise_floor.py", "experiments/ood*.py",
    "experiments/prior.py", "experiments/detection.py", "physics_models/strangers.py", "experiments/evaluate.py",
    "experiments/run.py", "experiments/execute.py",
    "experiments/job.py", "experiments/checkpoint.py",
    "experiments/continued_meter.py", "experiments/make_record.py", "experiments/trajectories.py",
    "experiments/read_*.py", "experiments/data/*.py", "experiments/first_guess.py",
)  # fmt: skip
LIBRARIES = ("jax", "jaxlib", "diffrax", "equinox", "optax", "torch", "torchdiffeq", "numpy", "scipy")


@functools.cache
def code_hash(used: tuple[type, ...] = ()) -> str:
    """Hash of the syntax of the code that matters and of the files that define the classes `used`.

    Comments, docstrings and layout do not change it.
    """
    digest = _common().copy()
    for cls in used:
        try:
            source = inspect.getsource(inspect.getmodule(cls) or cls)
        except (OSError, TypeError):  # a class made in a session, or none at all (NoneType: no system)
            source = ""
        digest.update(f"{cls.__qualname__}\n{canonical(source)}".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _common() -> hashlib._Hash:
    """The hash so far, of the code that every run uses."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CODE for path in ROOT.glob(pattern)}):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        text = path.read_text(encoding="utf-8")
        digest.update((canonical(text) if path.suffix == ".py" else text).encode())
    return digest


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an unused backend may be missing
            continue
    return found


def run_config(
    tree: dict[str, Any],
    model: dict[str, Any],
    learning: str,
    device: str,
    seed: int,
    learning_rate: float | None = None,
    takes_prior: bool = False,
) -> dict[str, Any]:
    """The part of the resolved configuration that this run depends on; what does not matter to it is left out.

    A fit with an end of its own is thus the same run whatever the budget, and is found again. `learning_rate`: of the
    run's lane, where it is not the configuration's. `takes_prior`: whether the model is told the run's prior.
    """
    config = {"task": switched_on(tree["task"]), "model": model, "backend": tree["backend"], "dtype": tree["dtype"]}
    config |= {"device": device, "seed": seed}
    if prior := prior_config(tree, takes_prior):
        config |= {"prior": prior}
    if learning == "gradient":
        rate = {} if learning_rate is None else {"learning_rate": float(learning_rate)}
        config |= {"training": tree["training"] | rate, "budget": tree["budget"]}
    elif learning == "gauss_newton":
        config |= {"training": {"window": tree["training"]["window"]}}
    return config


def identity(config: dict[str, Any], content: str | None, device_name: str, used: tuple[type, ...]) -> str:
    """The identity of a run. `content`: hash of the user's data where there are some (then their path does not matter);
    `used`: the classes of its model, its system and its prior."""
    task = {key: value for key, value in config["task"].items() if content is None or key != "path"}
    return identity_of(
        {
            "config": config | {"task": task},
            "data": content,
            "code": code_hash(used),
            "versions": versions(),
            "device": device_name,
            "schema": SCHEMA,
        }
    )


def planned_identity(settings: Settings, lane: Lane, device: Device, content: str | None = None) -> str:
    """The identity that a run of these settings will have, with nothing simulated: that of `Job.identity`.

    `content`: hash of the user's data where the task is a file of theirs, which is read where None is given (once, as
    long as it does not change). Raises UserError where it cannot be.
    """
    tree = settings.tree
    system = tree["task"]["equations"] if "path" in tree["task"] else settings.task_name
    if system == detection.NAME:
        system = detection.RULE
    if "path" in tree["task"] and content is None:
        content = content_of(tree["task"])
    model = settings.model
    used = (type(model), systems.load(system) if system else type(None), *prior_classes(tree, model.takes_prior))
    seed = lane.seed if model.stochastic else 0
    rate = lane.learning_rate
    config = run_config(tree, tree["model"], model.learning, device.kind, seed, rate, model.takes_prior)
    return identity(config, content, device.name, used)


def content_of(task: dict[str, Any]) -> str:
    """Hash of the content of the data file that a task names, as its records have it. Raises UserError."""
    columns = tuple(task["variables"] or ())
    try:
        info = os.stat(os.path.expanduser(task["path"]))
        version = (info.st_mtime_ns, info.st_size, info.st_ino)
    except OSError:  # a shipped example, or a mistake that reading tells
        version = ()
    return _content(task["path"], task["time"], task["trajectory"], columns, task["missing"], version)


@functools.lru_cache
def _content(path: str, time: str, trajectory: str, columns: tuple[str, ...], missing: Any, version: Any) -> str:
    from experiments.read_trajectories import read
    from experiments.trajectories import DataError

    try:
        return read(path, time, trajectory, columns or None, missing).content_hash()
    except DataError as error:
        raise UserError(str(error)) from None
