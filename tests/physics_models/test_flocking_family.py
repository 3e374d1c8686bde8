"""Laws of groups of agents, each from the mathematics of its system."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from physics_models.base import PAIRS, System
from physics_models.cache import initial_states
from physics_models.cucker_smale import CuckerSmale
from physics_models.dorsogna import Dorsogna
from physics_models.flocking import Flocking
from physics_models.lennard_jones import LennardJones
from physics_models.opinion_dynamics import OpinionDynamics
from physics_models.order_parameters import polarisation
from physics_models.predator_boids import PredatorBoids
from physics_models.topological_boids import TopologicalBoids
from physics_models.vicsek import Vicsek
from tests.physics_models.groups import close, integrate, slope

SUMS = [Flocking(), CuckerSmale(), Dorsogna(), PredatorBoids(), OpinionDynamics(), LennardJones()]
OTHERS = [Vicsek(noise=0.0), TopologicalBoids()]


def with_weights(system: System, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return system.field(0.0, y, {**system.values, PAIRS: weights})


@pytest.mark.parametrize("system", SUMS + OTHERS, ids=lambda s: type(s).__name__)
def test_a_cut_edge_changes_the_one_who_felt_it_alone(system: System) -> None:
    y = initial_states(system, 5, 1)[0]
    y[0] = y[1] + 0.1  # near enough to be felt in every system
    n = len(y)
    whole = system.field(0.0, y)
    assert np.array_equal(with_weights(system, y, np.ones((n, n))), whole)
    weights = np.ones((n, n))
    weights[0, 1] = 0
    changed = np.abs(with_weights(system, y, weights) - whole).max(axis=-1) > 1e-9
    assert changed.tolist() == [True] + [False] * (n - 1)


@pytest.mark.parametrize("system", SUMS, ids=lambda s: type(s).__name__)
def test_what_is_called_pairwise_is_a_sum_over_pairs(system: System) -> None:
    assert system.structure.pairwise
    y, rng = initial_states(system, 5, 3), np.random.default_rng(0)
    n = y.shape[-2]
    a, b = rng.uniform(size=(2, n, n))
    alone = with_weights(system, y, np.zeros((n, n)))
    both = with_weights(system, y, a) + with_weights(system, y, b)
    assert close(both, with_weights(system, y, a + b) + alone)
    moved = y.copy()
    moved[..., 1, : system.structure.space_dim] += 7.0
    without = with_weights(system, moved, np.zeros((n, n)))
    assert close(without, alone), "with all edges cut no one feels where the others are"


@pytest.mark.parametrize("system", OTHERS, ids=lambda s: type(s).__name__)
def test_normalised_and_ranked_influence_is_not_called_a_sum(system: System) -> None:
    assert not system.structure.pairwise


# Cucker-Smale. Two halves without spread move as two agents on a line: their distance D and relative speed V obey
# D' = V, V' = -K V psi(D), so that V + K * integral of psi up to D never changes.


@pytest.mark.parametrize(("beta", "integral"), [(1.0, math.atan), (0.5, math.asinh)])
def test_two_halves_keep_what_theory_keeps(beta: float, integral: Callable[[float], float]) -> None:
    system = CuckerSmale(beta=beta, gap=1.0, parting=2.0, spread=0.0, speed=0.0)
    y = system.initial_state(np.random.default_rng(0))
    end = integrate(system, y, 0.02, 500)

    def halves(y: np.ndarray) -> tuple[float, float]:
        difference = y[1] - y[0]
        return float(np.linalg.norm(difference[:2])), float(np.linalg.norm(difference[2:]))

    (d0, v0), (d1, v1) = halves(y), halves(end)
    assert (d0, v0) == pytest.approx((1, 2)) and d1 > 5
    # The method's error at this step is some 0.02^4 / 10.
    assert v1 + integral(d1) == pytest.approx(v0 + integral(d0), abs=1e-7)


@pytest.mark.parametrize("parting", [0.9, 1.1])
def test_beta_above_one_half_flocks_below_the_critical_speed_only(parting: float) -> None:
    """beta = 1: the critical speed of halves at the distance D is pi / 2 - arctan D; here 0.9 and 1.1 of it."""
    critical = math.pi / 2 - math.atan(2.0)
    system = CuckerSmale(n_agents=2, beta=1.0, gap=2.0, parting=parting * critical, spread=0.0, speed=0.0)
    y = system.initial_state(np.random.default_rng(1))
    y = integrate(system, y, 0.5, 800)
    distance, speed = np.linalg.norm(y[1, :2] - y[0, :2]), np.linalg.norm(y[1, 2:] - y[0, 2:])
    if parting > 1:  # what is left of V when the integral is used up stays for ever
        assert speed > 0.1 * critical and distance > 400 * 0.1 * critical
    else:  # D never gets beyond where the integral is used up, so that V falls as exp(-psi t) or faster
        farthest = math.tan(math.atan(2.0) + parting * critical)
        assert distance < farthest and speed < parting * critical * math.exp(-400 / (1 + farthest**2))


@pytest.mark.parametrize("start", [{}, {"spread": 3.0, "speed": 0.5}, {"gap": 10.0, "parting": 2.0, "speed": 0.1}])
@pytest.mark.parametrize("beta", [0.25, 0.5])
def test_beta_up_to_one_half_flocks_from_every_start(beta: float, start: dict[str, Any]) -> None:
    system = CuckerSmale(beta=beta, **start)
    y = initial_states(system, 0, 3)

    def widths(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centred = y - y.mean(axis=-2, keepdims=True)
        size = np.linalg.norm(centred.reshape(*y.shape[:-1], 2, 2), axis=-1).max(axis=-2)
        return size[..., 0], size[..., 1]

    (longest, before), after = widths(y), np.zeros(3)
    for _ in range(10):
        y = integrate(system, y, 1.0, 50)
        x, after = widths(y)
        longest = np.maximum(longest, x)
    # All within x of the centre couple by psi(2 x) or more, so speeds fall as exp(-psi t) or faster.
    slowest = (1 + (2 * longest) ** 2) ** -beta
    assert np.all(after < before * np.exp(-slowest * 500) + 1e-12)
    assert np.all(after < 0.05 * before)


def test_far_apart_and_fast_groups_never_meet_for_beta_one() -> None:
    system = CuckerSmale(beta=1.0, gap=10.0, parting=2.0, spread=0.1, speed=0.1)
    y = integrate(system, initial_states(system, 0, 4), 0.5, 200)
    apart = y[:, 1::2].mean(axis=1) - y[:, ::2].mean(axis=1)
    # The coupling left along the way takes less than pi / 2 - arctan 9 = 0.11 of the relative speed, which spread 0.1
    # and ten agents make uncertain by 0.1 * (2 / 5)^(1/2) = 0.06: three times that at most.
    assert np.all(np.linalg.norm(apart[:, 2:], axis=-1) > 2 - 0.11 - 0.19)
    assert np.all(np.linalg.norm(apart[:, :2], axis=-1) > 100 * 1.7)


# D'Orsogna


def test_dorsogna_speed_tends_to_the_preferred_one() -> None:
    """Alone, |v|^2 follows the logistic equation: known at every time."""
    system = Dorsogna(n_agents=2, propulsion=0.8, friction=0.2)
    y = np.array([[0.0, 0, 0.3, 0.4], [1e3, 0, 0, 5.0]])
    found = np.sum(integrate(system, y, 0.02, 100)[:, 2:] ** 2, axis=-1)
    preferred2, start2 = 4.0, np.array([0.25, 25.0])
    exact = preferred2 / (1 + (preferred2 / start2 - 1) * math.exp(-2 * 0.8 * 2.0))
    np.testing.assert_allclose(found, exact, rtol=1e-5)  # the method's error: 0.02^4 times rates of up to 5^5
    assert np.all(np.abs(np.sum(integrate(system, y, 0.05, 400)[:, 2:] ** 2, axis=-1) - preferred2) < 1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_dorsogna_without_propulsion_conserves(d: int) -> None:
    system = Dorsogna(space_dim=d, propulsion=0.0, friction=0.0)
    names = system.structure.conserved
    assert {"energy", "momentum_x", "momentum_y"} < set(names) and len(system.structure.canonical) == d
    assert Dorsogna().structure.conserved == Dorsogna().structure.canonical == ()
    y = initial_states(system, 0, 5)
    rates = slope(system, y, system.field(0.0, y))
    for name in names:
        size = max(1.0, np.abs(system.invariants(y)[name]).max())
        # h^2 / 6 times third derivatives of up to 1 / core^3 = 1e3 along rates of some ten.
        assert np.abs(rates[name]).max() < 1e-5 * size, name
    # Every particle's acceleration is the energy's slope downhill.
    for axis in range(d):
        nudge = np.zeros_like(y)
        nudge[:, 3, axis] = 1.0
        downhill = -slope(system, y, nudge)["energy"]
        np.testing.assert_allclose(system.field(0.0, y)[:, 3, d + axis], downhill, rtol=0, atol=1e-6)


def test_dorsogna_ring_turns_as_a_mill() -> None:
    """Equal particles on a circle, all at the preferred speed, where the inward force is that of turning."""
    system = Dorsogna()
    angle = 2 * np.pi * np.arange(system.n_agents) / system.n_agents
    speed = math.sqrt(system.propulsion / system.friction)

    def ring(radius: float, turn: float = 0.0) -> np.ndarray:
        c, s = np.cos(angle + turn), np.sin(angle + turn)
        return np.stack([radius * c, radius * s, -speed * s, speed * c], axis=-1)

    def missing(radius: float) -> float:
        return float(-system.field(0.0, ring(radius))[0, 2] - speed**2 / radius)

    radius: Any = brentq(missing, 1.0, 2.0, xtol=1e-14)
    y = integrate(system, ring(radius), 0.005, 200)
    # After one time unit it has turned by speed / radius; the method's error is some 0.005^4.
    np.testing.assert_allclose(y, ring(radius, speed / radius), rtol=0, atol=1e-8)


def rotation(y: np.ndarray) -> np.ndarray:
    """The milling order |mean of e_r x e_v| about the centre, (...,) from states (..., N, 4)."""
    x = y[..., :2] - y[..., :2].mean(axis=-2, keepdims=True)
    cross = x[..., 0] * y[..., 3] - x[..., 1] * y[..., 2]
    return np.abs(np.mean(cross / np.linalg.norm(x, axis=-1) / np.linalg.norm(y[..., 2:], axis=-1), axis=-1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dorsogna_mills_and_flocks() -> None:
    mill, flock = Dorsogna(swirl=2.0), Dorsogna(swirl=0.0, drift=3.0)
    ring = Dorsogna(attraction=0.5, repulsion=0.25, repulsion_range=1.0)
    y = integrate(mill, initial_states(mill, 0, 8), 0.02, 2000)
    assert np.median(rotation(y)) > 0.9 and polarisation(y[..., 2:]).max() < 0.5
    y = integrate(flock, initial_states(flock, 0, 8), 0.02, 1000)
    assert polarisation(y[..., 2:]).min() > 0.98
    y = integrate(ring, initial_states(ring, 0, 8), 0.02, 1000)
    radius = np.linalg.norm(y[..., :2] - y[..., :2].mean(axis=-2, keepdims=True), axis=-1)
    assert np.median(radius.std(axis=-1) / radius.mean(axis=-1)) < 0.2


# Topological boids


def test_topological_weights_are_of_the_k_nearest_whatever_the_scale() -> None:
    system = TopologicalBoids()
    x = system.initial_state(np.random.default_rng(3))[:, :2]
    distance2 = np.sum((x[None] - x[:, None]) ** 2, axis=-1)
    w = system.neighbour_weights(distance2)
    assert np.all(np.sum(w > 0, axis=-1) == system.neighbours + 1)  # and itself
    order = np.argsort(distance2, axis=-1)
    assert np.all(np.take_along_axis(w, order, -1)[:, : system.neighbours + 1] > 0)
    assert close(system.neighbour_weights(distance2 * 37.0**2), w)
    assert np.array_equal(TopologicalBoids(neighbours=14).neighbour_weights(distance2), np.ones((15, 15)))
    first = np.arange(15) < 8
    heap = np.where(np.logical_and.outer(first, first) | np.eye(15, dtype=bool), 0.0, 0.01)  # eight in one place
    assert np.array_equal(system.neighbour_weights(heap)[0] > 0, heap[0] == 0)  # however near the others are


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_topological_alignment_does_not_depend_on_distance(scale: float) -> None:
    system = TopologicalBoids()
    y = initial_states(system, 0, 4)
    larger = y * np.array([scale, scale, 1, 1])
    one, two = (system.terms(0.0, z, system.values, ["alignment", "cohesion"]) for z in (y, larger))
    assert close(one["alignment"], two["alignment"]) and np.abs(one["alignment"]).max() > 0.1
    assert close(one["cohesion"] * scale, two["cohesion"])


def test_topological_field_is_continuous_where_neighbours_change() -> None:
    """Agents 1 and 2 exchange the places k and k + 1 of agent 0: the field goes along with the positions."""
    system = TopologicalBoids(n_agents=4, neighbours=2)
    y = np.array([[0.0, 0, 1, 0], [1.0, 0, 0, 1], [0, -1.0, -1, 0], [0.5, 0.1, 0, 2]])

    def moved(by: float) -> np.ndarray:
        z = y.copy()
        z[1, 0] += by
        return system.field(0.0, z)

    tied = system.neighbour_weights(np.array([[0.0, 1.0, 1.0, 0.26]] * 4))[0]
    assert close(tied, np.array([1, 0, 0, 0.74]))
    assert 0 < np.abs(moved(1e-7) - moved(-1e-7)).max() < 1e-5  # slopes of up to some ten, times 2e-7
    assert np.abs(moved(0.3) - moved(-0.3))[0].max() > 0.1


# Boids and their predator


def test_prey_can_be_renamed_but_the_predator_cannot() -> None:
    system = PredatorBoids()
    assert "permutation" not in system.structure.symmetries
    y = system.initial_state(np.random.default_rng(0))
    order = np.r_[np.random.default_rng(1).permutation(10), 10]
    assert close(system.field(0.0, y[order]), system.field(0.0, y)[order])
    order[[0, 10]] = order[[10, 0]]
    assert not close(system.field(0.0, y[order]), system.field(0.0, y)[order])


def test_prey_without_a_predator_in_sight_are_the_boids_of_flocking() -> None:
    system = PredatorBoids(predator_distance=1e3)
    y = system.initial_state(np.random.default_rng(0))
    assert close(system.field(0.0, y)[:-1], Flocking().field(0.0, y[:-1]))
    assert close(system.field(0.0, y)[-1, 2:], np.zeros(2)), "it cruises and sees no prey"


def test_prey_flee_and_the_predator_follows() -> None:
    system = PredatorBoids(n_agents=2)
    rate = system.field(0.0, np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]))
    assert close(rate[0, 2:], np.array([system.flight * math.exp(-0.5), 0]))
    assert close(rate[1, 2:], np.array([system.pursuit * math.exp(-1 / 8), 0]))


def test_an_obstacle_stays_and_is_avoided() -> None:
    """One prey without regulation heads straight for it: v^2 / 2 + 5 exp(-r^2 / 2) is constant, 5 being the flight."""
    system = PredatorBoids(n_agents=2, pursuit=0.0, predator_speed=0.0, regulation=0.0)
    path = [np.array([[-4.0, 0, 1, 0], [0, 0, 0, 0]])]
    for _ in range(300):
        path.append(integrate(system, path[-1], 0.02, 1))
    y = np.stack(path)
    assert np.array_equal(y[-1, 1], [0, 0, 0, 0]) and y[-1, 0, 0] < -2.5
    # Where it turns all energy is potential. Its way back within half a step is 1/2 * 1.1 * 0.01^2.
    turn = math.sqrt(-2 * math.log(0.1 + math.exp(-8)))
    assert -y[:, 0, 0].max() == pytest.approx(turn, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (TopologicalBoids, {"neighbours": 0}, "neighbours must be 1 or more, but it is 0"),
        (LennardJones, {"cutoff": 1.2}, "cutoff must be at most .* but it is 1.2"),
        (OpinionDynamics, {"space_dim": 0}, "space_dim must be 1, 2 or 3, but it is 0"),
        (Vicsek, {"n_agents": 1}, "n_agents must be 2 or more, but it is 1"),
        (PredatorBoids, {"flight_range": 0.0}, "flight_range must be above 0, but it is 0.0"),
    ],
)
def test_impossible_groups_are_refused(kind: type[System], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
