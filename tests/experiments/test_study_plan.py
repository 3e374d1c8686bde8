"""A plan: every run once and named before it runs, whatever the order of keys; trials before what they tune."""

from __future__ import annotations

import copy
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import config
from experiments.errors import UserError
from experiments.identity import planned_identity
from experiments.job import Lane
from experiments.record import DIVERGED, REFERENCE, RUN, SKIPPED, TRIAL, Point, Record
from experiments.store import Store
from experiments.study.plan import MAX_RUNS, make_plan
from experiments.study.plan_file import lane_of, load_units, save_plan
from experiments.study.spec import Study, parse
from experiments.study.tuned import resolve
from experiments.study.unit import Plan, Unit, shard
from hardware.devices import Device

CPU = Device("cpu", "some processor")
RATE = {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}}
SMALL: dict[str, Any] = {
    "structured": ["hybrid_ode"],
    "black_box": ["mlp"],
    "settings": {"budget.flop": 1e8, "task.n_val": 8},
    "grid": {"task": ["lorenz63", "pendulum"], "model": ["mlp", "hybrid_ode"], "model.width": [8, 16], "seed": [0, 1]},
}


def study(**changes: Any) -> Study:
    return parse("small", json.dumps({**SMALL, **changes}))


def planned(**changes: Any) -> Plan:
    return make_plan(study(**changes), CPU)


def grid(**changes: Any) -> dict[str, Any]:
    return {**SMALL["grid"], **{key.replace("__", "."): value for key, value in changes.items()}}


@pytest.fixture(scope="module")
def tuned() -> Plan:
    return planned(tuning={"trials": 3, "space": RATE}, references=[])


# -- What is planned -----------------------------------------------------------------------------------------------


def test_every_run_once_and_runs_of_one_shape_in_one_unit() -> None:
    plan = planned()
    by_role = {role: [unit for unit in plan.units if unit.role == role] for role in (RUN, REFERENCE, TRIAL)}
    assert len(by_role[RUN]) == 2 * 2 * 2 and all(len(unit.lanes) == 2 for unit in by_role[RUN])
    names = [name for unit in plan.units for name in unit.identities]
    assert len(names) == len(set(names)) == plan.runs
    assert len({unit.key for unit in plan.units}) == len(plan.units)
    # Two tasks, four references, of which only true_physics has draws of its own; not once a model size.
    assert Counter(unit.model for unit in by_role[REFERENCE]) == dict.fromkeys(
        ("persistence", "linear", "true_physics", "simulator"), 2
    )
    lanes = {unit.model: unit.lanes for unit in by_role[REFERENCE]}
    assert lanes["true_physics"] == (Lane(0), Lane(1)) and lanes["persistence"] == (Lane(0),)
    assert all(unit.tree["task"]["n_val"] == 8 for unit in plan.units)
    assert {unit.configuration for unit in by_role[RUN]} == {"width=8", "width=16"}


def test_identities_are_those_of_the_command_run() -> None:
    for unit in planned(references=["linear"]).units:
        words = [f"model={unit.model}", "budget.flop=1e8", "task.n_val=8", "seed=0,1"]
        words += [f"model.width={unit.tree['model']['width']}"] if unit.role == RUN else []
        asked = config.load(unit.task, words)
        for lane, name in zip(unit.lanes, unit.identities, strict=True):
            assert name == planned_identity(asked, lane, CPU)


@given(st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_the_order_of_keys_values_and_blocks_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    blocks = [
        grid(task=["lorenz63"]), grid(task=["pendulum"], model__width=[8]), grid(task=["pendulum"], model__width=[16]),
    ]  # fmt: skip
    rng.shuffle(blocks)
    for block in blocks:
        for values in block.values():
            rng.shuffle(values)
    mixed = [dict(rng.sample(list(block.items()), len(block))) for block in copy.deepcopy(blocks)]
    other = parse("small", json.dumps({**SMALL, "grid": mixed}))
    assert make_plan(other, CPU).units == planned().units


def test_blocks_that_overlap_are_merged() -> None:
    blocks = [grid(task=["lorenz63"]), grid(task=["lorenz63"], model__width=[16, 32], seed=[1, 2])]
    plan = planned(grid=blocks, references=[])
    found = {(u.model, u.tree["model"]["width"], lane.seed) for u in plan.units for lane in u.lanes}
    expected = [(8, 0), (8, 1), (16, 0), (16, 1), (16, 2), (32, 1), (32, 2)]
    assert found == {(model, width, seed) for model in ("mlp", "hybrid_ode") for width, seed in expected}
    assert plan.runs == len(found)


def test_learning_rates_are_lanes_and_units_have_at_most_max_lanes() -> None:
    rates = [1e-3, 3e-3, 1e-2]
    of = study(grid=grid(task=["pendulum"], model__width=[8], training__learning_rate=rates), references=[])
    plan = make_plan(of, CPU)
    assert {unit.lanes for unit in plan.units} == {tuple(Lane(seed, rate) for rate in rates for seed in (0, 1))}
    assert [len(unit.lanes) for unit in make_plan(of, CPU, max_lanes=4).units] == [3] * 4
    assert {n for u in make_plan(of, CPU, max_lanes=4).units for n in u.identities} == {
        name for unit in plan.units for name in unit.identities
    }
    (unit, _) = plan.units
    words = [f"model={unit.model}", "model.width=8", "budget.flop=1e8", "task.n_val=8", "training.learning_rate=0.003"]
    assert planned_identity(config.load("pendulum", words), Lane(0), CPU) == unit.identities[2]


def test_data_draws_and_sizes_are_units_of_their_own() -> None:
    plan = planned(grid=grid(task=["pendulum"], task__data_seed=[0, 1], task__n_train=[8, 16]))
    assert Counter(unit.role for unit in plan.units) == {RUN: 2 * 2 * 4, REFERENCE: 4 * 4}
    assert not any("data_seed" in unit.configuration for unit in plan.units)


def test_a_deterministic_model_has_one_run() -> None:
    plan = planned(
        grid={"task": ["pendulum"], "model": ["linear", "true_physics"], "seed": [3, 4]}, structured=[], black_box=[],
    )  # fmt: skip
    assert {unit.model: unit.lanes for unit in plan.units if unit.role == RUN} == {
        "linear": (Lane(0),), "true_physics": (Lane(3), Lane(4)),
    }  # fmt: skip
    assert {unit.model for unit in plan.units if unit.role == REFERENCE} == {"persistence", "simulator"}


def test_conditions_label_a_run_and_its_references() -> None:
    plan = planned(grid=grid(task=["pendulum"], task__noise=[0.0, 0.1]))
    assert {unit.condition for unit in plan.units} == {"noise=0", "noise=0.1"}
    assert Counter(unit.condition for unit in plan.units if unit.role == REFERENCE) == {"noise=0": 4, "noise=0.1": 4}


def test_real_data_are_named_by_their_content(tmp_path: Path) -> None:
    rows = ["time,a,b", *(f"{i},{i * i % 7},{i % 3}" for i in range(30))]
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    names = []
    for file in ("one", "two"):
        of = {"task": "trajectories", "task.path": str(tmp_path / f"{file}.csv"), "model": "mlp", "seed": [0]}
        names.append([u.identities for u in planned(grid=of, structured=[], references=["linear"], settings={}).units])
    assert names[0] == names[1]
    (tmp_path / "two.csv").write_text("\n".join([*rows, "30,1,1"]))
    of = {"task": "trajectories", "task.path": str(tmp_path / "two.csv"), "model": "mlp", "seed": [0]}
    assert names[0] != [u.identities for u in planned(grid=of, structured=[], references=["linear"], settings={}).units]


def test_notes_say_what_cannot_be_said() -> None:
    said = " ".join(planned(grid=grid(seed=[0])).notes)
    assert "one seed only" in said and "one data draw only" in said
    assert "one seed" not in " ".join(planned().notes)
    assert "nothing is compared" in planned(structured=[]).notes[0]


@pytest.mark.slow
def test_shipped_studies_can_be_planned() -> None:
    from experiments.study.spec import load_study, study_names

    for name in study_names():
        plan = make_plan(load_study(name), CPU)
        assert plan.runs and {unit.model for unit in plan.units} >= {*plan.study.compared, *plan.study.references}


# -- Large grids ---------------------------------------------------------------------------------------------------


def test_a_grid_of_millions_is_refused_at_once() -> None:
    huge = study(grid=grid(model__width=list(range(1, 5001)), seed=list(range(1000))))
    before = time.perf_counter()
    with pytest.raises(UserError, match=r"20,000,000 runs, more than 100,000.*--yes"):
        make_plan(huge, CPU)
    assert time.perf_counter() - before < 1  # it takes microseconds
    trials = study(grid=grid(model__width=list(range(1, 5001))), tuning={"trials": 10, "space": RATE})
    assert MAX_RUNS < 5000 * 4 * (2 + 10)
    with pytest.raises(UserError, match="240,000 runs"):
        make_plan(trials, CPU)


def test_ten_thousand_configurations_take_seconds() -> None:
    widths = list(range(1, 2501))
    before = time.process_time()
    plan = make_plan(study(grid=grid(model__width=widths, seed=[0]), references=[]), CPU)
    assert len(plan.units) == 10_000
    assert time.process_time() - before < 20  # 3 s on one core of a laptop; other work may share its caches


# -- Tuning --------------------------------------------------------------------------------------------------------


def test_every_configuration_has_the_same_trials(tuned: Plan) -> None:
    trials = [unit for unit in tuned.units if unit.role == TRIAL]
    runs = [unit for unit in tuned.units if unit.role == RUN]
    assert len(trials) == len(runs) == 8
    rates = {tuple(lane.learning_rate for lane in unit.lanes) for unit in trials}
    assert len(rates) == 1 and len(*rates) == 3 and {lane.seed for unit in trials for lane in unit.lanes} == {1000}
    keys = [unit.key for unit in tuned.units]
    for unit in runs:
        assert not unit.identities and len(unit.after) == 1
        (waits,) = (other for other in trials if other.key == unit.after[0])
        assert set(unit.tuning["trials"]) == set(waits.identities) and keys.index(waits.key) < keys.index(unit.key)
        assert waits.tree == unit.tree and waits.group == unit.group
        assert unit.tuning["space"] == RATE
        for name, values in zip(unit.tuning["trials"], unit.tuning["values"], strict=True):
            lane = waits.lanes[waits.identities.index(name)]
            assert values == {"training.learning_rate": lane.learning_rate}


def test_sizes_can_be_tuned_too() -> None:
    space = {**RATE, "model.width": {"choice": [8, 16]}}
    of = {key: value for key, value in grid(task=["pendulum"]).items() if key != "model.width"}
    plan = planned(grid=of, tuning={"trials": 6, "space": space}, references=[])
    widths = {u.tree["model"]["width"] for u in plan.units if u.role == TRIAL}
    assert widths == {8, 16} and sum(len(u.lanes) for u in plan.units if u.role == TRIAL) == 2 * 6
    assert all(len(u.after) == 2 for u in plan.units if u.role == RUN)


def test_what_has_no_learning_rate_is_not_tuned() -> None:
    of = {"task": ["pendulum"], "model": ["linear", "mlp"], "seed": [0, 1]}
    plan = planned(
        grid=of, structured=["linear"], black_box=["mlp"], references=[], tuning={"trials": 2, "space": RATE}
    )
    assert Counter((unit.model, unit.role) for unit in plan.units) == {
        ("linear", RUN): 1, ("mlp", TRIAL): 1, ("mlp", RUN): 1,
    }  # fmt: skip


def record(name: str, status: str, errors: Sequence[float | None]) -> Record:
    points = tuple(Point(i, i, i, 0.0, None, None, error) for i, error in enumerate(errors))
    return Record(name, "pendulum", "mlp", "jax", "cpu", 1000, status, {}, curve=points, role=TRIAL)


def test_a_tuned_run_takes_the_values_of_its_best_trial(tuned: Plan, tmp_path: Path) -> None:
    unit = next(unit for unit in tuned.units if unit.role == RUN)
    store = Store(tmp_path)
    best = unit.tuning["trials"][1]
    for name, status, errors in (
        (unit.tuning["trials"][0], "finished", [1.0, 0.3]),
        (best, "finished", [None, 0.2, 0.9]),  # the best on its curve counts, not the last
        (unit.tuning["trials"][2], DIVERGED, [0.1]),  # a run that diverges is no choice
    ):
        store.save(record(name, status, errors))
    found = resolve(unit, store)
    rate = unit.tuning["values"][1]["training.learning_rate"]
    assert found.tree["training"]["learning_rate"] == rate and found.key == unit.key and not found.reason
    assert found.tuning == {
        "group": unit.group, "trials": unit.tuning["trials"], "space": RATE,
        "chosen": {"training.learning_rate": rate},
    }  # fmt: skip
    trial = next(other for other in tuned.units if other.key == unit.after[0])
    checked = config.settings(trial.tree)
    assert found.identities == tuple(planned_identity(checked, Lane(lane.seed, rate), CPU) for lane in unit.lanes)
    assert unit.tree["training"]["learning_rate"] != rate  # the planned unit is as it was
    assert resolve(found, store) == found and resolve(trial, store) is trial


def test_a_tuned_run_is_the_run_that_one_by_hand_with_its_values_would_be(tmp_path: Path) -> None:
    of = {"task": ["pendulum"], "model": ["mlp"], "seed": [0]}
    space = {"training.learning_rate": {"choice": [1]}}  # a whole number, where the configuration has 1.0
    plan = planned(grid=of, structured=[], black_box=["mlp"], references=[], tuning={"trials": 1, "space": space})
    unit, store = next(unit for unit in plan.units if unit.role == RUN), Store(tmp_path)
    store.save(record(unit.tuning["trials"][0], "finished", [0.1]))
    (by_hand,) = planned(grid={**of, "training.learning_rate": [1.0]}, structured=[], references=[]).units
    assert resolve(unit, store).identities == by_hand.identities


def test_a_unit_all_of_whose_trials_failed_says_so(tuned: Plan, tmp_path: Path) -> None:
    unit = next(unit for unit in tuned.units if unit.role == RUN)
    store = Store(tmp_path)
    store.save(record(unit.tuning["trials"][0], DIVERGED, [0.1]))
    store.save(record(unit.tuning["trials"][1], "out_of_memory", []))
    found = resolve(unit, store)
    assert not found.identities and "1 diverged, 1 out_of_memory, 1 without a record" in found.reason


def test_a_model_that_is_skipped_is_skipped_after_its_trials_too(tuned: Plan, tmp_path: Path) -> None:
    unit = next(unit for unit in tuned.units if unit.role == RUN)
    store = Store(tmp_path)
    for name in unit.tuning["trials"]:
        store.save(record(name, SKIPPED, []))
    found = resolve(unit, store)
    assert found.identities and not found.reason and found.tuning["chosen"] == {}


# -- Shards, and the plan on disk ----------------------------------------------------------------------------------


@given(st.integers(1, 9))
@settings(max_examples=9, deadline=None)
def test_shards_are_a_partition_that_parts_no_run_from_its_trials(count: int) -> None:
    plan = make_plan(TUNED, CPU)
    parts = [shard(plan, i, count) for i in range(1, count + 1)]
    assert sorted(unit.key for part in parts for unit in part.units) == sorted(unit.key for unit in plan.units)
    for part in parts:
        keys = {unit.key for unit in part.units}
        assert all(key in keys for unit in part.units for key in unit.after)


TUNED = study(tuning={"trials": 2, "space": RATE})


@pytest.mark.parametrize(("i", "n"), [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_a_shard_that_is_none(tuned: Plan, i: int, n: int) -> None:
    with pytest.raises(UserError, match="--shard"):
        shard(tuned, i, n)


def test_a_plan_comes_back_from_the_store(tuned: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert load_units(tuned.study, store) is None
    save_plan(tuned, store)
    assert load_units(tuned.study, store) == list(tuned.units)
    assert store.read_file(f"{tuned.study.folder}/study.yaml").decode() == tuned.study.text
    for unit in tuned.units:
        assert [lane_of(unit, i) for i in range(len(unit.lanes))] == (
            list(unit.identities) or [f"{unit.group}:{lane.seed}" for lane in unit.lanes]
        )


# -- Mistakes ------------------------------------------------------------------------------------------------------

BLOCKS = [grid(model=["mlp"], budget__flop=[1e8]), grid(model=["hybrid_ode"], budget__flop=[1e9])]
WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"grid": grid(model__widht=[8])}, ["no key model.widht", "did you mean model.width?"]),
    ({"grid": grid(model__width=["abc"])}, ["model.width must be a whole number", "abc"]),
    ({"grid": grid(model__width=[8, "8"])}, ["model.width", "are the same"]),
    ({"grid": grid(model__width=[0])}, ["model.width"]),
    ({"grid": grid(model=["mlp", "hybrid_ode", "linear"])}, ["model=linear", "no key model.width", "block"]),
    ({"grid": grid(model__solver=["rk4"])}, ["model=mlp", "no key model.solver", "block"]),
    ({"grid": grid(task__system=[3])}, ["task.system is several settings"]),
    ({"grid": grid(task__n_train=[-1])}, ["task.n_train", "above 0"]),
    ({"grid": grid(backend=["tensorflow"])}, ["backend must be one of"]),
    ({"grid": grid(device=["h100"])}, ["device=h100 is not here"]),
    ({"grid": grid(training=["defalt"])}, ["training", "did you mean default?"]),
    ({"settings": {"budget": "flopp"}}, ["budget", "did you mean flop?"]),
    ({"settings": {"budget.flop": -1}}, ["budget.flop must be above 0"]),
    ({"settings": {"budget.flop": 0}}, ["budget.flop must be above 0"]),
    ({"settings": {"budget": "sample", "budget.flop": 1e9}}, ["one limit", "budget.flop=1e+09", "budget.sample"]),
    ({"settings": {"budget.second": 3}}, ["one limit", "budget.second=3", "budget: second"]),
    ({"settings": {"budget.flop": None}}, ["budget"]),
    ({"grid": BLOCKS, "settings": {}}, ["equal budgets", "mlp flop=1e+08", "hybrid_ode flop=1e+09"]),
    ({"grid": grid(task=["trajectories"]), "settings": {"budget.flop": 1e8}}, ["task.path must be given"]),
    ({"tuning": {"trials": 2, "space": {"model.depht": {"choice": [1]}}}}, ["did you mean model.depth?"]),
    ({"tuning": {"trials": 2, "space": {"training.batch": {"uniform": [1.5, 2.5]}}}}, ["training.batch", "whole"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"), WRONG, ids=lambda value: str(value)[:70] if isinstance(value, dict) else ""
)
def test_mistakes(changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        planned(**changes)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in says), text


def test_two_budgets_that_every_model_has_are_no_contradiction() -> None:
    plan = planned(grid=grid(budget__flop=[1e8, 1e9]), settings={}, references=["linear"])
    assert {unit.configuration for unit in plan.units if unit.role == RUN} == {
        f"flop={flop} width={width}" for flop in ("1e8", "1e9") for width in (8, 16)
    }
    assert sum(unit.role == REFERENCE for unit in plan.units) == 2  # a fit with an end of its own is the same run


def test_units_are_plain_data(tuned: Plan) -> None:
    for unit in tuned.units:
        assert json.loads(json.dumps(unit.tree)) == unit.tree and isinstance(unit, Unit)
        assert json.loads(json.dumps(unit.tuning)) == unit.tuning
