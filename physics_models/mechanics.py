"""What the systems of few bodies share: softened distances, mechanical invariants, and gravitation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.agents import displacements, pull, weighted
from physics_models.base import Array, Structure, System


def inverse_distance(distance2: Array, softening: Array = 0.0) -> Array:
    """(distance2 + softening^2)^(-1/2), and 0 where that is infinite, with finite derivatives of any order.

    So a body exerts no force on itself, nor on one that is exactly where it is.
    """
    xp = array_namespace(distance2)
    softened = distance2 + softening**2
    apart = softened > 0
    # Two choices: the outer one alone would leave 0 * infinity in the derivative.
    return xp.where(apart, xp.where(apart, softened, 1.0) ** -0.5, 0.0)


def potential_of_pairs(charges: Array, x: Array, softening: float) -> Array:
    """Sum over pairs of charge_i charge_j / (|x_j - x_i|^2 + softening^2)^(1/2), (...,).

    `charges`: (..., N); `x`: positions (..., N, d). A pair in exactly the same place counts for
    nothing, as a body with itself.
    """
    xp = array_namespace(x)
    r = displacements(x)
    distance2 = xp.sum(r * r, axis=-1)
    inverse = xp.where(distance2 > 0, inverse_distance(distance2, softening), 0.0)
    return xp.sum(charges[..., None, :] * charges[..., :, None] * inverse, axis=(-1, -2)) / 2


def momenta(v: Array) -> dict[str, Array]:
    """Total momentum along each axis, (...,) each, from momenta (..., N, d) of the bodies."""
    total = array_namespace(v).sum(v, axis=-2)
    return {f"momentum_{axis}": total[..., k] for k, axis in enumerate(("x", "y", "z")[: v.shape[-1]])}


def angular_momenta(x: Array, v: Array) -> dict[str, Array]:
    """Total angular momentum about the origin, from positions and momenta (..., N, d): one number if d is 2, else 3."""
    xp = array_namespace(x)

    def about(i: int, j: int) -> Array:
        return xp.sum(x[..., i] * v[..., j] - x[..., j] * v[..., i], axis=-1)

    if x.shape[-1] == 2:
        return {"angular_momentum": about(0, 1)}
    return {f"angular_momentum_{axis}": about(i, j) for axis, i, j in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1))}


def conserved_names(axes: tuple[str, ...], free: bool = True) -> tuple[str, ...]:
    """ "energy", and as `angular_momenta` and, where nothing holds the bodies (`free`), `momenta` call theirs."""
    spins = ("angular_momentum",) if len(axes) == 2 else tuple(f"angular_momentum_{axis}" for axis in axes)
    return ("energy", *spins, *(f"momentum_{axis}" for axis in axes if free))


def directions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Unit vectors along the last axis of the shape, equally likely in all directions."""
    v = rng.standard_normal(shape)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


@dataclass(frozen=True)
class GravitatingBodies(System):
    """Bodies in a plane that attract each other by gravitation; a subclass has their masses as its parameters."""

    softening: float = 0.0

    term_names: ClassVar[tuple[str, ...]] = ("inertia", "gravity")
    known_terms: ClassVar[tuple[str, ...]] = ("inertia",)
    non_negative: ClassVar[tuple[str, ...]] = ("softening",)

    @property
    @abstractmethod
    def time_scale(self) -> float:
        """Period of the orbit that the starts are near."""

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "vx", "vy")

    @property
    def structure(self) -> Structure:
        masses = tuple(self.values.values())
        alike = ("permutation",) if len(set(masses)) == 1 else ()
        return Structure(
            agents=len(masses),
            space_dim=2,
            order=2,
            symmetries=("translation", "rotation", "reflection", *alike, "time"),
            conserved=("energy", "momentum_x", "momentum_y", "angular_momentum"),
            pairwise=True,
            canonical=(("x", "vx"), ("y", "vy")) if set(masses) == {1.0} else (),  # else velocities are no momenta
        )

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        zero = xp.zeros_like(v)
        out: dict[str, Array] = {}
        if "inertia" in names:
            out["inertia"] = xp.concat([v, zero], axis=-1)
        if "gravity" in names:
            r = displacements(x)
            kernel = self._masses(x, p)[..., None, :] * inverse_distance(xp.sum(r * r, axis=-1), self.softening) ** 3
            out["gravity"] = xp.concat([zero, pull(weighted(kernel, p), r)], axis=-1)
        return out

    def invariants(self, y: Array) -> dict[str, Array]:
        """Energy, momentum and angular momentum about the origin, of all bodies together."""
        xp = array_namespace(y)
        x, v = y[..., :2], y[..., 2:]
        m = self._masses(x, self.values)
        kinetic = xp.sum(m[..., None] * v * v, axis=(-1, -2)) / 2
        potential = -potential_of_pairs(m, x, self.softening)
        return {"energy": kinetic + potential, **momenta(m[..., None] * v), **angular_momenta(x, m[..., None] * v)}

    def _masses(self, x: Array, p: Mapping[str, Any]) -> Array:
        """(..., N), in the library and precision of the positions x."""
        one = array_namespace(x).ones_like(x[..., 0, 0])
        return array_namespace(x).stack([p[name] * one for name in self.parameters], axis=-1)

    @property
    def _total_mass(self) -> float:
        return sum(self.values.values())
