"""The columns of a study: a run without a setting takes part in the comparison under each of its values."""

from __future__ import annotations

import numpy as np
import pytest

from reports.floors import HARD, SOFT
from reports.study import StudyData, parted, spread
from reports.study_tables import summarise
from reports.verdict import judge
from reports.worlds import world
from tests.reports.told import told_study


def tables(rows: list[tuple[str, str, str]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Runs of (task, model, condition), with as many points as their number."""
    names = [np.array(column, dtype=object) for column in zip(*rows, strict=True)]
    identity = np.array([f"run{i}" for i in range(len(rows))], dtype=object)
    runs = {"task": names[0], "model": names[1], "condition": names[2], "identity": identity}
    of = np.repeat(np.arange(len(rows)), np.arange(len(rows)) + 1)
    return runs, {"run": of, "step": np.arange(len(of))}


def test_a_run_takes_part_in_every_condition_that_its_own_is_a_part_of() -> None:
    runs, points = tables(
        [
            ("a", "mlp", ""),
            ("a", "hybrid", "fidelity=0"),
            ("a", "hybrid", "fidelity=0.1"),
            ("b", "mlp", "noise=0"),
            ("b", "hybrid", "fidelity=0 noise=0"),
            ("b", "hybrid", "fidelity=0 noise=1"),
            ("c", "mlp", ""),
        ]
    )
    wide, theirs = spread(runs, points)
    found = sorted(zip(wide["task"], wide["model"], wide["condition"], strict=True))
    assert found == [
        ("a", "hybrid", "fidelity=0"),
        ("a", "hybrid", "fidelity=0.1"),
        ("a", "mlp", "fidelity=0"),
        ("a", "mlp", "fidelity=0.1"),
        ("b", "hybrid", "fidelity=0 noise=0"),
        ("b", "hybrid", "fidelity=0 noise=1"),
        ("b", "mlp", "fidelity=0 noise=0"),
        ("c", "mlp", ""),
    ]
    for entry, identity in enumerate(wide["identity"]):
        number = int(identity.removeprefix("run"))
        mine = theirs["step"][theirs["run"] == entry].tolist()
        assert mine == points["step"][points["run"] == number].tolist(), "every entry has all points of its run"
    data = StudyData("s", "h", wide, theirs)
    assert wide["identity"][data.distinct()].tolist() == [f"run{i}" for i in range(7)]


def test_runs_whose_conditions_are_part_of_no_other_stay_as_they_are() -> None:
    runs, points = tables([("a", "mlp", "noise=0"), ("a", "mlp", "noise=1"), ("b", "mlp", "")])
    same, theirs = spread(runs, points)
    assert same is runs and theirs is points


def test_a_black_box_without_the_dial_meets_the_structured_model_at_each_of_its_values() -> None:
    data = world(["lorenz63"], sizes=2, seeds=3, references=True)
    structured = data.structured[0]
    mine = data.runs["model"] == structured
    dial = np.where(data.runs["seed"] % 2 == 0, "fidelity=0", "fidelity=0.1").astype(object)
    runs = {**data.runs, "condition": np.where(mine, dial, "").astype(object)}
    wide, points = spread(runs, data.points)
    verdict = judge(StudyData(**{**vars(data), "runs": wide, "points": points}), resamples=20, axes=["flop"])
    assert {c.condition for c in verdict.contests} == {"fidelity=0", "fidelity=0.1"}
    assert all(c.error_ratio.value is not None or c.reasons for c in verdict.contests)


def test_conditions_that_do_not_contradict_each_other_are_joined() -> None:
    """A setting of one model and a setting of another: both meet under the two together, and references under all."""
    runs, points = tables(
        [("a", "mlp", f"depth={d}") for d in (1, 2)]
        + [("a", "hybrid", f"fidelity={f}") for f in (0, 1)]
        + [("a", "linear", "")]
    )
    wide, theirs = spread(runs, points)
    both = [f"depth={d} fidelity={f}" for d in (1, 2) for f in (0, 1)]
    for model, copies in (("mlp", 1), ("hybrid", 1), ("linear", 1)):
        assert sorted(wide["condition"][wide["model"] == model]) == sorted(both * copies), model
    assert len(theirs["run"]) == sum(2 * n for n in (1, 2, 3, 4)) + 4 * 5
    data = StudyData("s", "h", wide, theirs)
    assert data.distinct().tolist() == sorted({wide["identity"].tolist().index(i) for i in set(wide["identity"])})
    # Given or found, the places are the same.
    names = [("a", "depth=1"), ("a", "depth=2"), ("a", "fidelity=0"), ("a", "fidelity=1"), ("a", "")]
    again, _ = spread(runs, points, (np.arange(5), names))
    assert again["condition"].tolist() == wide["condition"].tolist()


def test_a_run_that_stands_for_several_conditions_counts_once() -> None:
    from reports.page.contents import contents
    from reports.page.payload import payload
    from reports.study_tables import summarise
    from reports.study_tables.facts import facts_sheet, missing

    data = world(["lorenz63"], sizes=2, seeds=2, references=True)
    whole = len(data)
    mine = data.runs["model"] == data.structured[0]
    dial = np.where(data.runs["seed"] % 2 == 0, "fidelity=0", "fidelity=0.1").astype(object)
    runs, points = spread({**data.runs, "condition": np.where(mine, dial, "").astype(object)}, data.points)
    wide = StudyData(**{**vars(data), "runs": runs, "points": points, "planned": whole + 1})
    assert len(wide) > whole
    facts = {line.keys[0]: line.cells[0].text for line in facts_sheet(wide).lines}
    assert facts["runs"] == f"{whole} of {whole + 1} planned" and facts["by status"] == f"finished {whole}"
    assert missing(wide) == [f"Partial: {whole} of {whole + 1} runs have a record; 1 is missing."]
    verdict = judge(wide, resamples=10, axes=["flop"])
    assert f"{whole} of {whole + 1} planned runs have a result" in " ".join(verdict.notes)
    summary = summarise(wide)
    loaded = payload(summary, verdict)
    page = contents(summary, verdict, loaded)
    assert (page["runs"], page["planned"], page["status"]) == (whole, whole + 1, [f"{whole} finished"])
    assert loaded["totals"]["runs"] == len(set(loaded["runs"]["identity"])) == whole


# What a model learns


def learned(rows: list[tuple[str, str, float, str]]) -> StudyData:
    """Runs of (model, configuration, parameters, status)."""
    names = ("model", "configuration", "parameters", "status")
    columns = [np.array(column, dtype=object) for column in zip(*rows, strict=True)]
    runs = dict(zip(names, columns, strict=True)) | {"parameters": columns[2].astype(float)}
    return StudyData("s", "h", runs, {}, structured=("hybrid",), black_box=("mlp",), references=("persistence",))


def test_runs_that_learn_less_are_a_model_of_their_own() -> None:
    """Hard is a level, fitted is compared, and both count as parts of the model; whether anything was trained is told
    by the whole configuration, since a run that was skipped has no parameters."""
    data = parted(
        learned(
            [
                ("hybrid", "network=true width=8", 50.0, "finished"),
                ("hybrid", "network=true width=8", 0.0, "skipped"),
                ("hybrid", "network=true width=16", 0.0, "skipped"),
                ("hybrid", "network=false fit_parameters=true", 3.0, "finished"),
                ("hybrid", "network=false fit_parameters=false", 0.0, "diverged"),
                ("mlp", "network=false", 0.0, "finished"),
            ]
        )
    )
    names = ["hybrid", "hybrid", "hybrid", "hybrid (fitted)", "hybrid (hard)", "mlp"]
    assert data.runs["model"].tolist() == names
    assert data.structured == ("hybrid", "hybrid (fitted)") and data.references == ("hybrid (hard)", "persistence")
    assert data.parts == {"hybrid (fitted)": "hybrid", "hybrid (hard)": "hybrid"}


def test_a_model_all_of_whose_runs_learn_alike_keeps_its_name() -> None:
    for rows in (
        [("hybrid", "network=false", 0.0, "finished"), ("mlp", "", 5.0, "finished")],
        [("hybrid", "network=false width=8", 2.0, "finished")],
        [("hybrid", "width=8", 5.0, "finished"), ("hybrid", "width=16", 9.0, "finished")],
    ):
        data = learned(rows)
        assert parted(data) is data


def test_told_equations_alone_have_a_row_and_no_exponent() -> None:
    """Untrained they are as good as the model that corrects them, whose law is not theirs."""
    errors = [0.01, 0.011, 0.009]
    data = parted(told_study({HARD: {0.0: [0.01]}, SOFT: {0.0: errors}}, {"mlp": [0.5, 0.5, 0.6]}, {0.0: 1e-9}))
    rows = {row.model: row for row in summarise(data).rows["lorenz63", "delta=0"]}
    assert (len(rows["hybrid_ode"].runs), len(rows["hybrid_ode (hard)"].runs)) == (3, 1)
    assert rows["hybrid_ode (hard)"].reference and rows["hybrid_ode (hard)"].error.value == pytest.approx(0.01)
    assert rows["hybrid_ode"].configuration.startswith("network=true"), "hard is no size of it"
    verdict = judge(data, resamples=20, axes=["flop"])
    laws = {s.model: s.law for s in verdict.scalings}
    assert laws["hybrid_ode (hard)"] is None and laws["hybrid_ode"] is not None
    assert {c.structured for c in verdict.contests} == {"hybrid_ode"}
