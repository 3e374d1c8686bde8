"""At what rate a device does a kind of work in a dtype, when only some rates are published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hardware.catalogue import CatalogueError

if TYPE_CHECKING:
    from hardware.catalogue import Entry

MATRIX_KINDS = ("matmul", "convolution")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
# Numbers of a narrow format can be computed in a wider one, at its rate.
WIDER = {
    "float8": ("bfloat16", "float16", "float32"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "tf32": ("float32",),
}
# A TPU multiplies in bfloat16. XLA makes a float32 product of 6 such passes (precision "highest"), of 3 ("high").
PASSES = {"float32": 6, "tf32": 3}
# What the ordinary units do of what the matrix units do in bfloat16 or float16, where only the latter is published:
# 1/2 (RTX 4090), 1/16 (A100, H100), 1/64 (a TPU's lanes against its systolic arrays).
VECTOR_OF_MATRIX = (1 / 2, 1 / 16, 1 / 64)

# What the devices that JAX sees in one chip share between them, besides its peak rates.
SHARED = ("memory_bytes", "memory_bandwidth_bytes_per_s", "on_chip_bytes", "on_chip_bandwidth_bytes_per_s")

Rates = tuple[float, float, float]


def one_device(entry: Entry, notes: list[str]) -> Entry:
    """One device as JAX sees it: the chip itself, or its share of a chip that JAX shows as several devices."""
    n = figure(entry, "devices_per_chip") or 1.0
    if n == 1:
        return entry
    notes.append(
        f"JAX shows one {entry.name} chip as {n:g} devices and a program runs on one: seconds are with 1/{n:g} of the "
        "chip's rates and memory, joules and money are of the whole chip"
    )
    shares = {
        name: replace(found, value=found.value / n, low=found.low and found.low / n, high=found.high and found.high / n)
        for name, found in entry.numbers.items()
        if name in SHARED or name.endswith("flop_per_s")
    }
    return replace(entry, numbers=entry.numbers | shares)


def figure(entry: Entry, number: str) -> float | None:
    """The dense figure; None where nobody published one."""
    try:
        return entry.value(number)
    except CatalogueError:
        return None


def or_note(entry: Entry, number: str, consequence: str, notes: list[str]) -> float | None:
    """The figure, or None and a note that says what its lack leads to."""
    found = figure(entry, number)
    if found is None:
        notes.append(f"{entry.name} has no {number}: {consequence}")
    return found


def running_precision(entry: Entry, asked: str | None, notes: list[str]) -> str:
    """In what float32 products run: as asked, else as JAX does by default there; a note where that is not float32."""
    tf32 = entry.kind == "cuda" and figure(entry, "matrix_tf32_flop_per_s") is not None
    default = "bfloat16" if entry.kind == "tpu" else "tf32" if tf32 else "float32"
    if default != "float32" and asked != default:
        does = f"are taken in {default}" if asked is None else f"are taken in {asked} as asked, not in {default}"
        notes.append(
            f"float32 products {does}, which JAX uses by default on {entry.name}: precision is part of the match, so "
            "models are compared at one"
        )
    return asked or default


def rates(entry: Entry, kind: str, dtype: str, notes: list[str]) -> Rates | None:
    """(best, central, worst) peak FLOP/s of `kind` in `dtype`; None, with a note, where none is known or implied."""
    name = _plain(dtype)
    if name != dtype and not dtype.startswith("float8"):
        notes.append(f"{dtype} operations are taken at the rate of float32")
    found = (_matrix if kind in MATRIX_KINDS else _vector)(entry, name, notes)
    if found is None:
        unit = "matrix or vector" if kind in MATRIX_KINDS else "vector"
        has = [
            f"{number}{' (sparse, so not used)' if published.density == 'sparse' else ''}"
            for number, published in entry.numbers.items()
            if number.endswith("flop_per_s")
        ]
        notes.append(f"{entry.name} has no {unit} rate for {dtype}, only {', '.join(has) or 'none at all'}: no seconds")
    return found


def _plain(dtype: str) -> str:
    if dtype.startswith("float8"):
        return "float8"
    return "float32" if dtype.startswith(("int", "uint", "bool")) else dtype


def _matrix(entry: Entry, dtype: str, notes: list[str]) -> Rates | None:
    """Matrix units in that dtype, on a TPU by several passes, else ordinary units, else the same in a wider format.

    Where no such rate is published: ordinary units at the rate that is implied for them.
    """
    narrow = figure(entry, "matrix_bfloat16_flop_per_s")
    for tried in (dtype, *WIDER.get(dtype, ())):
        found = figure(entry, f"matrix_{tried}_flop_per_s")
        if found is None and entry.kind == "tpu" and narrow is not None and tried in PASSES:
            notes.append(f"{tried} products are taken as {PASSES[tried]} bfloat16 passes each")
            found = narrow / PASSES[tried]
        if found is None:
            found = figure(entry, f"vector_{tried}_flop_per_s")
        if found is not None:
            if tried != dtype:
                notes.append(f"{entry.name} has no rate for {dtype} products: taken at that of {tried}")
            return found, found, found
    return _vector(entry, dtype, notes)


def _vector(entry: Entry, dtype: str, notes: list[str]) -> Rates | None:
    for tried in (dtype, *WIDER.get(dtype, ())):
        found = figure(entry, f"vector_{tried}_flop_per_s")
        if found is not None:
            if tried != dtype:
                notes.append(f"{entry.name} has no vector rate for {dtype}: taken at that of {tried}")
            return found, found, found
    if dtype == "float64":
        return None  # nothing narrower implies it
    for narrow in ("bfloat16", "float16"):
        found = figure(entry, f"matrix_{narrow}_flop_per_s")
        if found is not None:
            best, central, worst = VECTOR_OF_MATRIX
            notes.append(
                f"{entry.name} has no vector rate for {dtype}: taken as 1/16 (1/2 to 1/64) of its {narrow} matrix rate"
            )
            return found * best, found * central, found * worst
    return None
