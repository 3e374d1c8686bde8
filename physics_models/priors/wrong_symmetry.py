from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, System, beside
from physics_models.priors.base import Prior, choose, forced, law_states, rms

# Those that can be broken, the first that a system has being broken unless another is named.
BREAKABLE = ("rotation", "translation", "permutation", "shift", "time", "reflection")


@dataclass(frozen=True)
class WrongSymmetry(Prior):
    """All terms, changed so that one symmetry of the system is broken by delta.

    What makes the system move (the rates of the velocities for systems of second order, all rates for others), F, is
    told as F' with, for the symmetry:

        rotation      F'_1 = (1 + delta) F_1             an axis along which everything is lighter
        translation   F' = (1 + delta sin(x_1 / L)) F    a place where forces differ; L the spread of positions, or
                                                         of a periodic box 1 / (2 pi) of its side
        permutation   F'_i = (1 + delta (-1)^i) F_i      every other agent is lighter
        shift         F'_k = (1 + delta sin(2 pi k / n)) F_k      a place on the grid, along its first axis
        time          F'_1 = (1 + delta sin(2 pi t / T)) F_1      seasons; T the system's time scale, t from the start
        reflection    F' = (cos delta) F + (sin delta) J F        forces turned by delta radians in their first plane

    `symmetry` names it; by default it is the first of these that the system has. "scale" cannot be broken. Every term
    is told with the change, so that their sum is F'.
    """

    symmetry: str | None = None

    def check(self, system: System) -> None:
        self.broken(system)

    def broken(self, system: System) -> str:
        """The name of the symmetry. Raises ValueError where the system has none that can be broken."""
        structure = system.structure
        low, high = forced(system)
        named = [name for name in BREAKABLE if name in structure.symmetries]
        if structure.grid is None:
            named = [name for name in named if name != "shift"]
        if structure.agents is None:
            named = [name for name in named if name != "permutation"]
        if structure.space_dim < 1:
            named = [name for name in named if name != "translation"]
        if min(structure.space_dim, high - low) < 2:
            named = [name for name in named if name not in ("rotation", "reflection")]
        if not named:
            raise ValueError(f"{type(system).__name__} has no symmetry that can be broken ({', '.join(BREAKABLE)})")
        return choose("symmetry", self.symmetry, named, named[0])

    def terms(
        self, system: System, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]
    ) -> dict[str, Array]:
        low, high = forced(system)
        change = getattr(self, f"_{self.broken(system)}")
        xp = array_namespace(y)
        out = {}
        for name, part in system.terms(t, y, p, names).items():
            part = part + xp.zeros_like(y)  # terms may be of a smaller shape, which only broadcasts
            out[name] = xp.concat(
                [part[..., :low], change(system, t, y, part[..., low:high]), part[..., high:]], axis=-1
            )
        return out

    def _rotation(self, system: System, t: Array, y: Array, f: Array) -> Array:
        return array_namespace(y).concat([f[..., :1] * (1 + self.delta), f[..., 1:]], axis=-1)

    def _translation(self, system: System, t: Array, y: Array, f: Array) -> Array:
        box = system.structure.box
        length = _spread(system) if box is None else box / (2 * math.pi)  # every image of an agent is in the same place
        return f * (1 + self.delta * array_namespace(y).sin(y[..., :1] / length))

    def _permutation(self, system: System, t: Array, y: Array, f: Array) -> Array:
        sign = 1 - 2 * (np.arange(y.shape[-2]) % 2)
        return f * beside(1 + self.delta * sign[:, None], y)

    def _shift(self, system: System, t: Array, y: Array, f: Array) -> Array:
        grid = system.structure.grid or (y.shape[-2],)
        row = np.arange(y.shape[-2]) // math.prod(grid[1:])  # points are in C order
        return f * beside(1 + self.delta * np.sin(row * (2 * math.pi / grid[0]))[:, None], y)

    def _time(self, system: System, t: Array, y: Array, f: Array) -> Array:
        time = t + array_namespace(y).zeros_like(y[..., :1])  # t may be a number
        season = 1 + self.delta * array_namespace(y).sin(time * (2 * math.pi / system.time_scale))
        # Of one variable: seasons of all would only change the pace, and leave no error after a whole time scale.
        return array_namespace(y).concat([f[..., :1] * season, f[..., 1:]], axis=-1)

    def _reflection(self, system: System, t: Array, y: Array, f: Array) -> Array:
        a, b, rest = f[..., :1], f[..., 1:2], f[..., 2:]
        c, s = math.cos(self.delta), math.sin(self.delta)
        return array_namespace(y).concat([c * a - s * b, s * a + c * b, rest], axis=-1)


@functools.lru_cache(maxsize=256)
def _spread(system: System) -> float:
    """The size of the first coordinate over the system's own law."""
    return rms(law_states(system)[..., 0]) or 1.0
