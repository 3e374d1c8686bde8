"""Whether the learned agents do to each other, at every distance, what the true ones do."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.metrics.base import Metric, View, equations, is_exact
from experiments.task import Task
from experiments.trajectories import Segments
from physics_models.base import Map
from physics_models.order_parameters import displacements

BINS = 32
MOST_PAIRS = 1_000_000  # that are looked at: a second's work


@dataclass(frozen=True)
class KernelError(Metric):
    """Relative error in L²(rho) of the interaction kernel that the learned rates amount to.

        rate_i = sum_j phi(|r_ij|) r_ij + rest,   |phi|² = mean over pairs of (phi(r) r)²

    The kernel of any learner, whether it has one or not, is the phi that explains its rates at test states best by
    least squares, constant in each of 32 bins that hold equally many pairs; so what the model does that no sum over
    pairs does is no error here (it is one in `vector_field_nrmse`). The true rates are treated alike: a perfect model
    scores 0, one without interactions 1. rho is the distribution of the distances in test data. Rates are those of the
    positions (of the velocities where there are some), taken over the interval of the view "short". It applies to
    systems of agents with a method `kernel(r)`.
    Source: F. Lu, M. Zhong, S. Tang and M. Maggioni, PNAS 116 (2019), doi:10.1073/pnas.1822012116.
    """

    view: ClassVar[View] = "short"

    def applies(self, task: Task) -> bool:
        system = equations(task)
        if system is None or not is_exact(task) or isinstance(system, Map) or system.stiff:
            return False
        kernel = getattr(system, "kernel", None)
        radial = kernel is not None and len(inspect.signature(kernel).parameters) == 1
        return (system.structure.agents or 0) > 1 and radial

    def __call__(self, task: Task, true: Segments, predicted: np.ndarray) -> float:
        assert task.system is not None
        structure = task.system.structure
        d = structure.space_dim
        rows = slice(max(1, MOST_PAIRS // true.y.shape[2] ** 2))
        positions, rate = true.y[rows, 0, :, :d], slice(0, d) if structure.order == 1 else slice(d, 2 * d)
        wanted = (true.y[rows, 1] - true.y[rows, 0])[..., rate]
        with np.errstate(over="ignore", invalid="ignore"):  # a model that diverges is a result, not a fault
            wrong = (predicted[rows, 1] - true.y[rows, 1])[..., rate]
        if not np.isfinite(wrong).all():
            return np.inf
        kernels, weights = pairwise_parts(positions, [wanted, wrong], structure.box)
        with np.errstate(over="ignore"):
            size, error = (np.sqrt(np.sum(weights * kernel**2)) for kernel in kernels)
            return float(error / size) if np.isfinite(error) else np.inf


def pairwise_parts(
    positions: np.ndarray, rates: list[np.ndarray], box: float | None = None, bins: int = BINS
) -> tuple[list[np.ndarray], np.ndarray]:
    """The kernels phi (bins,) for which sum_j phi(|r_ij|) r_ij is nearest to each of the rates, by least squares.

    `positions` and each of `rates`: (S, N, d). The edges of the bins are quantiles of the distances. Also returns the
    weights (bins,) of the bins in |phi|²: the sum over their pairs of r², as a share of the number of pairs.
    """
    s, n, d = positions.shape
    r = displacements(positions, box)
    apart = np.linalg.norm(r, axis=-1)
    others = ~np.eye(n, dtype=bool)
    edges = np.quantile(apart[:, others], np.arange(1, bins) / bins)
    which = np.searchsorted(edges, apart, side="right")
    # One equation for each component of each agent's rate, one unknown for each bin.
    row = np.arange(s * n).reshape(s, n, 1) * bins + which
    features = [np.bincount(row.ravel(), weights=r[..., k].ravel(), minlength=s * n * bins) for k in range(d)]
    matrix = np.stack(features, axis=1).reshape(s * n, bins, d).transpose(0, 2, 1).reshape(-1, bins)
    target = np.stack([rate.reshape(-1) for rate in rates], axis=1)
    found = np.linalg.lstsq(matrix, target, rcond=None)[0]
    weights = np.bincount(which[:, others].ravel(), weights=apart[:, others].ravel() ** 2, minlength=bins)
    return list(found.T), weights / (s * n * (n - 1))
