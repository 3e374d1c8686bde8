"""Ctrl-C, SIGTERM, SIGKILL and two at once: what was measured is kept, once, and the same command finishes the rest."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.record import Record
from experiments.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

# A budget that nobody waits for, and another that takes a second.
ENDLESS, SHORT = "budget.sample=1000000000", "budget.sample=6400"
WORDS = ["run", "pendulum", "experiment=smoke", "model=mlp", "tracking=none", "budget.flop=null"]
# The command, with progress lines more often than every 5 s so that a test need not wait for them.
PROGRAM = """
import sys
import experiments.main_job, experiments.progress
experiments.progress.PLAIN_EVERY_S = 0.1
experiments.main_job.draw = lambda *_: []  # takes longer than all the rest
from experiments.cli import main
sys.exit(main())
"""
TRAINING = r"mlp: .*step [1-9]"
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def begin(environment: dict[str, str]) -> Iterator[Begin]:
    """Start a command that a test will disturb, in a folder; whatever is left of it is ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-c", PROGRAM, *WORDS, f"runs={folder}", *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], mark: str) -> list[str]:
    """Read its lines until one matches. The time limit is that of the test: a loaded machine may be slow."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if re.search(mark, line):
            return lines
    pytest.fail(f"ended with {process.wait()} before {mark!r}:\n" + "".join(lines))


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send the signal in the middle of training; returns the last line, after checking what holds for every signal."""
    wait_for(process, TRAINING)
    sent = time.perf_counter()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    # A compiled call takes half a second at most, and the evaluation of a checkpoint about as long. The rest of the
    # limit is for a machine with other things to do.
    assert time.perf_counter() - sent < 20
    assert process.returncode == 128 + number
    assert out == "" and "Traceback" not in err
    return err.splitlines()[-1]


def read(folder: Path) -> dict[tuple[str, int], Record]:
    """All records, none of which may be half written; and no leavings of a write that was cut off."""
    assert not list(folder.glob("*/.*"))
    found = [Record.from_json(path.read_text()) for path in sorted(folder.glob("*/record.json"))]
    return {(record.model, record.seed): record for record in found}


@contextlib.contextmanager
def stopped(process: subprocess.Popen[str]) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def interrupted(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A runs folder after Ctrl-C, and the last line that was printed."""
    folder = tmp_path_factory.mktemp("interrupted")
    return folder, end(begin(folder, ENDLESS, "references=linear", "seed=0,1"), signal.SIGINT)


def test_ctrl_c_in_the_middle_of_training_keeps_what_was_measured(interrupted: tuple[Path, str]) -> None:
    folder, said = interrupted
    assert said.startswith(f"stopped by signal 2; kept 3 records in {folder}; ")
    records = read(folder)
    assert set(records) == {("linear", 0), ("mlp", 0), ("mlp", 1)}
    assert records["linear", 0].status == "finished"
    for seed in (0, 1):
        partial = records["mlp", seed]
        assert partial.status == "interrupted" and partial.reason == "stopped by a signal"
        assert len(partial.curve) > 1 and partial.metrics == {}
        assert 0 < partial.curve[-1].flop <= (partial.costs.train_flop or 0)
        assert partial.costs.seconds["train"] > 0


def test_sigterm_in_a_repetition_leaves_the_whole_record(
    interrupted: tuple[Path, str], begin: Begin, tmp_path: Path
) -> None:
    """`--force` replaces a finished record by a finished one only."""
    whole = replace(read(interrupted[0])["mlp", 0], status="finished", metrics={"rollout_nrmse": 0.125})
    Store(tmp_path).save(whole)
    said = end(begin(tmp_path, ENDLESS, "references=[]", "--force"), signal.SIGTERM)
    assert said.startswith("stopped by signal 15; ")
    assert read(tmp_path) == {("mlp", 0): whole}


def test_the_same_command_finishes_what_was_interrupted(
    here: Callable[..., Any], no_figure: None, tmp_path: Path
) -> None:
    """From the record of an interrupted run, which is what a test above has seen an interruption leave."""
    words = [*WORDS, SHORT, "references=[]", "backend=torch", f"runs={tmp_path / 'runs'}"]
    assert here(*words).code == 0
    store = Store(tmp_path / "runs")
    [whole] = read(store.root).values()
    store.save(replace(whole, status="interrupted", metrics={}, curve=whole.curve[:3]))
    again = here(*words)
    assert again.code == 0 and "already finished" not in again.err
    [repeated] = read(store.root).values()
    assert repeated.status == "finished" and repeated.identity == whole.identity
    assert repeated.metrics == pytest.approx(whole.metrics, rel=1e-4)  # float32 rounding
    assert len(repeated.curve) == len(whole.curve)


def test_sigterm_and_the_same_command_again_is_not_having_been_stopped(
    begin: Begin, here: Callable[..., Any], no_figure: None, tmp_path: Path
) -> None:  # fmt: skip
    """Two processes and a real signal, against one: the same record to the bit, but for what clocks and meters say."""
    words = ["references=[]", "backend=torch", "seed=0", "budget.sample=64000"]
    (tmp_path / "parts").mkdir()
    assert here(*WORDS, *words, f"runs={tmp_path / 'whole'}").code == 0
    end(begin(tmp_path / "parts", *words), signal.SIGTERM)
    [partial] = read(tmp_path / "parts").values()
    assert partial.status == "interrupted"
    again = begin(tmp_path / "parts", *words)
    _, said = again.communicate(timeout=100)
    assert again.returncode == 0 and "mlp: going on from step " in said
    [one], [two] = (read(tmp_path / folder).values() for folder in ("whole", "parts"))
    timeless = [[replace(p, seconds=0, energy_j=None) for p in record.curve] for record in (one, two)]
    assert timeless[0] == timeless[1] and len(timeless[0]) > 10 and one.metrics == two.metrics
    assert (one.identity, one.costs.train_flop) == (two.identity, two.costs.train_flop)
    weights = [np.load(tmp_path / folder / one.identity / "weights.npz") for folder in ("whole", "parts")]
    for name in weights[0].files:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert two.costs.seconds["train"] > partial.costs.seconds["train"] > 0
    assert not list((tmp_path / "parts" / ".checkpoints").rglob("*.npz"))


def test_a_kill_leaves_a_store_that_can_be_read(begin: Begin, tmp_path: Path) -> None:
    process = begin(tmp_path, ENDLESS, "references=linear", "backend=torch")  # which has nothing to compile
    wait_for(process, TRAINING)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {key: record.status for key, record in read(tmp_path).items()} == {("linear", 0): "finished"}
    store = Store(tmp_path)
    assert len(store.query()) == 1
    # The lock died with its holder: nobody waits for a process that is no more.
    names = [path.name for path in (tmp_path / ".locks").iterdir() if path.name != "guard"]
    assert len(names) == 2
    for name in names:
        with store.lock(name) as first:
            assert first


def test_of_two_identical_commands_one_works_and_one_waits(begin: Begin, tmp_path: Path) -> None:
    first = begin(tmp_path, SHORT, "references=[]", "--force", "backend=torch")
    wait_for(first, "compiling")
    # The first holds the lock from before it compiles. Standing still it cannot finish before the second looks.
    with stopped(first):
        second = begin(tmp_path, SHORT, "references=[]", "--force", "backend=torch")
        lines = wait_for(second, "another process is doing this")
        assert not [line for line in lines if "compiling" in line]
    outputs = [process.communicate(timeout=100) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    # Even --force is satisfied by what another process has just done, and both print the same result.
    assert "mlp: already finished for seed 0" in outputs[1][1]
    assert "compiling" not in outputs[1][1]
    assert outputs[0][0] == outputs[1][0] != ""
    assert [record.status for record in read(tmp_path).values()] == ["finished"]
