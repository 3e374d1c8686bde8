"""Laws of single systems of few bodies: orbits, periods, modes and forces that mathematics gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from physics_models.base import System
from physics_models.cache import initial_states
from physics_models.charged_particles import ChargedParticles
from physics_models.double_pendulum import DoublePendulum
from physics_models.kepler import Kepler
from physics_models.pendulum import Pendulum
from physics_models.spring import Spring
from physics_models.spring_particles import SpringParticles
from physics_models.three_body import EIGHT_PERIOD, ThreeBody
from physics_models.two_body import TwoBody

# Fields and invariants are sums of some ten products of numbers up to ten: a few hundred roundings of 2e-16.
ROUNDING = 1e-12


def states(system: System, n: int = 20) -> np.ndarray:
    return initial_states(system, 1, n)


def trajectory(system: System, y0: np.ndarray, end: float, tolerance: float = 1e-12) -> np.ndarray:
    """The state at the time `end`, from an integrator other than the one under test."""
    found = solve_ivp(
        lambda t, y: system.field(t, y.reshape(y0.shape)).ravel(), (0, end), y0.ravel(), method="DOP853",
        rtol=tolerance, atol=tolerance,
    )  # fmt: skip
    return found.y[:, -1].reshape(y0.shape)


# Gravitation


def test_keplers_third_law() -> None:
    system = Kepler(strength=2.0, eccentricity=0.9, spread=0.5)
    for y0 in states(system, 10):
        axis = -system.strength / (2 * system.invariants(y0)["energy"])
        assert 0.5 <= axis <= 1.5
        period = 2 * math.pi * math.sqrt(axis**3 / system.strength)
        # The integrator's 1e-12 a step grows along the orbit about a hundredfold, the more the more eccentric it is.
        np.testing.assert_allclose(trajectory(system, y0, period), y0, rtol=0, atol=1e-8)
        assert np.abs(trajectory(system, y0, 0.9 * period) - y0).max() > 0.1


def test_laplace_runge_lenz_vector_is_the_eccentricity() -> None:
    system = Kepler(strength=2.0)
    found = system.invariants(states(system, 2000))
    e = np.hypot(found["laplace_runge_lenz_x"], found["laplace_runge_lenz_y"]) / system.strength
    # Uniform from 0 to 0.5: a mean of 0.25, which 2000 draws miss by 0.003; and either sense of rotation.
    assert e.max() < 0.5 and e.mean() == pytest.approx(0.25, abs=0.01)
    assert np.mean(found["angular_momentum"] > 0) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(
        found["energy"], system.strength**2 * (e**2 - 1) / (2 * found["angular_momentum"] ** 2), rtol=1e-12
    )


def test_two_bodies_are_keplers_problem_in_relative_coordinates() -> None:
    system = TwoBody(mass_1=3.0, mass_2=0.5)
    y = states(system)
    rate = system.field(0.0, y)
    np.testing.assert_allclose(
        rate[:, 0] - rate[:, 1], Kepler(strength=3.5).field(0.0, y[:, 0] - y[:, 1]), rtol=0, atol=ROUNDING
    )


def test_undisturbed_two_bodies_run_in_circles() -> None:
    y = states(TwoBody(mass_1=3.0, disorder=0.0))
    e = Kepler(strength=4.0).invariants(y[:, 0] - y[:, 1])
    np.testing.assert_allclose([e["laplace_runge_lenz_x"], e["laplace_runge_lenz_y"]], 0, atol=ROUNDING)
    assert np.ptp(np.arctan2(*y[:, 0, :2].T)) > math.pi  # in all directions
    assert (states(TwoBody(direction="quadrant"))[:, 0, :2] >= 0.5).all()


def test_softened_gravitation() -> None:
    """Plummer's law: r / (r^2 + s^2)^(3/2)."""
    y = np.array([[0.0, 0, 0, 0], [0.3, 0, 0, 0]])
    found = TwoBody(mass_2=2.0, softening=0.4).field(0.0, y)
    np.testing.assert_allclose(found[:, 2], [2 * 0.3 / 0.125, -0.3 / 0.125], rtol=1e-14)


def test_figure_eight_closes() -> None:
    system = ThreeBody(start="figure_eight", disorder=0.0)
    y0 = states(system, 1)[0]
    end = trajectory(system, y0, EIGHT_PERIOD)
    # Start and period are given to 1e-8; a period of this stable orbit multiplies errors by up to ten or so.
    np.testing.assert_allclose(end, y0, rtol=0, atol=2e-7)
    # A third of a period on, the bodies have changed places: it is one curve.
    third = trajectory(system, y0, EIGHT_PERIOD / 3)
    assert min(np.abs(third[order] - y0).max() for order in ([1, 2, 0], [2, 0, 1])) < 2e-7


def test_lagranges_triangle_turns_rigidly_whatever_the_masses() -> None:
    system = ThreeBody(mass_1=1.0, mass_2=2.0, mass_3=5.0, near=1.0, far=1.0, disorder=0.0)
    y0 = states(system, 1)[0]
    rate2 = 8 / math.sqrt(3) ** 3  # total mass over side^3
    np.testing.assert_allclose(system.field(0.0, y0)[:, 2:], -rate2 * y0[:, :2], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(system.time_scale, 2 * math.pi / math.sqrt(rate2))
    np.testing.assert_allclose(trajectory(system, y0, system.time_scale / 4)[:, 0], -y0[:, 1], atol=1e-10)


def test_lagranges_triangle_is_as_unstable_as_stated() -> None:
    """Errors grow 85-fold a turn: Routh's characteristic equation has the root 2^(-1/2) in units of the rotation."""
    system = ThreeBody(near=1.0, far=1.0, disorder=0.0)
    y0 = states(system, 1)[0]
    nudge = 1e-9 * np.random.default_rng(0).standard_normal(y0.shape)
    at = [np.linalg.norm(trajectory(system, y0 + nudge, k * system.time_scale) - y0) for k in (1, 2)]
    assert at[1] / at[0] == pytest.approx(math.exp(math.sqrt(2) * math.pi), rel=0.2)  # other modes are still there


# Oscillators


@pytest.mark.parametrize("damping", [0.0, 0.3, 7.0])
def test_spring_is_solved_by_a_formula(damping: float) -> None:
    system, x, v, t = Spring(stiffness=4.0, damping=damping), 0.7, -0.4, 3.3
    w = np.sqrt(complex(4 - damping**2 / 4))
    decay = math.exp(-damping * t / 2)
    wanted = decay * (x * np.cos(w * t) + (v + damping * x / 2) / w * np.sin(w * t))
    found = trajectory(system, np.array([x, v]), t)[0]
    assert found == pytest.approx(wanted.real, abs=1e-11)  # ten times the tolerance of a step
    assert system.time_scale == pytest.approx(math.pi)


def test_drive_of_the_pendulum() -> None:
    driven, free = Pendulum(drive=1.5, drive_frequency=2 / 3), Pendulum()
    y, t = states(free), np.arange(20.0)[:, None]
    push = np.broadcast_to(driven.field(t, y) - free.field(t, y), y.shape)
    np.testing.assert_allclose(push[:, 1], 1.5 * np.cos(2 / 3 * t[:, 0]), rtol=0, atol=1e-14)
    assert not push[:, 0].any()
    np.testing.assert_array_equal(Pendulum(drive_frequency=2 / 3).field(3.0, y), free.field(3.0, y))
    assert driven.field(1.0, y.astype(np.float32)).dtype == np.float32
    assert driven.structure.symmetries == () and driven.structure.conserved == ()
    assert Pendulum(damping=0.0).structure.conserved == ("energy",)
    assert Pendulum(damping=0.0, drive=0.1).structure.conserved == ()


def test_driven_pendulum_is_chaotic_where_it_should_be() -> None:
    """Baker and Gollub's figures: damping 1/2, frequency 2/3; the drive 0.9 gives one period, 1.5 chaos."""

    def growth(drive: float) -> float:
        system = Pendulum(damping=0.5, drive=drive, drive_frequency=2 / 3)
        y = states(system, 20)
        z, h, total = np.stack([y, y + 1e-8]), 0.05, 0.0
        for step in range(4000):
            t = step * h
            a = system.field(t, z)
            b = system.field(t + h / 2, z + h / 2 * a)
            c = system.field(t + h / 2, z + h / 2 * b)
            z = z + h / 6 * (a + 2 * b + 2 * c + system.field(t + h, z + h * c))
            if step % 20 == 19:
                size = np.linalg.norm(z[1] - z[0], axis=-1, keepdims=True)
                z[1] = z[0] + 1e-8 / size * (z[1] - z[0])
                total += float(np.log(size / 1e-8).mean()) if step >= 2000 else 0.0
        return total / 100

    # Lyapunov exponents of -0.25 (half the damping, the swing being locked) and about 0.1; 0 is far from both.
    assert growth(0.9) < -0.05 and growth(1.5) > 0.05


@pytest.mark.parametrize(
    "system", [DoublePendulum(), DoublePendulum(gravity=2.0, mass_ratio=0.3, length_ratio=1.7)], ids=repr
)
def test_normal_modes_of_the_double_pendulum(system: DoublePendulum) -> None:
    rest = torch.zeros(4, dtype=torch.float64)
    jacobian: Any = torch.autograd.functional.jacobian(lambda y: system.field(0.0, y), rest)
    found = np.sort(np.linalg.eigvals(jacobian.numpy()).imag)[2:]
    np.testing.assert_allclose(found, system.mode_frequencies, rtol=1e-12)
    if system == DoublePendulum():
        np.testing.assert_allclose(np.square(found), [2 - math.sqrt(2), 2 + math.sqrt(2)], rtol=1e-12)


def test_double_pendulum_is_two_masses_on_rods() -> None:
    """The energy from where the masses are and how fast they move, in Cartesian coordinates."""
    system = DoublePendulum(gravity=2.0, mass_ratio=0.3, length_ratio=1.7)
    y = states(system)
    w = system.field(0.0, y)[:, :2]
    rods = np.stack([np.sin(y[:, :2]), -np.cos(y[:, :2])], axis=-1) * [[1.0], [1.7]]
    speeds = w[..., None] * np.stack([np.cos(y[:, :2]), np.sin(y[:, :2])], axis=-1) * [[1.0], [1.7]]
    x, v = np.cumsum(rods, axis=1), np.cumsum(speeds, axis=1)
    energy = np.sum([1, 0.3] * (np.sum(v**2, axis=-1) / 2 + 2.0 * x[..., 1]), axis=1)
    at_rest = 2.0 * (-1 - 0.3 * 2.7)
    np.testing.assert_allclose(system.invariants(y)["energy"], energy - at_rest, rtol=0, atol=ROUNDING)


# Particles


def test_opposite_charges_are_two_bodies_that_gravitate() -> None:
    y = states(TwoBody())
    pair = ChargedParticles(n_agents=2, softening=0.0, confinement=0.0)
    charged = np.concatenate([y, np.tile([[1.0], [-1.0]], (20, 1, 1))], axis=-1)
    rate = pair.field(0.0, charged)
    np.testing.assert_allclose(rate[..., :4], TwoBody().field(0.0, y), rtol=0, atol=ROUNDING)
    assert not rate[..., 4].any()  # a charge never changes
    charged[..., 4] = 1.0  # alike: the force turns round
    np.testing.assert_allclose(pair.field(0.0, charged)[..., 2:4], -rate[..., 2:4], rtol=0, atol=ROUNDING)


def test_particles_start_as_in_the_original() -> None:
    y = states(ChargedParticles(), 400)
    assert set(np.unique(y[..., 4])) == {-1.0, 1.0} and abs(y[..., 4].mean()) < 0.1  # 2000 draws: 0.022
    np.testing.assert_allclose(np.linalg.norm(y[..., 2:4], axis=-1), 0.5)
    assert y[..., :2].std() == pytest.approx(1.0, abs=0.05)
    assert states(SpringParticles(), 400)[..., :2].std() == pytest.approx(0.5, abs=0.03)


def test_springs_pull_along_the_graph() -> None:
    """Without walls the force is -strength times the Laplacian matrix of the graph."""
    system = SpringParticles(confinement=0.0, n_agents=7, graph_seed=3)
    g = system.graph
    assert (g == g.T).all() and not np.diag(g).any() and 0 < g.sum() / 2 < 21
    y = states(system)
    laplacian = np.diag(g.sum(axis=0)) - g
    np.testing.assert_allclose(system.field(0.0, y)[..., 2:], -0.1 * laplacian @ y[..., :2], rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(SpringParticles(n_agents=12, graph_seed=3).graph[:7, :7], g)
    assert not SpringParticles(edge_probability=0.0).graph.any()
    # A seed's graph is not drawn from the numbers that the first trajectory of that seed starts from.
    first = [np.random.default_rng([seed, 0]).uniform(size=45) < 0.5 for seed in range(9)]
    graphs = [SpringParticles(n_agents=10, graph_seed=seed).graph[np.tril_indices(10, -1)] == 1 for seed in range(9)]
    assert abs(np.mean(np.equal(first, graphs)) - 0.5) < 5 * 0.5 / np.sqrt(9 * 45)  # five standard errors of a coin
    assert SpringParticles(edge_probability=1.0).graph.sum() == 20
