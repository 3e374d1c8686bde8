"""Whether each variable takes its values as often as it truly does, in the long run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, is_chaotic, late_states, moved
from experiments.task import Task
from experiments.trajectories import Segments


@dataclass(frozen=True)
class HistogramKl(Metric):
    """Kullback-Leibler divergence of predicted from true values in the second half of rollouts, mean over variables.

    In nats; 0 is the same histogram. It looks at each variable alone, so that it needs no more data in many dimensions
    than in one; what binds variables to each other is what `sliced_wasserstein` sees. It applies to chaotic systems, to
    all of their variables but those that nothing acts on, such as charges.
    """

    view: ClassVar[View] = "full"
    unit: ClassVar[str] = "nat"
    shown: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        return is_chaotic(task)

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        truth, states = (moved(task, late_states(true, y)) for y in (true.y, predicted))
        return histogram_kl(truth, states)


def histogram_kl(truth: np.ndarray, predicted: np.ndarray, bins: int = 32) -> float:
    """Mean over variables of sum_k p_k log(p_k / q_k), p the frequencies of the truth and q those of the prediction.

    `truth` (n, D), `predicted` (m, D). The inner edges of the bins are quantiles of the truth, so that each holds about
    an equal share of it, and the outer bins are open. Half a count is added to every bin (Krichevsky and Trofimov
    1981), so that an empty one gives a finite figure. Returns nats; infinite if a value is not finite.
    """
    if not np.isfinite(predicted).all():
        return np.inf
    found = []
    for x, y in zip(truth.T, predicted.T, strict=True):
        edges = np.quantile(x, np.arange(1, bins) / bins)
        p, q = (
            (np.bincount(np.searchsorted(edges, v, side="right"), minlength=bins) + 0.5) / (len(v) + bins / 2)
            for v in (x, y)
        )
        found.append(np.sum(p * np.log(p / q)))
    return float(np.mean(found))
