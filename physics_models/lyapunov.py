"""Lyapunov spectra: how fast small differences grow along and across an attractor, by repeated QR decompositions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from physics_models.base import System
from physics_models.solution import SimulationError, on_cpu_in_double

BLOCKS = 16  # independent stretches to take the statistical error from
CHECKS = 16  # intervals, at least, in which the integration error is looked at
MAX_SUBSTEPS = 4096


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Lyapunov exponents (K,) per unit of time, the largest first, and their statistical standard errors (K,).

    The errors are those of a mean over independent stretches of trajectory; exponents cut off by `duration` that is
    short against the attractor's own times have a bias which they do not tell. `integration_error`: the relative
    change of states and differences over one interval when the integration step is halved, the largest found in some
    intervals spread over the whole run.
    """

    exponents: np.ndarray
    standard_error: np.ndarray
    integration_error: float

    @property
    def kaplan_yorke_dimension(self) -> float:
        """k + (sum of the k largest) / |the next|, for the largest k whose sum is not negative.

        Needs the whole spectrum; K if the sum of all is not negative. Source: J. L. Kaplan and J. A. Yorke, "Chaotic
        behavior of multidimensional difference equations", 1979.
        """
        sums = np.concatenate([[0.0], np.cumsum(self.exponents)])
        k = int(np.flatnonzero(sums >= 0)[-1])
        return float(k) if k == len(self.exponents) else k + float(sums[k] / -self.exponents[k])


def lyapunov_spectrum(
    system: System,
    duration: float,
    *,
    n_starts: int = 16,
    rng_seed: int = 0,
    transient: float | None = None,
    interval: float | None = None,
    n_exponents: int | None = None,
    rtol: float = 1e-9,
) -> Spectrum:
    """The spectrum of a system, averaged over `n_starts` trajectories from its own law of initial states.

    `duration`: time over which growth is measured on each, after `transient` (by default ten time scales) in which the
    states reach the attractor and the differences turn to their growing directions; `interval`: time between two
    orthonormalisations (by default a tenth of the time scale); other arguments as for `spectrum_of_field`.

    Raises ValueError for a `Map` and what is told of one, which have no field, and what `spectrum_of_field` raises.
    """
    if system.discrete:
        raise ValueError(f"a Lyapunov spectrum needs a differential equation, but {type(system).__name__} is a map")
    if n_starts < 1:
        raise ValueError(f"n_starts must be 1 or more, but it is {n_starts}")
    starts = np.stack([system.initial_state(np.random.default_rng([rng_seed, i])) for i in range(n_starts)])
    scale = system.time_scale
    return spectrum_of_field(
        system.field,
        starts,
        duration,
        transient=10 * scale if transient is None else transient,
        interval=scale / 10 if interval is None else interval,
        n_exponents=n_exponents,
        rng_seed=rng_seed,
        rtol=rtol,
    )


def spectrum_of_field(
    field: Callable[[Any, Any], Any],
    starts: np.ndarray,
    duration: float,
    *,
    transient: float,
    interval: float,
    n_exponents: int | None = None,
    rng_seed: int = 0,
    rtol: float = 1e-9,
) -> Spectrum:
    """The spectrum of any field, one that was learned for instance.

    `field(t, y)`: dy/dt for states y (B, *state_shape), each on its own, traceable by JAX. `starts`: (B, *state_shape),
    states at time 0. `duration` and `transient`: times with and before measurement. `interval`: time between two
    orthonormalisations, within which differences must neither overflow nor align. `n_exponents`: how many, the largest
    first; all by default. `rng_seed` picks the first directions. `rtol`: relative error of an interval that the
    integration step is halved for, wherever on the run it is found to be larger.

    Differences dy obey d(dy)/dt = (df/dy) dy along y. They are carried along with y by a Runge-Kutta method of order
    8, in double precision, and after every interval made orthonormal by a QR decomposition; the exponents are the
    means of the logarithms of R's diagonal over the interval. The sum of a whole spectrum is the mean divergence.

    Raises ValueError for arguments out of range, SimulationError if a trajectory stops being finite or would need more
    than `MAX_SUBSTEPS` steps an interval, as stiff fields do.

    Source: G. Benettin et al., Meccanica 15 (1980), doi:10.1007/BF02128236; coefficients: E. Hairer, S. P. Norsett and
    G. Wanner, "Solving ordinary differential equations I", 1993, section II.10 (DOP853).
    """
    starts = np.asarray(starts, dtype=np.float64)
    size = int(np.prod(starts.shape[1:]))
    k = size if n_exponents is None else n_exponents
    _check(starts, size, k, duration, transient, interval)
    rng = np.random.default_rng([rng_seed, 2**32])  # beyond the streams of initial states
    frame = np.linalg.qr(rng.standard_normal((len(starts), size, k)))[0]
    pieces = -(-BLOCKS // len(starts))  # few starts are cut into blocks, whose scatter tells the statistical error
    parts = -(-CHECKS // pieces)
    before, count = math.ceil(transient / interval), math.ceil(duration / (interval * pieces * parts))
    with on_cpu_in_double():
        advance, measure = _program(field)
        substeps, _ = _substeps(advance, starts, frame, 0.0, interval, rtol, 2)
        y, frame, _ = measure(starts, frame, 0.0, interval, substeps, before)
        t = _checked(y, before * interval)
        growth, error = [], 0.0
        for _ in range(pieces):
            logs = 0.0
            for _ in range(parts):
                # The attractor may be faster here than where the states began.
                substeps, found = _substeps(advance, y, frame, t, interval, rtol, substeps)
                error = max(error, found)
                y, frame, more = measure(y, frame, t, interval, substeps, count)
                t, logs = _checked(y, t + count * interval), logs + np.asarray(more)
            growth.append(logs / (parts * count * interval))
    rates = np.concatenate(growth)  # (pieces * B, K)
    mean, error_of_mean = rates.mean(axis=0), rates.std(axis=0, ddof=1) / np.sqrt(len(rates))
    order = np.argsort(-mean, kind="stable")
    return Spectrum(mean[order], error_of_mean[order], error)


def _check(starts: np.ndarray, size: int, k: int, duration: float, transient: float, interval: float) -> None:
    if starts.ndim < 2 or starts.size == 0 or not np.isfinite(starts).all():
        raise ValueError(f"starts must be finite and of shape (B, *state_shape), but their shape is {starts.shape}")
    if not 1 <= k <= size:
        raise ValueError(f"n_exponents must be from 1 to the size of a state, {size}, but it is {k}")
    if not 0 < interval < np.inf:
        raise ValueError(f"interval must be above 0, but it is {interval}")
    if not BLOCKS * interval <= duration < np.inf:
        raise ValueError(f"duration must be at least {BLOCKS} intervals of {interval:g}, but it is {duration}")
    if not 0 <= transient < np.inf:
        raise ValueError(f"transient must be 0 or more, but it is {transient}")


def _checked(y: Any, t: float) -> float:
    """The time t, if the states y that belong to it are finite."""
    bad = ~np.isfinite(np.asarray(y)).reshape(len(y), -1).all(axis=-1)
    if bad.any():
        raise SimulationError(
            f"the trajectory from start {int(np.argmax(bad))} (and {bad.sum() - 1} more) is not finite at t = {t:.6g}: "
            f"a Lyapunov spectrum needs trajectories that stay on an attractor",
            stopped_at=t,
            trajectory=int(np.argmax(bad)),
        )
    return t


def _substeps(
    advance: Callable[..., Any], y: Any, frame: Any, t: float, interval: float, rtol: float, n: int
) -> tuple[int, float]:
    """Steps for one interval, n or more, twice as many as change its end by less than rtol, and that change."""
    coarse = advance(y, frame, t, interval, n // 2)
    while n <= MAX_SUBSTEPS:
        fine = advance(y, frame, t, interval, n)
        changes = [
            np.linalg.norm(b - a) / np.linalg.norm(b) for a, b in zip(coarse, map(np.asarray, fine), strict=True)
        ]
        if max(changes) < rtol:
            return n, float(max(changes))
        coarse, n = fine, 2 * n
    raise SimulationError(
        f"more than {MAX_SUBSTEPS} steps are needed for an interval of {interval:g}: the field is stiff or leaves its "
        f"domain; give a shorter interval or a larger rtol than {rtol:g}"
    )


@functools.lru_cache(maxsize=4)  # a learned field holds on to its weights
def _program(field: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`advance`, over one interval in `n` steps, and `measure`, over `count` of them with a QR each."""
    import jax
    import jax.numpy as jnp
    from scipy.integrate import DOP853

    nodes, matrix, weights = (jnp.asarray(part) for part in (DOP853.C, DOP853.A, DOP853.B))
    stages = len(weights)

    def rates(t: Any, y: Any, frame: Any) -> tuple[Any, Any]:
        """dy/dt, and df/dy applied to every column of the frames (B, size, K)."""
        rate, along = jax.linearize(lambda y: field(t, y), y)
        directions = jnp.moveaxis(frame, -1, 0).reshape(frame.shape[-1], *y.shape)
        grown = jax.vmap(along)(directions)
        return rate, jnp.moveaxis(grown.reshape(frame.shape[-1], *frame.shape[:2]), 0, -1)

    def step(t: Any, y: Any, frame: Any, h: Any) -> tuple[Any, Any]:
        def stage(i: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
            # Stages not yet found are zero, and so is the matrix there.
            moved, turned = (
                part + h * jnp.tensordot(matrix[i], ks, 1) for part, ks in zip((y, frame), found, strict=True)
            )
            new = rates(t + nodes[i] * h, moved, turned)
            return found[0].at[i].set(new[0]), found[1].at[i].set(new[1])

        empty = tuple(jnp.zeros((stages, *part.shape)) for part in (y, frame))
        ks = jax.lax.fori_loop(0, stages, stage, empty)  # a loop, not twelve copies of the field to compile
        return y + h * jnp.tensordot(weights, ks[0], 1), frame + h * jnp.tensordot(weights, ks[1], 1)

    def advance(y: Any, frame: Any, t: Any, interval: Any, n: Any) -> tuple[Any, Any]:
        h = interval / n
        return jax.lax.fori_loop(0, n, lambda i, now: step(t + i * h, now[0], now[1], h), (y, frame))

    def measure(y: Any, frame: Any, t: Any, interval: Any, n: Any, count: Any) -> tuple[Any, Any, Any]:
        def one(i: Any, now: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            y, frame = advance(now[0], now[1], t + i * interval, interval, n)
            frame, r = jnp.linalg.qr(frame)
            return y, frame, now[2] + jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))

        return jax.lax.fori_loop(0, count, one, (y, frame, jnp.zeros((frame.shape[0], frame.shape[2]))))

    return jax.jit(advance), jax.jit(measure)
