"""A sweep, whatever fails: a worker that does as it is told stands for the real one, which takes seconds to start."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.record import Record
from experiments.store import Store, StoreError
from experiments.study import engine, failures, supervise
from experiments.study.devices import slots, try_hold, try_lock
from experiments.study.engine import Options, Progress, Stopped, Sweep
from experiments.study.failures import Failure
from experiments.study.folder import StudyFolder
from experiments.study.local import LocalExecutor
from experiments.study.summary import summarise
from experiments.study.supervise import STOPPED, Order, Outcome
from experiments.study.unit import Unit
from experiments.study.unit_state import DONE, FAILED, INTERRUPTED, RUNNING, UnitState
from tests.experiments import fake_worker
from tests.experiments.fake_worker import STUDY, unit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def worker(tmp_path: Path) -> tuple[str, ...]:
    return fake_worker.command(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.prepare()
    return made


@pytest.fixture
def make(store: Store, worker: tuple[str, ...]) -> Callable[..., Sweep]:
    def made(*units: Unit, retries: int = 2, packing: int = 1) -> Sweep:
        executor = LocalExecutor("cpu", "jax", packing)
        return Sweep(units, STUDY, store, executor, Options(retries, packing, worker))

    return made


def ran(store: Store) -> list[str]:
    return fake_worker.ran(store.root)


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def test_every_unit_runs_once_and_the_next_sweep_finds_it(make: Callable[..., Sweep], store: Store) -> None:
    units = [unit(1, "ok"), unit(2, "noise"), unit(3, "ok", lanes=1)]
    first = make(*units).run()
    assert (first.runs_done, first.found, first.failed) == (5, 0, {})
    assert ran(store) == [u.key for u in units]
    states = StudyFolder(store, STUDY.folder).states()
    assert {state.state for state in states.values()} == {DONE}
    assert states[units[0].key].errors == {"1lane0": 0.5, "1lane1": 0.5}
    second = make(*units).run()
    assert (second.runs_done, second.found) == (5, 5)
    assert len(ran(store)) == 3


def test_a_killed_worker_is_tried_again_and_costs_no_other(make: Callable[..., Sweep], store: Store) -> None:
    killed, other = unit(1, "kill", "ok"), unit(2, "ok")
    progress = make(killed, other).run()
    assert progress.retried == 1 and progress.failed == {} and progress.runs_done == 4
    assert ran(store) == [killed.key, killed.key, other.key]
    state = StudyFolder(store, STUDY.folder).read(killed.key)
    assert state is not None and (state.state, state.attempts) == (DONE, 2)


@pytest.mark.parametrize("word", [failures.OUT_OF_MEMORY, failures.DEVICE_LOST, failures.INTERRUPTED, "kill"])
def test_retries_come_to_an_end(make: Callable[..., Sweep], store: Store, word: str) -> None:
    hopeless, other = unit(1, word), unit(2, "ok")
    progress = make(hopeless, other, retries=1).run()
    assert ran(store).count(hopeless.key) == 2
    [(failed, failure)] = progress.failed.values()
    assert failed.key == hopeless.key and failure.kind == (failures.KILLED if word == "kill" else word)
    assert failure.reason
    assert progress.runs_done == 2  # the other's
    state = StudyFolder(store, STUDY.folder).read(hopeless.key)
    assert state is not None and (state.state, state.failure, state.attempts) == (FAILED, failure.kind, 2)
    # What the killed worker had finished is kept, and the same command tries again from there.
    assert (store.finished("1lane0") is not None) == (word == "kill")
    assert make(unit(1, "ok"), other).run().failed == {}


@pytest.mark.parametrize(("word", "kind"), [("bug", failures.BUG), (failures.MISTAKE, failures.MISTAKE)])
def test_what_would_come_again_is_not_tried_again(
    make: Callable[..., Sweep], store: Store, word: str, kind: str
) -> None:
    progress = make(unit(1, word), unit(2, "ok"), retries=5).run()
    assert len(ran(store)) == 2
    [(failed, failure)] = progress.failed.values()
    assert failure.kind == kind and progress.runs_done == 2
    state = StudyFolder(store, STUDY.folder).read(failed.key)
    assert state is not None and state.failure == kind
    if word == "bug":
        assert "a fault of ours" in failure.reason and "Traceback" in state.traceback
        assert "a fault of ours" in StudyFolder(store, STUDY.folder).log(failed.key).read_text()


def test_a_store_that_cannot_be_written_ends_the_sweep_at_once(make: Callable[..., Sweep], store: Store) -> None:
    sweep = make(unit(1, "ok"), unit(2, failures.STORE, "ok"), unit(3, "ok"))
    with pytest.raises(StoreError, match="as told: store"):
        sweep.run()
    assert len(ran(store)) == 2 and sweep.progress.runs_done == 2
    assert make(unit(1, "ok"), unit(2, "ok"), unit(3, "ok")).run().runs_done == 6
    assert len(ran(store)) == 4


def test_stopping_asks_the_workers_and_the_same_command_goes_on(make: Callable[..., Sweep], store: Store) -> None:
    units = [unit(1, "ok"), unit(2, "hang"), unit(3, "ok")]
    sweep = make(*units)

    def show(progress: Progress, files: StudyFolder) -> None:
        if (state := files.read(units[1].key)) and state.state == RUNNING and state.step == 1:
            sweep.stop(signal.SIGTERM)

    sweep.show = show
    with pytest.raises(Stopped) as stopped:
        sweep.run()
    assert stopped.value.signal_number == signal.SIGTERM
    assert ran(store) == [units[0].key, units[1].key]
    state = StudyFolder(store, STUDY.folder).read(units[1].key)
    assert state is not None and state.state == INTERRUPTED and not state.lost
    again = make(units[0], unit(2, "ok"), units[2]).run()
    assert (again.runs_done, again.found) == (6, 2)


def test_a_stop_between_units_costs_no_attempt(make: Callable[..., Sweep], store: Store) -> None:
    sweep = make(unit(1, "ok"))
    sweep.stop(signal.SIGINT)
    with pytest.raises(Stopped):
        sweep.run()
    assert ran(store) == []


def test_what_others_stop_is_tried_again_but_not_for_ever(store: Store) -> None:
    """A cluster that preempts a job, or whose time limit is too short, is not to be asked without end."""
    submitted: list[Order] = []

    class Preempted:
        def poll(self) -> Outcome:
            return Outcome(submitted[-1].key, STOPPED)

        def stop(self) -> None:
            pass

    class Cluster(LocalExecutor):
        def submit(self, order: Order) -> Any:
            submitted.append(order)
            return Preempted()

    progress = Sweep([unit(1, "ok")], STUDY, store, Cluster("cpu", "jax", 1), Options(retries=3)).run()
    assert [order.attempt for order in submitted] == [1, 2, 3, 4]
    [(_, failure)] = progress.failed.values()
    assert failure.kind == failures.INTERRUPTED


def test_a_corrupted_record_is_run_again(make: Callable[..., Sweep], store: Store) -> None:
    units = [unit(1, "ok"), unit(2, "ok")]
    make(*units).run()
    path = store.root / "1lane1" / "record.json"
    path.write_text(path.read_text().replace("0.5", "0.1"))  # edited by hand: its digest tells
    torn = store.root / "2lane0" / "record.json"
    torn.write_text(torn.read_text()[:200])
    progress = make(*units).run()
    assert (progress.runs_done, progress.found) == (4, 0)
    assert ran(store) == [u.key for u in (*units, *units)]
    assert store.finished("1lane1") is not None and store.finished("2lane0") is not None


def test_two_sweeps_at_once_run_nothing_twice(make: Callable[..., Sweep], store: Store) -> None:
    units = [unit(number, "slow") for number in range(1, 5)]
    sweeps = [make(*units, packing=2) for _ in range(2)]
    ended: list[Progress] = []
    threads = [threading.Thread(target=lambda s=s: ended.append(s.run())) for s in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [progress.runs_done for progress in ended] == [8, 8]
    assert all(progress.failed == {} for progress in ended)
    assert sorted(ran(store)) == [u.key for u in units]


def test_one_measured_run_at_a_time_on_a_device(make: Callable[..., Sweep], store: Store) -> None:
    """Also of two sweeps of different studies: the lock is the machine's."""
    sweeps = [make(unit(1, "slow"), unit(2, "slow")), make(unit(3, "slow"), unit(4, "slow"))]
    threads = [threading.Thread(target=s.run) for s in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    events = sorted(
        (float(line.split()[2]), line.split()[0]) for line in (store.root.parent / "ran").read_text().splitlines()
    )
    assert [what for _, what in events] == ["start", "end"] * 4


def test_packing_shares_a_device_but_not_with_a_run_that_wants_it_alone() -> None:
    assert slots("cpu", 3) == 3
    first, second = try_hold("cpu", 2), try_hold("cpu", 2)
    assert first and second and try_hold("cpu", 2) is None and try_hold("cpu", 1) is None
    for file in (*first.files, *second.files):
        file.close()
    alone = try_hold("cpu", 1)
    assert alone and try_hold("cpu", 2) is None
    for file in alone.files:
        file.close()


def test_each_gpu_is_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-0a1b")
    assert slots("cuda") == 2
    held = [try_hold("cuda"), try_hold("cuda")]
    assert [h and h.environment for h in held] == [
        {"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "GPU-0a1b"}
    ]  # fmt: skip
    assert try_hold("cuda") is None
    for h in held:
        assert h is not None
        h.files[0].close()


def test_a_finished_run_joins_the_study_that_finds_it(make: Callable[..., Sweep], store: Store) -> None:
    store.save(Record("1lane0", "pendulum", "mlp", "jax", "cpu", 0, "finished", {}, studies={"other": "f" * 16}))
    progress = make(unit(1, "ok", lanes=1)).run()
    assert progress.found == 1 and ran(store) == []
    record = store.load("1lane0")
    assert record is not None and record.studies == {"other": "f" * 16, "tiny": STUDY.hash}


def test_a_tuned_run_waits_for_its_trials(make: Callable[..., Sweep], store: Store) -> None:
    trials = [unit(1, "kill", "ok"), unit(2, "ok")]
    tuned = unit(3, "ok", after=tuple(trial.key for trial in trials))
    make(tuned, *trials).run()
    assert ran(store) == [trials[0].key, trials[0].key, trials[1].key, tuned.key]


@pytest.mark.parametrize(("word", "runs"), [(failures.MISTAKE, 2), (failures.OUT_OF_MEMORY, 3)])
def test_a_tuned_run_without_all_its_trials_is_not_run(
    make: Callable[..., Sweep], store: Store, word: str, runs: int
) -> None:
    """Equal tuning means equal trials. One that is too large for the memory has been tried, and lost."""
    trials = [unit(1, word), unit(2, "ok")]
    tuned = unit(3, "ok", after=tuple(trial.key for trial in trials))
    progress = make(tuned, *trials, retries=0).run()
    assert len(ran(store)) == runs
    assert (tuned.key in progress.failed) == (runs == 2)
    if runs == 2:
        assert "as told" in progress.failed[tuned.key][1].reason


def test_a_worker_stops_when_its_sweep_is_killed(store: Store, worker: tuple[str, ...], tmp_path: Path) -> None:
    """And until it has, nobody else gets its unit or its device."""
    one = unit(1, "hang")
    order = Order(asdict(one), str(store.root), STUDY.folder, {"tiny": STUDY.hash}, "cpu", worker=worker)
    program = (
        "import json, sys; from experiments.study.supervise import Order, supervise; "
        "supervise(Order(**json.loads(sys.argv[1])))"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(asdict(order))], env=os.environ | {"PYTHONPATH": root}
    )
    files = StudyFolder(store, STUDY.folder)
    until(lambda: (state := files.read(one.key)) and state.step == 1)
    assert try_hold("cpu") is None and try_lock(files.log(one.key)) is None
    process.kill()
    process.wait()
    until(lambda: "end" in (store.root.parent / "ran").read_text())

    def free() -> bool:
        held = try_hold("cpu")
        if held:
            held.files[0].close()
        return held is not None

    until(free)
    state = files.read(one.key)
    assert state is not None and state.state == RUNNING  # nobody was left to say otherwise, but
    assert replace(state, heartbeat=time.time() - 200).lost


def test_a_worker_that_does_not_listen_is_killed_in_the_end(
    make: Callable[..., Sweep], store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervise, "GRACE_S", 0.2)
    path = tmp_path / "worker.py"
    path.write_text(path.read_text().replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(15, lambda *_: 0)"))
    sweep = make(unit(1, "hang"))
    sweep.show = lambda progress, files: sweep.stop(15) if files.read(unit(1).key) else None
    with pytest.raises(Stopped):
        sweep.run()


def test_the_table_says_what_became_of_runs_without_an_error(store: Store) -> None:
    def runs(number: int, model: str, *results: tuple[str, float | None], **more: Any) -> Unit:
        made = replace(unit(number, lanes=len(results)), **more)
        made.tree["model"]["name"] = model
        for name, (status, error) in zip(made.identities, results, strict=True):
            r = Record(name, "pendulum", model, "jax", "cpu", 0, status, {}, metrics={STUDY.metric: error})
            store.save(replace(r, studies={STUDY.name: STUDY.hash}))
        return made

    study = replace(STUDY, structured=("hybrid_ode",), black_box=("mlp",), references=("linear",))
    units = [
        runs(1, "mlp", ("finished", 0.4), ("finished", 0.2), ("diverged", None), configuration="width=8"),
        runs(2, "mlp", ("finished", 0.3), configuration="width=64"),
        runs(3, "mlp", ("finished", 0.01), role="trial"),
        runs(4, "hybrid_ode", ("diverged", None), ("diverged", math.nan)),
        runs(5, "linear", ("skipped", None), condition="noise=0.1"),
    ]
    found = summarise(units, study, store)
    # Of width=8 the median over three runs, of which one has no error, is 0.4.
    assert found.cells["pendulum"] == {"mlp": 0.3, "hybrid_ode": "diverged"}
    assert found.statuses == {"finished": 4, "diverged": 3, "skipped": 1}
    lines = found.lines(study)
    assert lines[1].split() == ["task", "hybrid_ode", "mlp", "linear"]
    assert [line.split() for line in lines[2:]] == [
        ["pendulum", "diverged", "0.3", "–"], ["pendulum", "noise=0.1", "–", "–", "skipped"]
    ]  # fmt: skip


def test_the_state_of_a_unit_goes_through_json() -> None:
    state = UnitState("a1", FAILED, "host", 12, 1.5, 2.5, 3, 0.5, 7, 0.25, {"a": None}, None, 4.0, "why", "bug", "T")
    assert UnitState.from_json(state.to_json()) == state
    assert json.loads(state.to_json())["class"] == "bug"
    for text in ("[]", "{", '{"key": 1, "state": "done"}'):
        with pytest.raises(ValueError):
            UnitState.from_json(text)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), failures.OUT_OF_MEMORY),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes"), failures.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), failures.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), failures.DEVICE_LOST),
        (RuntimeError("INTERNAL: CUDA_ERROR_LAUNCH_FAILED: unspecified"), failures.DEVICE_LOST),
        (StoreError("the record could not be written"), failures.STORE),
        (OSError(28, "No space left on device"), failures.STORE),
        (OSError(2, "No such file"), failures.BUG),
        (ZeroDivisionError("division by zero"), failures.BUG),
    ],
)
def test_exceptions_have_a_class(error: Exception, kind: str) -> None:
    assert failures.of_exception(error).kind == kind


@pytest.mark.parametrize(
    ("code", "words", "short", "kind"),
    [
        (-9, "", False, failures.KILLED),
        (-9, "", True, failures.OUT_OF_MEMORY),
        (137, "", False, failures.OUT_OF_MEMORY),
        (-11, "Fatal Python error: Segmentation fault", False, failures.KILLED),
        (143, "", False, failures.INTERRUPTED),
        (-15, "", False, failures.INTERRUPTED),
        (1, "Traceback\nValueError: x", False, failures.BUG),
        (1, "terminate called: std::bad_alloc out of memory", False, failures.OUT_OF_MEMORY),
    ],
)
def test_exit_codes_have_a_class(code: int, words: str, short: bool, kind: str) -> None:
    failure = failures.of_exit(code, words, short)
    assert failure.kind == kind and failure.reason and "\n" not in failure.reason
    assert failure.retried == (kind not in (failures.BUG,))


def test_a_failure_is_one_line() -> None:
    assert failures.of_exception(ValueError("two\nlines")) == Failure(
        failures.BUG, "ValueError: two lines", "ValueError: two\nlines\n"
    )
    assert engine.POLL_S <= 0.5
