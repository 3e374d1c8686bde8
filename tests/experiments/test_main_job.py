"""The main job: what every record must hold, and that seeds, backends, presets and reports keep their word."""

from __future__ import annotations

import csv
import json
import math
import shutil
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from experiments.record import PHASES, Record
from hardware.devices import host_info
from reports.rows import compare
from reports.tables import render

REFERENCES = ["persistence", "linear", "true_physics", "simulator"]
TINY = ["experiment=smoke", "tracking=none", "budget.flop=null"]


def records_in(folder: Path) -> dict[tuple[str, int], Record]:
    """By model and seed."""
    found = [Record.from_json(path.read_text()) for path in folder.glob("*/record.json")]
    return {(record.model, record.seed): record for record in found}


# -- One record of each kind ---------------------------------------------------------------------------------------


def test_every_record_says_what_the_contract_asks_for(smoke: Any) -> None:
    assert set(smoke.records) == {"neural_ode", *REFERENCES}
    for path in smoke.runs.glob("*/record.json"):
        raw = json.loads(path.read_text())
        record = Record.from_json(path.read_text())
        assert json.loads(record.to_json()) == raw
        assert path.parent.name == record.identity and record.config["seed"] == record.seed == 0
        assert (record.task, record.backend, record.device, record.status) == ("pendulum", "jax", "cpu", "finished")
        assert {"one_step_nrmse", "rollout_nrmse", "valid_prediction_time"} <= set(record.metrics)
        assert set(record.metric_units) == set(record.metrics)
        assert record.host == host_info() and {"jax", "numpy"} <= set(record.versions) and len(record.code) == 16
        assert record.facts["primary_metric"] == "rollout_nrmse"
        costs = record.costs
        assert 10**8 < (costs.peak_memory_bytes or 0) < host_info()["memory_bytes"]
        assert costs.flop_method.startswith("counted:") and costs.uncounted == () and costs.shared_by == 1
        assert set(costs.seconds) == set(PHASES) - {"tune"} - ({"train"} if costs.train_flop == 0 else set())
        assert all(seconds > 0 for seconds in costs.seconds.values())


def test_joules_have_a_method_and_are_never_0_for_unknown(smoke: Any) -> None:
    for raw in smoke.records.values():
        costs = Record.from_json(json.dumps(raw)).costs
        assert set(costs.energy_j) <= set(costs.seconds)
        if costs.energy_method == "none":
            assert set(costs.energy_j.values()) == {None}
            continue
        assert costs.energy_method.startswith(("measured:", "modelled:"))
        assert costs.energy_uncertainty is None or 0 < costs.energy_uncertainty <= 1
        for phase, joules in costs.energy_j.items():
            assert joules is None or joules > 0, phase
        assert any(joules is not None for joules in costs.energy_j.values())


def test_training_flop_are_exact_and_within_the_budget(smoke: Any) -> None:
    record = Record.from_json(json.dumps(smoke.records["neural_ode"]))
    per_step, rest = divmod(record.curve[-1].flop, record.curve[-1].step)
    assert rest == 0 and all(point.flop == per_step * point.step for point in record.curve)
    assert record.costs.train_flop == record.costs.train_flop_executed == record.curve[-1].flop
    budget = record.config["budget"]["flop"]
    assert budget - per_step < record.costs.train_flop <= budget
    # A step is 4 stages of rk4 on 64 windows; a stage is 2 FLOP a weight forwards and about twice that backwards.
    # What comes on top (activations, Adam, averaging) is less than half a forward pass; biases count as weights here.
    forward = 4 * 64 * 2 * record.parameters
    assert 2.5 < per_step / forward < 3.5
    assert record.costs.seconds["train"] == pytest.approx(record.curve[-1].seconds, rel=1e-9)
    # Inference: the same stages without the way back, once an interval of 0.1 in a time unit of 2 pi. The activations
    # of a network 128 wide are 1% of its products; 10% leaves room for the solver's own.
    one_unit = 2 * math.pi / 0.1 * 4 * 2 * record.parameters
    assert 0.95 < (record.costs.infer_flop_per_time_unit or 0) / one_unit < 1.1


def test_references_cost_what_they_are(smoke: Any) -> None:
    costs = {model: Record.from_json(json.dumps(raw)).costs for model, raw in smoke.records.items()}
    assert costs["persistence"].train_flop == costs["simulator"].train_flop == 0
    assert costs["persistence"].infer_flop_per_time_unit == 0
    assert 0 < (costs["linear"].train_flop or 0) < (costs["true_physics"].train_flop or 0)
    assert smoke.records["true_physics"]["parameters"] == 2  # gravity and damping
    errors = {model: raw["metrics"]["rollout_nrmse"] for model, raw in smoke.records.items()}
    assert errors["true_physics"] < 1e-4 and errors["simulator"] < 1e-4 < errors["linear"] < errors["persistence"]


def test_the_curve_is_cumulative_and_log_spaced(smoke: Any) -> None:
    curve = Record.from_json(json.dumps(smoke.records["neural_ode"])).curve
    assert (curve[0].step, curve[0].flop, curve[0].samples, curve[0].train_loss) == (0, 0, 0, None)
    for before, after in pairwise(curve):
        assert before.step < after.step <= max(before.step + 1, math.ceil(1.5 * before.step))
        assert after.samples == 64 * after.step and after.seconds > before.seconds
        assert before.energy_j is None or (after.energy_j or 0) > before.energy_j
    assert all(point.error is not None and point.error > 0 for point in curve)
    assert all(point.train_loss is not None for point in curve[1:])
    # Eight points a decade, give or take: enough for a fit, few enough to cost little.
    tenfold = [point for point in curve if curve[-1].step / 10 <= point.step]
    assert 5 <= len(tenfold) <= 12
    for model in REFERENCES:
        assert len(smoke.records[model]["curve"]) >= 1


def test_weights_example_and_figure_are_readable_by_anyone(smoke: Any) -> None:
    for raw in smoke.records.values():
        folder = smoke.runs / raw["identity"]
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            assert sum(weights[name].size for name in weights.files) == raw["parameters"]
        with np.load(folder / "example.npz", allow_pickle=False) as example:
            assert example["truth"].shape == example["predicted"].shape == (251, 2)
            assert example["times"].shape == (251,) and list(example["variables"]) == ["angle", "velocity"]
            np.testing.assert_allclose(example["predicted"][0], example["truth"][0], rtol=1e-6)  # float32
    figure = smoke.runs / "comparison" / "pendulum-neural_ode"
    assert figure.with_suffix(".png").read_bytes().startswith(b"\x89PNG\r\n")
    assert xml.etree.ElementTree.parse(figure.with_suffix(".svg")).getroot().tag.endswith("svg")


# -- Again, with other seeds, on the other backend -----------------------------------------------------------------


def test_force_runs_again_and_gets_the_same(
    smoke: Any, here: Callable[..., Any], no_figure: None, tmp_path: Path
) -> None:
    shutil.copytree(smoke.runs, tmp_path / "runs")
    before = smoke.records["linear"]
    path = tmp_path / "runs" / before["identity"] / "record.json"
    times = {path: path.stat().st_mtime_ns for path in path.parent.parent.glob("*/record.json")}
    words = ["model=linear", "references=[]", "--force", f"runs={tmp_path / 'runs'}"]
    assert here(*smoke.words, *words).code == 0
    assert [p for p, time in times.items() if p.stat().st_mtime_ns != time] == [path]
    after = json.loads(path.read_text())
    # The sums are the same, but their order may differ from process to process: float32 rounding.
    assert after["metrics"] == pytest.approx(before["metrics"], rel=1e-4)
    assert after["costs"]["train_flop"] == before["costs"]["train_flop"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twins")


def test_seeds_together_are_seeds_apart_and_backends_agree(
    here: Callable[..., Any], folder: Path, no_figure: None
) -> None:
    words = ["run", "pendulum", "model=mlp", *TINY, "references=[]", "dtype=float64", "budget.sample=1280"]
    assert here(*words, "seed=0,1", f"runs={folder / 'both'}").code == 0
    assert here(*words, "seed=1", f"runs={folder / 'one'}").code == 0
    assert here(*words, "seed=1", "backend=torch", f"runs={folder / 'torch'}").code == 0
    both, one, torch = (records_in(folder / name) for name in ("both", "one", "torch"))
    assert set(both) == {("mlp", 0), ("mlp", 1)} and set(one) == set(torch) == {("mlp", 1)}
    assert both["mlp", 0].metrics != both["mlp", 1].metrics
    assert both["mlp", 1].identity == one["mlp", 1].identity != both["mlp", 0].identity
    assert torch["mlp", 1].identity != one["mlp", 1].identity
    for other in (both["mlp", 1], torch["mlp", 1]):
        # 20 steps of Adam in float64: rounding of 1e-16 grows where a gradient is near 0, to less than a millionth.
        assert other.metrics == pytest.approx(one["mlp", 1].metrics, rel=1e-6)
        errors = [point.error for point in one["mlp", 1].curve]
        assert [point.error for point in other.curve] == pytest.approx(errors, rel=1e-6)
    assert both["mlp", 1].costs.train_flop == one["mlp", 1].costs.train_flop
    assert both["mlp", 1].costs.shared_by == 2
    # The two counters see the same mathematics in other operations; the twins are promised to agree to 1%.
    assert torch["mlp", 1].costs.train_flop == pytest.approx(one["mlp", 1].costs.train_flop, rel=0.01)
    assert torch["mlp", 1].costs.flop_method != one["mlp", 1].costs.flop_method


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_real_data_preset(backend: str, here: Callable[..., Any], tmp_path: Path, no_figure: None) -> None:
    words = ["model=hybrid_ode", "budget.flop=null", "budget.sample=640", "seed=0", "tracking=none"]
    # The fit of the equations is the same code on both, and takes the longest to compile.
    others = {"simulator"} if backend == "jax" else {"simulator", "true_physics"}
    references = f"references={','.join(others)}"
    done = here("run", "experiment=lynx_hare", *words, references, f"backend={backend}", f"runs={tmp_path}")
    assert done.code == 0
    found = records_in(tmp_path)
    assert {model for model, _ in found} == {"hybrid_ode", *others}
    for (model, _), record in found.items():
        assert record.task == "trajectories" and len(record.facts["content"]) == 64
        # Nobody knows the true parameters of real lynx: there is no simulator of them.
        assert record.status == ("skipped" if model == "simulator" else "finished"), model
        assert (model == "simulator") == (record.metrics == {})
    assert "true parameter values are not known" in found["simulator", 0].reason
    # A network, and the four parameters of the equations beside it, which are trained because nobody knows them.
    assert found["hybrid_ode", 0].parameters == 17154 + 4
    assert "simulator: skipped 1/1" in done.out


def test_the_table_says_what_was_wrong_and_has_the_errors_out_of_distribution(smoke: Any) -> None:
    """Records of a run as such a task leaves them: with the keys that are on, and with details by test set."""
    runs = records_in(smoke.runs)
    sets = {"longer_horizon": 0.251, "changed_parameter:damping": 0.127, "kick": None}
    metrics = {f"ood/{name}/rollout_nrmse": error for name, error in sets.items()} | {"interventional_ratio": 1.83}
    told = {"prior": {"kind": "parameters", "delta": 0.1}}
    chosen = []
    for model, prior in (("neural_ode", told), ("persistence", {})):
        run = next(run for (name, _), run in runs.items() if name == model)
        config = run.config | {"task": run.config["task"] | {"uneven": 0.25, "hidden": ["velocity"]}} | prior
        units = dict.fromkeys([*metrics, "ood/kick/one_step_nrmse"], "1, lower is better (detail)")
        both = {"config": config, "metrics": run.metrics | metrics, "metric_units": run.metric_units | units}
        chosen.append(replace(run, **both))
    comparison = compare(chosen)
    for form in ("markdown", "latex"):
        text = render(comparison, form).replace("\\_", "_")
        assert "data with task.hidden=velocity, task.uneven=0.25" in text
        assert "neural_ode is told prior=parameters, prior.delta=0.1." in text
    titles, values = (
        [[cell.strip() for cell in line.split("|")[3:-1]] for line in text.splitlines() if line.startswith(start)]
        for text in [render(comparison, "markdown").replace("\\_", "_").split("**Out of distribution: rollout")[1]]
        for start in ("| model", "| neural_ode")
    )
    assert titles[0] == ["longer_horizon ↓", "changed_parameter: damping ↓", "kick ↓", "interventional_ratio ↓"]
    assert values[0] == ["0.251", "0.127", "—", "1.83"]
    assert len(render(compare([*runs.values()]), "markdown").split("Out of distribution")) == 1


def test_a_file_of_ones_own(here: Callable[..., Any], tmp_path: Path, no_figure: None) -> None:
    path = tmp_path / "my data (1), ragged.csv"
    lines = ["when,who,x,v"]
    for who in range(6):
        lines += [f"{0.1 * i + 0.01 * who},cell {who},{math.cos(0.1 * i + who)},{who}" for i in range(9 + who)]
    path.write_text("\n".join(lines))
    words = ["references=linear", "model=mlp", "budget.flop=null", "budget.sample=64", "seed=0", "tracking=none"]
    words.append("backend=torch")  # nothing to compile
    columns = ["task.time=when", "task.trajectory=who"]
    done = here("run", "trajectories", f"task.path={path}", *columns, *words, f"runs={tmp_path / 'runs'}")
    assert done.code == 0, done.err
    found = records_in(tmp_path / "runs")
    assert set(found) == {("linear", 0), ("mlp", 0)}
    assert found["mlp", 0].config["task"]["path"] == str(path)
    assert found["mlp", 0].facts["n_train"] == 4  # of six, at least one each for validation and test
    assert all(value is not None and math.isfinite(value) for value in found["mlp", 0].metrics.values())
    # Other data under the same name are another run.
    path.write_text(path.read_text().replace(",0.5", ",0.51"))
    here("run", "trajectories", f"task.path={path}", *columns, *words, f"runs={tmp_path / 'runs'}")
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 4


def test_report_writes_every_format(smoke: Any, here: Callable[..., Any], tmp_path: Path) -> None:
    done = here("report", "pendulum", "--runs", str(smoke.runs), "--out", str(tmp_path), "--format", "markdown")
    assert done.code == 0
    assert sorted(path.name for path in tmp_path.glob("pendulum.*")) == [
        f"pendulum.{ending}" for ending in ("csv", "md", "parquet", "png", "svg", "tex")
    ]
    markdown = (tmp_path / "pendulum.md").read_text()
    assert done.out == markdown
    for model in ("neural_ode", *REFERENCES):
        assert f"| {model}".replace("_", "\\_") in markdown or f"| {model}" in markdown
        assert model.replace("_", r"\_") in (tmp_path / "pendulum.tex").read_text()
    with open(tmp_path / "pendulum.csv", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"neural_ode", *REFERENCES}
    table = duckdb.read_parquet(str(tmp_path / "pendulum.parquet"))
    found = dict(table.project("model, train_flop").fetchall())
    assert found == {model: record["costs"]["train_flop"] for model, record in smoke.records.items()}
