"""Laws that the equations or their reference solutions must obey, from the mathematics of each system."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from physics_models.base import System
from physics_models.cache import initial_states
from physics_models.cucker_smale import CuckerSmale
from physics_models.discovery import systems
from physics_models.flocking import Flocking
from physics_models.lorenz63 import Lorenz63
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.order_parameters import nearest_neighbour_distance, polarisation
from physics_models.pendulum import Pendulum
from physics_models.simulate import simulate

SYSTEMS = [systems.load(name)() for name in systems.names()]
SYSTEMS += [CuckerSmale(space_dim=3), Flocking(space_dim=3)]
SEEDS = st.integers(0, 2**32 - 1)
TIMES = np.linspace(0, 10, 51)


def with_symmetry(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("system", [s for s in SYSTEMS if name in s.structure.symmetries], ids=repr)


@functools.cache
def reference(system: System, rtol: float = 1e-10) -> np.ndarray:
    """Eight trajectories, (8, 51, *state_shape), solved once for all tests."""
    return simulate(system, initial_states(system, 0, 8), TIMES, rtol).y


def runge_kutta_step(system: System, y: np.ndarray, h: float) -> np.ndarray:
    """The classical fourth-order step, where compiling the reference solver would take longer than the test."""
    a = system.field(0.0, y)
    b = system.field(0.0, y + h / 2 * a)
    c = system.field(0.0, y + h / 2 * b)
    return y + h / 6 * (a + 2 * b + 2 * c + system.field(0.0, y + h * c))


def rate_of(system: System, invariant: str, y: np.ndarray) -> np.ndarray:
    """Rate of change of an invariant along the field, at every state of a batch."""
    with jax.enable_x64(True):
        along = jax.jit(lambda y, rate: jax.jvp(lambda y: system.invariants(y)[invariant], (y,), (rate,))[1])
        return np.asarray(along(y, system.field(0.0, y)))


def random_rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return q


# Symmetries hold to rounding: sums of some ten terms, hence 1e-13 of the largest, about 500 roundings.
def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * max(1.0, np.abs(wanted).max()))


@with_symmetry("permutation")
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_renaming_agents_renames_their_rates(system: System, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = system.initial_state(rng)
    order = rng.permutation(len(y))
    assert_close(system.field(0.0, y[order]), system.field(0.0, y)[order])


@with_symmetry("rotation")
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_rotating_the_group_rotates_its_rates(system: System, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = system.initial_state(rng)
    d = system.structure.space_dim
    q = random_rotation(rng, d)

    def rotate(y: np.ndarray) -> np.ndarray:
        k = system.structure.order * d  # positions and velocities; what else there is has no direction
        turned = (y[..., :k].reshape(*y.shape[:-1], -1, d) @ q.T).reshape(*y.shape[:-1], k)
        return np.concatenate([turned, y[..., k:]], axis=-1)

    assert_close(system.field(0.0, rotate(y)), rotate(system.field(0.0, y)))


@with_symmetry("translation")
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_moving_the_group_changes_nothing(system: System, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = system.initial_state(rng)
    shift = np.zeros(y.shape[-1])
    shift[: system.structure.space_dim] = rng.standard_normal(system.structure.space_dim)
    assert_close(system.field(0.0, y + shift), system.field(0.0, y))


@with_symmetry("shift")
def test_shifting_a_field_along_its_grid_shifts_its_rates(system: System) -> None:
    y, grid = system.initial_state(np.random.default_rng(0)), system.structure.grid
    assert grid is not None

    def shifted(y: np.ndarray) -> np.ndarray:
        return np.roll(y.reshape(*grid, -1), range(3, 3 + len(grid)), range(len(grid))).reshape(y.shape)

    rate = system.field(0.0, y)
    # Derivatives multiply roundings by wave numbers to their power, as they do the field itself.
    np.testing.assert_allclose(system.field(0.0, shifted(y)), shifted(rate), rtol=0, atol=1e-12 * np.abs(rate).max())


@with_symmetry("time")
def test_autonomous(system: System) -> None:
    y = system.initial_state(np.random.default_rng(0))
    np.testing.assert_array_equal(system.field(0.0, y), system.field(7.0, y))


CONSERVING = [CuckerSmale(), LotkaVolterra(), Pendulum(damping=0.0)]


@pytest.mark.parametrize("system", CONSERVING, ids=repr)
def test_field_is_tangent_to_what_it_conserves(system: System) -> None:
    y = initial_states(system, 1, 20)
    assert system.structure.conserved
    for name in system.structure.conserved:
        # Rounding of products of order one (populations: up to ten), as for the symmetries.
        assert np.abs(rate_of(system, name, y)).max() < 1e-12, name


@pytest.mark.parametrize("system", CONSERVING, ids=repr)
def test_reference_conserves_what_the_field_conserves(system: System) -> None:
    # rtol bounds the error of one step, and the errors of 50 and more steps add up: a tolerance of 1e-12 for 1e-10.
    found = system.invariants(reference(system, 1e-12))
    for name in system.structure.conserved:
        drift = np.abs(found[name] - found[name][:, :1])
        assert drift.max() < 1e-10 * max(1.0, np.abs(found[name]).max()), name


def test_friction_takes_energy() -> None:
    system = Pendulum(damping=0.3)
    assert system.structure.conserved == ()
    y = initial_states(system, 1, 20)
    np.testing.assert_allclose(rate_of(system, "energy", y), -0.3 * y[:, 1] ** 2, rtol=0, atol=1e-13)


def test_small_swings_have_the_stated_period() -> None:
    system = Pendulum(damping=0.0)
    y0 = np.tile([1e-4, 0.0], (8, 1))
    y = simulate(system, y0, np.linspace(0, system.time_scale, 51), 1e-13).y
    # The period is longer by angle^2 / 16 = 6e-10 of itself: 4e-13 of velocity. The solver errs as much.
    np.testing.assert_allclose(y[:, -1], y0, rtol=0, atol=1e-12)


def test_error_of_the_reference_falls_with_its_tolerance() -> None:
    system = Pendulum(damping=0.0)
    y0, times = initial_states(system, 0, 8), TIMES * 10  # save times far apart, so that the tolerance sets the steps
    truth = simulate(system, y0, times, 1e-13).y
    tolerances = np.array([1e-6, 1e-8, 1e-10])
    errors = np.array([np.abs(simulate(system, y0, times, rtol).y - truth).max() for rtol in tolerances])
    # An error proportional to the tolerance falls a hundredfold each time; ten is a safe lower bound.
    assert np.all(errors[:-1] > 10 * errors[1:])
    # 16 swings, phase errors add up in all of them: within a thousand tolerances.
    assert np.all(errors < 1000 * tolerances)


def test_universal_differential_equations_trajectory() -> None:
    """Start and parameters of arXiv:2001.04385 against an independent solver (LSODA to 1e-12, hence 1e-9)."""
    start, times = np.array([0.44249296, 4.6280594]), np.linspace(0, 3, 51)
    system = LotkaVolterra()
    y = simulate(system, np.tile(start, (8, 1)), times).y
    truth = solve_ivp(system.field, (0, 3), start, method="LSODA", t_eval=times, rtol=1e-12, atol=1e-12).y.T
    np.testing.assert_allclose(y, np.tile(truth, (8, 1, 1)), rtol=0, atol=1e-9)


def test_cucker_smale_flocks_from_anywhere_for_small_beta() -> None:
    system = CuckerSmale()
    assert system.beta < 0.5
    y0 = initial_states(system, 3, 8) * np.array([1, 1, 2, 2, 5, 5, 10, 10])[:, None, None]
    y = simulate(system, y0, TIMES * 10).y
    centred = y - y.mean(axis=2, keepdims=True)
    x, v = np.linalg.norm(centred[..., :2], axis=-1).max(-1), np.linalg.norm(centred[..., 2:], axis=-1).max(-1)
    # The fastest agent is pulled back by all others: its speed about the mean falls, until it is rounding.
    assert np.all((np.diff(v, axis=1) < 0) | (v[:, 1:] < 1e-8))
    # Agents within x of the centre are coupled by psi = (1 + (2 x)^2)^(-1/4) or more, so speeds fall as exp(-psi t) or
    # faster, with the largest x met.
    slowest = (1 + (2 * x.max(1)) ** 2) ** -0.25
    assert np.all(v[:, -1] < v[:, 0] * np.exp(-slowest * 100) + 1e-8)
    assert np.all(x[:, -1] - x[:, -6] < 0.01 * x[:, -1])  # and the groups have all but stopped growing


def test_cucker_smale_disperses_for_large_beta() -> None:
    """Two fast agents, beta 2: the coupling left along their way out integrates to less than their speed."""
    system = CuckerSmale(n_agents=2, beta=2.0)
    y = np.array([[1.0, 0, 2, 0], [-1.0, 0, -2, 0]])
    for _ in range(500):
        y = runge_kutta_step(system, y, 0.02)
    # dv/dx = -(1 + 4 x^2)^-2, so v loses at most the integral of that from x = 1, which is below 1/48.
    assert y[0, 2] > 2 - 1 / 48
    assert y[0, 0] > 1 + 10 * (2 - 1 / 48)


def test_flock_forms_and_keeps_its_distance() -> None:
    y = reference(Flocking())
    order, gap = polarisation(y[..., 2:]), nearest_neighbour_distance(y[..., :2])
    assert order[:, 0].mean() < 0.6  # random headings of 10 agents give 0.3, a third of the velocity is common
    assert np.all(order[:, -1] > 0.99)
    assert np.all(order[:, 5] < 0.95)  # not yet after one time unit
    assert np.all(gap[:, -1] > 0.3)
    radius = np.linalg.norm(y[..., :2] - y[..., :2].mean(2, keepdims=True), axis=-1).max(-1)
    assert np.all(radius[:, -1] < 3)
    np.testing.assert_allclose(np.linalg.norm(y[:, -1, :, 2:], axis=-1), 1.0, atol=0.1)  # cruising


def test_every_rule_of_flocking_matters() -> None:
    """Over the first five time units each term has a root mean square above 20% of the whole acceleration's."""
    system = Flocking()
    y = reference(system)[:, :26]
    whole = np.sqrt(np.mean(system.field(0.0, y)[..., 2:] ** 2))
    for name, term in system.terms(0.0, y, system.values, system.term_names[1:]).items():
        assert np.sqrt(np.mean(term[..., 2:] ** 2)) > 0.2 * whole, name


def test_order_parameters() -> None:
    v = np.array([[1.0, 0], [2, 0], [0, 0], [-3, 0]])
    assert polarisation(v) == 0.25  # one of four wins, the one at rest counts as zero
    assert polarisation(np.ones((5, 7, 10, 3))).shape == (5, 7)
    assert nearest_neighbour_distance(np.array([[0.0, 0], [1, 0], [3, 0]])) == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="2 agents or more"):
        nearest_neighbour_distance(np.zeros((4, 1, 2)))


@pytest.mark.slow
def test_lorenz_lyapunov_exponent() -> None:
    """0.906 per time unit (Sprott 2003): growth of a small difference, renewed every 0.1, classical Runge-Kutta."""
    system, h, small, rng = Lorenz63(), 0.01, 1e-7, np.random.default_rng(0)
    y = initial_states(system, 0, 2000)
    nudge = rng.standard_normal(y.shape)
    z = np.stack([y, y + small * nudge / np.linalg.norm(nudge, axis=-1, keepdims=True)])
    growth = 0.0
    for step in range(7000):
        z = runge_kutta_step(system, z, h)
        if step % 10 == 9:
            difference = z[1] - z[0]
            size = np.linalg.norm(difference, axis=-1)
            z[1] = z[0] + difference * (small / size)[:, None]
            if step >= 1000:  # by then on the attractor, and the difference has turned to the growing direction
                growth += np.log(size / small).mean()
    # 2000 runs of 60 time units scatter by 0.001 in the mean; the bound is the figure's own uncertainty.
    assert growth / 60 == pytest.approx(0.906, abs=0.005)
