"""Trajectories as data: points at even or uneven times, several trajectories, windows, segments and splits.

Shapes: R trajectories, T points in the longest, then the axes of the state.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MIN_TRAJECTORIES = 5  # from here on a split holds out whole trajectories; below it, the end of each one


class DataError(ValueError):
    """The data cannot be used. The message is one line: what must hold, what came (and where), what to do."""

    def __init__(self, message: str) -> None:
        # A file name or a cell may hold a line break, and a user's terminal is to show one line.
        super().__init__(message.replace("\r", "\\r").replace("\n", "\\n"))


@dataclass(frozen=True, eq=False)
class Segments:
    """Stretches of trajectories, each to be predicted from its first point. S segments, P points in the longest.

    `times` (S, P) and `y` (S, P, *state) are NaN where `mask` (S, P) is False, which is only after a segment's end.
    `trajectory` (S,): index of the trajectory that each segment is cut from.
    """

    times: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    trajectory: np.ndarray

    @property
    def count(self) -> int:
        return len(self.times)

    def select(self, rows: np.ndarray) -> Segments:
        """Some of them, by indices or a mask."""
        return Segments(self.times[rows], self.y[rows], self.mask[rows], self.trajectory[rows])


@dataclass(frozen=True, eq=False)
class Trajectories:
    """R trajectories, each with times of its own.

    `times` (R, T): strictly increasing in the first lengths[r] entries of row r, NaN after. `y` (R, T, *state):
    finite there, NaN after. `lengths` (R,): points in each trajectory. `variables`: names of the entries of the
    last axis of the state. Raises DataError when these do not hold.
    """

    times: np.ndarray
    y: np.ndarray
    lengths: np.ndarray
    variables: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.times.ndim != 2 or self.y.ndim < 3 or self.y.shape[:2] != self.times.shape:
            raise DataError(
                "times must have shape (R, T) and y (R, T, ..., variables), but they have "
                f"{self.times.shape} and {self.y.shape}"
            )
        if self.y.shape[-1] != len(self.variables):
            raise DataError(
                f"the last axis of y must have one entry for each of the {len(self.variables)} variables, "
                f"but it has {self.y.shape[-1]}"
            )
        if self.count == 0 or self.lengths.shape != (self.count,):
            raise DataError(
                f"there must be at least 1 trajectory and a length for each, but there are {self.count} "
                f"with lengths of shape {self.lengths.shape}"
            )
        if self.lengths.min() < 1 or self.lengths.max() > self.times.shape[1]:
            raise DataError(f"lengths must lie in 1 to {self.times.shape[1]}, but they are {self.lengths}")
        inside = self.inside
        finite = np.isfinite(self.times) & np.isfinite(self.y).all(axis=tuple(range(2, self.y.ndim)))
        self._refuse(inside & ~finite, "every time and value must be finite")
        back = np.zeros_like(inside)
        back[:, 1:] = inside[:, 1:] & ~(self.times[:, 1:] > self.times[:, :-1])
        self._refuse(back, "times must strictly increase within a trajectory")

    def _refuse(self, wrong: np.ndarray, rule: str) -> None:
        if wrong.any():
            row, point = np.argwhere(wrong)[0]
            raise DataError(f"{rule}, but point {point + 1} of trajectory {row + 1} breaks this")

    @classmethod
    def common(cls, times: np.ndarray, y: np.ndarray, variables: Sequence[str]) -> Trajectories:
        """Trajectories that share their times, as simulated ones do: times (T,), y (R, T, *state)."""
        times, y = np.asarray(times, float), np.asarray(y, float)
        if times.ndim != 1 or y.shape[1:2] != times.shape:
            raise DataError(f"times must be (T,) and y (R, T, ..., variables), but they are {times.shape}, {y.shape}")
        rows = np.tile(times, (len(y), 1))
        return cls(rows, y, np.full(len(y), len(times)), tuple(variables))

    @property
    def count(self) -> int:
        return len(self.times)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.y.shape[2:]

    @property
    def inside(self) -> np.ndarray:
        """(R, T), True at points and False at the padding after a trajectory's end."""
        return np.arange(self.times.shape[1]) < self.lengths[:, None]

    @property
    def points(self) -> int:
        """Number of points in all trajectories together."""
        return int(self.lengths.sum())

    def window_starts(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """(W,) trajectory and (W,) first point of every run of steps + 1 consecutive points.

        Raises DataError if there is none.
        """
        if steps < 1:
            raise DataError(f"a window must have at least 1 step, but {steps} were asked for")
        rows, starts = np.nonzero(self.inside[:, steps:])
        if len(rows) == 0:
            raise DataError(
                f"a window of {steps} steps needs {steps + 1} consecutive points, but the longest trajectory has "
                f"{self.lengths.max()}; give more points or use fewer steps"
            )
        return rows, starts

    def windows(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (W, steps + 1) and states (W, steps + 1, *state) of every run of steps + 1 consecutive points.

        The result is (steps + 1) times as large as the data; to take batches of it, use `window_starts`.
        """
        rows, starts = self.window_starts(steps)
        where = rows[:, None], starts[:, None] + np.arange(steps + 1)
        return self.times[where], self.y[where]

    def segments(self, duration: float, complete: bool = False, tolerance: float = 1e-6) -> Segments:
        """Cut every trajectory into consecutive segments of `duration`, to predict each from its first point.

        A segment holds its start and all points up to `duration` after it; `tolerance`, a fraction of `duration`,
        is added because times are rounded. The next segment starts at the first point that lies `duration` or more
        after the start (so with even times a segment's last point is the next one's start). A start with no other
        point within reach is left out. The last segment of a trajectory may be shorter; `complete` leaves it out.
        Raises DataError if nothing is left.
        """
        if not (math.isfinite(duration) and duration > 0):
            raise DataError(f"a segment's duration must be above 0 and finite, but it is {duration}")
        slack = tolerance * duration
        cuts: list[tuple[int, int, int]] = []  # trajectory, first point, point after the last
        for row, length in enumerate(self.lengths):
            t = self.times[row, :length]
            start = 0
            while start < length:
                end = int(np.searchsorted(t, t[start] + duration + slack, side="right"))
                reached = t[-1] >= t[start] + duration - slack
                if end - start >= 2 and (reached or not complete):
                    cuts.append((row, start, end))
                following = int(np.searchsorted(t, t[start] + duration - slack, side="left"))
                start = max(following, start + 1)
        if not cuts:
            whole = "whole " if complete else ""
            raise DataError(
                f"there must be at least one {whole}segment of duration {duration:g} with 2 points, but no trajectory "
                "has one; use another duration or denser times"
            )
        row, start, end = np.array(cuts).T
        offset = np.arange((end - start).max())
        mask = offset < (end - start)[:, None]
        where = row[:, None], np.minimum(start[:, None] + offset, self.times.shape[1] - 1)
        times, y = self.times[where], self.y[where]
        times[~mask], y[~mask] = np.nan, np.nan
        return Segments(times, y, mask, row)

    def select(self, indices: Sequence[int] | np.ndarray) -> Trajectories:
        """Some of the trajectories, in the order of `indices`."""
        chosen = np.asarray(indices, dtype=int)
        lengths = self.lengths[chosen]
        stop = lengths.max(initial=0)
        return Trajectories(self.times[chosen, :stop], self.y[chosen, :stop], lengths, self.variables)

    def time_block(self, lo_fraction: float, hi_fraction: float) -> Trajectories:
        """Of each trajectory, the points between two fractions of its number of points (rounded).

        Blocks whose fractions meet share no point and leave none out. Raises DataError if a block has fewer than 2.
        """
        if not 0 <= lo_fraction < hi_fraction <= 1:
            raise DataError(f"a block's fractions must be 0 <= lo < hi <= 1, but they are {lo_fraction}, {hi_fraction}")
        lo = np.rint(lo_fraction * self.lengths).astype(int)
        lengths = _block_lengths(self.lengths, lo_fraction, hi_fraction)
        if lengths.min() < 2:
            row = int(lengths.argmin())
            raise DataError(
                f"a block of time needs at least 2 points, but the one from {lo_fraction:g} to {hi_fraction:g} of "
                f"trajectory {row + 1} (of {self.lengths[row]} points) has {lengths[row]}; "
                f"{_points_needed([(lo_fraction, hi_fraction)])} points are enough"
            )
        offset = np.arange(lengths.max())
        where = np.arange(self.count)[:, None], np.minimum(lo[:, None] + offset, self.times.shape[1] - 1)
        times, y = self.times[where], self.y[where]
        beyond = offset >= lengths[:, None]
        times[beyond], y[beyond] = np.nan, np.nan
        return Trajectories(times, y, lengths, self.variables)

    def content_hash(self) -> str:
        """SHA-256 of the points, lengths, shapes and names; the amount of padding does not matter."""
        digest = hashlib.sha256(repr((self.variables, self.state_shape, self.count)).encode())
        inside = self.inside
        digest.update(self.lengths.astype("<i8").tobytes())
        digest.update(self.times[inside].astype("<f8").tobytes())
        digest.update(self.y[inside].astype("<f8").tobytes())
        return digest.hexdigest()


def split(
    trajectories: Trajectories,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    by: Literal["auto", "trajectory", "time"] = "auto",
    seed: int = 0,
) -> tuple[Trajectories, Trajectories, Trajectories]:
    """Training, validation and test data, disjoint and together everything.

    `by="trajectory"` draws whole trajectories with `seed`, at least one for each part; `by="time"` gives the
    first, middle and last block of every trajectory (a forecast) and does not depend on `seed`; `by="auto"` goes by
    trajectory if there are at least 5, else by time. Raises DataError if there is too little data.
    """
    if by not in ("auto", "trajectory", "time"):
        raise DataError(f"a split must be by auto, trajectory or time, but it is by {by!r}")
    if len(fractions) != 3 or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-9):
        raise DataError(f"a split needs three fractions above 0 whose sum is 1, but they are {tuple(fractions)}")
    if by == "auto":
        by = "trajectory" if trajectories.count >= MIN_TRAJECTORIES else "time"
    if by == "trajectory":
        return _by_trajectory(trajectories, fractions, seed)
    edges = (0.0, fractions[0], 1 - fractions[2], 1.0)
    blocks = list(itertools.pairwise(edges))
    shortest = np.min([_block_lengths(trajectories.lengths, *block) for block in blocks], axis=0)
    if shortest.min() < 2:
        row = int(shortest.argmin())
        otherwise = " or split by trajectory" if trajectories.count > 2 else ""
        raise DataError(
            f"a split by time into {', '.join(f'{f:g}' for f in fractions)} needs {_points_needed(blocks)} points in "
            f"every trajectory, so that each part has at least 2, but trajectory {row + 1} has "
            f"{trajectories.lengths[row]}; give more points{otherwise}"
        )
    train, validation, test = (trajectories.time_block(lo, hi) for lo, hi in blocks)
    return train, validation, test


def _by_trajectory(
    data: Trajectories, fractions: tuple[float, float, float], seed: int
) -> tuple[Trajectories, Trajectories, Trajectories]:
    validation, test = (max(1, round(fraction * data.count)) for fraction in fractions[1:])
    while validation + test >= data.count and max(validation, test) > 1:  # training must get one too
        validation, test = (validation - 1, test) if validation > test else (validation, test - 1)
    train = data.count - validation - test
    if train < 1:
        raise DataError(
            f"a split by trajectory needs at least 3 trajectories, one for each part, but there are {data.count}; "
            "give more or split by time"
        )
    order = np.random.default_rng(seed).permutation(data.count)
    train_rows, validation_rows, test_rows = np.split(order, [train, train + validation])
    return data.select(np.sort(train_rows)), data.select(np.sort(validation_rows)), data.select(np.sort(test_rows))


def _block_lengths(lengths: np.ndarray, lo: float, hi: float) -> np.ndarray:
    return (np.rint(hi * lengths) - np.rint(lo * lengths)).astype(int)


def _points_needed(blocks: list[tuple[float, float]]) -> int:
    """The number of points from which on every block has at least 2."""
    enough = math.ceil(3 / min(hi - lo for lo, hi in blocks))  # rounding takes at most 1 point from a block
    if enough > 10_000:
        return enough
    # Below that, rounding decides, and not monotonically: the answer follows the last number that fails.
    n = np.arange(enough)
    fails = np.min([_block_lengths(n, lo, hi) for lo, hi in blocks], axis=0) < 2
    return int(n[fails].max()) + 1
