"""The record store: one folder a run, whose atomic `record.json` is written last; Parquet parts of compacted runs; and
DuckDB over all of them. On a local disk, or anywhere that fsspec reaches."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.record import FINAL, Record
from experiments.store.files import LocalFiles, StoreError, write_atomic
from experiments.store.loose import Loose, checked, name_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from experiments.store.compaction import Compacted
    from experiments.store.reading import Tables
    from experiments.store.remote import RemoteFiles
    from experiments.study.spec import Study
    from reports.study import StudyData

__all__ = ["Store", "StoreError", "write_atomic"]


class Store:
    """Records under `root`: a folder, or an fsspec URL (s3://…, gs://…, memory://…).

    A run's record is in `root/<identity>/record.json`, beside its other files, or, once compacted, in a row of a
    Parquet part in `root/compacted/`; where it is makes no difference to a reader. `root` is a folder on this machine
    in any case: of a remote store (whose address is `url`) one in the cache, for what only a real disk can hold.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        url = os.fspath(root)
        self.is_remote = "://" in url
        self.url = url if self.is_remote else os.path.expanduser(url)  # a shell leaves the ~ of runs=~/x as it is
        self.root, self._files = _open(self.url) if self.is_remote else (Path(self.url), LocalFiles(Path(self.url)))
        self._loose = Loose(self._files)
        self._finder: tuple[list[str], DuckDBPyConnection] | None = None

    def __str__(self) -> str:
        return self.url

    def same(self, other: Store) -> bool:
        """Whether both are one place."""
        if self.is_remote or other.is_remote:
            return self.url.rstrip("/") == other.url.rstrip("/")
        return self.root.resolve() == other.root.resolve()

    def prepare(self) -> None:
        """Make the folder and prove that it can be written; raises StoreError."""
        try:
            self._files.prove_writable()
        except OSError as error:
            raise StoreError(
                f"the runs folder {self} cannot be written ({error.strerror or error}); free or unlock it, "
                "or choose another with runs=FOLDER"
            ) from None

    # -- One record ------------------------------------------------------------------------------------------------

    def folder(self, identity: str) -> Path:
        """Where the run's other files lie on this machine."""
        return self.root / checked(identity)

    def load(self, identity: str) -> Record | None:
        """The record, or None when there is none that can be read (which is logged)."""
        loose, compacted = self._loose.load(identity), self._load_compacted(identity)
        if loose is None or (compacted is not None and _standing(compacted) > _standing(loose)):
            return compacted
        return loose

    def finished(self, identity: str) -> Record | None:
        """The record if the run has come to a result that a rerun would only repeat."""
        record = self.load(identity)
        return record if record is not None and record.status in FINAL else None

    def save(self, record: Record) -> Path:
        """Write the record. If the store fails, keep it in the system's temporary folder and say so in StoreError."""
        name, data = name_of(record.identity), record.to_json().encode()
        try:
            with self._files.guard(alone=False):
                self._files.write(name, data)
        except OSError as error:
            kept = _keep_elsewhere(record.identity, data)
            where = f"kept in {kept}" if kept else "it could not be kept elsewhere either"
            path = self._files.address(name)
            raise StoreError(
                f"the record could not be written to {path} ({error.strerror or error}): {where}"
            ) from None
        return self.root / name

    def join(self, identity: str, study: str, study_hash: str) -> Record | None:
        """Make a record that is there part of a study too; returns it, or None where there is none.

        Raises StoreError when it cannot be written.
        """
        record = self.load(identity)
        if record is None or record.studies.get(study) == study_hash:
            return record
        try:
            with self._files.guard(alone=True):  # two sweeps that share a run join it at once: neither may be lost
                record = self.load(identity)
                if record is not None:
                    record = replace(record, studies={**record.studies, study: study_hash})
                    self._files.write(name_of(identity), record.to_json().encode())
                return record
        except OSError as error:
            raise StoreError(
                f"the record {identity} in {self} could not be made part of study {study} ({error.strerror or error})"
            ) from None

    # -- Other files -----------------------------------------------------------------------------------------------

    def read_file(self, name: str) -> bytes:
        """A file of the store by its name, as `IDENTITY/weights.npz`; raises FileNotFoundError."""
        return self._files.read(name)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file of the store at once or not at all; raises OSError."""
        self._files.write(name, data)

    def file_names(self, folder: str) -> list[str]:
        """What lies in a folder of the store, sorted; nothing where there is none."""
        return self._files.names(folder)

    # -- Many records ----------------------------------------------------------------------------------------------

    def records(self, **wanted: Any) -> list[Record]:
        """All readable records whose fields equal `wanted`, oldest first. Unreadable ones are logged and left out."""
        found = {record.identity: record for record in self._loose.records()}
        for record in self._compacted_records():
            other = found.get(record.identity)
            if other is None or _standing(record) > _standing(other):
                found[record.identity] = record
        chosen = [r for r in found.values() if all(getattr(r, key) == value for key, value in wanted.items())]
        return sorted(chosen, key=lambda r: r.started)

    def present(self, identities: Iterable[str]) -> dict[str, str]:
        """The status of each of these runs that has a record, by identity."""
        import numpy as np

        wanted = {"identity": np.array(list(identities), dtype=object)}
        if not len(wanted["identity"]):
            return {}

        def use(tables: Tables) -> dict[str, str]:
            tables.connection.register("wanted", wanted)
            found = tables.execute("SELECT identity, status FROM runs SEMI JOIN wanted USING (identity)").fetchnumpy()
            return dict(zip(found["identity"], found["status"], strict=True))

        return self._read(use)

    def texts(self, identities: Iterable[str]) -> Iterator[str]:
        """The JSON text of these runs' records, as many as are there, in no order."""
        import numpy as np

        wanted = {"identity": np.array(list(identities), dtype=object)}
        if not len(wanted["identity"]):
            return

        def use(tables: Tables) -> Any:
            tables.connection.register("wanted", wanted)
            return tables.execute("SELECT coalesce(original, json) FROM runs SEMI JOIN wanted USING (identity)")

        found = self._read(use)
        while rows := found.fetchmany(1000):
            yield from (text for (text,) in rows)

    def counts(self, study: str) -> dict[str, int]:
        """How many runs of a study there are, trials and references among them, by status."""
        sql = "SELECT status, count(*) FROM runs WHERE map_contains(studies, ?) GROUP BY status ORDER BY status"
        return dict(self._read(lambda tables: tables.execute(sql, [study]).fetchall()))

    def query(self, sql: str = "SELECT * FROM records") -> Any:
        """A DuckDB relation of `sql`, in which `records` is the table of all runs, one row each."""
        # The tables stay behind the relation, whose connection they are.
        return self._read(lambda tables: tables.connection.sql(sql))

    def to_parquet(self, path: Path) -> int:
        """Write the table of all runs as Parquet; returns the number of rows."""
        relation = self.query()
        relation.to_parquet(str(path))
        return len(relation)

    def study_data(self, study: Study, planned: int | None = None) -> StudyData:
        """The records of a study as columns, for its report. `planned`: how many runs it has, finished or not."""
        from experiments.store.study_data import study_data

        return self._read(lambda tables: study_data(tables, study, planned))

    def compact(self) -> Compacted:
        """Put records with a result into Parquet parts and remove their files; see `experiments.store.compaction`."""
        from experiments.store.compaction import compact

        return compact(self)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold `name` alone; yields False if another process holds it (then waits until it is free).

        On a local disk the lock is the operating system's and dies with the process, so that a killed run blocks
        nobody; of a remote store see `experiments.store.remote.RemoteFiles`.
        """
        with self._files.lock(name) as first:
            yield first

    # -- Where records lie -----------------------------------------------------------------------------------------

    def _read(self, use: Any) -> Any:
        from experiments.store.reading import reading

        return reading(self._files, lambda: (found for *_, found in self._loose.lines()), use)

    def _load_compacted(self, identity: str) -> Record | None:
        found = list(self._compacted_records(identity))
        return max(found, key=_standing) if found else None

    def _compacted_records(self, identity: str | None = None) -> Iterator[Record]:
        """Records of the parts, or of one run; of one there may be several, the newest first."""
        from experiments.store.reading import parts

        if not (names := parts(self._files)):
            return
        for name, text in self._compacted_texts(names, identity):
            try:
                yield Record.from_json(text)
            except ValueError as error:
                self._loose.leave_out(f"{name}/record.json", error)

    def _compacted_texts(self, names: list[str], identity: str | None) -> list[tuple[str, str]]:
        import duckdb

        from experiments.store.reading import connect, read_parquet, reading

        chosen, values = ("WHERE identity = ?", [identity]) if identity else ("", [])
        sql = f"SELECT identity, coalesce(original, json) FROM {{}} {chosen} ORDER BY {{}} DESC"
        if self._finder is None or self._finder[0] != names:
            self._finder = names, connect(self._files)  # kept: one record after another is looked for
        try:
            source = read_parquet(self._files, names)
            return self._finder[1].execute(sql.format(source, "file_index"), values).fetchall()
        except (duckdb.Error, OSError):  # a part is damaged, or has just been replaced
            use = sql.format("compacted", "place")
            return reading(self._files, list, lambda tables: tables.execute(use, values).fetchall())


def _open(url: str) -> tuple[Path, RemoteFiles]:
    from experiments.store.remote import RemoteFiles
    from physics_models.cache import default_cache_dir

    # By a hash: two addresses never share a folder, and none shows what may be in it (a password).
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return default_cache_dir().parent / "stores" / f"{url.partition('://')[0]}-{name}", RemoteFiles(url)


def _standing(record: Record) -> tuple[bool, str]:
    """Of several records of one run the one that came to a result counts, then the newest."""
    return record.status in FINAL, record.started


def _keep_elsewhere(identity: str, data: bytes) -> Path | None:
    try:
        folder = Path(tempfile.mkdtemp(prefix="record-"))
        (folder / f"{identity}.json").write_bytes(data)
        return folder / f"{identity}.json"
    except OSError:
        return None
