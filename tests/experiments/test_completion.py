"""Shell completion: what is offered, and the script in a real bash."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import VERBS, _parser, flags
from experiments.completion import BASH, CHOICES, KEYS, candidates, script
from experiments.listing import catalogue, grids
from experiments.verbs.report import FORMATS
from hardware import catalogue as hardware_catalogue
from hardware.grid import carbon_intensity
from hardware.grid import grids as known_grids

MODELS = sorted(catalogue()["model"])
TASKS = sorted(catalogue()["task"])
GRIDS = list(grids())
STUDIES = sorted(catalogue()["study"])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([], sorted(VERBS)),
        (["|"], sorted(VERBS)),
        (["rep|"], ["report"]),
        (["run|"], ["run"]),
        (["run", "flo|"], ["flock_detection", "flocking"]),
        (["run", "lo|"], ["local_flocking", "lorenz63", "lorenz96", "lotka_volterra"]),
        (["run", "flocking", "mo|"], ["model="]),
        (["run", "flocking", "model=|"], [f"model={name}" for name in MODELS]),
        (["run", "flocking", "model=neu|"], ["model=neural_ode"]),
        (["run", "flocking", "backend=|"], ["backend=jax", "backend=torch"]),
        (["run", "flocking", "experiment=ly|"], ["experiment=lynx_hare"]),
        (["run", "flocking", "--fo|"], ["--force"]),
        (["run", "flocking", "seed=|"], []),
        (["run", "flocking", "nothing=|"], []),
        (["list", "mo|"], ["model"]),
        (["report", "pen|"], ["pendulum"]),
        (["show", "pen|"], ["pendulum"]),
        (["show", "pendulum", "prior=par|"], ["prior=parameters"]),
        (["show", "pendulum", "model=|"], []),
        (["show", "pendulum", "--format", "|"], ["gif", "mp4", "png", "svg"]),
        (["check", "--ca|"], ["--calibrate"]),
        (["check", "device=tpu_v5|"], ["device=tpu_v5e", "device=tpu_v5p"]),
        (["check", "device=tpu_v5e", "model=neu|"], ["model=neural_ode"]),
        (["run", "flocking", "device=t|"], ["device=tpu"]),
        (["run", "flocking", "metric=|"], []),
        (["run", "pendulum", "seed=0", "seed=0|"], []),
        (["run flocking --fo|"], ["--force"]),  # as the script sends them
        (["run flocking |"], sorted(candidates(["run", "x", "|"]))),
        ([""], sorted(VERBS)),
        (["list", "gr|"], ["grid"]),
        (["list", "grid", "|"], ["--json"]),
        (["report", "--|"], sorted(flags("report"))),
        (["report", "flocking", "--mix|"], ["--mix-joules"]),
        (["report", "|"], sorted(["study=", *TASKS, *flags("report")])),
        (["report", "study=qu|"], ["study=quick"]),
        (["report", "study=quick", "|"], sorted(flags("report"))),
        (["sweep", "|"], sorted(["study=", *flags("sweep")])),
        (["sweep", "st|"], ["study="]),
        (["sweep", "study=|"], [f"study={name}" for name in STUDIES]),
        (["sweep", "study=la|"], ["study=ladder"]),
        (["sweep", "study=quick", "--dry|"], ["--dry-run"]),
        (["status", "study=qui|"], ["study=quick"]),
        (["status", "--js|"], ["--json"]),
        (["run", "study=|"], []),
        (["run", "st|"], []),
        (["list", "stu|"], ["study"]),
        (["report", "flocking", "|"], sorted(flags("report"))),
        (["report", "--runs", "|"], []),
        (["report", "--runs", "flocking", "pend|"], ["pendulum"]),
        (["report", "flocking", "--format", "|"], sorted(FORMATS)),
        (["report", "flocking", "--format", "ma|"], ["markdown"]),
        (["report", "flocking", "--format=ma|"], ["--format=markdown"]),
        (["check", "device=h100", "pend|"], ["pendulum"]),
        (["check", "device=h100", "pendulum", "loren|"], []),
        (["check", "--grid", "fran|"], ["france"]),
        (["check", "device=h100", "--grid", "gcp_asia_east|"], ["gcp_asia_east1", "gcp_asia_east2"]),
        (["check", "--grid", "|"], sorted(GRIDS)),
        (["check", "--pue", "|"], []),
        (["check", "grid=|"], []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_candidates(words: list[str], offered: list[str]) -> None:
    assert sorted(candidates(words)) == offered


def test_a_second_task_is_not_offered() -> None:
    for words in (["run", "|"], ["run", "--force", "|"], ["run", "seed=1", "|"], ["report", "--format", "csv", "|"]):
        assert set(TASKS) <= set(candidates(words))
    assert not set(TASKS) & set(candidates(["report", "--format", "csv", "pendulum", "|"]))
    assert not set(TASKS) & set(candidates(["run", "pendulum", "|"]))


def test_all_that_is_offered_is_understood() -> None:
    from experiments import config, config_tree

    offered = set(candidates(["run", "pendulum", "|"]))
    assert {word for word in offered if word.startswith("--")} == set(flags("run"))
    for group in ("model", "budget", "tracking", "experiment"):
        assert candidates(["run", "pendulum", f"{group}=|"]) == [
            f"{group}={name}" for name in config_tree._group_choices(group)
        ]
    assert config_tree.task_names() == TASKS
    assert CHOICES == {"backend": config.BACKENDS, "dtype": config.DTYPES}
    assert candidates(["run", "device=|"]) == [f"device={name}" for name in config.DEVICES]
    everywhere = [*config.DEVICES, *catalogue()["catalogue"]]
    assert candidates(["check", "device=|"]) == [f"device={name}" for name in everywhere]
    tree = config.load("trajectories", ["task.path=x"]).tree
    for key in [word.rstrip("=") for word in KEYS]:
        part = tree
        for name in key.split("."):
            part = part[name]


def test_verbs_and_flags_and_their_values_are_those_of_the_parsers() -> None:
    (verbs,) = (action.choices for action in _parser()._actions if action.dest == "verb")
    assert verbs is not None and list(verbs) == list(VERBS)
    for name in VERBS:
        shown = {word for word in candidates([name, "--|"])}
        assert shown == (set() if name == "completion" else set(flags(name)))
        for flag, action in flags(name).items():
            assert action.choices is None or candidates([name, flag, "|"]) == list(action.choices)


# -- What is listed of hardware ------------------------------------------------------------------------------------


def test_the_grids_are_those_of_the_table() -> None:
    """`list` reads the file as text; the YAML reader has the last word."""
    assert sorted(GRIDS) == known_grids()
    for name, line in grids().items():
        found = carbon_intensity(name)
        grams, words = line.split(maxsplit=1)
        assert float(grams) == found.g_per_kwh
        assert words.startswith("g of CO2 a kWh (") and f", {found.year})" in words
        for code in line.partition("; also ")[2].partition(".")[0].replace(",", " ").split():
            assert carbon_intensity(code).name == name
    assert grids()["france"].endswith("; also FR, FRA.")


def test_plain_list_names_one_grid_with_their_number_and_list_grid_all() -> None:
    (line,) = dict(catalogue())["grid"].values()
    assert str(len(GRIDS)) in line and "list grid" in line
    assert list(catalogue()["grid"]) == GRIDS


STYLES = {
    "folded": "description: >\n  A board of ours (2024). It hums.\nmatches: [X. Y]\n",
    "literal": "description: |-\n  A board\n\n  of ours (2024). It hums.\n",
    "inline": "description: A board of ours (2024). It hums.\nmatches: [X. Y]\n",
    "comment": "description: A board of ours (2024)  # it hums\n",
    "double": 'description: "A board of ours (2024). It hums."\n',
    "single": "description: 'A board of ours (2024)'\n",
    "wrapped": "description: A board\n  of ours\n  (2024)\nnumbers: {}\n",
    "last": "description: >\n  A board of ours\n  (2024)",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own devices."""
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("style", STYLES)
def test_a_users_own_devices_are_listed_and_offered(style: str, own: Path) -> None:
    (own / "my_board.yaml").write_text("kind: cuda\n" + STYLES[style], encoding="utf-8")
    found = catalogue()["catalogue"]
    assert found["my_board"] == "A board of ours (2024)."
    assert list(found) == hardware_catalogue.names()
    assert candidates(["check", "device=my|"]) == ["device=my_board"]
    assert candidates(["run", "device=my|"]) == []  # a run is on this machine


def test_files_that_cannot_be_read_hide_no_device(own: Path) -> None:
    shipped = {name: line for name, line in catalogue()["catalogue"].items()}
    (own / "folder.yaml").mkdir()
    (own / "dangling.yaml").symlink_to(own / "nowhere")
    (own / "bytes.yaml").write_bytes(b"description: caf\xe9\n")
    (own / "empty.yaml").touch()
    (own / "h100.yaml").write_text("description: Not the real one.\n")  # hardware refuses it, and says why
    (own / "note.txt").write_text("description: no device\n")
    found = catalogue()["catalogue"]
    assert {name: line for name, line in found.items() if name in shipped} == shipped
    assert found.keys() - shipped.keys() == {"bytes", "empty"} and found["empty"] == "No description."


@pytest.mark.parametrize("folder", ["", "nowhere", "a_file"])
def test_a_folder_that_is_none_is_passed_over(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARDWARE_CATALOGUE", raising=False)
    shipped = dict(catalogue())
    (tmp_path / "a_file").touch()
    (tmp_path / "stray.yaml").write_text("description: Not asked for.\n")
    monkeypatch.chdir(tmp_path)  # an empty name is no folder, not this one
    monkeypatch.setenv("HARDWARE_CATALOGUE", folder and str(tmp_path / folder))
    assert dict(catalogue()) == shipped


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
    assert ask(f"{command} run flo", folder) == ["flock_detection", "flocking"]
    # bash replaces what follows the "=", so that alone is offered.
    assert ask(f"{command} run flocking model=neu", folder) == ["neural_ode"]
    assert sorted(ask(f"{command} run flocking model=", folder)) == MODELS
    assert ask(f"{command} run flocking seed=0 mod", folder) == ["model="]
    assert ask(f"{command} report pen", folder) == ["pendulum"]
    # Flags, which are not taken for flags of `completion` itself, and what may follow them.
    assert ask(f"{command} run flocking --fo", folder) == ["--force"]
    assert ask(f"{command} report flocking --runs elsewhere --mi", folder) == ["--mix-joules"]
    assert ask(f"{command} report flocking --format ", folder) == list(FORMATS)
    assert ask(f"{command} report flocking --format=ma", folder) == ["markdown"]
    assert ask(f"{command} check device=h100 --grid fran", folder) == ["france"]
    # Nothing to offer: bash falls back to file names (complete -o default).
    assert ask(f"{command} run trajectories task.path=da", folder) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_other_uses_of_python_are_left_alone(folder: Path) -> None:
    for line in ("python scr", "python -m pyt", "python -m experimentsx run flo"):
        assert ask(line, folder) == []


def test_the_script_is_printed_for_both_shells() -> None:
    assert script("bash") == BASH and BASH in script("zsh") and "bashcompinit" in script("zsh")
