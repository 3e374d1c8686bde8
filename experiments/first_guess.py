"""Where to start fitting known equations to a user's data: parameters that explain its finite-difference rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from experiments.trajectories import Trajectories
from physics_models.base import System


def first_guess(system: System, data: Trajectories) -> System:
    """The system with parameters that minimise |field(midpoint) - rate|², each variable in units of its typical rate.

    A system's own defaults suit its own units; a user's populations in thousands, say, can be far from them, and a fit
    through the solver would blow up before it had learned anything. Rates need no solver. Parameters are sought as
    exp(q) times their default, so that they keep their sign. It costs a few thousand operations, which are not charged.
    """
    from scipy.optimize import least_squares

    times, y = data.windows(1)
    length = np.diff(times, axis=1).reshape(-1, *(1,) * (y.ndim - 2))
    rate, middle = (y[:, 1] - y[:, 0]) / length, (y[:, 0] + y[:, 1]) / 2
    scale = np.sqrt(np.mean(rate**2, axis=tuple(range(rate.ndim - 1))))
    scale = np.where(scale > 0, scale, 1.0)
    names, defaults = tuple(system.values), np.array(list(system.values.values()))
    start = np.where(defaults == 0, defaults, 0.0)

    def values(q: np.ndarray) -> dict[str, float]:
        q = np.clip(q, -50, 50)
        found = np.where(defaults == 0, q, defaults * np.exp(q))
        return {name: float(value) for name, value in zip(names, found, strict=True)}

    def residual(q: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            error = (system.field(0.0, middle, values(q)) - rate) / scale
        return np.nan_to_num(error, nan=1e9, posinf=1e9, neginf=-1e9).ravel()

    if not names:
        return system
    found = least_squares(residual, start, method="trf", max_nfev=200 * len(names))
    try:
        return replace(system, **values(found.x))
    except ValueError:  # the data ask for values that the system does not allow
        return system
