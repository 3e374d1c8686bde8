"""DuckDB over all records of a store, loose and compacted: the table `runs`, one row a run, and its points."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.store.files import LocalFiles
from experiments.store.tables import CURVE_OF_JSON, FROM_LINES, RUNS, SHOWN, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from experiments.store.remote import RemoteFiles

    Files = LocalFiles | RemoteFiles

log = logging.getLogger("experiments")
T = TypeVar("T")

FOLDER = "compacted"
LOOSE = 2**31 - 1  # the place of loose records: after all parts, for they are written later
# Of several records of one run the one that came to a result counts, then the newest.
RANK = "final DESC, started DESC, place DESC"


def parts(files: Files) -> list[str]:
    """The compacted parts of runs, oldest first. Each has its points in the file that `points_of` names."""
    found = []
    for folder in files.names(f"{FOLDER}/runs"):
        names = files.names(f"{FOLDER}/runs/{folder}")
        found += [f"{FOLDER}/runs/{folder}/{name}" for name in names if name.endswith(".parquet") and name[0] != "."]
    return sorted(found, key=lambda name: name.rpartition("/")[2])


def points_of(part: str) -> str:
    return part.replace("/runs/", "/points/", 1)


def read_parquet(files: Files, names: Iterable[str]) -> str:
    """SQL for the rows of these files, each with its `file_index`."""
    addresses = ", ".join(sql_text(files.address(name)) for name in names)
    return f"read_parquet([{addresses}], union_by_name = true, hive_partitioning = false)"


def connect(files: Files) -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    # What does not fit into memory goes where temporary files belong, not into the folder that we are called from.
    connection.execute("SET temp_directory = ?", [tempfile.gettempdir()])
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET parquet_metadata_cache = true")
    if files.remote is not None:
        connection.register_filesystem(files.remote)
    return connection


def stage(connection: DuckDBPyConnection, lines: Iterable[bytes], table: str) -> None:
    """A table of records given as lines, with their `row` and their `curve`."""
    # By way of one file, and not from the records' own: one that is damaged would make all of them unreadable.
    with tempfile.NamedTemporaryFile("wb", suffix=".json") as file:
        file.writelines(lines)
        file.flush()
        source = RUNS.replace("FROM lines", f"FROM ({FROM_LINES})")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT *, (row_number() OVER () - 1)::INTEGER AS row "
            f"FROM ({source})",
            [file.name],
        )


class Tables:
    """`runs` and `records` in a DuckDB connection: every run once, by the record that counts.

    `runs` has the columns of a part, and where each row is from: `place` (index into `parts`, or `LOOSE`) and `row`
    there. `records` is what `Store.query` shows.
    """

    def __init__(self, files: Files, loose: Iterable[bytes], left_out: set[str]) -> None:
        """`loose`: lines of loose records. They are read first: what is compacted meanwhile is then found twice, and
        never missed. `left_out`: parts that cannot be read."""
        self.files = files
        self.connection = connect(files)
        stage(self.connection, loose, "loose")
        self.parts = [part for part in parts(files) if part not in left_out]
        self._views()

    def execute(self, sql: str, values: Any = None) -> DuckDBPyConnection:
        return self.connection.execute(sql, values)

    def readable(self, name: str) -> bool:
        """Whether a file of points can be read; said when it cannot."""
        if not damaged(self.files, name):
            return True
        log.warning("%s cannot be read: these curves are taken from the records' text", self.files.address(name))
        return False

    def _views(self) -> None:
        execute = self.connection.execute
        execute(f"CREATE TEMP VIEW loose_runs AS SELECT *, {LOOSE} AS place FROM loose")
        if not self.parts:
            execute("CREATE TEMP VIEW compacted AS SELECT * FROM loose_runs WHERE false")
        else:
            execute(
                f"CREATE TEMP VIEW compacted AS SELECT *, {CURVE_OF_JSON} AS curve, file_index::INTEGER AS place "
                f"FROM {read_parquet(self.files, self.parts)}"
            )
        keys = " UNION ALL BY NAME ".join(
            f"SELECT identity, final, started, place, row FROM {table}" for table in ("loose_runs", "compacted")
        )
        execute(f"""CREATE TEMP TABLE superseded AS SELECT place, row FROM (
            SELECT place, row, row_number() OVER (PARTITION BY identity ORDER BY {RANK}) AS n FROM ({keys})
            WHERE identity IN (SELECT identity FROM ({keys}) GROUP BY identity HAVING count(*) > 1)) WHERE n > 1""")
        every = "SELECT * FROM loose_runs UNION ALL BY NAME SELECT * FROM compacted"
        if execute("SELECT count(*) FROM superseded").fetchone() != (0,):
            every = f"SELECT * FROM ({every}) ANTI JOIN superseded USING (place, row)"
        execute(f"CREATE TEMP VIEW runs AS {every}")
        execute(f"CREATE TEMP VIEW records AS SELECT {', '.join(SHOWN)} FROM runs")


def reading(files: Files, loose: Callable[[], Iterable[bytes]], use: Callable[[Tables], T]) -> T:
    """What `use` makes of the tables. A part that is damaged is named and left out; one that a compaction has just
    replaced by another is looked for again."""
    import duckdb

    left_out: set[str] = set()
    while True:
        seen = parts(files)
        try:
            return use(Tables(files, loose(), left_out))
        except (duckdb.Error, OSError):
            bad = [part for part in parts(files) if part not in left_out and damaged(files, part, whole=True)]
            if not bad and parts(files) == seen:
                raise  # it is the question that is wrong
            for part in bad:
                log.warning("left out %s: it is damaged; its runs are repeated", files.address(part))
            left_out.update(bad)


def damaged(files: Files, name: str, whole: bool = False) -> bool:
    """Whether a Parquet file cannot be read, to its end where `whole`."""
    import duckdb

    what = "count(hash(COLUMNS(*)))" if whole else "count(*)"
    with connect(files) as connection:
        try:
            connection.execute(f"SELECT {what} FROM read_parquet([{sql_text(files.address(name))}])").fetchall()
        except (duckdb.Error, OSError):
            return True
    return False
