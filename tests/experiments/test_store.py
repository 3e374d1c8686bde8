"""The store of records: what was written is found again, whatever happened in between or lies beside it."""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.record import FINAL, Costs, Point, Record
from experiments.store import Store, StoreError, write_atomic

HERE = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
UNKNOWN = st.none() | st.floats()
POINTS = st.builds(Point, *[st.integers(0, 2**62)] * 3, st.just(1.0), UNKNOWN, UNKNOWN, UNKNOWN)
# test_record.py has the whole variety of records; these are for where they lie, and for the table.
RECORDS = st.builds(
    Record,
    identity=st.from_regex("[0-9a-f]{20}", fullmatch=True),
    model=st.text(st.characters(codec=None, exclude_categories=())),
    status=st.sampled_from(["finished", "diverged", "skipped", "interrupted", "out_of_memory"]),
    seed=st.integers(0, 2**32 - 1),
    metrics=st.dictionaries(st.text(st.characters(codec="utf-8")), UNKNOWN, max_size=3),
    costs=st.builds(Costs, train_flop=st.none() | st.integers(0, 2**62)),
    curve=st.lists(POINTS, max_size=3).map(tuple),
    **{name: st.just("a 'b' \"c\"") for name in ("task", "backend", "device")},
    config=st.just({"path": "\ud800", "nested": {"list": [1, None, "\x00"]}}),
)


def small(identity: str = "a" * 20, **changes: Any) -> Record:
    made = Record(identity, "pendulum", "mlp", "jax", "cpu", 0, "finished", {"model": {"width": 4}}, started="2026")
    return replace(made, **changes)


def number(value: float | None) -> float | None:
    """What is stored of it: there is no number but a finite one."""
    return value if value is not None and math.isfinite(value) else None


def utf8(text: str) -> str:
    """As a table shows it: lone surrogates, of which UTF-8 has none, become question marks."""
    return text.encode("utf-8", "replace").decode()


@HERE
@given(record=RECORDS)
def test_save_and_load(tmp_path: Path, record: Record) -> None:
    store = Store(tmp_path)
    path = store.save(record)
    assert path == tmp_path / record.identity / "record.json"
    back = store.load(record.identity)
    assert back is not None and back.to_json() == record.to_json()
    assert (store.finished(record.identity) is None) == (record.status not in FINAL)


@pytest.mark.parametrize("identity", ["..", "../x", "a/b", "", ".", "a b", "/etc", "a\x00"])
def test_an_identity_cannot_lead_out_of_the_store(tmp_path: Path, identity: str) -> None:
    store = Store(tmp_path / "runs")
    for act in (store.load, store.finished, store.folder, lambda name: store.save(small(name))):
        with pytest.raises(ValueError, match="letters and digits"):
            act(identity)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_is_cut_off_leaves_the_old_content(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomic(path, b"old")

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, cut)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new content that is longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["record.json"]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_umask_decides_who_may_read_a_file_and_no_writer_changes_it(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = tmp_path / "record.json"
        # Many at once, as the supervisors of a sweep are: a writer that set the umask would leave another's behind.
        writers = [
            threading.Thread(target=lambda n=n: [write_atomic(tmp_path / f"{n}", b"x") for _ in range(50)])
            for n in range(8)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        write_atomic(path, b"new")
        assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o666 & ~mask}
    finally:
        left = os.umask(before)
    assert left == mask


def test_sweeps_that_join_a_shared_run_at_once_all_find_it_in_their_study(tmp_path: Path) -> None:
    Store(tmp_path).save(small("a"))
    ready = threading.Barrier(8)

    def join(study: str) -> None:
        store = Store(tmp_path)
        ready.wait()
        store.join(small("a").identity, study, "0123")

    names = [f"study{i}" for i in range(8)]
    sweeps = [threading.Thread(target=join, args=(name,)) for name in names]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    found = Store(tmp_path).load(small("a").identity)
    assert found is not None and set(found.studies) >= set(names)


def test_readers_meet_old_or_new_content_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    versions = [bytes([65 + i]) * 100_000 for i in range(20)]
    write_atomic(path, versions[0])
    writer = threading.Thread(target=lambda: [write_atomic(path, data) for data in versions])
    writer.start()
    while writer.is_alive():
        assert path.read_bytes() in versions
    writer.join()


@pytest.mark.parametrize("text", ["", "{", "null", '{"schema": 99}', "[" * 100_000, "\x00\xff"])
def test_a_damaged_record_is_told_once_left_out_and_repeated(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    good, bad = small("a" * 20), small("b" * 20)
    store.save(good)
    path = store.save(bad)
    path.write_bytes(text.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert store.finished(bad.identity) is None
        assert "not a readable record" in caplog.text and "repeated" in caplog.text
        caplog.clear()
        assert store.records() == [good] and len(store.query()) == 1
        assert caplog.text.count(f"left out {path}") == 1
    store.save(bad)
    assert store.finished(bad.identity) == bad


def test_a_record_in_the_folder_of_another_run_is_not_taken_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.save(small("a" * 20))
    (tmp_path / ("a" * 20)).rename(tmp_path / ("b" * 20))
    assert store.load("b" * 20) is None and "it is the record of aaaa" in caplog.text


def test_an_empty_or_absent_store_has_a_table_without_rows(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        store = Store(root)
        assert store.records() == [] and len(store.query()) == 0
        assert {"identity", "task", "train_flop", "metrics"} <= set(store.query().columns)
        assert store.to_parquet(tmp_path / "empty.parquet") == 0
        assert len(duckdb.read_parquet(str(tmp_path / "empty.parquet"))) == 0
        os.unlink(tmp_path / "empty.parquet")


@settings(HERE, max_examples=10)
@given(found=st.lists(RECORDS, min_size=1, max_size=3, unique_by=lambda record: record.identity))
def test_the_table_has_a_row_a_record_with_its_values(
    tmp_path_factory: pytest.TempPathFactory, found: list[Record]
) -> None:
    store = Store(tmp_path_factory.mktemp("a [b] *c? 'd"))  # what a glob or a quote would trip over
    for record in found:
        store.save(record)
    parquet = store.root / "all.parquet"
    assert store.to_parquet(parquet) == len(found)
    for table in (store.query(), duckdb.read_parquet(str(parquet))):
        rows = {
            row[0]: row[1:] for row in table.project("identity, seed, model, train_flop, metrics, curve").fetchall()
        }
        assert set(rows) == {record.identity for record in found}
        for record in found:
            seed, model, flop, metrics, curve = rows[record.identity]
            assert (seed, model) == (record.seed, utf8(record.model))
            assert metrics == {name: number(value) for name, value in record.metrics.items()}
            assert flop == (None if record.costs.train_flop is None else float(record.costs.train_flop))
            assert [point["flop"] for point in curve] == [float(point.flop) for point in record.curve]
            assert [point["error"] for point in curve] == [number(point.error) for point in record.curve]


def test_records_are_chosen_and_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i, task in enumerate(["pendulum", "flocking", "pendulum"]):
        store.save(small("abc"[i] * 20, task=task, started=f"2026-01-0{3 - i}"))
    assert [record.identity[0] for record in store.records()] == ["c", "b", "a"]
    assert [record.identity[0] for record in store.records(task="pendulum")] == ["c", "a"]
    assert store.query("SELECT count(*) FROM records WHERE task = 'pendulum'").fetchall() == [(2,)]


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="runs=FOLDER"):
            Store(root).prepare()
    store = Store(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="kept in") as caught:
        store.save(small())
    kept = Path(str(caught.value).rpartition("kept in ")[2])
    assert Record.from_json(kept.read_text()) == small()


def test_one_holds_a_lock_and_another_waits(tmp_path: Path) -> None:
    store, order = Store(tmp_path), []

    def other() -> None:
        with store.lock("name") as first:
            order.append(("other", first))

    with store.lock("name") as first, store.lock("another name") as apart:
        assert first and apart
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and order == []
        order.append(("this", True))
    thread.join(10)
    assert order == [("this", True), ("other", False)]
