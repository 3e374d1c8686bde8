"""Who is told of an intervention, and what: models of equations, with each kind of prior and without."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import ood
from experiments.evaluate import PRIMARY, Evaluation
from experiments.ood import Shifted
from experiments.protocol import Protocol
from experiments.task import Task, simulated
from learners.backends.base import Recipe
from learners.learner import Learner
from learners.models.hybrid_ode import HybridOde
from physics_models.flocking import Flocking
from physics_models.pendulum import Pendulum
from physics_models.priors.base import Prior
from physics_models.priors.discovery import priors

PROTOCOL = Protocol(n_train=4, n_val=2, n_test=3, horizon=2.0, spacing=0.25)
EXACT = ["parameters", "missing_term", "wrong_term", "wrong_symmetry"]


@pytest.fixture(autouse=True)
def quick(by_numpy: None) -> None:
    """No test here needs a solver to be compiled."""


def task_of(cache: Path, system: Any, *sets: str) -> Task:
    return simulated("some", system, replace(PROTOCOL, ood=sets), cache)


def learner_of(task: Task, prior: Prior | None, **options: Any) -> Learner:
    system, info = task.system, task.info
    assert system is not None
    if prior is not None:
        info = replace(info, told=prior.tell(system), form=prior.told_form(system))
    model = HybridOde(**{"network": False, "steps": 8, "width": 4, "depth": 1, **options})
    return Learner(model, info, Recipe(batch=4), task.points(1), [0], "torch", "float64", predict_times=13)


def metrics_of(task: Task, learner: Learner) -> tuple[dict[str, float | None], dict[str, Any]]:
    results = Evaluation([{PRIMARY: 0.5}], {}, 0.0, np.zeros(0), np.zeros(0))
    ood.evaluate(learner, task, ood.sets(task), results)
    return results.metrics[0], results.facts.get("ood_skipped", {})


@pytest.mark.parametrize("kind", EXACT)
def test_an_exact_prior_is_right_about_every_intervention(kind: str, tmp_path: Path) -> None:
    """With delta = 0 a hard prior is the simulator, which is told of all that is done."""
    task = task_of(tmp_path, Flocking(n_agents=3), "all")
    row, skipped = metrics_of(task, learner_of(task, priors.load(kind)(delta=0.0)))
    assert not skipped
    for name in ood.sets(task):
        error = row[f"ood/{name}/{PRIMARY}"]
        assert error is not None and error < 1e-3, name


@pytest.mark.parametrize("kind", EXACT)
def test_a_wrong_prior_is_as_wrong_about_the_new_system(kind: str, tmp_path: Path) -> None:
    task = task_of(tmp_path, Flocking(n_agents=3), "all")
    row, skipped = metrics_of(task, learner_of(task, priors.load(kind)(delta=0.03)))
    assert not skipped
    assert all(math.isfinite(row[f"ood/{name}/{PRIMARY}"] or math.inf) for name in ood.sets(task))


CASES: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}), (None, {"known": "none"}), (None, {"known": "inertia"}), ("wrong_term", {}), ("unknown_form", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_kick_moves_every_hybrid_model(kind: str | None, options: dict[str, Any], tmp_path: Path) -> None:
    """By its size, whether the equations have it or the experimenter pushes."""
    task = task_of(tmp_path, Pendulum(damping=0.0), "kick")
    [kicked] = ood.sets(task).values()
    assert isinstance(kicked, Shifted)
    prior = None if kind is None else priors.load(kind)()
    learner = learner_of(task, prior, network=kind == "unknown_form" or not kind, **options)
    true = kicked.rollouts
    states = ood._predictor(learner, task, kicked)(true)[0]
    free = learner.predict(true.y[:, 0], true.times)[0][0]
    at = int(np.searchsorted(true.times[0], 0.4 * task.horizon)) + 1
    moved = (states - free)[:, at, 1]
    size = kicked.intervention.size  # type: ignore[union-attr]
    assert (np.abs(moved / size - 1) < 0.6).all() and (states[:, :1] == free[:, :1]).all()


def test_a_predator_is_known_to_whom_terms_are_told(tmp_path: Path) -> None:
    task = task_of(tmp_path, Flocking(n_agents=3), "predator")
    [shifted] = ood.sets(task).values()
    assert isinstance(shifted, Shifted) and "predator" in shifted.system.known_terms
    learner = learner_of(task, None)
    free = learner.predict(shifted.rollouts.y[:, 0], shifted.rollouts.times)[0]
    assert not np.allclose(ood._predictor(learner, task, shifted)(shifted.rollouts), free, atol=1e-3)


def test_a_form_stays_what_it_is_under_a_clamp(tmp_path: Path) -> None:
    """Canonical coordinates are those of the network, which nobody has told that a coordinate is held."""
    task = task_of(tmp_path, Pendulum(damping=0.0), "clamped:velocity")
    [shifted] = ood.sets(task).values()
    assert isinstance(shifted, Shifted)
    learner = learner_of(task, priors.load("unknown_form")(), network=True)
    for parameter in learner.engine._averages[0].parameters():  # type: ignore[attr-defined]
        parameter.data += 0.3
    states = ood._predictor(learner, task, shifted)(shifted.rollouts)
    assert not np.allclose(states[..., -1, 0], states[..., 0, 0])


def test_the_interventional_ratio_is_that_of_the_sets_where_somebody_acts(tmp_path: Path) -> None:
    task = task_of(tmp_path, Flocking(n_agents=3), "new_starts", "added_agent", "clamped", "cut_edge")
    row, _ = metrics_of(task, learner_of(task, None))
    each = [row[f"ood/{name}/error_ratio"] for name in ("clamped", "cut_edge")]
    assert row["interventional_ratio"] == pytest.approx(math.sqrt(math.prod(e or math.nan for e in each)))
    alone = task_of(tmp_path, Flocking(n_agents=3), "new_starts")
    assert "interventional_ratio" not in metrics_of(alone, learner_of(alone, None))[0]
