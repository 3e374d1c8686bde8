"""Systems with chance along the way: additive noise, strong order 1.5, steps halved on the same Brownian path."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from physics_models.base import System
from physics_models.solution import (
    MAX_REFINEMENT_ERROR,
    Reference,
    SimulationError,
    on_cpu_in_double,
    stopped,
    trajectory_stream,
)
from physics_models.solve_exponential import (
    MAX_STEPS,
    coefficients,
    contour,
    note_stops,
    step,
    tabulate,
    transforms,
)
from physics_models.under_intervention import Clamped, original

DEPTH = 22  # of the halvings of one interval; MAX_STEPS allows 21
FORCED_MODES = 4
STABLE = 2.78  # the longest stable step of the classical Runge-Kutta method, times the rate of decay
# The law of the noise-free trajectories that the noise is measured by.
SCALE_TRAJECTORIES, SCALE_HORIZON, SCALE_POINTS, SCALE_RTOL = 16, 2.0, 51, 1e-4


class Table(NamedTuple):
    """The coefficients of `solve_exponential`, and what W and H of a step add at its middle and its end."""

    deterministic: Any
    half_w: np.ndarray
    half_h: np.ndarray
    whole_w: np.ndarray
    whole_h: np.ndarray


def solve(
    system: System, y0: np.ndarray, times: np.ndarray, rtol: float, process_noise: float, rng_seed: int
) -> Reference:
    """Solve dy = field(t, y) dt + process_noise noise_scale dW: as `simulate`, with `noise_scale` below.

    W: one standard Wiener process for every entry of the state, or, for a field, one in each of its waves with up to 4
    periods along each axis, so that the law does not depend on the grid. Trajectory i has its own Brownian path, which
    neither more trajectories nor later times change.

    The step is halved on the same paths until that changes no state at the end of an interval between two times by more
    than 1e-3 of its variable's size (see `Reference`) over the number of intervals, both solutions having begun the
    interval together: without chaos these errors add up to 1e-3 at most. Chaos makes more of them, as it does of the
    noise itself, which they are far below.

    Method: the classical Runge-Kutta method (with linear terms taken exactly: ETDRK4, see `solve_exponential`), its
    stages displaced by combinations of the path's increment and its area over the step, which satisfy the conditions of
    A. Roessler, "Runge-Kutta methods for the strong approximation of solutions of stochastic differential
    equations", SIAM Journal on Numerical Analysis 48 (2010), for order 1.5 with additive noise. Terms of the error
    without chance are of order 4.
    """
    multiplier = system.linear_multiplier()
    diagonal = np.zeros((1,), dtype=complex) if multiplier is None else multiplier
    sigma = process_noise * noise_scale(system)
    if system.stiff:
        _check_rates(system, y0[0], times)
    # Each trajectory's own stream gives the key of its Brownian path.
    keys = np.stack([trajectory_stream(rng_seed, i).integers(2**32, size=2, dtype=np.uint32) for i in range(len(y0))])

    gaps = np.diff(times)
    for extra in range(1, DEPTH + 1):
        # What acts within one short interval alone is seen by halving its steps too.
        least = extra if system.switch_times else 1
        levels = np.maximum(least, np.ceil(np.log2(gaps / gaps.max()) + extra - 1e-9)).astype(np.int64)
        if np.sum(2.0**levels) > MAX_STEPS:
            break
        with on_cpu_in_double():
            y, change, stopped_at = run(system, y0, times, levels, diagonal, sigma, keys)
        stops = float(stopped_at.min())
        error = np.inf if np.isfinite(stops) else local_error(y, change)
        if error * len(gaps) <= MAX_REFINEMENT_ERROR:
            return Reference(y, error, rtol)
    name = type(system).__name__
    if np.isfinite(stops):
        raise stopped(name, stopped_at)
    raise SimulationError(
        f"{name}: halving steps of {gaps.max() / 2.0 ** (extra - 1):.2g} still changes the next state by {error:.1e} "
        f"of its size, which must fall below {MAX_REFINEMENT_ERROR / len(gaps):.1e}, and {MAX_STEPS} steps do not do: "
        f"give a shorter horizon than {times[-1] - times[0]:g}, or milder parameters"
    )


def local_error(y: np.ndarray, change: np.ndarray) -> float:
    """The largest change of a state by halving the step within its interval, relative to its variable's size."""
    axes = tuple(range(y.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):  # on its way to a blow-up; not a number, which is not small
        scale = np.sqrt(np.mean(y**2, axis=axes))
        return float(np.max(np.max(np.abs(change), axis=axes) / np.where(scale > 0, scale, 1)))


def run(
    system: System,
    y0: np.ndarray,
    times: np.ndarray,
    levels: np.ndarray,
    multiplier: np.ndarray,
    sigma: np.ndarray,
    keys: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y with 2^levels steps an interval, what the last halving changed in each, and the times of stops, (R,)."""
    gaps = np.diff(times)
    coarse, coarse_table = tabulate(multiplier, gaps, levels - 1, with_noise)
    fine, fine_table = tabulate(multiplier, gaps, levels, with_noise)
    tables = ((coarse, coarse_table), (fine, fine_table))
    y, change, stopped_at = _program()(system, y0, times, levels, tables, sigma, keys)
    return np.array(y), np.array(change), np.array(stopped_at)  # copies: JAX's are read-only


@functools.cache
def noise_scale(system: System) -> np.ndarray:
    """(D,): for each variable its standard deviation over the square root of the time scale, from the law of noise-free
    trajectories: 16 (of a field with its many points 2) from the system's own initial states, two time scales long.

    A noise of size 1 alone would thus move a variable by its own standard deviation in one time scale. Variables whose
    rate is another variable by definition, as that of a position is a velocity, or a constant, as that of a charge or a
    clock, and the coordinates of canonical pairs get none: forces fluctuate, definitions do not. An intervention, and
    wider starts, leave the noise as it is, but what is held gets none: (*state_shape), 0 at these entries.
    """
    if hasattr(system, "origin"):
        scale = noise_scale(original(system))
        return np.where(system._entries(system.do_held), 0.0, scale) if isinstance(system, Clamped) else scale
    # Solved by LSODA, one by one: it is quick to start, copes with stiffness, and a standard deviation needs no more.
    from physics_models.cache import initial_states

    times = np.linspace(0, SCALE_HORIZON * system.time_scale, SCALE_POINTS)
    y0 = initial_states(system, 0, SCALE_TRAJECTORIES if system.structure.grid is None else 2)
    y = np.stack([_rough(system, state, times) for state in y0])
    scale = y.std(axis=tuple(range(y.ndim - 1))) / math.sqrt(system.time_scale)
    coordinates = {q for q, _ in system.structure.canonical}
    states = y[:, SCALE_POINTS // 2]
    rates = system.field(0.0, states)
    for k, name in enumerate(system.variables):
        others = (states[..., j] for j in range(len(scale)) if j != k)
        constant = np.ptp(rates[..., k]) == 0 < np.ptp(rates)  # among others that vary
        if constant or name in coordinates or any(np.array_equal(rates[..., k], other) for other in others):
            scale[k] = 0.0
    scale.flags.writeable = False
    return scale


def _rough(system: System, y0: np.ndarray, times: np.ndarray) -> np.ndarray:
    """One trajectory (T, *state_shape) to a few digits."""

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        return np.ravel(system.field(t, y.reshape(y0.shape)))

    with np.errstate(all="ignore"):
        found = solve_ivp(rate, (times[0], times[-1]), y0.ravel(), "LSODA", times, rtol=SCALE_RTOL, atol=SCALE_RTOL)
    if not found.success or not np.isfinite(found.y).all():
        raise SimulationError(
            f"{type(system).__name__}: process_noise has no scale, because a trajectory without it does not reach "
            f"t = {times[-1]:g}: {found.message}",
            stopped_at=float(found.t[-1]) if len(found.t) else 0.0,
        )
    return found.y.T.reshape(len(times), *y0.shape)


def _check_rates(system: System, y0: np.ndarray, times: np.ndarray) -> None:
    """Refuse a stiff system whose fastest rates, along a path without noise, explicit steps are too long for: they
    would blow up in ever more steps for minutes."""
    points = np.linspace(times[0], times[-1], SCALE_POINTS)
    shift = 1e-6 * np.eye(y0.size).reshape(-1, *y0.shape)
    for last, (t, y) in enumerate(zip(points[1:], _rough(system, y0, points)[1:], strict=True)):
        with np.errstate(all="ignore"):
            slopes = (system.field(t, y + shift) - system.field(t, y - shift)).reshape(y0.size, -1) / 2e-6
        needed = (t - times[0]) * np.abs(np.linalg.eigvals(np.nan_to_num(slopes))).max() / STABLE
        if needed > MAX_STEPS:
            raise SimulationError(
                f"{type(system).__name__}: with process noise, which takes explicit steps, a stiff system must need at "
                f"most {MAX_STEPS:.0e} of them, but it needs {needed:.1e} to reach t = {t:.3g}: give a horizon of "
                f"{points[last] - times[0]:.3g} or less, or process_noise=0"
            )


def with_noise(multiplier: np.ndarray, h: float) -> Table:
    """Coefficients of one step length h, on which the Brownian path is taken to be the parabola with its increment W
    and area H: dW = (W + 6 H (1 - 2 s / h)) ds / h, which is the mean of all paths that have them."""

    def phi1(z: np.ndarray) -> np.ndarray:
        return (np.exp(z) - 1) / z

    def phi2(z: np.ndarray) -> np.ndarray:
        return (np.exp(z) - 1 - z) / z**2

    return Table(
        coefficients(multiplier, h),
        contour(multiplier, h / 2, phi1) / 2,
        3 * contour(multiplier, h / 2, lambda z: phi1(z) - phi2(z)),
        contour(multiplier, h, phi1),
        6 * contour(multiplier, h, lambda z: phi1(z) - 2 * phi2(z)),
    )


def halves(w: Any, area: Any, h: Any, draws: Any) -> tuple[Any, Any]:
    """(W, H) of both halves of a step of length h, given its own and two independent standard normal draws.

    H is the mean over the step of the path less its chord, normal with variance h / 12 and independent of W. With
    w1, w2, H1, H2 of the halves: W = w1 + w2, H = (w1 - w2) / 4 + (H1 + H2) / 2; given both, w1 - w2 is normal with
    mean 3 H and variance h / 4, and H1 - H2 with mean 0 and variance h / 12.
    """
    difference = 3 * area + math.sqrt(1 / 4) * h**0.5 * draws[0]
    total, spread = 2 * area - difference / 2, math.sqrt(1 / 12) * h**0.5 * draws[1]
    return ((w + difference) / 2, (total + spread) / 2), ((w - difference) / 2, (total - spread) / 2)


@functools.cache
def _program() -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    @functools.partial(jax.jit, static_argnums=0)
    def solve(system: System, y0: Any, times: Any, levels: Any, tables: Any, sigma: Any, keys: Any) -> Any:
        forward, back, rate = transforms(system)
        colour = _colour(system)
        paths = jax.random.wrap_key_data(keys)

        def draws(i: Any, node: Any) -> Any:
            """Two standard normal states (2, R, *state_shape) for a node of the tree of halvings of interval i."""

            def one(key: Any) -> Any:
                key = jax.random.fold_in(jax.random.fold_in(key, i), node)
                return jax.random.normal(key, (2, *y0.shape[1:]), dtype=y0.dtype)

            return jnp.moveaxis(jax.vmap(one)(paths), 0, 1)

        def noise(c: Any, w: Any, area: Any) -> Any:
            """Displacements of the stages. Among them, W's share is each stage's own time; H's shares at the two middle
            stages differ by sqrt(3), so that the mean square of all is that of the path, h / 2: a parabola has less."""
            w, area = (forward(colour(sigma * part)) for part in (w, area))
            middle, apart = c.half_w * w + c.half_h * area, math.sqrt(3) / 2 * area
            return middle + apart, middle - apart, c.whole_w * w + c.whole_h * area

        def interval(carry: Any, i: Any, level: Any, which: Any, table: Any) -> Any:
            """Over interval i in 2^level steps."""
            c = jax.tree.map(lambda rows: rows[which[i]], table)
            length = times[i + 1] - times[i]
            root = draws(i, 0) * jnp.sqrt(length * jnp.array([1, 1 / 12])).reshape(2, *(1,) * y0.ndim)
            # Halves that begin later wait here, by their level, so that each node of the tree is drawn once.
            waiting = jnp.zeros((DEPTH + 1, *root.shape), dtype=y0.dtype).at[0].set(root)

            def advance(state: Any) -> Any:
                j, v, stopped_at, waiting = state
                ends = lax.population_count((j & -j) - 1)  # trailing zeros of j: how many halvings begin here
                top = jnp.where(j == 0, 0, level - ends)

                def descend(k: Any, state: Any) -> Any:
                    (w, area), waiting = state
                    node = (1 << k) + (j >> (level - k))  # numbered as in a heap; 0 is left for the root's own draw
                    first, second = halves(w, area, length / 2.0**k, draws(i, node))
                    return jnp.stack(first), waiting.at[k + 1].set(jnp.stack(second))

                (w, area), waiting = lax.fori_loop(top, level, descend, (waiting[top], waiting))
                h = c.deterministic.h
                v = step(rate, c.deterministic, times[i] + j * h, v, noise(c, w, area))
                return j + 1, v, note_stops(v, times[i] + (j + 1) * h, stopped_at), waiting

            def goes_on(state: Any) -> Any:
                return (state[0] < 1 << level) & jnp.isinf(state[2]).all()

            start = (jnp.zeros((), dtype=level.dtype), *carry, waiting)
            _, v, stopped_at, _ = lax.while_loop(goes_on, advance, start)
            return v, stopped_at

        def both(carry: Any, i: Any) -> Any:
            less = jnp.array([1, 0], dtype=levels.dtype)

            # One loop for both, so that its body is compiled once.
            def with_steps(k: Any) -> Any:
                which, table = jax.tree.map(lambda *rows: jnp.stack(rows)[k], *tables)
                return interval(carry, i, levels[i] - less[k], which, table)

            v, stopped_at = lax.map(with_steps, jnp.arange(2))
            later = back(v)
            return (v[1], stopped_at[1]), (later[1], later[1] - later[0])

        start = (forward(y0), jnp.full(len(y0), jnp.inf))
        (_, stopped_at), (later, change) = lax.scan(both, start, jnp.arange(len(levels)))
        return jnp.concatenate([y0[None], later]).swapaxes(0, 1), change.swapaxes(0, 1), stopped_at

    return solve


def _colour(system: System) -> Callable[[Any], Any]:
    """White noise on a field's grid to noise of unit variance in its lowest waves only; other noise as it is."""
    import jax.numpy as jnp

    grid = system.structure.grid
    if grid is None:
        return lambda y: y
    low = [np.abs(np.fft.fftfreq(n, 1 / n)) <= FORCED_MODES for n in grid]
    mask = functools.reduce(np.multiply.outer, low)[..., None]
    gain = mask * math.sqrt(mask.size / mask.sum())
    axes = tuple(range(-1 - len(grid), -1))

    def filtered(y: Any) -> Any:
        wide = y.reshape(*y.shape[:-2], *grid, y.shape[-1])
        return jnp.fft.ifftn(jnp.fft.fftn(wide, axes=axes) * gain, axes=axes).real.reshape(y.shape)

    return filtered
