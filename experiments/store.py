"""The record store: one folder a run, whose atomic `record.json` is written last; a DuckDB view over all of them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.record import FINAL, Record

log = logging.getLogger("experiments")

VIEW = """
SELECT identity, task, model, backend, device, seed, status, reason, parameters, metrics, config,
  costs.train_flop AS train_flop, costs.train_flop_executed AS train_flop_executed,
  costs.train_flop_by_kind AS train_flop_by_kind, costs.train_operations AS train_operations,
  costs.train_least_bytes AS train_least_bytes, costs.train_fused_bytes AS train_fused_bytes,
  costs.train_unfused_bytes AS train_unfused_bytes,
  costs.infer_flop_per_time_unit AS infer_flop_per_time_unit, costs.uncounted AS uncounted,
  costs.flop_method AS flop_method, costs.seconds AS seconds, costs.energy_j AS energy_j,
  costs.energy_method AS energy_method,
  costs.energy_uncertainty AS energy_uncertainty, costs.energy_reason AS energy_reason,
  costs.energy_covers AS energy_covers, costs.energy_notes AS energy_notes,
  costs.idle_power_w AS idle_power_w, costs.net_energy_j AS net_energy_j, costs.peak_memory_bytes AS peak_memory_bytes,
  costs.shared_by AS shared_by, curve, metric_units, facts, code, versions, host, started, schema
FROM read_json(?, format = 'newline_delimited', columns = {
  identity: 'VARCHAR', task: 'VARCHAR', model: 'VARCHAR', backend: 'VARCHAR', device: 'VARCHAR', seed: 'BIGINT',
  status: 'VARCHAR', reason: 'VARCHAR', parameters: 'BIGINT', metrics: 'MAP(VARCHAR, DOUBLE)', config: 'JSON',
  costs: 'STRUCT(train_flop DOUBLE, train_flop_executed DOUBLE,
    train_flop_by_kind MAP(VARCHAR, DOUBLE), train_operations DOUBLE, train_least_bytes DOUBLE,
    train_fused_bytes DOUBLE, train_unfused_bytes DOUBLE, infer_flop_per_time_unit DOUBLE,
    flop_method VARCHAR, uncounted VARCHAR[],
    seconds MAP(VARCHAR, DOUBLE), energy_j MAP(VARCHAR, DOUBLE), energy_method VARCHAR, energy_uncertainty DOUBLE,
    energy_reason VARCHAR, energy_covers VARCHAR, energy_notes VARCHAR[],
    idle_power_w DOUBLE, net_energy_j MAP(VARCHAR, DOUBLE),
    peak_memory_bytes BIGINT, shared_by BIGINT)',
  curve: 'STRUCT(step BIGINT, samples BIGINT, flop DOUBLE, seconds DOUBLE, energy_j DOUBLE, train_loss DOUBLE,
    error DOUBLE)[]',
  metric_units: 'MAP(VARCHAR, VARCHAR)', facts: 'JSON', code: 'VARCHAR', versions: 'MAP(VARCHAR, VARCHAR)',
  host: 'JSON', started: 'VARCHAR', schema: 'BIGINT'}, maximum_object_size = 67108864)
"""


class StoreError(OSError):
    """The store cannot be read or written; the message says where and what to do."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write, fsync and rename, so that `path` holds the old content or the new, never a part of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Store:
    """Records under `root`, in `root/<identity>/record.json`, each beside its run's other files."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._left_out: set[Path] = set()  # what has been said once is not said again

    def prepare(self) -> None:
        """Make the folder and prove that it can be written; raises StoreError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"\0" * 4096)
                probe.flush()
        except OSError as error:
            raise StoreError(
                f"the runs folder {self.root} cannot be written ({error.strerror}); free or unlock it, "
                "or choose another with runs=FOLDER"
            ) from None

    def folder(self, identity: str) -> Path:
        if not identity.isalnum():  # an identity is a file name: nothing in it may leave the store
            raise ValueError(f"an identity is letters and digits, but it is {identity!r}")
        return self.root / identity

    def load(self, identity: str) -> Record | None:
        """The record, or None when there is none that can be read (which is logged)."""
        path = self.folder(identity) / "record.json"
        try:
            record = Record.from_json(path.read_text())
            if record.identity != identity:
                raise ValueError(f"it is the record of {record.identity}")
            return record
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            log.warning("%s is not a readable record: %s; the run is repeated", path, error)
            return None

    def finished(self, identity: str) -> Record | None:
        """The record if the run has come to a result that a rerun would only repeat."""
        record = self.load(identity)
        return record if record is not None and record.status in FINAL else None

    def save(self, record: Record) -> Path:
        """Write the record. If the store fails, keep it in the system's temporary folder and say so in StoreError."""
        data = record.to_json().encode()
        folder = self.folder(record.identity)
        path = folder / "record.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        except OSError as error:
            kept = _keep_elsewhere(record.identity, data)
            where = f"kept in {kept}" if kept else "it could not be kept elsewhere either"
            raise StoreError(f"the record could not be written to {path} ({error.strerror}): {where}") from None
        return path

    def records(self, **wanted: Any) -> list[Record]:
        """All readable records whose fields equal `wanted`, oldest first. Unreadable ones are logged and left out."""
        found = []
        for path in sorted(self.root.glob("*/record.json")):
            try:
                record = Record.from_json(path.read_text())
            except (ValueError, OSError) as error:
                if path not in self._left_out:
                    log.warning("left out %s: %s", path, error)
                self._left_out.add(path)
                continue
            if all(getattr(record, key) == value for key, value in wanted.items()):
                found.append(record)
        return sorted(found, key=lambda r: r.started)

    def query(self, sql: str = "SELECT * FROM records") -> Any:
        """A DuckDB relation of `sql`, in which `records` is the table of all runs, one row each."""
        import duckdb

        connection = duckdb.connect()
        # By way of one file, and not from the records' own: one that is damaged would make all of them unreadable.
        with tempfile.NamedTemporaryFile("wb", suffix=".json") as lines:
            for record in self.records():
                text = json.dumps(json.loads(record.to_json()), ensure_ascii=False)
                lines.write(text.encode("utf-8", "replace") + b"\n")  # a file name need not be UTF-8; a table must be
            lines.flush()
            connection.execute(f"CREATE TABLE records AS {VIEW}", [lines.name])
        return connection.sql(sql)

    def to_parquet(self, path: Path) -> int:
        """Write the table of all runs as Parquet; returns the number of rows."""
        relation = self.query()
        relation.to_parquet(str(path))
        return len(relation)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold `name` alone on this machine; yields False if another process holds it (then waits until it is free).

        The lock is the operating system's and dies with the process, so that a killed run blocks nobody.
        """
        folder = self.root / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            opened = open(folder / name, "w")  # noqa: SIM115 (closed by the with below)
        except OSError as error:
            raise StoreError(f"{folder / name} cannot be written ({error.strerror}); free or unlock it") from None
        with opened as file:
            first = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                first = False
                log.warning("another process is doing this run: waiting for its result")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield first


def _keep_elsewhere(identity: str, data: bytes) -> Path | None:
    try:
        folder = Path(tempfile.mkdtemp(prefix="record-"))
        (folder / f"{identity}.json").write_bytes(data)
        return folder / f"{identity}.json"
    except OSError:
        return None
