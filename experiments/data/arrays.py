"""Read Parquet, NPZ and HDF5: a column each, or arrays `times` and `y`. Nothing is ever unpickled."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.rows import Rows, Wanted, choose, not_a_number, number_ids, require
from experiments.trajectories import DataError


def read_parquet(file: Path, source: str, wanted: Wanted) -> Rows:
    import duckdb

    offline: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    # The path is a bound parameter, and what it has of a pattern (as in data[1].parquet) is meant literally.
    table, name = "read_parquet(?, hive_partitioning = false)", [glob.escape(str(file))]
    try:
        with duckdb.connect(config=offline) as connection:
            names = [row[0] for row in connection.execute(f"DESCRIBE FROM {table}", name).fetchall()]
            _, variables = choose(source, names, wanted)
            needed = dict.fromkeys(n for n in (wanted.time, wanted.trajectory, *variables) if n in names)
            quoted = ", ".join('"' + column.replace('"', '""') + '"' for column in needed)
            columns = connection.execute(f"SELECT {quoted} FROM {table}", name).fetchnumpy()
    except duckdb.Error as error:
        raise OSError(str(error)) from None
    return _from_columns(source, list(columns), columns.__getitem__, wanted)


def read_npz(file: Path, source: str, wanted: Wanted) -> Rows:
    with open(file, "rb") as stream:  # NumPy would leave a damaged file open
        if stream.read(2) != b"PK":  # and would take it for another of its formats
            raise DataError(f"{source}: the file must be an NPZ archive, but it is not; write it with numpy.savez")
        stream.seek(0)
        archive = np.load(stream, allow_pickle=False)

        def get(name: str) -> np.ndarray:
            try:
                return np.asarray(archive[name])
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                raise DataError(
                    f"{source}: array {name!r} must hold numbers or text, but it holds Python objects, which are "
                    "never read; save it with a number dtype"
                ) from None

        return _from_arrays(source, archive.files, get, wanted)


def read_hdf5(file: Path, source: str, wanted: Wanted) -> Rows:
    import h5py

    with h5py.File(file, "r") as content:
        columns = {name: item for name, item in content.items() if isinstance(item, h5py.Dataset)}
        return _from_arrays(source, list(columns), lambda name: np.asarray(columns[name][()]), wanted)


def _from_arrays(source: str, names: Sequence[str], get: Callable[[str], np.ndarray], wanted: Wanted) -> Rows:
    """Either layout of a file of arrays: `times` and `y`, or a column each."""
    if wanted.time in names or not {"times", "y"} <= set(names):
        return _from_columns(source, names, get, wanted)
    times, y = _numbers("times", get("times"), source), _numbers("y", get("y"), source)
    if y.ndim < 3 or times.shape not in (y.shape[:2], y.shape[1:2]):
        raise DataError(
            f"{source}: times must have shape (T,) or (R, T) and y (R, T, D), for R trajectories of T points and D "
            f"variables, but they have {times.shape} and {y.shape}; reshape them"
        )
    count, length, *state = y.shape
    if 0 in (count, *state):
        raise DataError(
            f"{source}: y must hold at least 1 trajectory of 1 variable (and 1 agent), but its shape is {y.shape}; "
            "write the file with data in it"
        )
    labels = tuple(f"y{i}" for i in range(state[-1]))
    if "variables" in names:
        found = np.atleast_1d(get("variables")).tolist()
        labels = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in found)
    if len(labels) != state[-1] or len(set(labels)) < len(labels):
        raise DataError(
            f"{source}: variables must be {state[-1]} different names, one for each entry of the last axis of y, but "
            f"they are {', '.join(labels)}; correct them"
        )
    if wanted.variables is not None:
        for name in wanted.variables:
            require(source, name, labels)
        y = y[..., [labels.index(name) for name in wanted.variables]]
        labels = wanted.variables
    times = np.broadcast_to(times, (count, length))
    # NaN times at the end of a trajectory are padding, not missing values.
    stop = length - np.argmax(~np.isnan(times)[:, ::-1], axis=1) if length else np.zeros(count, int)
    row, point = np.nonzero(np.arange(length) < stop[:, None])
    return Rows(
        times[row, point], row, range(1, count + 1), y[row, point], labels,
        lambda i: f"{source}: trajectory {row[i] + 1}, point {point[i] + 1}",
    )  # fmt: skip


def _from_columns(source: str, names: Sequence[str], get: Callable[[str], np.ndarray], wanted: Wanted) -> Rows:
    has_trajectory, variables = choose(source, names, wanted)

    def where(row: int) -> str:
        return f"{source}:{row + 1}"

    columns = {name: _numbers(name, get(name), source) for name in (wanted.time, *variables)}
    ids = np.ma.asarray(get(wanted.trajectory)) if has_trajectory else None
    shapes = {name: column.shape for name, column in columns.items()}
    if ids is not None:
        shapes[wanted.trajectory] = ids.shape
    time = columns[wanted.time]
    wrong = next((name for name, shape in shapes.items() if len(shape) != 1 or shape != time.shape), None)
    if wrong is not None:
        raise DataError(
            f"{source}: every column must have one axis of the same length, but {wrong!r} has shape {shapes[wrong]} "
            f"and {wanted.time!r} {time.shape}; reshape them, or give times (R, T) and y (R, T, D)"
        )
    known: dict[Any, int] = {}
    codes = np.zeros(len(time), int) if ids is None else np.array(number_ids(known, ids.tolist(), where), int)
    values = np.stack([columns[name] for name in variables], axis=-1)
    return Rows(time, codes, list(known) or [1], values, variables, where)


def _numbers(name: str, array: np.ndarray, source: str) -> np.ndarray:
    """As float64, with NaN where a value is missing."""
    kind = array.dtype.kind
    if kind in "biuf":
        return np.ma.filled(np.ma.asarray(array).astype(float), np.nan)
    # The type of the whole column is wrong: its first value is shown as an example.
    flat = np.ma.asarray(array).ravel().tolist()
    row = next((i for i, value in enumerate(flat) if value is not None), None)
    if row is None:
        return np.full(array.shape, np.nan)
    if kind == "c":
        raise DataError(
            f"{source}: {name!r} must hold real numbers, but it holds complex ones, such as {flat[row]:.3g}; give "
            "real and imaginary parts as two variables"
        )
    value = flat[row] if kind in "OSU" else np.ma.getdata(array).ravel()[row]
    shown = repr(value) if kind in "OSU" else str(value)
    raise not_a_number(f"{source}:{row + 1}", name, f"{shown} of type {type(value).__name__}")
