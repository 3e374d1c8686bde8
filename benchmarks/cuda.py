"""On a machine with an NVIDIA GPU: both backends on CUDA, joules from its counter, FLOP against hardware counters (of
a training step, and of programs of the battery), and the GPU's calibration.

`python -m benchmarks cuda`. Where there is no GPU it says so and measures nothing. Hardware counters need `ncu` and the
right to use it; without them that part is left out, with the reason in the figures.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from hardware.devices import DeviceError, resolve

BACKENDS = ("jax", "torch")
# Thread instructions that did arithmetic, single and double precision, each with the operations it stands for.
INSTRUCTIONS = {"fadd": 1, "fmul": 1, "ffma": 2, "dadd": 1, "dmul": 1, "dfma": 2}
# Tensor cores must stay off for these to be everything: float32 products in full precision.
FULL_PRECISION = {"JAX_DEFAULT_MATMUL_PRECISION": "highest", "NVIDIA_TF32_OVERRIDE": "0"}
# One training step, first without and then with profiling, so that only the second is counted.
STEP = """
import sys
import numpy as np
from experiments.task import Protocol, simulated
from hardware.devices import resolve
from learners.backends import engine_of
from learners.backends.base import Recipe
from learners.models.neural_ode import NeuralOde
from physics_models.flocking import Flocking

backend, steps = sys.argv[1], int(sys.argv[2])
task = simulated("flocking", Flocking(), Protocol(n_train=8, n_val=2, n_test=2), None)
model, points, recipe = NeuralOde(), task.points(1), Recipe()
drawn = {name: spec.draw(np.random.default_rng(0)) for name, spec in model.parts(task.info).items()}
device = resolve("cuda", backend)
engine = engine_of(backend)(model, task.info, recipe, points, [drawn], "float32", device, 8, 2, 2)
starts = np.random.default_rng(1).choice(points.starts, (1, steps, recipe.batch)).astype(np.int32)
print(engine.train(starts).flop[0])
"""
# Programs of the battery whose kernels do the arithmetic that is written: no library may choose another algorithm.
PROGRAMS = (
    "x + y",
    "3 x + y",
    "cubic by Horner's scheme",
    "matrix product",
    "batched matrix product",
    "linear layer with bias",
    "sum of all",
    "multilayer perceptron, forward",
    "Lorenz-63, ten steps of Runge–Kutta 4",
    "running average of weights",
)
PROGRAM = """
import sys
from tests.hardware.battery import PROGRAMS

backend, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
program = next(p for p in PROGRAMS if p.name == name)
function, arguments = getattr(program, backend)()
if backend == "jax":
    import jax
    run = jax.jit(function)
else:
    import torch
    torch.set_default_device("cuda")
    run, arguments = function, [a.cuda() for a in arguments]
for _ in range(times):
    run(*arguments)
print(program.expected(backend)[0])
"""


def measure() -> dict[str, Any]:
    try:
        name = resolve("cuda", "jax").name
    except DeviceError as error:
        return {"nothing measured": str(error)}
    figures: dict[str, Any] = {"device": name}
    for backend in BACKENDS:
        figures |= _main_job(backend) | _step_against_counters(backend)
        for program in PROGRAMS:
            figures |= _against_counters(f"{backend}: {program}", PROGRAM, [backend, program], (1, 2))
    return figures | _calibration()


def _calibration() -> dict[str, Any]:
    from hardware.calibrate import calibrate

    return {"calibration": calibrate(20.0, device=resolve("cuda", "jax")).lines()}


def _main_job(backend: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments", "run", "flocking", "model=neural_ode", f"backend={backend}"]
        command += ["device=cuda", "tracking=none", "seed=0", f"runs={folder}", "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    record = json.loads(done.stdout)["records"][-1]
    costs = record["costs"]
    return {
        f"{backend}: rollout_nrmse": record["metrics"]["rollout_nrmse"],
        f"{backend}: training FLOP": costs["train_flop"],
        f"{backend}: training seconds": costs["seconds"]["train"],
        f"{backend}: training joules": costs["energy_j"]["train"],
        f"{backend}: joules by": costs["energy_method"],
    }


def _step_against_counters(backend: str) -> dict[str, Any]:
    return _against_counters(f"{backend}: FLOP of a step", STEP, [backend], (2, 4))


def _against_counters(label: str, script: str, words: list[str], times: tuple[int, int]) -> dict[str, Any]:
    """FLOP that `script` prints, for one more round, over those of the GPU's counters: the difference of two runs."""
    if shutil.which("ncu") is None:
        return {f"{label}, counted / by the GPU's counters": "left out: ncu is not installed"}
    counted, executed = [], []
    for n in times:
        metrics = ",".join(f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum" for name in INSTRUCTIONS)
        command = ["ncu", "--csv", "--target-processes", "all", "--metrics", metrics]
        command += [sys.executable, "-c", script, *words, str(n)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | FULL_PRECISION)
        if done.returncode:
            return {f"{label}, counted / by the GPU's counters": f"left out: {done.stdout.strip().splitlines()[-1:]}"}
        lines = done.stdout.splitlines()
        counted.append(int(next(line for line in lines if line.isdigit())))
        executed.append(_total("\n".join(line for line in lines if line.startswith('"'))))
    more = counted[1] - counted[0] or counted[0]  # the battery's programs print the FLOP of one round
    return {f"{label}, counted / by the GPU's counters": more / max(1, executed[1] - executed[0])}


def _total(table: str) -> int:
    """FLOP in ncu's CSV: one row for each kernel and metric."""
    total = 0
    for row in csv.DictReader(io.StringIO(table)):
        for name, operations in INSTRUCTIONS.items():
            if f"_op_{name}_pred_on" in row["Metric Name"]:
                total += operations * int(row["Metric Value"].replace(",", ""))
    return total
