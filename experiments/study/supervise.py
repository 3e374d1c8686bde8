"""One unit, whatever the executor: wait for its device, start a fresh worker, follow it, say how it ended.

A process of its own for every unit, so that what one leaves in memory, or how one dies, is no other's concern. The
locks are inherited by the worker: they hold for as long as it lives, even where its supervisor is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from experiments.store import Store
from experiments.study import failures
from experiments.study.devices import Held, closing, try_hold, try_lock
from experiments.study.failures import Failure
from experiments.study.finished import all_finished
from experiments.study.folder import StudyFolder
from experiments.study.unit_state import DONE, FAILED, HEARTBEAT_S, INTERRUPTED, RUNNING, UnitState

WORKER = (sys.executable, "-m", "experiments.study.worker")
GRACE_S = 120.0  # for a worker that was asked to stop: a program that is being compiled cannot be interrupted
POLL_S, NEWS_S = 0.2, 1.0
ROOT = str(Path(__file__).parents[2])

# How a unit may end for its supervisor. BUSY: another sweep works on it. STOPPED: we were asked to stop.
BUSY, STOPPED = "busy", "stopped"


@dataclass(frozen=True)
class Order:
    """A unit to be worked on, in plain types so that it can be sent anywhere.

    `unit`: its fields; `root`, `folder`: the store and the study's place in it; `study`: {name: hash}; `kind`: of the
    device; `metric`: the test error that events tell. `worker`: the command that reads this order as JSON from stdin.
    """

    unit: dict[str, Any]
    root: str
    folder: str
    study: dict[str, str]
    kind: str
    metric: str = ""
    packing: int = 1
    attempt: int = 1
    worker: tuple[str, ...] = WORKER

    @property
    def key(self) -> str:
        return self.unit["key"]

    def plain(self) -> tuple[Any, ...]:
        """As arguments of `supervise_plainly`."""
        return (asdict(self),)


@dataclass(frozen=True)
class Outcome:
    """How it ended: `end` is done, failed, busy or stopped; `failure` says why it failed."""

    key: str
    end: str
    failure: Failure | None = None
    errors: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, raw: dict[str, Any]) -> Outcome:
        return cls(**{**raw, "failure": Failure(**raw["failure"]) if raw["failure"] else None})


def supervise_plainly(raw: dict[str, Any]) -> dict[str, Any]:
    """`supervise` for another machine: what goes there and comes back are plain types."""
    return asdict(supervise(Order(**raw)))


def supervise(order: Order, stop: threading.Event | None = None) -> Outcome:
    """Work on a unit until its worker has ended. `stop`, or a signal where this is the main thread, makes the worker
    keep what it has and end."""
    stop = stop or threading.Event()
    with _signals_set(stop):
        store = Store(order.root)
        files = StudyFolder(store, order.folder)
        try:
            if (held := _wait_for_device(order, stop)) is None:
                return Outcome(order.key, STOPPED)
            with closing(*held.files):
                log = try_lock(files.log(order.key))
                if log is None:
                    return Outcome(order.key, BUSY)
                with closing(log):
                    if all_finished(order.unit["identities"], store):  # by another sweep, while we waited
                        return Outcome(order.key, DONE)
                    log.truncate(0)
                    return _follow(order, held, log, files, stop)
        except OSError as error:
            return Outcome(order.key, FAILED, failures.of_exception(error))


def _wait_for_device(order: Order, stop: threading.Event) -> Held | None:
    while not stop.is_set():
        if held := try_hold(order.kind, order.packing):
            return held
        stop.wait(POLL_S)
    return None


def _follow(order: Order, held: Held, log: IO[str], files: StudyFolder, stop: threading.Event) -> Outcome:
    state = UnitState(
        order.key, RUNNING, socket.gethostname(), os.getpid(), time.time(), time.time(), attempts=order.attempt
    )
    deaths = _deaths_for_memory()
    process = _start(order, held, log)
    state = replace(state, pid=process.pid)
    files.write(state)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    asked: float | None = None
    failure: Failure | None = None
    finished = news = now = False
    while True:
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=POLL_S)
            if line is None:
                break
            event = _event(line)
            finished = finished or event.get("event") == "done"
            if event.get("event") == "failed":
                failure = Failure(event.get("class", failures.BUG), event.get("reason", ""), event.get("traceback", ""))
            state, news = _heard(state, event), True
            now = now or event.get("event") in ("record", "failed")
        age = time.time() - state.heartbeat
        if now or age > HEARTBEAT_S or (news and age > NEWS_S):
            state, news, now = _beat(files, state), False, False
        if stop.is_set() and asked is None:
            asked = time.time()
            process.terminate()
        if asked is not None and time.time() - asked > GRACE_S:
            process.kill()
    code = process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if finished and code == 0:
        shutil.rmtree(files.checkpoint(order.key), ignore_errors=True)
        _beat(files, replace(state, state=DONE, fraction=1.0, seconds_left=0.0))
        return Outcome(order.key, DONE, errors=state.errors)
    if failure is None:
        failure = failures.of_exit(code, _end_of(log), _deaths_for_memory() > deaths)
    ended = INTERRUPTED if failure.kind == failures.INTERRUPTED else FAILED
    words = {"reason": failure.reason, "failure": failure.kind, "traceback": failure.traceback}
    _beat(files, replace(state, state=ended, **words))
    if asked is not None and failure.kind in (failures.INTERRUPTED, failures.KILLED):
        return Outcome(order.key, STOPPED, failure, state.errors)
    return Outcome(order.key, FAILED, failure, state.errors)


def _start(order: Order, held: Held, log: IO[str]) -> subprocess.Popen[str]:
    """The worker in a session of its own: Ctrl-C and a closed terminal reach the sweep, which passes them on."""
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        order.worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path} | held.environment,
        pass_fds=[file.fileno() for file in (*held.files, log)],
    )  # fmt: skip
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, which its exit code tells
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()  # and stays open: when it closes, the worker knows that nobody waits for it
    return process


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _heard(state: UnitState, event: dict[str, Any]) -> UnitState:
    if event.get("event") == "record":
        return replace(state, errors={**state.errors, event["identity"]: event.get("error")})
    if event.get("event") == "progress":
        names = ("fraction", "step", "error", "power_w", "seconds_left")
        return replace(state, **{name: event[name] for name in names if name in event})
    return state


def _beat(files: StudyFolder, state: UnitState) -> UnitState:
    state = replace(state, heartbeat=time.time())
    files.write(state)
    return state


def _end_of(log: IO[str]) -> str:
    with contextlib.suppress(OSError):
        return Path(log.name).read_text(errors="replace")[-20_000:]
    return ""


def _deaths_for_memory() -> int:
    """How many processes the system has killed for memory since it started; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@contextlib.contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """Where this is a process's main thread (a task of Ray, a job of SLURM): what would end it asks to stop instead.

    SIGUSR2 is what submitit makes SLURM send before a job's time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
