"""Every format gives identical arrays, and every bad file is refused in one line that names the file and the row."""

from __future__ import annotations

import csv
import gzip
import logging
import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data import delimited, rows
from experiments.read_trajectories import read
from experiments.trajectories import DataError, Trajectories

HARE = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5, 11.2, 7.6, 14.6, 16.2]
LYNX = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8, 9.7, 10.1]


def columns_of(data: Trajectories) -> dict[str, Any]:
    inside = data.inside
    found = {"time": data.times[inside], "trajectory": np.nonzero(inside)[0]}
    return found | {name: data.y[inside][:, i] for i, name in enumerate(data.variables)}


def arrays_of(data: Trajectories) -> dict[str, Any]:
    return {"times": data.times, "y": data.y, "variables": list(data.variables)}


def write_csv(path: Path, columns: dict[str, Any], delimiter: str = ",") -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def write_parquet(path: Path, columns: dict[str, Any] | str) -> None:
    source = "columns" if isinstance(columns, dict) else f"(VALUES {columns}) t(time, trajectory, x)"
    with duckdb.connect() as connection:
        connection.sql(f"FROM {source}").write_parquet(str(path))


def write_hdf5(path: Path, arrays: dict[str, Any]) -> None:
    with h5py.File(path, "w", track_order=True) as file:
        for name, array in arrays.items():
            file[name] = array


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


FORMATS: dict[str, tuple[str, Callable[..., None], Callable[[Trajectories], dict[str, Any]]]] = {
    "csv": ("a.csv", write_csv, columns_of),
    "csv semicolons": ("a.CSV", partial(write_csv, delimiter=";"), columns_of),
    "tsv": ("a.tsv", partial(write_csv, delimiter="\t"), columns_of),
    "csv.gz": ("a.csv.gz", write_csv, columns_of),
    "parquet": ("a.parquet", write_parquet, columns_of),
    "npz columns": ("a.npz", write_npz, columns_of),
    "npz arrays": ("a.npz", write_npz, arrays_of),
    "hdf5 columns": ("a.h5", write_hdf5, columns_of),
    "hdf5 arrays": ("a.hdf5", write_hdf5, arrays_of),
}

finite = st.floats(-1e30, 1e30)  # what is larger is refused


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectories:
    d = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    count, longest = len(lengths), max(lengths)
    times, y = np.full((count, longest), np.nan), np.full((count, longest, d), np.nan)
    for r, n in enumerate(lengths):
        times[r, :n] = sorted(draw(st.lists(finite, min_size=n, max_size=n, unique=True)))
        y[r, :n] = np.reshape(draw(st.lists(finite, min_size=n * d, max_size=n * d)), (n, d))
    return Trajectories(times, y, np.array(lengths), tuple("abc"[:d]))


def assert_identical(got: Trajectories, expected: Trajectories) -> None:
    np.testing.assert_array_equal(got.times, expected.times)
    np.testing.assert_array_equal(got.y, expected.y)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    assert got.variables == expected.variables
    assert got.content_hash() == expected.content_hash()


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=15, deadline=None)
@given(data=trajectories())
def test_round_trip(kind: str, data: Trajectories) -> None:
    name, write, layout = FORMATS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, layout(data))
        assert_identical(read(path), data)


def test_lynx_hare_is_the_public_record() -> None:
    data = read("lynx_hare")
    assert data.times.shape == (1, 21) and data.lengths.tolist() == [21] and data.variables == ("hare", "lynx")
    np.testing.assert_array_equal(data.times[0], np.arange(1900, 1921))
    np.testing.assert_array_equal(data.y[0, :, 0], [*HARE, 24.7])
    np.testing.assert_array_equal(data.y[0, :, 1], [*LYNX, 8.6])


def test_an_example_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lynx_hare").mkdir()  # a folder of that name is not in its way
    assert read("lynx_hare").points == 21


def text(tmp_path: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    content = '\ufeff\r\n time , trajectory,"x, of it"\r\n0,b, 1.5 \r\n0.5,"a",2\r\n\r\n1,b,3e0\r\n2.5,a,4\r\n,,\r\n'
    data = read(text(tmp_path, content))
    assert data.variables == ("x, of it",)
    np.testing.assert_array_equal(data.times, [[0, 1], [0.5, 2.5]])  # in order of first appearance
    np.testing.assert_array_equal(data.y[..., 0], [[1.5, 3], [2, 4]])


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = text(tmp_path, "day,bird,note,x,y\n0,1,calm,1,2\n1,1,windy,3,4\n0,2,,5,6\n1,2,,7,8\n")
    data = read(path, time="day", trajectory="bird", variables=["y", "x"])
    np.testing.assert_array_equal(data.y[0], [[2, 1], [4, 3]])
    assert data.variables == ("y", "x") and data.count == 2


def test_latin_1_matters_only_in_numbers(tmp_path: Path) -> None:
    path = text(tmp_path, "time,trajectory,x\n0,Zürich,1\n1,Zürich,2\n".encode("latin-1"))
    assert read(path).count == 1


def test_missing_values_drop_their_row_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = text(tmp_path, "time,x,y\n0,1,1\n1,,2\n2,3,NA\n,4,4\n4,5,nan\n5,6,6\n")
    with caplog.at_level(logging.INFO, "experiments"):
        data = read(path)
    np.testing.assert_array_equal(data.times, [[0, 5]])
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: dropped 4 of 6 rows because a value is missing (first: {path}:3); the gap is a longer interval"
    ]
    refuses(path, f"{path}:3: no value may be missing", missing="refuse")


def test_missing_values_of_binary_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", "(0, 'a', 1), (1, 'a', NULL), (NULL, 'a', 2), (4, 'a', 3)")
    np.savez(tmp_path / "a.npz", times=[0, 1, 4, np.nan], y=np.array([1, np.nan, 3, np.nan]).reshape(1, 4, 1))
    for name in ("a.parquet", "a.npz"):
        data = read(tmp_path / name)
        np.testing.assert_array_equal(data.times, [[0, 4]])
        np.testing.assert_array_equal(data.y, [[[1], [3]]])
    refuses(tmp_path / "a.parquet", "a.parquet:2: no value may be missing", missing="refuse")
    refuses(tmp_path / "a.npz", "a.npz: trajectory 1, point 2: no value may be missing", missing="refuse")


def test_arrays_of_agents_common_times_and_chosen_variables(tmp_path: Path) -> None:
    y = np.arange(48.0).reshape(2, 3, 4, 2)
    np.savez(tmp_path / "a.npz", times=[0, 1, 3], y=y)
    data = read(tmp_path / "a.npz")
    assert_identical(data, Trajectories.common(np.array([0, 1, 3]), y, ("y0", "y1")))
    assert_identical(read(tmp_path / "a.npz", variables="y1"), Trajectories.common(data.times[0], y[..., 1:], ["y1"]))
    refuses(tmp_path / "a.npz", "there must be a column 'y2' (did you mean", variables=["y2"])


def test_paths_are_taken_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Trajectories.common(np.arange(3.0), np.zeros((1, 3, 1)), ["x"])
    folder = tmp_path / "time=7; DROP TABLE x --'\""
    folder.mkdir()
    for name in ("a[1]*?'.parquet", "a1.parquet"):
        write_parquet(folder / name, columns_of(data))
        assert_identical(read(folder / name), data)
    monkeypatch.setenv("HOME", str(folder))
    assert_identical(read("~/a1.parquet"), data)


def refuses(path: str | os.PathLike[str], *parts: str, **options) -> None:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message and "\r" not in message
    for part in parts:
        assert part in message, message


H = "time,trajectory,x\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["data.csv: the file must have a header and rows, but it is empty"]),
        ("\n\n \n", ["but it is empty"]),
        (H, ["data.csv: there must be rows of data after the header"]),
        (H + "0,a,1\n1,a,fox\n", ["data.csv:3: column 'x' must hold numbers", "there is 'fox'"]),
        ("\n" + H + "\n0,a,1\n1,a,1_5\n", ["data.csv:5: column 'x'", "'1_5'"]),
        ("time;x\n0;1,5\n1;2,5\n", ["data.csv:2: column 'x' must hold numbers such as -1.5e3", "'1,5'"]),
        (H + "2020-01-01,a,1\n", ["data.csv:2: column 'time'", "'2020-01-01'"]),
        (H + "0,a,'\x00\xe9" + 99 * "z" + "\n", ["data.csv:2: column 'x'", "..."]),
        (H + '0,a,"one\ntwo"\n', ["data.csv:3: column 'x'", r"'one\ntwo'"]),
        (H + "0,a,1\n1,a\n", ["data.csv:3: every row must have 3 cells", "has 2"]),
        (H + "0,a,1\n1,a,2,3\n", ["data.csv:3: every row must have 3 cells", "has 4"]),
        (H + "0,a,1\n1,a,inf\n", ["data.csv:3: every number must be finite, but 'x' is infinite"]),
        (H + "0,a,1\n-inf,a,1\n", ["data.csv:3: every number must be finite, but time is infinite"]),
        (H + "0,a,1\n1,a,1e999\n", ["data.csv:3: every number must be finite"]),
        (
            H + "0,a,1\n1,a,-1e31\n2,a,NA\n",
            ["data.csv:3: every number must be at most 1e+30", "'x' reaches 1e+31; give"],
        ),
        (H + "0,a,1\n1e308,a,2\n", ["data.csv:3: every number must be at most 1e+30 in size", "'time' reaches 1e+308"]),
        (H + "0,a,1\n1,a,2\n0,b,3\n", ["data.csv:4: a trajectory must have at least 2", "'b' has 1"]),
        (H + "0,a,1\n1,a,2\n0,b,\n2,b,NA\n", ["data.csv:4: a trajectory must have at least 2", "'b' has 0"]),
        (H + "0,a,1\n1,,2\n", ["data.csv:3: every row must say its trajectory"]),
        (
            H + "0,a,1\n2,a,2\n0,b,3\n1,a,4\n0,b,5\n",
            ["data.csv:5: times must strictly", "1.0 comes after 2.0", ":3)", "'a'"],
        ),
        (H + "0,b,1\n1,a,1\n1,a,2\n0,b,2\n", ["data.csv:4: times must strictly", "1.0 repeats 1.0", "(", ":3)"]),
        (H + '0,a,"1\n1,a,2\n', ["data.csv:3: a row must be well-formed CSV"]),
        ("Time,x\n0,1\n1,2\n", ["must be a column 'time'", "did you mean 'Time'?", "there are: Time, x"]),
        ("t x\n0 1\n", ["must be a column 'time'", "there are: t x"]),
        ("time\n0\n1\n", ["a column for at least one variable"]),
        ("time,Trajectory,x\n0,1,1\n1,1,2\n", ["must be a column 'trajectory' (did you mean 'Trajectory'?)"]),
        (",time,x\n0,0,1\n1,1,2\n", ["every column must have a name"]),
        ("time,x,x\n0,0,1\n1,1,2\n", ["data.csv:1: column names must differ, but 'x'"]),
        ("0,1\n1,2\n", ["data.csv:1: the first row must name the columns"]),
        (H.encode("utf-16") + b"0", ["data.csv:1: the header must be UTF-8"]),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xd8", ["data.csv:1: the header must be UTF-8"]),
    ],
)
def test_bad_text_is_refused(tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
    refuses(text(tmp_path, content), *parts)


def test_lines_are_right_in_every_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{i},x{i % 3},{i}" for i in range(20)]
    for chunk in (1, 2, 7, 500):
        monkeypatch.setattr(delimited, "CHUNK_ROWS", chunk)
        assert read(text(tmp_path, H + "\n".join(lines))).lengths.tolist() == [7, 7, 6]
        for at in range(20):
            wrong = [*lines[:at], "", f"{at},x0,fox", *lines[at + 1 :]]
            refuses(text(tmp_path, H + "\n".join(wrong)), f"data.csv:{at + 3}: column 'x'")
        refuses(
            text(tmp_path, H + "\n".join([*lines, "3,x1,0"])), "data.csv:22: times must", f"({tmp_path}/data.csv:21)"
        )


def test_paths_that_hold_no_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "birds.csv").write_text(H)
    refuses(tmp_path, "must name a file, but it is a folder")
    refuses(tmp_path / "brids.csv", "the file must exist", "did you mean 'birds.csv'?")
    refuses("lynx_hair", "did you mean 'lynx_hare'?", "examples: lynx_hare")
    refuses(tmp_path / "none" / "a.csv", "not even the folder")
    refuses(tmp_path / "two\nlines.csv", "the file must exist")
    refuses("nul\0.csv", "the file must exist")
    refuses(text(tmp_path, "x", "a.xlsx"), "suffix must be one of .csv", "'.xlsx'")
    refuses(text(tmp_path, "x", "bare"), "suffix must be one of")
    refuses(tmp_path / "birds.csv", "missing must be drop or refuse", missing="guess")
    for variables in ([], ["x", "x"]):
        refuses(tmp_path / "birds.csv", "at least one column and none twice", variables=variables)
    refuses(tmp_path / "birds.csv", "a column 'specie'", trajectory="specie")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet", "a.npz", "a.h5"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    write = {file: write for file, write, _ in FORMATS.values()}[name]
    y = np.random.default_rng(0).normal(size=(1, 300, 2))
    write(tmp_path / name, columns_of(Trajectories.common(np.arange(300.0), y, "xy")))
    good = (tmp_path / name).read_bytes()
    damaged = [b"", b"not the format", good[: len(good) // 2], good[:4] + b"\xff" * 40 + good[44:], good[:-9]]
    for content in damaged:
        refuses(text(tmp_path, content, name), f"{name}: ")


def test_columns_that_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for value in ("'fox'", "DATE '2020-01-01'", "TIMESTAMPTZ '2020-01-01'", "[1]"):
        write_parquet(path, f"(0, 1, NULL), (1, 1, {value})")
        refuses(path, "a.parquet:2: column 'x' must hold numbers")
        assert read(path, variables=["trajectory"]).count == 1  # it is in nobody's way when not asked for
    write_parquet(path, "(0, [1], 1), (1, [1], 1)")
    refuses(path, "a.parquet:1: every row must say its trajectory")
    write_parquet(path, "(0, 1, 1), (1, NULL, 1)")
    refuses(path, "a.parquet:2: every row must say its trajectory")
    write_hdf5(tmp_path / "a.h5", {"time": [0, 1], "x": ["a", "b"], "group/y": [0, 1]})
    refuses(tmp_path / "a.h5", "a.h5:1: column 'x' must hold numbers")


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        (
            {"time": [0, 1], "x": np.array([{}, {}])},
            ["array 'x' must hold numbers or text, but it holds Python objects"],
        ),
        (
            {"time": [0, 1], "x": [1j, 2]},
            ["a.npz: 'x' must hold real numbers, but", "such as 0+1j; give real and imag"],
        ),
        ({"time": [0, 1], "x": np.array(["2020", "2021"], "M8[Y]")}, ["there is 2020 of type datetime64"]),
        ({"times": np.zeros((0, 5)), "y": np.zeros((0, 5, 2))}, ["at least 1 trajectory", "shape is (0, 5, 2)"]),
        ({"times": [0, 1], "y": np.zeros((1, 2, 0, 4))}, ["at least 1 trajectory of 1 variable (and 1 agent)"]),
        (
            {"times": [0, 1], "y": np.full((1, 2, 1, 2), -1e200)},
            ["trajectory 1, point 1: every number", "'y0' reaches"],
        ),
        ({"time": [0, 1], "x": [1, 2, 3]}, ["'x' has shape (3,) and 'time' (2,)"]),
        ({"time": [0, 1], "x": 1}, ["'x' has shape ()"]),
        ({"time": [0, 1], "trajectory": [1], "x": [1, 2]}, ["'trajectory' has shape (1,)"]),
        ({"times": [0, 1], "x": [1, 2]}, ["a column 'time' (did you mean 'times'?)"]),
        ({"times": [0, 1], "y": [[1], [2]]}, ["y (R, T, D)", "(2,) and (2, 1)"]),
        ({"times": [0, 1, 2], "y": np.zeros((1, 2, 1))}, ["(3,) and (1, 2, 1)"]),
        ({"times": [0, 1], "y": np.zeros((1, 2, 2)), "variables": ["x"]}, ["variables must be 2 different names"]),
        ({"times": [0, 1], "y": np.zeros((1, 2, 2)), "variables": ["x", "x"]}, ["variables must be 2 different names"]),
        ({"times": [0, 0], "y": np.zeros((1, 2, 1))}, ["trajectory 1, point 2: times must strictly increase"]),
        ({"times": [0, 1], "y": np.full((2, 2, 1), np.inf)}, ["trajectory 1, point 1: every number must be finite"]),
        ({"times": [[0, 1], [0, np.nan]], "y": np.ones((2, 2, 1))}, ["trajectory 2, point 1: a trajectory must have"]),
        ({"times": [], "y": np.ones((2, 0, 1))}, ["a.npz: a trajectory must have at least 2"]),
        ({"time": [], "x": []}, ["a.npz: a trajectory must have at least 2"]),
        ({}, ["a column 'time', but there are: ;"]),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict, parts: list[str]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refuses(tmp_path / "a.npz", *parts)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    refuses(tmp_path / "a.npz", "must be an NPZ archive")


def test_padding_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = "".join(f"0,t{i},0\n1,t{i},0\n" for i in range(100))
    path = text(tmp_path, H + short + "".join(f"{i},long,0\n" for i in range(100)))
    assert read(path).times.shape == (101, 100)
    monkeypatch.setattr(rows, "PADDING_BYTES", 0)
    refuses(path, "similar lengths, but 101 of up to 100 points are only 300 rows")


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*arguments, **options):  # root, who often runs tests, may read a file whatever its mode
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(delimited, "open", locked, raising=False)
    refuses(text(tmp_path, H), "data.csv: the file must be readable", "Permission denied")


def test_the_examples_of_the_documentation_hold_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    blocks = re.findall(r"```(csv|python)\n(.*?)```", page, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["csv", "python", "python", "python", "python"]
    text(tmp_path, blocks[0][1])
    for _, code in blocks[1:]:
        exec(code, {})
    expected = read("data.csv")
    assert expected.lengths.tolist() == [3, 2]
    for name in ("data.parquet", "columns.npz", "arrays.npz", "data.h5"):
        assert_identical(read(name), expected)
