"""The main figures of every device as a table in Markdown, made from the files so that the two never differ."""

from __future__ import annotations

from collections.abc import Callable

from hardware.catalogue.entry import Entry, Number

# Column: (heading, numbers of which the first that is known is shown, divisor).
COLUMNS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("float64 TFLOP/s", ("vector_float64_flop_per_s",), 1e12),
    ("float32 TFLOP/s", ("vector_float32_flop_per_s",), 1e12),
    ("matrix TF32", ("matrix_tf32_flop_per_s",), 1e12),
    ("matrix bf16 or fp16", ("matrix_bfloat16_flop_per_s", "matrix_float16_flop_per_s"), 1e12),
    ("matrix int8", ("matrix_int8_flop_per_s",), 1e12),
    ("memory GB", ("memory_bytes",), 1e9),
    ("GB/s", ("memory_bandwidth_bytes_per_s",), 1e9),
    ("on chip MB", ("on_chip_bytes",), 1e6),
    ("TDP W", ("tdp_w",), 1),
    ("busy W", ("busy_w",), 1),
    ("idle W", ("idle_w",), 1),
    ("clock GHz", ("clock_hz",), 1e9),
    ("USD/h", ("price_usd_per_hour",), 1),
)


def markdown(entries: list[Entry]) -> str:
    """One row a device. `~` marks an estimate, `s` a sparse peak (never projected from), `–` what nobody published."""
    head = ["device", *(heading for heading, _, _ in COLUMNS)]
    rows = [[f"`{entry.name}`", *(_cell(entry.get, names, unit) for _, names, unit in COLUMNS)] for entry in entries]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---", *["---:"] * len(COLUMNS)], *rows])


def _cell(get: Callable[[str], Number | None], names: tuple[str, ...], unit: float) -> str:
    known = [number for number in map(get, names) if number is not None]
    if not known:
        return "–"
    number = known[0]
    marks = ("~" if number.basis == "estimate" else "", " s" if number.density == "sparse" else "")
    return f"{marks[0]}{_short(number.value / unit)}{marks[1]}"


def _short(value: float) -> str:
    """Four significant digits, never in powers of ten."""
    digits = max(0, 4 - len(f"{value:.0f}")) if value >= 1 else 3
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
