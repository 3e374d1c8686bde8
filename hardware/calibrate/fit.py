"""Fits of a calibration: time and energy as sums of non-negative prices (Choi et al. 2013), and timing in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Table = tuple[tuple[float, float], ...]  # (size in bytes, price), sorted by size


class FitError(ValueError):
    """Too few measurements, or some that are no positive numbers."""


@dataclass(frozen=True)
class EnergyFit:
    """E = flop·energy_j_per_flop + bytes·energy_j_per_byte + constant_power_w·T; `residual`: median relative error."""

    energy_j_per_flop: float
    energy_j_per_byte: float
    constant_power_w: float
    residual: float


def prices(amounts: Sequence[Sequence[float]], measured: Sequence[float]) -> tuple[np.ndarray, float]:
    """(x ≥ 0 of amounts @ x ≈ measured, median relative error), least squares of the *relative* errors.

    Each row is divided by what was measured, so that a long run does not outweigh a short one. Raises FitError where
    there are fewer measurements than prices.
    """
    from scipy.optimize import nnls

    a, b = np.asarray(amounts, float), np.asarray(measured, float)
    if a.ndim != 2 or len(a) < a.shape[1] or not np.all(np.isfinite(a)) or not np.all(np.isfinite(b) & (b > 0)):
        raise FitError(f"{a.shape[1:]} prices need at least as many positive measurements; there are {len(b)}")
    rows = a / b[:, None]
    scale = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)  # columns alike in size, for the solver's tolerance
    found = nnls(rows / scale, np.ones(len(b)))[0] / scale
    return found, float(np.median(np.abs(rows @ found - 1)))


def fit_energy(
    flop: Sequence[float], bytes_: Sequence[float], seconds: Sequence[float], joules: Sequence[float]
) -> EnergyFit:
    """E/W on {1, Q/W, T/W} by non-negative least squares of relative errors: Choi et al.'s fit of an intensity sweep.

    Dividing each row by its measured energy is the same as dividing E, W, Q and T by W first and weighting by W/E.
    """
    found, residual = prices(np.column_stack([flop, bytes_, seconds]).tolist(), joules)
    return EnergyFit(float(found[0]), float(found[1]), float(found[2]), residual)


def price_at(table: Table, size: float | None) -> float:
    """The price at a size, linear in log(size) between those measured, constant beyond; None: the middle one's."""
    if size is None:
        return table[len(table) // 2][1]
    sizes, values = zip(*table, strict=True)
    return float(np.interp(math.log(max(size, 1.0)), np.log(sizes), values))


def in_turns(
    works: Sequence[Callable[[], float]],
    seconds: float,
    least_rounds: int = 3,
    most_rounds: int = 60,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """What each work returned (its seconds) in every round, for `seconds` and at least `least_rounds` rounds.

    All works take turns, forwards in even rounds and backwards in odd ones: a machine that grows hot, slows down or is
    lent to others meanwhile does so to all of them alike, and none is always the first.
    """
    results: list[list[float]] = [[] for _ in works]
    order = list(range(len(works)))
    start = clock()
    for done in range(most_rounds):
        if done >= least_rounds and clock() - start > seconds * done / (done + 1):
            break
        for i in order if done % 2 == 0 else reversed(order):
            results[i].append(works[i]())
    return results
