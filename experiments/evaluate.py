"""Predict validation and test segments with a learner, and measure them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from experiments.metrics.base import Measure, Metric, Probe, Value, View, named
from experiments.metrics.short import short_segments
from experiments.task import Task
from experiments.trajectories import Segments, Trajectories
from hardware.energy.reader import EnergyReader
from hardware.energy.window import update_s
from hardware.meter import Meter
from learners.learner import Learner

PRIMARY = "rollout_nrmse"  # the error of curves: what validation watches
MAX_SEGMENTS = 256  # of each kind: enough for a standard error of a few per cent
INFER_S = 0.2  # a clock is read well enough in it; a counter wants ten of its updates, a second on NVIDIA's GPUs
INFER_UPDATES = 10

_SHORT: WeakKeyDictionary[Task, Segments] = WeakKeyDictionary()  # they are computed, once for all models


@dataclass
class Evaluation:
    """Test results of every seed: metrics by name, and one whole test trajectory predicted (seeds, T, *state).

    `facts`: what a reader of them must know.

    `infer_*`: of one trajectory over one time unit of the task; None before they are measured, and where unknown.
    """

    metrics: list[dict[str, float | None]]
    units: dict[str, str]
    infer_flop_per_time_unit: float
    example_times: np.ndarray
    example_truth: np.ndarray
    example_predicted: list[np.ndarray] = field(default_factory=list)
    infer_seconds_per_time_unit: float | None = None
    infer_energy_j_per_time_unit: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class CurveErrors:
    """Errors along a curve, of whatever weights a learner predicts with: the primary one on validation data, and on
    test data those of all metrics that are `along_curve`. The test errors are for reports, and for nobody else."""

    def __init__(self, task: Task, metrics: Mapping[str, Measure]) -> None:
        applying = _rollout_metrics(task, metrics)
        self._task, self._primary = task, applying[PRIMARY]
        self._along = {name: m for name, m in applying.items() if m.along_curve}
        self._val = thin(task.segments["val"])
        self._test: dict[View, Segments] = {}
        for metric in self._along.values():
            if metric.view not in self._test:
                self._test[metric.view] = thin(_test_segments(task, metric.view))

    def __call__(self, learner: Learner) -> tuple[list[float], list[dict[str, float]]]:
        """By seed: the validation error, and the test errors by metric."""
        val, clock, told = self._val, self._task.clock, learner.info.told is not None
        predicted = learner.predict(val.y[:, 0], val.times, clock=clock(val, self._task.val, told))[0]
        errors = [named("", self._primary(self._task, self._val, states))[""] for states in predicted]
        views = {
            view: learner.predict(true.y[:, 0], true.times, clock=clock(true, self._task.test, told))[0]
            for view, true in self._test.items()
        }
        tests = [
            _flat({name: m(self._task, self._test[m.view], views[m.view][seed]) for name, m in self._along.items()})
            for seed in range(len(learner.seeds))
        ]
        return errors, tests


def _test_segments(task: Task, view: View) -> Segments:
    """All test data as segments of one kind."""
    if view == "unit":
        return task.segments["test"]
    if view == "short":
        if task not in _SHORT:
            assert task.system is not None  # metrics of this view apply to known equations only
            _SHORT[task] = short_segments(task.system, thin(one_step_segments(task.test)))
        return _SHORT[task]
    return one_step_segments(task.test) if view == "one_step" else full_segments(task.test)


def measure_inference(learner: Learner, task: Task, meter: Meter, reader: EnergyReader) -> tuple[float, float | None]:
    """Seconds and joules of predicting one trajectory over one time unit, in full batches, as part of phase "infer".

    The prediction is repeated until the window is long enough to be read; joules are None where even so they are not
    known. The first call is not the first use: validation has predicted before.
    """
    true = task.segments["val"]
    rows = np.arange(learner.engine.predict_batch) % true.count
    y0, times = true.y[rows, 0], true.times[rows]
    duration = float(np.mean(np.nanmax(times, axis=1) - times[:, 0])) / task.unit
    least = max(INFER_S, INFER_UPDATES * update_s(reader) if reader.method.startswith("measured") else 0.0)
    before, calls = meter.reading("infer"), 0
    with meter.phase("infer"):
        end = time.perf_counter() + least
        while not calls or time.perf_counter() < end:
            learner.predict(y0, times)
            calls += 1
    after = meter.reading("infer")
    units = calls * len(rows) * len(learner.seeds) * duration
    known = before.energy_j is not None and after.energy_j is not None
    joules = (after.energy_j or 0.0) - (before.energy_j or 0.0) if known else None
    return (after.seconds - before.seconds) / units, None if joules is None else joules / units


def test_results(learner: Learner, task: Task, metrics: Mapping[str, Measure]) -> Evaluation:
    """All metrics of each seed on the test data."""
    wanted = _rollout_metrics(task, metrics)
    names: dict[View, None] = dict.fromkeys(["unit", "full", *(m.view for m in wanted.values())])
    most = {"unit": 4 * MAX_SEGMENTS}
    views = {view: thin(_test_segments(task, view), most.get(view, MAX_SEGMENTS)) for view in names}
    told = learner.info.told is not None
    predictions = {
        view: learner.predict(true.y[:, 0], true.times, view == "unit", task.clock(true, task.test, told))
        for view, true in views.items()
    }
    values: list[dict[str, Value]] = [
        {name: m(task, views[m.view], predictions[m.view][0][seed]) for name, m in wanted.items()}
        for seed in range(len(learner.seeds))
    ]
    unit, full = views["unit"], views["full"]
    probes = {name: m for name, m in metrics.items() if isinstance(m, Probe) and m.applies(task)}
    for name, probe in probes.items():
        found = probe(task, full, predictions["full"][0], lambda y0, times: learner.predict(y0, times)[0])
        for row, value in zip(values, found, strict=True):
            row[name] = value
    duration = float(np.mean(np.nanmax(unit.times, axis=1) - unit.times[:, 0]))
    length = int(full.mask[0].sum())
    return Evaluation(
        metrics=[dict(_flat(row)) for row in values],
        units={
            key: _said(metrics[name], key == name) for name, value in values[0].items() for key in named(name, value)
        },
        infer_flop_per_time_unit=(predictions["unit"][1] or 0.0) / duration * task.unit,
        example_times=full.times[0, :length],
        example_truth=full.y[0, :length],
        example_predicted=[states[0, :length] for states in predictions["full"][0]],
    )


def _rollout_metrics(task: Task, metrics: Mapping[str, Measure]) -> dict[str, Metric]:
    return {name: metric for name, metric in metrics.items() if isinstance(metric, Metric) and metric.applies(task)}


def _flat(values: Mapping[str, Value]) -> dict[str, float]:
    return {key: number for name, value in values.items() for key, number in named(name, value).items()}


def _said(metric: Measure, whole: bool) -> str:
    """Of a number: its unit, which direction is better, and whether tables for people leave it out, as they do with the
    parts of a metric that has several."""
    return f"{metric.unit}, {_DIRECTION[metric.direction]}{'' if metric.shown and whole else ' (detail)'}"


_DIRECTION = {
    "lower": "lower is better",
    "higher": "higher is better",
    "truth": "closer to the truth is better",
}


def thin(segments: Segments, most: int = MAX_SEGMENTS) -> Segments:
    """At most `most` of the segments, evenly spread over them: the same ones for every model."""
    if segments.count <= most:
        return segments
    rows = np.linspace(0, segments.count - 1, most).round().astype(int)
    return segments.select(rows)


def one_step_segments(data: Trajectories) -> Segments:
    """Every sampling interval as a segment of two points."""
    times, y = data.windows(1)
    return Segments(times, y, np.ones(times.shape, bool), data.window_starts(1)[0])


def full_segments(data: Trajectories) -> Segments:
    """Every trajectory as one segment."""
    return Segments(data.times, data.y, data.inside, np.arange(data.count))


def longest_segment(task: Task) -> int:
    """Intervals in the longest rollout that evaluation asks for."""
    val, test = task.segments["val"], task.segments["test"]
    return max(val.times.shape[1], test.times.shape[1], task.test.times.shape[1]) - 1
