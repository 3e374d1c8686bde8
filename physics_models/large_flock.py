"""Flocks of 10^4 to 10^6 agents: the field of `LocalFlocking` in a time proportional to N, and fixed steps of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from physics_models.agents import cruise
from physics_models.base import Array
from physics_models.local_flocking import LocalFlocking
from physics_models.neighbours import neighbour_sum

# Explicit Runge-Kutta methods as (where the stages are, their weights), each stage from the one before alone.
METHODS = {
    "midpoint": ((0.0, 0.5), (0.0, 1.0)),
    "rk4": ((0.0, 0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
PRECISIONS = ("float32", "float64")


def fast_field(system: LocalFlocking, y: Array) -> tuple[Array, Array]:
    """dy/dt of states y (N, 2 d), as `system.field(0, y)` but in time and memory O(N), for JAX programs.

    Also whether it can be trusted, see `physics_models.neighbours.Sums`. It equals the sum over all pairs but for the
    order of additions. N need not be the system's own number of agents.
    """
    import jax.numpy as jnp

    d, p = system.space_dim, system.values
    x, v = y[:, :d], y[:, d:]

    def pair(r: Any, r2: Array, v_i: Any, v_j: Any) -> tuple[Array, ...]:
        along = system.kernel("cohesion", r2, p) - system.kernel("separation", r2, p)
        align = system.kernel("alignment", r2, p)
        return tuple(along * a + align * (b - c) for a, b, c in zip(r, v_j, v_i, strict=True))

    sums = neighbour_sum(pair, x, v, system.cutoff, system.box or None)
    dv = sums.values + cruise(v, p)
    return jnp.concatenate([v, dv], axis=-1), sums.trusted


def simulate_flock(
    system: LocalFlocking,
    y0: np.ndarray,
    dt: float,
    steps: int,
    save_every: int = 1,
    method: str = "midpoint",
    precision: str = "float32",
) -> np.ndarray:
    """States (1 + steps // save_every, N, 2 d), the first being y0, in steps of fixed length dt: one compiled program.

    `y0`: (N, 2 d), N the system's own number of agents. `dt`: time step, above 0, in the system's time units; the error
    falls with dt^2 ("midpoint", 2 fields a step) or dt^4 ("rk4", 4 fields a step; the field's third derivative has
    jumps, which cost it some of that). `steps`: a multiple of `save_every`. `precision`: "float32" or "float64".
    Memory: what is returned, and O(N).

    Raises ValueError for arguments that are wrong, infinite or not a number, and if an agent leaves the region in
    which cells are known (2^16 cutoffs from the origin in float32, 2^30 in float64), with the time, which is what a
    step too long for the forces ends in.
    """
    y0 = np.asarray(y0)
    _check(system, y0, dt, steps, save_every, method, precision)
    import jax

    with jax.enable_x64(True):  # for sorting; every number that matters has the precision asked for
        program = _program(system, method, steps // save_every)
        states, trusted = program(y0.astype(precision), np.asarray(dt, precision), save_every)
        states, trusted = np.asarray(states), np.asarray(trusted)
    if not trusted.all():
        t = (int(np.argmin(trusted)) + 1) * save_every * dt
        raise ValueError(
            f"positions must stay finite and within 2^16 (float32) or 2^30 (float64) cutoffs of {system.cutoff:g} from "
            f"the origin, but do not before t = {t:.6g}: start nearer to the origin, or take a dt smaller than {dt:g}"
        )
    return np.concatenate([y0.astype(precision)[None], states])


def _check(
    system: LocalFlocking, y0: np.ndarray, dt: float, steps: int, save_every: int, method: str, precision: str
) -> None:
    if y0.shape != system.state_shape:
        raise ValueError(
            f"y0 must have the shape {system.state_shape} of the system's own states, but it is {y0.shape}: give as "
            f"many agents, or change n_agents, which is {system.n_agents}"
        )
    if not np.isfinite(y0).all():
        raise ValueError("y0 must be finite, but it holds infinities or not-a-number")
    if not (dt > 0 and np.isfinite(dt)):
        raise ValueError(f"dt must be above 0 and finite, but it is {dt}")
    if save_every < 1 or steps < 1 or steps % save_every:
        raise ValueError(f"steps must be a multiple of save_every, both 1 or more, but they are {steps}, {save_every}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but it is {method!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, but it is {precision!r}")


@functools.lru_cache(maxsize=16)
def _program(system: LocalFlocking, method: str, saves: int) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    at, weights = METHODS[method]

    def step(carry: Any, dt: Any) -> Any:
        y, trusted = carry

        def stage(inner: Any, a_w: Any) -> tuple[Any, None]:
            slope, total, ok = inner
            a, w = a_w
            slope, fine = fast_field(system, y + a * dt * slope)
            return (slope, total + w * slope, ok & fine), None

        # A loop over the stages, so that the field is compiled once and not once a stage.
        stages = (jnp.asarray(at, y.dtype), jnp.asarray(weights, y.dtype))
        (_, total, trusted), _ = jax.lax.scan(stage, (jnp.zeros_like(y), jnp.zeros_like(y), trusted), stages)
        return y + dt * total, trusted

    @jax.jit
    def run(y0: Any, dt: Any, save_every: Any) -> Any:
        def chunk(carry: Any, _: None) -> Any:
            y, trusted = jax.lax.fori_loop(0, save_every, lambda _, c: step(c, dt), carry)
            return (y, trusted), (y, trusted & jnp.isfinite(y).all())

        _, saved = jax.lax.scan(chunk, (y0, jnp.asarray(True)), None, length=saves)
        return saved

    return run
