"""Read delimited text: CSV with commas, semicolons or tabs, whichever the header has most of; also gzipped.

Rows are parsed in chunks, column by column. This is about half as fast as a compiled reader, which however cannot say
on which line of the file a row is.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.rows import Rows, Wanted, choose, not_a_number, number_ids
from experiments.trajectories import DataError

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))  # cells that hold no value, in upper or lower case
# Rows held as strings at once: few, so that they stay in the processor's cache (measured: 2x faster than 5000), and
# fewer where they are so wide that they would fill the memory.
CHUNK_ROWS, CHUNK_CELLS = 500, 1_000_000


def read_csv(file: Path, source: str, wanted: Wanted) -> Rows:
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    # Bytes that are not UTF-8 matter only in a cell that is used, where they are then no number.
    with opened(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        skipped, first = 0, next(text, "")
        while first and not first.strip():
            skipped, first = skipped + 1, next(text, "")
        if not first:
            raise DataError(f"{source}: the file must have a header and rows, but it is empty; fill it")
        bare = re.sub(r'"[^"]*"', "", first)
        reader = csv.reader(itertools.chain([first], text), delimiter=max(",;\t", key=bare.count), strict=True)
        try:
            return _scan(reader, skipped, source, wanted)
        except csv.Error as error:
            line = reader.line_num + skipped
            raise DataError(f"{source}:{line}: a row must be well-formed CSV, but: {error}; check its quotes") from None


def _scan(reader: Any, skipped: int, source: str, wanted: Wanted) -> Rows:
    header = [cell.strip() for cell in next(reader)]
    _check_header(header, f"{source}:{skipped + 1}")
    has_trajectory, variables = choose(source, header, wanted)
    column_of = {name: i for i, name in enumerate(header)}
    known: dict[str, int] = {}
    times, codes, values, lines = [], [], [], []
    for rows, numbers in _chunks(reader, len(header), skipped, source):

        def where(row: int, numbers: list[int] = numbers) -> str:
            return f"{source}:{numbers[row]}"

        columns = list(zip(*rows, strict=True))
        block = np.empty((len(rows), len(variables)))
        for i, name in enumerate(variables):
            block[:, i] = _parse(columns[column_of[name]], name, where)
        values.append(block)
        times.append(_parse(columns[column_of[wanted.time]], wanted.time, where))
        if has_trajectory:
            ids = [cell.strip() for cell in columns[column_of[wanted.trajectory]]]
            codes.append(np.array(number_ids(known, ids, where)))
        lines.append(np.array(numbers))
    if not lines:
        raise DataError(f"{source}: there must be rows of data after the header, but there are none; add them")
    line = np.concatenate(lines)
    code = np.concatenate(codes) if has_trajectory else np.zeros(len(line), int)
    return Rows(
        np.concatenate(times), code, list(known) or [1], np.concatenate(values), variables,
        lambda row: f"{source}:{line[row]}",
    )  # fmt: skip


def _check_header(header: list[str], where: str) -> None:
    if re.search("[\0\udc80-\udcff]", "".join(header)):  # UTF-16, or bytes that could not be decoded
        raise DataError(f"{where}: the header must be UTF-8 text, but it is not; save the file as UTF-8")
    if all(_is_number(cell) for cell in header):
        raise DataError(
            f"{where}: the first row must name the columns, such as time,x,y, but it holds numbers; add a header"
        )
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise DataError(f"{where}: column names must differ, but {twice!r} is there twice; rename one")


def _chunks(reader: Any, width: int, skipped: int, source: str) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Rows of cells, with the number of the line that each one is on, as an editor shows it."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    full = max(1, min(CHUNK_ROWS, CHUNK_CELLS // width))
    for row in reader:
        if len(row) != width or not row[0]:  # the usual row is neither, and passes quickly
            if not any(row):  # a blank line, as files often end with
                continue
            if len(row) != width:
                raise DataError(
                    f"{source}:{reader.line_num + skipped}: every row must have {width} cells as the header has, but "
                    f"this one has {len(row)}; add or remove cells"
                )
        rows.append(row)
        numbers.append(reader.line_num + skipped)
        if len(rows) == full:
            yield rows, numbers
            rows, numbers = [], []
    if rows:
        yield rows, numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_5 as 15; in a data file it is a slip


def _parse(cells: Sequence[str], column: str, where: Callable[[int], str]) -> np.ndarray:
    try:
        if "_" not in "".join(cells):
            return np.fromiter(map(float, cells), float, len(cells))
    except ValueError:
        pass  # a cell that is missing, or no number
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell.strip().lower() in MISSING:
            continue
        if not _is_number(cell):
            raise not_a_number(where(row), column, repr(cell))
        numbers[row] = float(cell)
    return numbers
