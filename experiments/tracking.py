"""Live tracking that can never stop or slow a run: the face of W&B (or of nothing) that the rest of the program sees.

Every call only puts a job on a queue; one daemon thread works it off. What goes wrong there is said once on the
logger, and tracking is off from then on. `tracking_wandb.py` holds the W&B calls and is imported in that thread only.
One tracker at a time in a process: closing it shuts W&B's helper process down.

    tracker = start("offline", Path("runs/tracking"))
    run = tracker.run(name="neural_ode-0", group="flocking", job_type="neural_ode", config={"seed": 0})
    run.log({"step": 10, "flop": 1e9, "train/loss": 0.3, "val/error": 0.2})
    run.finish()
    tracker.close()
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from experiments.tracking_wandb import Backend

Mode = Literal["offline", "online", "none"]

log = logging.getLogger(__name__)

# A dead W&B must not eat the memory either: jobs beyond this many waiting ones are dropped.
MAX_WAITING = 50_000


class ModeError(ValueError):
    """There is no such mode of tracking."""


def resolve_mode(asked: str = "auto", environ: Mapping[str, str] | None = None) -> Mode:
    """The mode to use: what the configuration says or, for "auto", the variable WANDB_MODE, else offline.

    Raises ModeError for a mode that does not exist.
    """
    given = asked if asked != "auto" else (os.environ if environ is None else environ).get("WANDB_MODE") or "offline"
    known: dict[str, Mode] = {"run": "online", "dryrun": "offline", "disabled": "none"}  # W&B's own other names
    known |= {"online": "online", "offline": "offline", "none": "none"}
    if given not in known:
        source = "tracking" if asked != "auto" else "the variable WANDB_MODE"
        raise ModeError(f"{source} must be auto, offline, online or none, but it is {given!r}")
    return known[given]


def start(mode: str, directory: Path, project: str = "structured-vs-blackbox", timeout_s: float = 10.0) -> Tracker:
    """A tracker that writes below `directory`; nothing starts before the first run. Returns at once, never raises."""
    try:
        return Tracker(resolve_mode(mode), Path(directory), project, timeout_s)
    except ValueError as error:
        log.warning("tracking is off: %s", error)
        return Tracker("none", Path(directory), project, timeout_s)


class Tracker:
    """Hands out runs and owns the thread that does the work. Made by `start`."""

    def __init__(self, mode: Mode, directory: Path, project: str, timeout_s: float) -> None:
        self._mode: Mode = mode
        self._directory = directory
        self._project = project
        self._timeout_s = timeout_s
        self._jobs: queue.SimpleQueue[Callable[[Backend], None] | None] = queue.SimpleQueue()
        self._off = threading.Event()  # set: jobs are dropped instead of done
        self._closed = False
        self._lock = threading.RLock()  # a signal handler may close while the first run starts
        self._backend: Backend | None = None
        self._thread: threading.Thread | None = None
        self._cpu_seconds = 0.0
        if mode == "none":
            self._off.set()

    def run(
        self,
        *,
        name: str,
        group: str,
        job_type: str,
        config: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
    ) -> Run:
        """Open the tracked run of one model and seed: `group` is the task, `job_type` the model."""
        run = Run(self)
        spec = {"name": name, "group": group, "job_type": job_type, "config": plain(config or {}), "tags": list(tags)}
        self._put(lambda backend: run._opened(backend.open_run(**spec)))
        return run

    @property
    def off(self) -> bool:
        """Nothing is tracked, by choice or since something went wrong."""
        return self._off.is_set()

    def warm(self) -> None:
        """Start W&B now, so that it is not starting when something is measured."""
        self._put(lambda backend: None)

    def cpu_seconds(self) -> float:
        """Processor seconds that the tracking thread has used: they are not the run's."""
        thread = self._thread
        if thread is None or thread.ident is None or not thread.is_alive():
            return self._cpu_seconds
        with contextlib.suppress(OSError, AttributeError):  # it has just ended, or the system has no such clock
            self._cpu_seconds = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return self._cpu_seconds

    def close(self, timeout_s: float = 10.0) -> None:
        """Finish what is open, wait for it no longer than `timeout_s`, and say in one line where the log lies."""
        with self._lock:
            thread, first_time, self._closed = self._thread, not self._closed, True
        if thread is None or not first_time:
            return
        atexit.unregister(self.close)
        self._jobs.put(None)
        thread.join(max(0.0, timeout_s - 0.2))  # the rest is for letting go
        if not thread.is_alive():
            return
        self._off.set()
        backend = self._backend
        kept = f"; what it had logged lies in {self._directory}" if backend is not None else ""
        log.warning("W&B did not finish within %g s and was left%s", timeout_s, kept)
        if backend is not None:
            backend.abandon()

    def _put(self, job: Callable[[Backend], None]) -> None:
        if self._off.is_set() or self._closed:
            return
        if self._jobs.qsize() >= MAX_WAITING:
            self._fail("W&B does not keep up")
            return
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
                    self._thread.start()
        self._jobs.put(job)

    def _fail(self, reason: object) -> None:
        if not self._off.is_set():
            self._off.set()
            log.warning("tracking is off, the run goes on: %s", reason)
        if self._backend is not None:
            self._backend.complete = False

    def _work(self) -> None:
        """The thread: make the backend, do the jobs, close the backend."""
        try:
            from experiments.tracking_wandb import Backend

            backend = self._backend = Backend(self._mode, self._directory, self._project, self._timeout_s)
            backend.connect()
            # W&B has registered an exit hook that waits for its helper without limit. Exit hooks run last first, so
            # ours, with a limit, comes before it when nobody closed the tracker.
            atexit.register(self.close, self._timeout_s)
        except BaseException as error:  # SystemExit as well: nothing here may end in a traceback of the thread
            self._fail(_one_line(error))
        while (job := self._jobs.get()) is not None:
            if self._off.is_set() or self._backend is None:
                continue
            try:
                job(self._backend)
            except BaseException as error:
                self._fail(_one_line(error))
        if self._backend is not None:
            try:
                self._backend.close()
            except BaseException as error:
                self._fail(_one_line(error))
                self._backend.abandon()


class Run:
    """One tracked run. Every method returns at once and never raises."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._handle: Any = None  # W&B's run; touched in the tracking thread only

    def log(self, values: Mapping[str, Any]) -> None:
        """One point: "step" and "flop" are the axes, the rest is drawn against them. None (unknown) is left out."""
        known = {name: plain(value) for name, value in values.items() if value is not None}
        self._do(lambda backend: backend.log(self._handle, known))

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table under `name`."""
        names, body = list(columns), [plain(list(row)) for row in rows]
        self._do(lambda backend: backend.table(self._handle, name, names, body))

    def image(self, name: str, path: Path | str) -> None:
        """A PNG or JPEG file under `name`; it must stay until the tracker is closed."""
        self._do(lambda backend: backend.image(self._handle, name, Path(path)))

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final figures."""
        known = {name: plain(value) for name, value in values.items()}
        self._do(lambda backend: backend.summary(self._handle, known))

    def finish(self, status: str = "finished") -> None:
        """End the run; any other status than "finished" marks it as failed."""
        self._do(lambda backend: backend.finish(self._handle, status))

    def _opened(self, handle: Any) -> None:
        self._handle = handle

    def _do(self, job: Callable[[Backend], None]) -> None:
        self._tracker._put(job)


def plain(value: Any) -> Any:
    """A copy of nested data in types every log format has, so that what the caller changes later is not seen."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if callable(getattr(value, "tolist", None)):  # arrays and scalars of NumPy, JAX and torch
        return value.tolist()
    return str(value)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
