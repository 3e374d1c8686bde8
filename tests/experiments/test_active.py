"""An active task: what the committee disagrees on most is done, of each thing's own candidates, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from experiments import active
from experiments.active import FEATURES, MEMBERS, Committee
from experiments.config import load
from experiments.corruption import ACTIVE_STREAM
from experiments.drawing import Source
from experiments.errors import UserError
from experiments.identity import run_config
from experiments.protocol import Protocol
from experiments.task import Task, simulated
from experiments.trajectories import Trajectories
from hardware.flops_torch import FlopCounter
from physics_models.base import System
from physics_models.cache import initial_states
from physics_models.flocking import Flocking
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.pendulum import Pendulum
from physics_models.spring import Spring
from tests.experiments.test_checkpoint import assert_same, go, job_of, stopped

pytestmark = pytest.mark.usefixtures("by_numpy")
PASSIVE = Protocol(n_train=12, n_val=2, n_test=2, horizon=4.0, spacing=0.25)
ACTIVE = replace(PASSIVE, active=True, rounds=3, candidates=4)
ROUND = 4  # trajectories


def task_of(cache: Path, protocol: Protocol = ACTIVE, system: System | None = None, **changes: Any) -> Task:
    return simulated("some", system or LotkaVolterra(), replace(protocol, **changes), cache)


def source_of(task: Task) -> Source:
    assert task.source is not None
    return task.source


def candidate_starts(task: Task, passive: Task) -> np.ndarray:
    """(C, n, *state), the passive ones first."""
    source, first = source_of(task), passive.train.y[:, 0]
    more = initial_states(source.system, source.seed_of(0, ACTIVE_STREAM), 3 * len(first))
    return np.concatenate([first[None], more.reshape(3, *first.shape)])


def rolled(system: System, starts: np.ndarray, times: np.ndarray) -> Trajectories:
    import physics_models.simulate

    return Trajectories.common(times, physics_models.simulate.simulate(system, starts, times).y, system.variables)


@pytest.fixture
def taste(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., np.ndarray]], None]:
    """A committee of another opinion, told as a function of states and of what is held."""

    def use(opinion: Callable[..., np.ndarray]) -> None:
        monkeypatch.setattr(Committee, "disagreement", lambda self, y0, held, lengths: opinion(y0, held))

    return use


# -- Off is off, and what is refused -------------------------------------------------------------------------------


def test_an_active_task_is_another_task_and_a_passive_one_the_same_as_ever() -> None:
    tree = load("pendulum", []).tree

    def config_of(**changes: Any) -> dict[str, Any]:
        return run_config(tree | {"task": tree["task"] | changes}, tree["model"], "gradient", "cpu", 0)

    assert config_of(rounds=3, candidates=2) == config_of()
    assert not {"active", "rounds", "candidates"} & set(config_of()["task"])
    found = [
        config_of(active=True),
        config_of(active=True, rounds=3),
        config_of(active=True, candidates=2),
        config_of(),
    ]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rounds": 1}, "rounds must be 2 or more, and at most n_train"),
        ({"rounds": 13}, r"rounds must be 2 or more, and at most n_train \(12\)"),
        ({"candidates": 1}, "candidates must be 2 or more .*task.active=false"),
        ({"fresh": True}, "active must be false"),
        ({"shards": 3}, "active must be false"),
        ({"on_blow_up": "cut"}, "active must be false"),
    ],
)
def test_mistakes_are_told(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(ACTIVE, **changes)


def test_mistakes_are_told_to_people() -> None:
    with pytest.raises(UserError, match=r"task\.rounds must be 2 or more"):
        load("pendulum", ["task.active=true", "task.rounds=1"])
    with pytest.raises(UserError, match=r"task\.active must be true or false, but it is starts"):
        load("pendulum", ["task.active=starts"])
    with pytest.raises(UserError, match=r"there is no key task\.active"):
        load("trajectories", ["task.path=x.csv", "task.active=true"])


# -- What is picked ------------------------------------------------------------------------------------------------


def test_nothing_but_later_training_starts_is_changed(tmp_path: Path) -> None:
    passive, task, again = task_of(tmp_path, PASSIVE), task_of(tmp_path), task_of(tmp_path / "b")
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(task, part).y, getattr(passive, part).y)
    for name in ("std", "step_std", "rate_std"):  # errors have the same units
        np.testing.assert_array_equal(getattr(task.scales, name), getattr(passive.scales, name))
    np.testing.assert_array_equal(task.train.times, passive.train.times)  # as many, and as long
    np.testing.assert_array_equal(task.train.y[:ROUND], passive.train.y[:ROUND])
    assert (task.train.y[ROUND:] != passive.train.y[ROUND:]).any()
    assert task.facts["data_hash"] == again.facts["data_hash"] != task_of(tmp_path, data_seed=1).facts["data_hash"]
    again_y = rolled(LotkaVolterra(), task.train.y[:, 0], task.train.times[0]).y
    np.testing.assert_allclose(task.train.y, again_y, rtol=1e-12)  # the equations' own: batches differ in rounding


def test_each_start_is_the_one_of_its_own_candidates_that_is_disagreed_on_most(taste: Any, tmp_path: Path) -> None:
    taste(lambda y0, held: y0[:, 1])
    passive, task = task_of(tmp_path, PASSIVE), task_of(tmp_path)
    options = candidate_starts(task, passive)
    best = options[..., 1].argmax(axis=0)
    best[:ROUND] = 0
    assert len(set(best)) > 1
    np.testing.assert_array_equal(task.train.y[:, 0], options[best, np.arange(12)])


def test_who_has_no_opinion_does_what_chance_would_have_done(taste: Any, tmp_path: Path) -> None:
    """The control: with equal disagreement the data are those of the passive task (but for rounding: other batches)."""
    taste(lambda y0, held: np.zeros(len(y0)))
    every: list[dict[str, Any]] = [{}, {"interventional": 0.5}, {"interventional": 0.5, "intervention": "clamp"}]
    for changes in every:
        passive, task = task_of(tmp_path, PASSIVE, **changes), task_of(tmp_path, **changes)
        np.testing.assert_allclose(task.train.y, passive.train.y, rtol=1e-12)
        np.testing.assert_array_equal(task.train.lengths, passive.train.lengths)
        np.testing.assert_array_equal(task.held, passive.held)


def test_a_kick_is_picked_by_where_it_leads(taste: Any, tmp_path: Path) -> None:
    taste(lambda y0, held: y0[:, 0])
    passive, task = (task_of(tmp_path, p, interventional=1.0) for p in (PASSIVE, ACTIVE))
    np.testing.assert_array_equal(task.train.lengths, passive.train.lengths)
    np.testing.assert_array_equal(task.train.y[:12], passive.train.y[:12])  # before the kick
    after, before = task.train.y[12:, 0, 0], passive.train.y[12:, 0, 0]
    np.testing.assert_array_equal(after[:ROUND], before[:ROUND])
    assert (after >= before).all() and (after > before).sum() >= 2  # the passive kick is a candidate: 1 in 4 stays
    assert (task.train.y[12:, 0] > 0).all()


def test_a_clamp_is_picked_by_what_it_holds(taste: Any, tmp_path: Path) -> None:
    taste(lambda y0, held: held.reshape(len(held), -1)[:, -1].astype(float))
    task = task_of(tmp_path, interventional=1.0, intervention="clamp", candidates=16)
    assert task.held is not None and (task.held.sum(axis=1) == 1).all()
    assert task.held[ROUND:, 1].all()  # 1 - 2^-16 for each of 8
    for row, which in zip(*np.nonzero(task.held), strict=True):
        assert (task.train.y[row, :, which] == task.train.y[row, 0, which]).all()
    flock = task_of(tmp_path, system=Flocking(n_agents=3), interventional=0.5, intervention="clamp", candidates=16).held
    assert flock is not None
    agents = [row.all(axis=-1) for row in flock if row.any()]
    assert all(row.sum() == 1 for row in agents) and all(row[2] for row in agents[3:])


@pytest.mark.parametrize("changes", [{}, {"noise": 0.1}, {"uneven": 0.3}, {"hidden": ("predator",)}])
def test_the_experimenter_sees_what_models_are_given_and_no_more(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Trajectories] = []

    class Watched(Committee):
        def __init__(self, data: Trajectories, held: Any, rng: Any) -> None:
            known.append(data)
            super().__init__(data, held, rng)

        def disagreement(self, y0: np.ndarray, held: Any, lengths: np.ndarray) -> np.ndarray:
            assert y0.shape[1:] == known[-1].state_shape
            return super().disagreement(y0, held, lengths)

    monkeypatch.setattr(active, "Committee", Watched)
    train = task_of(tmp_path, **changes).train
    assert [data.count for data in known] == [ROUND, 2 * ROUND] and known[0].variables == train.variables
    for data in known:
        np.testing.assert_array_equal(data.y, train.y[: data.count])
        np.testing.assert_array_equal(data.times, train.times[: data.count])


def test_chance_along_the_way_is_new_in_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import physics_models.simulate

    seeds: list[int] = []
    plain = physics_models.simulate.simulate

    def watched(*arguments: Any, **words: Any) -> Any:
        seeds.append(arguments[5] if len(arguments) > 5 else 0)
        return plain(*arguments, **words)

    monkeypatch.setattr("physics_models.simulate.simulate", watched)
    for interventional, rounds in ((0.0, 2), (1.0, 3)):  # the first of them is the passive one where nothing is done
        source = source_of(task_of(tmp_path, process_noise=0.1, interventional=interventional))
        seeds.clear()
        source.training()
        assert len(set(seeds)) == len(seeds) == rounds and source.protocol.data_seed not in seeds


def test_what_the_picks_cost_and_found_is_told(tmp_path: Path) -> None:
    facts = task_of(tmp_path, n_train=16, rounds=4).facts
    assert facts["picking_flop"] > 0
    assert facts["disagreement_of_picks"] > facts["disagreement_of_candidates"] > 0
    assert not {"picking_flop", "disagreement_of_picks"} & set(task_of(tmp_path, PASSIVE).facts)


# -- The committee -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [LotkaVolterra(), Pendulum()])
def test_a_committee_knows_where_it_is_wrong(system: System) -> None:
    """Measured, by rank: .98 and .92. 200 pairs without a connection are above .5 once in 10^13."""
    times = np.arange(41) * 0.1
    committee = Committee(rolled(system, initial_states(system, 0, 8), times), None, np.random.default_rng(0))
    true = rolled(system, initial_states(system, 1, 200), times)
    spread = committee.disagreement(true.y[:, 0], None, np.diff(times))
    members = [committee._standard(true.y[:, 0])] * MEMBERS
    error = np.zeros(200)
    for k in range(40):
        members = [z + 0.1 * committee._features(z, m) @ committee._weights[m] for m, z in enumerate(members)]
        error += np.mean((np.mean(members, axis=0) - committee._standard(true.y[:, k + 1])) ** 2, axis=1)
    rank_correlation: Any = spearmanr(spread, error)[0]
    assert rank_correlation > 0.5


def test_all_agree_on_what_they_can_all_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The map of a linear system is one of the committee's own: only the ridge is between it and them. (They come
    together slowly, because within the data a bent feature is nearly a straight one.)"""
    times = np.arange(41) * 0.1
    known = rolled(Spring(), initial_states(Spring(), 0, 8), times)
    spread = []
    for ridge in (1e-6, 1e-12):  # measured: .012 and .0009
        monkeypatch.setattr(active, "RIDGE", ridge)
        committee = Committee(known, None, np.random.default_rng(0))
        spread.append(committee.disagreement(known.y[:, 0], None, np.diff(times)).max())
    assert spread[0] < 0.03 and spread[1] < 0.2 * spread[0]


def test_without_features_members_differ_by_the_trajectories_they_have_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: of one trajectory all have seen the same. (A pendulum is no linear system, so that it matters.)"""
    monkeypatch.setattr(active, "WIDTH", 0.0)
    times = np.arange(41) * 0.1
    known = rolled(Pendulum(), initial_states(Pendulum(), 0, 8), times)
    for count, differ in ((1, False), (8, True)):
        committee = Committee(known.select(np.arange(count)), None, np.random.default_rng(0))
        spread = committee.disagreement(known.y[:, 0], None, np.diff(times))
        # Measured: 0.02 and more; and with one trajectory the same numbers, of which a mean may be rounded.
        assert (spread > 1e-3).all() if differ else (spread < 1e-12).all(), spread


def test_every_round_has_a_committee_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one is blind to is not so for all."""
    seen: list[Committee] = []

    class Watched(Committee):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append(self)

    monkeypatch.setattr(active, "Committee", Watched)
    task_of(tmp_path)
    assert len(seen) == 2
    for name in ("_into", "_bias"):
        one, other = (getattr(committee, name) for committee in seen)
        assert not np.isclose(one, other).all(), name


def test_what_is_held_is_given_and_teaches_nothing() -> None:
    times, rng = np.arange(9) * 0.25, np.random.default_rng(0)
    data = rolled(LotkaVolterra(), initial_states(LotkaVolterra(), 0, 4), times)
    committee = Committee(data, None, rng)
    x, rates, often = rng.standard_normal((40, 6)), rng.standard_normal((40, 2)), rng.integers(0, 3, 40)
    free = rng.random((40, 2)) < 0.7
    found = committee._fit(x, rates, often, free)
    for k in range(2):
        some = free[:, k]
        weighted = x[some] * often[some, None]
        ridge = active.RIDGE * often.sum() * np.eye(6)
        expected = np.linalg.solve(weighted.T @ x[some] + ridge, weighted.T @ rates[some, k])
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-10)
    y0, still = data.y[:, 0], np.ones((4, 2), bool)
    assert (committee.disagreement(y0, still, np.diff(times)) == 0).all()
    still[:, 0] = False
    assert (committee.disagreement(y0, still, np.diff(times)) > 0).all()


def test_a_rollout_that_is_not_finite_is_what_is_known_least() -> None:
    times = np.arange(9) * 0.25
    known = rolled(Pendulum(), initial_states(Pendulum(), 0, 4), times)
    committee = Committee(known, None, np.random.default_rng(0))
    committee._weights *= 1e300
    assert (committee.disagreement(known.y[:, 0], None, np.diff(times)) == np.inf).all()


def test_the_flop_of_a_rollout_are_those_that_are_counted() -> None:
    times = np.arange(9) * 0.25
    known = rolled(Pendulum(), initial_states(Pendulum(), 0, 4), times)
    committee = Committee(known, None, np.random.default_rng(0))
    before = committee.flop
    committee.disagreement(known.y[:, 0], None, np.diff(times))
    z, into, bias = (torch.as_tensor(a) for a in (known.y[:, 0], committee._into[0], committee._bias[0]))
    with FlopCounter() as counter:
        features = torch.cat([torch.ones(4, 1, dtype=torch.float64), z, torch.tanh(z @ into + bias)], dim=1)
        _ = features @ torch.as_tensor(committee._weights[0])
    assert features.shape[1] == 1 + 2 + FEATURES
    assert committee.flop - before == MEMBERS * 8 * counter.cost.flop


def test_the_flop_of_a_fit_are_those_that_are_counted() -> None:
    """The products and the solution of its equations; what is held in some windows is solved for once more."""
    times = np.arange(9) * 0.25
    known = rolled(Pendulum(), initial_states(Pendulum(), 0, 4), times)
    for held in (None, np.array([[True, False], *[[False, False]] * 3])):
        committee = Committee(known, held, np.random.default_rng(0))
        z = torch.as_tensor(committee._standard(known.y[:, :-1].reshape(-1, 2)))
        into, bias = (torch.as_tensor(a[0]) for a in (committee._into, committee._bias))
        with FlopCounter() as counter:
            x = torch.cat([torch.ones(32, 1, dtype=torch.float64), z, torch.tanh(z @ into + bias)], dim=1)
        features, (n, f) = counter.cost.flop, x.shape
        weighted, gram = x.clone(), torch.eye(f, dtype=torch.float64)
        with FlopCounter() as counter:
            _, target = weighted.T @ x, weighted.T @ z
            torch.linalg.solve(gram, target)
            if held is not None:
                _ = weighted[:8].T @ x[:8]  # the windows of the one trajectory
                torch.linalg.solve(gram, target[:, 0])
        assert (n, f) == (32, 1 + 2 + FEATURES) and counter.cost.flop > features > 0
        assert committee.flop == MEMBERS * (features + counter.cost.flop)


# -- Runs ----------------------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """In a process of its own a task is drawn again: the same picks, and the same bits."""
    jobs = [job_of(task=task_of(tmp_path / str(k), noise=0.05)) for k in range(3)]
    expected = go(jobs[0], tmp_path / "whole")
    stopped(jobs[1], tmp_path / "parts", 3)
    found = go(jobs[2], tmp_path / "parts")
    assert_same(found, tmp_path / "parts", expected, tmp_path / "whole")
    assert found[0].facts["picking_flop"] == expected[0].facts["picking_flop"] > 0
