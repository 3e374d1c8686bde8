"""The catalogue's figures against physics and each other: peaks are units times clock, dense, of a whole chip."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hardware import catalogue
from hardware.catalogue import Entry
from hardware.catalogue.entry import PEAKS

every_device = pytest.mark.parametrize("name", catalogue.names())
PICO = 1e-12


def dense(entry: Entry, name: str) -> float | None:
    found = entry.get(name)
    return found.value if found and found.density != "sparse" else None


def peaks(entry: Entry) -> dict[str, float]:
    return {name: value for name in PEAKS if (value := dense(entry, name))}


# FLOP of one multiprocessor or compute unit a cycle: (ordinary units in float32, matrix units in 16 bits, dense). From
# the makers' architecture papers; a sparse figure would give twice the latter. The H100 multiplies at its low clock.
PER_CYCLE = {
    "v100": (128, 1024),
    "a100": (128, 2048),
    "h100": (256, 4096),
    "h200": (256, 4096),
    "b200": (256, None),
    "l4": (256, 1024),
    "rtx_4090": (256, 512),
    "mi300x": (256, 2048),
}


@pytest.mark.parametrize("name", PER_CYCLE)
def test_the_peaks_of_gpus_are_units_times_clock(name):
    """Tolerance: makers round to two or three digits (0.5%), the B200's to 75 of 74.5 (0.7%)."""
    entry = catalogue.load(name)
    ordinary, matrix = PER_CYCLE[name]
    clock = entry.numbers["clock_hz"]
    assert entry.value("vector_float32_flop_per_s") == pytest.approx(
        entry.value("cores") * ordinary * clock.value, 0.01
    )
    for dtype in ("float16", "bfloat16"):
        rate = dense(entry, f"matrix_{dtype}_flop_per_s")
        if matrix and rate:
            assert rate == pytest.approx(entry.value("cores") * matrix * (clock.low or clock.value), 0.01), dtype


@pytest.mark.parametrize("name", PER_CYCLE)
def test_halving_the_bits_doubles_the_rate_of_a_gpus_matrix_units(name):
    """Trap: one sparse peak among dense ones would be out by 2. Tolerance: the B200's 1100 of 1125 is rounded by 2%."""
    entry = catalogue.load(name)
    rates = [dense(entry, f"matrix_{dtype}_flop_per_s") for dtype in ("tf32", "bfloat16", "float8")]
    for wide, narrow in pairwise(rates):
        assert not (wide and narrow) or narrow == pytest.approx(2 * wide, 0.03)


# FLOP of one whole chip a cycle: what its systolic arrays do. A figure per core would give half.
TPU_PER_CYCLE = {
    "tpu_v2": 2**16,
    "tpu_v3": 2**17,
    "tpu_v4": 2**18,
    "tpu_v5e": 2**17,
    "tpu_v5p": 2**18,
    "tpu_v6e": 2**19,
    "tpu_v7": 2**20,
}


@pytest.mark.parametrize("name", TPU_PER_CYCLE)
def test_the_peaks_of_tpus_are_those_of_a_whole_chip(name):
    """Trap: per device against per chip. Tolerance: clocks are written with two to four digits."""
    entry = catalogue.load(name)
    assert entry.value("matrix_bfloat16_flop_per_s") == pytest.approx(
        TPU_PER_CYCLE[name] * entry.value("clock_hz"), 5e-3
    )


def test_what_jax_sees_as_a_device_is_half_of_some_tpus():
    halves = {name for name in catalogue.names() if catalogue.load(name).get("devices_per_chip")}
    assert halves == {"tpu_v2", "tpu_v3", "tpu_v7"}
    assert all(catalogue.load(name).value("devices_per_chip") == 2 for name in halves)


@pytest.mark.parametrize(
    ("name", "power", "expected"), [("a100", "tdp_w", 1.28), ("h100", "tdp_w", 0.71), ("tpu_v4", "busy_w", 0.62)]
)
def test_the_envelopes_of_energy_per_flop(name, power, expected):
    """Watts over peak in pJ/FLOP, as in the notes of this project; they were written with two decimals."""
    entry = catalogue.load(name)
    assert entry.value(power) / entry.value("matrix_bfloat16_flop_per_s") / PICO == pytest.approx(expected, abs=0.005)


# Physics


@every_device
def test_a_narrower_format_is_never_slower_and_matrix_units_never_slower_than_ordinary_ones(name):
    entry = catalogue.load(name)
    for unit in ("matrix", "vector"):
        for half in ("bfloat16", "float16"):
            order = ("float64", "float32", "tf32", half, "float8")
            known = [dense(entry, f"{unit}_{dtype}_flop_per_s") for dtype in order]
            rates = [rate for rate in known if rate]
            assert rates == sorted(rates), (unit, order, known)
            eight, sixteen = (dense(entry, f"{unit}_{dtype}_flop_per_s") for dtype in ("int8", half))
            assert not (eight and sixteen) or eight >= sixteen
    for number, rate in peaks(entry).items():
        if number.startswith("vector"):
            assert rate <= (dense(entry, number.replace("vector", "matrix")) or rate), number


@every_device
def test_watts_bytes_and_dollars_are_of_the_right_size(name):
    """Bounds a decade or more beyond anything built: they catch a wrong unit or a lost factor of 1000."""
    entry = catalogue.load(name)
    figure = {number: facts.value for number, facts in entry.numbers.items()}
    best = max(peaks(entry).values(), default=None)
    watts = figure.get("tdp_w") or figure.get("busy_w")
    if best and watts:
        assert 0.01 <= watts / best / PICO <= 100
    memory = figure.get("memory_bandwidth_bytes_per_s")
    if best and memory:
        assert 1 <= best / memory <= 5000, "FLOP a byte"
    near = figure.get("on_chip_bandwidth_bytes_per_s")
    assert not (near and memory) or near > memory
    if figure.get("memory_bytes"):
        assert figure["on_chip_bytes"] < figure["memory_bytes"]
        assert 0.5 <= figure["memory_bytes"] / figure["memory_bandwidth_bytes_per_s"] * 1e3 <= 100, "ms to read it all"
    assert 1e8 <= figure.get("clock_hz", 1e9) <= 6e9
    assert 0 < figure.get("price_usd_per_hour", 1) < 50
    assert figure.get("launch_s", 2e-6) < 1e-4
    powers = [figure[power] for power in ("idle_w", "busy_w", "tdp_w") if power in figure]
    assert powers == sorted(powers), "idle <= busy <= limit"
    per_byte = figure.get("energy_j_per_byte")
    if per_byte:
        assert 10 * PICO <= per_byte <= 1000 * PICO
        assert figure.get("energy_j_per_on_chip_byte", 0) < per_byte
        assert not (memory and watts) or per_byte * memory <= watts, "moving bytes at full rate exceeds the power limit"


@every_device
def test_arithmetic_alone_does_not_exceed_the_power_limit(name):
    entry = catalogue.load(name)
    for dtype in ("float64", "float16"):
        each, rate = entry.get(f"energy_j_per_flop_{dtype}"), dense(entry, f"matrix_{dtype}_flop_per_s")
        if each and rate:
            assert each.value * rate <= entry.value("tdp_w")


def test_the_stand_ins_for_processors_keep_their_meaning():
    """The modelled meter is built on TDP over cores."""
    server, laptop = catalogue.load("generic_server_cpu"), catalogue.load("generic_laptop_cpu")
    assert server.value("tdp_w") / server.value("cores") == 350 / 56 == 6.25
    assert laptop.value("tdp_w") / laptop.value("cores") == 3.5
    assert server.value("uncertainty") == 0.5 < laptop.value("uncertainty") < 1
