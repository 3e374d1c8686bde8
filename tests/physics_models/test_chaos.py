"""Laws of the chaotic, excitable, reacting and synchronising systems, from the mathematics of each."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from physics_models.base import PAIRS, System
from physics_models.cache import initial_states
from physics_models.fitzhugh_nagumo import FitzhughNagumo
from physics_models.kuramoto import Kuramoto
from physics_models.lorenz96 import Lorenz96
from physics_models.robertson import Robertson
from physics_models.rossler import Rossler
from physics_models.simulate import simulate

SEEDS = st.integers(0, 2**32 - 1)


def solved(
    system: System, y0: np.ndarray, times: np.ndarray, method: str = "DOP853", rtol: float = 1e-10
) -> np.ndarray:
    """(T, *state_shape) from one start by SciPy, where compiling the reference solver would take longer."""
    found = solve_ivp(
        lambda t, y: system.field(t, y.reshape(y0.shape)).ravel(),
        (times[0], times[-1]), y0.ravel(), method=method, t_eval=times, rtol=rtol, atol=1e-2 * rtol,
    )  # fmt: skip
    return found.y.T.reshape(-1, *y0.shape)


def divergence(system: System, y: np.ndarray, h: float = 1e-4) -> float:
    """Sum of d f_i / d y_i by central differences, which are exact to rounding for polynomials of degree 2."""
    unit = h * np.eye(len(y))
    return float(np.sum(np.diag(system.field(0.0, y + unit) - system.field(0.0, y - unit))) / (2 * h))


# Rössler


def test_rossler_rests_at_its_fixed_points_and_nowhere_else() -> None:
    system = Rossler()
    points = system.fixed_points()
    # Rounding of products of order 100.
    assert np.abs(system.field(0.0, points)).max() < 1e-12
    assert np.abs(system.field(0.0, points + 0.1)).max() > 0.01
    with pytest.raises(ValueError, match=r"c must be at least 2 sqrt\(a b\) = 2, .* but it is 1\.9"):
        Rossler(a=1.0, b=1.0, c=1.9)


def test_rossler_volumes_grow_by_a_and_x_and_shrink_by_c() -> None:
    system = Rossler()
    for y in initial_states(system, 0, 5):
        # Rounding of rates of order 100 over differences of 1e-4: 2e-16 * 100 / 1e-4.
        assert divergence(system, y) == pytest.approx(system.a + y[0] - system.c, abs=1e-8)


def test_rossler_period_one_at_small_c() -> None:
    """At c = 2.5 the attractor is one loop: after the transient, all maxima of x are the same (Strogatz, 12.3)."""
    x = solved(Rossler(c=2.5), np.array([1.0, 1.0, 0.1]), np.linspace(0, 400, 20001), rtol=1e-7)[15000:, 0]
    peaks = x[1:-1][(x[1:-1] > x[:-2]) & (x[1:-1] > x[2:])]
    # Sampling every 0.02 misses a peak by at most 0.01^2 / 2 of its curvature, which is of the order of x, 5.
    assert len(peaks) > 14 and np.ptp(peaks) < 1e-3


# Lorenz 1996


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.integers(4, 41), turn=st.integers(-50, 50))
def test_turning_the_ring_turns_the_rates_exactly(seed: int, size: int, turn: int) -> None:
    system = Lorenz96(n_variables=size)
    y = system.initial_state(np.random.default_rng(seed))
    assert system.state_shape == y.shape == (size,)
    np.testing.assert_array_equal(system.field(0.0, np.roll(y, turn)), np.roll(system.field(0.0, y), turn))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_advection_conserves_energy_and_the_rest_balances_it(seed: int) -> None:
    system = Lorenz96(n_variables=11)
    y = system.initial_state(np.random.default_rng(seed))
    parts = system.terms(0.0, y, system.values, system.term_names)
    # dE/dt = sum y . dy/dt; rounding of a sum of 22 products of order 10^3.
    assert abs(y @ parts["advection"]) < 1e-11
    assert y @ system.field(0.0, y) == pytest.approx(system.forcing * y.sum() - 2 * system.invariants(y)["energy"])


def test_lorenz96_equation_by_index() -> None:
    system, y = Lorenz96(n_variables=5, forcing=3.0), np.array([1.0, -2.0, 3.0, 5.0, 7.0])
    by_index = [(y[(i + 1) % 5] - y[i - 2]) * y[i - 1] - y[i] + 3.0 for i in range(5)]
    np.testing.assert_array_equal(system.field(0.0, y), by_index)
    with pytest.raises(ValueError, match="n_variables must be 4 or more, but it is 3"):
        Lorenz96(n_variables=3)


def test_lorenz96_uniform_state_is_stable_below_eight_ninths() -> None:
    """The Jacobian there is circulant: its eigenvalues are F (w - w^-2) - 1, at most 9 F / 8 - 1 in real part."""
    angle = np.linspace(0, 2 * math.pi, 100_001)
    wave = np.exp(1j * angle)
    assert np.max(np.real(wave - wave**-2)) == pytest.approx(9 / 8, abs=1e-8)
    for forcing, grows in ((0.85, False), (1.0, True)):
        system = Lorenz96(n_variables=24, forcing=forcing)  # 24 holds waves near the fastest growing one
        rest = np.full(24, forcing)
        assert np.all(system.field(0.0, rest) == 0)
        h = 1e-6
        jacobian = (system.field(0.0, rest + h * np.eye(24)) - system.field(0.0, rest - h * np.eye(24))).T / (2 * h)
        assert (np.linalg.eigvals(jacobian).real.max() > 0) == grows


# FitzHugh-Nagumo


def test_nerve_rests_without_current() -> None:
    system = FitzhughNagumo(current=0.0)
    ends = [solved(system, y, np.array([0.0, 500.0]))[-1] for y in initial_states(system, 0, 4)]
    # All starts come to the same state, at which the field vanishes: the tolerance of the solution.
    assert np.ptp(ends, axis=0).max() < 1e-8 and np.abs(system.field(0.0, ends[0])).max() < 1e-8


def test_nerve_fires_under_current_with_the_stated_period() -> None:
    system = FitzhughNagumo()
    for start in initial_states(system, 0, 2):
        v = solved(system, start, np.linspace(0, 300, 15001), rtol=1e-7)[7500:, 0]
        up = np.flatnonzero((v[:-1] < 0) & (v[1:] >= 0))
        crossings = up - v[up] / (v[up + 1] - v[up])  # in samples of 0.02, interpolated
        assert v.max() > 1.5 and v.min() < -1.5
        # The time scale is given to four figures.
        assert np.diff(crossings) * 0.02 == pytest.approx(system.time_scale, rel=2e-4)


@pytest.mark.parametrize(("current", "stable"), [(0.32, True), (0.34, False), (1.41, False), (1.43, True)])
def test_nerve_fixed_point_loses_its_stability_between_the_stated_currents(current: float, stable: bool) -> None:
    """Hopf: the trace 1 - v^2 - leak / tau of the Jacobian changes its sign."""
    system = FitzhughNagumo(current=current)
    # v - v^3 / 3 - (v + offset) / leak + current = 0 has one real root.
    roots = np.roots([-1 / 3, 0, 1 - 1 / system.leak, current - system.offset / system.leak])
    v = float(np.real(roots[np.argmin(np.abs(np.imag(roots)))]))
    rest = np.array([v, (v + system.offset) / system.leak])
    assert np.abs(system.field(0.0, rest)).max() < 1e-12
    assert (divergence(system, rest, 1e-5) < 0) == stable


# Robertson


def test_robertson_conserves_mass_and_its_clock_is_time() -> None:
    system = Robertson()
    y = initial_states(system, 0, 10)
    y[:, 1], y[:, 3] = 0.3, 15.0
    rate = system.field(0.0, y)
    # Rates reach 1e4 in units of the intermediate, hence 1 in units of the mass: rounding of sums of such numbers.
    assert np.abs(system.invariants(rate)["mass"]).max() < 1e-15 * np.abs(rate).max()
    assert np.all(rate[:, 3] == 1)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        # Hairer and Wanner, "Solving ordinary differential equations II": the solution at t = 40 to ten figures.
        (40.0, (0.7158270688, 0.9185534765e-5, 0.2841637457)),
        # The documentation of LSODE and CVODE, to the four figures that their tolerance leaves.
        (4e4, (3.897e-2, 1.621e-7, 9.610e-1)),
    ],
)
def test_robertson_against_published_solutions(seconds: float, wanted: tuple[float, float, float]) -> None:
    system = Robertson(spread=0.0)
    start = system.initial_state(np.random.default_rng(0))
    s = math.log1p(seconds / system.t_first)
    # Radau with atol 1e-12: the intermediate, in its units of 1e-4, is of the order 1e-1 and 1e-3.
    end = solved(system, start, np.array([0.0, s]), "Radau", 1e-10)[-1]
    found = [end[0], end[1] * 1e-4, end[2]]
    assert found == pytest.approx(wanted, rel=1e-8 if seconds == 40 else 2e-3)
    assert end[3] == pytest.approx(s, rel=1e-12)
    assert system.invariants(end)["mass"] == pytest.approx(1, abs=1e-12)


def test_robertson_refuses_a_start_of_product_alone() -> None:
    with pytest.raises(ValueError, match=r"spread must be below 1, the whole mass, but it is 1\.0"):
        Robertson(spread=1.0)


@pytest.mark.slow
def test_reference_solver_follows_robertson_over_nine_decades() -> None:
    system = Robertson(spread=0.0)
    times = np.array([0.0, 5.0, math.log1p(40.0 / system.t_first), 20.0])
    found = simulate(system, initial_states(system, 0, 1), times)
    assert found.y[0, 2, :3] == pytest.approx([0.7158270688, 0.09185534765, 0.2841637457], rel=1e-6)
    assert system.invariants(found.y)["mass"] == pytest.approx(1, abs=1e-10)


# Kuramoto


def test_kuramoto_is_the_sum_over_pairs() -> None:
    """The field, which has no table of pairs, against its definition; and with weights on the edges."""
    system = Kuramoto(n_agents=6, coupling=1.7)
    y = initial_states(system, 3, 4)
    phase, frequency = y[..., 0], y[..., 1]
    difference = phase[..., None, :] - phase[..., :, None]  # [i, j]: j as seen by i
    weights = np.random.default_rng(0).uniform(0, 1, (6, 6))
    for p, w in (({}, np.ones((6, 6))), ({PAIRS: weights}, weights)):
        wanted = frequency + 1.7 / 6 * np.sum(w * np.sin(difference), axis=-1)
        # Rounding of a sum of six products of order one.
        np.testing.assert_allclose(system.field(0.0, y, system.values | p)[..., 0], wanted, rtol=0, atol=1e-14)
    single = system.field(0.0, torch.as_tensor(y, dtype=torch.float32), system.values | {PAIRS: weights})
    assert single.dtype == torch.float32
    alone = system.field(0.0, y, system.values | {PAIRS: np.zeros((6, 6))})
    np.testing.assert_array_equal(alone[..., 0], frequency)
    np.testing.assert_array_equal(alone[..., 1], 0)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_kuramoto_mean_phase_advances_at_the_mean_frequency(seed: int) -> None:
    system = Kuramoto()
    y = system.initial_state(np.random.default_rng(seed))
    assert system.field(0.0, y)[:, 0].mean() == pytest.approx(y[:, 1].mean(), abs=1e-14)  # antisymmetry, rounding
    turned = y + np.array([2 * math.pi, 0.0])  # every whole turn is the same state
    np.testing.assert_allclose(system.field(0.0, turned), system.field(0.0, y), rtol=0, atol=1e-13)


def test_two_oscillators_lock_at_the_known_difference() -> None:
    """d(difference)/dt = gap - coupling sin(difference): locked at asin(gap / coupling), adrift if gap > coupling."""
    start = np.array([[0.0, 0.0], [0.3, 0.5]])
    end = solved(Kuramoto(n_agents=2, coupling=1.0), start, np.array([0.0, 60.0]))[-1]
    assert end[1, 0] - end[0, 0] == pytest.approx(math.asin(0.5), abs=1e-8)
    # Adrift, a turn takes 2 pi / sqrt(gap^2 - coupling^2).
    period = 2 * math.pi / math.sqrt(0.5**2 - 0.3**2)
    end = solved(Kuramoto(n_agents=2, coupling=0.3), start, np.array([0.0, period]))[-1]
    assert end[1, 0] - end[0, 0] == pytest.approx(0.3 + 2 * math.pi, abs=1e-8)


@pytest.mark.parametrize("distribution", ["normal", "lorentz"])
def test_onset_of_synchrony(distribution: str) -> None:
    """r is of the order N^(-1/2) below the critical coupling, and (1 - critical / coupling)^(1/2) above for Lorentz's.

    The frequencies are the distribution's quantiles, so that N acts as infinitely many but for the fluctuations of
    order N^(-1/2) = 0.03 from the phases: tolerance 0.05 after averaging over time, 0.1 below, where they fade slowly.
    """
    from scipy.stats import cauchy, norm

    n = 1000
    levels = (np.arange(n) + 0.5) / n
    frequency = (norm if distribution == "normal" else cauchy).ppf(levels)
    critical = Kuramoto(distribution=distribution).critical_coupling
    g0 = (norm if distribution == "normal" else cauchy).pdf(0)
    assert critical == pytest.approx(2 / (math.pi * g0), rel=1e-12)
    phase = np.random.default_rng(0).uniform(-math.pi, math.pi, n)
    found = {}
    for ratio in (0.5, 2.0):
        system = Kuramoto(n_agents=n, coupling=ratio * critical, distribution=distribution)
        y, h, order = np.stack([phase, np.clip(frequency, -40, 40)], axis=-1), 0.04, []
        for i in range(1000):  # 40 time units; Lorentz's fastest frequencies, far from locking, are slowed to 40
            a = system.field(0.0, y)
            b = system.field(0.0, y + h / 2 * a)
            y = y + h * b  # midpoint rule: for the slow, who make r, its error h^2 is far below the fluctuations
            if i >= 500:
                order.append(system.invariants(y)["order_parameter"])
        found[ratio] = float(np.mean(order))
    assert found[0.5] < 0.1
    if distribution == "lorentz":
        assert found[2.0] == pytest.approx(math.sqrt(0.5), abs=0.05)
    else:
        # Mean-field theory: 1 = K ∫ cos²θ g(K r sin θ) dθ over the half circle.
        theta, step = np.linspace(-math.pi / 2, math.pi / 2, 2001, retstep=True)
        r = np.linspace(0.05, 1, 1000)
        k = 2.0 * critical
        balance = k * step * np.sum(np.cos(theta) ** 2 * norm.pdf(k * r[:, None] * np.sin(theta)), axis=-1) - 1
        assert found[2.0] == pytest.approx(r[np.argmin(np.abs(balance))], abs=0.05)


def test_kuramoto_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="distribution must be one of normal, lorentz, but it is 'uniform'"):
        Kuramoto(distribution="uniform")
    with pytest.raises(ValueError, match="n_agents must be 2 or more, but it is 1"):
        Kuramoto(n_agents=1)
    with pytest.raises(ValueError, match="coupling must be above 0 if width is 0"):
        Kuramoto(coupling=0.0, width=0.0)
    assert dataclasses.replace(Kuramoto(), width=0.0).critical_coupling == 0
