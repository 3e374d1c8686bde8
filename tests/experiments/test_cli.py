"""The command line from the outside: what is printed where, what is written, and how quickly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.listing import catalogue

REFERENCES = ["persistence", "linear", "true_physics", "simulator"]
HEAVY = ("jax", "torch", "equinox", "diffrax", "numpy", "hydra", "wandb", "matplotlib", "duckdb", "rich")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["list"], ["completion", "bash"]], ids=" ".join)
def test_what_needs_no_framework_imports_none_and_is_instant(
    words: list[str], cli: Callable[..., Any], environment: dict[str, str]
) -> None:
    program = (
        "import sys\nfrom experiments.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stderr == "[]\n"
    # The minimum: other processes on the machine can only add to a time, so that it is nearest to what the command
    # itself needs. 0.3 s is what the command line promises.
    assert min(cli(*words).seconds for _ in range(5)) < 0.3


def test_list_names_everything_that_run_accepts(here: Callable[..., Any]) -> None:
    listed = here("list")
    found = json.loads(here("list", "--json").out)
    assert found == catalogue()
    for group, things in found.items():
        only = here("list", group)
        assert only.code == 0
        for name, line in things.items():
            assert line, f"{group} {name} says nothing of itself"
            assert name in only.out and line in only.out and line in listed.out
    groups = ("model", "budget", "tracking")
    for model, budget, tracking in zip_longest(*[found[group] for group in groups]):
        chosen = [f"model={model}", f"budget={budget or 'flop'}", f"tracking={tracking or 'auto'}"]
        assert here("run", "pendulum", *chosen, "--config").code == 0
    for task in found["task"]:
        assert here("run", task, "--config", *["task.path=x"] * (task == "trajectories")).code == 0
    for preset in found["experiment"]:
        assert here("run", f"experiment={preset}", "--config").code == 0


def test_config_prints_what_would_be_used_and_does_nothing(cli: Callable[..., Any], elsewhere: Path) -> None:
    done = cli("run", "lorenz63", "model=mlp", "model.width=7", "--config", "seed=3,4", "runs=~/a, (b)'s/c")
    assert done.code == 0
    tree = yaml.safe_load(done.out)
    assert tree["task"]["name"] == "lorenz63" and tree["task"]["system"]["rho"] == 28
    assert tree["model"] == {"name": "mlp", "width": 7, "depth": 2, "activation": "silu"}
    assert tree["seed"] == [3, 4] and tree["references"] == REFERENCES and tree["runs"] == "~/a, (b)'s/c"
    assert not list(elsewhere.iterdir())


def test_flags_may_stand_anywhere(here: Callable[..., Any]) -> None:
    first = here("run", "pendulum", "seed=5", "model=mlp", "--config").out
    assert first == here("run", "--config", "pendulum", "seed=5", "model=mlp").out
    assert first == here("run", "pendulum", "--config", "seed=5", "--force", "model=mlp").out


def test_lists_and_large_numbers_are_written_as_people_write_them(here: Callable[..., Any]) -> None:
    words = ["seed=1,2", "targets=0.1,0.01", "references=linear,mlp", "budget.sample=1e5", "targets=null"]
    tree = yaml.safe_load(here("run", "pendulum", *words, "--config").out)
    assert tree["seed"] == [1, 2] and tree["references"] == ["linear", "mlp"] and tree["targets"] is None
    assert tree["budget"]["sample"] == 100_000
    tree = yaml.safe_load(here("run", "trajectories", "task.path=x", "task.variables=a,b", "--config").out)
    assert tree["task"]["variables"] == ["a", "b"]


def test_a_reader_that_leaves_early_is_no_error(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m experiments list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_check_says_what_this_machine_has(here: Callable[..., Any]) -> None:
    facts = json.loads(here("check", "--quick", "--json").out)
    assert facts["host"]["cores"] >= 1
    assert set(facts["devices"]) == {f"{b} {d}" for b in ("jax", "torch") for d in ("cpu", "cuda", "tpu")}
    for name in ("jax cpu", "torch cpu"):
        assert not facts["devices"][name].startswith("absent")
    assert facts["devices"]["torch tpu"].startswith("absent: ")
    joules = facts["joules"]["cpu"]
    assert any(line.startswith("processor counters (RAPL)") for line in joules["readers"])
    assert joules["method"].partition(":")[0] in ("measured", "modelled") and joules["covers"]
    assert re.match(r"Joules on .* are (measured|modelled) \(", joules["verdict"])
    text = " ".join(here("check", "--quick").out.split())
    assert all(" ".join(f"{name} {value}".split()) in text for name, value in facts["devices"].items())
    assert joules["verdict"] in text


def test_the_table_is_alone_on_stdout_with_its_rows_in_order(smoke: Any) -> None:
    done = smoke.done
    assert done.code == 0
    assert done.out.startswith("Task pendulum; ") and "compiling" not in done.out
    first_column = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    models = [word for word in first_column if word in {"neural_ode", *REFERENCES}]
    tables, rest = divmod(len(models), 5)
    assert tables >= 3 and rest == 0  # accuracy, cost, cost to reach an error
    assert models == ["neural_ode", *REFERENCES] * tables


def test_progress_is_on_stderr_only(smoke: Any) -> None:
    lines = smoke.done.err.splitlines()
    assert all(line.split()[1:2] == ["s"] and float(line.split()[0]) >= 0 for line in lines), lines
    assert "Warning" not in smoke.done.err and "Traceback" not in smoke.done.err
    for model in ["neural_ode", *REFERENCES]:
        assert any(f"{model}: " in line and "on test data" in line for line in lines)
    assert str(smoke.runs) in lines[-1]


def test_nothing_is_written_but_the_runs(smoke: Any, elsewhere: Path) -> None:
    assert not list(elsewhere.iterdir())
    names = {path.name for path in smoke.runs.iterdir()}
    assert names == {record["identity"] for record in smoke.records.values()} | {"comparison", ".locks"}
    figures = ["pendulum-neural_ode.png", "pendulum-neural_ode.svg"]
    assert sorted(path.name for path in (smoke.runs / "comparison").iterdir()) == figures


def test_json_is_alone_on_stdout_and_finds_the_records(smoke: Any, cli: Callable[..., Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.runs.glob("*/*.json")}
    done = cli(*smoke.words, "--json")
    assert (done.code, done.err) == (0, "")
    body = json.loads(done.out)
    assert [record["model"] for record in body["records"]] == [*REFERENCES, "neural_ode"]
    for record in body["records"]:
        assert json.loads(Path(record.pop("path")).read_text()) == record
    assert [Path(path).suffix for path in body["files"]] == [".png", ".svg"]
    assert all(Path(path).is_file() for path in body["files"])
    # Nothing was run again, and that is quick: the first time had all of this to do, and the runs.
    assert {path: path.stat().st_mtime_ns for path in smoke.runs.glob("*/*.json")} == before
    assert done.seconds < smoke.done.seconds


def test_the_same_command_again_says_so_and_shows_the_same(
    smoke: Any, here: Callable[..., Any], no_figure: None
) -> None:
    again = here(*smoke.words)
    assert (again.code, again.out) == (0, smoke.done.out)
    assert again.err.count("already finished for seed 0 (--force runs it again)") == 5
    assert "compiling" not in again.err
    assert here(*smoke.words, "--quiet").err == ""
