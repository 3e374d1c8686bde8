"""From a run that has ended, however it ended, to its record and the arrays beside it."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np

from experiments.evaluate import PRIMARY, Evaluation
from experiments.identity import versions
from experiments.job import Attempt, Job
from experiments.record import Costs, Record
from experiments.store import Store, write_atomic
from hardware.cost import Cost
from hardware.devices import host_info
from hardware.meter import Meter
from learners.learner import Learner, Progress

log = logging.getLogger("experiments")


def make_record(
    job: Job, attempt: Attempt, index: int, shared: int, meter: Meter, learner: Learner | None,
    results: Evaluation | None, started: str, fused: tuple[int, int] | None,
) -> Record:  # fmt: skip
    last = attempt.last
    readings = meter.readings()
    trained = readings.get("train")
    memory = meter.peak_memory_bytes()
    seconds = {name: reading.seconds / shared for name, reading in readings.items()}
    joules = {name: None if r.energy_j is None else r.energy_j / shared for name, r in readings.items()}
    costs = Costs(
        train_flop=None if last is None else last.flop[index],
        train_flop_executed=None if last is None else last.executed[index].flop,
        **({} if last is None else _work(last.costs[index], fused)),
        infer_flop_per_time_unit=None if results is None else results.infer_flop_per_time_unit,
        infer_seconds_per_time_unit=None if results is None else results.infer_seconds_per_time_unit,
        infer_energy_j_per_time_unit=None if results is None else results.infer_energy_j_per_time_unit,
        flop_method=f"counted:{'jaxpr' if job.tree['backend'] == 'jax' else 'torch_dispatch'}",
        uncounted=() if last is None or learner is None else _uncounted(last, learner),
        seconds=seconds | {"data": job.data_seconds + seconds.get("data", 0.0)},
        energy_j=joules,
        energy_method=meter.energy_method,
        energy_uncertainty=meter.energy_uncertainty if trained is None else trained.uncertainty,
        energy_reason=meter.energy_reason or "",
        energy_covers=meter.energy_covers,
        energy_notes=meter.energy_notes,
        idle_power_w=None if meter.idle is None else meter.idle.power_w,
        net_energy_j={n: r.net_energy_j / shared for n, r in readings.items() if r.net_energy_j is not None},
        peak_memory_bytes=memory.device or memory.host,
        shared_by=shared,
    )
    return Record(
        identity=job.identity(attempt.lane),
        task=job.task.name,
        model=job.name,
        backend=job.tree["backend"],
        device=job.device.kind,
        seed=attempt.lane.seed,
        status=attempt.status,
        reason=attempt.reason,
        config=job.config(attempt.lane),
        parameters=job.model.count(job.info) if learner is not None else 0,
        metrics={} if results is None else dict(results.metrics[index]),
        metric_units={} if results is None else results.units,
        costs=costs,
        curve=tuple(attempt.curve),
        facts=_facts(job, learner) | ({} if results is None else results.facts),
        code=job.code,
        versions=versions(),
        host=host_info(),
        started=started,
        role=job.role,
    )


def _facts(job: Job, learner: Learner | None) -> dict[str, Any]:
    """What a reader must know of the data. `train_windows`: the distinct training samples there were to learn from."""
    windows, source = {}, job.task.source
    if learner is not None:
        windows["train_windows"] = learner.windows_seen
        if source is not None and source.protocol.shards > 1:  # they come again
            windows["train_windows"] = min(learner.windows_seen, source.protocol.shards * len(learner.points.starts))
    return {
        "primary_metric": PRIMARY,
        **job.task.facts,
        **windows,
        "data_seed": job.tree["task"]["data_seed"],
        "device_name": job.device.name,
    }


def _work(cost: Cost, fused: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "train_flop_by_kind": {f"{kind} {dtype}": flop for (kind, dtype), flop in cost.by_kind.items()},
        "train_operations": cost.operations,
        "train_least_bytes": cost.least_bytes,
        "train_fused_bytes": None if fused is None else fused[0],
        "train_unfused_bytes": cost.unfused_bytes,
    }


def _uncounted(last: Progress, learner: Learner) -> tuple[str, ...]:
    """Operations without a rule, in training and in the counted predictions."""
    return tuple(sorted(learner.engine.uncounted.union(*(c.uncounted for c in (*last.costs, *last.executed)))))


def save_arrays(store: Store, name: str, job: Job, learner: Learner, results: Evaluation, index: int) -> None:
    """The trained weights, and a test trajectory with its prediction, beside the record. Plain arrays, no pickle."""
    system = job.task.system
    agents = system is not None and system.structure.agents is not None
    example = (
        None
        if job.task.question is not None
        else {  # an answer is no trajectory
            "times": results.example_times,
            "truth": results.example_truth,
            "predicted": results.example_predicted[index],
            "variables": np.array(job.task.info.variables),
            "space_dim": np.array(system.structure.space_dim if system is not None and agents else 0),
        }
    )
    folder = store.folder(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, arrays in (("example.npz", example), ("weights.npz", learner.engine.weights(index))):
            if arrays is None:
                continue
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
            write_atomic(folder / file, buffer.getvalue())
    except OSError as error:  # the record matters more: it comes next, and says so if it cannot be written either
        log.warning("the weights and the example of %s could not be written: %s", job.name, error)
