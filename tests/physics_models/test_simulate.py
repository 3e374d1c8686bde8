"""The reference simulators: exact cases, proven orders, honest errors, no traces in the process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_api_compat import array_namespace
from scipy.integrate import solve_ivp

from physics_models import solve_adaptive as module
from physics_models import solve_noisy
from physics_models.base import Array, Map, Structure, System
from physics_models.burgers import Burgers
from physics_models.flocking import Flocking
from physics_models.interventions import Clamp, CutEdge, Kick, do, wider
from physics_models.kuramoto import Kuramoto
from physics_models.lorenz63 import Lorenz63
from physics_models.priors.parameters import Parameters
from physics_models.robertson import Robertson
from physics_models.simulate import SimulationError, simulate


@dataclass(frozen=True)
class Scalar(System):
    """du/dt = -u, u^2 (infinite at t = 1/u0), log(1 - t) (ends at t = 1), 1e4 (cos t - u) (stiff), or a mistake."""

    law: str = "decay"

    term_names: ClassVar[tuple[str, ...]] = ("all",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u",)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        laws = {
            "decay": lambda: -y,
            "explosion": lambda: y * y,
            "ends": lambda: xp.log(1 - t + 0 * y),
            "stiff": lambda: 1e4 * (xp.cos(t + 0 * y) - y),
            "not finite": lambda: xp.log(-y),
            "wrong shape": lambda: xp.sum(y, axis=-1),
        }
        return {"all": laws[self.law]()}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.5, 1, 1)


START = np.array([[0.5], [1.0]])


def test_exact_solution_at_unequal_times_and_nothing_leaks() -> None:
    with jax.enable_x64(False):
        times = 1 + np.linspace(0, 1.7, 61) ** 2  # the first is the start, whatever its value
        found = simulate(Scalar(), START, times)
        assert jnp.ones(1).dtype == jnp.float32
    assert found.y.shape == (2, 61, 1) and found.y.dtype == np.float64 and found.y.flags.writeable
    assert np.array_equal(found.y[:, 0], START)
    # Every step errs by less than 1e-10, there are about ten, and errors of a decay shrink.
    np.testing.assert_allclose(found.y[..., 0], START * np.exp(1 - times), rtol=0, atol=1e-9)
    assert found.rtol == 1e-10 and 0 <= found.refinement_error < 1e-9


def test_times_that_steps_nearly_hit() -> None:
    """Save times one rounding error apart from round numbers leave no sliver that looks like a singularity."""
    times = np.unique(np.concatenate([np.arange(1, 31) * 0.1, np.nextafter(np.arange(1, 31) * 0.1, 9), [0.0]]))
    y = simulate(Scalar(), START, times).y
    np.testing.assert_allclose(y[..., 0], START * np.exp(-times), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("law", "start", "time"), [("explosion", 0.5, 2.0), ("ends", 0.5, 1.0)])
def test_singularities_are_reported_with_their_time(law: str, start: float, time: float) -> None:
    """The earliest of them: of the explosions, the second stops at 2.5."""
    y0 = np.array([[-1.0 if law == "explosion" else 0.0], [0.4], [start]])
    first, count = (2, 2) if law == "explosion" else (0, 3)
    said = rf"trajectory {first} stops at t = {time:g}, the first of {count} that stop; it blows up or stops being"
    with pytest.raises(SimulationError, match=said) as caught:
        simulate(Scalar(law), y0, np.linspace(0, 3, 31))
    # The last step that can be told from none is some 1e-13 of the horizon long.
    assert caught.value.stopped_at == pytest.approx(time, abs=1e-6)
    assert caught.value.trajectory == first


def test_too_many_steps_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 1000)
    module._program.cache_clear()  # the bound is compiled in
    try:
        with pytest.raises(SimulationError, match=r"needs more than 1000 steps.* stiff"):
            simulate(Scalar("stiff"), START, np.array([0.0, 3.0]))
    finally:
        module._program.cache_clear()


def test_chaos_beyond_the_horizon_is_refused_and_before_it_recorded() -> None:
    system = Lorenz63()
    y0 = np.array([[1.0, 1.0, 20.0], [-5.0, 3.0, 25.0]])
    short = simulate(system, y0, np.array([0.0, 5.0]))
    # Errors of 1e-10 grow by exp(0.906 * 5) = 93 on average; single trajectories deviate a hundredfold.
    assert 1e-12 < short.refinement_error < 1e-5
    with pytest.raises(SimulationError, match=r"smaller rtol .* shorter horizon than 40") as caught:
        simulate(system, y0, np.array([0.0, 40.0]))
    assert caught.value.stopped_at is None and caught.value.trajectory is None


def test_dense_times_do_not_hide_chaos() -> None:
    """Times closer than the steps of the tolerance must not make both solutions take the same steps, and agree."""
    start = np.array([[1.0, 2.0, 20.0]])
    assert 0 < simulate(Lorenz63(), start, np.arange(0, 3, 0.005)).refinement_error < 1e-8
    with pytest.raises(SimulationError, match="halving the tolerance"):
        simulate(Lorenz63(), start, np.arange(0, 60, 0.005))


def test_nothing_to_solve() -> None:
    assert np.array_equal(simulate(Scalar(), START, np.array([2.0])).y, START[:, None])
    assert simulate(Scalar(), np.zeros((0, 1)), np.array([0.0, 1.0])).y.shape == (0, 2, 1)


@pytest.mark.parametrize(
    ("y0", "times", "more", "message"),
    [
        (np.ones((2, 3)), [0, 1], {}, r"y0 must have the shape \(R, 1\), but it is \(2, 3\)"),
        (np.ones(1), [0, 1], {}, r"y0 must have the shape"),
        (START, [0, 1, 1], {}, "times must be a row of increasing numbers"),
        (START, [], {}, "times must be a row of increasing numbers"),
        (START, [[0, 1]], {}, "times must be a row of increasing numbers"),
        (START, [0, np.nan], {}, "must be finite"),
        (START * np.inf, [0, 1], {}, "must be finite"),
        (START, [0, 1], {"rtol": 0.0}, "rtol must be between"),
        (START, [0, 1], {"rtol": float("nan")}, "rtol must be between"),
        (START, [0, 1], {"process_noise": -0.1}, "process_noise must be a finite number of 0 or more, but it is -0.1"),
        (START, [0, 1], {"process_noise": float("inf")}, "process_noise must be a finite number"),
        (START, [0, 1], {"rng_seed": -1}, "rng_seed must be an integer of 0 or more, but it is -1"),
    ],
)
def test_bad_arguments(y0: np.ndarray, times: list[float], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(Scalar(), y0, np.array(times, dtype=float), **more)


def test_what_acts_for_a_moment_between_two_times_is_seen() -> None:
    """du/dt = -u + kick, from rest: the kick's rate over its duration d, each part decayed since."""
    size, at, d, end = 0.5, 3.31, 0.01, 10.0
    found = simulate(do(Scalar(), Kick(size, at, d, "u")), np.zeros((1, 1)), np.array([0.0, end]))
    growth = np.expm1(d)
    exact = size * np.exp(at - end) * (growth / d - growth * d / (d**2 + 4 * np.pi**2))
    # The absolute tolerance of a step, 1e-10; what came before the last ones has decayed.
    assert found.y.shape == (1, 2, 1) and abs(found.y[0, 1, 0] - exact) < 1e-10 < exact


def test_what_acts_on_a_field_for_a_moment_is_seen() -> None:
    """Advection and diffusion keep the mean, which a kick moves by its size."""
    field = do(Burgers(n_points=16, n_modes=1), Kick(0.5, 0.331, 0.001, "u"))
    y0 = field.initial_state(np.random.default_rng(0))[None]
    found = simulate(field, y0, np.array([0.0, 1.0]))
    assert abs((found.y[0, 1] - y0[0]).mean() - 0.5) < 1e-10  # a period of a cosine is summed exactly, but for rounding


def test_fields_that_are_not_fields() -> None:
    with pytest.raises(
        SimulationError, match=r"field of Scalar must return the shape \(2, 1\) .*, but it returns \(2,\)"
    ):
        simulate(Scalar("wrong shape"), START, np.array([0.0, 1.0]))
    with pytest.raises(SimulationError, match=r"but it is not at the initial state of trajectory 1: check") as caught:
        simulate(Scalar("not finite"), START * [[-1], [1]], np.array([3.0, 4.0]))
    assert (caught.value.stopped_at, caught.value.trajectory) == (None, 1)  # there is nothing before to keep
    with pytest.raises(SimulationError, match="trajectory 0 and those of 1 more: check"):
        simulate(Scalar("not finite"), START, np.array([3.0, 4.0]))


@dataclass(frozen=True)
class Stiff(System):
    """Van der Pol's oscillator in Lienard's form, mu = 1e3 (dx/ds = mu (y - (x^3 / 3 - x)), dy/ds = -x / mu), beside
    the problem of Prothero and Robinson du/dt = w cos(w t) - 1e6 (u - sin(w t)), w = 0.01: u = sin(w t)."""

    stiff: ClassVar[bool] = True
    term_names: ClassVar[tuple[str, ...]] = ("all",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "y", "u")

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        a, b, u = y[..., 0], y[..., 1], y[..., 2]
        phase = 0.01 * t + 0 * u
        prothero_robinson = 0.01 * xp.cos(phase) - 1e6 * (u - xp.sin(phase))
        return {"all": xp.stack([1e3 * (b - a**3 / 3 + a), -a / 1e3, prothero_robinson], axis=-1)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return np.array([2.0, 0.0, 0.0])


def test_stiff_systems_agree_with_an_independent_implicit_method() -> None:
    system, times = Stiff(), np.array([0.0, 0.5, 3.0, 1000.0])
    y0 = np.array([[2.0, 0.0, 0.0]])
    found = simulate(system, y0, times, 1e-9)
    truth = solve_ivp(lambda t, y: system.field(t, y), (0, 1000), y0[0], "Radau", times, rtol=1e-9, atol=1e-9).y.T
    # Both err by some ten of their tolerances; by t = 1000 van der Pol has jumped once, at 807.
    np.testing.assert_allclose(found.y[0, :, :2], truth[:, :2], rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.y[0, :, 2], np.sin(0.01 * times), rtol=0, atol=1e-8)
    assert found.y[0, -1, 0] < 0 and 0 < found.refinement_error < 1e-6


@dataclass(frozen=True)
class Walk(Map):
    """x -> ratio x + uniform in +-1, every 0.1; from 1e308 with ratio 10 infinite at the next step."""

    ratio: float = 0.5
    parameters: ClassVar[tuple[str, ...]] = ("ratio",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x",)

    @property
    def interval(self) -> float:
        return 0.1

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(-1, 1, (*shape, 1))

    def step(self, y: Array, u: Array, p: Mapping[str, Any] | None = None) -> Array:
        return (self.values if p is None else p)["ratio"] * y + u

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(1)


def test_maps_step_as_they_say_with_a_stream_for_each_trajectory() -> None:
    system, y0 = Walk(), np.zeros((3, 1))
    every = simulate(system, y0, np.arange(41) * 0.1, rng_seed=5)
    assert every.refinement_error == 0.0 and every.y.shape == (3, 41, 1)
    draws = every.y[:, 1:] - 0.5 * every.y[:, :-1]
    assert np.abs(draws).max() <= 1 and len(np.unique(np.round(draws, 12))) == 120  # no draw comes twice
    some = simulate(system, y0[:2], 2 + np.array([0, 3, 20, 25]) * 0.1, rng_seed=5)  # 2 steps, other times, fewer
    assert np.array_equal(some.y, every.y[:2, [0, 3, 20, 25]])
    assert not np.array_equal(simulate(system, y0, np.arange(41) * 0.1, rng_seed=6).y, every.y)


def test_maps_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"multiples of Walk's interval 0\.1 after the first, but one is 0\.25"):
        simulate(Walk(), START, np.array([0.0, 0.1, 0.25]))
    with pytest.raises(ValueError, match="Told must have steps of its own"):
        simulate(Parameters(0.1).tell(Walk()), START, np.array([0.0, 0.1]))
    with pytest.raises(ValueError, match="process_noise must be 0 for Walk, which has chance of its own"):
        simulate(Walk(), START, np.array([0.0, 0.2]), process_noise=0.1)
    with pytest.raises(SimulationError, match=r"Walk: trajectory 1 stops at t = 0\.1; it blows up") as caught:
        simulate(Walk(ratio=10.0), np.array([[1.0], [1e308]]), np.array([0.0, 0.5]))
    assert (caught.value.stopped_at, caught.value.trajectory) == (pytest.approx(0.1), 1)


@dataclass(frozen=True)
class Noisy(System):
    """Beside each other, so that one program is compiled: an Ornstein-Uhlenbeck process dx = -x dt + s dW, a particle
    dq = v dt, dv = -sin(q) dt + s dW, and a curved drift dz = cos z dt + s dW."""

    term_names: ClassVar[tuple[str, ...]] = ("all",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x", "q", "v", "z")

    @property
    def structure(self) -> Structure:
        return Structure(order=2, symmetries=("time",))

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        x, q, v, z = (y[..., k] for k in range(4))
        return {"all": xp.stack([-x, v, -xp.sin(q), xp.cos(z)], axis=-1)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(4) * [1, 1, 1, 0.1]


SIZES = np.array([0.5, 0.0, 0.5, 0.5])


@pytest.fixture
def noise_of_half(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A noise of known size, whatever the system's scale."""
    monkeypatch.setattr("physics_models.solve_noisy.noise_scale", lambda system: SIZES)
    yield


def test_noise_scale_is_the_trajectories_own_and_spares_positions() -> None:
    from physics_models.solve_noisy import noise_scale

    scale = noise_scale(Noisy())
    assert scale[1] == 0 and np.all(scale[[0, 2, 3]] > 0)
    assert noise_scale(Kuramoto())[1] == 0  # a natural frequency stays what it is
    # From x = N(0, 1) the decay exp(-t) has over two time units the variance (1 - exp(-4)) / 4 = 0.245; standard
    # deviations of 16 draws scatter by 18%.
    assert scale[0] == pytest.approx(np.sqrt(0.245), rel=0.5)
    own = noise_scale(Lorenz63()) * np.sqrt(Lorenz63().time_scale)
    np.testing.assert_allclose(own[:2], [7.9, 9.0], rtol=0.3)  # the attractor's


def test_what_is_done_to_a_system_leaves_its_noise_and_what_is_held_has_none() -> None:
    from physics_models.solve_noisy import noise_scale

    flock = Flocking(n_agents=3)
    free = noise_scale(flock)
    assert np.all(free[:2] == 0) and np.all(free[2:] > 0)
    for system in (do(flock, Kick(0.1, 0.2, 0.2, "vx")), do(flock, CutEdge(0, 1)), wider(flock, 1.5)):
        assert np.array_equal(noise_scale(system), free)
    for actions in ((Clamp(agent=1),), (Clamp(agent=1), CutEdge(0, 1)), (CutEdge(0, 1), Clamp(agent=1))):
        assert np.array_equal(noise_scale(do(flock, *actions)), free * np.array([[1.0], [0.0], [1.0]]))


def test_noise_obeys_its_law_and_keeps_its_paths(noise_of_half: None) -> None:
    """Stationary variance of the Ornstein-Uhlenbeck process: s^2 / 2; and streams that other runs do not touch."""
    y0 = np.zeros((200, 4))
    times = np.linspace(0, 20, 21)
    found = simulate(Noisy(), y0, times, process_noise=1.0, rng_seed=3)
    x = found.y[:, 6:, :1]  # exp(-6) from 0: stationary
    # 200 runs of 15 points, of correlation exp(-1): some 2000 independent squares, of deviation sqrt(2 / 2000).
    assert np.mean(x**2) == pytest.approx(0.125, rel=4 * np.sqrt(2 / 2000))
    assert abs(np.mean(x)) < 4 * np.sqrt(0.125 / 2000)
    lagged = np.mean(x[:, 1:] * x[:, :-1]) / np.mean(x**2)
    assert lagged == pytest.approx(np.exp(-1), abs=4 * np.sqrt(1 / 2000))
    # The increments of v differ between trajectories and from those of x.
    noise = found.y[:, 1] - found.y[:, 0]
    assert np.abs(np.corrcoef(noise[:, 0], noise[:, 2])[0, 1]) < 0.3  # 4 standard deviations of 200 draws
    other = simulate(Noisy(), y0, times, process_noise=1.0, rng_seed=4)
    assert not np.array_equal(other.y, found.y)
    assert 0 < found.refinement_error <= 1e-3 / 20
    # Neither more trajectories nor later times touch the first paths. The step may be another one: within its errors.
    few = simulate(Noisy(), y0[:2], times[:5], process_noise=1.0, rng_seed=3)
    np.testing.assert_allclose(few.y, found.y[:2, :5], rtol=0, atol=1e-3)


def test_strong_order_with_noise_and_order_four_without() -> None:
    """Errors against a solution with far shorter steps on the same Brownian paths."""
    from physics_models.solution import on_cpu_in_double

    system, times = Noisy(), np.array([0.0, 1.0])
    rng = np.random.default_rng(0)
    y0, keys = rng.standard_normal((400, 4)), rng.integers(2**32, size=(400, 2), dtype=np.uint32)

    def errors(sigma: np.ndarray) -> np.ndarray:
        with on_cpu_in_double():
            solutions = [
                solve_noisy.run(system, y0, times, np.array([k]), np.zeros(1, dtype=complex), sigma, keys)[0]
                for k in (3, 4, 5, 6, 9)
            ]
        return np.array([np.sqrt(np.mean((y[:, -1] - solutions[-1][:, -1]) ** 2, axis=0)) for y in solutions[:-1]])

    with_noise = errors(2 * SIZES)
    # Halving divides errors of strong order 1.5 by 2.83; the estimate from 400 paths and steps of 1/8 to 1/64 is within
    # a fifth of the order. Order 1, which a wrong mean square of the stages leaves, is below.
    order = np.log2(with_noise[0] / with_noise[-1]) / 3
    assert np.all(order > 1.3), order  # 1.44 for the curved drift; 1.13 with the stages on a parabola
    without = errors(0 * SIZES)
    assert np.log2(without[0] / without[-1]).min() / 3 == pytest.approx(4, abs=0.4)


def test_noise_on_what_is_too_stiff_for_explicit_steps_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Robertson's problem after 40 s: B = 9.1855e-6 and C = 0.28416, as published, so that the fastest rate is 3393 per
    second. 5%: of the stiff solution's few digits, and of the slower rate of A."""
    system = Robertson(spread=0.0)
    y0 = system.initial_state(np.random.default_rng(0))[None]
    with pytest.raises(SimulationError, match=r"a stiff system .* give a horizon of 13\.6 or less, or process_noise=0"):
        simulate(system, y0, np.linspace(0, 20, 21), process_noise=0.1)
    end = np.log(1 + 40 / system.t_first)
    needed = end * 40 * (1e4 * 0.28416 + 6e7 * 9.1855e-6) / solve_noisy.STABLE
    monkeypatch.setattr(solve_noisy, "MAX_STEPS", 1.05 * needed)
    solve_noisy._check_rates(system, y0[0], np.array([0.0, end]))
    monkeypatch.setattr(solve_noisy, "MAX_STEPS", 0.95 * needed)
    with pytest.raises(SimulationError, match=r"to reach t = 12\.9: give"):
        solve_noisy._check_rates(system, y0[0], np.array([0.0, end]))


@pytest.mark.slow  # because of its compilation
def test_noise_does_not_hide_a_blow_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physics_models.solve_noisy.noise_scale", lambda system: np.array([0.01]))
    with pytest.raises(SimulationError, match=r"trajectory 1 .* blows up") as caught:
        simulate(Scalar("explosion"), np.array([[-1.0], [2.0]]), np.linspace(0, 1, 11), process_noise=0.1)
    assert caught.value.stopped_at == pytest.approx(0.5, abs=0.01) and caught.value.trajectory == 1
