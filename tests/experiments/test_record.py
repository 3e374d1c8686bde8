"""Records as text and identities as names: nothing is lost or invented on the way, whatever the values."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.record import ROLES, SCHEMA, Costs, Point, Record, digest_of, identity_of
from experiments.store import Store
from physics_models.syntax import canonical

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
    Point, step=COUNT, samples=COUNT, flop=COUNT, seconds=FINITE, energy_j=UNKNOWN, train_loss=UNKNOWN, error=UNKNOWN,
    test=st.dictionaries(NAME, UNKNOWN, max_size=2),
)  # fmt: skip
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
    role=st.sampled_from(ROLES),
    studies=st.dictionaries(NAME, TEXT, max_size=2),
    tuning=DICT,
)
HERE = settings(max_examples=50, deadline=None)


def signed(raw: dict[str, Any]) -> str:
    """As another program would write it, whose digest is right."""
    raw = {name: value for name, value in raw.items() if name != "digest"}
    return json.dumps(raw | {"digest": digest_of(raw)})


def without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value


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
        back = Record.from_json(signed(raw))
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
        (f'{{"schema": {SCHEMA + 1}}}', f"its schema is {SCHEMA + 1}; this version reads schema {SCHEMA} and older"),
        ('{"schema": 0}', "its schema is 0"),
        ('{"schema": "2"}', "its schema is '2'"),
        ('{"schema": true}', "its schema is True"),
        ('{"schema": [1]}', "its schema is"),
        (f'{{"schema": {SCHEMA}, "x": NaN}}', "not JSON"),
        (signed({"schema": SCHEMA}), "missing"),
        (signed({"schema": SCHEMA, "colour": 1}), "colour"),
    ],
)
def test_what_is_no_record_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Record.from_json(text)


@HERE
@given(RECORDS, st.data())
def test_a_record_that_was_changed_by_hand_is_refused_by_its_digest(record: Record, data: st.DataObject) -> None:
    raw = json.loads(record.to_json())
    free = json.dumps(raw, indent=4, sort_keys=True)  # layout and order are free
    assert Record.from_json(free) == Record.from_json(record.to_json())
    name = data.draw(st.sampled_from([name for name in raw if name not in ("schema", "digest")]))
    value = data.draw(JSON)
    if json.dumps(value, sort_keys=True) == json.dumps(raw[name], sort_keys=True):
        value = [raw[name]]
    with pytest.raises(ValueError, match=f"its digest says {raw['digest']}, but its content has"):
        Record.from_json(json.dumps(raw | {name: value}))
    del raw["digest"]
    with pytest.raises(ValueError, match="its digest says None"):
        Record.from_json(json.dumps(raw))


NEW_IN_2 = ("role", "studies", "tuning", "digest")
COSTS_NEW_IN_2 = ("infer_seconds_per_time_unit", "infer_energy_j_per_time_unit")


@HERE
@given(RECORDS)
def test_a_record_of_schema_1_is_migrated_when_read(record: Record) -> None:
    raw = {name: value for name, value in json.loads(record.to_json()).items() if name not in NEW_IN_2}
    raw["schema"] = 1
    raw["costs"] = {name: value for name, value in raw["costs"].items() if name not in COSTS_NEW_IN_2}
    raw["curve"] = [{name: value for name, value in point.items() if name != "test"} for point in raw["curve"]]
    back = Record.from_json(json.dumps(raw))
    assert (back.schema, back.role, back.studies, back.tuning) == (SCHEMA, "run", {}, {})
    assert all(point.test == {} for point in back.curve) and back.costs.infer_seconds_per_time_unit is None
    kept = json.loads(back.to_json())
    assert all(kept[name] == value for name, value in raw.items() if name not in ("schema", "costs", "curve"))
    assert all(kept["costs"][name] == value for name, value in raw["costs"].items())
    # One of schema 2 does not escape its digest by saying that it is of schema 1.
    with pytest.raises(ValueError, match="its digest says"):
        Record.from_json(json.dumps(json.loads(record.to_json()) | {"schema": 1, "seed": record.seed + 1}))


def test_metrics_that_are_no_numbers_are_None() -> None:
    record = Record("a", "t", "m", "jax", "cpu", 0, "diverged", {}, metrics={"x": math.nan, "y": -math.inf, "z": 1.0})
    assert Record.from_json(record.to_json()).metrics == {"x": None, "y": None, "z": 1.0}


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
    assert {canonical(source) for source in same} == {canonical(CODE)}
    other = [CODE.replace("+ 1", "+ 2"), CODE.replace("f(x)", "g(x)"), CODE.replace("x + 1", "x + '1'"), CODE + "x = 1"]
    assert len({canonical(source) for source in [CODE, *other]}) == 5


def test_the_code_hash_does_not_mind_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 raises SystemError when two threads build trees; that is too rare to wait for here."""
    right, expected, calls = ast.parse, canonical(CODE), []

    def parse(source: str) -> ast.Module:
        calls.append(source)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=51, after=308)")
        return right(source)

    monkeypatch.setattr("physics_models.syntax.ast.parse", parse)
    assert canonical(CODE) == expected and len(calls) == 3


@pytest.mark.parametrize("costs", [None, [], 1, "x", {"uncounted": None}])
def test_costs_that_are_no_costs_are_refused(costs: Any) -> None:
    raw = {"schema": SCHEMA, "costs": costs, "curve": []}
    with pytest.raises(ValueError, match="a field is missing or unknown"):
        Record.from_json(signed(raw))
