"""Compaction: nothing is lost, whatever is killed, full, damaged or done at once; and every reader sees both places."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.record import FINAL, Costs, Point, Record
from experiments.store import Store, StoreError
from experiments.store.compaction import folder_of
from experiments.store.reading import parts, points_of

ROOT = Path(__file__).parents[2]
TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates among them
NAME = st.text(st.characters(codec="utf-8"), max_size=8)
UNKNOWN = st.none() | st.floats()
POINTS = st.builds(
    Point, *[st.integers(0, 2**62)] * 3, st.just(1.0), UNKNOWN, UNKNOWN, UNKNOWN,
    test=st.dictionaries(NAME, UNKNOWN, max_size=2),
)  # fmt: skip
HOSTILE = (
    "../x", "a=b/c", "'; DROP TABLE runs; --", '"q"', "", ".", "..", "a\0b", "\ud800", "Größe 鳥", "x" * 400, "*?[a]",
)  # fmt: skip
RECORDS = st.builds(
    Record,
    identity=st.from_regex("[0-9a-f]{20}", fullmatch=True),
    task=st.sampled_from(HOSTILE) | TEXT,
    model=TEXT,
    status=st.sampled_from([*FINAL, "interrupted", "out_of_memory"]),
    seed=st.integers(0, 2**32 - 1),
    metrics=st.dictionaries(NAME, UNKNOWN, max_size=3),
    costs=st.builds(Costs, train_flop=st.none() | st.integers(0, 2**62), uncounted=st.tuples(TEXT)),
    curve=st.lists(POINTS, max_size=3).map(tuple),
    studies=st.dictionaries(NAME, TEXT, max_size=2),
    tuning=st.just({}) | st.builds(lambda names: {"trials": names}, st.lists(NAME, max_size=2)),
    backend=st.just("jax"),
    device=st.just("cpu"),
    config=st.dictionaries(TEXT, st.none() | st.integers(-(2**70), 2**70) | TEXT, max_size=3),
)
HERE = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def small(number: int, **changes: Any) -> Record:
    curve = tuple(Point(k, k, k, float(k), None, None, 1.0 / (k + 1), {"e": 0.5}) for k in range(3))
    made = Record(f"{number:020x}", "pendulum", "mlp", "jax", "cpu", 0, "finished", {}, curve=curve, started="2026")
    return replace(made, studies={"s": "h"}, **changes)


def saved(root: Path, *records: Record) -> Store:
    store = Store(root)
    for record in records:
        store.save(record)
    return store


def by_identity(store: Store) -> dict[str, str]:
    return {record.identity: record.to_json() for record in store.records()}


def loose(store: Store) -> set[str]:
    return {path.parent.name for path in store.root.glob("*/record.json")}


@HERE
@given(found=st.lists(RECORDS, min_size=1, max_size=4, unique_by=lambda record: record.identity))
def test_every_record_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, found: list[Record]) -> None:
    store = saved(tmp_path_factory.mktemp("a [b] *c? 'd"), *found)
    around = {path.name for path in store.root.parent.iterdir()}
    final = {record.identity for record in found if record.status in FINAL}
    loosely = store.query("SELECT * FROM records ORDER BY identity").fetchall()
    done = store.compact()
    assert (done.moved, done.left) == (len(final), len(found) - len(final))
    assert loose(store) == {record.identity for record in found} - final
    assert {path.name for path in store.root.parent.iterdir()} == around  # no name led out of the store
    fresh = Store(store.root)
    assert by_identity(fresh) == {record.identity: record.to_json() for record in found}
    for record in found:
        back = fresh.load(record.identity)
        assert back is not None and back.to_json() == record.to_json()
        assert (fresh.finished(record.identity) is None) == (record.status not in FINAL)
    assert fresh.query("SELECT * FROM records ORDER BY identity").fetchall() == loosely
    assert fresh.present([record.identity for record in found]) == {
        record.identity: record.status.encode("utf-8", "replace").decode() for record in found
    }
    assert store.compact().moved == 0


@given(task=TEXT | st.sampled_from(HOSTILE))
def test_a_task_has_one_folder_inside_the_store(task: str) -> None:
    name = folder_of(task)
    assert name.startswith("task=") and not set(name) & set("/\\\0*?[]'\"") and len(name) <= 255 and name.isascii()


def test_tasks_whose_long_names_begin_alike_have_folders_of_their_own() -> None:
    assert folder_of("x" * 400) != folder_of("x" * 401) and folder_of("a/b") != folder_of("a b")


def test_arrays_stay_and_empty_folders_go(tmp_path: Path) -> None:
    store = saved(tmp_path, small(1), small(2))
    store.write_file(f"{small(1).identity}/weights.npz", b"arrays")
    store.compact()
    assert store.read_file(f"{small(1).identity}/weights.npz") == b"arrays"
    assert not store.folder(small(2).identity).exists()
    assert store.finished(small(1).identity) == small(1) and store.finished(small(2).identity) == small(2)


def test_a_record_written_anew_counts_and_the_newest_wins_in_either_place(tmp_path: Path) -> None:
    store = saved(tmp_path, small(1))
    store.compact()
    newer = small(1, started="2027", seed=7)
    store.save(newer)  # as --force does
    for _ in range(2):
        assert store.load(newer.identity) == newer and store.records() == [newer]
        assert store.counts("s") == {"finished": 1} and len(store.query()) == 1
        store.compact()
    store.save(small(1, started="2026-06", seed=8))  # from a machine whose work began before
    assert store.load(newer.identity) == newer and store.records() == [newer]
    store.save(small(1, status="interrupted", started="2028"))  # no result: it does not replace one
    assert store.load(newer.identity) == newer and store.finished(newer.identity) == newer


def test_a_record_written_while_it_is_compacted_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.store import compaction

    write, newer = compaction._write, small(1, started="2027", seed=9)

    def meanwhile(*arguments: Any) -> int:
        rows = write(*arguments)
        Store(tmp_path).save(newer)
        return rows

    monkeypatch.setattr(compaction, "_write", meanwhile)
    done = saved(tmp_path, small(1)).compact()
    assert (done.moved, done.left) == (0, 1) and Store(tmp_path).load(newer.identity) == newer


def test_what_has_no_result_stays_loose(tmp_path: Path) -> None:
    statuses = {1: "interrupted", 2: "out_of_memory", 3: "skipped"}
    store = saved(tmp_path, *(small(number, status=status) for number, status in statuses.items()))
    assert (store.compact().moved, loose(store)) == (1, {small(1).identity, small(2).identity})
    assert store.counts("s") == {"interrupted": 1, "out_of_memory": 1, "skipped": 1}


def test_many_small_parts_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.store.compaction.MOST_PARTS", 3)
    store = Store(tmp_path)
    for number in range(4):
        store.save(small(number))
        store.save(small(9, started=f"2026-0{number + 1}", seed=number))
        done = store.compact()
    assert done.parts == 1 and len(list(tmp_path.glob("compacted/points/*/*"))) == 1
    assert sorted(r.seed for r in store.records()) == [0, 0, 0, 0, 3]
    assert store.query("SELECT count(*), sum(len(curve)) FROM records").fetchall() == [(5, 15)]


# -- What is damaged -----------------------------------------------------------------------------------------------


def test_edited_and_damaged_records_are_named_left_out_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = saved(tmp_path, small(1), small(2), small(3), small(4))
    edited, torn, foreign = (tmp_path / small(number).identity / "record.json" for number in (2, 3, 4))
    edited.write_text(edited.read_text().replace("finished", "diverged"))
    torn.write_bytes(torn.read_bytes()[:100])
    foreign.write_text(small(5).to_json())
    before = {path: path.read_bytes() for path in (edited, torn, foreign)}
    with caplog.at_level(logging.WARNING):
        assert store.compact().moved == 1
    for path, why in ((edited, "its digest says"), (torn, "not JSON"), (foreign, "it is the record of")):
        assert [r for r in caplog.messages if str(path) in r and why in r]
    assert {path: path.read_bytes() for path in before} == before
    assert store.records() == [small(1)] and store.counts("s") == {"finished": 1}


@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_a_damaged_part_is_named_and_left_out(tmp_path: Path, cut: float, caplog: pytest.LogCaptureFixture) -> None:
    store = saved(tmp_path, small(1), small(2, task="flocking"))
    store.compact()
    (bad,) = (tmp_path / name for name in parts(store._files) if "pendulum" in name)
    data = bad.read_bytes()
    bad.write_bytes(data[: int(len(data) * cut) if cut == 0.5 else int(cut)])
    for act in (
        lambda fresh: fresh.records(), lambda fresh: fresh.query("SELECT identity FROM records").fetchall(),
        lambda fresh: fresh.present([small(1).identity, small(2).identity]),
    ):  # fmt: skip
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert len(act(Store(tmp_path))) == 1
        assert [message for message in caplog.messages if str(bad) in message and "damaged" in message]
    fresh = Store(tmp_path)
    assert fresh.finished(small(1).identity) is None  # so that the run is repeated
    fresh.save(small(1))
    fresh.compact()
    assert len(Store(tmp_path).records()) == 2


def test_a_question_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    import duckdb

    store = saved(tmp_path, small(1))
    with pytest.raises(duckdb.Error, match="nonsense"):
        store.query("SELECT nonsense FROM records")


# -- A crash at any moment -----------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nothing that it calls from now on is done."""


STEPS = ("replace", "unlink", "rmdir", "fsync", "mkdir", "chmod")


def dies_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """From the `step`-th change of the file system on, nothing happens any more. Returns how many were counted."""
    calls = [0]

    def dying(name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] >= step:
                raise Crash(name)
            return real(*arguments, **options)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, dying(name))
    return lambda: calls[0]


def left_behind(root: Path) -> tuple[Any, ...]:
    """All that a crash leaves, in order, but for what time and chance put into names."""
    return tuple(
        (re.sub(r"part-\d+-\w+|\.new-\w+", "…", path.relative_to(root).as_posix()), path.lstat().st_mode,
         path.is_file() and path.read_bytes())
        for path in sorted(root.rglob("*"))
    )  # fmt: skip


def test_a_crash_at_any_step_of_a_compaction_loses_nothing(tmp_path: Path) -> None:
    start = saved(tmp_path / "start", small(1), small(8, task="flocking"))
    start.compact()
    for record in (small(2), small(3, status="interrupted"), small(1, started="2027", seed=5)):
        start.save(record)
    start.write_file(f"{small(2).identity}/weights.npz", b"arrays")
    expected = by_identity(start)
    steps, seen = 0, set()
    while True:
        steps += 1
        root = tmp_path / "run"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start.root, root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("experiments.store.compaction.MOST_PARTS", 1)  # old parts are made into one as well
            dies_at(steps, patch)
            try:
                Store(root).compact()
                break
            except Crash:
                pass
        if (left := left_behind(root)) in seen:  # the last step was an fsync, say, which nobody sees
            continue
        seen.add(left)
        assert by_identity(Store(root)) == expected, steps
        assert Store(root).counts("s") == {"finished": 3, "interrupted": 1}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("experiments.store.compaction.MOST_PARTS", 1)
            Store(root).compact()
        assert by_identity(Store(root)) == expected, steps
        assert loose(Store(root)) == {small(3).identity}
        runs = parts(Store(root)._files)
        kept = {path.relative_to(root).as_posix() for path in root.glob("compacted/points/*/*")}
        assert kept == {points_of(part) for part in runs} and not list(root.glob("compacted/.new-*"))
    assert steps > 20 and len(seen) > 10  # the change of the file system was really met


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_a_full_disk_stops_a_compaction_and_loses_nothing(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, small(1), small(2))
    expected = by_identity(store)
    real = getattr(os, call)

    def full(*arguments: Any, **options: Any) -> Any:
        if call != "mkdir" or "compacted" in str(arguments[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=r"No space left on device; every record is still there"):
        store.compact()
    monkeypatch.undo()
    assert by_identity(Store(tmp_path)) == expected and loose(store) == set(expected)
    assert store.compact().moved == 2 and by_identity(Store(tmp_path)) == expected


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "none", folder]).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store, number = Store(tiny_disk), 0
    with pytest.raises(StoreError, match="No space left on device"):
        for number in range(1000):
            store.save(small(number, config={"filler": "x" * 2000}))
    kept = {f"{n:020x}" for n in range(number)}
    assert number > 10 and set(by_identity(Store(tiny_disk))) == kept
    with pytest.raises(StoreError, match="every record is still there"):
        store.compact()
    assert set(by_identity(Store(tiny_disk))) == kept


# -- Several at once -----------------------------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from experiments.record import Record
from experiments.store import Store
store, first = Store(sys.argv[2]), int(sys.argv[3])
for turn in range(3):
    for number in range(first, first + 40):
        store.save(Record(f"{number:020x}", f"task {number % 2}", "mlp", "jax", "cpu", turn, "finished", {},
                          started=f"2026-0{turn + 1}", studies={"s": "h"}))
"""
COMPACTOR = """
import sys, time
sys.path.insert(0, sys.argv[1])
from experiments.store import Store
while True:
    Store(sys.argv[2]).compact()
    print("done", flush=True)
"""


def test_two_writers_two_compactors_and_a_reader_at_once(tmp_path: Path) -> None:
    def start(code: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, str(ROOT), str(tmp_path), *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    compactors = [start(COMPACTOR), start(COMPACTOR)]
    writers = [start(WRITER, "0"), start(WRITER, "100")]
    try:
        seen: dict[str, int] = {}
        while any(writer.poll() is None for writer in writers):
            now = {record.identity: record.seed for record in Store(tmp_path).records()}
            assert all(now.get(name, -1) >= turn for name, turn in seen.items())  # nothing disappears or gets older
            seen = now
        assert [writer.returncode for writer in writers] == [0, 0]
        assert [compactor.poll() for compactor in compactors] == [None, None]  # neither met an error
    finally:
        for process in (*compactors, *writers):
            process.kill()
            process.wait()
    store = Store(tmp_path)
    store.compact()
    assert {record.identity: record.seed for record in Store(tmp_path).records()} == {
        f"{number:020x}": 2 for number in (*range(40), *range(100, 140))
    }
    assert not loose(store) and store.counts("s") == {"finished": 80}
