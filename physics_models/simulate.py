"""Reference trajectories: an adaptive 8th-order solution in double precision, and a measure of its own error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from physics_models.base import System

# Above this a trajectory no longer deserves the name of truth: a model could not be told from the reference's own
# error. A hundred trajectories of Lorenz 1963 reach it after 13 Lyapunov times at rtol 1e-10, 16 at 1e-13.
MAX_REFINEMENT_ERROR = 1e-3
MAX_STEPS = 100_000
# A controller that asks for a step shorter than this part of the horizon is taken to sit before a singularity.
SHORTEST_STEP = 1e-13
STRETCH = 1.1


class SimulationError(RuntimeError):
    """No trustworthy reference trajectory exists for these initial states and times."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Trajectories y of shape (R, T, *state_shape), float64, and how far they can be trusted.

    `refinement_error`: the largest change of any entry of y when the tolerance is halved, divided by the
    root mean square of that variable over everything simulated. `rtol`: the coarser tolerance of the two.
    """

    y: np.ndarray
    refinement_error: float
    rtol: float


def simulate(system: System, y0: np.ndarray, times: np.ndarray, rtol: float = 1e-10) -> Reference:
    """Solve dy/dt = field(t, y) from every y0, landing exactly on every time.

    `y0`: (R, *state_shape), the states at times[0]. `times`: (T,), increasing, common to all trajectories, in the
    system's time units. `rtol`: relative tolerance of a step; the absolute one is the same, so it is meant for states
    of order one. Each trajectory has its own step sizes.

    The problem is solved twice, at rtol and at rtol / 2, and the second solution is returned: for an error
    proportional to the tolerance, the difference of the two is the error of the second.

    Raises ValueError for arguments of the wrong shape or value, and SimulationError, with the time, where a trajectory
    blows up, leaves the domain of the field or needs too many steps, or if the refinement error is above
    `MAX_REFINEMENT_ERROR`.

    Method: Dormand and Prince 8(7), "High order embedded Runge-Kutta formulae", 1981, as implemented by diffrax.
    """
    y0, times = np.asarray(y0, dtype=np.float64), np.asarray(times, dtype=np.float64)
    _check_arguments(system, y0, times, rtol)
    if len(times) == 1 or len(y0) == 0:
        return Reference(np.repeat(y0[:, None], len(times), axis=1), 0.0, rtol)
    coarse = _solve(system, y0, times, rtol)
    y = _solve(system, y0, times, rtol / 2)
    axes = tuple(range(y.ndim - 1))
    scale = np.sqrt(np.mean(y**2, axis=axes))
    change = np.max(np.abs(y - coarse), axis=axes)
    error = float(np.max(change / np.where(scale > 0, scale, 1)))
    if error > MAX_REFINEMENT_ERROR:
        raise SimulationError(
            f"halving the tolerance {rtol:g} changes the trajectories by {error:.1e} of their size, which must stay "
            f"below {MAX_REFINEMENT_ERROR:g}: give a smaller rtol (1e-13 is the least that helps), or, if the system "
            f"is chaotic, a shorter horizon than {times[-1] - times[0]:g}"
        )
    return Reference(y, error, rtol)


def _check_arguments(system: System, y0: np.ndarray, times: np.ndarray, rtol: float) -> None:
    if y0.shape[1:] != system.state_shape:
        shape = ", ".join(map(str, system.state_shape))
        raise ValueError(f"y0 must have the shape (R, {shape}), but it is {y0.shape}")
    if not (np.all(np.isfinite(y0)) and np.all(np.isfinite(times))):
        raise ValueError("y0 and times must be finite, but they hold infinities or not-a-number")
    if times.ndim != 1 or len(times) == 0 or not np.all(np.diff(times) > 0):
        raise ValueError(f"times must be a row of increasing numbers, but it is {times}")
    if not 1e-15 < rtol < 1:
        raise ValueError(f"rtol must be between 1e-15 and 1, but it is {rtol}")


def _solve(system: System, y0: np.ndarray, times: np.ndarray, rtol: float) -> np.ndarray:
    import jax

    # Both contexts leave the caller's settings as they were. TPUs have no doubles, and a batch of small systems gains
    # nothing from a GPU; where the user hides the CPU from JAX, the default device has to do.
    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:
        device = None
    with jax.enable_x64(True), jax.default_device(device):
        y, stopped_at, done, too_many = map(
            np.array, _program()(system, y0, times, rtol)
        )  # copies: JAX's are read-only
    done = done & np.isfinite(y).all(axis=tuple(range(1, y.ndim)))
    if not done.all():
        k = int(np.argmin(done))
        reason = (
            f"needs more than {MAX_STEPS} steps, probably because it is stiff: a larger rtol or milder parameters help"
            if too_many[k]
            else "blows up or stops being finite: check the parameters and the initial state, or end before that time"
        )
        raise SimulationError(
            f"{type(system).__name__}: trajectory {k} (and {np.sum(~done) - 1} more) stops at t = {stopped_at[k]:.6g}; "
            f"it {reason}"
        )
    return y


@functools.cache
def _program() -> Callable[..., Any]:
    """The jitted solver; made on first use, because importing jax takes a second that `list` should not pay."""
    import diffrax
    import jax
    import jax.numpy as jnp

    class LandOn(diffrax.AbstractStepSizeController):
        """Shorten or stretch (by a tenth at most) the steps of another controller so that they end on given times.

        Stretching leaves no slivers of a step. It also ends the solution at a singularity, where ever shorter steps
        are rejected; the minimal step of PIDController would take a short step to a near save time for one.
        """

        inner: diffrax.PIDController
        times: jax.Array

        def wrap(self, direction: Any) -> LandOn:
            return LandOn(self.inner.wrap(direction), self.times)

        def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any) -> Any:
            end, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, error_order)
            return self.land(t0, end), state

        def adapt_step_size(self, *args: Any) -> Any:
            keep, start, end, jump, state, result = self.inner.adapt_step_size(*args)
            hopeless = ~keep & (end - start < SHORTEST_STEP * (self.times[-1] - self.times[0]))
            result = diffrax.RESULTS.where(hopeless, diffrax.RESULTS.dt_min_reached, result)
            return keep, start, self.land(start, end), jump, state, result

        def land(self, start: Any, end: Any) -> Any:
            target = self.times[jnp.searchsorted(self.times, start, side="right")]  # past the last: clamped to it
            return jnp.where(start + STRETCH * (end - start) > target, target, end)

    @functools.partial(jax.jit, static_argnums=0)
    def solve(system: System, y0: Any, times: Any, rtol: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, _: system.field(t, y))
        controller = LandOn(diffrax.PIDController(rtol=rtol, atol=rtol), times)
        save = diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)])

        def one(start: Any) -> Any:
            solution: Any = diffrax.diffeqsolve(
                term,
                diffrax.Dopri8(),
                times[0],
                times[-1],
                None,
                start,
                saveat=save,
                stepsize_controller=controller,
                max_steps=MAX_STEPS,
                adjoint=diffrax.ForwardMode(),  # no gradient is taken: the others take longer to compile
                throw=False,  # raising from compiled code loses the time: the caller raises instead
            )
            done = solution.result == diffrax.RESULTS.successful
            too_many = solution.result == diffrax.RESULTS.max_steps_reached
            return solution.ys[0], solution.ts[1][0], done, too_many

        return jax.vmap(one)(y0)

    return solve
