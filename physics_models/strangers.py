"""Strangers in a flock: agents that move as members of another flock do, and take no notice of those around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from physics_models.base import Map, System
from physics_models.cache import initial_states, reference
from physics_models.simulate import simulate
from physics_models.solution import Reference

POOL = 64  # other flocks among which strangers come from the one as fast as theirs
SUBSTEPS = 8  # of a sampling interval, at which tracks are known; a step of the solver takes two of them
STREAM = 2**32 + 16  # of what is drawn for a case, beyond the initial states
MOST_ERROR = 1e-6  # of the members' motion, by halving the step


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
    missing = [name for name in ("translation", "rotation", "time") if name not in s.symmetries]
    if missing:
        raise ValueError(f"system must be the same everywhere and in all directions, but it lacks: {missing[0]}")
    fine = start + interval / SUBSTEPS * np.arange((points - 1) * SUBSTEPS + 1)
    times = np.concatenate([[0.0], fine]) if start > 0 else fine
    found = reference(system, seed, n, times) if keep else simulate(system, initial_states(system, seed, n), times)
    return replace(found, y=found.y[:, -len(fine) :])


def cases(system: System, tracks: np.ndarray, strangers: np.ndarray, interval: float, seed: int) -> Cases:
    """Groups of which some agents, from the first point on, are strangers: as many as `strangers` (R,) says of each.

    `tracks` (R, T', N, 4): those of `flocks`, with their `interval`. Each group is one of these flocks up to the first
    point. Then its strangers, drawn at random from `seed`, are agents of another of the flocks, as fast as theirs
    (the nearest of `POOL`), which was turned to fly in the same mean direction: each stands at first in the place
    of an agent of the group, whose place in its own flock was the nearest to that, and goes on as it went on there.
    The members go on by the equations, in which they feel the strangers where they are. Groups with strangers thus
    begin with the density of a flock and one common velocity, and in a group of strangers all speeds and headings,
    and so the polarisation, are those of a flock at all times: it is no flock because its agents do not answer to
    their neighbours.

    Raises ValueError for fewer than 2 groups and for too long an interval. Such surrogates, put together from the
    tracks of groups that never met, are a usual null model of collective motion.
    """
    if len(tracks) < 2:
        raise ValueError(f"there must be 2 groups or more, for strangers come from others, but there are {len(tracks)}")
    n_agents, y, h = tracks.shape[2], tracks.copy(), interval / SUBSTEPS
    members = np.ones((len(tracks), n_agents), bool)
    speeds = np.linalg.norm(tracks[:, 0, :, 2:].mean(axis=1), axis=-1)  # of whole flocks
    for row, own in enumerate(tracks):
        rng = np.random.default_rng([seed, STREAM, row])
        others = rng.integers(len(tracks) - 1, size=POOL)
        others += others >= row
        other = others[np.abs(speeds[others] - speeds[row]).argmin()]
        places = rng.choice(n_agents, strangers[row], replace=False)
        members[row, places] = False
        flock = _turned(tracks[other], own[0])
        came = flock[:, _nearest(own[0, :, :2], flock[0, :, :2], places)]
        came[..., :2] += own[0, places, :2] - came[0, :, :2]
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


def _nearest(own: np.ndarray, other: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which agents at `other` (N, 2) stand for those of `own` with the indices `places`: the pairs of the least sum of
    squared distances, both groups about their centres."""
    apart = (own - own.mean(axis=0))[places, None] - (other - other.mean(axis=0))
    return linear_sum_assignment(np.sum(apart**2, axis=-1))[1]


def _turned(flock: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The tracks (T, N, 4) of a flock, turned so that their mean velocity begins in the direction of that of `own`."""
    (ux, uy), (wx, wy) = own[:, 2:].mean(axis=0), flock[0, :, 2:].mean(axis=0)
    angle = np.arctan2(uy, ux) - np.arctan2(wy, wx)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.concatenate([flock[..., :2] @ turn, flock[..., 2:] @ turn], axis=-1)


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
