"""A study file: what it says, what its hash is of, and one line for every mistake."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.study.labels import label
from experiments.study.spec import FOLDER, REFERENCES, Study, load_study, parse, study_names

SMALL: dict[str, Any] = {
    "question": "Which?",
    "structured": ["hybrid_ode"],
    "black_box": ["mlp"],
    "hypotheses": [
        {"text": "so", "task": "lorenz63", "structured": "hybrid_ode", "black_box": "mlp", "says": "offset only"}
    ],
    "settings": {"budget.flop": 1e8},
    "grid": {"task": ["lorenz63", "pendulum"], "model": ["mlp", "hybrid_ode"], "model.width": [8, 16], "seed": [0, 1]},
    "targets": [0.1, 0.03],
}


def made(**changes: Any) -> Study:
    return parse("small", yaml.safe_dump({**SMALL, **changes}))


def grid(**changes: Any) -> dict[str, Any]:
    return {"grid": {**SMALL["grid"], **{key.replace("__", "."): value for key, value in changes.items()}}}


# -- What is read --------------------------------------------------------------------------------------------------


def test_defaults_and_fields() -> None:
    study = made()
    assert (study.structured, study.black_box, study.references) == (("hybrid_ode",), ("mlp",), REFERENCES)
    assert study.metric == "one_step_nrmse" and study.targets == (0.1, 0.03)
    assert study.grid[0]["model.width"] == (8, 16) and study.settings == {"budget.flop": 1e8}
    assert study.scale == ("model.width",) and study.conditions == ()
    assert study.hypotheses[0].axis == "flop" and study.hypotheses[0].says == "offset only"


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_hash_is_of_what_the_file_says(seed: int) -> None:
    text = yaml.safe_dump(shuffled(SMALL, random.Random(seed)), sort_keys=False)
    assert parse("small", f"# another comment {seed}\n{text}").hash == made().hash
    assert made(question=f"Which {seed}?").hash != made().hash


def test_axes_are_scale_or_conditions() -> None:
    more = grid(task__noise=[0.0, 0.1], task__n_train=[8, 16], training__batch=[32, 64], task__data_seed=[0, 1])
    study = made(**more)
    assert study.scale == ("model.width", "task.n_train") and study.conditions == ("task.noise",)
    assert made(**more, conditions=["model.width"]).conditions == ("model.width", "task.noise")
    assert made(**more, scale=["task.n_train"]).conditions == ("model.width", "task.noise")
    config = {"task": {"name": "lorenz63", "noise": 0.1, "n_train": 8, "data_seed": 1}, "model": {"width": 8}}
    assert study.condition(config) == "noise=0.1" and study.configuration(config) == "width=8 n_train=8"


def test_a_model_without_its_network_has_no_size_of_it() -> None:
    soft, hard = (
        {"task": ["lorenz63"], "model": ["hybrid_ode"], "model.network": [learns]} for learns in (True, False)
    )
    blocks = [soft | {"model.width": [8, 16], "budget.flop": [1e8]}, hard | {"budget.flop": [1e8]}]
    study = made(grid=blocks, structured=["hybrid_ode"], black_box=[], hypotheses=[], settings={})
    config = {"task": {"name": "lorenz63"}, "model": {"network": True, "width": 8}}
    assert study.configuration(config) == "network=true width=8"
    assert study.configuration(config | {"model": {"network": False, "width": 128}}) == "network=false"


def test_what_varies_between_tasks_only_is_no_axis() -> None:
    """Two tasks with budgets of their own are no two configurations of either."""
    blocks = [
        {"task": ["lorenz63"], "model": ["mlp", "hybrid_ode"], "budget.flop": [1e8], "model.width": [8, 16]},
        {"task": ["pendulum"], "model": ["mlp", "hybrid_ode"], "budget.flop": [1e9], "task.n_train": [8, 16]},
    ]
    study = made(grid=blocks, settings={})
    assert study.by_task == {"lorenz63": ("model.width",), "pendulum": ("task.n_train",)}


def test_labels_leave_out_what_a_configuration_lacks_and_keep_apart_what_ends_alike() -> None:
    config = {"task": {"steps": 3}, "model": {"steps": 4.0, "path": ["a", "b"], "unit": None}}
    assert label(["task.steps", "model.steps"], config) == "task.steps=3 model.steps=4"
    assert label(["model.path", "model.unit", "model.none"], config) == "path=a,b unit=null"
    numbers = {"model": {"layers": 1, "skip": 0, "bias": True, "gate": False}}
    said = label(["model.layers", "model.skip", "model.bias", "model.gate"], numbers)
    assert said == "layers=1 skip=0 bias=true gate=false"  # 1 == True in Python, not in a configuration


def test_numbers_without_a_point_are_numbers() -> None:
    """YAML 1.1 reads 1e-4 as text."""
    space = "tuning: {trials: 2, space: {training.learning_rate: {log_uniform: [1e-4, 1e-1]}}}"
    study = parse(
        "x", f"black_box: [mlp]\nsettings: {{budget.flop: 1e8}}\ngrid: {{task: pendulum, model: mlp}}\n{space}"
    )
    assert study.settings["budget.flop"] == 100_000_000
    assert study.tuning is not None and all(1e-4 <= d["training.learning_rate"] <= 1e-1 for d in study.tuning.draw())


def test_shipped_studies_can_be_read_and_say_what_they_are() -> None:
    assert {"quick", "ladder"} <= set(study_names())
    for name in study_names():
        study = load_study(name)
        assert study.name == name and study.question and study.hypotheses
        assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")
        assert load_study(str(FOLDER / f"{name}.yaml")) == study


# -- Mistakes ------------------------------------------------------------------------------------------------------

BLOCK = {"task": ["pendulum"], "model": ["mlp"]}
WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"grdi": 1}, ["no key grdi", "did you mean grid?"]),
    ({"grid": None}, ["grid", "empty"]),
    ({"grid": []}, ["grid", "empty"]),
    ({"grid": [{}]}, ["grid", "empty"]),
    ({"grid": 3}, ["mapping", "3"]),
    (grid(model__width=[]), ["grid.model.width", "at least one value"]),
    (grid(model__width=[8, 8]), ["grid.model.width", "8 is there twice"]),
    (grid(model__width=[8, 8.0]), ["grid.model.width", "there twice"]),
    (grid(model__width={"a": 1}), ["model.width", "mapping"]),
    (grid(budget__flop=[1e8, 1e9]), ["budget.flop", "both"]),
    (grid(task=["lotka_voltera"]), ["grid.task", "did you mean lotka_volterra?"]),
    (grid(model=["mpl"]), ["grid.model", "did you mean mlp?"]),
    (grid(runs=["x"]), ["grid", "runs", "command line"]),
    (grid(references=["linear"]), ["grid", "references", "study itself"]),
    (grid(tracking=["none"]), ["tracking", "command line"]),
    (grid(model__name=["mlp"]), ["model.name", "chosen by model"]),
    (grid(budget=["flop", "second"]), ["budget", "one currency"]),
    (grid(seed=[0, -1]), ["seed", "-1"]),
    (grid(seed=[0.5]), ["seed", "0.5"]),
    ({"grid": {"model": ["mlp", "hybrid_ode"]}}, ["which task?"]),
    ({"grid": {"task": ["lorenz63"]}}, ["which model?"]),
    ({"settings": {"targets": 3}}, ["settings", "targets"]),
    ({"settings": [1]}, ["settings", "mapping"]),
    ({"structured": ["hybrid_od"]}, ["structured", "hybrid_od", "did you mean hybrid_ode?"]),
    ({"structured": ["neural_ode"]}, ["structured", "models of the grid", "neural_ode"]),
    ({"black_box": ["mlp", "hybrid_ode"]}, ["hybrid_ode is both"]),
    ({"black_box": ["mlp", "mlp"]}, ["black_box", "mlp is there twice"]),
    ({"references": ["lineer"]}, ["references", "did you mean linear?"]),
    ({"metric": "one_step_nrms"}, ["metric", "did you mean one_step_nrmse?"]),
    ({"metric": "valid_prediction_time"}, ["metric", "no error"]),
    ({"metric": 3}, ["metric", "text"]),
    ({"hypotheses": [{"text": "x", "task": "flocking"}]}, ["hypotheses[0].task", "flocking"]),
    ({"hypotheses": [{"text": "x", "structured": "mlp"}]}, ["hypotheses[0].structured", "mlp"]),
    ({"hypotheses": [{"text": "x", "says": "escapes"}]}, ["hypotheses[0].says", "escapes the wall"]),
    ({"hypotheses": [{"text": "x", "axis": "flops"}]}, ["hypotheses[0].axis", "did you mean flop?"]),
    ({"hypotheses": [{"txet": "x"}]}, ["hypotheses[0].txet", "did you mean text?"]),
    ({"hypotheses": [{"task": "lorenz63"}]}, ["hypotheses[0]", "text"]),
    ({"scale": ["model.widht"]}, ["scale", "did you mean model.width?"]),
    ({"scale": ["seed"]}, ["scale", "seed"]),
    ({"scale": ["model.width"], "conditions": ["model.width"]}, ["model.width", "both"]),
    ({"targets": [0.1, -1]}, ["targets", "-1"]),
    ({"targets": [True]}, ["targets", "True"]),
    ({"tuning": 3}, ["tuning", "mapping"]),
    ({"tuning": {"trials": 0, "space": {"training.batch": {"choice": [1]}}}}, ["tuning.trials", "0"]),
    ({"tuning": {"trials": 2}}, ["tuning.space"]),
    ({"tuning": {"trials": 2, "space": {"task.noise": {"choice": [1]}}}}, ["tuning.space", "task.noise"]),
    ({"tuning": {"trials": 2, "space": {"training.batch": {"choise": [1]}}}}, ["did you mean choice?"]),
    ({"tuning": {"trials": 2, "space": {"training.batch": {"choice": []}}}}, ["choice", "[]"]),
    ({"tuning": {"trials": 2, "space": {"training.batch": {"int_uniform": [1, 2.5]}}}}, ["int_uniform", "whole"]),
    ({"tuning": {"trials": 2, "space": {"training.x": {"log_uniform": [0, 1]}}}}, ["log_uniform", "above 0"]),
    ({"tuning": {"trials": 2, "space": {"training.x": {"uniform": [2, 1]}}}}, ["uniform", "smaller first"]),
    ({"tuning": {"trials": 2, "seed": 1, "space": {"training.batch": {"choice": [1]}}}}, ["tuning.seed", "1 is"]),
    ({"tuning": {"trials": 2, "space": {"model.width": {"choice": [1]}}}}, ["model.width", "tuned", "not both"]),
    ({"tuning": {"trials": 2, "spcae": {}}}, ["tuning.spcae", "did you mean space?"]),
    ({"question": "a\x1b[31mred"}, ["control characters"]),
    ({"settings": {"task.path": "${oc.env:HOME}"}}, ["task.path", "${"]),
]


@pytest.mark.parametrize(
    ("changes", "says"), WRONG, ids=lambda value: str(value)[:60] if isinstance(value, dict) else ""
)
def test_mistakes(changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        made(**changes)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in says), text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mapping"),
        ("- a\n- b", "mapping"),
        ("just words", "mapping"),
        ("grid: {task: [", "not YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("grid: {task: [pendulum]}\ngrid: {}", "twice (line 2)"),
        ("grid: !!python/object/apply:os.system [ls]", "not YAML"),
        ("{1: 2}", "words as keys"),
        ("grid: 2020-01-01", "date"),
        ("grid: .nan", "finite"),
        ("[" * 3000, "nested"),
        ("grid: " + "[" * 50 + "]" * 50, "nested"),
        ("a: &a [1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]", "aliases"),
        ("grid: {task: pendulum, ? [a] : b}", "YAML"),
        ("\x00", "YAML"),
    ],
)
def test_files_that_are_no_studies(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace("(", r"\(").replace(")", r"\)")):
        parse("x", text)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "-x", "x" * 65, "a\nb", "$(rm)", "<script>", "é"])
def test_a_name_is_harmless_in_a_file_name(name: str) -> None:
    with pytest.raises(UserError, match="name must be"):
        parse(name, "grid: {task: pendulum, model: mlp}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def says(name: str) -> str:
        with pytest.raises(UserError) as caught:
            load_study(name)
        return str(caught.value)

    assert "did you mean quick?" in says("quik")
    assert "one of" in says("../quick") and "one of" in says("quick/..")
    assert "cannot be read" in says(str(tmp_path / "none.yaml"))
    assert "cannot be read" in says(str(tmp_path)[1:] + "/a\0b.yaml")
    (tmp_path / "large.yaml").write_text("# " + "x" * 1_000_001)
    assert "at most 1 MB" in says(str(tmp_path / "large.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in says(str(tmp_path / "binary.yaml"))
    (tmp_path / "sub.yaml").mkdir()
    assert "cannot be read" in says(str(tmp_path / "sub.yaml"))
    (tmp_path / "wrong.yaml").write_text("grdi: 3")
    assert says(str(tmp_path / "wrong.yaml")).startswith("study wrong: ")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8,
), st.sampled_from([*SMALL, "references", "metric", "tuning", "scale", "conditions"]))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_whatever_stands_there_is_read_or_refused_in_a_line(value: Any, key: str) -> None:
    try:
        made(**{key: value})
    except UserError as error:
        assert str(error) and "\n" not in str(error)


def test_a_study_given_where_a_task_belongs_is_told_how_it_is_run(here: Callable[..., Any]) -> None:
    for words in (("run", "quick"), ("run", "flocking", "study=quick"), ("check", "device=h100", "quick")):
        done = here(*words)
        assert done.code == 2 and "sweep study=quick" in done.err and done.err.count("\n") == 1
    assert "quick" in here("list", "study").out and "did you mean study?" in here("list", "studies").err


# -- Draws ---------------------------------------------------------------------------------------------------------


def tuned(space: dict[str, Any], trials: int = 8, seed: int = 1000) -> Study:
    return made(tuning={"trials": trials, "seed": seed, "space": space})


def test_draws_are_of_the_seed_and_the_key_alone() -> None:
    rate = {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}}
    alone, beside = tuned(rate).tuning, tuned({"training.batch": {"choice": [16, 32]}, **rate}).tuning
    assert alone and beside
    of = [draw["training.learning_rate"] for draw in alone.draw()]
    assert (
        of
        == [draw["training.learning_rate"] for draw in beside.draw()]
        == [draw["training.learning_rate"] for draw in (tuned(rate, 16).tuning or alone).draw()][:8]
    )  # more trials go on where fewer ended
    assert len(set(of)) == 8 and of != [d["training.learning_rate"] for d in (tuned(rate, 8, 7).tuning or alone).draw()]


def test_draws_have_the_law_that_is_asked_for() -> None:
    """Medians of 2,000 draws: a uniform's has the standard error 1/(2 sqrt(n)) = 0.011 of its width; 5 of these."""
    space = {
        "training.a": {"log_uniform": [1e-4, 1.0]}, "training.b": {"uniform": [2, 4]},
        "training.c": {"int_uniform": [1, 3]}, "training.d": {"choice": ["x", None]},
    }  # fmt: skip
    draws = (tuned(space, 2000).tuning or made().tuning).draw()  # type: ignore[union-attr]
    columns = {key: sorted(draw[f"training.{key}"] for draw in draws) for key in "abc"}
    assert 1e-2 * 10 ** (-4 * 0.055) < columns["a"][1000] < 1e-2 * 10 ** (4 * 0.055)
    assert abs(columns["b"][1000] - 3) < 2 * 0.055
    assert set(columns["c"]) == {1, 2, 3} and all(isinstance(value, int) for value in columns["c"])
    assert {draw["training.d"] for draw in draws} == {"x", None}


def test_a_budget_that_each_configuration_has_one_of_is_no_part_of_its_name() -> None:
    sizes = ((8, 1e8), (16, 1e9))
    blocks = [copy.deepcopy(grid(model__width=[w], budget__flop=[c])["grid"]) for w, c in sizes]
    study = made(grid=blocks, settings={})
    config = {"task": {"name": "pendulum"}, "model": {"name": "mlp", "width": 16}, "budget": {"flop": 1e9}}
    assert study.configuration(config) == "width=16"
    both = made(**grid(budget__flop=[1e8, 1e9]), settings={})
    assert both.configuration(config) == "flop=1e9 width=16"
