"""libtpu as a compiler: which TPUs it knows, and a compilation in a process of its own (`hardware.tpu.jax_worker`)."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("jax_worker.py")
GET_IT = "pip install 'structured-vs-blackbox[tpu]'"


@dataclass(frozen=True)
class Generation:
    """What libtpu calls the smallest topology, and what JAX calls one device of it.

    `devices_per_chip`: 2 where each core of a chip is a device of its own. `mxu`: side of the matrix unit.
    `chip_config`: v4 runs as one device a chip ("megacore"), as on Google's machines; libtpu's default is two.
    """

    topology: str
    accelerator_type: str
    devices_per_chip: int
    mxu: int
    chip_config: str = ""


GENERATIONS = {
    "tpu_v2": Generation("v2:2x2", "v2-8", 2, 128),
    "tpu_v3": Generation("v3:2x2", "v3-8", 2, 128),
    "tpu_v4": Generation("v4:2x2x1", "v4-8", 1, 128, "megacore"),
    "tpu_v5e": Generation("v5e:2x2", "v5litepod-4", 1, 128),
    "tpu_v5p": Generation("v5p:2x2x1", "v5p-8", 1, 128),
    "tpu_v6e": Generation("v6e:2x2", "v6e-4", 1, 256),
    "tpu_v7": Generation("tpu7x:2x2x1", "tpu7x-8", 2, 256),
}


class TpuError(RuntimeError):
    """No program for this TPU; the message says why, in one line."""


def generation_of(device: str) -> Generation:
    """The generation called tpu_v2 … tpu_v7. Raises TpuError: unknown, or libtpu is absent."""
    if device not in GENERATIONS:
        near = difflib.get_close_matches(device.lower(), GENERATIONS, 1, 0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TpuError(f"device={device}: there is no such TPU; it must be one of {', '.join(GENERATIONS)}{hint}")
    for package in ("libtpu", "flatbuffers"):
        if importlib.util.find_spec(package) is None:
            raise TpuError(f"device={device}: the TPU compiler needs {package}, which is not installed; {GET_IT}")
    return GENERATIONS[device]


def compile_apart(
    device: str, generation: Generation, program: bytes, x64: bool, timeout_s: float
) -> tuple[dict[str, Any], str]:
    """What the worker reports of a serialised program, and its optimised HLO. Raises TpuError."""
    environment = dict(os.environ) | {
        "JAX_PLATFORMS": "cpu",  # libtpu compiles, but no TPU is looked for
        "TPU_SKIP_MDS_QUERY": "1",  # nor is the metadata server of Google's cloud asked
        "TPU_ACCELERATOR_TYPE": generation.accelerator_type,
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_LOG_DIR": "disabled",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several compilations side by side: none of them holds a TPU
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # a cached program has no text
        "JAX_ENABLE_X64": "1" if x64 else "0",
    }
    environment.pop("XLA_FLAGS", None)  # flags of this process's own compiler, which libtpu may not know
    with tempfile.TemporaryDirectory(prefix="tpu_compile_") as folder:
        home = Path(folder)
        (home / "program.bin").write_bytes(program)
        # -P: modules beside the worker must not hide others of the same name.
        command = [sys.executable, "-P", str(WORKER), folder, generation.topology, generation.chip_config]
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, timeout=timeout_s,
                capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise TpuError(
                f"device={device}: compilation must end within timeout_s={timeout_s:g} s, and it did not; allow it more"
            ) from error
        if not (home / "result.json").is_file():
            reason = last_words(done.stderr) or f"exit status {done.returncode}"
            raise TpuError(f"device={device}: the process of the TPU compiler died: {reason}")
        result = json.loads((home / "result.json").read_text())
        if "error" in result:
            what = {"topology": f"libtpu refuses the topology {generation.topology}"}.get(
                result["stage"], "the TPU compiler refuses the program"
            )
            raise TpuError(f"device={device}: {what}: {one_line(result['error'])}")
        return result, (home / "program.hlo").read_text()


def one_line(text: str) -> str:
    """An exception's text in a line: its first, since what follows is where and how."""
    return next((" ".join(line.split())[:300] for line in text.splitlines() if line.strip()), "")


def last_words(stderr: str) -> str:
    """The line of a dead process's stderr that says most: the last that speaks of an error, else the last."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|fatal|abort|killed|^F\d", line, re.IGNORECASE)]
    return one_line((telling or lines or [""])[-1])
