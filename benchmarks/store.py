"""The record store at the size of a large study: 10^6 synthetic records compacted, and the rates of loose ones.

`python -m benchmarks.store FOLDER [RUNS]` leaves such a store in FOLDER, for looking at reports of that size.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.record import TRIAL, Costs, Record, digest_of, identity_of
from experiments.store import Store
from experiments.store.compaction import add_lines
from experiments.store.tables import line_of
from experiments.study.spec import Study, parse

RUNS, POINTS, CHUNK, TRIALS, TRIAL_SEED = 1_000_000, 20, 20_000, 8, 4_000_000_000
TASKS = ("flocking", "lorenz63", "lotka_volterra", "pendulum", "cucker_smale")
MODELS = {"mlp": 0.20, "neural_ode": 0.25, "hybrid_ode": 0.30, "linear": 0.15}  # planted exponents
WIDTHS, DATA, DRAWS = tuple(8 * 2**i for i in range(8)), (32, 64, 128, 256, 512), range(5)
STUDY = f"""
question: How long does a report of a million runs take?
structured: [hybrid_ode]
black_box: [mlp, neural_ode, linear]
references: []
settings: {{budget.flop: 1.0e+10}}
grid:
  task: [{", ".join(TASKS)}]
  model: [{", ".join(MODELS)}]
  model.width: [{", ".join(map(str, WIDTHS))}]
  task.n_train: [{", ".join(map(str, DATA))}]
  task.data_seed: [0, 1, 2, 3, 4]
  seed: [0, 1, 2]
tuning: {{trials: {TRIALS}, seed: {TRIAL_SEED}, space: {{training.learning_rate: {{log_uniform: [1.0e-4, 1.0e-1]}}}}}}
"""


@functools.cache
def study() -> Study:
    return parse("million", STUDY)


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        figures |= _loose(Path(folder, "loose"))
        store = Store(Path(folder, "million"))
        seconds = _timed(lambda: fill(store, RUNS))[0]
        size = sum(path.stat().st_size for path in store.root.rglob("*.parquet"))
        figures |= {
            f"{RUNS:,} records of {POINTS} points: made (s)": seconds,
            "in Parquet (GB)": size / 1e9,
            "in Parquet, parts of runs": len(list(store.root.glob("compacted/runs/*/*"))),
        }
        for name, act in (("counts by status", _counts), ("whole of study_data", _data), ("one record", _one)):
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # as a command: nothing is in memory yet
                seconds, peak = pool.apply(act, (str(store.root),))
            figures[f"{name} (s)"] = seconds
            figures[f"{name}: peak memory (GB)"] = peak
    return figures


def fill(store: Store, runs: int) -> None:
    """Write a compacted store of synthetic runs, and of their tuning trials."""
    store.prepare()
    chunks = [(str(store.root), task, first, last) for task, first, last in _chunks(runs)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_add, chunks, chunksize=1)


def _chunks(runs: int) -> Iterator[tuple[str, int, int]]:
    each = -(-runs // len(TASKS))
    for task in TASKS:
        for first in range(0, each, CHUNK):
            yield task, first, min(first + CHUNK, each)


def _add(root: str, task: str, first: int, last: int) -> None:
    lines = list(synthetic(task, first, last))
    if first == 0:
        lines += trials(task)
    add_lines(Store(root)._files, lines)


def synthetic(task: str, first: int, last: int) -> Iterator[bytes]:
    """Lines of a task's runs, number `first` to `last`: errors fall as a power of the cost, to a floor, with noise.

    Put together as text, a template a model and size: ten times as quick as by way of objects.
    """
    rng = np.random.default_rng([TASKS.index(task), first])
    n = last - first
    flop = np.geomspace(1e6, 1e10, POINTS).round()
    noise = np.exp(0.1 * rng.standard_normal((n, POINTS)))
    watt = 20 * np.exp(0.05 * rng.standard_normal(n))
    axes = list(itertools.product(MODELS, WIDTHS, DATA, DRAWS))
    for i in range(n):
        seed, place = divmod(first + i, len(axes))
        model, width, data, draw = axes[place]
        error = 0.01 + 30 * flop ** -MODELS[model] * noise[i]
        spent = flop * 6e-10 * width**0.1
        columns = (error, spent * watt[i], flop, error**2, spent, 1.02 * error, 10 * error)
        points = zip(*(column.tolist() for column in columns), range(POINTS), strict=True)
        before, after = _template(task, model, width, data, draw)
        curve = ",".join(
            f'{{"energy_j":{j!r},"error":{e!r},"flop":{f:.0f},"samples":{3200 * k},"seconds":{s!r},"step":{100 * k},'
            f'"test":{{"one_step_nrmse":{one!r},"rollout_nrmse":{roll!r}}},"train_loss":{loss!r}}}'
            for e, j, f, loss, s, one, roll, k in points
        )
        name = f"{place:08x}{seed:08x}{TASKS.index(task):04x}"
        head = before.replace('"@joule"', repr(float(spent[-1] * watt[i]))).replace('"@second"', repr(float(spent[-1])))
        tail = after.replace("@name", name).replace('"@seed"', str(seed)).replace('"@error"', repr(float(error[-1])))
        text = f"{head}[{curve}]{tail}".replace('"@seed"', str(seed))
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        yield f'{text[:-1]},"digest":"{digest}"}}\n'.encode()


@functools.cache
def _template(task: str, model: str, width: int, data: int, draw: int) -> tuple[str, str]:
    """The canonical text of a record before and after its curve, with marks for what is a run's own."""
    raw: dict[str, Any] = asdict(_record(task, model, width, data, draw)) | {"curve": "@curve"}
    raw["tuning"] = {"group": f"{task}-{model}-{width}", "trials": trial_names(task, model, width)}
    raw["metrics"] = {"one_step_nrmse": "@error", "rollout_nrmse": 0.5}
    raw["costs"]["seconds"]["train"], raw["costs"]["energy_j"]["train"] = "@second", "@joule"
    before, _, after = json.dumps(raw, sort_keys=True, separators=(",", ":")).partition('"@curve"')
    return before, after


def trials(task: str) -> Iterator[bytes]:
    for model, width in itertools.product(MODELS, WIDTHS):
        for name in trial_names(task, model, width):
            raw = asdict(replace(_record(task, model, width, 512, 0), identity=name, role=TRIAL, seed=TRIAL_SEED))
            yield line_of(raw, digest_of(raw))


def trial_names(task: str, model: str, width: int) -> list[str]:
    return [identity_of({"trial": [task, model, width, k]}) for k in range(TRIALS)]


def _record(task: str, model: str, width: int, data: int, draw: int) -> Record:
    """A record as full as those of real runs."""
    config = {
        "task": {"name": task, "n_train": data, "n_val": 64, "n_test": 64, "horizon": 10.0, "spacing": 0.1,
                 "noise": 0.0, "data_seed": draw, "system": {"a": 1.0, "b": 2.0, "c": 0.5}},
        "model": {"name": model, "width": width, "depth": 2, "activation": "tanh", "solver": "tsit5", "steps": 4},
        "backend": "jax", "dtype": "float32", "device": "cpu", "seed": "@seed",
        "training": {"window": 8, "batch": 32, "learning_rate": 0.003, "warm_up": 0.1, "decay": 0.3, "clip": 1.0},
        "budget": {"flop": 1e10, "joule": None, "second": None, "sample": None},
    }  # fmt: skip
    seed: Any = "@seed"
    costs = Costs(
        train_flop=10**10, train_flop_executed=10**10,
        train_flop_by_kind={"matmul float32": 8 * 10**9, "elementwise float32": 2 * 10**9}, train_operations=10**6,
        train_least_bytes=10**8, train_fused_bytes=10**9, train_unfused_bytes=10**10, infer_flop_per_time_unit=1e5,
        infer_seconds_per_time_unit=1e-4, infer_energy_j_per_time_unit=2e-3, flop_method="counted:jaxpr",
        seconds={"data": 0.3, "train": 9.5, "evaluate": 0.4}, energy_j={"data": None, "train": 190.0, "evaluate": 8.0},
        energy_method="modelled:cpu_time", energy_uncertainty=0.4, energy_covers="all processors of the machine",
        energy_reason="no counter can be read here", peak_memory_bytes=7 * 10**8, shared_by=3,
    )  # fmt: skip
    return Record(
        backend="jax", device="cpu", status="finished", costs=costs, facts={
            "primary_metric": "rollout_nrmse", "n_train": data, "noise": 0.0, "time_unit": "the system's time unit",
            "reference_error": 1e-9, "horizon": "1 time units", "device_name": "a processor"},
        metric_units=dict.fromkeys(("one_step_nrmse", "rollout_nrmse"), "1, lower is better"), code="0123456789abcdef",
        versions={"jax": "0.10.2", "jaxlib": "0.10.2", "diffrax": "0.7.2", "equinox": "0.13.8", "numpy": "2.4.6"},
        host={"cpu": "a processor", "cores": 2, "memory_bytes": 25 * 10**9, "platform": "Linux-x86_64"},
        started="2026-01-01T00:00:00+00:00", studies={"million": study().hash},
        identity="@name", task=task, model=model, seed=seed, config=config, parameters=3 * width**2,
    )  # fmt: skip


def _loose(root: Path, n: int = 10_000) -> dict[str, Any]:
    store = Store(root)
    store.prepare()
    texts = list(synthetic("flocking", 0, n))
    records = [Record.from_json(text.decode()) for text in texts]
    saved = _timed(lambda: [store.save(record) for record in records])[0]
    counted = _timed(lambda: Store(root).counts("million"))[0]
    loaded = _timed(lambda: Store(root).study_data(study()))[0]
    again = _timed(lambda: Store(root).records())[0]
    compacted, done = _timed(Store(root).compact)
    assert done.moved == n
    return {
        "size of a record (kB)": len(texts[0]) / 1e3,
        "loose records written a second": n / saved,
        f"{n:,} loose: counts by status (s)": counted,
        f"{n:,} loose: study_data (s)": loaded,
        f"{n:,} loose: as Record objects (s)": again,
        f"{n:,} loose: compacted (s)": compacted,
    }


def _counts(root: str) -> tuple[float, float]:
    return _peak(lambda: Store(root).counts("million"))


def _data(root: str) -> tuple[float, float]:
    return _peak(lambda: Store(root).study_data(study()))


def _one(root: str) -> tuple[float, float]:
    name = json.loads(next(synthetic("pendulum", 12345, 12346)))["identity"]
    return _peak(lambda: Store(root).load(name))


def _peak(act: Any) -> tuple[float, float]:
    seconds, _ = _timed(act)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _timed(act: Any) -> tuple[float, Any]:
    before = time.perf_counter()
    made = act()
    return time.perf_counter() - before, made


if __name__ == "__main__":
    fill(Store(sys.argv[1]), int(float(sys.argv[2])) if len(sys.argv) > 2 else RUNS)
