"""On a machine with an NVIDIA GPU: both backends on CUDA, joules from its counter, FLOP against hardware counters.

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


def measure() -> dict[str, Any]:
    try:
        name = resolve("cuda", "jax").name
    except DeviceError as error:
        return {"nothing measured": str(error)}
    figures: dict[str, Any] = {"device": name}
    for backend in BACKENDS:
        figures |= _main_job(backend) | _against_counters(backend)
    return figures


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


def _against_counters(backend: str) -> dict[str, Any]:
    """FLOP of a training step by our counter over those by the GPU's, as the difference of four steps and two."""
    if shutil.which("ncu") is None:
        return {f"{backend}: hardware counters": "left out: ncu is not installed"}
    counted, executed = {}, {}
    for steps in (2, 4):
        metrics = ",".join(f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum" for name in INSTRUCTIONS)
        command = ["ncu", "--csv", "--target-processes", "all", "--metrics", metrics]
        command += [sys.executable, "-c", STEP, backend, str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | FULL_PRECISION)
        if done.returncode:
            return {f"{backend}: hardware counters": f"left out: {done.stdout.strip().splitlines()[-1:]}"}
        lines = done.stdout.splitlines()
        counted[steps] = int(next(line for line in lines if line.isdigit()))
        executed[steps] = _total("\n".join(line for line in lines if line.startswith('"')))
    ratio = (counted[4] - counted[2]) / (executed[4] - executed[2])
    return {f"{backend}: FLOP of a step, counted / by the GPU's counters": ratio}


def _total(table: str) -> int:
    """FLOP in ncu's CSV: one row for each kernel and metric."""
    total = 0
    for row in csv.DictReader(io.StringIO(table)):
        for name, operations in INSTRUCTIONS.items():
            if f"_op_{name}_pred_on" in row["Metric Name"]:
                total += operations * int(row["Metric Value"].replace(",", ""))
    return total
