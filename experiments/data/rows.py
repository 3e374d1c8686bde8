"""The one form that every data file is brought to, and the rules about its content."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.trajectories import DataError, Trajectories

log = logging.getLogger("experiments")

LARGEST = 1e30  # single precision, in which models compute, ends at 3e38; what is divided by short intervals is larger
PADDING_BYTES = 2**30  # what padding to the longest trajectory may cost before it is refused


@dataclass(frozen=True)
class Wanted:
    """The names of columns that the user asked for; `variables` None means all others."""

    time: str
    trajectory: str
    variables: tuple[str, ...] | None


@dataclass
class Rows:
    """time (n,), codes (n,) into `ids`, values (n, *state); `where` gives the place of a row for a message."""

    time: np.ndarray
    codes: np.ndarray
    ids: Sequence[Any]
    values: np.ndarray
    variables: tuple[str, ...]
    where: Callable[[int], str]


def nearest(name: str, among: Iterable[str]) -> str:
    """A parenthesis that names the most similar of `among`, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in among}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def require(source: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        shown = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
        raise DataError(
            f"{source}: there must be a column {name!r}{nearest(name, names)}, but there are: {shown}; "
            "rename a column, or say which one it is"
        )


def choose(source: str, names: Iterable[str], wanted: Wanted) -> tuple[bool, tuple[str, ...]]:
    """Whether there is a trajectory column, and the names of the variables."""
    present = dict.fromkeys(names)  # a set that keeps the order
    for name in (wanted.time, *(wanted.variables or ())):
        require(source, name, present)
    alike = any(name.lower() == wanted.trajectory.lower() for name in present)
    if alike or wanted.trajectory != "trajectory":
        # Otherwise identifiers would silently be taken for a variable, and all rows for one trajectory.
        require(source, wanted.trajectory, present)
    has_trajectory = wanted.trajectory in present
    if wanted.variables is not None:
        return has_trajectory, wanted.variables
    variables = tuple(name for name in present if name not in (wanted.time, wanted.trajectory))
    if not variables:
        raise DataError(
            f"{source}: there must be a column for at least one variable, but there are only: {', '.join(present)}; "
            "add one"
        )
    for name in variables:
        if not name or name.startswith(("__index_level_", "Unnamed:")):  # as a data frame's index is saved
            raise DataError(
                f"{source}: every column must have a name, but one is called {name!r} and may hold row numbers; "
                "delete it, or name the columns to use in task.variables=[...]"
            )
    return has_trajectory, variables


def not_a_number(where: str, column: str, shown: str) -> DataError:
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return DataError(
        f"{where}: column {column!r} must hold numbers such as -1.5e3, but there is {shown}; correct it, leave it "
        "empty if it is missing, or name the columns to use in task.variables=[...]"
    )


def number_ids(known: dict[Any, int], ids: Sequence[Any], where: Callable[[int], str]) -> list[int]:
    """A number for each identifier of a trajectory, in order of first appearance, which `known` remembers."""
    try:
        return [known[value] for value in ids]
    except (KeyError, TypeError):  # a new one, or one that cannot be a key
        pass
    for row, value in enumerate(ids):
        if not isinstance(value, str | bytes | int | float) or value in ("", b"") or value != value:
            # Not dropped as other missing values are: an empty cell may be meant as 'the same as above'.
            raise DataError(
                f"{where(row)}: every row must say its trajectory by a number or a text, but this one has {value!r}; "
                "fill it in"
            )
        known.setdefault(value, len(known))
    return [known[value] for value in ids]


def assemble(source: str, rows: Rows, missing: str) -> Trajectories:
    """Check what the rows say and pad the trajectories to the longest."""
    state = rows.values.shape[1:]
    state_axes = tuple(range(1, rows.values.ndim))
    infinite = np.isinf(rows.time) | np.isinf(rows.values).any(axis=state_axes)
    if infinite.any():
        row = int(infinite.argmax())
        columns = np.isinf(rows.values[row].reshape(-1, state[-1])).any(axis=0)
        name = "time" if np.isinf(rows.time[row]) else repr(rows.variables[int(columns.argmax())])
        raise DataError(
            f"{rows.where(row)}: every number must be finite, but {name} is infinite; correct it, or leave it empty if "
            "it is missing"
        )
    _refuse_too_large(rows)
    lacking = np.isnan(rows.time) | np.isnan(rows.values).any(axis=state_axes)
    if lacking.any():
        first = rows.where(int(lacking.argmax()))
        if missing == "refuse":
            raise DataError(f"{first}: no value may be missing, but one is; fill it in, or use task.missing=drop")
        said = "%s: dropped %d of %d rows because a value is missing (first: %s); the gap is a longer interval"
        log.warning(said, source, lacking.sum(), len(lacking), first)
    kept = np.flatnonzero(~lacking)
    order = kept[np.argsort(rows.codes[kept], kind="stable")]
    time, code = rows.time[order], rows.codes[order]
    wrong = np.flatnonzero((code[1:] == code[:-1]) & ~(time[1:] > time[:-1]))
    if len(wrong):
        at = int(wrong[order[wrong + 1].argmin()])  # the first one in the file
        before, now = rows.where(int(order[at])), rows.where(int(order[at + 1]))
        verb = "repeats" if time[at] == time[at + 1] else "comes after"
        raise DataError(
            f"{now}: times must strictly increase within a trajectory, but {time[at + 1]} {verb} {time[at]} "
            f"({before}) in trajectory {rows.ids[code[at]]!r}; sort the rows, or tell trajectories apart"
        )
    lengths = np.bincount(code, minlength=len(rows.ids))
    short = np.flatnonzero(lengths < 2)
    if len(short):
        found = np.flatnonzero(rows.codes == short[0])
        raise DataError(
            f"{rows.where(int(found[0])) if len(found) else source}: a trajectory must have at least 2 complete rows, "
            f"but {rows.ids[int(short[0])]!r} has {lengths[short[0]]}; add rows or remove it"
        )
    count, longest = len(lengths), int(lengths.max())
    row_bytes = 8 * (1 + math.prod(state))
    if count * longest * row_bytes > max(PADDING_BYTES, 10 * len(time) * row_bytes):
        raise DataError(
            f"{source}: trajectories must be of similar lengths, but {count} of up to {longest} points are only "
            f"{len(time)} rows in all; cut the long ones into several"
        )
    place = code, np.arange(len(code)) - (np.cumsum(lengths) - lengths)[code]
    times = np.full((count, longest), np.nan)
    y = np.full((count, longest, *state), np.nan)
    times[place], y[place] = time, rows.values[order]
    return Trajectories(times, y, lengths, rows.variables)


def _refuse_too_large(rows: Rows) -> None:
    for name, column in [("time", rows.time), *((v, rows.values[..., k]) for k, v in enumerate(rows.variables))]:
        size = np.abs(np.nan_to_num(column)).max(axis=tuple(range(1, column.ndim)))
        if size.max(initial=0) > LARGEST:
            row = int(size.argmax())
            raise DataError(
                f"{rows.where(row)}: every number must be at most {LARGEST:g} in size, since models compute in single "
                f"precision, but {name!r} reaches {size[row]:.3g}; give it in a larger unit"
            )
