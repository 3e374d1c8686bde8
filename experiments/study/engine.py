"""A sweep: the units of a plan worked off by an executor, each exactly once, whatever fails on the way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from experiments.errors import UserError
from experiments.store import Store, StoreError
from experiments.study import failures
from experiments.study.executors import Executor, Handle
from experiments.study.failures import Failure
from experiments.study.finished import all_finished, finished_units, join
from experiments.study.folder import StudyFolder
from experiments.study.spec import Study
from experiments.study.supervise import BUSY, STOPPED, WORKER, Order, Outcome
from experiments.study.tuned import resolve
from experiments.study.unit import Unit
from experiments.study.unit_state import DONE, FAILED, UnitState

POLL_S = 0.1
BUSY_S = 2.0  # until a unit that another sweep works on is looked at again


@dataclass(frozen=True)
class Options:
    """`retries`: of each unit, by the class of its failure. `packing`: runs at a time on one device."""

    retries: int = 2
    packing: int = 1
    worker: tuple[str, ...] = WORKER


@dataclass
class Progress:
    """Where a sweep stands, in units and in runs (a unit's lanes). `failed`: for good, with the reason."""

    units: int
    runs: int
    done: dict[str, int] = field(default_factory=dict)  # key -> runs
    found: int = 0  # runs that others had finished
    running: dict[str, Unit] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)  # another sweep works on them
    failed: dict[str, tuple[Unit, Failure]] = field(default_factory=dict)
    retried: int = 0

    @property
    def runs_done(self) -> int:
        return sum(self.done.values())


class Stopped(BaseException):
    """A signal asked the sweep to stop; every worker has kept what it had."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


class Sweep:
    """One sweep over some units of a plan. `run` may be called once; `stop` from anywhere, a signal handler too."""

    def __init__(self, units: Sequence[Unit], study: Study, store: Store, executor: Executor, options: Options) -> None:
        self._study, self._store, self._executor, self._options = study, store, executor, options
        self.show: Callable[[Progress, StudyFolder], None] = lambda progress, files: None
        self.units = {unit.key: unit for unit in units}  # tuned ones with their identities, once these are known
        self.files = StudyFolder(store, self._study.folder)
        self.progress = Progress(len(units), sum(len(unit.lanes) for unit in units))
        self._waiting = deque(units)
        self._home = {identity: unit.key for unit in units for identity in unit.identities}
        self._attempts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._handles: dict[str, Handle] = {}
        self._stop: int | None = None
        self._full: str = ""

    def stop(self, signal_number: int) -> None:
        """Ask every worker to keep what it has and end; `run` then raises Stopped."""
        self._stop = signal_number

    def run(self) -> Progress:
        """Work until every unit is done or has failed for good.

        Raises Stopped after `stop`, and StoreError when the store cannot be written any more.
        """
        self._take_what_is_finished()
        asked = False
        while self._waiting or self._handles:
            if self._stop is not None or self._full:
                if not asked:
                    for handle in self._handles.values():
                        handle.stop()
                asked = True
                if not self._handles:
                    break
            else:
                self._submit()
            self._collect()
            self.show(self.progress, self.files)
            time.sleep(POLL_S)
        if self._full:
            raise StoreError(self._full)
        if self._stop is not None:
            raise Stopped(self._stop)
        return self.progress

    def _take_what_is_finished(self) -> None:
        finished = finished_units(list(self._waiting), self._study, self._store)
        for unit in self._waiting:
            if unit.key in finished:
                self._settle(unit)
                self.progress.found += len(unit.lanes)
        self._waiting = deque(unit for unit in self._waiting if unit.key not in finished)

    def _settle(self, unit: Unit) -> None:
        self.progress.done[unit.key] = len(unit.lanes)
        self.progress.busy.discard(unit.key)

    # -- Submitting ----------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        free = self._executor.slots - len(self._handles)
        if free < 1 or not self._waiting:
            return
        chosen: list[Unit] = []
        later: deque[Unit] = deque()
        now = time.monotonic()
        while self._waiting and len(chosen) < free:
            unit = self._waiting.popleft()
            if self._not_before.get(unit.key, 0.0) > now or not self._is_ready(unit):
                later.append(unit)
                continue
            if (ready := self._resolved(unit)) is not None:
                chosen.append(ready)
        self._waiting = later + self._waiting
        if not chosen:
            return
        with self._executor.batch():
            for unit in chosen:
                self._handles[unit.key] = self._executor.submit(self._order(unit))
                self.progress.running[unit.key] = unit

    def _is_ready(self, unit: Unit) -> bool:
        """Whether what it waits for has been settled, one way or the other: its trials, which may be others' runs."""
        keys = {*unit.after, *(self._home.get(name, "") for name in unit.tuning.get("trials", ()))} & self.units.keys()
        return all(key in self.progress.done or key in self.progress.failed for key in keys)

    def _resolved(self, unit: Unit) -> Unit | None:
        """The unit as it can run now; None where it need not (finished) or cannot (settled as failed)."""
        for key in unit.after:
            # A trial that is too large for the memory has lost; one that failed otherwise might have won.
            if key in self.progress.failed and self.progress.failed[key][1].kind != failures.OUT_OF_MEMORY:
                reason = f"one of its trials failed: {self.progress.failed[key][1].reason}"
                return self._fail(unit, Failure(failures.MISTAKE, reason))
        try:
            unit = resolve(unit, self._store)
        except UserError as error:
            return self._fail(unit, Failure(failures.MISTAKE, str(error)))
        if unit.reason:
            return self._fail(unit, Failure(failures.MISTAKE, unit.reason))
        self.units[unit.key] = unit
        if all_finished(unit.identities, self._store):
            join(unit.identities, self._study, self._store)
            self._settle(unit)
            self.progress.found += len(unit.lanes)
            return None
        return unit

    def _order(self, unit: Unit) -> Order:
        self._attempts[unit.key] = self._attempts.get(unit.key, 0) + 1
        return Order(
            asdict(unit), self._store.url, self._study.folder, {self._study.name: self._study.hash},
            self._kind(unit), self._study.metric, self._options.packing, self._attempts[unit.key],
            self._options.worker,
        )  # fmt: skip

    def _kind(self, unit: Unit) -> str:
        device = unit.tree["device"]
        return self._executor.device.kind if device == "auto" else device

    # -- What ended ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for key, handle in list(self._handles.items()):
            if (outcome := handle.poll()) is None:
                continue
            del self._handles[key]
            self._ended(self.progress.running.pop(key), outcome)

    def _ended(self, unit: Unit, outcome: Outcome) -> None:
        if outcome.end == DONE:
            # What the worker found, and did not make, does not say yet what it is part of.
            join([name for name in unit.identities if name not in outcome.errors], self._study, self._store)
            self._settle(unit)
        elif outcome.end == STOPPED and (self._stop is not None or self._full):
            self._attempts[unit.key] -= 1
            self._waiting.appendleft(unit)
        elif outcome.end == BUSY:
            self._attempts[unit.key] -= 1
            self.progress.busy.add(unit.key)
            self._not_before[unit.key] = time.monotonic() + BUSY_S
            self._waiting.append(unit)
        else:
            # Stopped, but not by us: preempted, or at the end of a job's time.
            kind = failures.INTERRUPTED if outcome.end == STOPPED else failures.BUG
            failure = outcome.failure or Failure(kind, "it ended without saying why")
            if failure.kind == failures.STORE:
                self._full = failure.reason
                self._waiting.appendleft(unit)
            elif failure.retried and self._attempts[unit.key] <= self._options.retries:
                self.progress.retried += 1
                self._waiting.appendleft(unit)
            else:
                self._fail(unit, failure)

    def _fail(self, unit: Unit, failure: Failure) -> None:
        self.progress.failed[unit.key] = unit, failure
        self.progress.busy.discard(unit.key)
        now, attempts = time.time(), self._attempts.get(unit.key, 0)
        told = {"reason": failure.reason, "failure": failure.kind, "traceback": failure.traceback}
        before = self.files.read(unit.key) or UnitState(unit.key, FAILED, started=now)
        self.files.write(replace(before, state=FAILED, heartbeat=now, attempts=attempts, **told))
