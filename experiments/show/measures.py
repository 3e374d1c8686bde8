"""Quantities of a system over time: what it conserves, what else it states, and how ordered a group is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.show.scene import Scene
from physics_models.order_parameters import milling, nearest_neighbour_distance, polarisation, synchrony

# An invariant smaller than this part of its size elsewhere is 0 but for rounding: nothing is relative to it.
NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class Measure:
    """`values` (T,) of the trajectory shown. `drift`: they are |I(t) - I(0)|, relative to I unless `name` says so;
    `fraction`: they lie between 0 and 1."""

    name: str
    values: np.ndarray
    drift: bool = False
    fraction: bool = False


def measures(scene: Scene) -> list[Measure]:
    """Conserved quantities first, then order parameters, then all others that the system states."""
    if scene.system is None:
        return []
    conserved = scene.structure.conserved
    with np.errstate(all="ignore"):
        stated = {name: np.asarray(value, float) for name, value in scene.system.invariants(scene.y).items()}
    drifts = [_drift(name, stated[name]) for name in conserved if name in stated]
    rest = [Measure(name, value[0]) for name, value in stated.items() if name not in conserved]
    return [*drifts, *_order(scene), *rest]


def _drift(name: str, values: np.ndarray) -> Measure:
    """Of values (R, T), those of the first trajectory."""
    change = np.abs(values[0] - values[0, 0])
    size = float(np.abs(values[0, 0]))
    if size <= NOTHING * max(1.0, float(np.abs(values).max())):
        return Measure(f"{name} (is 0: absolute)", change, drift=True)
    return Measure(name, change / size, drift=True)


def _order(scene: Scene) -> list[Measure]:
    structure = scene.structure
    if structure.agents is None or structure.agents < 2:
        return []
    d, y = structure.space_dim, scene.first
    if d == 1 and scene.variables[0] == "phase":
        return [Measure("synchrony", synchrony(y[..., 0]), fraction=True)]
    if d < 2:
        return []
    x = y[..., :d]
    found = []
    if structure.order == 2 and y.shape[-1] >= 2 * d and structure.agents > 3:  # of fewer, headings say little
        v = y[..., d : 2 * d]
        found.append(Measure("polarisation", polarisation(v), fraction=True))
        if d <= 3 and structure.box is None:  # in a periodic box there is no centre to turn about
            found.append(Measure("milling", milling(x, v), fraction=True))
    nearest = np.array([nearest_neighbour_distance(at, structure.box) for at in x])  # at once, pairs fill the memory
    return [*found, Measure("distance to the nearest", nearest)]
