"""Fields on periodic domains: exact solutions, growth rates, conserved sums, resolution, their simulator's order."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest

from physics_models import solve_exponential
from physics_models.burgers import Burgers
from physics_models.cache import initial_states
from physics_models.fisher_kpp import FisherKpp
from physics_models.gray_scott import GrayScott
from physics_models.kuramoto_sivashinsky import KuramotoSivashinsky
from physics_models.periodic import PeriodicField
from physics_models.simulate import SimulationError, simulate
from physics_models.solution import on_cpu_in_double

FIELDS = [
    Burgers(),
    FisherKpp(),
    FisherKpp(space_dim=2, n_points=24, length=20.0),
    GrayScott(),
    GrayScott(space_dim=2, n_points=24, length=24.0, n_modes=2),
    KuramotoSivashinsky(),
]
every_field = pytest.mark.parametrize("system", FIELDS, ids=lambda s: f"{type(s).__name__}{s.grid}")


def runge_kutta(system: PeriodicField, y: np.ndarray, h: float, steps: int) -> np.ndarray:
    """The classical fourth-order method, where compiling the reference solver would take longer than the test."""
    for _ in range(steps):
        a = system.field(0.0, y)
        b = system.field(0.0, y + h / 2 * a)
        c = system.field(0.0, y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + system.field(0.0, y + h * c))
    return y


@pytest.fixture(scope="module")
def cole_hopf() -> tuple[Burgers, np.ndarray]:
    system = Burgers(n_points=128)
    return system, system.points()[:, 0]


def exact(system: Burgers, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """u = -2 viscosity d(log phi)/dx with phi = 1 + a exp(-viscosity t) cos x, which obeys the heat equation."""
    decay = 0.9 * np.exp(-system.viscosity * t)[:, None]
    return (2 * system.viscosity * decay * np.sin(x) / (1 + decay * np.cos(x)))[..., None]


def test_burgers_follows_cole_and_hopf_and_its_solver_has_order_four(cole_hopf: tuple[Burgers, np.ndarray]) -> None:
    system, x = cole_hopf
    times = np.array([0.0, 4.0, 8.0, 12.0])
    truth = exact(system, x, times)
    found = simulate(system, truth[None, 0], times)
    assert found.y.dtype == np.float64 and np.array_equal(found.y[0, 0], truth[0])
    # Resolved to 0.63 ** 42 = 3e-9 of the lowest wave, solved to 1e-7 of the size of 0.3.
    np.testing.assert_allclose(found.y[0], truth, rtol=0, atol=3e-8)
    assert found.refinement_error < 1e-7

    def run(level: int) -> np.ndarray:
        levels = np.full(3, level)
        multiplier = cast(np.ndarray, system.linear_multiplier())
        which, tables = solve_exponential.tabulate(multiplier, np.diff(times), levels, solve_exponential.coefficients)
        with on_cpu_in_double():
            return np.array(solve_exponential._program()(system, truth[None, 0], times, levels, which, tables)[0])

    steps = [run(level) for level in (4, 5, 6, 10)]
    errors = [np.abs(y - steps[-1]).max() for y in steps[:-1]]
    # Steps of 1/4, 1/8 and 1/16: order 4 divides the errors by 16 twice.
    assert np.log2(errors[0] / errors[2]) / 2 == pytest.approx(4, abs=0.3), errors


def test_exponential_coefficients_are_those_of_runge_kutta_without_linear_terms_and_do_not_cancel() -> None:
    for table, h in ((solve_exponential.coefficients(np.zeros(1, dtype=complex), 0.3), 0.3),):
        found = [float(part[0]) for part in table[1:]]
        np.testing.assert_allclose(found, [1, 1, h / 2, h / 6, h / 3, h / 6], rtol=1e-14)
    # Each is an integral over the step of a polynomial and an exponential, here by Gauss's formula with 20 points.
    nodes, weights = np.polynomial.legendre.leggauss(20)
    s, w = (nodes + 1) / 2, weights / 2
    z = np.array([-1e-9, -0.3, -8.0, -2 + 3j])
    table = solve_exponential.coefficients(z, 1.0)
    inside = np.exp(z[:, None] * (1 - s))
    shapes = {"first": 1 - 3 * s + 2 * s**2, "middle": 2 * (s - s**2), "last": 2 * s**2 - s}
    for name, shape in shapes.items():
        np.testing.assert_allclose(getattr(table, name), inside @ (w * shape), rtol=1e-12, atol=1e-14)


def test_small_waves_grow_as_kuramoto_and_sivashinsky_say() -> None:
    system = KuramotoSivashinsky(n_points=64)
    x = system.points()[:, 0]
    for n in range(1, 22):  # all resolved waves
        k = 2 * np.pi * n / 22
        wave = 1e-9 * np.cos(k * x + 1)[:, None]
        # The nonlinear part is 1e-18 k, a billionth; the fourth derivative loses k^4 < 2e3 roundings.
        np.testing.assert_allclose(
            system.field(0.0, wave), (k**2 - k**4) * wave, rtol=0, atol=1e-17 * (1 + k**4) + 1e-9 * 1e-9 * k
        )


@every_field
def test_linear_multiplier_is_the_linear_terms(system: PeriodicField) -> None:
    y = initial_states(system, 0, 2) + 0.1 * np.random.default_rng(0).standard_normal((2, *system.state_shape))
    multiplier: Any = system.linear_multiplier()
    assert set(system.linear_terms) <= set(system.term_names)
    wanted = sum(system.terms(0.0, y, system.values, system.linear_terms).values())
    found = system.back(multiplier * system.spectrum(y), y)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(multiplier).max())


def test_advection_moves_neither_mean_nor_energy() -> None:
    """As for the equation without a grid, whatever the waves: resolved ones here, others do not take part."""
    system = Burgers()
    y = initial_states(dataclasses.replace(system, n_modes=21), 0, 5)
    moved = system.terms(0.0, y, system.values, ["advection"])["advection"]
    assert np.abs(moved).max() > 1
    assert np.abs(moved.mean(axis=-2)).max() < 1e-14
    assert np.abs((y * moved).mean(axis=-2)).max() < 1e-14 * np.abs(moved).max() * 10
    worn = system.terms(0.0, y, system.values, ["diffusion"])["diffusion"]
    assert np.all((y * worn).mean(axis=-2) < 0)


@every_field
def test_a_finer_grid_is_the_same_function_and_hardly_another_solution(system: PeriodicField) -> None:
    fine: Any = dataclasses.replace(system, n_points=2 * system.grid[0])  # type: ignore[call-arg]
    y, z = initial_states(system, 0, 3), initial_states(fine, 0, 3)

    def common(z: np.ndarray) -> np.ndarray:
        every_second = (slice(None), *(slice(None, None, 2),) * len(fine.grid))
        return z.reshape(3, *fine.grid, -1)[every_second].reshape(y.shape)

    np.testing.assert_allclose(common(z), y, rtol=0, atol=1e-13)
    assert np.allclose(y.mean(axis=0), initial_states(system, 0, 4)[:3].mean(axis=0))
    # Explicit steps are stable below 2.8 over the largest damping.
    damping = [float(-np.min(np.real(cast(np.ndarray, s.linear_multiplier())))) for s in (system, fine)]
    counts = [max(20, round(d)) for d in damping]
    y, z = (runge_kutta(s, state, 1 / n, n) for s, state, n in zip((system, fine), (y, z), counts, strict=True))
    # Over one time unit, from the sharpest initial states; as the docstrings say.
    bound = {"Burgers": 2e-3, "FisherKpp": 2e-3, "GrayScott": 2e-2, "KuramotoSivashinsky": 2e-2}[type(system).__name__]
    assert np.abs(y - common(z)).max() < bound


def test_fronts_of_a_population_have_fishers_speed() -> None:
    """Fronts are at 2 t - (3 / 2) log t - 3 sqrt(pi / t) + a constant (Bramson; Ebert and van Saarloos)."""
    system = FisherKpp(length=120.0, n_points=256)
    x = system.points()[:, 0]
    y = np.exp(-((x - 60) ** 2) / 20)[None, :, None]
    place = []
    for steps in (400, 400):  # to t = 8 and 16; later the roundings of an empty land would have grown
        y = runge_kutta(system, y, 0.02, steps)
        right, u = x >= 60, y[0, :, 0]
        place.append(np.interp(-0.5, -u[right], x[right]))
    run, wanted = place[1] - place[0], [2 * t - 1.5 * np.log(t) - 3 * np.sqrt(np.pi / t) for t in (8, 16)]
    assert run == pytest.approx(wanted[1] - wanted[0], rel=0.03)  # the next terms, of order log(t) / t


@every_field
def test_extremes_of_the_grid_are_refused(system: PeriodicField) -> None:
    n_modes = system.n_modes  # type: ignore[attr-defined]
    for n in (3 * n_modes - 1, 33, -4):
        with pytest.raises(ValueError, match=f"n_points must be an even number of .* but it is {n}"):
            dataclasses.replace(system, n_points=n)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="n_modes must be 1 or more, but it is 0"):
        dataclasses.replace(system, n_modes=0)  # type: ignore[call-arg]
    if "space_dim" in {f.name for f in dataclasses.fields(system)}:
        with pytest.raises(ValueError, match="space_dim must be 1 or 2, but it is 3"):
            dataclasses.replace(system, space_dim=3)  # type: ignore[call-arg]


def test_blow_up_of_a_field_is_reported_with_its_time() -> None:
    """A constant negative population: du/dt = u - u^2 from -0.5 is minus infinity at t = log 3."""
    system = FisherKpp(n_points=16)
    y0 = np.full((2, 16, 1), 0.5)
    y0[1] = -0.5
    with pytest.raises(SimulationError, match=r"FisherKpp: trajectory 1 stops .* blows up") as caught:
        simulate(system, y0, np.array([0.0, 1.0, 2.0]))
    # Explicit stages step over the pole of 1 / (t - log 3) by some steps before they overflow.
    assert caught.value.stopped_at == pytest.approx(np.log(3), abs=0.05) and caught.value.trajectory == 1


@pytest.mark.slow
def test_kuramoto_sivashinsky_has_the_exponent_of_its_docstring() -> None:
    """The growth of a small difference, brought back to its size every time unit, over 16 runs of 1500 time units."""
    system, h, small = KuramotoSivashinsky(n_points=32), 0.05, 1e-7
    names = ["advection"]
    c = solve_exponential.coefficients(system.linear_multiplier(), h)

    def rate(t: float, v: np.ndarray) -> np.ndarray:
        y = system.back(v, np.empty((*v.shape[:-2], 32, 1)))
        return system.spectrum(system.terms(t, y, system.values, names)["advection"])

    v = system.spectrum(initial_states(system, 0, 16))
    nudge = system.spectrum(initial_states(system, 1, 16))
    z = np.stack([v, v + small * nudge])
    growth = []
    for unit in range(1700):
        for _ in range(20):
            z = solve_exponential.step(rate, c, 0.0, z)
        difference = z[1] - z[0]
        size = np.sqrt(np.sum(np.abs(difference) ** 2, axis=(-2, -1), keepdims=True))
        z[1] = z[0] + difference * (small / size)
        if unit >= 200:
            growth.append(np.log(size[:, 0, 0] / small))
        # The first division sets the size; from then on each is a unit's growth.
    runs = np.mean(growth, axis=0)
    error = runs.std() / np.sqrt(len(runs))
    assert error < 0.004
    assert runs.mean() == pytest.approx(0.048, abs=0.005 + 3 * error)
