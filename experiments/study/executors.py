"""Where units are worked on: this machine, a Ray cluster, or SLURM. All run `supervise`, so that all behave alike."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from experiments.errors import UserError
from experiments.study.supervise import Order, Outcome
from hardware.devices import Device


class Handle(Protocol):
    """A unit that was submitted."""

    def poll(self) -> Outcome | None:
        """How it ended; None while it has not."""
        ...

    def stop(self) -> None:
        """Ask it to keep what it has and end; `poll` tells when it has."""
        ...


class Executor(Protocol):
    """`device`: what the runs will use. `slots`: how many units may be submitted at a time."""

    device: Device
    slots: int

    def submit(self, order: Order) -> Handle: ...

    def batch(self) -> contextlib.AbstractContextManager[Any]:
        """What is submitted inside it may be sent together."""
        ...

    def close(self) -> None: ...


def start(engine: str | None, device: str, backend: str, packing: int, folder: Path) -> Executor:
    """The executor of that name, ready for runs on `device` (auto, cpu, cuda, tpu). `folder`: for files of its own.

    None is Ray where RAY_ADDRESS names a cluster, else this machine. Raises UserError where it cannot be had.
    """
    engine = engine or ("ray" if os.environ.get("RAY_ADDRESS") else "local")
    if engine == "local":
        from experiments.study.local import LocalExecutor

        return LocalExecutor(device, backend, packing)
    package = {"ray": "ray", "slurm": "submitit"}[engine]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--engine {engine} needs the package {package}: pip install 'structured-vs-blackbox[cluster]'")
    if engine == "ray":
        from experiments.study.ray_executor import RayExecutor

        return RayExecutor(device, backend, packing)
    if shutil.which("sbatch") is None:
        raise UserError(
            "--engine slurm needs SLURM's sbatch here: run the sweep on a login node, or leave --engine out"
        )
    from experiments.study.slurm import SlurmExecutor

    return SlurmExecutor(device, backend, packing, folder)


def portable() -> Callable[[str, str, tuple[Any, ...]], Any]:
    """A function that another machine can run: call(root, "module:function", arguments).

    It is made here so that it travels by value; by reference it would be looked for where our code need not be on the
    path yet. `root`: our checkout, where that machine has it at the same place; else the installed package is used.
    """

    def call(root: str, name: str, arguments: tuple[Any, ...]) -> Any:
        import importlib
        import os
        import sys

        if os.path.isdir(os.path.join(root, "experiments")) and root not in sys.path:
            sys.path.insert(0, root)
        module, _, function = name.partition(":")
        return getattr(importlib.import_module(module), function)(*arguments)

    return call
