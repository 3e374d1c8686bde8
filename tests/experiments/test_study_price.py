"""What a study would take: FLOP exactly where budgets are in FLOP, the rest from records, a measurement or a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import UserError
from experiments.progress import Reporter
from experiments.record import RUN, TRIAL, Costs, Record
from experiments.store import Store
from experiments.study import price as pricing
from experiments.study.plan import make_plan
from experiments.study.price import StudyPrice, price
from experiments.study.spec import parse
from experiments.study.unit import Plan, Unit
from hardware.devices import resolve

SMALL: dict[str, Any] = {
    "structured": ["hybrid_ode"], "black_box": ["mlp"], "references": ["persistence"],
    "settings": {"budget.flop": 1e8, "task.n_train": 8, "task.n_val": 4, "task.n_test": 4},
    "grid": {"task": ["pendulum"], "model": ["mlp", "hybrid_ode"], "model.width": [8, 16], "seed": [0, 1]},
}  # fmt: skip
CPU = resolve("cpu", "jax")
TUNING = {"trials": 3, "space": {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}}}


def planned(**changes: Any) -> Plan:
    return make_plan(parse("small", json.dumps({**SMALL, **changes})), CPU)


PLAN = planned()


def priced(plan: Plan, store: Store, **options: Any) -> StudyPrice:
    return price(plan, store, CPU, Reporter(quiet=True), **{"quick": True, **options})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def saved(store: Store, unit: Unit, seconds: float, rest: float = 1.0, power_w: float = 20.0) -> None:
    for lane, name in zip(unit.lanes, unit.identities, strict=True):
        costs = Costs(
            train_flop=10**8, seconds={"data": 9.0, "train": seconds, "compile": rest}, shared_by=len(unit.lanes),
            energy_j={"train": power_w * seconds},
        )  # fmt: skip
        config = {"task": unit.tree["task"], "model": unit.tree["model"]}
        facts = {"device_name": CPU.name}
        store.save(
            Record(name, unit.task, unit.model, "jax", "cpu", lane.seed, "finished", config, costs=costs, facts=facts)
        )


def test_budgets_in_flop_tell_flop_exactly_trials_included(store: Store) -> None:
    found = priced(PLAN, store)
    assert (found.flop, found.trial_flop, found.runs, found.trials) == (8e8, 0.0, 9, 0)
    tuned = priced(planned(tuning=TUNING), store)
    assert (tuned.flop, tuned.trial_flop, tuned.runs, tuned.trials) == (8e8 + 12e8, 12e8, 9 + 12, 12)
    assert {part.role for part in tuned.parts} == {RUN, TRIAL, "reference"}
    assert "for tuning" in "\n".join(tuned.lines())


def test_what_is_guessed_is_said(store: Store) -> None:
    found = priced(PLAN, store)
    assert any(note.startswith("guessed") and "hybrid_ode, mlp" in note for note in found.notes)
    assert found.energy_j is None and found.co2_g is None and "unknown" in "\n".join(found.lines())
    assert found.seconds.low < found.seconds.value < found.seconds.high
    assert found.seconds.high / found.seconds.low > 3


def test_what_is_done_is_not_in_the_price(store: Store) -> None:
    whole = priced(PLAN, store)
    unit = next(unit for unit in PLAN.units if unit.role == RUN)
    saved(store, unit, 2.0)
    found = priced(PLAN, store)
    assert (found.done, found.runs, found.units) == (2, 7, whole.units - 1) and found.flop == 6e8


def test_records_of_this_device_tell_how_fast_a_model_is(store: Store) -> None:
    """The same runs of another budget: twice the budget takes twice the training, and the same rest."""
    for unit in PLAN.units:
        if unit.role == RUN:
            saved(store, unit, 2.0, rest=1.0)
    once, twice = (priced(planned(settings=SMALL["settings"] | {"budget.flop": flop}), store) for flop in (3e8, 6e8))
    runs = {name: next(p for p in found.parts if p.model == "mlp") for name, found in (("1", once), ("2", twice))}
    # Two units of two lanes, each 6 s of training at 1e8 FLOP in 2 s of a lane.
    assert runs["2"].seconds.value - runs["1"].seconds.value == pytest.approx(4 * 6.0)
    rest = 2 * (pricing.START_S[1] + 2 * 1.0)
    assert runs["1"].seconds.value == pytest.approx(4 * 6.0 + rest)
    assert "records" in runs["1"].source and not any("guessed" in note for note in once.notes)
    assert once.energy_j is not None and once.energy_j.value == pytest.approx(20.0 * once.seconds.value, rel=1e-6)
    assert once.co2_g is not None


def test_a_budget_in_seconds_tells_seconds_and_no_flop(store: Store) -> None:
    settings = {key: value for key, value in SMALL["settings"].items() if key != "budget.flop"}
    found = priced(planned(settings=settings | {"budget": "second", "budget.second": 7}), store)
    assert found.flop is None and "not in FLOP" in "\n".join(found.lines())
    assert found.seconds.low > 8 * 7.0


def test_some_steps_are_measured_where_no_record_tells(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.study.rates.MEASURE_S", 600.0)  # a busy machine takes longer
    plan = planned(tuning=TUNING)  # of which a unit of trials is taken, whose lanes share one seed
    found = priced(plan, store, quick=False)
    sources = {part.model: part.source for part in found.parts}
    assert all(sources[name].startswith("100 steps measured now") for name in ("mlp", "hybrid_ode"))
    assert found.energy_j is not None and not any("guessed" in note for note in found.notes)
    assert json.loads(json.dumps(found.as_json()))["flop"] == 20e8


def test_measuring_ends_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.study.rates.MEASURE_S", -1.0)
    found = priced(PLAN, store, quick=False)
    assert any("stopped after" in note for note in found.notes) and any("guessed" in note for note in found.notes)


def test_another_device_is_modelled(store: Store) -> None:
    plan = planned(grid={**SMALL["grid"], "model": ["mlp"], "model.width": [8]}, structured=[], references=[])
    found = priced(plan, store, on="h100", grid="france")
    assert found.device == "h100 (modelled)" and found.flop == 2e8
    assert found.energy_j is not None and found.co2_g is not None and found.seconds.value < 60
    with pytest.raises(LookupError, match="h10"):
        priced(plan, store, on="h10")
    with pytest.raises(LookupError, match="frnce"):
        priced(plan, store, grid="frnce")
    other = planned(
        grid={**SMALL["grid"], "model": ["mlp"]}, structured=[],
        settings={"budget": "second", "budget.second": 7},
    )  # fmt: skip
    with pytest.raises(UserError, match="only budgets in FLOP"):
        priced(other, store, on="h100")
