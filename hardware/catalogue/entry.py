"""One device of the catalogue: what may be said of it, and the refusal of what may not."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

KINDS = ("cpu", "cuda", "rocm", "tpu", "accelerator", "neuromorphic", "fpga")
DTYPES = ("float64", "float32", "tf32", "bfloat16", "float16", "float8", "int8")
BASES = ("measured", "stated", "secondary", "estimate")
DENSITIES = ("dense", "sparse")
FIELDS = ("kind", "description", "matches", "excludes", "numbers")

# Every name a number may have. `matrix`: tensor cores, MXU, matrix cores; `vector`: the ordinary arithmetic units.
# One multiply-add is 2 FLOP. int8 operations are written as FLOP too, so that all rates have one name.
PEAKS = tuple(f"{unit}_{dtype}_flop_per_s" for unit in ("matrix", "vector") for dtype in DTYPES)
NUMBERS = (
    *PEAKS,
    "memory_bandwidth_bytes_per_s",
    "memory_bytes",  # main memory: HBM, GDDR, DDR
    "on_chip_bytes",  # the largest memory on the chip that arrays can live in: last-level cache, VMEM, SRAM
    "on_chip_bandwidth_bytes_per_s",
    "tdp_w",
    "idle_w",  # nothing running, but ready to: with a context open on a GPU; low may be without
    "busy_w",  # the measured mean under load; low and high are the least and the most seen under load
    "clock_hz",  # the clock at which the peaks are stated
    "cores",  # processor cores, streaming multiprocessors, compute units, TensorCores
    "devices_per_chip",  # devices that JAX sees in what this entry calls one device, where that is not 1
    "launch_s",
    "price_usd_per_hour",
    *(f"energy_j_per_flop_{dtype}" for dtype in DTYPES),
    "energy_j_per_byte",
    "energy_j_per_on_chip_byte",
    "energy_j_per_synaptic_event",
    "uncertainty",  # relative, of a power modelled from this entry
)


class CatalogueError(LookupError):
    """No such device, no such number for it, or a figure that must not be used as asked."""


@dataclass(frozen=True)
class Number:
    """A figure with where it comes from.

    `basis`: measured (by the source), stated (by the maker), secondary (somebody repeats it) or estimate (derived or
    judged; the note says how). `density` (peak rates only): sparse means that half the operands are zeros nobody
    multiplies. `low` and `high` bound what else is published, or what was seen.
    """

    value: float
    year: int
    source: str
    basis: str
    density: str | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One device. `matches`: parts of names that its driver reports; `excludes`: of names it must not be taken for."""

    name: str
    kind: str
    description: str
    numbers: dict[str, Number]
    matches: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def value(self, number: str) -> float:
        """The figure called `number`. Raises CatalogueError where nobody published it, or where it is a sparse peak."""
        found = self.numbers.get(number)
        if found is None:
            close = [] if number in NUMBERS else difflib.get_close_matches(number, NUMBERS, 1, 0.6)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise CatalogueError(f"{self.name} has no {number}{hint}; known are {', '.join(sorted(self.numbers))}")
        if found.density == "sparse":
            raise CatalogueError(
                f"{self.name}: the only published {number} ({found.value:.3g}) counts zeros that are skipped (sparse); "
                "no dense figure is known, so nothing may be projected from it"
            )
        return found.value

    def get(self, number: str) -> Number | None:
        """The figure with its source, sparse ones included; None where nobody published it."""
        return self.numbers.get(number)


def read(name: str, content: Any) -> Entry:
    """The entry written in a YAML file; raises CatalogueError naming the device, the number and what must hold."""
    if not isinstance(content, dict) or not isinstance(content.get("numbers"), dict):
        raise CatalogueError(f"{name}: the file must hold kind, description and numbers")
    strange = sorted(set(content) - {"kind", "description", "matches", "excludes", "numbers"})
    if strange:
        raise CatalogueError(
            f"{name}: unknown field {strange[0]}; known are kind, description, matches, excludes, numbers"
        )
    if content.get("kind") not in KINDS:
        raise CatalogueError(f"{name}: kind must be one of {', '.join(KINDS)}; it is {content.get('kind')}")
    if not str(content.get("description") or "").strip():
        raise CatalogueError(f"{name}: a description is missing")
    return Entry(
        name,
        content["kind"],
        " ".join(content["description"].split()),
        {number: _number(f"{name}: {number}", number, facts) for number, facts in content["numbers"].items()},
        tuple(content.get("matches") or ()),
        tuple(content.get("excludes") or ()),
    )


def _number(where: str, number: str, facts: Any) -> Number:
    if number not in NUMBERS:
        close = difflib.get_close_matches(str(number), NUMBERS, 1, 0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise CatalogueError(f"{where} is not a name that a number may have{hint}")
    if not isinstance(facts, dict):
        raise CatalogueError(f"{where} must give value, year, source and basis; it is {facts!r}")
    strange = sorted(set(facts) - set(Number.__dataclass_fields__))
    missing = [field for field in ("value", "year", "source", "basis") if not str(facts.get(field, "")).strip()]
    if strange or missing:
        wrong = f"unknown field {strange[0]}" if strange else f"{missing[0]} is missing"
        raise CatalogueError(f"{where}: {wrong}; a number has {', '.join(Number.__dataclass_fields__)}")
    if facts["basis"] not in BASES:
        raise CatalogueError(f"{where}: basis must be one of {', '.join(BASES)}; it is {facts['basis']}")
    if (number in PEAKS) != ("density" in facts) or facts.get("density", "dense") not in DENSITIES:
        raise CatalogueError(f"{where}: a peak rate, and nothing else, says density: dense or density: sparse")
    value, low, high = (_float(where, facts.get(field)) for field in ("value", "low", "high"))
    if value is None or value <= 0 or not (low or value) <= value <= (high or value):
        raise CatalogueError(f"{where}: value must be positive and lie between low and high; it is {facts['value']}")
    if not isinstance(facts["year"], int):
        raise CatalogueError(f"{where}: year must be a whole number; it is {facts['year']!r}")
    words = {field: " ".join(str(facts.get(field, "")).split()) for field in ("source", "note")}
    return Number(value, facts["year"], words["source"], facts["basis"], facts.get("density"), low, high, words["note"])


def _float(where: str, written: Any) -> float | None:
    """YAML 1.1 reads 989e12 as text, for want of a decimal point and a sign: both forms are numbers here."""
    if written is None:
        return None
    try:
        if not isinstance(written, bool):
            return float(written)
    except (TypeError, ValueError):
        pass
    raise CatalogueError(f"{where}: {written!r} is not a number")
