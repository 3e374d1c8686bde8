"""Strangers in a flock: agents that move as members of another flock do, and take no notice of those around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from physics_models.base import Map, System
from physics_models.cache import initial_states, reference
from physics_models.order_parameters import polarisation
from physics_models.simulate import simulate
from physics_models.solution import Reference

POOL = 64  # other flocks, those nearest in their moments at first, among which strangers come from the best match
SUBSTEPS = 8  # of a sampling interval, at which tracks are known; a step of the solver takes two of them
STREAM = 2**32 + 16  # of what is drawn for a case, beyond the initial states
MOST_ERROR = 1e-6  # of the members' motion, by halving the step
TINY = 1e-300  # no division by 0 for a group of agents that do not move


@dataclass(frozen=True)
class Cases:
    """Tracks `y` (R, T, N, 2 d) of groups, and which of their agents are `members` (R, N) that heed all others.

    `error`: of the members' motion, estimated by refinement.
    """

    y: np.ndarray
    members: np.ndarray
    error: float


def flocks(
    system: System, seed: int, n: int, start: float, interval: float, points: int, keep: bool = True
) -> Reference:
    """n flocks of the system, seen from `start` on: what `cases` are made of. `y` (n, T', N, 4): states of `points`
    points, `interval` apart, and of `SUBSTEPS` - 1 between any two of them. `keep`: in the cache, as `reference` does.

    Raises ValueError for systems whose agents have no velocities or know places or directions, and what `reference`
    raises.
    """
    s = system.structure
    if s.agents is None or s.order != 2 or s.space_dim != 2 or s.box is not None or isinstance(system, Map):
        raise ValueError("system must be one of agents with velocities in an open plane, which flow in time")
    missing = [name for name in ("translation", "rotation", "reflection", "time") if name not in s.symmetries]
    if missing:
        raise ValueError(f"system must be the same everywhere and in all directions, but it lacks: {missing[0]}")
    fine = start + interval / SUBSTEPS * np.arange((points - 1) * SUBSTEPS + 1)
    times = np.concatenate([[0.0], fine]) if start > 0 else fine
    found = reference(system, seed, n, times) if keep else simulate(system, initial_states(system, seed, n), times)
    return replace(found, y=found.y[:, -len(fine) :])


def cases(system: System, tracks: np.ndarray, strangers: np.ndarray, interval: float, seed: int) -> Cases:
    """Groups of which some agents, from the first point on, are strangers: as many as `strangers` (R,) says of each.

    `tracks` (R, T', N, 4): those of `flocks`, with their `interval`. Each group is one of these flocks up to the first
    point. Then its strangers, drawn at random from `seed`, are agents of another of the flocks, turned to fly in the
    same mean direction, and mirrored where that is more like it. Agents of the two flocks are paired by place and
    velocity about the group's; each stranger stands at first in the place of its pair, and goes on as it went on in its
    own flock. The members go on by the equations, in which they feel the strangers where they are.

    The other flock is the one of `POOL`, and of their mirror images, whose agents in this group's places come nearest
    to its `moments`, in their means over the window and in their trends. Strangers thus share with a flock, in the
    joint law of all these, its size, density, speed and order, and how they change. They do not share what each agent
    does in answer to its neighbours.

    Raises ValueError for fewer than 2 groups and for too long an interval. Source: surrogates drawn at random under the
    constraint of given statistics, T. Schreiber, Physical Review Letters 80 (1998), doi:10.1103/PhysRevLett.80.2105.
    """
    if len(tracks) < 2:
        raise ValueError(f"there must be 2 groups or more, for strangers come from others, but there are {len(tracks)}")
    n_agents, y, h = tracks.shape[2], tracks.copy(), interval / SUBSTEPS
    members = np.ones((len(tracks), n_agents), bool)
    match = _Match(tracks[:, ::SUBSTEPS])
    for row in np.nonzero(strangers)[0].tolist():
        places = np.random.default_rng([seed, STREAM, row]).choice(n_agents, strangers[row], replace=False)
        members[row, places] = False
        other, turn, pairs = match.best(row)
        came = _moved(tracks[other][:, pairs[places]], turn)
        came[..., :2] += tracks[row, 0, places, :2] - came[0, :, :2]
        y[row][:, places] = came
    mixed = ~members.all(axis=1) & members.any(axis=1)
    error = 0.0
    if mixed.any():
        with np.errstate(all="ignore"):  # too long a step may end in infinity, and is refused below
            rough = _followed(system, y[mixed], members[mixed], h, 4)
            y[mixed] = _followed(system, y[mixed], members[mixed], h, 2)
            error = float(np.abs(y[mixed][:, ::4] - rough[:, ::4]).max()) / 15  # of fourth order
        if not error <= MOST_ERROR:
            raise ValueError(f"spacing must be shorter: at {interval:g} the members' motion is off by {error:.1g}")
    return Cases(y[:, ::SUBSTEPS], members, error)


def moments(y: np.ndarray) -> np.ndarray:
    """What a moment shows of groups (..., N, 4), (..., 9): the logarithms of their size and of their spread of
    velocities (root mean squares about the mean), the mean distance to the nearest neighbour, mean speed, polarisation,
    and the mean over agents of x_a v_b over the size, x and v about their means, a and b along and across the motion.

    The trace of the last four is half the rate at which the squared size changes, their difference across the diagonal
    is the angular momentum.
    """
    x, v = y[..., :2] - y[..., :2].mean(axis=-2, keepdims=True), y[..., 2:]
    mean = v.mean(axis=-2, keepdims=True)
    along = mean / (np.linalg.norm(mean, axis=-1, keepdims=True) + TINY)
    axes = np.concatenate([along, np.stack([-along[..., 1], along[..., 0]], axis=-1)], axis=-2)  # in rows
    dv = v - mean
    size, spread = (np.sqrt(np.mean(np.sum(a**2, axis=-1), axis=-1)) + TINY for a in (x, dv))
    both = axes @ np.swapaxes(x, -1, -2) @ dv @ np.swapaxes(axes, -1, -2) / (y.shape[-2] * size[..., None, None])
    r2 = np.sum((x[..., None, :, :] - x[..., :, None, :]) ** 2, axis=-1)
    r2[..., np.arange(y.shape[-2]), np.arange(y.shape[-2])] = np.inf
    nearest = np.sqrt(r2.min(axis=-1)).mean(axis=-1)
    speed = np.linalg.norm(v, axis=-1).mean(axis=-1)
    single = np.stack([np.log(size), np.log(spread), nearest, speed, polarisation(v)], axis=-1)
    return np.concatenate([single, both.reshape(*both.shape[:-2], 4)], axis=-1)


class _Match:
    """Flocks (R, P, N, 4), and which of them may stand for which."""

    def __init__(self, flocks: np.ndarray) -> None:
        self.flocks, found = flocks, _courses(flocks)
        self.unit = found.std(axis=0) + TINY
        self.courses = found / self.unit
        first = moments(flocks[:, 0])
        self.first = first / (first.std(axis=0) + TINY)
        centred = flocks[:, 0] - flocks[:, 0].mean(axis=1, keepdims=True)
        self.scale = np.repeat([centred[..., :2].std(), centred[..., 2:].std()], 2) + TINY

    def best(self, row: int) -> tuple[int, np.ndarray, np.ndarray]:
        """The flock that stands for that of this row: its index, the matrix that turns (or mirrors) its vectors, and
        the index of the agent that stands for each."""
        own, far = self.flocks[row, 0], np.sum((self.first - self.first[row]) ** 2, axis=-1)
        far[row] = np.inf
        pool = min(POOL, len(far) - 1)
        others = np.argpartition(far, pool - 1)[:pool]
        turns = np.stack([_turn(self.flocks[k, 0], own, mirror) for k in others for mirror in (1, -1)])
        others = np.repeat(others, 2)
        tracks = _moved(self.flocks[others], turns[:, None])
        there, here = ((a - a.mean(axis=-2, keepdims=True)) / self.scale for a in (tracks[:, 0], own))
        apart = np.sum((here[:, None] - there[:, None]) ** 2, axis=-1)
        pairs = np.stack([linear_sum_assignment(one)[1] for one in apart])
        tracks = np.take_along_axis(tracks, pairs[:, None, :, None], axis=2)
        tracks[..., :2] += (own[:, :2] - tracks[:, 0, :, :2])[:, None]
        off = np.sum((_courses(tracks) / self.unit - self.courses[row]) ** 2, axis=-1)
        return int(others[off.argmin()]), turns[off.argmin()], pairs[off.argmin()]


def _courses(tracks: np.ndarray) -> np.ndarray:
    """(R, 18): the means of the moments of tracks (R, P, N, 4) along them, and their trends (least-squares slopes)."""
    found, line = moments(tracks), np.linspace(-1, 1, tracks.shape[1])
    return np.concatenate([found.mean(axis=1), line @ found], axis=-1)


def _turn(flock: np.ndarray, own: np.ndarray, mirror: int) -> np.ndarray:
    """The matrix, to the right of vectors of `flock` (N, 4), that takes their mean velocity to the direction of that of
    `own`; with `mirror` -1 it exchanges left and right."""
    (ux, uy), (wx, wy) = own[:, 2:].mean(axis=0), flock[:, 2:].mean(axis=0)
    a, b = np.arctan2(uy, ux), np.arctan2(wy, wx)
    to_axis = np.array([[np.cos(b), -np.sin(b)], [np.sin(b), np.cos(b)]]) * [1, mirror]
    return to_axis @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def _moved(tracks: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Tracks (..., N, 4) with positions and velocities times matrices `turn` (..., 2, 2)."""
    return np.concatenate([tracks[..., :2] @ turn, tracks[..., 2:] @ turn], axis=-1)


def _followed(system: System, y: np.ndarray, members: np.ndarray, h: float, stride: int) -> np.ndarray:
    """The tracks y (R, T, N, 4), h apart, with the members' solved anew: the classical Runge-Kutta method (Kutta 1901)
    in steps of `stride` h, half-way through which the strangers' tracks are known. States between steps are NaN for
    members.

    All times are alike to the equations.
    """
    out, half, step = np.where(members[:, None, :, None], np.nan, y), stride // 2, stride * h
    out[:, 0] = state = y[:, 0]
    free = members[..., None]

    def rate(index: int, state: np.ndarray) -> np.ndarray:
        return np.asarray(system.field(0.0, np.where(free, state, y[:, index])))

    for k in range(0, y.shape[1] - 1, stride):
        k1 = rate(k, state)
        k2 = rate(k + half, state + step / 2 * k1)
        k3 = rate(k + half, state + step / 2 * k2)
        k4 = rate(k + stride, state + step * k3)
        state = np.where(free, state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4), y[:, k + stride])
        out[:, k + stride] = state
    return out
