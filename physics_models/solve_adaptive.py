"""Ordinary differential equations with steps that adapt: explicit of order 8, or implicit of order 5 if stiff."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from physics_models.base import System
from physics_models.solution import (
    BLOWS_UP,
    MAX_REFINEMENT_ERROR,
    Reference,
    SimulationError,
    on_cpu_in_double,
    refinement_error,
    stopped,
)

MAX_STEPS = 100_000
# A controller that asks for a step shorter than this part of the horizon is taken to sit before a singularity.
SHORTEST_STEP = 1e-13
STRETCH = 1.1


def solve(system: System, y0: np.ndarray, times: np.ndarray, rtol: float) -> Reference:
    """As `simulate`; each trajectory has its own step sizes.

    The problem is solved twice, at rtol and at rtol / 2, and the second solution is returned: for an error
    proportional to the tolerance, the difference of the two is the error of the second. Where times lie so close that
    they and not the tolerance set the steps, both would take the same ones and agree whatever their error: the second
    solution also ends steps halfway between times.

    Methods: Dormand and Prince 8(7), "High order embedded Runge-Kutta formulae", 1981; for stiff systems Kvaerno 5(4),
    "Singly diagonally implicit Runge-Kutta methods with an explicit first stage", BIT 44 (2004), which is L-stable;
    both as implemented by diffrax.
    """
    # Every time twice over, so that both programs have the same shapes and are compiled once.
    landings = np.repeat(times, 2)[1:]
    coarse = _solve(system, y0, times, landings, rtol)
    y = _solve(system, y0, times, (landings + np.repeat(times, 2)[:-1]) / 2, rtol / 2)
    error = refinement_error(y, coarse)
    if error > MAX_REFINEMENT_ERROR:
        raise SimulationError(
            f"halving the tolerance {rtol:g} changes the trajectories by {error:.1e} of their size, which must stay "
            f"below {MAX_REFINEMENT_ERROR:g}: give a smaller rtol (1e-13 is the least that helps), or, if the system "
            f"is chaotic, a shorter horizon than {times[-1] - times[0]:g}"
        )
    return Reference(y, error, rtol)


def _solve(system: System, y0: np.ndarray, times: np.ndarray, landings: np.ndarray, rtol: float) -> np.ndarray:
    with on_cpu_in_double():
        y, stopped_at, done, too_many = map(
            np.array, _program()(system, y0, times, landings, rtol)
        )  # copies: JAX's are read-only
    done = done & np.isfinite(y).all(axis=tuple(range(1, y.ndim)))
    if not done.all():
        stops = np.where(done, np.inf, stopped_at)
        advice = "a larger rtol" if system.stiff else "it is probably stiff: `stiff = True` in its class, a larger rtol"
        reason = (
            f"needs more than {MAX_STEPS} steps; {advice} or milder parameters help"
            if too_many[np.argmin(stops)]
            else BLOWS_UP
        )
        raise stopped(type(system).__name__, stops, reason, int(np.sum(~done)))
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

    def method(system: System, rtol: Any) -> Any:
        if not system.stiff:
            return diffrax.Dopri8()
        return diffrax.Kvaerno5(root_finder=diffrax.VeryChord(rtol=rtol, atol=rtol))

    @functools.partial(jax.jit, static_argnums=0)
    def solve(system: System, y0: Any, times: Any, landings: Any, rtol: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, _: system.field(t, y))
        controller = LandOn(diffrax.PIDController(rtol=rtol, atol=rtol), landings)
        save = diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)])

        def one(start: Any) -> Any:
            solution: Any = diffrax.diffeqsolve(
                term,
                method(system, rtol),
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
