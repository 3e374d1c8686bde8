"""What the laws of groups of agents are tested with."""

from __future__ import annotations

import numpy as np

from physics_models.base import System

ROUNDING = 1e-12  # some thousand roundings of numbers of order one, relative to the largest


def integrate(system: System, y: np.ndarray, h: float, steps: int) -> np.ndarray:
    """The classical fourth-order method, which needs no compilation."""
    for _ in range(steps):
        a = system.field(0.0, y)
        b = system.field(0.0, y + h / 2 * a)
        c = system.field(0.0, y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + system.field(0.0, y + h * c))
    return y


def slope(system: System, y: np.ndarray, direction: np.ndarray) -> dict[str, np.ndarray]:
    """Rates of the invariants along a direction, by central differences: good to about 1e-9 of them."""
    h = 1e-5
    ahead, behind = system.invariants(y + h * direction), system.invariants(y - h * direction)
    return {name: (ahead[name] - behind[name]) / (2 * h) for name in ahead}


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - wanted).max() <= ROUNDING * max(1.0, np.abs(wanted).max()))
