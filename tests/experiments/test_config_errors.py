"""Wrong commands: one line on stderr that says what is wrong and what is right, exit code 2, no traceback."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.config import load
from experiments.record import Record

# Commands, and what their one line must say.
WRONG: list[tuple[str, list[str]]] = [
    # verbs and flags
    ("", ["run, sweep, report"]),
    ("rnu pendulum", ["rnu", "did you mean run?"]),
    ("list modle", ["modle", "did you mean model?"]),
    ("report pendulum --runs nowhere://x", ["store", "nowhere"]),
    ("run pendulum model=linear runs=nowhere://x --quiet", ["store", "nowhere"]),
    ("run pendulum --forec", ["--forec", "did you mean --force?"]),
    ("report pendulum --format htlm", ["htlm", "'csv'"]),
    ("report pendulum --target=-1", ["--target", "above 0", "-1"]),
    ("report pendulum --runs nowhere", ["nowhere", "--runs FOLDER"]),
    ("completion bsh", ["bsh", "did you mean bash?"]),
    # tasks
    ("run", ["which task?"]),
    ("run ''", ["which task?"]),
    ("run pendulm", ["task", "'pendulm'", "did you mean pendulum?"]),
    ("run Pendulum", ["did you mean pendulum?"]),
    ("run pendulum.yaml", ["did you mean pendulum?"]),
    ("run base_pendulum", ["task must be one of", "did you mean double_pendulum?"]),
    ("run ../config", ["task must be one of"]),
    ("run pendulum lorenz63", ["one task", "pendulum", "lorenz63"]),
    ("run pendulum task=lorenz63", ["one task", "pendulum", "task=lorenz63"]),
    ("run pendulum task.name=lorenz63", ["task=NAME"]),
    # groups and presets
    ("run pendulum model=neural_od", ["'neural_od'", "did you mean neural_ode?"]),
    ("run pendulum model=", ["model must be one of", "neural_ode"]),
    ("run pendulum model=null", ["model must be one of"]),
    ("run pendulum model.name=mlp", ["model=NAME"]),
    ("run pendulum budget=flopp", ["did you mean flop?"]),
    ("run pendulum budget=base_budget", ["budget must be one of flop, joule, sample, second"]),
    ("run pendulum tracking=onlin", ["did you mean online?"]),
    ("run pendulum training=defalt", ["did you mean default?"]),
    ("run pendulum experiment=lynx_har", ["'lynx_har'", "did you mean lynx_hare?"]),
    ("run pendulum experiment=smok", ["did you mean smoke?"]),
    ("run pendulum experiment=[smoke,smok]", ["did you mean smoke?"]),
    ("run pendulum experiment=lynx_hare", ["lynx_hare", "task.path", "leave yours out"]),
    ("run trajectories task.path=lynx_hare experiment=smoke", ["smoke", "task.n_train"]),
    # keys
    ("run pendulum modle=mlp", ["no key modle", "did you mean model?"]),
    ("run pendulum model.widht=3", ["no key model.widht", "did you mean model.width?"]),
    ("run pendulum model=persistence model.width=3", ["no key model.width"]),
    ("run pendulum widht=3", ["no key widht", "did you mean model.width?"]),
    ("run pendulum task.gravity=2", ["did you mean task.system.gravity?"]),
    ("run pendulum hydra.run.dir=x", ["no key hydra.run.dir"]),
    ("run pendulum seed.foo=3", ["no key seed.foo"]),
    ("run pendulum model@x=mlp", ["no key model@x"]),
    ("run pendulum =3", ["no key"]),
    ("run pendulum task.system=3", ["task.system.gravity"]),
    ("run pendulum +x=3", ["+x=3", "added"]),
    ("run pendulum ++model.width=3", ["++model.width=3", "added"]),
    ("run pendulum ~model", ["~model", "removed"]),
    ("run pendulum task.system.length=0", ["no key task.system.length", "task.system has gravity, damping, drive"]),
    ("run pendulum task.system.gravty=1", ["did you mean task.system.gravity?"]),
    ("run pendulum task.system.x.y=1", ["no key task.system.x.y"]),
    ("run flock_detection task.ood=all", ["task.ood: it belongs to tasks of a system", "task=flock_detection"]),
    ("run trajectories task.path=x task.noise=1", ["task.noise: it belongs to tasks of a system", "task=trajectories"]),
    # what would do nothing
    ("run pendulum task.rounds=3", ["task.rounds does nothing without task.active", "add task.active=true"]),
    ("run pendulum task.intervention=clamp", ["task.intervention does nothing", "add task.interventional=0.5"]),
    ("run pendulum model.rtol=1e-3", ["model.solver=rk4", "add model.solver=dopri5"]),
    ("run pendulum task.ood=more_agents", ["there is more_agents: Pendulum has no agents"]),
    ("run pendulum task.ood=all,cut_edge", ["there is cut_edge"]),
    ("run pendulum task.hidden=velocity task.ood=clamped", ["there is clamped: what is observed is held"]),
    ("run pendulum task.ood=all,none", ["task.ood must be none alone", "all,none"]),
    ("run pendulum task.ood=kick:angle", ["kick takes no name", "'kick:angle'", "task.ood=kick"]),
    # what cannot work
    ("run flocking model=rule_residuals", ["model=rule_residuals", "task=flocking", "questions about tracks"]),
    ("run flock_detection model=hybrid_ode", ["model=hybrid_ode", "asked a question about tracks"]),
    ("run pendulum task.hidden=velocity model=hybrid_ode", ["variables that are hidden: velocity"]),
    ("run robertson model=true_physics", ["model=true_physics", "Robertson is stiff"]),
    ("run flocking model=hybrid_ode model.network=false prior=unknown_form", ["a form is told"]),
    ("run flock_detection model=hybrid_ode prior=parameters", ["prior=parameters", "asks about tracks"]),
    ("run pendulum task.active=true task.fresh=true", ["task.active must be false with task.fresh=true, but"]),
    (
        "run pendulum task.on_blow_up=cut task.process_noise=1",
        ["must be refuse with task.process_noise, but it is cut"],
    ),
    # words and brackets
    ("run pendulum widht", ["widht is neither", "did you mean model.width?"]),
    ("run widht pendulum", ["widht is neither"]),
    ("run pendulum model", ["did you mean model=…?"]),
    ("run pendulum seed=[0,1", ["seed=[0,1", "brackets"]),
    ("run pendulum model.width=(3", ["model.width=(3", "brackets"]),
    ('run pendulum "model.solver=\'rk4"', ["model.solver='rk4", "quotes"]),
    ("run pendulum model==mlp", ["model==mlp"]),
    ("run pendulum model=mlp,linear", ["model=mlp,linear", "seed"]),
    ("run pendulum model.width=1,2", ["model.width=1,2"]),
    # values
    ("run pendulum model.width=abc", ["model.width must be a whole number", "abc"]),
    ("run pendulum model.width=1.5", ["model.width must be a whole number", "1.5"]),
    ("run pendulum model.width=true", ["model.width must be a whole number"]),
    ("run pendulum model.width=null", ["model.width", "null"]),
    ("run pendulum task.active=maybe", ["task.active must be true or false", "maybe"]),
    ("run pendulum task.active=3", ["task.active must be true or false", "3"]),
    ("run pendulum task.noise=", ["task.noise must be a number, but it is empty"]),
    ("run pendulum model.width=-3", ["model.width must be above 0", "-3"]),
    ("run pendulum model.rtol=nan", ["model.rtol", "finite", "nan"]),
    ("run pendulum model.solver=rk5", ["model.solver", "'rk5'", "did you mean rk4?"]),
    ("run pendulum model.activation=sillu", ["did you mean silu?"]),
    ("run pendulum budget.flop=lots", ["budget.flop must be a number", "lots"]),
    ("run pendulum budget.flop=-1", ["budget.flop must be above 0"]),
    ("run pendulum budget.flop=nan", ["budget.flop", "finite"]),
    ("run pendulum budget.flop=inf", ["budget.flop", "finite"]),
    ("run pendulum budget.sample=1.5", ["budget.sample must be a whole number"]),
    ("run pendulum budget.flop=null", ["at least one of flop, joule, second, sample"]),
    ("run pendulum training.learning_rate=inf", ["training.learning_rate", "finite"]),
    ("run pendulum training.batch=0", ["training.batch must be above 0"]),
    ("run pendulum task.system.gravity=-1", ["task.system.gravity must be above 0"]),
    ("run pendulum task.system.gravity=nan", ["task.system.gravity", "finite"]),
    ("run pendulum task.system.damping=-inf", ["task.system.damping", "finite"]),
    ("run pendulum task.noise=-1", ["task.noise must be 0 or more"]),
    ("run pendulum task.noise=inf", ["task.noise", "finite"]),
    ("run pendulum task.horizon=inf", ["task.horizon", "finite"]),
    ("run pendulum task.horizon=1 task.spacing=2", ["task.spacing must be at most the horizon (1.0)", "2.0"]),
    ("run pendulum task.n_train=0", ["task.n_train must be above 0"]),
    ("run pendulum task.data_seed=-1", ["task.data_seed must be 0 or more"]),
    ("run pendulum seed=-1", ["seed must be whole numbers", "-1"]),
    ("run pendulum seed=abc", ["seed must be whole numbers", "'abc'"]),
    ("run pendulum seed=0.5", ["seed must be whole numbers", "0.5"]),
    ("run pendulum seed=0,1,0", ["none twice", "[0, 1, 0]"]),
    ("run pendulum seed=", ["seed must be whole numbers"]),
    ("run pendulum seed=[]", ["at least one"]),
    ("run pendulum seed=true", ["seed must be whole numbers"]),
    ("run pendulum seed=range(3)", ["seed=range(3)", "seed=0,1,2"]),
    ("run pendulum targets=0", ["targets must be errors above 0"]),
    ("run pendulum targets=0.1,inf", ["targets must be errors above 0", "inf"]),
    ("run pendulum targets=abc", ["targets must be errors above 0", "'abc'"]),
    ("run pendulum references=persistense", ["'persistense'", "did you mean persistence?"]),
    ("run pendulum references=null", ["references=linear,mlp"]),
    ("run pendulum runs=", ["runs must be a folder"]),
    ("run pendulum runs=null", ["runs must be a folder"]),
    ("run pendulum backend=pytorch", ["did you mean torch?"]),
    ("run pendulum dtype=double", ["did you mean float64?"]),
    ("run pendulum device=gpu", ["'gpu'", "did you mean cuda?"]),
    ("run pendulum device=CPU", ["did you mean cpu?"]),
    # the user's data
    ("run trajectories", ["task.path must be given"]),
    ("run trajectories task.path=", ["task.path", "task.path=FILE"]),
    ("run pendulum task.path=x.csv", ["no key task.path"]),
    ("run trajectories task.path=x task.split=tim", ["task.split", "did you mean time?"]),
    ("run trajectories task.path=x task.missing=dorp", ["task.missing", "did you mean drop?"]),
    ("run trajectories task.path=x task.unit=-1", ["task.unit must be above 0"]),
    ("run trajectories task.path=x task.unit=abc", ["task.unit must be a number", "abc"]),
    ("run trajectories task.path=x task.data_seed=-1", ["task.data_seed"]),
    ("run trajectories task.path=x task.equations=lotka", ["task.equations", "did you mean lotka_volterra?"]),
]

# What only the machine or the data show comes after a few lines of progress.
TOO_LATE: list[tuple[str, list[str]]] = [
    ("device=cuda", ["no NVIDIA GPU", "device=cpu"]),
    ("device=tpu", ["no TPU", "device=cpu"]),
    ("device=tpu backend=torch", ["torch runs on cpu and cuda"]),
    ("tracking.mode=onlin", ["tracking must be auto, offline, online or none"]),
    ("model=hybrid_ode model.known=inertai", ["model.known", "inertia, gravity, damping", "'inertai'"]),
    ("training.window=1000", ["training.window=1000", "251"]),
    ("task.n_train=100000000000", ["GB", "task.n_train"]),
    ("runs=FILE", ["FILE", "cannot be written", "runs=FOLDER"]),
    ("runs=FILE/below", ["FILE/below", "cannot be written", "runs=FOLDER"]),
    ("budget.sample=63", ["budget.sample=63", "at least 64"]),
]


def words_of(command: str) -> list[str]:
    """As a shell would, but without its own meaning of brackets and of a lonely quote within double quotes."""
    return [a or b.strip("'") for a, b in re.findall(r'"([^"]*)"|(\S+)', command)]


def is_one_line(err: str) -> str:
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], err
    assert "Traceback" not in err
    return errors[0]


@pytest.mark.parametrize(("command", "parts"), WRONG, ids=[command for command, _ in WRONG])
def test_a_mistake_in_a_command(command: str, parts: list[str], here: Callable[..., Any]) -> None:
    done = here(*words_of(command))
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1, "a mistake that needs no computation is answered at once, by one line"
    line = is_one_line(done.err)
    assert not [part for part in parts if part not in line], line
    assert not list(Path.cwd().iterdir()), "a refused command leaves nothing behind"


@pytest.mark.parametrize(("words", "parts"), TOO_LATE, ids=[words for words, _ in TOO_LATE])
def test_what_the_machine_or_the_data_show(words: str, parts: list[str], here: Callable[..., Any]) -> None:
    Path("FILE").touch()
    small = ["experiment=smoke", "tracking=none", "references=[]", "budget.flop=null", "budget.sample=64"]
    done = here("run", "pendulum", "runs=r", *small, *words.split())
    assert (done.code, done.out) == (2, "")
    line = is_one_line(done.err)
    assert not [part for part in parts if part not in line], line
    assert not list(Path.cwd().glob("*/*/record.json"))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("nothing.csv", ["nothing.csv", "must exist", "lynx_hare"]),
        ("lynx_har", ["did you mean 'lynx_hare'?"]),
        ("nowhere/data.csv", ["not even the folder"]),
        (".", ["folder"]),
        ("data.txt", ["suffix", ".csv"]),
        ("one.csv", ["at least 2 complete rows"]),
        ("words.csv", ["words.csv:3", "must hold numbers", "'high'"]),
    ],
)
def test_data_that_cannot_be_used(path: str, parts: list[str], here: Callable[..., Any]) -> None:
    Path("data.txt").write_text("time,x\n0,1\n")
    Path("one.csv").write_text("time,x\n0,1\n")
    Path("words.csv").write_text("time,x\n0,1\n1,high\n")
    done = here("run", "trajectories", f"task.path={path}", "tracking=none", "runs=r")
    assert (done.code, done.out) == (2, "")
    line = is_one_line(done.err)
    assert not [part for part in parts if part not in line], line


def test_a_model_that_the_data_rule_out_is_refused_before_anything_is_trained(here: Callable[..., Any]) -> None:
    rows = [f"{k / 10},{(k - 9) ** 2}" for k in range(20)]
    Path("mine.csv").write_text("\n".join(["time,x", *rows]))
    done = here("run", "trajectories", "task.path=mine.csv", "model=hybrid_ode", "tracking=none", "runs=r")
    assert (done.code, done.out) == (2, "")
    line = is_one_line(done.err)
    assert "model=hybrid_ode" in line and "task.equations=SYSTEM" in line
    assert not list(Path.cwd().glob("*/*/record.json"))


def test_a_key_is_not_idle_where_its_switch_is_given() -> None:
    """The same command with one value changed is how activeness is compared with its control."""
    assert load("pendulum", ["task.active=false", "task.rounds=3"]).tree["task"]["rounds"] == 3
    assert load("pendulum", ["model.rtol=1e-3", "model.solver=dopri5"]).model


def test_the_least_budget_named_is_enough(here: Callable[..., Any], no_figure: None) -> None:
    """The figure in the message is the answer to 'how much then?'; and a reference too dear is a row, not the end."""
    words = ["run", "pendulum", "experiment=smoke", "tracking=none", "model=mlp", "runs=r", "references=neural_ode"]
    words.append("backend=torch")  # nothing to compile
    done = here(*words, "budget.flop=1000")
    assert done.code == 2 and "neural_ode: skipped, budget.flop=1000" in done.err
    found = re.search(r"mlp: budget\.flop=1000 is less than one training step; give at least (\S+)$", done.err.strip())
    assert found, done.err
    done = here(*words, f"budget.flop={found[1]}")
    assert done.code == 0 and re.search(r"^ neural_ode +skipped 1/1", done.out, re.MULTILINE), done


# -- A disk that is full or cannot be written ----------------------------------------------------------------------


def test_nothing_measured_is_lost_when_the_disk_is_full(
    here: Callable[..., Any], no_figure: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root ignores permissions and a small file system needs privileges to mount: the system call fails instead."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("experiments.store.os.fsync", full)
    words = ["references=[]", "model=mlp", "budget.flop=null", "budget.sample=64", "seed=0,1", "tracking=none"]
    done = here("run", "pendulum", "experiment=smoke", *words, "backend=torch", "runs=r")
    assert done.code == 2 and "No space left on device" in is_one_line(done.err)
    kept = [Path(path) for path in re.findall(r"kept in (\S+\.json)", done.err)]
    assert [Record.from_json(path.read_text()).seed for path in kept] == [0, 1]
    assert all(Record.from_json(path.read_text()).metrics for path in kept)
    assert not [path for path in Path("r").rglob("*") if path.is_file() and path.parent.name != ".locks"]
    # They are put back by hand, and found.
    monkeypatch.undo()
    for path in kept:
        folder = tmp_path / "here" / "r" / path.stem
        folder.mkdir(exist_ok=True)
        (folder / "record.json").write_text(path.read_text())
        assert json.loads(path.read_text())["identity"] == path.stem


def test_a_figure_that_cannot_be_written_takes_nothing_with_it(
    smoke: Any, here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("reports.figures.comparison_figure", full)
    done = here(*smoke.words)
    assert done.code == 0 and done.out == smoke.done.out
    assert "the figure could not be written" in caplog.text and "No space left" in caplog.text
