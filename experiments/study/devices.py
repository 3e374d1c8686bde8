"""The devices of this machine, and their use by one measured run at a time. No framework is imported here.

A sweep must not open an accelerator itself: it would take its memory, or the whole of it, from the workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from experiments.errors import UserError
from hardware.devices import Device, cpu_name
from physics_models.cache import default_cache_dir

_FIND = """
import dataclasses, json, sys
from hardware.devices import DeviceError, resolve
try:
    print(json.dumps(dataclasses.asdict(resolve(*sys.argv[1:]))))
except DeviceError as error:
    sys.exit(str(error))
"""


def find_device(name: str, backend: str) -> Device:
    """The device called `name` (auto, cpu, cuda, tpu), looked for in a process of its own. Raises UserError."""
    if name == "cpu":
        return Device("cpu", cpu_name())
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", _FIND, name, backend], env=os.environ | {"PYTHONPATH": path}, capture_output=True,
        text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or ["no device was found"])[-1])
    return Device(**json.loads(done.stdout.splitlines()[-1]))


def as_words(name: str, backend: str) -> dict[str, Any]:
    """`find_device` for another machine: what comes back is plain."""
    return asdict(find_device(name, backend))


def names(kind: str) -> list[str]:
    """What this machine (or this process's share of it) has of a kind; at least one, which the worker may then refuse.

    GPUs by the number or UUID that CUDA_VISIBLE_DEVICES takes. All chips of a TPU host belong to one process.
    """
    if kind != "cuda":
        return [kind]
    if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in listed.split(",") if name.strip()] or [""]
    return [str(index) for index in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))] or ["0"]


def slots(kind: str, packing: int = 1) -> int:
    """How many runs may use this machine's devices of a kind at a time."""
    return len(names(kind)) * packing


@dataclass(frozen=True)
class Held:
    """A device in use by one of our runs. `files`: the open locks, to be inherited by the worker that uses it."""

    kind: str
    name: str
    files: tuple[IO[str], ...]

    @property
    def environment(self) -> dict[str, str]:
        """What makes the worker see this device only."""
        return {"CUDA_VISIBLE_DEVICES": self.name} if self.kind == "cuda" else {}


def try_lock(path: Path, shared: bool = False) -> IO[str] | None:
    """The file locked, or None where somebody else holds it. Closing it, or the end of all who inherited it, frees it.

    Raises OSError where the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115 (the caller's to close)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def lock_folder() -> Path:
    """Where the devices' locks lie: one folder for every sweep of this user, whatever its store."""
    return default_cache_dir().parent / "devices"


def try_hold(kind: str, packing: int = 1) -> Held | None:
    """A free device of this machine, or None. With `packing` above 1, up to so many runs hold a device together; one
    that must have it alone (packing 1) waits for all of them, and they for it."""
    for name in names(kind):
        # The host is named because the cache folder may be shared by the machines of a cluster.
        path = lock_folder() / f"{file_name(socket.gethostname())}-{kind}-{file_name(name)}.lock"
        held = try_lock(path, shared=packing > 1)
        if held is None:
            continue
        if packing == 1:
            return Held(kind, name, (held,))
        for index in range(packing):
            if slot := try_lock(path.with_suffix(f".{index}")):
                return Held(kind, name, (held, slot))
        held.close()
    return None


@contextlib.contextmanager
def closing(*files: IO[str]) -> Iterator[None]:
    try:
        yield
    finally:
        for file in files:
            file.close()


def file_name(name: str) -> str:
    """Of letters, digits and underscores only, whatever is in the name."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
