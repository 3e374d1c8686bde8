"""Lyapunov spectra against exact ones and published ones."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from physics_models.lorenz63 import Lorenz63
from physics_models.lorenz96 import Lorenz96
from physics_models.lyapunov import Spectrum, lyapunov_spectrum, spectrum_of_field
from physics_models.pendulum import Pendulum
from physics_models.robertson import Robertson
from physics_models.rossler import Rossler
from physics_models.solution import SimulationError
from physics_models.vicsek import Vicsek


def test_linear_system_exactly() -> None:
    """dy/dt = M y: the exponents are the real parts of M's eigenvalues, here of a spiral and of two reals."""
    rng = np.random.default_rng(0)
    blocks = np.zeros((4, 4))
    blocks[:2, :2], blocks[2, 2], blocks[3, 3] = [[0.3, 2.0], [-2.0, 0.3]], -0.5, -2.0
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    matrix = basis @ blocks @ basis.T
    starts = rng.standard_normal((3, 4))
    pi = 2 * math.pi / 2.0  # whole turns of the spiral, so that nothing is left of its phase
    found = spectrum_of_field(
        lambda t, y: y @ jnp.asarray(matrix).T, starts, 16 * pi, transient=30 * pi, interval=pi / 8
    )
    # The integration error: 1e-9 of an interval's growth, over an interval of 0.4; the directions have turned by then
    # but for exp(-0.8 * 94).
    np.testing.assert_allclose(found.exponents, [0.3, 0.3, -0.5, -2.0], rtol=0, atol=1e-8)
    assert np.all(found.standard_error < 1e-8) and found.integration_error < 1e-9


def test_agents_and_the_largest_exponents_alone() -> None:
    """States of any shape, and time: independent growth at the rates of one matrix, cos(t) averaging to 0."""
    rates = np.array([[0.5, -1.0], [0.1, -0.2], [-3.0, 0.3]])
    found = spectrum_of_field(
        lambda t, y: (jnp.asarray(rates) + jnp.cos(t)) * y, np.ones((2, 3, 2)), 32 * math.pi,
        transient=40 * math.pi, interval=math.pi / 4, n_exponents=3,
    )  # fmt: skip
    # Blocks are whole periods of cos. What is left of other directions after the transient: exp(-0.2 * 126) = 1e-11.
    np.testing.assert_allclose(found.exponents, [0.5, 0.3, 0.1], rtol=0, atol=1e-8)


def test_steps_shorten_where_the_field_grows_fast_later_on() -> None:
    """dy/dt = (0.1 + w(t) J) y: turns, faster and faster, change no length. Chosen at the beginning alone, a step would
    be far too long in the end: 300 times as fast."""
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    found = spectrum_of_field(
        lambda t, y: 0.1 * y + (0.1 + t) * y @ jnp.asarray(turn), np.array([[1.0, 0.0], [0.6, -0.8]]), 32.0,
        transient=0.0, interval=0.25,
    )  # fmt: skip
    # 1e-9 of an interval of 0.25, and as much again for what a turn adds until the next look, an eighth of the run on.
    np.testing.assert_allclose(found.exponents, [0.1, 0.1], rtol=0, atol=1e-8)
    assert 0 < found.integration_error < 1e-9


@pytest.fixture(scope="module")
def lorenz() -> Spectrum:
    return lyapunov_spectrum(Lorenz63(), 60.0, n_starts=64)


def test_lorenz_in_short(lorenz: Spectrum) -> None:
    """64 runs of 60 time units: the largest exponent to four of its own standard errors, each about 0.005."""
    found = lorenz
    assert found.exponents.shape == found.standard_error.shape == (3,)
    assert found.standard_error[0] < 0.008
    assert abs(found.exponents[0] - 0.906) < 4 * found.standard_error[0]
    # Along the trajectory nothing grows: a displacement there stays between bounds of the speed, a factor of about 100.
    assert abs(found.exponents[1]) < math.log(100) / 60
    # The divergence is the same everywhere: only the integration error is left, 1e-9 of an interval of 0.11.
    assert found.exponents.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-8)
    # Kaplan and Yorke's dimension is 2.062 (Sprott 2003); it varies by the error of the first over the third, 14.6.
    assert found.kaplan_yorke_dimension == pytest.approx(2.062, abs=0.002)


def test_pendulum_has_no_chaos() -> None:
    """Differences on a conservative torus grow in proportion to time only: log(duration) / duration, and sum 0."""
    found = lyapunov_spectrum(Pendulum(damping=0.0), 1000.0, n_starts=4)
    assert np.abs(found.exponents).max() < math.log(1000) / 250  # four blocks of 250 from each start
    assert found.exponents.sum() == pytest.approx(0, abs=1e-8)


def test_kaplan_yorke_dimension() -> None:
    def of(*exponents: float) -> float:
        return Spectrum(np.array(exponents), np.zeros(len(exponents)), 0.0).kaplan_yorke_dimension

    assert of(1.0, 0.0, -4.0) == 2.25
    assert of(-1.0, -2.0) == 0.0  # a point
    assert of(0.0, -1.0) == 1.0  # a cycle
    assert of(1.0, -1.0) == 2.0  # no volume lost
    assert of(2.0, 1.0) == 2.0


def test_what_cannot_be_measured_is_refused() -> None:
    y = np.ones((2, 3))
    times: Any = {"transient": 1.0, "interval": 0.1}
    with pytest.raises(ValueError, match="n_exponents must be from 1 to the size of a state, 3, but it is 4"):
        spectrum_of_field(lambda t, y: y, y, 10.0, n_exponents=4, **times)
    with pytest.raises(ValueError, match="duration must be at least 16 intervals"):
        spectrum_of_field(lambda t, y: y, y, 1.0, **times)
    with pytest.raises(ValueError, match="starts must be finite and of shape"):
        spectrum_of_field(lambda t, y: y, y * np.nan, 10.0, **times)
    with pytest.raises(ValueError, match="Vicsek is a map"):
        lyapunov_spectrum(Vicsek(), 10.0)
    with pytest.raises(SimulationError, match=r"not finite at t = .*stay on an attractor") as caught:
        spectrum_of_field(lambda t, y: y, y, 1000.0, transient=1000.0, interval=0.1)
    assert caught.value.trajectory == 0
    with pytest.raises(SimulationError, match=r"more than 4096 steps are needed for an interval of .*stiff"):
        lyapunov_spectrum(Robertson(), 1000.0, transient=0.0, interval=20.0)


@pytest.mark.slow
def test_lorenz_exponent() -> None:
    """0.906 (Sprott 2003), within the figure's own uncertainty; the statistical one is about a quarter of that."""
    found = lyapunov_spectrum(Lorenz63(), 200.0, n_starts=256)
    assert found.standard_error[0] < 0.0015
    assert found.exponents[0] == pytest.approx(0.906, abs=0.005)
    assert found.kaplan_yorke_dimension == pytest.approx(2.062, abs=0.001)


@pytest.mark.slow
def test_rossler_exponent() -> None:
    """0.0714, 0, -5.39 (Sprott 2003)."""
    found = lyapunov_spectrum(Rossler(), 2000.0, n_starts=64, interval=1.0)
    assert found.standard_error[0] < 0.001
    assert found.exponents[0] == pytest.approx(0.071, abs=0.003)
    assert found.exponents[1] == pytest.approx(0, abs=0.003)
    assert found.exponents[2] == pytest.approx(-5.39, abs=0.02)


@pytest.mark.slow
def test_lorenz96_exponents() -> None:
    """With 40 variables and forcing 8: the largest 1.67 to 1.69, 13 positive ones, the sum -40, the dimension 27.1."""
    largest = lyapunov_spectrum(Lorenz96(), 100.0, n_starts=512, n_exponents=1)
    assert largest.standard_error[0] < 0.005
    assert 1.66 < largest.exponents[0] < 1.70
    found = lyapunov_spectrum(Lorenz96(), 60.0, n_starts=32)
    assert abs(found.exponents[0] - largest.exponents[0]) < 4 * found.standard_error[0]
    # The 13th is about 0.058 and the next one 0, as that along the trajectory; their errors are about 0.007.
    assert np.sum(found.exponents > 0.03) == 13 and abs(found.exponents[13]) < 0.03
    assert found.exponents.sum() == pytest.approx(-40, abs=1e-7)
    assert found.kaplan_yorke_dimension == pytest.approx(27.1, abs=0.2)
