"""`status study=NAME`: what became of the runs, what is left, and that a million records are counted quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.record import DIVERGED, FINISHED, INTERRUPTED, RUN, SKIPPED, TRIAL, Costs, Record
from experiments.store import Store
from experiments.study.folder import StudyFolder
from experiments.study.plan import make_plan
from experiments.study.plan_file import save_plan
from experiments.study.spec import parse
from experiments.study.status import Status, status
from experiments.study.unit import START_S, Plan, Unit
from experiments.study.unit_state import UnitState
from hardware.devices import Device
from reports.text import duration

SMALL: dict[str, Any] = {
    "structured": ["hybrid_ode"], "black_box": ["mlp"], "references": ["linear"], "settings": {"budget.flop": 1e8},
    "grid": {"task": ["pendulum"], "model": ["mlp", "hybrid_ode"], "model.width": [8, 16], "seed": [0, 1]},
    "tuning": {"trials": 2, "space": {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}}},
}  # fmt: skip


def planned(**changes: Any) -> Plan:
    return make_plan(parse("small", json.dumps({**SMALL, **changes})), Device("cpu", "x"))


PLAIN, TUNED = planned(tuning=None), planned()


def saved(
    store: Store, unit: Unit, outcome: str = FINISHED, lanes: Sequence[int] | None = None, seconds: float = 2.0,
    joules: float | None = 30.0,
) -> None:  # fmt: skip
    """Records of a unit's lanes. A tuned run's identity is not in the plan: any will do."""
    for i in lanes if lanes is not None else range(len(unit.lanes)):
        name = unit.identities[i] if unit.identities else f"{unit.key[:15]}{i:05}"
        costs = Costs(seconds={"data": 100.0, "train": seconds}, energy_j={"train": joules})
        costs = Costs() if outcome == SKIPPED else costs
        tuning = {key: unit.tuning[key] for key in ("group", "trials") if key in unit.tuning}
        store.save(
            Record(
                name, unit.task, unit.model, "jax", "cpu", unit.lanes[i].seed, outcome, {}, costs=costs,
                role=unit.role, tuning=tuning,
            )
        )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def look(plan: Plan, store: Store) -> Status:
    found = status(plan.study, store)
    counted = found.done + sum(found.failed.values()) + found.running + found.lost + found.interrupted + found.to_do
    assert found.planned == plan.runs == counted  # every run is in one place
    return found


def units(plan: Plan, role: str = RUN, model: str = "mlp") -> list[Unit]:
    return [unit for unit in plan.units if (unit.role, unit.model) == (role, model)]


# -- Counts --------------------------------------------------------------------------------------------------------


def test_nothing_is_done_before_a_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.study.plan.make_plan", lambda study, yes: PLAIN)
    found = look(PLAIN, store)
    assert (found.done, found.to_do, found.seconds_left) == (0, PLAIN.runs, None)
    assert "not been swept" in found.notes[0] and "not known" in found.lines(500)[1]
    save_plan(PLAIN, store)
    assert not look(PLAIN, store).notes


def test_results_are_done_whatever_they_are(store: Store) -> None:
    save_plan(PLAIN, store)
    first, second = units(PLAIN)
    saved(store, first)
    saved(store, second, DIVERGED, [0])
    saved(store, units(PLAIN, model="hybrid_ode")[0], SKIPPED)
    saved(store, second, INTERRUPTED, [1])  # a part, not a result
    found = look(PLAIN, store)
    assert (found.finished, found.diverged, found.skipped) == (2, 1, 2)
    assert found.seconds_used == 3 * 2.0 and found.energy_j_used == 3 * 30.0  # data are simulated once, for all
    by_model = {row.model: (row.done, row.planned) for row in found.rows}
    assert by_model == {"mlp": (3, 4), "hybrid_ode": (2, 4), "linear": (0, 1)}
    text = " ".join(" ".join(found.lines()).split())  # a long path wraps the lines elsewhere
    assert "5 done (1 diverged, 2 skipped among them)" in text and "3/4" in text


def test_records_of_other_studies_do_not_count(store: Store) -> None:
    save_plan(PLAIN, store)
    saved(store, replace(units(PLAIN)[0], identities=("a" * 20, "b" * 20)))
    assert look(PLAIN, store).done == 0


def test_tuned_runs_are_found_by_their_group_and_seed(store: Store) -> None:
    save_plan(TUNED, store)
    for unit in units(TUNED, TRIAL):
        saved(store, unit)
    assert look(TUNED, store).done == 4
    saved(store, units(TUNED)[0], lanes=[1])
    found = look(TUNED, store)
    assert found.done == 5 and {row.role: row.done for row in found.rows if row.model == "mlp"} == {TRIAL: 4, RUN: 1}


def test_units_at_work_failed_lost_and_interrupted(store: Store) -> None:
    save_plan(PLAIN, store)
    files, now = StudyFolder(store, PLAIN.study.folder), time.time()
    a, b = units(PLAIN)
    c, d = units(PLAIN, model="hybrid_ode")
    saved(store, a, lanes=[0])  # one of its two runs
    files.write(UnitState(a.key, "running", "host", 7, now, now, fraction=0.5, error=0.1, power_w=20.0))
    files.write(UnitState(b.key, "running", started=now - 999, heartbeat=now - 999))
    files.write(UnitState(c.key, "failed", reason="it has\na reason", failure="bug"))
    files.write(UnitState(d.key, "interrupted"))
    found = look(PLAIN, store)
    assert (found.done, found.running, found.lost, found.interrupted, found.to_do) == (1, 1, 2, 2, 1)
    assert found.failed == {"bug": 2} and found.failures[0].configuration == c.configuration
    text = "\n".join(found.lines(200))
    assert "2 failed (2 bug)" in text and "20.0 W" in text and "2 lost" in text
    assert all("\n" not in line for line in found.lines(200))
    saved(store, c)  # tried again, with success
    assert not look(PLAIN, store).failed


def test_an_earlier_version_of_the_study_is_named(store: Store) -> None:
    other = planned(tuning=None, question="Another?")
    save_plan(other, store)
    save_plan(PLAIN, store)
    assert f"studies/small-{other.study.hash}" in look(PLAIN, store).notes[0]


# -- What is left --------------------------------------------------------------------------------------------------


def test_what_is_left_is_what_such_runs_took(store: Store) -> None:
    save_plan(PLAIN, store)
    first, _ = units(PLAIN)
    saved(store, first, lanes=[0], seconds=1.0, joules=10.0)
    saved(store, first, lanes=[1], seconds=3.0, joules=30.0)
    found = look(PLAIN, store)
    # Quartiles of 1 and 3 are 1.5 and 2.5. Two mlp runs are left, four of hybrid_ode and one of linear, for which
    # nothing but mlp tells; in four units, each with a worker to start.
    assert found.seconds_left == (pytest.approx(7 * 1.5 + 4 * START_S[0]), pytest.approx(7 * 2.5 + 4 * START_S[2]))
    assert found.energy_j_left == (pytest.approx(7 * 15), pytest.approx(7 * 25))
    assert "of one device's time" in found.lines(500)[1]
    saved(store, units(PLAIN, model="hybrid_ode")[0], seconds=5.0, joules=None)
    found = look(PLAIN, store)
    assert found.energy_j_left is None and found.energy_j_used is None  # unknown, and not less
    assert found.seconds_left is not None and found.seconds_left[0] == pytest.approx(
        2 * 1.5 + 2 * 5 + 5 + 3 * START_S[0]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (120, "2.0 min"), (3599, "60 min"), (7200, "2.0 h"), (9e5, "10 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- The verb ------------------------------------------------------------------------------------------------------


def test_the_verb(store: Store, here: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({**SMALL, "tuning": None}))
    plan = make_plan(parse("small", path.read_text()), Device("cpu", "x"))
    save_plan(plan, store)
    saved(store, units(plan)[0])
    done = here("status", f"study={path}", "--runs", str(store))
    assert done.code == 0 and "2 done" in " ".join(done.out.split()) and not done.err
    raw = json.loads(here("status", f"study={path}", f"runs={store}", "--json").out)
    assert (raw["done"], raw["planned"], raw["study"]) == (2, plan.runs, "small")
    for words, says in (
        (("status",), "which study?"),
        (("status", "quick"), "which study?"),
        (("status", "study=quik"), "did you mean quick?"),
        (("status", f"study={path}", "--runs", "nowhere"), "--runs FOLDER"),
        (("status", f"study={path}", "--runs", "a", "runs=b"), "twice"),
    ):
        done = here(*words)
        assert done.code == 2 and says in done.err and done.err.count("\n") == 1


@pytest.mark.slow
def test_a_million_records_take_two_seconds(tmp_path: Path) -> None:
    """Synthetic: one compacted part of a million rows, and the plan of their 125,000 units."""
    store = Store(tmp_path)
    study = parse("large", json.dumps({**SMALL, "tuning": None}))
    pattern = units(PLAIN)[0]
    names = [[f"{i:012x}{j:08x}" for j in range(8)] for i in range(125_000)]
    lanes = tuple(replace(pattern.lanes[0], seed=seed) for seed in range(8))
    made = tuple(replace(pattern, key=own[0], identities=tuple(own), lanes=lanes) for own in names)
    save_plan(Plan(study, made), store)
    for name in names[0]:
        saved(store, replace(made[0], identities=(name,), lanes=lanes[:1]))
    store.compact()
    import duckdb

    (part,) = (tmp_path / "compacted" / "runs").glob("*/*.parquet")
    (points,) = (tmp_path / "compacted" / "points").glob("*/*.parquet")
    points.unlink()  # status reads none
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT p.* REPLACE (printf('%012x%08x', i.range // 8, i.range % 8) AS identity, "
            f"i.range::INTEGER AS row) FROM (SELECT * FROM '{part}' LIMIT 1) p, range(999000) i) TO '{tmp_path}/new' "
            "(FORMAT parquet)"
        )
    (tmp_path / "new").replace(part)
    before = time.perf_counter()
    found = status(study, store)
    took = time.perf_counter() - before
    assert found.planned == 1_000_000 and found.done == 999_000 and found.to_do == 1000
    assert took < 6, took  # 2 s on two idle cores; the machine of a test is seldom idle
