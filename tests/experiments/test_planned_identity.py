"""A run's identity is known before anything is simulated, and is the one that its record has."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from experiments.config import Settings, load
from experiments.errors import UserError
from experiments.identity import content_of, planned_identity
from experiments.job import Job, Lane
from experiments.main_job import load_task
from experiments.progress import Reporter
from hardware.devices import Device

CPU = Device("cpu", "some processor")
LANES = (Lane(0), Lane(3), Lane(3, 0.01), Lane(4, 1))
SMALL = ["task.n_train=2", "task.n_val=1", "task.n_test=1", "task.horizon=1"]


def job_of(settings: Settings) -> Job:
    """As a worker makes it, with its data."""
    tree = settings.tree
    task = load_task(settings, Reporter(quiet=True))
    return Job(task, settings.model, tree["model"], settings.budget, settings.recipe, CPU, tree)


@pytest.mark.parametrize("model", ["mlp", "hybrid_ode", "linear", "true_physics", "simulator"])
def test_planned_is_what_it_becomes(model: str) -> None:
    settings = load("pendulum", [f"model={model}", *SMALL])
    job = job_of(settings)
    planned = [planned_identity(settings, lane, CPU) for lane in LANES]
    assert planned == [job.identity(lane) for lane in LANES]
    runs = {"mlp": 4, "hybrid_ode": 4, "true_physics": 3}  # rates of a fit without one, seeds of a model without a draw
    assert len(set(planned)) == runs.get(model, 1)
    assert planned_identity(settings, LANES[0], Device("cpu", "another")) != planned[0]


@pytest.mark.parametrize("equations", ["null", "lotka_volterra"])
def test_with_the_users_data(equations: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("time,a,b\n" + "".join(f"{i / 10},{1 + i % 3},{2 + i % 5}\n" for i in range(40)))
    words = [f"task.path={path}", f"task.equations={equations}", "model=mlp"]
    settings = load("trajectories", words)
    planned = planned_identity(settings, LANES[0], CPU)
    assert planned == job_of(settings).identity(LANES[0])
    assert planned == planned_identity(settings, LANES[0], CPU, content_of(settings.tree["task"]))
    elsewhere = path.rename(tmp_path / "there.csv")
    moved = load("trajectories", [f"task.path={elsewhere}", *words[1:]])
    assert planned_identity(moved, LANES[0], CPU) == planned  # what is in it counts, and not where it lies
    elsewhere.write_text(elsewhere.read_text().replace("0.3,", "0.31,", 1))
    assert planned_identity(moved, LANES[0], CPU) != planned  # another content is seen in the same process
    os.unlink(elsewhere)
    with pytest.raises(UserError, match="must exist"):
        planned_identity(moved, LANES[0], CPU)


def test_a_file_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import experiments.read_trajectories as module

    read, calls = module.read, []

    def counted(*words: Any) -> Any:
        calls.append(words)
        return read(*words)

    monkeypatch.setattr(module, "read", counted)
    path = tmp_path / "once.csv"
    path.write_text("time,a\n" + "".join(f"{i},{i % 3}\n" for i in range(40)))
    settings = load("trajectories", [f"task.path={path}", "model=mlp"])
    assert len({planned_identity(settings, Lane(seed), CPU) for seed in range(5)}) == 5
    assert len(calls) == 1


def test_a_rate_counts_as_that_of_the_configuration() -> None:
    settings, rated = (
        load("pendulum", ["model=mlp", *words, *SMALL]) for words in ([], ["training.learning_rate=0.5"])
    )
    assert planned_identity(settings, Lane(1, 0.5), CPU) == planned_identity(rated, Lane(1), CPU)
    assert planned_identity(settings, Lane(1), CPU) == planned_identity(rated, Lane(1, 2e-3), CPU)
    assert dataclasses.asdict(settings.recipe)["learning_rate"] == 2e-3
