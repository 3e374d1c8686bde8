"""What a run's identity is made of: the configuration that matters to it, and the code that matters."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
from pathlib import Path
from typing import Any

from experiments.record import SCHEMA, identity_of
from physics_models.syntax import canonical

ROOT = Path(__file__).parent.parent
# What decides a run's numbers; the command line, tables and tracking do not.
# Of systems and models only the one in use counts, wherever it is: adding one changes no other's identity.
CODE = (
    "physics_models/base.py", "physics_models/simulate.py", "physics_models/cache.py", "physics_models/order_*.py",
    "learners/*.py", "learners/backends/*.py", "hardware/cost.py", "hardware/flops_*/*.py", "hardware/formulas.py",
    "hardware/energy/*.py", "hardware/meter.py", "hardware/compiled_jax.py", "hardware/hlo/*.py",
    "hardware/catalogue/entry.py", "hardware/catalogue/__init__.py", "hardware/catalogue/generic_server_cpu.yaml",
    "experiments/metrics/*.py", "experiments/task.py", "experiments/evaluate.py", "experiments/run.py",
    "experiments/job.py",
    "experiments/make_record.py", "experiments/trajectories.py", "experiments/read_*.py", "experiments/data/*.py",
    "experiments/first_guess.py",
)  # fmt: skip
LIBRARIES = ("jax", "jaxlib", "diffrax", "equinox", "optax", "torch", "torchdiffeq", "numpy", "scipy")


@functools.cache
def code_hash(used: tuple[type, ...] = ()) -> str:
    """Hash of the syntax of the code that matters and of the files that define the classes `used`.

    Comments, docstrings and layout do not change it.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CODE for path in ROOT.glob(pattern)}):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        text = path.read_text(encoding="utf-8")
        digest.update((canonical(text) if path.suffix == ".py" else text).encode())
    for cls in used:
        try:
            source = inspect.getsource(inspect.getmodule(cls) or cls)
        except (OSError, TypeError):  # a class made in a session, or none at all (NoneType: no system)
            source = ""
        digest.update(f"{cls.__qualname__}\n{canonical(source)}".encode())
    return digest.hexdigest()[:16]


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


def run_config(tree: dict[str, Any], model: dict[str, Any], learning: str, device: str, seed: int) -> dict[str, Any]:
    """The part of the resolved configuration that this run depends on; what does not matter to it is left out.

    A fit with an end of its own is thus the same run whatever the budget, and is found again.
    """
    config = {"task": tree["task"], "model": model, "backend": tree["backend"], "dtype": tree["dtype"]}
    config |= {"device": device, "seed": seed}
    if learning == "gradient":
        config |= {"training": tree["training"], "budget": tree["budget"]}
    elif learning == "gauss_newton":
        config |= {"training": {"window": tree["training"]["window"]}}
    return config


def identity(config: dict[str, Any], content: str | None, device_name: str, used: tuple[type, ...]) -> str:
    """The identity of a run. `content`: hash of the user's data where there are some (then their path does not matter);
    `used`: the classes of its model and system."""
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
