"""A store at a URL: the same records, parts and questions as on a disk; its locks are objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.record import Point, Record
from experiments.store import Store, StoreError
from experiments.store.files import LocalFiles
from experiments.store.merging import merge
from experiments.store.remote import RemoteFiles
from experiments.study.spec import parse

fsspec = pytest.importorskip("fsspec")
CURVE = (Point(1, 1, 10, 1.0, None, None, 0.5, {"one_step_nrmse": 0.25}),)
CONFIG = {"task": {"name": "pendulum", "data_seed": 0}, "model": {"name": "mlp", "width": 16}}
RECORD = Record(
    "a" * 20, "pendulum", "mlp", "jax", "cpu", 0, "finished", CONFIG, curve=CURVE, started="2026", studies={"s": "h"}
)
STUDY = parse("s", "black_box: [mlp]\ngrid: {task: [pendulum], model: [mlp], model.width: [16, 64]}")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    yield Store("memory://bucket/runs")
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)


def test_records_lie_there_and_are_found_loose_and_compacted(store: Store, tmp_path: Path) -> None:
    store.prepare()
    assert store.records() == [] and store.load(RECORD.identity) is None and store.counts("s") == {}
    other = replace(RECORD, identity="b" * 20, task="../x", status="interrupted")
    for record in (RECORD, other):
        store.save(record)
    store.write_file(f"{RECORD.identity}/weights.npz", b"arrays")
    assert fsspec.filesystem("memory").exists(f"/bucket/runs/{RECORD.identity}/record.json")
    for moved in (1, 0):
        fresh = Store(store.url)
        assert sorted(fresh.records(), key=lambda r: r.identity) == [RECORD, other]
        assert fresh.load(RECORD.identity) == fresh.finished(RECORD.identity) == RECORD
        assert fresh.finished(other.identity) is None
        assert fresh.counts("s") == {"finished": 1, "interrupted": 1}
        assert fresh.present([RECORD.identity, "x"]) == {RECORD.identity: "finished"}
        data = fresh.study_data(STUDY)
        assert len(data) == 2 and data.points["test.one_step_nrmse"].tolist() == [0.25, 0.25]
        assert fresh.to_parquet(tmp_path / "all.parquet") == 2
        assert fresh.read_file(f"{RECORD.identity}/weights.npz") == b"arrays"
        assert fresh.compact().moved == moved
    assert not fsspec.filesystem("memory").exists(f"/bucket/runs/{RECORD.identity}/record.json")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.json"))


def test_what_is_local_of_a_remote_store_is_in_the_cache(store: Store, tmp_path: Path) -> None:
    assert store.folder(RECORD.identity).is_relative_to(tmp_path / "cache")
    assert str(store) == "memory://bucket/runs" and isinstance(store._files, RemoteFiles)
    assert isinstance(Store(tmp_path)._files, LocalFiles)


def test_merge_reads_and_writes_either_kind(store: Store, tmp_path: Path) -> None:
    local = Store(tmp_path / "local")
    local.save(RECORD)
    local.compact()
    merge([local], store)
    assert store.records() == [RECORD]
    merge([store], Store(tmp_path / "again"))
    assert Store(tmp_path / "again").records() == [RECORD]


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc", "a//b", "", "a\0", "a\\b"])
def test_no_name_leads_out_of_a_store(store: Store, name: str, tmp_path: Path) -> None:
    for place in (store, Store(tmp_path / "runs")):
        with pytest.raises(ValueError, match="a name in a store"):
            place.write_file(name, b"x")
        with pytest.raises(ValueError, match="a name in a store"):
            place.read_file(name)
        with pytest.raises(ValueError), place.lock(name):
            pass
    assert not (tmp_path / "runs").exists()


def test_one_holds_a_remote_lock_and_another_waits(store: Store) -> None:
    order: list[object] = []

    def other() -> None:
        with store.lock("name") as first:
            order.append(first)

    with store.lock("name") as first, store.lock("another") as apart:
        assert first and apart
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and order == []
        order.append("released")
    thread.join(20)
    assert order == ["released", False]
    assert store.file_names(".locks") == []


def test_a_remote_lock_is_renewed_while_held_and_taken_over_when_dead(store: Store) -> None:
    files = store._files
    assert isinstance(files, RemoteFiles)
    with files.lock("name", expires_s=0.8):
        time.sleep(1.5)  # longer than it lasts without being renewed
        assert time.time() - files._holder(".locks/name")["renewed"] < 0.8
    files._take(".locks/name", "a process that was killed", 0.8)
    started = time.monotonic()
    with files.lock("name", expires_s=0.8) as first:
        assert not first and time.monotonic() - started > 0.4
    files.write(".locks/name", b"torn")
    with files.lock("name", expires_s=0.8) as first:
        assert first


def test_a_url_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store("nonsense://x")
