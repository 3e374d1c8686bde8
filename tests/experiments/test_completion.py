"""Shell completion: what is offered, and the script in a real bash."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.completion import BASH, CHOICES, FLAGS, KEYS, VERBS, candidates, script
from experiments.listing import catalogue

MODELS = sorted(catalogue()["model"])
TASKS = sorted(catalogue()["task"])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([], sorted(VERBS)),
        (["|"], sorted(VERBS)),
        (["re", "re|"], ["report"]),
        (["run", "run|"], ["run"]),
        (["run", "flo", "flo|"], ["flocking"]),
        (["run", "lo", "lo|"], ["lorenz63", "lotka_volterra"]),
        (["run", "flocking", "mo", "mo|"], ["model="]),
        (["run", "flocking", "model=", "model=|"], [f"model={name}" for name in MODELS]),
        (["run", "flocking", "model=neu", "model=neu|"], ["model=neural_ode"]),
        (["run", "flocking", "backend=", "backend=|"], ["backend=jax", "backend=torch"]),
        (["run", "flocking", "experiment=ly", "experiment=ly|"], ["experiment=lynx_hare"]),
        (["run", "flocking", "--fo", "--fo|"], ["--force"]),
        (["run", "flocking", "seed=", "seed=|"], []),
        (["run", "flocking", "nothing=", "nothing=|"], []),
        (["list", "mo", "mo|"], ["model"]),
        (["report", "pen", "pen|"], ["pendulum"]),
        (["check", "--ca", "--ca|"], ["--calibrate"]),
        (["check", "device=tpu_v5", "device=tpu_v5|"], ["device=tpu_v5e", "device=tpu_v5p"]),
        (["check", "device=tpu_v5e", "model=neu", "model=neu|"], ["model=neural_ode"]),
        (["run", "flocking", "device=t", "device=t|"], ["device=tpu"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_candidates(words: list[str], offered: list[str]) -> None:
    assert sorted(candidates(words)) == offered


def test_a_second_task_is_not_offered() -> None:
    assert set(TASKS) <= set(candidates(["run", "|"]))
    assert not set(TASKS) & set(candidates(["run", "pendulum", "|"]))


def test_all_that_is_offered_is_understood() -> None:
    from experiments import config

    offered = set(candidates(["run", "pendulum", "|"]))
    assert {word for word in offered if word.startswith("--")} <= set(FLAGS)
    for group in ("model", "budget", "tracking", "experiment"):
        assert candidates(["run", "pendulum", f"{group}=|"]) == [
            f"{group}={name}" for name in config._group_choices(group)
        ]
    assert config.task_names() == TASKS
    assert CHOICES == {"backend": config.BACKENDS, "dtype": config.DTYPES}
    assert candidates(["run", "device=|"]) == [f"device={name}" for name in config.DEVICES]
    everywhere = [*config.DEVICES, *catalogue()["catalogue"]]
    assert candidates(["check", "device=|"]) == [f"device={name}" for name in everywhere]
    tree = config.load("trajectories", ["task.path=x"]).tree
    for key in [word.rstrip("=") for word in KEYS]:
        part = tree
        for name in key.split("."):
            part = part[name]


# -- In bash -------------------------------------------------------------------------------------------------------


def ask(line: str, folder: Path) -> list[str]:
    """What bash would offer for the line, with the cursor at its end.

    Its variables are set as bash sets them: words are split at blanks and at "=", which is among COMP_WORDBREAKS.
    """
    words = line.replace("=", " = ").split() + [""] * line.endswith((" ", "="))
    program = f"""
        {BASH}
        PATH={shlex.quote(str(folder))}:$PATH
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
        command=$(basename "${{COMP_WORDS[0]}}")
        [[ $(complete -p "$command") == *"-F _experiments $command" ]] || echo "no completion for $command"
        _experiments 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `experiments` and `python`, as an installation would put them on the path."""
    place = tmp_path_factory.mktemp("path")
    root = Path(__file__).parents[2]
    for name, arguments in (("experiments", "-m experiments"), ("python", "")):
        text = f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} {arguments} "$@"\n'
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return place


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("command", ["experiments", "python -m experiments"])
def test_the_script_in_bash(command: str, folder: Path) -> None:
    assert ask(f"{command} ", folder) == list(VERBS)
    assert ask(f"{command} run flo", folder) == ["flocking"]
    # bash replaces what follows the "=", so that alone is offered.
    assert ask(f"{command} run flocking model=neu", folder) == ["neural_ode"]
    assert sorted(ask(f"{command} run flocking model=", folder)) == MODELS
    assert ask(f"{command} run flocking seed=0 mod", folder) == ["model="]
    assert ask(f"{command} report pen", folder) == ["pendulum"]
    # Nothing to offer: bash falls back to file names (complete -o default).
    assert ask(f"{command} run trajectories task.path=da", folder) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_other_uses_of_python_are_left_alone(folder: Path) -> None:
    for line in ("python scr", "python -m pyt", "python -m experimentsx run flo"):
        assert ask(line, folder) == []


def test_the_script_is_printed_for_both_shells() -> None:
    assert script("bash") == BASH and BASH in script("zsh") and "bashcompinit" in script("zsh")
