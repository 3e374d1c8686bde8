"""Predict validation and test segments with a learner, and measure them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments.metrics.base import Metric
from experiments.task import Task
from experiments.trajectories import Segments, Trajectories
from learners.learner import Learner

PRIMARY = "rollout_nrmse"  # the error of curves: what validation watches
MAX_SEGMENTS = 256  # of each kind: enough for a standard error of a few per cent


@dataclass
class Evaluation:
    """Test results of every seed: metrics by name, and one whole test trajectory predicted (seeds, T, *state)."""

    metrics: list[dict[str, float]]
    units: dict[str, str]
    infer_flop_per_time_unit: float
    example_times: np.ndarray
    example_truth: np.ndarray
    example_predicted: list[np.ndarray] = field(default_factory=list)


def validation_predictions(learner: Learner, task: Task) -> tuple[Segments, np.ndarray]:
    """The validation segments, and their predictions (seeds, S, P, *state)."""
    true = thin(task.segments["val"])
    return true, learner.predict(true.y[:, 0], true.times)[0]


def validation_errors(learner: Learner, task: Task, primary: Metric) -> list[float]:
    """The primary error of each seed on the validation segments."""
    true, predicted = validation_predictions(learner, task)
    return [primary(task, true, states) for states in predicted]


def test_results(learner: Learner, task: Task, metrics: dict[str, Metric]) -> Evaluation:
    """All metrics of each seed on the test data."""
    views = {
        "one_step": thin(one_step_segments(task.test)),
        "unit": thin(task.segments["test"], 4 * MAX_SEGMENTS),
        "full": thin(full_segments(task.test)),
    }
    wanted = {name: metric for name, metric in metrics.items() if metric.applies(task)}
    predictions = {view: learner.predict(true.y[:, 0], true.times, view == "unit") for view, true in views.items()}
    results = [
        {name: metric(task, views[metric.view], predictions[metric.view][0][seed]) for name, metric in wanted.items()}
        for seed in range(len(learner.seeds))
    ]
    unit, full = views["unit"], views["full"]
    duration = float(np.mean(np.nanmax(unit.times, axis=1) - unit.times[:, 0]))
    length = int(full.mask[0].sum())
    return Evaluation(
        metrics=results,
        units={name: f"{metric.unit}, {_DIRECTION[metric.direction]}" for name, metric in wanted.items()},
        infer_flop_per_time_unit=(predictions["unit"][1] or 0.0) / duration * task.unit,
        example_times=full.times[0, :length],
        example_truth=full.y[0, :length],
        example_predicted=[states[0, :length] for states in predictions["full"][0]],
    )


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
    return Segments(segments.times[rows], segments.y[rows], segments.mask[rows], segments.trajectory[rows])


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
