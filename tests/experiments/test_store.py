"""Records and their store: nothing is lost or invented between writing and reading, whatever happens in between."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import store as store_module
from experiments.identity import _syntax
from experiments.record import FINAL, SCHEMA, Costs, Point, Record, identity_of
from experiments.store import Store, StoreError, write_atomic

# Lone surrogates are what Python makes of a file name that is not UTF-8.
TEXT = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    ["", "\x00", "a\nb", '"\\', "'; DROP TABLE records; --", "Größe 鳥 🐦", "\ud800", "../../etc/passwd", "NaN", "null"]
)
NAME = st.text(st.characters(codec="utf-8"))  # of metrics, phases and libraries: ours to choose
COUNT = st.integers(0, 2**62)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
UNKNOWN = st.none() | st.floats()  # NaN and infinities mean "no number" and come back as None
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DICT = st.dictionaries(TEXT, JSON, max_size=3)
POINTS = st.builds(
    Point, step=COUNT, samples=COUNT, flop=COUNT, seconds=FINITE, energy_j=UNKNOWN, train_loss=UNKNOWN, error=UNKNOWN
)
COSTS = st.builds(
    Costs,
    train_flop=st.none() | COUNT,
    train_flop_executed=st.none() | COUNT,
    infer_flop_per_time_unit=UNKNOWN,
    flop_method=TEXT,
    uncounted=st.lists(TEXT, max_size=2).map(tuple),
    seconds=st.dictionaries(NAME, FINITE, max_size=3),
    energy_j=st.dictionaries(NAME, UNKNOWN, max_size=3),
    energy_method=TEXT,
    energy_uncertainty=UNKNOWN,
    peak_memory_bytes=st.none() | COUNT,
    shared_by=st.integers(1, 8),
)
RECORDS = st.builds(
    Record,
    identity=st.from_regex("[0-9a-f]{20}", fullmatch=True),
    **{name: TEXT for name in ("task", "model", "backend", "device", "status", "reason", "code", "started")},
    seed=st.integers(0, 2**32 - 1),
    parameters=COUNT,
    config=DICT,
    facts=DICT,
    host=DICT,
    metrics=st.dictionaries(NAME, UNKNOWN, max_size=3),
    metric_units=st.dictionaries(NAME, TEXT, max_size=3),
    versions=st.dictionaries(NAME, TEXT, max_size=3),
    costs=COSTS,
    curve=st.lists(POINTS, max_size=3).map(tuple),
)
HERE = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def small(identity: str = "a" * 20, **changes: Any) -> Record:
    made = Record(identity, "pendulum", "mlp", "jax", "cpu", 0, "finished", {"model": {"width": 4}}, started="2026")
    return replace(made, **changes)


def without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def utf8(text: str) -> str:
    """As a table shows it: lone surrogates, of which UTF-8 has none, become question marks."""
    return text.encode("utf-8", "replace").decode()


# -- Records as text -----------------------------------------------------------------------------------------------


@HERE
@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    text = record.to_json()
    text.encode("ascii")  # whatever the encoding of the machine that reads it
    back = Record.from_json(text)
    assert without_nan(asdict(back)) == without_nan(asdict(record))
    assert back.to_json() == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@HERE
@given(RECORDS, st.data())
def test_a_damaged_record_is_refused_by_a_ValueError_and_nothing_else(record: Record, data: st.DataObject) -> None:
    text = record.to_json()
    with pytest.raises(ValueError):
        Record.from_json(text[: data.draw(st.integers(0, len(text) - 1))])
    raw = json.loads(text)
    name = data.draw(st.sampled_from([f.name for f in fields(Record)]))
    raw[name] = data.draw(st.sampled_from([None, True, 3, 0.5, "x", [], [3], {}, {"x": [1]}]))
    try:
        back = Record.from_json(json.dumps(raw))
    except ValueError:
        return
    # What is accepted is a record that every reader can use: writing and reading it again changes nothing.
    assert Record.from_json(back.to_json()) == back
    assert isinstance(getattr(back, name), type(getattr(record, name)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("null", "no schema number"),
        ("[]", "no schema number"),
        ("{}", "no schema number"),
        (f'{{"schema": {SCHEMA + 1}}}', f"reads schema {SCHEMA}"),
        (f'{{"schema": {SCHEMA}}}', "missing"),
        (f'{{"schema": {SCHEMA}, "colour": 1}}', "colour"),
    ],
)
def test_what_is_no_record_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Record.from_json(text)


@HERE
@given(DICT)
def test_identity_depends_on_values_and_not_on_order(config: dict[str, Any]) -> None:
    turned = {key: config[key] for key in reversed(config)}
    assert identity_of(config) == identity_of(turned) == identity_of(json.loads(json.dumps(config)))
    assert Store("runs").folder(identity_of(config)).parent == Path("runs")
    for key in config:
        assert identity_of({**config, key: [config[key]]}) != identity_of(config)
    assert identity_of({**config, "another key": 0}) != identity_of(config)


def test_identity_tells_neighbours_apart() -> None:
    values = [0, 1, 1.5, math.nextafter(1.5, 2), "1", True, None, [], {}, [1], "", -1, 1e300]
    assert len({identity_of({"x": value}) for value in values}) == len(values)
    assert identity_of({"x": {"a": 1, "b": 2}}) == identity_of({"x": {"b": 2, "a": 1}})


CODE = '''
"""What it is."""
def f(x):
    """What it does."""
    return x + 1
'''


def test_the_code_hash_sees_code_and_nothing_else() -> None:
    same = [
        CODE.replace("return", "# why\n    return"),
        CODE.replace("What it does.", "Something else."),
        CODE.replace('    """What it does."""\n', ""),
        CODE.replace("x + 1", "(x\n            + 1)  # the same"),
    ]
    assert {_syntax(source) for source in same} == {_syntax(CODE)}
    other = [CODE.replace("+ 1", "+ 2"), CODE.replace("f(x)", "g(x)"), CODE.replace("x + 1", "x + '1'"), CODE + "x = 1"]
    assert len({_syntax(source) for source in [CODE, *other]}) == 5


# -- The store -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_write_that_is_cut_off_leaves_the_old_content(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomic(path, b"old")

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module.os, call, cut)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new content that is longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["record.json"]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~store_module._umask()


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
            assert metrics == without_nan(record.metrics)
            assert flop == (None if record.costs.train_flop is None else float(record.costs.train_flop))
            assert [point["flop"] for point in curve] == [float(point.flop) for point in record.curve]
            assert [point["error"] for point in curve] == [without_nan(point.error) for point in record.curve]


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
