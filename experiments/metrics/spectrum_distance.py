"""Whether predicted rollouts oscillate as the true system does, in the long run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, is_chaotic, moved
from experiments.task import Task
from experiments.trajectories import Segments

POINTS = 8  # in half a trajectory, below which there is no spectrum to speak of


@dataclass(frozen=True)
class SpectrumDistance(Metric):
    """Hellinger distance between true and predicted power spectra of the second half of rollouts, mean over variables.

    0 is the same spectrum, 1 no common frequency. Spectra are means over trajectories (and agents or grid points);
    even a perfect model that starts elsewhere has about (16 trajectories)^(-1/2). It applies to chaotic systems
    sampled at even times, to all of their variables but those that nothing acts on, such as charges.
    """

    view: ClassVar[View] = "full"
    shown: ClassVar[bool] = False

    def applies(self, task: Task) -> bool:
        if not is_chaotic(task) or task.test.lengths.min() < 2 * POINTS:
            return False
        steps = np.diff(task.test.times, axis=1)
        return bool(np.nanmax(steps) - np.nanmin(steps) < 1e-6 * np.nanmax(steps))

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        end = int(true.mask.sum(axis=1).min())
        late = slice(end // 2, end)
        return spectrum_distance(moved(task, true.y[:, late]), moved(task, predicted[:, late]))


def spectrum_distance(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over variables of sqrt(1/2 sum_f (sqrt(p_f) - sqrt(q_f))²), p and q the power spectra, each of sum 1.

    `truth`, `predicted`: (R, T, ..., D) at even times; the mean over time is taken off, power is averaged over all
    axes but the frequency and the variable. Returns a number between 0 and 1, infinite where a value is not finite. A
    variable that moves in neither counts 0, in one alone 1. Shifts in time and scale do not matter.
    Source: J. Mikhaeil, Z. Monfared and D. Durstewitz, NeurIPS 2022, arXiv:2110.07238, who smooth the spectra instead.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
        p, q = _power(truth), _power(predicted)
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        return np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        p, q = (power / np.where(power.sum(axis=0) > 0, power.sum(axis=0), 1) for power in (p, q))
        distance = np.sqrt(0.5 * np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=0))
    one_alone = (p.sum(axis=0) > 0) != (q.sum(axis=0) > 0)
    value = float(np.mean(np.where(one_alone, 1.0, distance)))
    return value if np.isfinite(value) else np.inf


def _power(y: np.ndarray) -> np.ndarray:
    """(frequencies above 0, D)."""
    shape = (y.shape[0], y.shape[1], -1, y.shape[-1])
    y = y.reshape(shape)
    y = y - y.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(y, axis=1)[:, 1:]) ** 2
    return spectrum.mean(axis=(0, 2))
