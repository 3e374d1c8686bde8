"""How far a study has come: runs by what became of them, and the time and energy that the rest will take."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.record import DIVERGED, FINAL, FINISHED, REFERENCE, SKIPPED
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.folder import StudyFolder
from experiments.study.plan_file import plan_on_disk, write_parquet
from experiments.study.spec import Study
from experiments.study.unit import START_S
from experiments.study.unit_state import FAILED, INTERRUPTED, RUNNING, UnitState
from reports.text import duration, si, wrapped

SHOWN = 10  # failures that are told in full

# By (task, model, role), and of units that are not done one by one. `records` is what the store has, `@plan` the plan,
# `@lane` what a record is found by.
DONE = f"status IN ('{FINISHED}', '{DIVERGED}')"
COUNTS = f"""
WITH lanes AS (SELECT key, task, model, role, configuration, unnest(lanes) AS lane FROM @plan),
found AS (SELECT @lane AS lane, status, list_sum(map_values(seconds)) - coalesce(seconds['data'], 0) AS s,
  CASE WHEN list_count(map_values(energy_j)) = len(map_values(energy_j)) THEN list_sum(map_values(energy_j)) END AS j
  FROM records),
joined AS MATERIALIZED (SELECT lanes.*, status, s, j FROM lanes LEFT JOIN found USING (lane))
SELECT false AS single, task, model, role, '' AS key, '' AS configuration, count(*),
  count(*) FILTER (status = '{FINISHED}'), count(*) FILTER (status = '{DIVERGED}'),
  count(*) FILTER (status = '{SKIPPED}'),
  sum(s) FILTER ({DONE}), CASE WHEN count(*) FILTER ({DONE} AND j IS NULL) = 0 THEN sum(j) FILTER ({DONE}) END,
  quantile_cont(s, [0.25, 0.75]) FILTER ({DONE}), quantile_cont(j, [0.25, 0.75]) FILTER ({DONE})
FROM joined GROUP BY task, model, role
UNION ALL
SELECT true, any_value(task), any_value(model), any_value(role), key, any_value(configuration),
  count(*) FILTER (status IS NULL OR status NOT IN {FINAL}), 0, 0, 0, NULL, NULL, NULL, NULL
FROM joined GROUP BY key HAVING count(*) FILTER (status IN {FINAL}) < count(*)
ORDER BY single, task, role, model, key
"""
# Of a tuned run, whose identity the plan does not know: the name of its group, and its seed.
TUNED = """CASE WHEN role = 'run' AND tuning->>'$.group' IS NOT NULL THEN concat(tuning->>'$.group', ':', seed)
  ELSE identity END"""


@dataclass(frozen=True)
class Row:
    """The runs of one model on one task in one role. `seconds`, `energy_j`: what those done have used; None unknown.

    `each_s`, `each_j`: lower and upper quartile of what one of them takes.
    """

    task: str
    model: str
    role: str
    planned: int
    finished: int
    diverged: int
    skipped: int
    seconds: float | None
    energy_j: float | None
    each_s: tuple[float, float] | None
    each_j: tuple[float, float] | None

    @property
    def done(self) -> int:
        return self.finished + self.diverged + self.skipped


@dataclass(frozen=True)
class Failure:
    """A unit that failed: its runs, the class of the failure, and the reason in a line."""

    key: str
    task: str
    model: str
    configuration: str
    runs: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Status:
    """Where a study stands, in runs. `failed`: by class. `lost`: their worker has not been heard of for too long.

    `seconds_left`, `energy_j_left`: (low, high) of the work that is left, from the quartiles of what was done; None
    where nothing tells. `running_units`: the states of the units at work.
    """

    study: str
    hash: str
    store: str
    planned: int = 0
    finished: int = 0
    diverged: int = 0
    skipped: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    running: int = 0
    lost: int = 0
    interrupted: int = 0
    to_do: int = 0
    seconds_used: float | None = None
    energy_j_used: float | None = None
    seconds_left: tuple[float, float] | None = None
    energy_j_left: tuple[float, float] | None = None
    rows: tuple[Row, ...] = ()
    failures: tuple[Failure, ...] = ()
    running_units: tuple[UnitState, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        return self.finished + self.diverged + self.skipped

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"done": self.done}

    def lines(self, width: int = 110) -> list[str]:
        """The status for people."""
        results = [f"{n} {what}" for what, n in ((DIVERGED, self.diverged), (SKIPPED, self.skipped)) if n]
        parts = [f"{self.done:,} done" + (f" ({', '.join(results)} among them)" if results else "")]
        if self.failed:
            each = ", ".join(f"{n} {kind}" for kind, n in sorted(self.failed.items()))
            parts.append(f"{sum(self.failed.values()):,} failed ({each})")
        for what in ("running", "lost", "interrupted"):
            if count := getattr(self, what):
                parts.append(f"{count:,} {what}")
        parts.append(f"{self.to_do:,} to do")
        lines = [f"study {self.study} ({self.hash}) in {self.store}: {self.planned:,} runs: {', '.join(parts)}"]
        if self.done < self.planned:
            lines.append(self._left())
        lines += _table(self.rows)
        for state in self.running_units:
            lines.append(f"running: {_running(state)}")
        for failure in self.failures[:SHOWN]:
            where = f"{failure.model} on {failure.task} {failure.configuration}".strip()
            lines.append(f"failed ({failure.kind}): {where}: {failure.reason} [unit {failure.key}]")
        if len(self.failures) > SHOWN:
            lines.append(f"… and {len(self.failures) - SHOWN} more (--json has them all)")
        return wrapped([*lines, *(f"note: {note}" for note in self.notes)], width)

    def _left(self) -> str:
        if self.seconds_left is None:
            return "left: not known before a run has finished (sweep --dry-run estimates it)"
        text = f"left: {_range(self.seconds_left, duration)} of one device's time"
        if self.energy_j_left is not None:
            text += f", {_range(self.energy_j_left, lambda joules: si(joules, 'J'))}"
        return f"{text}, going by the runs that are done"


def status(study: Study, store: Store) -> Status:
    """Where the study stands in the store. Its plan is made now if the store keeps none. Raises UserError, OSError."""
    notes = list(_other_versions(study, store))
    with plan_on_disk(study, store) as path:
        if path is not None:
            return _status(study, store, sql_text(str(path)), notes)
    from experiments.study.plan import make_plan

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plan.parquet")
        write_parquet(make_plan(study, yes=True), path)
        return _status(study, store, sql_text(str(path)), [*notes, "it has not been swept into this store yet"])


def _other_versions(study: Study, store: Store) -> Iterator[str]:
    for name in store.file_names("studies"):
        if name.startswith(f"{study.name}-") and name != f"{study.name}-{study.hash}":
            yield f"the store also has studies/{name}: {study.name} as it was before its file or its settings changed"


def _status(study: Study, store: Store, plan: str, notes: list[str]) -> Status:
    """`plan`: the plan's table in SQL."""
    import duckdb

    with duckdb.connect() as connection:
        (tuned,) = connection.execute(f"SELECT bool_or(len(identities) = 0) FROM {plan}").fetchone() or (False,)
    sql = COUNTS.replace("@plan", plan).replace("@lane", TUNED if tuned else "identity")
    found = store.query(sql).fetchall()
    rows = tuple(Row(*row[1:4], *row[6:12], *map(_pair, row[12:])) for row in found if not row[0])
    open_units = [(row[4], row[1], row[2], row[3], row[5], row[6]) for row in found if row[0]]
    files, with_state = StudyFolder(store, study.folder), {*store.file_names(f"{study.folder}/units")}
    counts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    failures, running = [], []
    work = [_Work(), _Work()]
    for key, task, model, role, configuration, runs in open_units:
        state = files.read(key) if f"{key}.json" in with_state else None
        standing = "to_do" if state is None else "lost" if state.lost else state.state
        if standing == FAILED and state is not None:
            failed[state.failure or "bug"] += runs
            failures.append(Failure(key, task, model, configuration, runs, state.failure or "bug", state.reason))
            continue
        if standing not in (RUNNING, "lost", INTERRUPTED):
            standing = "to_do"
        if standing == RUNNING and state is not None:
            running.append(state)
        counts[standing] += runs
        part = 1 - state.fraction if standing == RUNNING and state is not None else 1.0
        like = _like(rows, task, model, role)
        work[0].add(None if like is None else like.each_s, runs * part, START_S, part)
        work[1].add(None if like is None else like.each_j, runs * part, (0.0, 0.0, 0.0), part)
    total = {name: sum(getattr(row, name) for row in rows) for name in ("planned", "finished", "diverged", "skipped")}
    return Status(
        study.name, study.hash, str(store), **total, failed=dict(failed), running=counts[RUNNING],
        lost=counts["lost"], interrupted=counts[INTERRUPTED], to_do=counts["to_do"],
        seconds_used=_sum(row.seconds for row in rows if row.done > row.skipped),
        energy_j_used=_sum(row.energy_j for row in rows if row.done > row.skipped),
        seconds_left=work[0].range(), energy_j_left=work[1].range(), rows=rows, failures=tuple(failures),
        running_units=tuple(running), notes=tuple(notes),
    )  # fmt: skip


class _Work:
    """A range of what is left; unknown as soon as a part of it is."""

    def __init__(self) -> None:
        self.low, self.high, self.known = 0.0, 0.0, True

    def add(
        self, each: tuple[float, float] | None, times: float, once: tuple[float, float, float], part: float
    ) -> None:
        if each is None:
            self.known = False
            return
        self.low += each[0] * times + once[0] * part
        self.high += each[1] * times + once[2] * part

    def range(self) -> tuple[float, float] | None:
        return (self.low, self.high) if self.known else None


def _like(rows: Sequence[Row], task: str, model: str, role: str) -> Row | None:
    """Runs that have been done and are most like these: the same, of the same model, of the same kind, or any."""
    done = [row for row in rows if row.each_s is not None]
    likeness = [
        lambda row: (row.task, row.model, row.role) == (task, model, role),
        lambda row: (row.task, row.model) == (task, model),
        lambda row: row.model == model,
        lambda row: (row.role == REFERENCE) == (role == REFERENCE),
        lambda row: role == REFERENCE,  # the other way round, what a reference takes says nothing of training
    ]
    for alike in likeness:
        for row in done:
            if alike(row):
                return row
    return None


def _pair(values: Any) -> tuple[float, float] | None:
    return None if values is None or None in values else (values[0], values[1])


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return None if not found or None in found else sum(value for value in found if value is not None)


# -- In words ------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Row]) -> list[str]:
    """Done of planned, tasks down and models across."""
    models = list(dict.fromkeys(row.model for row in sorted(rows, key=lambda row: (row.role == REFERENCE, row.model))))
    tasks = sorted({row.task for row in rows})
    cells = [["", *models]]
    for task in tasks:
        cells.append([task])
        for model in models:
            of = [row for row in rows if (row.task, row.model) == (task, model)]
            cells[-1].append(f"{sum(row.done for row in of):,}/{sum(row.planned for row in of):,}" if of else "–")
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [f"{row[0]:<{widths[0]}}  " + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in cells]


def _running(state: UnitState) -> str:
    parts = [f"{state.fraction:.0%}"]
    if state.error is not None:
        parts.append(f"error {state.error:.3g}")
    if state.power_w is not None:
        parts.append(f"{state.power_w:.1f} W")
    if state.seconds_left is not None:
        parts.append(f"{duration(state.seconds_left)} left")
    heard = max(0.0, time.time() - state.heartbeat)
    where = f"on {state.host} (process {state.pid})" if state.host else ""
    return f"unit {state.key} {where}: {', '.join(parts)}; heard of {duration(heard)} ago"


def _range(pair: tuple[float, float], words: Callable[[float], str]) -> str:
    low, high = map(words, pair)
    return low if low == high else f"{low} to {high}"
