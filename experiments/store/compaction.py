"""Compaction: records with a result, from one file a run to Parquet parts.

`compacted/runs/task=TASK/part-….parquet` has a row a run, the whole JSON text among its columns;
`compacted/points/task=TASK/part-….parquet`, of the same name, has a row a point of their curves: `row` is that of the
run in its part. A part counts as soon as its runs are there, which is last; it never changes after that. A
`record.json` is removed when the part that holds it is durable, and only if it is still the file that was read. So at
every moment, and whatever is killed, a record is in one of the two places; where it is in both, it counts once.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from experiments.store.files import StoreError
from experiments.store.loose import name_of
from experiments.store.reading import FOLDER, RANK, connect, damaged, parts, points_of, read_parquet, stage
from experiments.store.tables import CURVE_OF_JSON, sql_name, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from experiments.store import Store
    from experiments.store.reading import Files

log = logging.getLogger("experiments")

MOST_PARTS = 16  # of a task; more are made into one
BATCH = 20_000  # records made into parts at a time: what fits into memory
UNITE_BYTES = 1 << 27  # of parts made into one at a time
POINT = ("step", "samples", "flop", "seconds", "energy_j", "train_loss", "error")


@dataclass(frozen=True)
class Compacted:
    """`moved`: records now in parts; `left`: loose ones that have no result yet, or were written anew meanwhile."""

    moved: int
    left: int
    parts: int


def compact(store: Store) -> Compacted:
    """Compact a store, while others read and write it. Raises StoreError when it cannot be written: nothing is lost."""
    files = store._files
    if not files.names(""):
        return Compacted(0, 0, 0)
    import duckdb

    try:
        with files.lock("compact"):
            files.clear_scratch()
            _clear_points(files)
            moved, left = 0, 0
            for batch in _batches(store):
                gone, stayed = _move(files, batch)
                moved, left = moved + gone, left + stayed
            _unite(files)
            return Compacted(moved, left, len(parts(files)))
    except (OSError, duckdb.Error) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise StoreError(f"the store {files} could not be compacted: {what}; every record is still there") from None


def add_lines(files: Files, lines: list[bytes]) -> int:
    """Write records, given as lines, as new parts; returns how many have a result, which are all that it writes."""
    with connect(files) as connection:
        stage(connection, lines, "staged")
        connection.execute("CREATE TEMP TABLE taken AS SELECT * FROM staged WHERE final")
        return sum(_write(files, connection, task) for task in _tasks(connection))


def _batches(store: Store) -> Iterator[dict[str, tuple[Hashable, bytes]]]:
    """Loose records, verified: their lines, and the versions of the files that they were read from."""
    batch: dict[str, tuple[Hashable, bytes]] = {}
    for identity, stamp, line in store._loose.lines():
        batch[identity] = stamp, line
        if len(batch) == BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _move(files: Files, batch: dict[str, tuple[Hashable, bytes]]) -> tuple[int, int]:
    with connect(files) as connection:
        stage(connection, (line for _, line in batch.values()), "staged")
        connection.execute("CREATE TEMP TABLE taken AS SELECT * FROM staged WHERE final")
        for task in _tasks(connection):
            _write(files, connection, task)
        final = connection.execute("SELECT identity FROM taken").fetchall()
    moved = 0
    for (identity,) in final:  # the parts are durable: only now
        with files.guard(alone=True):
            if files.stamp(name_of(identity)) == batch[identity][0]:
                files.remove(name_of(identity))
                moved += 1
    return moved, len(batch) - moved


def _tasks(connection: DuckDBPyConnection) -> list[str]:
    return [task for (task,) in connection.execute("SELECT DISTINCT task FROM taken ORDER BY task").fetchall()]


def _write(files: Files, connection: DuckDBPyConnection, task: str) -> int:
    """A part of the records of a task in the table `taken`; returns how many there are."""
    # The time first: by name, a later part comes later.
    name = f"{folder_of(task)}/part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE part AS SELECT * REPLACE ((row_number() OVER (ORDER BY identity) - 1)::INTEGER
        AS row) FROM taken WHERE task = ?""",
        [task],
    )
    tests = connection.execute(
        "SELECT DISTINCT unnest(map_keys(p.test)) AS name FROM (SELECT unnest(curve) AS p FROM part) ORDER BY name"
    ).fetchall()
    columns = ", ".join(
        [*(f"p.{column}" for column in POINT), *(f"p.test[{sql_text(n)}] AS {sql_name(f'test.{n}')}" for (n,) in tests)]
    )
    with files.scratch() as scratch:
        bent = "SELECT row, unnest(curve) AS p, generate_subscripts(curve, 1) AS i FROM part"
        _copy(connection, f"SELECT row, {columns} FROM ({bent}) ORDER BY row, i", scratch / "points.parquet", 122_880)
        # Sorted, so that one record is found in one group of rows; small groups, for each row has a whole text.
        _copy(connection, "SELECT * EXCLUDE (curve) FROM part ORDER BY row", scratch / "runs.parquet", 2048)
        files.publish(scratch / "points.parquet", f"{FOLDER}/points/{name}")
        files.publish(scratch / "runs.parquet", f"{FOLDER}/runs/{name}")
    (rows,) = connection.execute("SELECT count(*) FROM part").fetchone() or (0,)
    return rows


def _copy(connection: DuckDBPyConnection, sql: str, path: Path, group: int) -> None:
    connection.execute(
        f"COPY ({sql}) TO {sql_text(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group})"
    )


def folder_of(task: str) -> str:
    """The folder of a task's parts, whatever is in its name: nothing in it leads elsewhere, and it is not too long."""
    name = quote(task, safe="", errors="replace")
    if len(name) > 120:
        name = f"{name[:100]}-{hashlib.sha256(task.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return f"task={name}"


def _clear_points(files: Files) -> None:
    """Remove points that a killed compaction left without their runs."""
    whole = {points_of(part) for part in parts(files)}
    for folder in files.names(f"{FOLDER}/points"):
        for name in files.names(f"{FOLDER}/points/{folder}"):
            if (path := f"{FOLDER}/points/{folder}/{name}") not in whole:
                files.remove(path)


def _unite(files: Files) -> None:
    """Make one part of the many small ones of a task, each run once, and remove those."""
    every = parts(files)
    for folder in sorted({part.split("/")[2] for part in every}):
        mine = [part for part in every if part.split("/")[2] == folder]
        if len(mine) <= MOST_PARTS:
            continue
        total, small = 0, []
        for part in sorted(mine, key=files.size):
            total += files.size(part)
            if total < UNITE_BYTES and not damaged(files, part, whole=True):
                small.append(part)
        if len(small) < 2:
            continue
        small.sort(key=every.index)  # the oldest first, as everywhere
        with connect(files) as connection:
            connection.execute(
                f"""CREATE TEMP TABLE taken AS SELECT *, {CURVE_OF_JSON} AS curve
                FROM {read_parquet(files, small)}
                QUALIFY row_number() OVER (PARTITION BY identity ORDER BY {RANK.replace("place", "file_index")}) = 1"""
            )
            for task in _tasks(connection):
                _write(files, connection, task)
        for part in small:
            files.remove(part)
            files.remove(points_of(part))
