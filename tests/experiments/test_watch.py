"""`watch` tells what the store knows: counts, errors so far, what runs and what failed, and when it is over."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.record import Record
from experiments.store import Store
from experiments.study.folder import StudyFolder
from experiments.study.plan import make_plan
from experiments.study.plan_file import save_plan
from experiments.study.spec import parse
from experiments.study.unit import Plan
from experiments.study.unit_state import UnitState
from experiments.study.watch import look, picture, summary, watch
from hardware.devices import Device

STUDY = """
structured: [hybrid_ode]
black_box: [mlp]
references: [persistence]
settings: {budget.flop: 1.0e+8}
grid: {task: [pendulum], model: [mlp, hybrid_ode], seed: [0, 1]}
"""


@pytest.fixture
def plan() -> Plan:
    return make_plan(parse("small", STUDY), Device("cpu", "a processor"))


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    store = Store(tmp_path)
    save_plan(plan, store)
    return store


def finish(plan: Plan, store: Store, model: str, error: float | None, status: str = "finished") -> None:
    for unit in (u for u in plan.units if u.model == model):
        for lane, identity in zip(unit.lanes, unit.identities, strict=True):
            metrics = {"one_step_nrmse": error and error * (1 + lane.seed)}
            record = Record(
                identity, unit.task, model, "jax", "cpu", lane.seed, status, unit.tree, metrics=metrics, role=unit.role,
                studies={"small": plan.study.hash},
            )  # fmt: skip
            store.save(record)


def shown(found: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(found)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_errors_so_far_are_medians_of_finished_runs(plan: Plan, store: Store) -> None:
    finish(plan, store, "mlp", 0.1)
    finish(plan, store, "hybrid_ode", 7.0, "diverged")
    found, errors = look(plan.study, store)
    assert errors == {("pendulum", "mlp"): pytest.approx(0.15)}
    text = shown(picture(found, errors, plan.study.metric))
    rows = {line.split()[1]: line.split() for line in text.splitlines() if line.startswith("pendulum")}
    assert rows["mlp"][2:] == ["2/2", "0", "0.15"]
    assert rows["hybrid_ode"][2:] == ["2/2", "2", "–"]
    assert rows["persistence"][2:] == ["0/1", "0", "–"]
    assert "4/5 done" in text and "2 diverged" in text


def test_what_runs_is_shown_with_power_and_time_left(plan: Plan, store: Store) -> None:
    unit = next(u for u in plan.units if u.model == "mlp")
    state = UnitState(unit.key, "running", "node[1]", 42, time.time(), time.time(), 1, 0.25, 1000, 0.5, {}, 12.5, 90.0)
    folder = StudyFolder(store, plan.study.folder)
    folder.write(state)
    found, errors = look(plan.study, store)
    assert "2 running" in summary(found) and "12.5 W" in summary(found)
    text = shown(picture(found, errors, plan.study.metric))
    assert "node[1] 42" in text and "25%" in text and "1,000" in text and "1.5 min" in text
    folder.write(replace(state, heartbeat=time.time() - 1000))
    assert "2 lost" in summary(look(plan.study, store)[0])


def test_a_failure_is_named_with_its_reason(plan: Plan, store: Store) -> None:
    unit = next(u for u in plan.units if u.model == "mlp")
    folder = StudyFolder(store, plan.study.folder)
    folder.write(UnitState(unit.key, "failed", reason="\x1b[31mno memory", failure="out_of_memory"))
    found, errors = look(plan.study, store)
    text = shown(picture(found, errors, plan.study.metric))
    assert "failed (out_of_memory): mlp on pendulum" in text and "no memory" in text and "\x1b" not in text


def test_it_ends_when_every_run_has_come_to_a_result(plan: Plan, store: Store) -> None:
    for model in ("mlp", "hybrid_ode", "persistence"):
        finish(plan, store, model, 0.1)
    console = Console(file=io.StringIO(), width=100)
    found = watch(plan.study, store, console, every_s=0.01)
    assert found.done == found.planned == 5
    assert "5/5 done" in console.file.getvalue()  # type: ignore[attr-defined]
