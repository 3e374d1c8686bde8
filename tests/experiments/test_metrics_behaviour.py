"""Order parameters of groups, and invariants, on cases whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from physics_models import order_parameters
from physics_models.flocking import Flocking
from physics_models.kuramoto import Kuramoto
from physics_models.order_parameters import clusters, milling, nearest_neighbour_distance, synchrony
from physics_models.pendulum import Pendulum
from tests.experiments.metric_tasks import NAMES, ROUNDING, flock_task, metric, moving, random_task, task_of, task_with


def ring(n: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Agents evenly on a circle about (5, 5), each moving along it."""
    angle = 2 * math.pi * np.arange(n) / n
    around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    forward = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    pad = [(0, 0), (0, d - 2)]
    return np.pad(5 + 2 * around, pad), np.pad(3 * forward, pad)


# -- Order parameters ----------------------------------------------------------------------------------------------


def test_polarisation_of_flocks_made_by_hand() -> None:
    velocities = {
        1.0: [[1, 0], [2, 0], [0.1, 0], [5, 0]],  # one heading, whatever the speeds
        0.0: [[1, 0], [-1, 0], [0, 3], [0, -3]],
        math.sqrt(2) / 2: [[1, 0], [1, 0], [0, 1], [0, 1]],
        0.5: [[1, 0], [1, 0], [0, 0], [0, 0]],  # who rests heads nowhere
    }
    for expected, v in velocities.items():
        states = np.zeros((2, 3, 4, 4))
        states[:, -1, :, 2:] = v
        states[:, 0, :, 2:] = [1.0, 7.0]  # before the end: does not matter
        task, true = flock_task(states)
        assert metric("polarisation")(task, true, states) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("d", [2, 3])
def test_milling_of_a_ring_and_of_a_flock(d: int) -> None:
    x, v = ring(12, d)
    assert milling(x, v) == pytest.approx(1, abs=ROUNDING)
    assert milling(x, -v) == pytest.approx(1, abs=ROUNDING)
    assert milling(x, np.ones_like(v)) == pytest.approx(0, abs=ROUNDING)
    half = np.where(np.arange(12)[:, None] % 2, v, -v)  # two rings against each other
    assert milling(x, half) == pytest.approx(0, abs=ROUNDING)
    # A third goes the other way: (8 - 4) / 12. Outwards is no turning: of equal speeds, cos of the angle is left.
    assert milling(x, np.where(np.arange(12)[:, None] < 4, -v, v)) == pytest.approx(1 / 3, abs=ROUNDING)
    outwards = (x - x.mean(0)) / 2 * 3
    assert milling(x, v + outwards) == pytest.approx(math.sqrt(0.5), abs=ROUNDING)
    assert milling(x, 0 * v) == 0
    assert milling(np.stack([[x, x]] * 3), np.stack([[v, v]] * 3)).shape == (3, 2)


def test_milling_needs_a_centre() -> None:
    x, v = ring(6)
    states = np.zeros((2, 3, 6, 4))
    states[:, -1] = np.concatenate([x, v], axis=-1)
    task, true = flock_task(states)
    assert metric("milling").applies(task)
    assert metric("milling")(task, true, states) == pytest.approx(1, abs=ROUNDING)
    assert not metric("milling").applies(random_task(InBox(n_agents=6)))
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        milling(np.zeros((4, 1)), np.zeros((4, 1)))


@dataclasses.dataclass(frozen=True)
class InBox(Flocking):
    """A flock said to be in a periodic box of side 10."""

    @property
    def structure(self):
        return dataclasses.replace(super().structure, box=10.0)


def test_nearest_neighbour_distance_of_flocks_made_by_hand() -> None:
    states = np.zeros((2, 3, 4, 4))
    states[:, -1, :, :2] = [[0, 0], [0, 1], [3, 0], [3, 2]]
    task, true = flock_task(states)
    assert metric("nearest_neighbour_distance")(task, true, states) == pytest.approx((1 + 1 + 2 + 2) / 4, rel=ROUNDING)
    turned = states.copy()
    turned[..., :2] = 10 - states[..., 1::-1]  # turned, mirrored and moved: the same flock
    assert metric("nearest_neighbour_distance")(task, true, turned) == pytest.approx(1.5, rel=ROUNDING)
    for name in ("polarisation", "nearest_neighbour_distance"):
        assert not metric(name).applies(task_of(moving(1.0, 3, 1.0)))


def test_distances_in_a_periodic_box_are_to_the_nearest_image() -> None:
    x = np.array([[0.5, 0.0], [9.5, 0.0], [20.5, 33.0]])  # not wrapped: the third is at (0.5, 3)
    assert nearest_neighbour_distance(x, 10.0) == pytest.approx((1 + 1 + 3) / 3, rel=ROUNDING)
    assert nearest_neighbour_distance(x) > 9
    moved = x + np.array([[10, 0], [0, -20], [30, 10]])
    assert nearest_neighbour_distance(moved, 10.0) == pytest.approx(5 / 3, rel=ROUNDING)
    states = np.zeros((1, 2, 3, 4))
    states[:, -1, :, :2] = x
    task, true = task_with(InBox(n_agents=3), states)
    assert metric("nearest_neighbour_distance")(task, true, states) == pytest.approx(5 / 3, rel=ROUNDING)


def test_clusters_of_two_separated_groups() -> None:
    """A chain of four, each a step from the next, and a pair, six apart; in the box the chain's end meets the pair."""
    x = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0], [9, 0], [9, 1]])
    for distance, count, largest in ((0.5, 6, 1 / 6), (1.0, 2, 4 / 6), (5.9, 2, 4 / 6), (6.0, 1, 1.0)):
        assert clusters(x, distance) == (count, largest)
    assert clusters(x, 1.0, box=10.0) == (1, 1.0)
    # A batch of groups is looked at one by one, whatever their order, agents' names and places.
    rng = np.random.default_rng(0)
    spread = np.array([[0.0, 0], [0, 100], [100, 0], [100, 100], [50, 0], [50, 50]])
    batch = np.stack([[x[rng.permutation(6)] + 7, spread], [np.zeros((6, 2)), x]])
    count, largest = clusters(batch, 1.0)
    np.testing.assert_array_equal(count, [[2, 6], [1, 2]])
    np.testing.assert_array_equal(largest, [[4 / 6, 1 / 6], [1, 4 / 6]])
    assert clusters(np.full((4, 2), np.nan), 1.0) == (4, 0.25)
    with pytest.raises(ValueError, match="distance must be finite and 0 or more, but it is nan"):
        clusters(x, math.nan)


@pytest.mark.parametrize("box", [None, 10.0])
def test_large_groups_are_searched_by_a_tree_and_come_to_the_same(box: float | None, monkeypatch: Any) -> None:
    x = np.random.default_rng(0).uniform(-20, 20, (2, 3, 80, 2))
    x[0, 0, 3] = [10.0, -1e-18]  # on the box's edge, and wrapped to it by rounding
    wanted = nearest_neighbour_distance(x, box), *clusters(x, 0.8, box)
    monkeypatch.setattr(order_parameters, "DENSE", 10)
    found = nearest_neighbour_distance(x, box), *clusters(x, 0.8, box)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=ROUNDING)
    assert 1 < wanted[1].max() < 80
    x[1, 1, 5] = np.nan
    assert np.isnan(nearest_neighbour_distance(x, box)).sum() == 1
    assert clusters(x, 100.0, box)[0].tolist() == [[1, 1, 1], [1, 2, 1]]  # who is nowhere is alone


def test_the_metric_of_clusters_takes_its_measure_from_the_true_group() -> None:
    """Neighbours are truly 1 apart, so that groups are apart from 3 on: 2.9 holds together, 3.1 does not."""
    truth = np.zeros((1, 2, 4, 4))
    truth[..., 0] = np.arange(4)
    task, true = flock_task(truth)
    assert metric("clusters")(task, true, truth) == {"": 1.0, "_largest": 1.0}
    for gap, expected in ((2.9, {"": 1.0, "_largest": 1.0}), (3.1, {"": 2.0, "_largest": 0.75})):
        predicted = truth.copy()
        predicted[:, -1, 3, 0] = 2 + gap
        assert metric("clusters")(task, true, predicted) == expected


def test_synchrony() -> None:
    assert synchrony(np.full(7, 2.5)) == pytest.approx(1, abs=ROUNDING)
    assert synchrony(2 * math.pi * np.arange(7) / 7) == pytest.approx(0, abs=ROUNDING)
    # Two angles 2a apart: cos a. Whole turns do not matter.
    assert synchrony(np.array([0.3, 0.3 + 1.2 + 8 * math.pi])) == pytest.approx(math.cos(0.6), abs=ROUNDING)
    states = np.zeros((2, 3, 2, 2))
    states[0, -1, :, 0] = [0.0, math.pi]
    task, true = task_with(Kuramoto(n_agents=2), states)
    assert metric("synchrony")(task, true, states) == pytest.approx(0.5, abs=ROUNDING)
    assert "synchrony" in NAMES and not metric("synchrony").applies(random_task(Flocking(n_agents=3)))


# -- Invariants ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Oscillator(Pendulum):
    """A harmonic oscillator of frequency 1, or a damped one whose energy is said not to be conserved."""

    def invariants(self, y):
        return {"energy": (y[..., 0] ** 2 + y[..., 1] ** 2) / 2, "nothing": y[..., 0] - y[..., 0]}

    @property
    def structure(self):
        kept = ("energy", "nothing") if self.damping == 0 else ()
        return dataclasses.replace(super().structure, conserved=kept)


H, STEPS = 0.1, 50


def circles() -> np.ndarray:
    t = np.arange(STEPS + 1) * H
    a = np.array([1.0, 2.0, 0.5])[:, None]
    return np.stack([a * np.cos(t), -a * np.sin(t)], axis=-1)


def euler() -> np.ndarray:
    """x, v -> x + h v, v - h x: a turn, and a stretch by (1 + h²)^(1/2) a step."""
    rows = [circles()[:, 0]]
    for _ in range(STEPS):
        x, v = rows[-1].T
        rows.append(np.stack([x + H * v, v - H * x], axis=-1))
    return np.stack(rows, axis=1)


def test_the_drift_of_circles_is_nothing_and_that_of_euler_is_known() -> None:
    """Energy grows by 1 + h² a step, whatever the amplitude."""
    task, true = task_with(Oscillator(damping=0.0), circles(), H)
    drift = metric("invariant_drift")
    assert drift.applies(task) and drift(task, true, circles())[""] == pytest.approx(0, abs=ROUNDING)
    grown = (1 + H**2) ** np.arange(1, STEPS + 1) - 1
    expected = math.sqrt(np.mean(grown**2))
    # What is 0 everywhere has no scale, and is not told of.
    assert drift(task, true, euler()) == {name: pytest.approx(expected, rel=1e-9) for name in ("", "_energy")}
    wrong = task_with(Oscillator(damping=0.0), np.concatenate([circles(), euler()]), H)[0]
    assert not metric("invariant_error").applies(wrong)


def test_what_is_not_conserved_is_compared_with_its_true_course() -> None:
    """Truth that spirals in as exp(-t/2): its energy falls as exp(-t), that of a prediction on the circle stays."""
    t = np.arange(STEPS + 1) * H
    truth = circles() * np.exp(-t / 2)[:, None]
    task, true = task_with(Oscillator(damping=0.1), truth, H)
    error = metric("invariant_error")
    assert error.applies(task) and not metric("invariant_drift").applies(task)
    falls = np.exp(-t)
    expected = math.sqrt(np.mean((1 - falls[1:]) ** 2) / np.mean(falls**2))
    found = error(task, true, circles())
    assert found == {name: pytest.approx(expected, rel=1e-9) for name in ("", "_energy")}


def test_invariants_of_guessed_equations_are_no_truth() -> None:
    task = task_with(Oscillator(damping=0.0), circles(), H)[0]
    assert not metric("invariant_drift").applies(dataclasses.replace(task, exact=False))
