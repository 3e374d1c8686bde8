"""Laws of the systems of few bodies: what mechanics says of them, whatever their numbers."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from physics_models.base import PAIRS, System
from physics_models.cache import initial_states
from physics_models.charged_particles import ChargedParticles
from physics_models.discovery import systems
from physics_models.double_pendulum import DoublePendulum
from physics_models.kepler import Kepler
from physics_models.pendulum import Pendulum
from physics_models.simulate import SimulationError, simulate
from physics_models.spring import Spring
from physics_models.spring_particles import SpringParticles
from physics_models.three_body import ThreeBody
from physics_models.two_body import TwoBody

# Defaults, and what they leave out: masses that differ, softening, three dimensions, no walls, all joined.
CONSERVATIVE = [
    Spring(damping=0.0),
    Pendulum(damping=0.0),
    DoublePendulum(),
    DoublePendulum(gravity=2.0, mass_ratio=0.3, length_ratio=1.7),
    TwoBody(),
    TwoBody(mass_2=0.1, softening=0.2),
    ThreeBody(),
    ThreeBody(mass_2=2.0, mass_3=0.5, softening=0.1),
    Kepler(),
    ChargedParticles(),
    ChargedParticles(space_dim=3, confinement=0.0),
    SpringParticles(),
    SpringParticles(space_dim=3, confinement=0.0, edge_probability=1.0),
]
# Fields and invariants are sums of some ten products of numbers up to ten: a few hundred roundings of 2e-16.
ROUNDING = 1e-12
conservative = pytest.mark.parametrize("system", CONSERVATIVE, ids=repr)


def states(system: System, n: int = 20) -> np.ndarray:
    return initial_states(system, 1, n)


def gradient(system: System, name: str, y: np.ndarray) -> np.ndarray:
    """Of an invariant with respect to the state, at every state of a batch."""
    y_torch = torch.tensor(y, requires_grad=True)
    system.invariants(y_torch)[name].sum().backward()
    assert y_torch.grad is not None
    return y_torch.grad.numpy()


def reversed_in_time(system: System, y: np.ndarray) -> np.ndarray:
    flipped = y.copy()
    for name in system.variables:
        if name.startswith(("v", "momentum")):
            flipped[..., system.variables.index(name)] *= -1
    return flipped


def test_canonical_systems_obey_hamiltons_equations() -> None:
    """dq/dt = dH/dp and dp/dt = -dH/dq for every system that says it is canonical, with friction and drive off."""
    seen = set()
    for name in systems.names():
        kind = systems.load(name)
        if inspect.isabstract(kind):
            continue
        options = {f.name for f in dataclasses.fields(kind)} & {"damping", "drive"}
        variants = [kind(**dict.fromkeys(options, 0.0)), *(s for s in CONSERVATIVE if type(s) is kind)]
        for system in (s for s in variants if s.structure.canonical):
            seen.add(name)
            y = states(system)
            slope, rate = gradient(system, "energy", y), system.field(0.0, y)
            hamiltonian = np.zeros_like(rate)
            for q, p in system.structure.canonical:
                i, j = system.variables.index(q), system.variables.index(p)
                hamiltonian[..., i], hamiltonian[..., j] = slope[..., j], -slope[..., i]
            error = np.abs(rate - hamiltonian).max()
            assert error < ROUNDING * max(1.0, np.abs(rate).max()), system
    assert seen >= {
        "spring", "pendulum", "double_pendulum", "two_body", "three_body", "kepler", "charged_particles",
        "spring_particles",
    }  # fmt: skip


def test_velocities_are_momenta_only_of_unit_masses() -> None:
    assert TwoBody().structure.canonical and not TwoBody(mass_2=2.0).structure.canonical


@conservative
def test_field_is_tangent_to_what_it_conserves(system: System) -> None:
    y = states(system)
    rate = system.field(0.0, y)
    assert "energy" in system.structure.conserved
    for name in system.structure.conserved:
        change = (gradient(system, name, y) * rate).reshape(len(y), -1)
        scale = np.abs(change).sum(axis=1).max()
        assert np.abs(change.sum(axis=1)).max() < ROUNDING * max(1.0, scale), name


@conservative
def test_motion_is_reversible(system: System) -> None:
    y = states(system)
    backwards = reversed_in_time(system, system.field(0.0, reversed_in_time(system, y)))
    np.testing.assert_array_equal(backwards, -system.field(0.0, y))


@pytest.mark.parametrize(
    "system",
    [
        TwoBody(),
        *(pytest.param(s, marks=pytest.mark.slow) for s in CONSERVATIVE if type(s) is not TwoBody),
    ],
    ids=repr,
)
def test_reference_conserves_what_the_field_conserves(system: System) -> None:
    # The default rtol, 1e-10 a step, leaves 3e-10 after three turns of an eccentric orbit: errors of steps add up.
    y = simulate(system, initial_states(system, 0, 8), np.linspace(0, 20, 51), 1e-13).y
    found = system.invariants(y)
    for name in system.structure.conserved:
        drift = np.abs(found[name] - found[name][:, :1]).max()
        assert drift < 1e-10 * max(1.0, np.abs(found[name]).max()), name


def test_collision_stops_the_reference_at_its_time() -> None:
    """Two unit masses fall from rest and a unit distance: they meet after pi sqrt(d^3 / 8 M) = pi / 4."""
    y0 = np.tile([[0.5, 0, 0, 0], [-0.5, 0, 0, 0]], (8, 1, 1)).astype(float)
    with pytest.raises(SimulationError, match=rf"stops at t = {math.pi / 4:.6f}"):
        simulate(TwoBody(), y0, np.linspace(0, 20, 51), 1e-13)


def test_third_body_feels_two_coincident_ones() -> None:
    """Bodies in the same place do not attract each other, and attract others as one of their common mass."""
    y = np.array([[0.0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 0]])
    np.testing.assert_array_equal(ThreeBody().field(0.0, y)[:, 2], [4, 4, -8])
    for system in (ThreeBody(), ChargedParticles(n_agents=3, softening=0.0)):
        crowd = np.zeros(system.state_shape)
        assert np.isfinite(system.field(0.0, crowd)).all() and np.isfinite(system.invariants(crowd)["energy"])


@pytest.mark.parametrize("system", [TwoBody(), ThreeBody(start="figure_eight"), ThreeBody(mass_1=3.0)], ids=repr)
def test_bodies_start_apart(system: Any) -> None:
    y = states(system, 100)
    r = np.linalg.norm(y[:, :, None, :2] - y[:, None, :, :2], axis=-1) + 10 * np.eye(y.shape[1])
    # The least separation: twice the corner (0.5, 0.5) of the square; the eight's side; the triangle's.
    assert r.min() > {2: math.sqrt(2), 3: 0.9}[y.shape[1]]
    centre = np.einsum("rnd,n->rd", y[..., :2], np.array(list(system.values.values())))
    np.testing.assert_allclose(centre, 0, atol=1e-14)  # sums of three numbers of order one


@pytest.mark.parametrize("system", [TwoBody(), ThreeBody(), ChargedParticles(), SpringParticles(edge_probability=1.0)])
def test_pair_weights_cut_what_one_does_to_another(system: System) -> None:
    y = states(system)
    n = y.shape[1]
    name = system.term_names[1]

    def force(weights: np.ndarray) -> np.ndarray:
        return system.terms(0.0, y, system.values | {PAIRS: weights}, [name])[name]

    np.testing.assert_array_equal(force(np.ones((n, n))), system.terms(0.0, y, system.values, [name])[name])
    assert not force(np.zeros((n, n))).any()
    one = np.ones((n, n))
    one[0, 1] = 0  # what 1 does to 0
    changed = np.abs(force(one) - force(np.ones((n, n)))).max(axis=(0, 2))
    assert changed[0] > 0 and not changed[1:].any()
    # It is a sum over pairs: the forces of the single pairs add up.
    singles = [np.eye(n)[:, [i]] * np.eye(n)[[j]] for i in range(n) for j in range(n)]
    np.testing.assert_allclose(sum(map(force, singles)), force(np.ones((n, n))), rtol=0, atol=ROUNDING)


def test_claimed_symmetries_are_those_that_hold() -> None:
    """Reflection here, the others in test_laws; and a symmetry that is not claimed is broken."""
    for system in (s for s in CONSERVATIVE if s.structure.agents):
        d, claimed = system.structure.space_dim, system.structure.symmetries
        y = states(system)
        mirror = np.ones(y.shape[-1])
        mirror[[0, d]] = -1
        np.testing.assert_array_equal(system.field(0.0, y * mirror), system.field(0.0, y) * mirror)
        assert "reflection" in claimed and "rotation" in claimed
        shift = np.arange(y.shape[-1]) < d
        moved = np.abs(system.field(0.0, y + shift) - system.field(0.0, y)).max()
        assert (moved < ROUNDING) == ("translation" in claimed), system
        renamed = np.abs(system.field(0.0, y[:, ::-1]) - system.field(0.0, y)[:, ::-1]).max()
        assert (renamed < ROUNDING) == ("permutation" in claimed), system


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Spring, {"inner": 2.0, "outer": 1.0}, "inner must be at most outer"),
        (Pendulum, {"inner": 2.0}, "inner must be at most outer"),
        (Pendulum, {"drive": -1.0}, "drive must be 0 or more"),
        (DoublePendulum, {"mass_ratio": 0.0}, "mass_ratio must be above 0"),
        (TwoBody, {"near": 2.0}, "far must be at least near"),
        (TwoBody, {"direction": "up"}, "direction must be any or quadrant"),
        (TwoBody, {"softening": -0.1}, "softening must be 0 or more"),
        (ThreeBody, {"start": "circle"}, "start must be triangle or figure_eight"),
        (ThreeBody, {"start": "figure_eight", "mass_2": 2.0}, "figure_eight needs all masses 1"),
        (ThreeBody, {"near": 2.0}, "far must be at least near"),
        (Kepler, {"eccentricity": 1.0}, "eccentricity must be below 1"),
        (Kepler, {"spread": 1.5}, "spread must be below 1"),
        (SpringParticles, {"edge_probability": 1.5}, "edge_probability must be 1 or less"),
        (SpringParticles, {"graph_seed": -1}, "graph_seed must be 0 or more"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
