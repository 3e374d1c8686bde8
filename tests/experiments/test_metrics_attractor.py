"""Statistics of long rollouts, on cases whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from experiments.evaluate import full_segments
from experiments.metrics.histogram_kl import histogram_kl
from experiments.metrics.lyapunov_exponent import LEAST, MOST, START, growth
from experiments.metrics.sliced_wasserstein import sliced_wasserstein
from experiments.metrics.spectrum_distance import spectrum_distance
from experiments.task import Task
from physics_models.charged_particles import ChargedParticles
from physics_models.lorenz63 import Lorenz63
from physics_models.lyapunov import lyapunov_spectrum
from tests.experiments.metric_tasks import ROUNDING, metric, random_task, task_with

# -- Sliced Wasserstein ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "share"), [(1, 1.0), (2, 2 / math.pi), (3, 0.5)])
def test_a_shift_moves_every_projection_by_its_part(d: int, share: float) -> None:
    """Mean of |u_1| over the sphere: 1, 2/pi and 1/2. With 20,000 directions its standard error is at most
    0.31 / sqrt(20,000) = 0.0022, of which four are allowed."""
    points = np.random.default_rng(0).standard_normal((50, d))
    shift = np.zeros(d)
    shift[0] = 3.0
    assert sliced_wasserstein(points, points + shift, 20_000) == pytest.approx(3 * share, abs=3 * 4 * 0.0022)


def test_sliced_wasserstein_is_a_distance_between_samples_without_order() -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((3, 40, 3)) * np.array([1.0, 2, 3])[:, None, None]
    assert sliced_wasserstein(a, rng.permutation(a)) == pytest.approx(0, abs=ROUNDING)
    assert sliced_wasserstein(a, b) == sliced_wasserstein(b, a) > 0
    assert sliced_wasserstein(a, c) <= sliced_wasserstein(a, b) + sliced_wasserstein(b, c)
    # Moving both alike, and scaling both, does what it does to distances.
    assert sliced_wasserstein(a + 5, b + 5) == pytest.approx(sliced_wasserstein(a, b), rel=ROUNDING)
    assert sliced_wasserstein(3 * a, -3 * b) == pytest.approx(3 * sliced_wasserstein(a, -b), rel=ROUNDING)
    # A mirrored axis, of points and of directions alike, changes nothing on average over directions.
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    plain, turned = sliced_wasserstein(a, b, 20_000), sliced_wasserstein(a @ turn, b @ turn, 20_000)
    assert turned == pytest.approx(plain, rel=0.02)  # each of two averages over 20,000 directions, by 0.5%
    with pytest.raises(ValueError, match=r"one shape \(n, D\)"):
        sliced_wasserstein(a, b[:-1])


def test_gaussians_of_different_width() -> None:
    """In one dimension the distance of order 1 is E|z| times the difference of widths, sqrt(2 / pi). Of quantiles that
    are evenly spaced in probability, so that the mean is an integral's midpoint rule."""
    from scipy.special import ndtri

    z = ndtri((np.arange(20_000) + 0.5) / 20_000)[:, None]
    assert sliced_wasserstein(z, 1.5 * z, directions=2) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=1e-4)


# -- Histograms -----------------------------------------------------------------------------------------------------


def test_divergence_of_equal_samples_is_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((100, 3))
    assert histogram_kl(x, x[::-1]) == 0
    # Any growing function of a variable, taken of both, changes no count.
    y = np.random.default_rng(1).standard_normal((100, 3)) + 0.5
    assert histogram_kl(np.exp(x), np.exp(y)) == pytest.approx(histogram_kl(x, y), rel=1e-12)


def test_divergence_of_counts_made_by_hand() -> None:
    """Four bins with two true values each; predicted are 1, 0, 0 and 7 of eight; half a count is added to each."""
    truth = np.arange(8.0)[:, None]
    predicted = np.array([-50.0, *[100.0] * 7])[:, None]
    p, q = np.full(4, 2.5 / 10), np.array([1.5, 0.5, 0.5, 7.5]) / 10
    assert histogram_kl(truth, predicted, bins=4) == pytest.approx(np.sum(p * np.log(p / q)), rel=1e-12)
    # The mean over variables, of which one is right.
    both = histogram_kl(np.hstack([truth, truth]), np.hstack([truth, predicted]), bins=4)
    assert both == pytest.approx(np.sum(p * np.log(p / q)) / 2, rel=1e-12)
    assert histogram_kl(truth, predicted * np.nan) == math.inf


def test_divergence_of_shifted_gaussians() -> None:
    """s²/2 between Gaussians of unit variance. Bins keep somewhat less; the halves added take less than a thousandth,
    and the scatter of counts adds about bins / 2n for each sample."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 200_000, 1))
    assert histogram_kl(x, y + 0.3, bins=64) == pytest.approx(0.3**2 / 2, rel=0.05)


# -- Power spectra --------------------------------------------------------------------------------------------------


def sines(frequency: float, phase: float = 0.0, size: float = 1.0, count: int = 4) -> np.ndarray:
    t = np.arange(64) / 64
    return size * np.sin(2 * math.pi * frequency * t + phase + np.arange(count)[:, None])[..., None]


def test_spectrum_distance_of_sines() -> None:
    """Whole periods in the window: all power at one frequency."""
    assert spectrum_distance(sines(5), sines(5)) == 0
    assert spectrum_distance(sines(5), sines(6)) == pytest.approx(1, abs=1e-6)  # sqrt of roundings
    assert spectrum_distance(sines(5), sines(5, phase=1.0, size=7.0)) == pytest.approx(0, abs=1e-6)
    # Half of the power at another frequency: p q overlap in one, sqrt(1/2), so the distance is sqrt(1 - sqrt(1/2)).
    mixed = sines(5) + sines(9)
    assert spectrum_distance(sines(5), mixed) == pytest.approx(math.sqrt(1 - math.sqrt(0.5)), abs=1e-6)
    # The same, of power that is split between agents.
    split = np.stack([sines(5), sines(9)], axis=2)
    assert spectrum_distance(split, mixed[:, :, None].repeat(2, axis=2)) == pytest.approx(0, abs=1e-6)


def test_spectrum_distance_of_what_does_not_move() -> None:
    still = np.ones((4, 64, 1))
    assert spectrum_distance(still, 3 * still) == 0
    assert spectrum_distance(sines(5), still) == spectrum_distance(still, sines(5)) == 1
    both = np.concatenate([sines(5), still], axis=-1)
    assert spectrum_distance(both, np.concatenate([sines(5), sines(5)], axis=-1)) == pytest.approx(0.5, abs=1e-6)
    assert spectrum_distance(sines(5), np.full((4, 64, 1), np.inf)) == math.inf


def test_statistics_are_those_of_the_second_half() -> None:
    task = random_task(Lorenz63(), count=4, points=32)
    true = full_segments(task.test)
    predicted = true.y.copy()
    predicted[:, :16] = 1e3
    for name in ("sliced_wasserstein", "histogram_kl", "spectrum_distance"):
        assert metric(name)(task, true, predicted) == 0
    uneven = dataclasses.replace(task.test, times=task.test.times**1.5)
    assert not metric("spectrum_distance").applies(dataclasses.replace(task, test=uneven))


def test_what_nothing_acts_on_has_no_statistics() -> None:
    """Charges are +1 or -1 for ever: rounding them moves them over the edges of bins, and is no oscillation."""
    system = ChargedParticles(n_agents=3)
    rng = np.random.default_rng(0)
    states = rng.standard_normal((3, 32, *system.state_shape))
    states[..., -1] = rng.choice([-1.0, 1.0], (3, 1, system.state_shape[0]))
    task, true = task_with(system, states)
    rounded = true.y.copy()
    rounded[..., -1] *= 1 - 1e-6 * rng.random(rounded.shape[:-1])
    for name in ("histogram_kl", "spectrum_distance"):
        assert metric(name)(task, true, rounded) == 0
        moved = rounded.copy()
        moved[..., 0] += 0.5 * rng.standard_normal(moved.shape[:-1])
        assert metric(name)(task, true, moved) > 0.01  # what moves still counts


# -- The Lyapunov exponent of a model -------------------------------------------------------------------------------


class Growing:
    """Predicts that every state grows as exp(rate t), each seed at a rate of its own."""

    def __init__(self, rates: list[float]) -> None:
        self.rates, self.asked = rates, []

    def __call__(self, y0: np.ndarray, times: np.ndarray) -> np.ndarray:
        self.asked.append(times.shape)
        grown = np.exp(np.array(self.rates)[:, None, None] * (times - times[:, :1]))
        return grown[..., None] * y0[:, None]


def lorenz_states(dt: float, points: int, count: int) -> Task:
    """Runge-Kutta of order 4 from random starts, after 20 time units."""
    system, rng = Lorenz63(), np.random.default_rng(0)
    y = np.stack([system.initial_state(rng) for _ in range(count)])
    kept = []
    for _ in range(round(20 / dt) + points):
        kept.append(y)
        y = step(system, y, dt)
    return task_with(system, np.stack(kept[-points:], axis=1), dt, system.time_scale)[0]


def step(system: Lorenz63, y: np.ndarray, h: float) -> np.ndarray:
    a = system.field(0.0, y)
    b = system.field(0.0, y + h / 2 * a)
    c = system.field(0.0, y + h / 2 * b)
    return y + h / 6 * (a + 2 * b + 2 * c + system.field(0.0, y + h * c))


def test_growth_at_a_known_rate() -> None:
    """Each seed is followed on its own, exactly at its rate: also where differences leave the range that counts."""
    task = random_task(Lorenz63(), count=5, points=9)
    true = full_segments(task.test)
    model = Growing([0.5, -0.1, 0.0, 3.0, -2.0])
    predicted = np.stack([true.y] * 5)
    found: Any = metric("lyapunov_exponent")(task, true, predicted, model)
    assert [row[""] for row in found] == pytest.approx([0.5, -0.1, 0.0, 3.0, -2.0], abs=1e-5)  # ±1e-11 beside 3e-5
    assert max(row["_standard_error"] for row in found) < 1e-5
    assert len(model.asked) == 1 and model.asked[0] == (5 * 2 * 5, 6)  # five time units: one to turn, four to count


def test_a_seed_is_followed_from_its_own_ends_whoever_is_beside_it() -> None:
    """A model that grows where x is above 10 and shrinks elsewhere, and two seeds that end on either side."""

    class Sided(Growing):
        def __call__(self, y0: np.ndarray, times: np.ndarray) -> np.ndarray:
            rate = np.where(y0[:, :1] > 10, 0.5, -0.25)
            grown = np.exp(rate * (times - times[:, :1]))
            return np.stack([grown[..., None] * y0[:, None]] * len(self.rates))

    task = random_task(Lorenz63(), count=40, points=9)
    true = full_segments(task.test)
    sides = np.stack([true.y + 20, true.y - 20])
    both: Any = metric("lyapunov_exponent")(task, true, sides, Sided([0, 0]))
    assert [row[""] for row in both] == pytest.approx([0.5, -0.25], abs=1e-3)
    (alone,) = metric("lyapunov_exponent")(task, true, sides[:1], Sided([0]))
    assert alone == both[0]


def test_differences_count_while_they_are_small_and_no_rounding() -> None:
    t = np.arange(11.0)
    slow = START * np.exp(0.1 * t)
    np.testing.assert_allclose(growth(slow[None], 1.0, 2)[""], 0.1, rtol=ROUNDING)
    turning = np.where(t < 2, 7 * START, slow)  # while a difference turns, it may shrink
    np.testing.assert_allclose(growth(turning[None], 1.0, 2)[""], 0.1, rtol=ROUNDING)
    # Faster ones count up to where they pass the limit, here between 4 and 5: what comes later does not matter.
    assert START * math.exp(2 * 4) < MOST < START * math.exp(2 * 5)
    fast = np.where(t <= 5, START * np.exp(2 * t), 7.0)
    assert growth(fast[None], 1.0, 2)[""] == pytest.approx(2.0, rel=ROUNDING)
    gone = growth(np.array([[START, 0.0, 0.0, 0.0]]), 1.0, 2)[""]
    assert gone == pytest.approx(math.log(0.1 * LEAST / START), rel=ROUNDING)
    # Of pairs that grow at 1 and at 3, equally long: 2, and the standard error of a mean of two, 1 / sqrt(2).
    both = growth(1e-5 * np.exp(np.outer([1.0, 3.0], [0.0, 0.5, 1.0])), 0.5, 0)
    assert both == {"": pytest.approx(2.0), "_standard_error": pytest.approx(math.sqrt(0.5))}
    assert math.isnan(growth(np.array([[START, np.nan]]), 1.0, 1)[""])


def test_the_exponent_of_the_true_lorenz_system() -> None:
    """Against the spectrum by QR of the equations, within three standard errors, and 5% for the finite time."""
    task = lorenz_states(dt=0.02, points=288, count=48)
    true = full_segments(task.test)

    def predict(y0: np.ndarray, times: np.ndarray) -> np.ndarray:
        rows = [y0]
        for h in np.diff(times[0]):
            rows.append(step(Lorenz63(), rows[-1], h))
        return np.stack(rows, axis=1)[None]

    (found,) = metric("lyapunov_exponent")(task, true, true.y[None], predict)
    assert 0.02 < found["_standard_error"] < 0.1
    assert abs(found[""] - 0.906) < 3 * found["_standard_error"] + 0.05 * 0.906


@pytest.mark.slow
def test_the_exponent_agrees_with_the_spectrum_of_the_equations() -> None:
    """More pairs, and the whole spectrum by QR beside it."""
    spectrum = lyapunov_spectrum(Lorenz63(), 100.0)
    task = lorenz_states(dt=0.02, points=288, count=128)
    true = full_segments(task.test)

    def predict(y0: np.ndarray, times: np.ndarray) -> np.ndarray:
        rows = [y0]
        for h in np.diff(times[0]):
            rows.append(step(Lorenz63(), rows[-1], h))
        return np.stack(rows, axis=1)[None]

    (found,) = metric("lyapunov_exponent")(task, true, true.y[None], predict)
    error = math.hypot(found["_standard_error"], spectrum.standard_error[0])
    assert abs(found[""] - spectrum.exponents[0]) < 3 * error


def test_it_applies_to_chaos_that_is_long_enough() -> None:
    task = random_task(Lorenz63(), points=3)  # two time units
    exponent = metric("lyapunov_exponent")
    assert exponent.applies(task)
    assert not exponent.applies(dataclasses.replace(task, unit=1.1))
    failed = exponent(task, full_segments(task.test), np.full((2, 3, 3, 3), np.nan), Growing([1.0, 1.0]))
    assert all(math.isnan(row[""]) for row in failed)
