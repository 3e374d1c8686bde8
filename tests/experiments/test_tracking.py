"""Tracking: the log read back with W&B's own reader, and a dead W&B that nobody notices."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from experiments import tracking

ROOT = Path(__file__).parents[2]
KEY = "0" * 40  # the form of a key, no key

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="experiments")


def read_back(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of every run below `directory`, by the run's name."""
    runs = {}
    for path in directory.rglob("*.wandb"):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        out = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        records = [json.loads(line) for line in out.splitlines()]
        runs[next(r["run"]["display_name"] for r in records if r["type"] == "run")] = records
    return runs


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [r[kind] for r in records if r["type"] == kind]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("experiments")]


def one_run(tracker: tracking.Tracker, name: str = "neural_ode-0", points: int = 5) -> tracking.Run:
    run = tracker.run(name=name, group="flocking", job_type="neural_ode", config={"seed": 0, "task": {"agents": 3}})
    for step in range(points):
        run.log({"step": step, "flop": 1e6 * step, "train/loss": 1 / (step + 1), "val/error": 2.0, "energy_j": None})
    return run


def test_the_offline_log_holds_all_that_was_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    picture = tmp_path / "figure.png"
    Image.new("RGB", (4, 4)).save(picture)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    at_home = set(Path.home().glob("**/*wandb*"))  # what tests before this one left (W&B's cache of artefacts)
    for name in ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_DIR"):  # must not win over what we say
        monkeypatch.setenv(name, "other")

    tracker = tracking.start("offline", tmp_path / "log")
    first = one_run(tracker, "first")
    second = tracker.run(name="second", group="flocking", job_type="mlp", config={"seed": 1}, tags=["study-a"])
    for step in range(3):  # both are open
        second.log({"step": step, "flop": 2.0 * step, "train/loss": 0.5, "train_s": 0.1})
        first.log({"step": 5 + step, "flop": 1e6 * (5 + step), "val/error": 1.0})
    first.table("final", ["model", "error"], [["neural_ode", 0.25], ["linear", None]])
    first.image("figure", picture)
    first.summary({"error": 0.25, "exponent": None})
    first.finish()
    second.finish("failed")
    tracker.close()

    runs = read_back(tmp_path / "log")
    assert set(runs) == {"first", "second"}
    head = of_type(runs["first"], "run")[0]
    assert (head["run_group"], head["job_type"], head["project"]) == (
        "flocking",
        "neural_ode",
        "structured-vs-blackbox",
    )
    assert {k: v for k, v in head["config"]["update"].items() if k != "_wandb"} == {"seed": 0, "task": {"agents": 3}}
    assert of_type(runs["second"], "run")[0]["tags"] == ["study-a"]

    axes = {m.get("glob_name") or m["name"]: m.get("step_metric") for m in of_type(runs["first"], "metric")}
    assert axes["val/*"] == "flop" and axes["train/*"] == "step" and {"step", "flop"} <= set(axes)
    rows = [h["item"] for h in of_type(runs["first"], "history") if "step" in h["item"]]
    assert [row["step"] for row in rows] == list(range(8))
    assert [row["flop"] for row in rows] == [1e6 * step for step in range(8)]
    assert rows[1]["train/loss"] == 0.5 and "energy_j" not in rows[1]
    assert len([h for h in of_type(runs["second"], "history") if "train_s" in h["item"]]) == 3

    summary: dict[str, Any] = {}
    for update in of_type(runs["first"], "summary"):
        summary |= update["update"]
    assert summary["error"] == 0.25 and summary["status"] == "finished"
    assert [of_type(runs[name], "exit")[0].get("exit_code", 0) for name in ("first", "second")] == [0, 1]
    table = json.loads(next((tmp_path / "log").rglob("*.table.json")).read_text())
    assert table["columns"] == ["model", "error"] and table["data"] == [["neural_ode", 0.25], ["linear", None]]
    assert next((tmp_path / "log").rglob("media/images/*.png")).read_bytes() == picture.read_bytes()

    # One line of ours, none of W&B's; nothing outside the directory; no trace of this machine or its user.
    (line,) = said(caplog)
    assert "offline log" in line and str(tmp_path / "log") in line
    assert capfd.readouterr() == ("", "")
    assert not any((tmp_path / "cwd").iterdir()) and set(Path.home().glob("**/*wandb*")) <= at_home
    for secret in (socket.gethostname(), str(Path.home()), str(ROOT)):
        traces = [p for p in (tmp_path / "log").rglob("*") if p.is_file() and word_in(secret, p.read_bytes())]
        assert not traces, f"{secret!r} stands in {traces}"


def word_in(word: str, data: bytes) -> bool:
    return re.search(rb"(?<![\w.-])" + re.escape(word.encode()) + rb"(?![\w.-])", data) is not None


@pytest.mark.parametrize("how", ["raises", "sleeps"])
def test_a_dead_wandb_neither_stops_nor_slows_the_caller(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    wake = threading.Event()

    def init(**_: Any) -> None:
        if how == "raises":
            raise RuntimeError("no W&B\ntoday")
        wake.wait(60)

    monkeypatch.setattr(wandb, "init", init)
    times = []

    def timed(call: Any, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = call(*args, **kwargs)
        times.append(time.perf_counter() - started)
        return result

    tracker = timed(tracking.start, "offline", tmp_path)
    run = timed(tracker.run, name="a", group="g", job_type="j")
    for step in range(200):
        timed(run.log, {"step": step, "train/loss": 1.0})
    timed(run.finish)
    assert sorted(times)[len(times) // 2] < 1e-3
    assert sum(times) < 1.0  # seconds, for 203 calls
    if how == "raises":  # once the failure is known
        assert wait_until(lambda: bool(said(caplog)))
    started = time.perf_counter()
    tracker.close(timeout_s=1.0)
    assert time.perf_counter() - started < 1.5
    run.log({"step": 1})  # harmless after the end
    (line,) = said(caplog)
    assert ("tracking is off" in line and "no W&B today" in line) if how == "raises" else "within 1 s" in line
    wake.set()
    assert tracker._thread is not None
    tracker._thread.join(10)
    assert not tracker._thread.is_alive()


def wait_until(true: Any, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


@pytest.mark.parametrize("case", ["no key", "closed port", "silent server"])
def test_online_falls_back_to_offline_and_says_why(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)  # the system accepts for it; it never answers
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    if case == "closed port":
        listener.close()
    if case != "no key":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    started = time.perf_counter()
    tracker = tracking.start("online", tmp_path, timeout_s=4.0)
    one_run(tracker).finish()
    assert wait_until(lambda: bool(said(caplog)))
    assert time.perf_counter() - started < 8.0  # the limit of 4 s, the import of W&B, a busy machine
    tracker.close()
    first, last = said(caplog)
    reason = {"no key": "no API key", "closed port": "cannot be reached", "silent server": "did not answer within 2 s"}
    assert "logging offline" in first and reason[case] in first
    assert "offline log" in last
    listener.close()
    assert len(of_type(read_back(tmp_path)["neural_ode-0"], "history")) == 5


def test_a_directory_that_cannot_be_made_turns_tracking_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    tracker = tracking.start("offline", tmp_path / "file" / "log")
    one_run(tracker).finish()
    tracker.close()
    (line,) = said(caplog)
    assert "tracking is off" in line


@pytest.mark.parametrize(
    ("asked", "variable", "mode"),
    [
        ("auto", None, "offline"),
        ("auto", "online", "online"),
        ("auto", "disabled", "none"),
        ("auto", "dryrun", "offline"),
        ("none", "online", "none"),
        ("offline", "online", "offline"),
    ],
)
def test_the_configuration_wins_over_the_variable(asked: str, variable: str | None, mode: str) -> None:
    assert tracking.resolve_mode(asked, {} if variable is None else {"WANDB_MODE": variable}) == mode


def test_a_mode_that_does_not_exist_is_refused_by_name(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"WANDB_MODE must be .* 'maybe'"):
        tracking.resolve_mode("auto", {"WANDB_MODE": "maybe"})
    one_run(tracking.start("maybe", tmp_path)).finish()
    assert "tracking is off" in said(caplog)[0]


# Programs of their own: how a process with tracking ends.

PROGRAM = """
import logging, os, signal, sys, time
from pathlib import Path
from experiments import tracking
logging.basicConfig(level=logging.INFO, format="%(message)s")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
tracker = tracking.start(sys.argv[2], Path(sys.argv[1]))
run = tracker.run(name="a", group="g", job_type="j", config={})
for step in range(50):
    run.log({"step": step, "flop": 1.0})
while tracker._jobs.qsize():
    time.sleep(0.01)
"""

ENDINGS = {
    "closes": "run.finish(); tracker.close()",
    "forgets": "",
    "raises": "raise RuntimeError('of ours')",
    "is told to stop": "print('ready', flush=True)\ntry: time.sleep(30)\nfinally: tracker.close()",
    "is killed": "time.sleep(2); print('ready', flush=True); time.sleep(30)",
    # wandb-core stands still: as bad as a network that swallows everything
    "has a stuck helper": "os.kill(tracker._backend._wandb.setup()._connection._proc._process.pid, signal.SIGSTOP)\n"
    "run.finish(); tracker.close(1.0)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_process_ends_in_time_and_leaves_its_log(ending: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM + ENDINGS[ending], str(tmp_path / "log"), "offline"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        if ending in ("is told to stop", "is killed"):
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM if ending == "is told to stop" else signal.SIGKILL)
        started = time.perf_counter()
        _, errors = process.communicate(timeout=20)
        assert time.perf_counter() - started < 15
    finally:
        process.kill()
    assert process.returncode == {"raises": 1, "is told to stop": 143, "is killed": -signal.SIGKILL}.get(ending, 0)
    assert wait_until(lambda: not helpers_of(process.pid)), "wandb-core outlived the program"
    expected = {"raises": 6, "is killed": 0}.get(ending, 1)  # lines: our closing one, and the traceback
    assert len(errors.splitlines()) <= expected, errors
    if ending != "has a stuck helper":
        assert len(of_type(read_back(tmp_path)["a"], "history")) == 50


def helpers_of(pid: int) -> list[str]:
    lines = subprocess.run(["ps", "-axo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "wandb-core" in line and f"--pid {pid}" in line]


def test_none_does_not_import_wandb(tmp_path: Path) -> None:
    check = "run.finish(); tracker.close(); assert not [m for m in sys.modules if m.startswith('wandb')]"
    command = [sys.executable, "-c", PROGRAM + check, str(tmp_path / "log"), "none"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=20, cwd=ROOT, env=os.environ | {"PYTHONPATH": ""}
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (tmp_path / "log").exists()
