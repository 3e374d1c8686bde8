"""The documents tell the truth: every command in them runs, every link leads somewhere, their examples work."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS.append(ROOT / "reports" / "studies" / "README.md")
# Appended to every `run`: the same command with little data, little training and one seed.
SMALL = ["task.n_train=4", "task.n_val=2", "task.n_test=2", "task.horizon=2"]
QUICK = ["budget.flop=2e8", "seed=0", "training.batch=8"]


def blocks(language: str) -> list[tuple[str, str]]:
    """(document, text) of each fenced block in a language, indentation taken off."""
    found = []
    for path in DOCUMENTS:
        for indent, text in re.findall(rf"^( *)```{language}\n(.*?)^ *```", path.read_text(), re.M | re.S):
            found.append((path.name, re.sub(f"^{indent}", "", text, flags=re.M)))
    return found


def commands() -> list[str]:
    """Every `python -m experiments …` in the documents, without comments; once each."""
    lines = [line.partition(" #")[0].strip() for _, text in blocks("sh") for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("python -m experiments")))


def small(command: str, runs: Path, data: Path) -> list[str]:
    words = [word.replace("=FILE", f"={data}") for word in shlex.split(command)[3:]]
    if words[0] == "run":
        real = any(word in ("trajectories", "experiment=lynx_hare") for word in words)
        words += [*([] if real else SMALL), *QUICK, f"runs={runs}"]
        if not any(word.startswith("tracking=") for word in words):
            words.append("tracking=none")
    elif words[0] == "check":
        words += [*SMALL, "training.batch=8"] if len(words) > 1 else ["--quick"]
    elif words[0] in ("sweep", "report", "status", "watch", "dashboard", "compact"):
        words = [word.replace("study=quick", f"study={data.with_name('quick.yaml')}") for word in words]
        words += ["--runs", str(runs), *(["--once"] if words[0] == "watch" and "--once" not in words else [])]
        words += ["--out", str(runs.with_name("out"))] if words[0] == "report" else []
    elif words[0] == "show":
        words += ["--out", str(runs.with_name("show"))]
    elif words[0] == "merge":
        words = ["merge", str(runs), "--runs", str(runs.with_name("all"))]
    return [sys.executable, "-m", "experiments", *words]


STUDY = """
structured: [hybrid_ode]
black_box: [mlp]
references: []
settings: {budget.flop: 1.0e+7, task.n_train: 4, task.n_val: 2, task.n_test: 2, task.horizon: 2}
grid: {task: [pendulum], model: [mlp, hybrid_ode], model.width: [4], seed: [0, 1]}
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A runs folder that is not there yet, and a data file, with a study beside it."""
    folder = tmp_path_factory.mktemp("docs")
    data = folder / "data.csv"
    data.write_text("time,x,v\n" + "".join(f"{i / 10},{i % 7 / 7},{i % 5 / 5}\n" for i in range(40)))
    (folder / "quick.yaml").write_text(STUDY)
    return folder / "runs", data


@pytest.fixture(scope="module")
def place(paths: tuple[Path, Path]) -> tuple[Path, Path]:
    """The same, with a finished flocking run in the runs folder (for `report`)."""
    first = small("python -m experiments run flocking model=mlp", *paths)
    # What is quick: nothing to compile but the reference simulator, and no fit of the equations.
    first += ["backend=torch", "references=linear"]
    subprocess.run(first, check=True, capture_output=True, timeout=110)
    return paths


# A command takes a few seconds, most of it imports and compilation; the fewest that touch every verb run always.
ALWAYS = ("list", "check", "report")


def is_quick(command: str) -> bool:
    return command.split()[3] in ALWAYS and not any(word in command for word in ("device=", "study="))


@pytest.mark.parametrize("command", [c if is_quick(c) else pytest.param(c, marks=pytest.mark.slow) for c in commands()])
def test_every_command_runs(command: str, place: tuple[Path, Path]) -> None:
    if command.split()[3] in ("report", "watch", "status", "dashboard") and "study=" in command:
        sweep = small("python -m experiments sweep study=quick", *place)
        subprocess.run(sweep, check=True, capture_output=True, timeout=110)
    done = subprocess.run(small(command, *place), capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[3] == "run"])
def test_every_run_command_is_understood(command: str, paths: tuple[Path, Path]) -> None:
    from experiments.config import load

    words = small(command, *paths)[4:]
    names = [word for word in words if "=" not in word]
    load(names[0] if names else None, [word for word in words if "=" in word])


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for path in DOCUMENTS for name in re.findall(r"`?\bmake (\w+)", path.read_text())}
    assert {name for name in named if name in ("run", "study", "test", "lint", "bench")} <= targets
    assert {"run", "test"} <= named


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("http") or (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("text", [text for name, text in blocks("python") if name == "CONTRIBUTING.md"])
def test_examples_of_contributing_are_valid(text: str, tmp_path: Path) -> None:
    """The worked examples import, and make a system or a model with its defaults."""
    path = tmp_path / "example.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("contributing_example", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        made = [thing() for thing in vars(module).values() if getattr(thing, "__module__", "") == spec.name]
    finally:
        del sys.modules[spec.name]
    assert made


def test_a_wheel_holds_what_runs_need(tmp_path: Path) -> None:
    """Configuration, catalogue and example data come along when the project is installed."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__"))
    code = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import zipfile

    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    for wanted in (
        "configs/config.yaml",
        "hardware/catalogue/generic_server_cpu.yaml",
        "hardware/grid.yaml",
        "experiments/data/lynx_hare.csv",
        "configs/study/quick.yaml",
        "reports/page/page.html.jinja",
        "reports/page/page.css",
        "reports/page/charts.js",
    ):
        assert wanted in names


@pytest.mark.parametrize("text", [text for name, text in blocks("python") if name in ("accounting.md", "devices.md")])
def test_examples_of_accounting_run(text: str) -> None:
    """With a function that multiplies matrices: of JAX where it has arguments, else of torch."""
    if "compile_for" in text:
        pytest.importorskip("libtpu", reason="the TPU compiler is absent: pip install '.[tpu]'")
    import jax.numpy as jnp
    import torch

    from hardware import count

    x, weight = jnp.ones((8, 8)), torch.ones(8, 8)

    def step(*given: Any) -> Any:
        return given[0] @ given[0] if given else weight @ weight

    exec(compile(text, "accounting.md", "exec"), {"step": step, "f": step, "args": (x,), "cost": count(step)(x)[1]})


def test_the_tpu_table_is_the_committed_result() -> None:
    import json

    from benchmarks.tpu import table

    result = json.loads((ROOT / "benchmarks" / "results" / "tpu.json").read_text())
    assert table(result["figures"]) in (ROOT / "docs" / "accounting.md").read_text()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_no_place_was_left_to_fill_in(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    assert not re.findall(r"^(?:[A-Z]{4,}|TODO.*|TBD.*|XXX.*)$", text, re.M)
