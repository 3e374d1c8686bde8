"""Reference trajectories in double precision, by the method that suits the system, and a measure of their own error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from physics_models.base import Map, System
from physics_models.solution import MAX_REFINEMENT_ERROR, Reference, SimulationError

__all__ = ["MAX_REFINEMENT_ERROR", "Reference", "SimulationError", "simulate"]


def simulate(
    system: System,
    y0: np.ndarray,
    times: np.ndarray,
    rtol: float = 1e-10,
    process_noise: float = 0.0,
    rng_seed: int = 0,
) -> Reference:
    """Solve dy/dt = field(t, y) from every y0, landing exactly on every time.

    `y0`: (R, *state_shape), the states at times[0]. `times`: (T,), increasing, common to all trajectories, in the
    system's time units. `rtol`: relative tolerance of a step; the absolute one is the same, so it is meant for states
    of order one. `process_noise` and `rng_seed` (integers of 0 or more): size and root of the chance along the way.

    The method follows from the system; each file describes its own and how its error is measured:

    - `solve_adaptive`: ordinary differential equations, explicit, or implicit where the system is `stiff`;
    - `solve_exponential`: fields with a `linear_multiplier`, whose stiff part it takes exactly;
    - `solve_noisy`: dy = field dt + noise dW where `process_noise` is above 0; its docstring gives the scale;
    - `solve_map`: a `Map` steps as it says, and draws its own chance from `rng_seed`.

    Steps also end at the system's own `switch_times`.

    Raises ValueError for arguments of the wrong shape or value, and SimulationError, with the time, where a trajectory
    blows up, leaves the domain of the field or needs too many steps, or if the refinement error is above
    `MAX_REFINEMENT_ERROR`, or the field has not the shape of the states.
    """
    y0, times = np.asarray(y0, dtype=np.float64), np.asarray(times, dtype=np.float64)
    _check_arguments(system, y0, times, rtol, process_noise, rng_seed)
    if len(times) == 1 or len(y0) == 0:
        return Reference(np.repeat(y0[:, None], len(times), axis=1), 0.0, rtol)
    # Each method is imported where it is used: JAX takes a second.
    if isinstance(system, Map):
        from physics_models import solve_map

        return solve_map.solve(system, y0, times, rtol, rng_seed)
    _check_field(system, y0, times)
    landings = _with_switches(system, times)
    found = _solve(system, y0, landings, rtol, process_noise, rng_seed)
    return found if landings is times else replace(found, y=found.y[:, np.searchsorted(landings, times)])


def _solve(
    system: System, y0: np.ndarray, times: np.ndarray, rtol: float, process_noise: float, rng_seed: int
) -> Reference:
    """By the method for differential equations that suits the system."""
    if process_noise > 0:
        from physics_models import solve_noisy

        return solve_noisy.solve(system, y0, times, rtol, process_noise, rng_seed)
    if system.linear_multiplier() is not None:
        from physics_models import solve_exponential

        return solve_exponential.solve(system, y0, times, rtol)
    from physics_models import solve_adaptive

    return solve_adaptive.solve(system, y0, times, rtol)


def _with_switches(system: System, times: np.ndarray) -> np.ndarray:
    """The times, and between them those at which something begins or ends to act."""
    # One within rounding of a time is that time: a step that short would be taken for one before a singularity.
    near = 1e-9 * (times[-1] - times[0])
    inside = [t for t in system.switch_times if times[0] < t < times[-1] and np.abs(times - t).min() > near]
    return np.unique(np.concatenate([times, inside])) if inside else times


def _check_arguments(
    system: System, y0: np.ndarray, times: np.ndarray, rtol: float, process_noise: float, rng_seed: int
) -> None:
    if y0.shape[1:] != system.state_shape:
        shape = ", ".join(map(str, system.state_shape))
        raise ValueError(f"y0 must have the shape (R, {shape}), but it is {y0.shape}")
    if not (np.all(np.isfinite(y0)) and np.all(np.isfinite(times))):
        raise ValueError("y0 and times must be finite, but they hold infinities or not-a-number")
    if times.ndim != 1 or len(times) == 0 or not np.all(np.diff(times) > 0):
        raise ValueError(f"times must be a row of increasing numbers, but it is {times}")
    if not 1e-15 < rtol < 1:
        raise ValueError(f"rtol must be between 1e-15 and 1, but it is {rtol}")
    if not (process_noise >= 0 and math.isfinite(process_noise)):
        raise ValueError(f"process_noise must be a finite number of 0 or more, but it is {process_noise}")
    if not (rng_seed >= 0 and int(rng_seed) == rng_seed):
        raise ValueError(f"rng_seed must be an integer of 0 or more, but it is {rng_seed}")
    if system.discrete and not isinstance(system, Map):
        raise ValueError(
            f"{type(system).__name__} must have steps of its own, but it has only the rates that it is told of a map: "
            "simulate the map itself"
        )
    if process_noise > 0 and isinstance(system, Map):
        raise ValueError(
            f"process_noise must be 0 for {type(system).__name__}, which has chance of its own, but it is "
            f"{process_noise:g}: change the system's own noise instead"
        )


def _check_field(system: System, y0: np.ndarray, times: np.ndarray) -> None:
    """What a field returns is seen before minutes of compilation, and told in its own words."""
    with np.errstate(all="ignore"):
        rate = np.asarray(system.field(times[0], y0))
    if rate.shape != y0.shape:
        raise SimulationError(
            f"the field of {type(system).__name__} must return the shape {y0.shape} for states of that shape, but it "
            f"returns {rate.shape}: its terms act on the last axes (..., *state_shape)"
        )
    finite = np.isfinite(rate).all(axis=tuple(range(1, rate.ndim)))
    if not finite.all():
        k, more = int(np.argmin(finite)), int(np.sum(~finite)) - 1
        others = f" and those of {more} more" if more else ""
        raise SimulationError(
            f"{type(system).__name__}: the field must be finite where a trajectory begins, but it is not at the "
            f"initial state of trajectory {k}{others}: check its terms, the parameters and the initial states",
            trajectory=k,
        )
