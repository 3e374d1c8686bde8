"""Read a scientist's own trajectories from CSV, Parquet, NPZ or HDF5 (docs/data.md), or refuse them in one line."""

from __future__ import annotations

import importlib.resources
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from experiments.data.arrays import read_hdf5, read_npz, read_parquet
from experiments.data.delimited import read_csv
from experiments.data.rows import Rows, Wanted, assemble, nearest
from experiments.trajectories import DataError, Trajectories

Reader = Callable[[Path, str, Wanted], Rows]

READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}

# What the readers' libraries raise for damaged, cut off, locked or oversized files.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


def read(
    path: str | os.PathLike[str],
    time: str = "time",
    trajectory: str = "trajectory",
    variables: Sequence[str] | None = None,
    missing: Literal["drop", "refuse"] = "drop",
) -> Trajectories:
    """Trajectories from a file, or from a shipped example given by its bare name, such as `lynx_hare`.

    `time`, `trajectory`: names of those columns (without a trajectory column there is one trajectory).
    `variables`: columns of the state, all others if None. `missing`: what to do with rows that lack a value. Rows of
    different trajectories may be mixed; within one, times must increase. Raises DataError.
    """
    if missing not in ("drop", "refuse"):
        raise DataError(f"missing must be drop or refuse, but it is {missing!r}")
    if variables is not None:
        variables = (variables,) if isinstance(variables, str) else tuple(variables)
        if not variables or len(set(variables)) < len(variables):
            raise DataError(f"variables must name at least one column and none twice, but they are {list(variables)}")
    with _locate(path) as (file, reader):
        try:
            rows = reader(file, str(path), Wanted(time, trajectory, variables))
        except DataError:
            raise
        except UNREADABLE as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise DataError(
                f"{path}: the file must be readable {file.suffix} data, but: {reason}; check it or write it again"
            ) from None
    return assemble(str(path), rows, missing)


@contextmanager
def _locate(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Reader]]:
    """The file and its reader; an example's file may exist only within the context (in a zipped installation)."""
    folder = importlib.resources.files("experiments") / "data"
    examples = {entry.name.removesuffix(".csv"): entry for entry in folder.iterdir() if entry.name.endswith(".csv")}
    if str(path) in examples:
        with importlib.resources.as_file(examples[str(path)]) as file:
            yield file, read_csv
        return
    file = Path(os.path.expanduser(path))  # unlike Path.expanduser, it leaves an unknown user's ~ alone
    if os.path.isdir(file):
        raise DataError(f"{path}: the path must name a file, but it is a folder; name a file in it")
    if not os.path.exists(file):
        if not os.path.isdir(file.parent):
            raise DataError(
                f"{path}: the file must exist, but not even the folder {str(file.parent)!r} does; check the path"
            )
        try:
            beside = os.listdir(file.parent)
        except OSError:
            beside = []
        raise DataError(
            f"{path}: the file must exist, but there is none{nearest(file.name, [*beside, *examples])}; give a file, "
            f"or one of the examples: {', '.join(sorted(examples))}"
        )
    for suffix, reader in READERS.items():
        if file.name.lower().endswith(suffix):
            yield file, reader
            return
    raise DataError(
        f"{path}: the file's suffix must be one of {', '.join(READERS)}, but it is {file.suffix!r}; "
        "save the data in one of these formats"
    )
