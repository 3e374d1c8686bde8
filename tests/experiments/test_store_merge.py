"""Several stores into one: every run once, by the record that came to a result, then by the newest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.record import FINAL, Point, Record
from experiments.store import Store
from experiments.store.merging import Merged, merge


def small(number: int, **changes: Any) -> Record:
    curve = (Point(1, 1, 1, 1.0, None, None, 0.5, {"e": 0.5}),)
    made = Record(f"{number:020x}", "pendulum", "mlp", "jax", "cpu", 0, "finished", {}, curve=curve, started="2026")
    return replace(made, **changes)


def saved(root: Path, *records: Record) -> Store:
    store = Store(root)
    for record in records:
        store.save(record)
    return store


def found(store: Store) -> dict[str, Record]:
    return {record.identity: record for record in Store(store.url).records()}


ONE = st.builds(
    small, st.integers(0, 3), status=st.sampled_from([*FINAL, "interrupted"]), seed=st.integers(0, 10**6),
    started=st.sampled_from(["2025", "2026", "2027"]), studies=st.dictionaries(st.sampled_from("ab"), st.just("h")),
)  # fmt: skip
SHARD = st.lists(ONE, max_size=3, unique_by=lambda record: record.identity)


@settings(max_examples=8, deadline=None)
@given(shards=st.lists(SHARD, min_size=2, max_size=3), compacted=st.lists(st.booleans(), min_size=3, max_size=3))
def test_each_run_is_there_once_by_its_best_record(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[Record]], compacted: list[bool]
) -> None:
    root = tmp_path_factory.mktemp("stores")
    stores = [saved(root / str(i), *records) for i, records in enumerate(shards)]
    for store, compact in zip(stores, compacted, strict=False):
        if compact:
            store.compact()
    every = [record for records in shards for record in records]
    before = [found(store) for store in stores[1:]]
    outcomes = merge(stores[1:], stores[0])
    assert [found(store) for store in stores[1:]] == before  # sources are only read
    merged = found(stores[0])
    assert set(merged) == {record.identity for record in every}
    for identity, record in merged.items():
        rivals = [other for other in every if other.identity == identity]
        best = max((other.status in FINAL, other.started) for other in rivals)
        assert (record.status in FINAL, record.started) == best
        assert replace(record, studies={}) in [replace(other, studies={}) for other in rivals]
        assert record.studies == {name: "h" for other in rivals for name in other.studies}
    for outcome, records in zip(outcomes, shards[1:], strict=True):
        assert outcome.added + outcome.replaced + outcome.kept + outcome.same == len(records) and not outcome.damaged
    # Again: everything is there, but for records that lost.
    again = merge(stores[1:], stores[0])
    assert found(stores[0]) == merged and not any(outcome.added or outcome.replaced for outcome in again)


def test_arrays_and_the_study_come_along(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "a", small(1)), saved(tmp_path / "b", small(2))
    source.write_file(f"{small(1).identity}/weights.npz", b"arrays")
    source.write_file("studies/s-h/study.yaml", b"grid: {}")
    source.write_file("studies/s-h/units/k.json", b"{}")
    assert merge([source], target) == [Merged(added=1)]
    assert target.read_file(f"{small(1).identity}/weights.npz") == b"arrays"
    assert target.file_names("studies/s-h") == ["study.yaml"]


def test_damaged_records_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = saved(tmp_path / "a", small(1), small(2)), Store(tmp_path / "b")
    path = source.folder(small(1).identity) / "record.json"
    path.write_text(path.read_text().replace("finished", "diverged"))
    with caplog.at_level(logging.WARNING):
        assert merge([source], target) == [Merged(added=1, damaged=1)]
    assert str(path) in caplog.text and "its digest says" in caplog.text
    assert list(found(target)) == [small(2).identity]


def test_the_verbs_say_what_they_did(here: Callable[..., Any], tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a", small(1), small(2)), saved(tmp_path / "b", small(2), small(3))
    done = here("merge", first.url, second.url, "--runs", "all")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"{first}: 2 added, 0 there already", f"{second}: 1 added, 1 there already",
    ]  # fmt: skip
    done = here("compact", "--runs", "all")
    assert done.code == 0 and done.out == "3 records put into Parquet in all, which has 1 parts\n"
    for words, why in (
        (("merge", "all", "--runs", "all"), "cannot be merged into itself"),
        (("merge", "nowhere", "--runs", "all"), "there are no runs in nowhere"),
        (("compact", "--runs", "nowhere"), "there are no runs in nowhere"),
    ):
        done = here(*words)
        assert done.code == 2 and why in done.err and done.err.count("\n") == 1
    assert not Path("nowhere").exists()
