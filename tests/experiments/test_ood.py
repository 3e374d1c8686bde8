"""Test sets out of distribution: what they are, who can do them, and what is recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import ood
from experiments.evaluate import PRIMARY, Evaluation
from experiments.ood import Shifted
from experiments.ood_sets import why_none
from experiments.protocol import OOD_SETS, Protocol
from experiments.task import Task, simulated
from learners.backends.base import Recipe
from learners.discovery import models
from learners.learner import Learner
from physics_models.base import System
from physics_models.flocking import Flocking
from physics_models.interventions import Clamp, Kick
from physics_models.kuramoto import Kuramoto
from physics_models.lorenz63 import Lorenz63
from physics_models.pendulum import Pendulum
from physics_models.robertson import Robertson

SMALL = Protocol(n_train=4, n_val=2, n_test=3, horizon=2.0, spacing=0.25, ood=("all",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all: each set is integrated once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quick(by_numpy: None) -> None:
    """No test here needs a solver to be compiled."""


def task_of(folder: Path, system: System | None = None, **changes: Any) -> Task:
    return simulated("some", system or Pendulum(), replace(SMALL, **changes), folder)


def learner_of(task: Task, name: str, **options: Any) -> Learner:
    info, recipe = task.info, Recipe(batch=4)
    model = models.load(name)(**options)
    # As few times as validation needs: what asks for more is seen to.
    return Learner(model, info, recipe, task.points(1), [0, 1], "torch", "float64", predict_times=13)


def results_of(task: Task, name: str, inside: float = 0.5, **options: Any) -> tuple[Any, dict[str, Any]]:
    learner = learner_of(task, name, **options)
    if learner.model.learning == "least_squares":
        learner.engine.least_squares(learner.points.starts)
    results = Evaluation([{PRIMARY: inside} for _ in learner.seeds], {}, 0.0, np.zeros(0), np.zeros(0))
    found = ood.sets(task)
    ood.evaluate(learner, task, found, results)
    return results, found


FLOCK = Flocking(n_agents=3)


def test_of_a_system_without_agents_some_sets_do_not_exist(folder: Path) -> None:
    found: dict[str, Any] = ood.sets(task_of(folder))
    assert list(found) == list(OOD_SETS)
    none = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    assert set(none) == {"more_agents", "added_agent", "removed_agent", "cut_edge", "predator"}
    assert all("agents" in reason or "pairs" in reason for reason in none.values())
    assert not ood.asked(task_of(folder, ood=())) and ood.asked(task_of(folder))


def test_why_there_is_none_is_known_with_nothing_simulated_and_told(folder: Path) -> None:
    for system, changes in ((Pendulum(), {}), (Pendulum(), {"hidden": ("velocity",)}), (FLOCK, {})):
        task, said = task_of(folder, system, **changes), []
        found = ood.sets(task, said.append)
        reasons = {name: why_none(system, replace(SMALL, **changes), name) for name in OOD_SETS}
        assert {name: reason for name, reason in reasons.items() if reason} == {
            name: reason for name, reason in found.items() if isinstance(reason, str)
        }
        assert sum(text.startswith("simulating the test set") for text in said) == list(reasons.values()).count(None)
        if any(reasons.values()):
            assert "no test set more_agents, added_agent, removed_agent, cut_edge: Pendulum has no agents" in said
        again: list[str] = []
        ood.sets(task, again.append)
        assert again == [], "the sets are there"


def test_each_set_differs_from_training_as_it_says(folder: Path) -> None:
    task = task_of(folder, FLOCK)
    found: dict[str, Any] = ood.sets(task)
    shapes = {name: s.rollouts.y.shape[2:] for name, s in found.items() if isinstance(s, Shifted)}
    assert set(shapes) == set(OOD_SETS)
    sizes = {"more_agents": 12, "added_agent": 4, "removed_agent": 2}
    assert {name: shape[0] for name, shape in shapes.items()} == {name: sizes.get(name, 3) for name in OOD_SETS}
    clamped, longer = found["clamped"], found["longer_horizon"]
    assert (clamped.rollouts.y[:, :, 0] == clamped.rollouts.y[:, :1, 0]).all() and not clamped.counts[0].any()
    assert found["cut_edge"].counts[1].all() and not found["cut_edge"].counts[[0, 2]].any()
    lengths = longer.rollouts.times[:, -1] - longer.rollouts.times[:, 0]
    np.testing.assert_allclose(np.nanmax(lengths), 4 * task.horizon)
    for name in ("kick", "predator"):  # their time is that of the rollouts
        assert (found[name].rollouts.times[:, 0] == 0).all()
    starts = [found[name].rollouts.y[:, 0] for name in ("new_starts", "changed_parameter", "kick")]
    assert not np.isin(starts[0], starts[1]).any() and not np.isin(starts[1], starts[2]).any()


def test_constants_of_the_motion_stay_or_the_set_says_so(folder: Path) -> None:
    task = task_of(folder, Kuramoto(n_agents=3), ood=("new_starts", "kick"))
    found: dict[str, Any] = ood.sets(task)
    assert found["kick"].intervention.variable == "phase"
    for shifted in found.values():
        true = shifted.rollouts
        assert (true.y[..., 1] == true.y[:, :1, :, 1]).all() and "training" not in shifted.says
    # An even law of width 1 in 9 draws is no wider than 1.5 times by chance but by 1 in 10 000.
    assert 0.3 < found["new_starts"].rollouts.y[..., 1].std() < 1.5
    shares: dict[str, Any] = ood.sets(task_of(folder, Robertson(), ood=("new_starts", "kick", "changed_parameter")))
    assert shares["kick"].intervention.variable == "product"
    for name in ("new_starts", "kick"):
        assert shares[name].says.endswith("mass, always 1 in training, is not so here")
    assert "mass" not in shares["changed_parameter"].says


def test_all_that_is_compiled_is_compiled_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing for sets whose equations and sizes are those of training."""
    task = task_of(folder, ood=("new_starts", "changed_parameter", "clamped"))
    learner, found, made = learner_of(task, "simulator"), ood.sets(task), []
    elsewhere = Learner.elsewhere
    monkeypatch.setattr(Learner, "elsewhere", lambda *a: made.append(elsewhere(*a)) or made[-1])
    compiled = ood.programs(learner, task, found)
    assert len(made) == 2
    results = Evaluation([{PRIMARY: 0.5} for _ in learner.seeds], {}, 0.0, np.zeros(0), np.zeros(0))
    ood.evaluate(learner, task, found, results, compiled)
    assert len(made) == 2 and all(results.metrics[0][f"ood/{name}/{PRIMARY}"] is not None for name in found)


def test_the_sets_do_not_depend_on_which_others_are_asked_for(folder: Path) -> None:
    alone: dict[str, Any] = ood.sets(task_of(folder, ood=("kick",)))
    among: dict[str, Any] = ood.sets(task_of(folder))
    np.testing.assert_array_equal(alone["kick"].rollouts.y, among["kick"].rollouts.y)


def test_persistence_has_the_error_that_it_must_have(folder: Path) -> None:
    """Nothing changes: errors are those of the truth against its own start."""
    task = task_of(folder, FLOCK)
    results, found = results_of(task, "persistence")
    begun = task.test.y[:, : task.segments["test"].times.shape[1]]
    at_first = np.sqrt(np.mean((((begun - begun[:, :1]) / task.scales.std)[:, 1:]) ** 2))
    for name, shifted in found.items():
        assert isinstance(shifted, Shifted)
        true = shifted.rollouts
        after = true.mask.copy()
        after[:, 0] = False
        error = ((true.y[:, :1] - true.y) / task.scales.std)[after][:, shifted.counts]
        for row in results.metrics:
            value = row[f"ood/{name}/{PRIMARY}"]
            if name != "kick":  # there the experimenter pushes, whatever a model says
                assert value == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9), name
            # What happens at a given time happens to rollouts from the start, and is compared with those.
            usual = at_first if name in ("kick", "predator") else 0.5
            assert row[f"ood/{name}/error_ratio"] == pytest.approx(value / usual, rel=1e-9)
            assert row[f"ood/{name}/one_step_nrmse"] > 0
    assert all("(detail)" in unit for unit in results.units.values()) and set(results.facts["ood"]) == set(OOD_SETS)


def test_a_kick_moves_every_models_prediction(folder: Path) -> None:
    task = task_of(folder, ood=("kick",))
    [kicked] = ood.sets(task).values()
    assert isinstance(kicked, Shifted) and isinstance(kicked.intervention, Kick)
    states = ood._predictor(learner_of(task, "persistence"), task, kicked)(kicked.rollouts)
    moved = states[:, :, -1] - kicked.rollouts.y[:, 0]
    np.testing.assert_allclose(moved, np.broadcast_to([0.0, kicked.intervention.size], moved.shape), atol=1e-12)


def test_equations_are_told_what_changed(folder: Path) -> None:
    """The true simulator, told of every change, is right about all: its error is its solver's."""
    for system in (Pendulum(), FLOCK):
        results, found = results_of(task_of(folder, system), "simulator", steps=8)
        for name, shifted in found.items():
            if isinstance(shifted, Shifted):
                # The same order and steps as the fixture's. The test below has what being untold costs: above 1e-2.
                assert results.metrics[0][f"ood/{name}/{PRIMARY}"] < 1e-3, name


def test_untold_they_would_be_wrong(folder: Path) -> None:
    """What the test above would miss if the sets were nothing new."""
    task = task_of(folder, ood=("changed_parameter", "clamped", "kick"))
    learner = learner_of(task, "simulator", steps=8)
    for name, shifted in ood.sets(task).items():
        assert isinstance(shifted, Shifted)
        true = shifted.rollouts
        states = learner.predict(true.y[:, 0], true.times)[0]
        assert ood._errors(states, true, shifted.counts, task.scales.std)[0] > 1e-2, name


def test_who_cannot_do_a_set_says_why(folder: Path) -> None:
    results, _ = results_of(task_of(folder, FLOCK), "linear")
    for name in ("more_agents", "added_agent", "removed_agent"):
        assert results.metrics[0][f"ood/{name}/{PRIMARY}"] is None
        assert "another size" in results.facts["ood_skipped"][name]
    for name in set(OOD_SETS) - {"more_agents", "added_agent", "removed_agent"}:
        assert results.metrics[0][f"ood/{name}/{PRIMARY}"] > 0


def test_a_held_variable_is_held_whatever_a_model_says(folder: Path) -> None:
    task = task_of(folder, Lorenz63(), horizon=1.5, spacing=0.1, ood=("clamped:z",))
    [shifted] = ood.sets(task).values()
    assert isinstance(shifted, Shifted) and shifted.intervention == Clamp("z")
    learner = learner_of(task, "linear")
    learner.engine.least_squares(learner.points.starts)
    predicted = ood._predictor(learner, task, shifted)(shifted.rollouts)
    start = shifted.rollouts.y[:, :1]
    assert (predicted[..., 2] == start[None, ..., 2]).all() and (predicted[:, :, 1:, 0] != start[None, ..., 0]).any()
    free = learner.predict(shifted.rollouts.y[:, 0], shifted.rollouts.times)[0]
    np.testing.assert_array_equal(free[:, :, 1, :2], predicted[:, :, 1, :2])  # one interval on, the same model
    assert (free[:, :, 2, :2] != predicted[:, :, 2, :2]).any()  # from then on it sees what is held


def test_with_hidden_variables_nobody_acts_on_the_state(folder: Path) -> None:
    task = task_of(folder, hidden=("velocity",))
    results, found = results_of(task, "persistence")
    assert found["new_starts"].rollouts.y.shape[2:] == (1,)
    assert found["clamped"] == "what is observed is held"
    assert results.metrics[0][f"ood/kick/{PRIMARY}"] is None and "observed" in results.facts["ood_skipped"]["kick"]
    assert results.metrics[0][f"ood/changed_parameter/{PRIMARY}"] > 0


def test_a_truth_that_cannot_be_had_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from physics_models.solution import SimulationError

    task = task_of(folder, ood=("new_starts",), data_seed=3)

    def fail(*_: Any, **__: Any) -> None:
        raise SimulationError("trajectory 0 stops at t = 2")

    monkeypatch.setattr("physics_models.cache.simulate", fail)
    results, found = results_of(task, "persistence")
    assert found["new_starts"] == "trajectory 0 stops at t = 2"
    assert f"ood/new_starts/{PRIMARY}" not in results.metrics[0]
    assert "t = 2" in results.facts["ood_skipped"]["new_starts"]
    assert "no set" in ood.told(found, results)


def test_chance_along_the_way_is_in_these_sets_too(folder: Path) -> None:
    """From the same starts as without it, of the size that is asked for."""
    names = ("new_starts", "kick")  # what is cut out of longer ones, and what is from the start alone
    exact, noisy = (ood.sets(task_of(folder, ood=names, process_noise=size)) for size in (0.0, 0.1))
    for name in names:
        plain, moved = exact[name], noisy[name]
        assert isinstance(plain, Shifted) and isinstance(moved, Shifted)
        first = plain.rollouts.times[:, 0] == 0
        off = (moved.rollouts.y - plain.rollouts.y)[first]
        assert (off[:, 0] == 0).all(), name
        # That of the fixture over one spacing, which turns it by 0.25; 6 draws know it to 1 / sqrt(12) = 29%.
        assert np.sqrt(np.mean(off[:, 1] ** 2)) == pytest.approx(0.1 * np.sqrt(0.25), rel=3 * 0.29), name
