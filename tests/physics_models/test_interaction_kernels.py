"""Laws of the systems whose interaction kernel is to be learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physics_models.cache import initial_states
from physics_models.lennard_jones import LennardJones
from physics_models.opinion_dynamics import OpinionDynamics
from tests.physics_models.groups import close, integrate, slope

KERNELS = [OpinionDynamics(), OpinionDynamics(space_dim=2), LennardJones(), LennardJones(space_dim=3, cutoff=0.8)]


@pytest.mark.parametrize("system", KERNELS, ids=repr)
def test_kernel_is_that_of_the_field(system: OpinionDynamics | LennardJones) -> None:
    y = system.initial_state(np.random.default_rng(0))
    expected = np.zeros_like(y)
    for i, one in enumerate(y):
        for other in y:
            expected[i] += system.kernel(np.linalg.norm(other - one)) * (other - one) / len(y)
    assert close(system.field(0.0, y), expected)


@pytest.mark.parametrize("system", KERNELS, ids=repr)
def test_kernel_is_array_code_that_keeps_its_precision(system: OpinionDynamics | LennardJones) -> None:
    r = np.linspace(0, 3, 61)
    found, exact = system.kernel(torch.asarray(r, dtype=torch.float32)), system.kernel(r)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_opinions_within_confidence_meet_and_others_do_not() -> None:
    system = OpinionDynamics(n_agents=9)
    y = np.array([-4.4, -4.0, -3.6, 0.0, 0.2, 0.1, 3.0, 3.5, 3.3])[:, None]
    end = integrate(system, y, 0.2, 500)[:, 0].reshape(3, 3)
    # Camps 2.8 confidences apart pull by phi(2.8) = exp(-34): nothing. Within a camp opinions approach at the rate 1/3
    # times phi(0.8) = 0.86 or more: by exp(-28) in 100 time units.
    np.testing.assert_allclose(end, y.reshape(3, 3).mean(axis=1, keepdims=True) * np.ones(3), rtol=0, atol=1e-10)


def test_opinions_keep_their_mean_and_their_variance_falls_as_the_kernel_says() -> None:
    system = OpinionDynamics(space_dim=2)
    y = initial_states(system, 0, 6)
    rates = slope(system, y, system.field(0.0, y))
    r = np.linalg.norm(y[:, None] - y[:, :, None], axis=-1)
    exact = -np.sum(system.kernel(r) * r**2, axis=(1, 2)) / 10**2
    np.testing.assert_allclose(rates["variance"], exact, rtol=0, atol=1e-8)
    assert max(np.abs(rates[name]).max() for name in system.structure.conserved) < 1e-9
    end = integrate(system, y, 0.05, 200)
    assert np.all(end.min(axis=1) >= y.min(axis=1)) and np.all(end.max(axis=1) <= y.max(axis=1))


def test_lennard_jones_slides_down_its_energy() -> None:
    system = LennardJones()
    y = initial_states(system, 0, 6)
    field = system.field(0.0, y)
    rates = slope(system, y, field / 100)
    # Central differences along steps of 1e-7 times rates of up to 100: rounding of energies of up to 100.
    np.testing.assert_allclose(rates["energy"] * 100, -np.sum(field**2, axis=(1, 2)), rtol=1e-5)
    for name in system.structure.conserved:
        assert np.abs(rates[name]).max() < 1e-9
    energies = []
    for _ in range(20):
        energies.append(system.invariants(y)["energy"])
        y = integrate(system, y, 2e-4, 25)
    assert np.all(np.diff(energies, axis=0) < 0)


def test_lennard_jones_kernel() -> None:
    """The textbook force outside the cutoff, two continuous derivatives of U across it, none at the bottom."""
    system = LennardJones(depth=0.7, size=1.3)
    r = np.linspace(system.cutoff * system.size, 4, 50)
    q = (1.3 / r) ** 6
    assert close(system.kernel(r), 4 * 0.7 * (6 * q - 12 * q**2) / r**2)
    assert close(system.potential(r), 4 * 0.7 * (q**2 - q))
    bottom = np.array(2 ** (1 / 6) * 1.3)
    assert abs(float(system.kernel(bottom))) < 1e-12
    assert float(system.potential(bottom)) == pytest.approx(-0.7)
    r, h = np.array([0.01, 0.3, 0.9, 1.2, 1.235, 1.3, 2.0]), 1e-6
    slopes = (system.potential(r + h) - system.potential(r - h)) / (2 * h)
    np.testing.assert_allclose(slopes, system.kernel(r) * r, rtol=1e-5, atol=1e-6)  # 1.235 is the edge
    edge = 1.235
    below, above = ((system.kernel(np.array([edge + k * h])) - system.kernel(np.array([edge]))) / k for k in (-1, 1))
    np.testing.assert_allclose(below, above, rtol=1e-4)


def test_pair_of_lennard_jones_settles_at_the_bottom_at_the_stated_rate() -> None:
    system = LennardJones(n_agents=2)
    bottom, small = 2 ** (1 / 6), 1e-5
    y = np.array([[0.0, 0.0], [bottom + small, 0.0]])
    end = integrate(system, y, system.time_scale / 50, 50)
    # Relative to `small` the next order of the force is U''' / U'' = 20 times small.
    assert end[1, 0] - end[0, 0] - bottom == pytest.approx(small / math.e, rel=1e-3)
