"""What fields on a periodic domain share: a grid, derivatives in Fourier space, smooth random functions."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System, beside


@dataclass(frozen=True)
class PeriodicField(System):
    """A field of D variables on a grid of P points over a periodic domain of one or more dimensions.

    Derivatives are taken in Fourier space. Modes from a third of the grid's number of points on, in any direction, are
    the unresolved ones. Products of two or more functions are not let into them, nor factors out of them (`resolved`):
    a product of two resolved functions then has no aliasing error. Squared wave numbers are held at that of the last
    resolved mode: what noise puts beyond is damped, but no explicit solver needs shorter steps for the sake of modes
    that hold nothing.

    All fields have the arguments `length`, the domain's along each axis; `n_points`, of the grid along each axis; and
    `n_modes`, the waves of the initial state. Raises ValueError where the grid is not even or does not resolve these.
    """

    length: float = 2 * math.pi
    n_points: int = 64
    n_modes: int = 3

    conserved: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_grid()

    @property
    def dimensions(self) -> int:
        """Axes of the domain."""
        return 1

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of points along each axis of the domain."""
        return (self.n_points,) * self.dimensions

    @property
    def extent(self) -> tuple[float, ...]:
        """Length of the domain along each axis."""
        return (self.length,) * self.dimensions

    @property
    def structure(self) -> Structure:
        return Structure(grid=self.grid, extent=self.extent, symmetries=("shift", "time"), conserved=self.conserved)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-1 - len(self.grid), -1))

    def points(self) -> np.ndarray:
        """Coordinates of the grid's points, (P, dimensions), in the order of the state."""
        lines = [np.arange(n) * (length / n) for n, length in zip(self.grid, self.extent, strict=True)]
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(self.grid))

    def spectrum(self, y: Array) -> Array:
        """Fourier coefficients (..., *shape of rfftn over the grid, D) of states (..., P, D)."""
        xp = array_namespace(y)
        return xp.fft.rfftn(xp.reshape(y, (*y.shape[:-2], *self.grid, y.shape[-1])), axes=self._axes)

    def back(self, spectrum: Array, y: Array) -> Array:
        """States from a spectrum; y says their precision."""
        xp = array_namespace(y)
        found = xp.fft.irfftn(spectrum, s=self.grid, axes=self._axes)
        return xp.astype(xp.reshape(found, (*y.shape[:-1], found.shape[-1])), y.dtype, copy=False)

    @property
    def wave_numbers(self) -> tuple[np.ndarray, ...]:
        """Wave numbers of the modes along each axis, (*shape of rfftn over the grid, 1), in radians per length."""
        return _modes(self.grid, self.extent)[0]

    @property
    def resolved(self) -> np.ndarray:
        """1 for resolved modes, 0 for others."""
        return _modes(self.grid, self.extent)[1]

    @property
    def laplacian(self) -> np.ndarray:
        """Fourier multiplier of the sum of second derivatives."""
        return _modes(self.grid, self.extent)[2]

    def self_advection(self, y: Array, spectrum: Array) -> Array:
        """u du/dx in one dimension, as d(u^2 / 2)/dx of resolved waves: it changes the sum of neither u nor u^2."""
        resolved = beside(self.resolved, y)
        u = self.back(resolved * spectrum, y)
        slope = beside(self.resolved * self.wave_numbers[0] / 2, y)
        return self.back(1j * slope * self.spectrum(u * u), y)

    def random_field(self, rng: np.random.Generator) -> np.ndarray:
        """A smooth Gaussian random function at the grid's points, (P,): mean 0 over the domain, variance 1 over draws.

        All modes with a wave number of at most `n_modes` times the lowest along each axis are as large on average. The
        numbers drawn do not depend on the grid: on a finer one the same stream gives the same function.
        """
        points = 2 * np.pi * self.points() / np.array(self.extent)
        waves = list(itertools.product(range(-self.n_modes, self.n_modes + 1), repeat=len(self.grid)))
        waves = waves[len(waves) // 2 + 1 :]  # the others are their mirror images; the one between is the mean
        phases = points @ np.array(waves, dtype=float).T
        a, b = rng.standard_normal((2, len(waves)))
        return (np.cos(phases) @ a + np.sin(phases) @ b) / np.sqrt(len(waves))

    def _check_grid(self) -> None:
        if self.n_modes < 1:
            raise ValueError(f"n_modes must be 1 or more, but it is {self.n_modes}")
        least = max(8, 3 * self.n_modes + 1 + (3 * self.n_modes + 1) % 2)
        if self.n_points < least or self.n_points % 2:
            raise ValueError(
                f"n_points must be an even number of {least} or more, so that it resolves the {self.n_modes} n_modes "
                f"of the initial state, but it is {self.n_points}"
            )


@functools.lru_cache(maxsize=64)
def _modes(grid: tuple[int, ...], extent: tuple[float, ...]) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Wave numbers, mask of the resolved modes and multiplier of the Laplacian; read-only, as they are shared."""
    numbers = [np.fft.fftfreq(n, 1 / n) for n in grid]
    numbers[-1] = np.fft.rfftfreq(grid[-1], 1 / grid[-1])
    mesh: list[Any] = [m[..., None] for m in np.meshgrid(*numbers, indexing="ij")]
    waves = tuple(2 * np.pi / length * m for m, length in zip(mesh, extent, strict=True))
    resolved = np.ones(mesh[0].shape)
    laplacian = np.zeros(mesh[0].shape)
    for m, n, length in zip(mesh, grid, extent, strict=True):
        last = (n - 1) // 3  # 3 last < n: the sum of two resolved modes aliases to no resolved one
        resolved *= np.abs(m) <= last
        laplacian -= (2 * np.pi / length * np.minimum(np.abs(m), last)) ** 2
    for array in (*waves, resolved, laplacian):
        array.flags.writeable = False
    return waves, resolved, laplacian
