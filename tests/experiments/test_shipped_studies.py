"""The studies whose records and reports are committed: complete, of the committed file, judged as their pages say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.record import FINAL
from experiments.store import Store
from experiments.study.plan_file import load_units
from experiments.study.spec import load_study
from reports.verdict import judge

FOLDER = Path(__file__).parents[2] / "reports" / "studies"
SHIPPED = sorted(path.parent.name for path in FOLDER.glob("*/report.html"))


def test_there_are_some() -> None:
    assert "quick" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_planned_run_has_a_result_of_the_file_as_it_is(name: str) -> None:
    study, store = load_study(name), Store(FOLDER / name / "records")
    units = load_units(study, store)
    assert units, f"the study file of {name} was changed: run it again"
    lanes = sum(len(unit.lanes) for unit in units)
    records = store.records()
    assert len(records) >= lanes and {record.status for record in records} <= set(FINAL)
    assert {record.studies[name] for record in records} == {study.hash}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_committed_verdict_is_that_of_the_records(name: str) -> None:
    """What is said of each pair by FLOP; the page says the same."""
    told = json.loads((FOLDER / name / "verdict.json").read_text())
    verdict = judge(Store(FOLDER / name / "records").study_data(load_study(name)), axes=["flop"])
    keys = ("task", "condition", "structured", "black_box", "says")
    committed = [tuple(c[key] for key in keys) for c in told["contests"] if c["axis"] == "flop"]
    assert [tuple(getattr(c, key) for key in keys) for c in verdict.contests] == committed
    assert told["headline"] == verdict.headline
    page = (FOLDER / name / "report.html").read_text()
    assert verdict.headline.split(".")[0] in page
