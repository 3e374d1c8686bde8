"""Laws of the projection: bounds in order, monotone, homogeneous; energy over idle; nothing hidden or invented."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import carbon_intensity, catalogue, grid
from hardware.catalogue import CatalogueError, Entry, Number
from hardware.cost import KINDS, Cost
from hardware.devices import Device
from hardware.projection import Interval, Projection, ProjectionError, project

# Both sides of each law are the same few float64 operations in another order: some 20 roundings of 2**-53.
ROUNDING = 1e-13
ROOT = Path(__file__).parents[2]
LAW = settings(deadline=None)  # a deadline would measure what else runs on these cores


def entry(kind: str = "cuda", sparse: tuple[str, ...] = (), **numbers: Any) -> Entry:
    """A stand-in device; `sparse` names peaks that count skipped zeros."""
    made = {}
    for name, value in numbers.items():
        density = ("sparse" if name in sparse else "dense") if name.endswith("flop_per_s") else None
        made[name] = Number(value, 2026, "a stand-in of the tests", "estimate", density)
    return Entry(f"{kind}_of_tests", kind, "a stand-in", made)


FULL: dict[str, Any] = {
    "matrix_tf32_flop_per_s": 1e14,
    "matrix_bfloat16_flop_per_s": 2e14,
    "vector_float32_flop_per_s": 1e13,
    "vector_float64_flop_per_s": 5e12,
    "memory_bandwidth_bytes_per_s": 1e12,
    "on_chip_bytes": 1e7,
    "on_chip_bandwidth_bytes_per_s": 5e12,
    "launch_s": 4e-6,
    "idle_w": 50.0,
    "tdp_w": 400.0,
    "price_usd_per_hour": 3.6,
}
GPU = entry("cuda", **FULL)
CHOI = entry("cuda", **FULL, energy_j_per_flop_float32=2e-12, energy_j_per_byte=3e-11)


def cost(parts: dict[tuple[str, str], int], least: int, unfused: int, operations: int = 10) -> Cost:
    flop = sum(parts.values())
    transcendental = sum(f for (kind, _), f in parts.items() if kind == "transcendental")
    listed = tuple(sorted((kind, dtype, f) for (kind, dtype), f in parts.items()))
    return Cost(flop, transcendental, frozenset(), listed, operations, unfused, least)


MATMUL = cost({("matmul", "float32"): 2 * 1024**3}, 3 * 4 * 1024**2, 3 * 4 * 1024**2, 1)

flops = st.integers(1, 10**15)
keys = st.tuples(st.sampled_from(KINDS), st.sampled_from(("float32", "float64", "bfloat16")))


@st.composite
def costs(draw: Any) -> Cost:
    parts = draw(st.dictionaries(keys, flops, min_size=1, max_size=4))
    least = draw(st.integers(1, 10**13))
    return cost(parts, least, least + draw(st.integers(0, 10**13)), draw(st.integers(1, 10**6)))


def time_of(cost: Cost, device: Entry | str = GPU, **more: Any) -> Interval:
    seconds = project(cost, device, **more).seconds
    assert seconds is not None
    return seconds


def in_order(found: Projection) -> bool:
    each = [found.seconds, found.energy_j, found.money_usd, found.co2_g]
    return all(i is None or 0 <= i.low <= i.value <= i.high for i in each)


def no_less(a: Interval, b: Interval) -> bool:
    return all(getattr(a, x) >= getattr(b, x) * (1 - ROUNDING) for x in ("low", "value", "high"))


@LAW
@given(costs(), st.sampled_from([GPU, CHOI]), st.none() | st.integers(0, 10**7), st.none() | st.floats(0, 1))
def test_bounds_are_in_order_and_never_narrower_than_30_percent(
    c: Cost, device: Entry, launches: int | None, fusion: float | None
) -> None:
    fused = None if fusion is None else c.least_bytes + fusion * (c.unfused_bytes - c.least_bytes)
    found = project(c, device, launches=launches, fused_bytes=fused)
    assert in_order(found) and found.seconds
    assert found.seconds.low <= 0.7 * found.seconds.value <= found.seconds.high * 0.7 / 1.3 * (1 + ROUNDING)
    assert found.method == "modelled:roofline"


@LAW
@given(costs(), keys, flops)
def test_more_flop_never_take_less_time_or_energy(c: Cost, key: tuple[str, str], more: int) -> None:
    parts = {(k, d): f for k, d, f in c.parts}
    grown = cost(parts | {key: parts.get(key, 0) + more}, c.least_bytes, c.unfused_bytes, c.operations)
    a, b = project(grown, GPU), project(c, GPU)
    assert a.seconds and b.seconds and a.energy_j and b.energy_j
    assert no_less(a.seconds, b.seconds) and no_less(a.energy_j, b.energy_j)


@LAW
@given(flops, st.integers(0, 10**15), st.integers(1, 10**13), st.integers(0, 10**13))
def test_more_work_or_bytes_never_take_less_published_energy(flop: int, more: int, least: int, further: int) -> None:
    a = project(cost({("elementwise", "float32"): flop + more}, least + further, least + further), CHOI).energy_j
    b = project(cost({("elementwise", "float32"): flop}, least, least), CHOI).energy_j
    assert a and b and no_less(a, b)


@LAW
@given(costs(), st.integers(0, 10**13), st.integers(0, 10**13))
def test_more_bytes_never_take_less_time(c: Cost, least: int, unfused: int) -> None:
    parts = {(k, d): f for k, d, f in c.parts}
    grown = cost(parts, c.least_bytes + least, c.unfused_bytes + least + unfused, c.operations)
    assert no_less(time_of(grown), time_of(c))


@LAW
@given(costs(), st.integers(2, 10**4), st.none() | st.integers(0, 1000))
def test_time_scales_with_the_cost_when_launches_scale_too(c: Cost, k: int, launches: int | None) -> None:
    many = time_of(c * k, launches=None if launches is None else launches * k)
    one = time_of(c, launches=launches) * k
    for bound in ("low", "value", "high"):
        assert getattr(many, bound) == pytest.approx(getattr(one, bound), rel=ROUNDING)


@LAW
@given(costs(), st.sampled_from([GPU, CHOI]))
def test_energy_is_at_least_idle_power_times_time(c: Cost, device: Entry) -> None:
    found = project(c, device)
    assert found.seconds and found.energy_j
    assert no_less(found.energy_j, found.seconds * 50.0)


def test_time_is_the_larger_of_compute_and_memory_plus_launches() -> None:
    """1024³ in float32 at 1e14·0.7 FLOP/s: 30.7 µs; its 12.6 MB at 1e12·0.85 B/s: 14.8 µs; one launch: 4 µs."""
    found = project(MATMUL, GPU, launches=1)
    assert found.bound_by == "compute" and found.seconds
    assert found.seconds.value == pytest.approx(2 * 1024**3 / 0.7e14 + 4e-6, rel=ROUNDING)
    ideal = min(2 * 1024**3 / 1e14 + 4e-6, 0.7 * found.seconds.value)
    assert found.seconds.low == pytest.approx(ideal, rel=ROUNDING)
    assert found.seconds.high == pytest.approx(2 * 1024**3 / 0.2e14 + 3 * 4 * 1024**2 / 0.6e12 + 4e-6, rel=ROUNDING)
    copying = cost({("elementwise", "float32"): 1}, 10**9, 10**9, 1)
    assert project(copying, GPU, launches=1).bound_by == "memory"
    assert project(copying, GPU, launches=10**7).bound_by == "launches"


def test_what_lies_between_arguments_and_results_moves_on_the_chip_if_a_step_of_it_fits() -> None:
    parts = {("elementwise", "float32"): 1}
    small = time_of(cost(parts, 10**6, 10**12, 10**6), fused_bytes=10**12, launches=0)  # 1 MB an operation
    large = time_of(cost(parts, 10**6, 10**12, 10**4), fused_bytes=10**12, launches=0)  # 100 MB an operation
    assert large.value == pytest.approx(1 / 0.85, rel=1e-5)  # 1e12 bytes at 1e12 B/s; 1e6 bytes are the 1e-5 apart
    assert small.value == pytest.approx(0.2 / 0.85, rel=1e-5)


def test_choi_energy_is_work_plus_traffic_plus_constant_power() -> None:
    work = cost({("elementwise", "float32"): 10**12}, 10**10, 10**10, 0)
    found = project(work, CHOI, launches=0)
    assert found.energy_j and found.seconds
    assert found.energy_j.value == pytest.approx(10**12 * 2e-12 + 10**10 * 3e-11 + 50 * found.seconds.value, rel=1e-12)


def test_without_published_joules_they_lie_between_idle_power_and_tdp() -> None:
    found = project(MATMUL, GPU)
    assert found.energy_j and found.seconds and any("400 W" in note for note in found.notes)
    assert found.energy_j.low >= 50 * found.seconds.low and found.energy_j.high <= 400 * found.seconds.high * 1.3
    assert found.energy_j.value == pytest.approx(225 * found.seconds.value, rel=ROUNDING)
    busy = project(MATMUL, entry("cuda", **FULL, busy_w=300.0))
    assert busy.energy_j and busy.energy_j.value == pytest.approx(300 * found.seconds.value, rel=ROUNDING)


def test_money_is_price_times_time() -> None:
    found = project(MATMUL, GPU)
    assert found.money_usd and found.seconds and found.money_usd.high == pytest.approx(found.seconds.high * 1e-3)
    assert any("3.6 USD/h (no range is known), 2026: a stand-in" in note for note in found.notes)


def test_the_range_of_the_price_is_in_the_money_and_its_date_is_told() -> None:
    """Small clouds ask 1.9 USD for an H100 where the list price is 6.88."""
    price = catalogue.load("h100").get("price_usd_per_hour")
    assert price and price.low and price.high is None
    found = project(MATMUL, "h100")
    assert found.seconds and found.money_usd
    assert found.money_usd.low == pytest.approx(found.seconds.low * price.low / 3600, rel=ROUNDING)
    assert found.money_usd.value == pytest.approx(found.seconds.value * price.value / 3600, rel=ROUNDING)
    assert found.money_usd.high == pytest.approx(found.seconds.high * price.value / 3600, rel=ROUNDING)
    (said,) = [note for note in found.notes if note.startswith("money at")]
    assert "6.88 USD/h (from 1.9 to 6.88), 2026" in said and "25 September 2026" in said


# ---- launches nobody has published ----


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_a_kernels_start_is_guessed_by_the_kind_of_device(kind: str) -> None:
    device = entry(kind, **{n: v for n, v in FULL.items() if n != "launch_s"})
    count = 10**9  # of work that is nothing but launches
    found = project(cost({("elementwise", "float64"): 1}, 1, 1), device, launches=count)
    assert found.seconds and found.bound_by == "launches"
    least, central, most = {
        "cuda": (1, 3, 6), "rocm": (1, 3, 6), "tpu": (0, 0.1, 1), "cpu": (0, 0.12, 3)
    }.get(kind, (0, 0.3, 3))  # fmt: skip
    # 1 FLOP and 1 byte take some 1e-12 s, of 1e-7 s and more in all
    assert found.seconds.value == pytest.approx(count * central * 1e-6, rel=1e-4)
    assert found.seconds.low == pytest.approx(count * min(least, 0.7 * central) * 1e-6, rel=1e-4)
    assert found.seconds.high == pytest.approx(count * max(most, 1.3 * central) * 1e-6, rel=1e-4)
    assert any(f"taken as {central:g} µs ({least:g} to {most:g}), " in note for note in found.notes)


@pytest.mark.parametrize("kind", ["cuda", "rocm"])
def test_a_gpu_is_not_ahead_for_want_of_a_published_launch(kind: str) -> None:
    """900 kernels with next to no work: no GPU without `launch_s` may beat one that has it."""
    work = cost({("elementwise", "float32"): 1000}, 1000, 1000, 900)
    gpus = [catalogue.load(name) for name in catalogue.names()]
    known = [time_of(work, e, launches=900).value for e in gpus if e.kind == "cuda" and e.get("launch_s")]
    guessed = [time_of(work, e, launches=900).value for e in gpus if e.kind == kind and not e.get("launch_s")]
    assert len(known) > 2 and guessed and min(guessed) > max(known)


# ---- trap: per device against global ----


@pytest.mark.parametrize("name", catalogue.names())
def test_trap_per_device_against_global(name: str) -> None:
    """JAX runs a program on one core of a TPU v2, v3 or v7: half of the chip's rates, at all of its power and price."""
    chip = catalogue.load(name)
    shares = chip.get("devices_per_chip")
    n = shares.value if shares else 1
    alone = replace(chip, numbers={k: v for k, v in chip.numbers.items() if k != "devices_per_chip"})
    assert (n == 2) == (name in ("tpu_v2", "tpu_v3", "tpu_v7"))
    for work in (
        cost({("matmul", "bfloat16"): 10**15}, 1000, 1000),  # bound by the peak rate
        cost({("matmul", "bfloat16"): 1}, 10**13, 10**13),  # by the memory
    ):
        one, whole = project(work, chip, launches=0), project(work, alone, launches=0)
        assert any("JAX shows one" in note for note in one.notes) == (n > 1)
        for field in ("seconds", "energy_j", "money_usd"):
            a, b = getattr(one, field), getattr(whole, field)
            assert (a is None) == (b is None)
            for bound in ("low", "value", "high") if a else ():
                assert getattr(a, bound) == pytest.approx(n * getattr(b, bound), rel=ROUNDING)


def test_what_fits_on_a_chip_need_not_fit_on_one_device_of_it() -> None:
    parts = {("elementwise", "float32"): 1}
    work = cost(parts, 10**6, 10**12, 150_000)  # 6.7 MB an operation, on a chip of 10 MB
    near, far = entry("tpu", **FULL), entry("tpu", **FULL, devices_per_chip=2)
    on_chip, off_chip = (time_of(work, e, fused_bytes=10**12, launches=0).value for e in (near, far))
    assert off_chip == pytest.approx(10 * on_chip, rel=1e-4)  # half of 1e12 B/s against 5e12; 1e6 bytes cross anyway


# ---- trap: hidden PUE or carbon factor ----


@pytest.fixture
def a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    def carbon_intensity(name: str) -> Any:
        if name != "somewhere":
            raise LookupError(f"grid {name} is unknown; did you mean somewhere?")
        return SimpleNamespace(g_per_kwh=250.0, year=2025, source="a stand-in")

    monkeypatch.setitem(sys.modules, "hardware.grid", SimpleNamespace(carbon_intensity=carbon_intensity))  # type: ignore


@pytest.mark.usefixtures("a_grid")
@pytest.mark.parametrize("pue", [1.0, 1.58])
def test_co2_is_energy_times_pue_times_intensity_and_says_both(pue: float) -> None:
    found = project(MATMUL, GPU, grid="somewhere", pue=pue)
    assert found.co2_g and found.energy_j
    for bound in ("low", "value", "high"):
        expected = getattr(found.energy_j, bound) / 3.6e6 * pue * 250
        assert getattr(found.co2_g, bound) == pytest.approx(expected, rel=ROUNDING)
    assert any("250 g/kWh" in note and "2025" in note and f"PUE {pue:g}" in note for note in found.notes)


@pytest.mark.usefixtures("a_grid")
def test_no_grid_no_co2_and_no_pue_in_the_joules() -> None:
    plain = project(MATMUL, GPU)
    assert plain.co2_g is None
    assert project(MATMUL, GPU, pue=1.58).energy_j == plain.energy_j  # PUE is of the building, not of the chip
    assert project(MATMUL, GPU, grid="somewhere").co2_g == project(MATMUL, GPU, grid="somewhere", pue=1.0).co2_g
    with pytest.raises(LookupError, match="somewhere"):
        project(MATMUL, GPU, grid="nowhere")


@pytest.mark.parametrize("name", ["wse_3", "h100"])
def test_carbon_is_spoken_of_only_where_it_is_given(name: str) -> None:
    found = project(MATMUL, name, grid="DEU")
    assert any("CO2" in note for note in found.notes) == (found.co2_g is not None) == (name == "h100")
    with pytest.raises(LookupError, match="did you mean france"):
        project(MATMUL, "wse_3", grid="frannce")


# ---- precision ----


def test_float32_products_run_as_asked_and_the_default_is_named() -> None:
    default, full = project(MATMUL, GPU), project(MATMUL, GPU, precision="float32")
    assert default.seconds == project(MATMUL, GPU, precision="tf32").seconds
    assert full.seconds and default.seconds and full.seconds.value > default.seconds.value
    for found in (default, full):
        assert any("tf32" in note and "part of the match" in note for note in found.notes)
    tpu = entry("tpu", matrix_bfloat16_flop_per_s=2e14, memory_bandwidth_bytes_per_s=8e11, tdp_w=200.0)
    assert any("bfloat16" in note and "part of the match" in note for note in project(MATMUL, tpu).notes)
    one, six = time_of(MATMUL, tpu, launches=0).value, time_of(MATMUL, tpu, launches=0, precision="float32").value
    assert six == pytest.approx(2 * 1024**3 * 6 / (2e14 * 0.7), rel=ROUNDING)
    assert one == pytest.approx(3 * 4 * 1024**2 / (8e11 * 0.85), rel=ROUNDING)  # there the memory is slower
    double = cost({("matmul", "float64"): 10**9}, 1000, 1000, 1)  # asking concerns float32 only
    assert project(double, GPU, precision="bfloat16").seconds == project(double, GPU).seconds


def test_a_dtype_without_a_rate_gives_none_and_is_named() -> None:
    tpu = entry("tpu", matrix_bfloat16_flop_per_s=2e14, memory_bandwidth_bytes_per_s=8e11, tdp_w=200.0)
    for kind in ("matmul", "elementwise"):
        found = project(cost({(kind, "float64"): 10**9}, 1000, 1000, 1), tpu)
        assert found.seconds is found.energy_j is found.money_usd is found.bound_by is None
        assert any("float64" in note for note in found.notes)
    found = project(cost({("elementwise", "float32"): 10**9}, 1000, 1000, 1), tpu)
    assert found.seconds and any("no vector rate for float32" in note for note in found.notes)


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_a_rate_that_is_implied_for_ordinary_units_is_that_of_their_products_too(narrow: str) -> None:
    """A user's own entry with one matrix rate: its float32 products run on the ordinary units."""
    rate = {f"matrix_{narrow}_flop_per_s": 1.6e14}
    board = entry("cuda", (), **rate, memory_bandwidth_bytes_per_s=1e12, tdp_w=300.0)
    found = project(cost({("matmul", "float32"): 10**13}, 1000, 1000), board, launches=0)
    assert found.seconds and found.seconds.value == pytest.approx(10**13 / (1e13 * 0.7), rel=ROUNDING)
    assert found.energy_j and not any("no seconds" in note for note in found.notes)
    assert any(f"taken as 1/16 (1/2 to 1/64) of its {narrow} matrix rate" in note for note in found.notes)
    assert project(cost({("matmul", "float64"): 10**9}, 1000, 1000), board).seconds is None


def test_the_pages_example_of_a_users_own_device_can_be_priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a network in float32, all kinds but those of linear algebra."""
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "devices.md").read_text("utf-8"), re.S)
    (tmp_path / "my_board.yaml").write_text(example)
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path))
    kinds = {"matmul": 10**12, "elementwise": 10**10, "transcendental": 10**9, "reduction": 10**9}
    work = cost({(kind, "float32"): flop for kind, flop in kinds.items()}, 10**7, 10**9, 100)
    found = project(work, "my_board")
    assert found.seconds and found.energy_j
    # The board is of the H100's kind at three quarters of its rates and bandwidth, so it takes longer.
    assert 1 < found.seconds.value / time_of(work, "h100", precision="float32").value < 2
    guessed = [note for note in found.notes if "taken as" in note]
    assert len(guessed) == 1 and "launch_s" in guessed[0], "the example lists the rates that it needs"


def test_a_transcendental_takes_longer_than_an_ordinary_operation() -> None:
    by_kind = [
        time_of(cost({(kind, "float32"): 10**12}, 1, 1, 0)).value
        for kind in ("matmul", "elementwise", "transcendental")
    ]
    assert by_kind == sorted(by_kind) and by_kind[2] == pytest.approx(8 * by_kind[1])


# ---- trap: sparse peak taken for dense ----


def test_a_sparse_peak_is_not_used() -> None:
    name = "matrix_float16_flop_per_s"
    wafer = entry("accelerator", sparse=(name,), **{name: 1e17, "on_chip_bandwidth_bytes_per_s": 1e16})
    found = project(cost({("matmul", "float16"): 10**9}, 1000, 1000, 1), wafer)
    assert found.seconds is None and any("sparse" in note for note in found.notes)


# ---- what is missing is named, never zero ----


@pytest.mark.parametrize(
    ("missing", "fields"),
    [
        ("memory_bandwidth_bytes_per_s", ("seconds", "energy_j", "money_usd")),
        ("tdp_w", ("energy_j",)),
        ("price_usd_per_hour", ("money_usd",)),
    ],
)
def test_a_missing_number_gives_none_and_is_named(missing: str, fields: tuple[str, ...]) -> None:
    numbers: dict[str, Any] = {
        n: value for n, value in FULL.items() if n not in (missing, "on_chip_bandwidth_bytes_per_s")
    }
    found = project(MATMUL, entry("cuda", **numbers))
    for field in ("seconds", "energy_j", "money_usd"):
        assert (getattr(found, field) is None) == (field in fields)
    assert any(missing in note for note in found.notes)


@pytest.mark.parametrize("missing", ["launch_s", "idle_w"])
def test_what_is_left_out_of_a_sum_is_named(missing: str) -> None:
    found = project(MATMUL, entry("cuda", **{n: v for n, v in FULL.items() if n != missing}))
    assert found.seconds and any(missing in note for note in found.notes)


@pytest.mark.parametrize("kind", ["neuromorphic", "fpga"])
def test_a_device_without_flop_rates_gives_none_with_a_reason(kind: str) -> None:
    found = project(MATMUL, entry(kind, tdp_w=1.0, memory_bandwidth_bytes_per_s=1e11))
    assert found.seconds is found.energy_j is found.money_usd is None
    assert any("no FLOP rate holds" in note for note in found.notes)


def test_costs_without_bytes_or_kinds_say_so() -> None:
    assert project(Cost(10**9), GPU).seconds is None
    found = project(Cost(10**9, 10**8), GPU, fused_bytes=10**9, launches=1)
    assert found.seconds and any("names no kinds" in note for note in found.notes)
    same = cost({("elementwise", "float32"): 9 * 10**8, ("transcendental", "float32"): 10**8}, 0, 0, 0)
    assert found.seconds == project(same, GPU, fused_bytes=10**9, launches=1).seconds
    bounded = Cost(1, 0, frozenset({"mystery"}), (("elementwise", "float32", 1),), 1, 8, 8)
    assert any("mystery" in note for note in project(bounded, GPU).notes)
    nothing = project(Cost(), GPU).seconds
    assert nothing == Interval(0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pue": 0.9}, "at least 1"),
        ({"pue": float("nan")}, "finite"),
        ({"fused_bytes": -1}, "fused_bytes"),
        ({"launches": float("inf")}, "launches"),
        ({"precision": "float23"}, "did you mean float32"),
    ],
)
def test_bad_input_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ProjectionError, match=says):
        project(MATMUL, GPU, **wrong)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: project(3, "h100"), r"cost must be a Cost; it is 3 \(int\): take"),  # type: ignore
        (lambda: project((1.0, MATMUL), "h100"), r"cost must be a Cost; it is \(1.0, Cost.* second result"),  # type: ignore
        (lambda: project(ROOT, "h100"), "cost must be a Cost"),  # type: ignore
        (lambda: project(MATMUL, None), r"device must be a name .*; it is None .*names\(\) lists"),  # type: ignore
        (lambda: project(MATMUL, Device("cuda", "an H100")), "device must be a name"),  # type: ignore
        (lambda: project(MATMUL, GPU, calibration="c.json"), r"it is 'c.json' \(str\).*Calibration.load"),  # type: ignore
        (lambda: project(MATMUL, GPU, launches="many"), r"launches must be a number; it is 'many'"),  # type: ignore
        (lambda: project(MATMUL, GPU, pue=None), "pue must be a number; it is None"),  # type: ignore
        (lambda: project(MATMUL, GPU, grid=3), r"carbon_intensity\(name\): name must be text"),  # type: ignore
        (lambda: carbon_intensity(None), r'as in carbon_intensity\("france"\); it is None \(NoneType\).*grids\(\)'),
        (lambda: grid.pue(None), r"pue\(name\): name must be text.*pues\(\) lists"),  # type: ignore
    ],
)
def test_arguments_of_another_type_are_refused_in_one_line(call: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says) as raised:
        call()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 250


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(CatalogueError, match="did you mean generic_server_cpu"):
        project(MATMUL, "generic-server")


@pytest.mark.parametrize("name", catalogue.names())
def test_every_device_of_the_catalogue_gives_bounds_in_order_or_a_reason(name: str) -> None:
    for dtype in ("float32", "float64", "bfloat16"):
        parts = {("matmul", dtype): 10**12, ("elementwise", dtype): 10**10, ("transcendental", dtype): 10**9}
        found = project(cost(parts, 10**9, 10**10, 1000), name)
        assert in_order(found)
        for field in (found.seconds, found.energy_j, found.money_usd):
            assert field is not None or found.notes


def test_a_trace_of_another_dtype_does_not_hide_the_seconds() -> None:
    """A schedule in float64 is some 10 operations a step; a TPU has no float64 rate."""
    whole = Cost(10**6).of("matmul", "float32")
    whole = replace(whole, operations=1, unfused_bytes=10**5, least_bytes=10**5)
    trace, share = (whole + Cost(n).of("elementwise", "float64") for n in (10, 10**5))
    with_trace, alone = project(trace, "tpu_v5e"), project(whole, "tpu_v5e")
    assert with_trace.seconds is not None and alone.seconds is not None
    assert with_trace.seconds.value == pytest.approx(alone.seconds.value, rel=1e-3)
    assert any("a trace of float64" in note for note in with_trace.notes)
    assert project(share, "tpu_v5e").seconds is None  # a tenth is no trace


@pytest.mark.parametrize("name", [n for n in catalogue.names() if catalogue.load(n).get("busy_w")])
def test_an_estimated_power_is_not_called_measured(name: str) -> None:
    work = Cost(10**9).of("matmul", "bfloat16")
    found = project(work, name, fused_bytes=10**6, launches=1)
    power = catalogue.load(name).get("busy_w")
    assert found.energy_j is not None and power is not None
    assert any("measured under load" in note for note in found.notes) == (power.basis != "estimate")


def test_more_work_never_takes_less_energy_where_an_epsilon_is_missing() -> None:
    """The H100 has energy_j_per_flop for float16 only: a little float32 must not drop the whole model of Choi et al."""
    half = replace(Cost(10**15).of("matmul", "float16"), operations=1, unfused_bytes=10**9, least_bytes=10**9)
    little = half + Cost(2 * 10**12).of("elementwise", "float32")
    before, after = project(half, "h100", launches=1), project(little, "h100", launches=1)
    assert before.energy_j is not None and after.energy_j is not None
    assert after.energy_j.value >= before.energy_j.value and after.energy_j.low >= before.energy_j.low
    assert any("energy_j_per_flop_float32" in note for note in after.notes)
