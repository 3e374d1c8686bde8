"""Interventions: what is held stays, what is cut has no effect, what is removed is the smaller system."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from physics_models import cache
from physics_models.base import Map, System
from physics_models.discovery import systems
from physics_models.flocking import Flocking
from physics_models.interventions import (
    AddAgents,
    ChangeParameter,
    Clamp,
    CutEdge,
    Intervention,
    InterventionError,
    Kick,
    Predator,
    RemoveAgent,
    clamped_by_state,
    do,
    wider,
)
from physics_models.local_flocking import LocalFlocking
from physics_models.lorenz63 import Lorenz63
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.pendulum import Pendulum
from physics_models.predator_boids import PredatorBoids
from physics_models.priors.base import Prior
from physics_models.spring_particles import SpringParticles
from physics_models.under_intervention import given_variables
from physics_models.vicsek import Vicsek

FLOCK = Flocking(n_agents=5)
PREDATOR = Predator(strength=2.0, reach=0.5, start=(-1.0, 0.0), velocity=(1.0, 0.0))


def start(system: System, seed: int = 0) -> np.ndarray:
    return system.initial_state(np.random.default_rng(seed))


def small(name: str) -> System:
    return systems.load(name)()


# -- Clamps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", systems.names())
def test_of_every_system_a_variable_can_be_held(name: str) -> None:
    system = small(name)
    held = do(system, Clamp(variable=system.variables[-1]))
    y = start(system)
    assert (start(held) == y).all() and isinstance(held, type(system))
    rate, free = np.broadcast_to(held.field(0.0, y), y.shape), np.broadcast_to(system.field(0.0, y), y.shape)
    assert (rate[..., -1] == 0).all()
    np.testing.assert_array_equal(rate[..., :-1], free[..., :-1])  # at this state nothing else is changed
    if isinstance(held, Map):
        u = held.draw(np.random.default_rng(1), ())
        after, would = held.step(y, u), system.step(y, u)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(after[..., -1], y[..., -1])
        np.testing.assert_array_equal(after[..., :-1], would[..., :-1])


def test_what_is_held_stays_to_the_bit_and_the_rest_obeys() -> None:
    """A pendulum whose angle is held feels a constant force: its velocity is known in closed form."""
    system = do(Pendulum(damping=0.5), Clamp("angle", value=1.0))
    y, h = start(system), 0.01
    first = y[1]
    for n in range(300):
        a = system.field(n * h, y)
        b = system.field(n * h, y + h / 2 * a)
        c = system.field(n * h, y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + system.field(n * h, y + h * c))
    assert y[0] == 1.0
    end = -np.sin(1.0) / 0.5  # where friction balances gravity
    # Of order 4: (0.5 h)^4 = 6e-10 of a velocity of order one, and some room.
    assert y[1] == pytest.approx(end + (first - end) * np.exp(-0.5 * 3), abs=1e-9)


def test_an_agent_is_held_with_all_its_variables() -> None:
    held = do(FLOCK, Clamp(agent=2))
    rate = held.field(0.0, start(held))
    assert (rate[2] == 0).all() and (rate[[0, 1, 3, 4]] != 0).all()
    one = do(FLOCK, Clamp("vx", agent=2)).field(0.0, start(FLOCK))
    assert one[2, 2] == 0 and (one != 0).sum() == one.size - 1


def test_a_fields_variable_is_held_in_the_solvers_stiff_part_too() -> None:
    for name in systems.names():
        system = small(name)
        if (multiplier := system.linear_multiplier()) is None:
            continue
        held = do(system, Clamp(variable=system.variables[0])).linear_multiplier()
        assert held is not None and (held[..., 0] == 0).all()
        np.testing.assert_array_equal(held[..., 1:], multiplier[..., 1:])


@pytest.mark.parametrize("system", [Lorenz63(), FLOCK])
def test_a_clamp_in_the_state_is_that_clamp(system: System) -> None:
    clamp = Clamp("y") if isinstance(system, Lorenz63) else Clamp(agent=1)
    masked, y = clamped_by_state(system), start(system)
    both = np.concatenate([y, clamp.entries(system)], axis=-1)
    assert masked.state_shape == both.shape
    rate = masked.field(0.0, both)
    d = y.shape[-1]
    np.testing.assert_array_equal(rate[..., :d], do(system, clamp).field(0.0, y))
    assert (rate[..., d:] == 0).all()


def test_a_map_with_a_clamp_in_the_state_steps_like_it() -> None:
    system = Vicsek(n_agents=4)
    y, clamp = start(system), Clamp(agent=3)
    u = system.draw(np.random.default_rng(2), ())
    masked = clamped_by_state(system)
    assert isinstance(masked, Map) and masked.interval == system.interval
    after = masked.step(np.concatenate([y, clamp.entries(system)], axis=-1), u)
    np.testing.assert_array_equal(after[..., :4], do(system, clamp).step(y, u))  # type: ignore[attr-defined]


# -- Agents and edges ----------------------------------------------------------------------------------------------


def influence(system: System, source: int, target: int) -> np.ndarray:
    """d rate of target / d state of source, (D, D), by differences: exactly 0 where nothing is carried over."""
    y, h = start(system), 1e-6
    columns = []
    for k in range(y.shape[-1]):
        moved = y.copy()
        moved[source, k] += h
        columns.append((system.field(0.0, moved)[target] - system.field(0.0, y)[target]) / h)
    return np.stack(columns, axis=-1)


def test_over_a_cut_edge_nothing_comes() -> None:
    cut = do(FLOCK, CutEdge(source=0, target=1))
    assert (influence(cut, 0, 1) == 0).all() and (influence(FLOCK, 0, 1) != 0).any()
    for source, target in ((1, 0), (0, 2), (2, 1)):  # one way, and of this pair only
        # The rounding of sums of order one (1e-16) over the step of the differences (1e-6), and some room.
        expected = influence(FLOCK, source, target)
        np.testing.assert_allclose(influence(cut, source, target), expected, rtol=0, atol=5e-9)
    both = do(cut, CutEdge(2, 1))
    assert (influence(both, 0, 1) == 0).all() and (influence(both, 2, 1) == 0).all()


@pytest.mark.parametrize("name", [n for n in systems.names() if small(n).structure.pairwise])
def test_every_pairwise_system_has_edges_to_cut(name: str) -> None:
    system = small(name)
    y = start(system)
    cut = do(system, CutEdge(0, 1))
    moved = y.copy()
    moved[0] += 1e-3
    np.testing.assert_array_equal(cut.field(0.0, moved)[1], cut.field(0.0, y)[1])


def test_a_prey_can_be_lost_but_not_the_predator() -> None:
    system = PredatorBoids(n_agents=5)
    fewer = do(system, RemoveAgent(1))
    y = start(fewer, 7)
    np.testing.assert_array_equal(y, np.delete(start(system, 7), 1, axis=0))
    np.testing.assert_array_equal(fewer.field(0.0, y), replace(system, n_agents=4).field(0.0, y))
    more = do(system, AddAgents(2))
    speeds = np.linalg.norm(start(more)[:, 2:], axis=-1)
    assert more.structure.alike == 6 and speeds[-1] == pytest.approx(system.predator_speed)
    with pytest.raises(InterventionError, match=r"agent 4 of PredatorBoids has a law of its own: .* first 4"):
        do(system, RemoveAgent(4))


def test_removal_is_the_smaller_system() -> None:
    fewer = do(FLOCK, RemoveAgent(1))
    assert fewer.state_shape == (4, 4) and fewer.structure.agents == 4
    np.testing.assert_array_equal(start(fewer, 7), np.delete(start(FLOCK, 7), 1, axis=0))
    y = start(fewer)
    np.testing.assert_array_equal(fewer.field(0.0, y), replace(FLOCK, n_agents=4).field(0.0, y))
    assert do(FLOCK, AddAgents(3)) == replace(FLOCK, n_agents=8)


# -- Parameters, predators, kicks ----------------------------------------------------------------------------------


def test_a_parameter_is_changed() -> None:
    assert do(Lorenz63(), ChangeParameter("rho", factor=1.25)) == Lorenz63(rho=35.0)
    assert do(Lorenz63(), ChangeParameter("rho", value=1.0)) == Lorenz63(rho=1.0)


def test_a_predator_repels_along_its_path() -> None:
    hunted, t = do(FLOCK, PREDATOR), 0.7
    y = start(FLOCK)
    r = y[:, :2] - [-1.0 + t, 0.0]
    push = hunted.field(t, y) - FLOCK.field(t, y)
    expected = 2.0 * r * np.exp(-np.sum(r**2, axis=-1, keepdims=True) / (2 * 0.5**2))
    np.testing.assert_allclose(push[:, 2:], expected, atol=1e-14)  # of sums of order one
    assert (push[:, :2] == 0).all() and "predator" in hunted.term_names and "time" not in hunted.structure.symmetries
    assert "predator" not in hunted.known_terms


def test_a_predator_in_a_periodic_box_acts_across_its_sides() -> None:
    flock = LocalFlocking(n_agents=3, box=8.0)
    hunted = do(flock, Predator(strength=2.0, reach=0.5, start=(0.1, 4.0), velocity=(0.0, 0.0)))
    y = np.array([[7.9, 4.0, 1.0, 0.0], [0.3, 12.2, 0.0, 1.0], [4.1, 4.0, 1.0, 1.0]])
    push = hunted.field(0.0, y) - flock.field(0.0, y)
    r = np.array([[-0.2, 0.0], [0.2, 0.2]])
    # Differences of sides, and of sums of order one, are rounded to some 1e-15.
    expected = 2.0 * r * np.exp(-np.sum(r**2, axis=-1, keepdims=True) / (2 * 0.5**2))
    np.testing.assert_allclose(push[:2, 2:], expected, rtol=0, atol=1e-13)
    assert np.abs(push[2]).max() < 1e-12  # half a box away, the farthest: 8 exp(-32) = 1e-13


def test_a_kick_adds_its_size_and_no_more() -> None:
    kick = Kick(size=0.3, at=1.0, duration=0.5, variable="velocity")
    system = do(Pendulum(), kick)
    y = np.zeros(2)  # at rest nothing else moves it
    # The trapezoidal rule is exact for a period of a cosine.
    t = np.linspace(1.0, 1.5, 17)
    rates = np.stack([system.field(s, y) for s in t])
    np.testing.assert_allclose(np.trapezoid(rates, t, axis=0), [0.0, 0.3], atol=1e-15)
    assert (system.field(0.99, y) == 0).all() and (system.field(1.51, y) == 0).all()
    times, states = np.linspace(0, 2, 9), np.zeros((1, 2))
    for a, b in itertools.pairwise(times):
        states = kick.hold(Pendulum(), states, np.zeros((1, 2)), np.array([a]), np.array([b]))
    np.testing.assert_allclose(states, [[0.0, 0.3]], atol=1e-15)


def test_whatever_else_is_done_a_solver_knows_when_a_kick_acts() -> None:
    """Told by a prior, with what is held in the state, from wider starts, and under other interventions."""
    kicked = do(FLOCK, Kick(size=0.3, at=3.25, duration=0.5, variable="vx"))
    others = [Prior().tell(kicked), clamped_by_state(kicked), wider(kicked, 1.5), do(kicked, Clamp(agent=0), PREDATOR)]
    for system in (kicked, *others, clamped_by_state(Prior().tell(kicked))):
        assert system.switch_times == (3.25, 3.75), type(system).__name__


def test_a_kick_and_a_predator_both_act() -> None:
    kick, t = Kick(size=0.3, at=0.5, duration=1.0, variable="vx"), 0.9
    y = start(FLOCK)
    extra = np.sum([do(FLOCK, one).field(t, y) - FLOCK.field(t, y) for one in (kick, PREDATOR)], axis=0)
    for actions in ((kick, PREDATOR), (PREDATOR, kick), (kick, PREDATOR, CutEdge(0, 1), Clamp(agent=4))):
        both = do(FLOCK, *actions)
        assert sorted(both.term_names) == sorted((*FLOCK.term_names, "kick", "predator"))
        np.testing.assert_allclose((both.field(t, y) - FLOCK.field(t, y))[2], extra[2], atol=1e-14)


# -- What holds for all --------------------------------------------------------------------------------------------

ALL: list[tuple[System, Intervention]] = [
    (FLOCK, Clamp(agent=0)), (FLOCK, CutEdge(0, 1)), (FLOCK, PREDATOR), (FLOCK, RemoveAgent(0)),
    (Pendulum(), Kick(1.0, 0.1, 0.5, "velocity")), (Pendulum(), Clamp("angle")),
]  # fmt: skip


@pytest.mark.parametrize(("system", "action"), [ALL[0], ALL[2], ALL[4]], ids=lambda x: type(x).__name__)
def test_the_same_on_every_array_library_and_in_batches(system: System, action: Intervention) -> None:
    acted = do(system, action)
    y = np.stack([start(acted, seed) for seed in range(3)])
    rate = acted.field(0.3, y)
    for one, row in zip(rate, y, strict=True):
        np.testing.assert_allclose(acted.field(0.3, row), one, rtol=1e-13, atol=1e-13)
    with jax.enable_x64(True):
        np.testing.assert_allclose(np.asarray(acted.field(0.3, jnp.asarray(y))), rate, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(acted.field(0.3, torch.as_tensor(y)).numpy(), rate, rtol=1e-12, atol=1e-12)
    assert acted.field(0.3, torch.as_tensor(y, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(("system", "action"), ALL, ids=lambda x: type(x).__name__)
def test_an_acted_on_system_is_another_one_to_the_cache(system: System, action: Intervention) -> None:
    acted, times = do(system, action), np.linspace(0, 1, 3)
    assert acted == do(system, action) and hash(acted) == hash(do(system, action)) and acted != system
    assert type(acted) is type(do(system, action))

    def key(of: System) -> str | None:
        return cache._key(of, 0, 1, times, 1e-10, 0.0)

    assert key(acted) not in (None, key(system)) and key(acted) == key(do(system, action))


def test_several_at_once() -> None:
    both = do(FLOCK, ChangeParameter("cohesion", factor=2.0), RemoveAgent(4), Clamp(agent=0), CutEdge(2, 3))
    assert isinstance(both, Flocking) and both.cohesion == 2.0 and both.state_shape == (4, 4)
    assert (both.field(0.0, start(both))[0] == 0).all() and (influence(both, 2, 3) == 0).all()


@pytest.mark.parametrize("name", systems.names())
def test_of_every_system_there_are_wider_starts(name: str) -> None:
    system = small(name)
    same, far = wider(system, 1.0), wider(system, 2.0)
    starts = [np.stack([start(s, seed) for seed in range(40)]) for s in (system, same, far)]
    given = np.isin(system.variables, given_variables(system))
    np.testing.assert_array_equal(starts[2][..., given], starts[0][..., given])
    np.testing.assert_allclose(starts[1], starts[0], rtol=1e-9, atol=1e-12)
    assert ((starts[2] > 0) | (starts[0] <= 0).any(axis=0)).all()  # what is positive stays so
    axes = tuple(range(starts[0].ndim - 1))
    positive = (starts[0] > 0).all(axis=axes)
    spread = [np.where(positive, np.log(np.where(positive, y, 1.0)), y).std(axis=axes) for y in starts]
    np.testing.assert_allclose(spread[2], np.where(given, 1, 2) * spread[0], rtol=1e-6)


def test_what_nothing_acts_on_is_known() -> None:
    """Charges, natural frequencies and clocks; a species of which there is none at the start is acted on."""
    found = {name: given_variables(small(name)) for name in systems.names() if not name.startswith("dysts")}
    assert {name: given for name, given in found.items() if given} == {
        "charged_particles": ("charge",), "kuramoto": ("frequency",), "robertson": ("log_time",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("system", "action", "says"),
    [
        (Pendulum(), Clamp("angel"), "one of angle, velocity"),
        (Pendulum(), Clamp(agent=0), "no agents"),
        (Pendulum(), Clamp(), "names none"),
        (Pendulum(), Clamp("angle", value=float("nan")), "finite"),
        (FLOCK, Clamp(agent=5), "0 to 4, but it is 5"),
        (Lorenz63(), CutEdge(0, 1), "no edge to cut"),
        (FLOCK, CutEdge(1, 1), "two agents"),
        (Lorenz63(), AddAgents(1), "no agents"),
        (FLOCK, AddAgents(0), "1 or more"),
        (Flocking(n_agents=2), RemoveAgent(0), "2 or more"),
        (SpringParticles(), RemoveAgent(0), "not alike"),
        (do(FLOCK, CutEdge(3, 4)), RemoveAgent(0), "at most, and first"),
        (do(FLOCK, RemoveAgent(0)), RemoveAgent(0), "at most, and first"),
        (do(FLOCK, PREDATOR), PREDATOR, "a predator already"),
        (LotkaVolterra(), ChangeParameter("growth"), "must be one of"),
        (Pendulum(damping=0.0), ChangeParameter("damping"), "give it a value"),
        (Lorenz63(), ChangeParameter("rho", value=-1.0), "above 0"),
        (Lorenz63(), PREDATOR, "no agents with velocities"),
        (FLOCK, replace(PREDATOR, start=(0.0,)), "2 entries"),
        (FLOCK, replace(PREDATOR, reach=0.0), "above 0"),
        (Vicsek(), Kick(1.0, 0.0, 1.0, "x"), "by steps"),
        (Pendulum(), Kick(1.0, 0.0, 0.0, "angle"), "above 0"),
    ],
)  # fmt: skip
def test_what_a_system_does_not_have_is_refused(system: System, action: Any, says: str) -> None:
    with pytest.raises(InterventionError, match=says):
        do(system, action)
