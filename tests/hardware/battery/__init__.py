"""The battery: programs in JAX and torch with counts that a person derived (see `program.Program`), by group."""

from __future__ import annotations

from dataclasses import replace

from tests.hardware.battery import (
    convolutions,
    dynamics,
    elementwise,
    indexing,
    linear_algebra,
    loops,
    networks,
    optimisers,
    products,
    reductions,
    transformations,
)

GROUPS = {
    "elementwise": elementwise.PROGRAMS,
    "products": products.PROGRAMS,
    "convolutions": convolutions.PROGRAMS,
    "reductions": reductions.PROGRAMS,
    "indexing": indexing.INDEXING,
    "fft": indexing.FFT,
    "linear algebra": linear_algebra.PROGRAMS,
    "loops": loops.PROGRAMS,
    "transformations": transformations.PROGRAMS,
    "networks": networks.PROGRAMS,
    "dynamics": dynamics.PROGRAMS,
    "optimisers": optimisers.PROGRAMS,
}
PROGRAMS = [replace(program, group=group) for group, programs in GROUPS.items() for program in programs]
