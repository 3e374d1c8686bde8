"""The records of a study as columns: each number of a record in its place, wherever the record lies."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.config import load
from experiments.record import Costs, Point, Record
from experiments.store import Store
from experiments.store.reading import parts, points_of
from experiments.study.labels import command
from experiments.study.spec import Study, parse
from reports.study import AXES, StudyData

STUDY = """
question: Does it work?
structured: [hybrid_ode]
black_box: [mlp]
references: [linear]
settings: {budget.flop: 1.0e+10, dtype: float64}
grid:
  task: [lorenz63, pendulum]
  model: [mlp, hybrid_ode]
  model.width: [16, 64]
  task.noise: [0.0, 0.1]
  task.data_seed: [0, 1]
  seed: [0, 1]
tuning: {trials: 2, space: {training.learning_rate: {log_uniform: [1.0e-4, 1.0e-1]}}}
targets: [0.1]
"""
NUMBER = st.none() | st.floats(0, 1e12)
POINTS = st.lists(
    st.builds(
        Point, step=st.integers(0, 10**6), samples=st.integers(0, 10**9), flop=st.integers(0, 10**15),
        seconds=st.floats(0, 1e6), energy_j=NUMBER, train_loss=NUMBER, error=NUMBER,
        test=st.dictionaries(st.sampled_from(["one_step_nrmse", "it's \"odd\""]), NUMBER),
    ),
    max_size=4,
).map(tuple)  # fmt: skip
RUN = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["lorenz63", "pendulum", "../'x"]), "model": st.sampled_from(["mlp", "hybrid_ode"]),
        "width": st.sampled_from([16, 64]), "noise": st.sampled_from([0.0, 0.1]), "draw": st.integers(0, 3),
        "seed": st.integers(0, 2**32 - 1), "curve": POINTS, "joules": NUMBER, "flop": st.none() | st.integers(0, 2**50),
        "status": st.sampled_from(["finished", "diverged", "interrupted"]),
        "role": st.sampled_from(["run", "reference"]),
        "metrics": st.dictionaries(st.sampled_from(["one_step_nrmse", "it's \"odd\""]), NUMBER),
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return parse("quick", STUDY)


def record(number: int, study: str = "quick", **own: Any) -> Record:
    run = {"task": "pendulum", "model": "mlp", "width": 16, "noise": 0.1, "draw": 0, "seed": 0, "curve": ()} | own
    task = {"name": run["task"], "noise": run["noise"], "data_seed": run["draw"]}
    config = {
        "task": task | {"n_train": 4, "horizon": 1.0, "spacing": 0.1},
        "model": {"name": run["model"], "width": run["width"]}, "backend": "jax", "dtype": "float64", "device": "cpu",
        "seed": run["seed"], "training": {"learning_rate": 0.01, "window": 2}, "budget": {"flop": 1e10},
    }  # fmt: skip
    costs = Costs(
        train_flop=run.get("flop"), seconds={"train": 2.0}, energy_j={"train": run.get("joules")}, energy_method="m"
    )
    return Record(
        f"{number:020x}", run["task"], run["model"], "jax", "cpu", run["seed"], run.get("status", "finished"), config,
        curve=run["curve"], costs=costs, metrics=run.get("metrics", {}), role=run.get("role", "run"), parameters=7,
        studies={study: "h1"}, facts={"device_name": "a processor"}, started="2026", tuning=run.get("tuning", {}),
    )  # fmt: skip


def number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def same(column: Any, expected: list[float | None]) -> bool:
    return np.array_equal(np.asarray(column, float), np.array([number(v) for v in expected]), equal_nan=True)


def whole(data: StudyData) -> None:
    """What every table of columns must be."""
    for table in (data.runs, data.points):
        assert len({len(column) for column in table.values()}) == 1
    run = data.points["run"]
    assert run.dtype.kind == "i" and (np.diff(run) >= 0).all() and (run < len(data)).all()
    assert set(AXES) <= set(data.points)
    text = {"identity", "task", "condition", "model", "configuration", "status", "reason", "role", "backend", "device",
            "device_name", "energy_method", "started", "command"}  # fmt: skip
    assert all(column.dtype == (object if name in text else float) for name, column in data.runs.items())
    assert all(isinstance(value, str) for name in text for value in data.runs[name])
    assert {"seed", "draw", "parameters", "data", "train_flop", "tune_flop", "tune_trials", "shared_by"} <= set(
        data.runs
    )


@settings(max_examples=15, deadline=None)
@given(found=st.lists(RUN, max_size=5), compacted=st.integers(0, 5), lost=st.booleans())
def test_every_number_of_every_record_is_in_its_column(
    tmp_path_factory: pytest.TempPathFactory, study: Study, found: list[dict[str, Any]], compacted: int, lost: bool
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    records = [record(i, **run) for i, run in enumerate(found)]
    for made in [*records[:compacted], record(100, study="another")]:
        store.save(made)
    store.compact()
    for made in records[compacted:]:
        store.save(made)
    if lost:  # the curves are also in the text of the records
        for part in parts(store._files):
            (store.root / points_of(part)).unlink()
    data = Store(store.root).study_data(study)
    whole(data)
    assert len(data) == len(records) == data.planned and data.hashes == (("h1",) if records else ())
    index = {identity: i for i, identity in enumerate(data.runs["identity"])}
    for made, run in zip(records, found, strict=True):
        i = index[made.identity]
        at = {name: column[i] for name, column in data.runs.items()}
        assert (at["task"], at["model"], at["status"], at["role"]) == (made.task, made.model, made.status, made.role)
        assert (at["seed"], at["draw"], at["parameters"], at["shared_by"]) == (made.seed, run["draw"], 7, 1)
        assert at["condition"] == f"noise={run['noise']:g}" and at["configuration"] == f"width={run['width']}"
        assert same([at["train_flop"], at["train_energy_j"]], [run["flop"], run["joules"]])
        assert at["data"] == 4 * (11 - 2)  # windows of 2 intervals in 4 trajectories of 11 points
        for name, value in made.metrics.items():
            assert same([at[f"metrics.{name}"]], [value])
        rows = np.flatnonzero(data.points["run"] == i)
        for name in ("step", "samples", "flop", "seconds", "energy_j", "error"):
            assert same(data.points[name][rows], [getattr(point, name) for point in made.curve])
        for name in {name for point in made.curve for name in point.test}:
            assert same(data.points[f"test.{name}"][rows], [point.test.get(name) for point in made.curve])


def test_only_runs_of_the_study_by_its_name_and_all_hashes(tmp_path: Path, study: Study) -> None:
    store = Store(tmp_path)
    store.save(record(1))
    store.save(replace(record(2), studies={"quick": "h2", "other": "h3"}))
    store.save(replace(record(3), studies={"quick'--": "h4"}))
    for _ in range(2):
        data = store.study_data(study, planned=9)
        assert sorted(data.runs["identity"]) == [record(1).identity, record(2).identity]
        assert (data.hashes, data.hash, data.planned) == (("h1", "h2"), study.hash, 9)
        assert (data.structured, data.black_box, data.references) == (("hybrid_ode",), ("mlp",), ("linear",))
        store.compact()


TRIAL_COSTS = (100, 400)


@pytest.mark.parametrize("compact", [False, True])
def test_tuning_is_charged_up_to_the_cost_of_each_point(tmp_path: Path, study: Study, compact: bool) -> None:
    store = Store(tmp_path)
    curve = tuple(Point(k, k, flop, float(flop), None, None, 0.1) for k, flop in enumerate((50, 200, 1000)))
    for i, flop in enumerate(TRIAL_COSTS):
        store.save(record(i, role="trial", flop=flop, joules=1.0, curve=curve))
    trials = [record(i).identity for i in range(2)]
    store.save(record(2, curve=curve, flop=1000, tuning={"group": "g", "trials": trials}))
    store.save(
        record(3, curve=curve, flop=1000, tuning={"group": "g", "trials": [*trials, "of which nothing is known"]})
    )
    store.save(record(4, curve=curve, flop=1000))
    if compact:
        store.compact()
    data = store.study_data(study)
    whole(data)
    index = {identity: i for i, identity in enumerate(data.runs["identity"])}
    assert set(index) == {record(i).identity for i in (2, 3, 4)}  # trials are no runs

    def of(i: int, name: str) -> Any:
        where = index[record(i).identity]
        return data.runs[name][where] if name in data.runs else data.points[name][data.points["run"] == where]

    assert same(of(2, "tuned_flop"), [50 + 50 + 50, 200 + 100 + 200, 1000 + 100 + 400])
    assert (of(2, "tune_flop"), of(2, "tune_energy_j"), of(2, "tune_trials")) == (500, 2.0, 2)
    assert same(of(2, "tuned_seconds"), [50 + 2 + 2, 200 + 2 + 2, 1000 + 2 + 2])
    # A trial of which nothing is known: a lower bound is charged, and it is said of how many trials.
    assert same(of(3, "tuned_flop"), of(2, "tuned_flop")) and of(3, "tune_trials") == 3
    assert (of(2, "tune_flop_unknown"), of(3, "tune_flop_unknown")) == (0, 1)
    assert data.tuning == {"trials": 3, "flop": 500, "energy_j": 2.0, "seconds": 4.0}  # each once
    assert same(of(4, "tuned_flop"), [50, 200, 1000]) and of(4, "tune_flop") == of(4, "tune_trials") == 0
    assert same(of(2, "flop"), [50, 200, 1000])  # a figure of its own


def test_the_command_composes_to_the_run_again(tmp_path: Path, study: Study) -> None:
    store = Store(tmp_path)
    store.save(record(1, model="hybrid_ode", width=64, draw=1, seed=3))
    (line,) = store.study_data(study).runs["command"]
    words = shlex.split(line)
    assert words[:5] == ["python", "-m", "experiments", "run", "pendulum"]
    made = load(words[4], words[5:])
    assert (made.model_name, made.seeds, made.task_name) == ("hybrid_ode", (3,), "pendulum")
    tree = made.tree
    assert (tree["model"]["width"], tree["task"]["noise"], tree["task"]["data_seed"]) == (64, 0.1, 1)
    assert (tree["dtype"], tree["budget"]["flop"], tree["training"]["learning_rate"]) == ("float64", 1e10, 0.01)


def test_the_command_says_the_budget_that_the_grid_chose() -> None:
    study = parse("timed", "grid: {task: pendulum, model: [mlp], budget: [second], budget.second: [3, 5]}")
    config = {"task": {"name": "pendulum"}, "model": {"name": "mlp"}, "budget": {"second": 5}}
    words = shlex.split(command(config, study))
    timed = load("pendulum", ["budget=second"]).tree["budget"]
    assert load(words[4], words[5:]).tree["budget"] == timed | {"second": 5}


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_text_in_a_command_comes_back_from_shell_and_hydra(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    odd = parse("odd", "grid: {task: pendulum, model: mlp, model.width: [1, 2]}\nsettings: {model.activation: tanh}")
    config = {"task": {"name": "pendulum"}, "model": {"name": "mlp", "width": 1, "activation": text}}
    (word,) = [word for word in shlex.split(command(config, odd)) if word.startswith("model.activation=")]
    assert OverridesParser.create().parse_override(word).value() == text


def test_an_empty_store_has_an_empty_study(tmp_path: Path, study: Study) -> None:
    for act in (
        lambda store: None,
        lambda store: store.save(record(1, study="another")),
        lambda store: store.compact(),
    ):
        store = Store(tmp_path)
        act(store)
        data = store.study_data(study)
        whole(data)
        assert len(data) == len(data.points["run"]) == 0 and data.tasks() == []


def test_a_record_of_one_study_can_join_another(tmp_path: Path, study: Study) -> None:
    places: list[Callable[[Store], Any]] = [lambda store: None, lambda store: store.compact()]
    for i, act in enumerate(places):
        store = Store(tmp_path / str(i))
        store.save(record(1, study="another"))
        act(store)
        joined = store.join(record(1).identity, "quick", "h9")
        assert joined is not None and joined.studies == {"another": "h1", "quick": "h9"}
        assert len(store.study_data(study)) == 1 and store.counts("another") == store.counts("quick") == {"finished": 1}
        assert store.join("0" * 20, "quick", "h9") is None
