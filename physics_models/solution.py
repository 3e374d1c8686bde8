"""What every method of simulation returns, raises and runs within."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Above this a trajectory no longer deserves the name of truth: a model could not be told from the reference's own
# error. A hundred trajectories of Lorenz 1963 reach it after 13 Lyapunov times at rtol 1e-10, 16 at 1e-13.
MAX_REFINEMENT_ERROR = 1e-3
BLOWS_UP = "blows up or stops being finite: check the parameters and the initial state, or end before that time"


class SimulationError(RuntimeError):
    """No trustworthy reference trajectory exists for these initial states and times.

    `stopped_at`: the earliest time at which a solution ended, and `trajectory`: the number of the one that did. Where
    one could not even begin, `stopped_at` is None; where none ended, and their error is too large, both are.
    """

    def __init__(self, message: str, stopped_at: float | None = None, trajectory: int | None = None) -> None:
        super().__init__(message)
        self.stopped_at = stopped_at
        self.trajectory = trajectory


def stopped(name: str, stopped_at: np.ndarray, reason: str = BLOWS_UP, count: int = 1) -> SimulationError:
    """What is raised where some of the times (R,) at which trajectories of the system `name` stopped are finite.

    `count`: how many are known to stop, sooner or later.
    """
    k = int(np.argmin(stopped_at))
    others = f", the first of {count} that stop" if count > 1 else ""
    return SimulationError(
        f"{name}: trajectory {k} stops at t = {stopped_at[k]:.6g}{others}; it {reason}",
        stopped_at=float(stopped_at[k]),
        trajectory=k,
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """Trajectories y of shape (R, T, *state_shape), float64, and how far they can be trusted.

    `refinement_error`: the largest change of any entry of y when the tolerance or the step is halved, divided by the
    root mean square of that variable over everything simulated; with process noise, the largest change that arises
    within one interval between two times; 0 for a map, which has no step to halve. `rtol`: the tolerance asked for.
    """

    y: np.ndarray
    refinement_error: float
    rtol: float


def refinement_error(y: np.ndarray, coarse: np.ndarray) -> float:
    """The largest change of an entry from `coarse` to y, (R, T, ..., D), over its variable's root mean square."""
    axes = tuple(range(y.ndim - 1))
    scale = np.sqrt(np.mean(y**2, axis=axes))
    change = np.max(np.abs(y - coarse), axis=axes)
    return float(np.max(change / np.where(scale > 0, scale, 1)))


@contextlib.contextmanager
def on_cpu_in_double() -> Iterator[None]:
    """JAX in double precision on the CPU, whatever the caller's settings, which stay as they were.

    TPUs have no doubles, and a batch of small systems gains nothing from a GPU; where the user hides the CPU from JAX,
    the default device has to do.
    """
    import jax

    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:
        device = None
    with jax.enable_x64(True), jax.default_device(device):
        yield


def trajectory_stream(rng_seed: int, i: int) -> np.random.Generator:
    """The stream of chance along trajectory i: a child of that of its initial state, hence independent of it.

    NumPy pads seeds with zeros: [s, i, 0] would be the initial state's own stream again, a spawned one is not.
    """
    return np.random.default_rng(np.random.SeedSequence([rng_seed, i], spawn_key=(0,)))
