"""`report study=NAME`: from records to files; what is missing is said, and mistakes are named in one line."""

from __future__ import annotations

import csv
import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from experiments import cli, prior_floor
from experiments.config import Settings
from experiments.errors import UserError
from experiments.prior import prior_config
from experiments.progress import Reporter
from experiments.record import Costs, Point, Record
from experiments.store import Store
from experiments.study.floors import floors_of
from experiments.study.plan import make_plan
from experiments.study.report import prices_of, with_readers, write_files, write_parquet, write_study_report
from experiments.study.spec import Study, load_study, parse
from experiments.study.unit import Unit
from experiments.task import Task
from hardware.devices import Device
from physics_models.base import System
from physics_models.priors.discovery import priors
from physics_models.simulate import Reference
from reports.verdict import Verdict, judge
from reports.verdict.types import Outcome
from reports.worlds import world
from tests.experiments.test_priors import by_scipy
from tests.learners.conftest import small_task

STUDY = """# Made for a test.
question: Does it?
structured: [hybrid_ode]
black_box: [mlp]
references: [persistence]
settings: {budget: flop, budget.flop: 1.0e+9}
grid: {task: [lorenz63], model: [mlp, hybrid_ode], model.width: [8, 16], seed: [0, 1]}
targets: [0.1]
"""
FILES = {"tables.md", "tables.csv", "tables.tex", "verdict.json", "runs.parquet", "figures"}


def record_of(identity: str, tree: dict, seed: int, role: str, study: Study) -> Record:
    """A record whose error falls as a power of FLOP, by how wide and what the model is."""
    model = tree["model"]["name"]
    scale, exponent = {"hybrid_ode": (300.0, 0.5), "mlp": (30.0, 0.3)}.get(model, (1.0, 0.0))
    flops = [10**6 * 4**i for i in range(6)] if exponent else [0]
    curve = tuple(
        Point(i, 10 * i, flop, flop * 1e-9, flop * 1e-9, None, error, {"one_step_nrmse": error, "rollout_nrmse": error})
        for i, flop in enumerate(flops)
        for error in [(1 + 0.1 * seed) * (scale * flop**-exponent if flop else 0.9)]
    )
    costs = Costs(train_flop=flops[-1], seconds={"train": flops[-1] * 1e-9}, energy_j={"train": flops[-1] * 1e-9},
                  energy_method="modelled:generic", infer_flop_per_time_unit=1e3)  # fmt: skip
    errors = {"one_step_nrmse": curve[-1].test["one_step_nrmse"]}
    return Record(
        identity, "lorenz63", model, "jax", "cpu", seed, "finished", {**tree, "seed": seed}, parameters=100,
        metrics=errors, costs=costs, curve=curve, role=role, studies={study.name: study.hash}, started="2026-01-01",
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Record]]:
    """(study file, store, records): every run of the study, made up."""
    folder = tmp_path_factory.mktemp("study")
    path = folder / "mine.yaml"
    path.write_text(STUDY)
    study = load_study(str(path))
    store = Store(folder / "runs")
    records = [
        record_of(identity, unit.tree, lane.seed, unit.role, study)
        for unit in make_plan(study, Device("cpu", "a processor")).units
        for lane, identity in zip(unit.lanes, unit.identities, strict=True)
    ]
    for record in records:
        store.save(record)
    return path, folder / "runs", records


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pictures and page, which have tests of their own."""
    from reports import page, study_figures

    monkeypatch.setattr(study_figures, "write", lambda data, verdict, folder, **options: [])
    monkeypatch.setattr(page, "write", lambda data, verdict, folder, summary: [])


def test_a_report_is_written_and_printed(
    made: tuple[Path, Path, list[Record]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from reports import study_figures

    monkeypatch.setattr(study_figures, "write", functools.partial(study_figures.write, formats=("svg",)))  # quicker
    path, runs, records = made
    assert cli.main(["report", f"study={path}", "--runs", str(runs)]) == 0
    said = capsys.readouterr()
    folder = runs / "studies" / "mine" / "report"
    assert {file.name for file in folder.iterdir()} >= FILES
    assert {"error_flop.svg", "exponents_flop.svg", "README.md"} <= {f.name for f in (folder / "figures").iterdir()}
    table = duckdb.connect().execute(f"SELECT identity, task, model, seed FROM '{folder}/runs.parquet'").fetchall()
    assert sorted(row[0] for row in table) == sorted(record.identity for record in records)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["headline"] in " ".join(said.out.split()) or verdict["headline"][:40] in said.out
    assert verdict["missing"] == [] and verdict["runs"] == len(records)
    assert "Results on lorenz63" in said.out and "tables.md" in said.err
    rows = list(csv.DictReader((folder / "tables.csv").read_text(encoding="utf-8").splitlines()))
    errors = {row["model"]: float(row["value"]) for row in rows if row["quantity"] == "test_error"}
    expected = {record.model: record.metrics["one_step_nrmse"] for record in records if record.seed == 0}
    for model, least in expected.items():
        assert least is not None and least <= errors[model] <= 1.1 * least  # a mean over seeds 0 and 1


def test_a_readme_beside_the_report_is_named_where_it_judges_what_is_open(
    made: tuple[Path, Path, list[Record]], tmp_path: Path
) -> None:
    study = load_study(str(made[0]))
    outcomes = tuple(Outcome("Physics wins.", what, "why") for what in ("not judged", "cannot tell", "supported"))
    verdict = Verdict("Nothing.", (), (), hypotheses=outcomes)
    said = "why. What people made of it is in ../README.md, under mine."
    for heading, because in (("", "why"), ("## another", "why"), ("## mine", said)):
        if heading:
            (tmp_path / "README.md").write_text(f"# Studies\n\n{heading}\n")
        found = [outcome.because for outcome in with_readers(verdict, study, tmp_path / "mine").hypotheses]
        assert found == [because, because, "why"]


@pytest.mark.usefixtures("quick")
def test_a_partial_study_says_what_is_missing(made: tuple[Path, Path, list[Record]], tmp_path: Path) -> None:
    path, _, records = made
    from experiments.study.plan_file import save_plan

    study, store = load_study(str(path)), Store(tmp_path / "runs")
    store.prepare()
    save_plan(make_plan(study, Device("cpu", "a processor")), store)
    for record in records:
        if record.model != "mlp":
            store.save(record)
    write_study_report([f"study={path}"], str(tmp_path / "runs"), str(tmp_path / "out"))
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "4 are missing" in text and "No record of mlp" in text
    assert text.index("4 are missing") < text.index("Results on")
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["missing"]


@pytest.mark.usefixtures("quick")
def test_records_of_another_hash_are_named_at_the_top(made: tuple[Path, Path, list[Record]], tmp_path: Path) -> None:
    path, _, records = made
    store = Store(tmp_path / "runs")
    for record in records:
        changed = {"mine": "feedfacefeedface"} if record.seed else record.studies
        store.save(replace(record, studies=changed))
    write_study_report([f"study={path}"], str(tmp_path / "runs"), str(tmp_path / "out"), "markdown")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "feedfacefeedface" in text[: text.index("## ")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study=quikc"], "quick"),
        (["study=quick", "--runs", "{empty}"], "no record of the study quick"),
        (["study=quick", "--runs", "{empty}/nowhere"], "there is no folder"),
        (["study=quick", "--runs", "{empty}", "--target", "-1"], "above 0"),
        (["study=quick", "--mix-joules"], "report TASK"),
        (["study={path}", "--runs", "{runs}", "--grid", "wrold"], "world"),
        (["study={path}", "--runs", "{runs}", "--out", "{path}/below"], "--out FOLDER"),
        (["study={path}", "--runs", "nowhere://at/all"], "nowhere"),
        (["flocking", "lorenz63"], "one task"),
        (["task=flocking"], "one task"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str],
    said: str,
    made: tuple[Path, Path, list[Record]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [word.format(path=made[0], runs=made[1], empty=tmp_path) for word in words]
    assert cli.main(["report", *filled]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and said in error[-1]


@pytest.mark.usefixtures("quick")
def test_targets_of_the_command_replace_those_of_the_study(
    made: tuple[Path, Path, list[Record]], tmp_path: Path
) -> None:
    write_study_report([f"study={made[0]}"], str(made[1]), str(tmp_path), "csv", [0.5, 0.2])
    rows = list(csv.DictReader((tmp_path / "tables.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["target"] for row in rows if row["quantity"] == "flop_to_error"} == {"0.5", "0.2"}


def test_parquet_holds_hostile_text_and_unknown_numbers(tmp_path: Path) -> None:
    data = world(hostile=True, unknown_energy=True, seeds=2)
    write_parquet(data, tmp_path / "runs.parquet")
    found = duckdb.connect().execute(f"SELECT model, train_energy_j FROM '{tmp_path}/runs.parquet'").fetchall()
    assert [row[0] for row in found] == data.runs["model"].tolist()
    assert all(row[1] is None or row[1] != row[1] or row[1] == 0 for row in found)


def test_a_page_that_cannot_be_made_does_not_cost_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from reports import page, study_figures

    def fail(*_: object) -> list[Path]:
        raise ModuleNotFoundError("No module named 'vl_convert'")

    monkeypatch.setattr(page, "write", fail)
    monkeypatch.setattr(study_figures, "write", lambda data, verdict, folder, **options: [])
    data = world(seeds=2, sizes=2)
    paths = write_files(data, judge(data, resamples=20, axes=["flop"]), tmp_path)
    assert {path.name for path in paths} >= FILES - {"figures"}
    assert "vl_convert" in caplog.text


def test_prices_are_of_the_device_most_runs_were_on() -> None:
    data = world(seeds=2)
    assert prices_of(data, "world").usd_per_hour is None and prices_of(data, "world").co2_g_per_kwh
    assert prices_of(data, None).co2_g_per_kwh is None, "no grid is assumed"
    data.runs["device_name"][1:] = "NVIDIA H100 80GB HBM3"
    found = prices_of(data, "world")
    assert found.usd_per_hour and "h100" in found.device.lower()
    with pytest.raises(UserError, match="--grid"):
        prices_of(data, "atlantis")


def test_help_imports_nothing_heavy(cli: Callable[..., object]) -> None:
    done = cli("report", "--help")
    assert done.code == 0 and "study=NAME" in done.out  # type: ignore[attr-defined]


# -- Floors of told priors -----------------------------------------------------------------------------------------

TOLD = """
structured: [hybrid_ode]
black_box: [mlp]
references: []
settings: {prior.kind: missing_term, budget: flop, budget.flop: 1.0e+8}
grid:
  - {task: [pendulum], model: [mlp], seed: [0, 1]}
  - {task: [pendulum], model: [hybrid_ode], model.network: [true], prior.delta: [0.0, 0.1], seed: [0, 1]}
  - {task: [pendulum], model: [hybrid_ode], model.network: [false], prior.delta: [0.0, 0.1]}
scale: [model.network]
conditions: [prior.delta]
"""


def told_record(identity: str, unit: Unit, seed: int, study: Study) -> Record:
    """A record of a run that is told a prior, or of a black box."""
    tree, hard = unit.tree, unit.learning == "none"
    config = {**tree, "seed": seed, "prior": prior_config(tree, unit.model == "hybrid_ode")}
    error = 0.2 if unit.model == "mlp" else 0.05 * (1 + tree["prior"]["delta"]) * (2 if hard else 1) * (1 + 0.1 * seed)
    errors = {"one_step_nrmse": error, "rollout_nrmse": 3 * error}
    curve = tuple(Point(i, i, f, f * 1e-9, f * 1e-9, None, error, errors) for i, f in enumerate((0, 10**6, 10**8)))
    costs = Costs(train_flop=0 if hard else 10**8, seconds={"train": 0.1}, energy_method="modelled:generic")
    return Record(
        identity, "pendulum", unit.model, "jax", "cpu", seed, "finished", config, parameters=0 if hard else 100,
        metrics=errors, costs=costs, curve=curve[: 1 if hard else 3], studies={study.name: study.hash},
    )  # fmt: skip


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, list[str]]:
    """(study file, store, what was simulated): a study of told priors, whose task is a small one and whose told
    equations are solved by SciPy, for the time that JAX compiles."""
    solved: list[str] = []

    def solve(system: System, y0: np.ndarray, times: np.ndarray) -> Reference:
        solved.append(type(system).__name__)
        return by_scipy(system, y0, times)

    monkeypatch.setattr(prior_floor, "simulate", solve)
    monkeypatch.setattr("experiments.main_job.load_task", lambda settings, report: small_task(settings.task_name))
    path = tmp_path / "told.yaml"
    path.write_text(TOLD)
    study, store = load_study(str(path)), Store(tmp_path / "runs")
    for unit in make_plan(study, Device("cpu", "a processor")).units:
        for lane, identity in zip(unit.lanes, unit.identities, strict=True):
            store.save(told_record(identity, unit, lane.seed, study))
    return path, tmp_path / "runs", solved


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    rows = csv.DictReader((folder / "tables.csv").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["table"] == table]


@pytest.mark.usefixtures("quick")
def test_the_floors_of_a_report_are_those_that_are_computed(told: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    path, runs, solved = told
    write_study_report([f"study={path}"], str(runs), str(tmp_path / "out"))
    both = len(solved)  # of both deltas
    assert both >= 2
    cells = {(row["metric"], row["delta"], row["quantity"]): row for row in rows_of(tmp_path / "out", "floors")}
    for delta in (0.0, 0.1):
        prior = priors.load("missing_term")(delta=delta)
        expected = prior_floor.floor(small_task("pendulum"), prior)
        for metric, error in expected.items():
            assert float(cells[metric, repr(delta), "floor"]["value"]) == pytest.approx(error, rel=1e-12)
    # Measured: 0.1 (1 + delta) hard; soft half of it, in the mean of two seeds √1.1 times as much.
    hard, soft = (float(cells["one_step_nrmse", "0.1", how]["value"]) for how in ("hard", "soft"))
    assert hard == pytest.approx(0.11) and soft == pytest.approx(0.055 * math.sqrt(1.1))
    box = cells["rollout_nrmse", "0.1", "black_box"]
    assert float(box["value"]) == pytest.approx(0.6), "once for all deltas"

    # The same report again simulates nothing, and says the same.
    before, text = len(solved), (tmp_path / "out" / "tables.md").read_text()
    write_study_report([f"study={path}"], str(runs), str(tmp_path / "out"))
    assert len(solved) == before > 0 and (tmp_path / "out" / "tables.md").read_text() == text
    # Where the file cannot be read they are computed.
    (tmp_path / "out" / "floors.json").write_text("{")
    floors_of(load_study(str(path)), tmp_path / "out")
    assert len(solved) == before + both and json.loads((tmp_path / "out" / "floors.json").read_text())["rows"]


def test_kept_floors_are_those_of_the_same_code_and_data(
    told: tuple[Path, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, solved = load_study(str(told[0])), told[2]
    first = floors_of(study, tmp_path)
    both = len(solved)  # of both deltas
    assert first is not None and len(first.floors) == 2 <= both
    assert floors_of(study, tmp_path) == first and len(solved) == both
    other = parse("told", TOLD.replace("budget.flop: 1.0e+8", "budget.flop: 1.0e+8, task.data_seed: 5"))
    floors_of(other, tmp_path)
    assert len(solved) == 2 * both, "other data"
    floors_of(other, tmp_path)
    assert len(solved) == 2 * both
    monkeypatch.setattr("experiments.identity.code_hash", lambda used: "of tomorrow")
    floors_of(other, tmp_path)
    assert len(solved) == 3 * both, "other code"


def test_floors_that_there_are_none_of_are_a_note(
    told: tuple[Path, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system of chance is refused before anything is simulated; what fails on the way costs its own floors only."""
    vicsek = parse("chance", TOLD.replace("pendulum", "vicsek"))
    loaded: list[str] = []

    def load(settings: Settings, report: Reporter) -> Task:
        loaded.append(settings.task_name)
        if settings.task_name == "lorenz63":
            raise UserError("the data are gone")
        return small_task(settings.task_name)

    monkeypatch.setattr("experiments.main_job.load_task", load)
    found = floors_of(vicsek, tmp_path)
    assert found is not None and not found.floors and len(found.told) == 4 and not loaded
    assert len(found.notes) == 1 and "vicsek steps in time and by chance" in found.notes[0]
    assert not (tmp_path / "floors.json").exists()
    several = parse("several", TOLD.replace("[pendulum]", "[pendulum, lorenz63]"))
    both = floors_of(several, tmp_path)
    assert both is not None and len(both.floors) == 2 and any("the data are gone" in note for note in both.notes)
    plain = load_study("quick")
    assert floors_of(plain, tmp_path) is None


@pytest.mark.usefixtures("quick")
def test_infinite_floors_are_kept(told: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """Told equations that blow up: JSON has no such number."""
    study = load_study(str(told[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_floor, "floor", lambda task, prior: dict.fromkeys(prior_floor.METRICS, math.inf))
        first = floors_of(study, tmp_path)
    json.loads((tmp_path / "floors.json").read_text(), parse_constant=pytest.fail)
    assert first is not None and first == floors_of(study, tmp_path) and not told[2]
    assert all(math.isinf(error) for floor in first.floors for error in floor.errors.values())
