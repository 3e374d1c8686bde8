"""The device catalogue: every figure with its source, honest refusals, names of drivers, a user's own devices."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import catalogue
from hardware.catalogue import CatalogueError
from hardware.catalogue.entry import BASES, PEAKS, read

ROOT = Path(__file__).parents[2]
WANTED = [
    *("v100", "a100", "h100", "h200", "b200", "l4", "rtx_4090", "mi300x"),
    *("tpu_v2", "tpu_v3", "tpu_v4", "tpu_v5e", "tpu_v5p", "tpu_v6e", "tpu_v7"),
    *("wse_3", "groq_lpu", "bow_ipu", "loihi_2", "alveo_u280", "generic_server_cpu", "generic_laptop_cpu"),
]
every_device = pytest.mark.parametrize("name", WANTED)


# The files


def test_every_device_asked_for_is_there_and_none_goes_untested():
    assert set(catalogue.names()) == set(WANTED)


@every_device
def test_every_number_says_where_it_is_from(name):
    """`read` refuses what has no source; here: that the sources and years are plausible ones."""
    entry = catalogue.load(name)
    assert entry.numbers and len(entry.description) > 30
    for number, facts in entry.numbers.items():
        assert number in catalogue.NUMBERS
        assert len(facts.source) > 10 and not facts.source.startswith("http"), f"{number}: who says so?"
        assert 2015 <= facts.year <= date.today().year, number
        assert facts.basis in BASES
        assert (facts.density is None) == (number not in PEAKS)
        if facts.basis == "estimate":
            assert len(facts.source) + len(facts.note) > 60, f"{number}: an estimate says how it was made"


GOOD = {"value": 700, "year": 2022, "source": "NVIDIA, H100 data sheet", "basis": "stated"}


@pytest.mark.parametrize(
    ("number", "change", "complaint"),
    [
        ("tdp_w", {"source": ""}, "source is missing"),
        ("tdp_w", {"year": None}, "year must be a whole number"),
        ("tdp_w", {"year": "2022"}, "year must be a whole number"),
        ("tdp_w", {"basis": "guess"}, "basis must be one of measured, stated, secondary, estimate"),
        ("tdp_w", {"density": "dense"}, "a peak rate, and nothing else, says density"),
        ("tdp_w", {"value": -1}, "must be positive"),
        ("tdp_w", {"value": 0}, "must be positive"),
        ("tdp_w", {"value": "much"}, "'much' is not a number"),
        ("tdp_w", {"value": True}, "True is not a number"),
        ("tdp_w", {"low": 800}, "lie between low and high"),
        ("tdp_w", {"high": 600}, "lie between low and high"),
        ("tdp_w", {"unit": "W"}, "unknown field unit"),
        ("tdp", {}, "did you mean tdp_w"),
        ("matrix_bf16_flop_per_s", {"density": "dense"}, "did you mean matrix_float16_flop_per_s|matrix_bfloat16"),
        ("matrix_bfloat16_flop_per_s", {}, "a peak rate, and nothing else, says density"),
        ("matrix_bfloat16_flop_per_s", {"density": "2:4"}, "a peak rate, and nothing else, says density"),
    ],
)
def test_a_number_that_is_not_as_it_must_be_is_refused(number, change, complaint):
    with pytest.raises(CatalogueError, match=complaint):
        read("x", {"kind": "cuda", "description": "A board.", "numbers": {number: GOOD | change}})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "must hold kind, description and numbers"),
        ({"kind": "cuda", "description": "A board."}, "must hold kind, description and numbers"),
        ({"kind": "gpu", "description": "A board.", "numbers": {}}, "kind must be one of cpu, cuda"),
        ({"kind": "cuda", "numbers": {}}, "description is missing"),
        ({"kind": "cuda", "description": "A board.", "numbers": {"tdp_w": 700}}, "must give value, year, source"),
        ({"kind": "cuda", "description": "A board.", "numbers": {}, "tdp_w": 7}, "unknown field tdp_w"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused(content, complaint):
    with pytest.raises(CatalogueError, match=complaint):
        read("x", content)


@given(st.integers(1, 9999), st.integers(-12, 17))
def test_both_ways_of_writing_a_power_of_ten_are_numbers(digits, exponent):
    """YAML 1.1 reads 989e12 as text; an entry reads the number."""
    for written in (f"{digits}e{exponent}", f"{digits}.0e{exponent:+d}"):
        value = yaml.safe_load(f"value: {written}")["value"]
        entry = read("x", {"kind": "cpu", "description": "Any.", "numbers": {"tdp_w": GOOD | {"value": value}}})
        assert entry.value("tdp_w") == float(f"{digits}e{exponent}")


# Asking


def test_what_is_not_in_the_catalogue_is_refused_and_the_nearest_named():
    with pytest.raises(CatalogueError, match=r"device generic_server is not .* did you mean generic_server_cpu"):
        catalogue.load("generic_server")
    with pytest.raises(CatalogueError, match="did you mean h100"):
        catalogue.load("H100")
    with pytest.raises(CatalogueError, match="did you mean tpu_v5e"):
        catalogue.load("tpu-v5-e")
    with pytest.raises(CatalogueError, match=r"tpu_v5e has no tdp_w; known are busy_w, clock_hz, .*price_usd_per_hour"):
        catalogue.load("tpu_v5e").value("tdp_w")
    with pytest.raises(CatalogueError, match="generic_server_cpu has no idle_power_w; did you mean idle_w"):
        catalogue.load("generic_server_cpu").value("idle_power_w")
    assert catalogue.load("tpu_v5e").get("tdp_w") is None


def test_a_sparse_peak_is_not_taken_for_a_dense_one():
    """Trap: the WSE-3's 125 PFLOP/s counts zeros that are skipped; asked for as a rate, it is refused."""
    wafer = catalogue.load("wse_3")
    with pytest.raises(CatalogueError, match=r"only published matrix_float16_flop_per_s .* \(sparse\)"):
        wafer.value("matrix_float16_flop_per_s")
    number = wafer.get("matrix_float16_flop_per_s")
    assert number and number.density == "sparse" and number.value == 125e15


# Names that drivers report


@pytest.mark.parametrize(
    ("driver_name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", None),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA A100-PCIE-40GB", None),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla V100-PCIE-16GB", None),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
        ("nvidia geforce rtx 4090", "rtx_4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40", None),
        ("NVIDIA L40S", None),
        ("AMD Instinct MI300X", "mi300x"),
        ("AMD Instinct MI300A", None),
        ("TPU v2", "tpu_v2"),
        ("TPU v3", "tpu_v3"),
        ("TPU v4", "tpu_v4"),
        ("TPU v4 lite", None),
        ("TPU v5 lite", "tpu_v5e"),
        ("TPU v5e", "tpu_v5e"),
        ("TPU v5", "tpu_v5p"),
        ("TPU v5p", "tpu_v5p"),
        ("TPU v6 lite", "tpu_v6e"),
        ("TPU v6e", "tpu_v6e"),
        ("TPU7x", "tpu_v7"),
        ("Intel(R) Xeon(R) Platinum 8480+", "generic_server_cpu"),
        ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", "generic_laptop_cpu"),
        ("cpu", None),
        ("", None),
    ],
)
def test_a_device_is_found_by_its_drivers_name(driver_name, expected):
    found = catalogue.match(driver_name)
    assert (found and found.name) == expected


@settings(deadline=None)  # the first call reads the files
@given(st.text(max_size=40))
def test_any_name_is_matched_or_not_but_never_fails(text):
    found = catalogue.match(text)
    assert found is None or any(pattern.lower() in text.lower() for pattern in found.matches)


# A user's own files


def write(folder: Path, name: str, **fields: object) -> None:
    content = {"kind": "cuda", "description": "A board of my own.", "numbers": {"tdp_w": GOOD}} | fields
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def test_a_users_own_devices_are_listed_beside_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path))
    write(tmp_path, "h100_pcie", matches=["H100 PCIe"])
    write(tmp_path, "my_h200", matches=["H200"])
    assert set(catalogue.names()) == {*WANTED, "h100_pcie", "my_h200"}
    assert catalogue.load("h100_pcie").value("tdp_w") == 700
    for driver_name, expected in (("NVIDIA H100 PCIe", "h100_pcie"), ("NVIDIA H200", "my_h200")):
        found = catalogue.match(driver_name)
        assert found and found.name == expected, "of equally good matches the user's own wins"
    assert "my_h200" not in catalogue.table()


def test_a_users_file_is_refused_where_it_would_mislead(tmp_path, monkeypatch):
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path / "nowhere"))
    with pytest.raises(CatalogueError, match="must name a folder"):
        catalogue.names()
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path))
    write(tmp_path, "h100")
    with pytest.raises(CatalogueError, match=r"h100\.yaml, a name that is taken"):
        catalogue.load("a100")
    (tmp_path / "h100.yaml").unlink()
    (tmp_path / "mine.yaml").write_text("kind: [cuda")
    with pytest.raises(CatalogueError, match="mine: the file is not YAML"):
        catalogue.load("mine")


# The page


def test_the_page_of_devices_holds_the_table_made_from_the_files():
    page = (ROOT / "docs" / "devices.md").read_text("utf-8")
    assert catalogue.table() in page, "write the output of catalogue.table() into docs/devices.md"


def test_the_examples_of_the_page_work(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "devices.md").read_text("utf-8")
    for example in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(compile(example, "docs/devices.md", "exec"), {})
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (tmp_path / "h100_pcie.yaml").write_text(example)
    monkeypatch.setenv("HARDWARE_CATALOGUE", str(tmp_path))
    found = catalogue.match("NVIDIA H100 PCIe")
    assert found and found.value("matrix_bfloat16_flop_per_s") == 756e12
    assert all(
        f"`{name}`" in page
        for name in catalogue.NUMBERS
        if not name.startswith(("matrix", "vector", "energy_j_per_flop"))
    )


def test_the_table_shows_every_device_and_marks_what_is_not_plain():
    rows = {line.split("`")[1]: line for line in catalogue.table().splitlines() if line.startswith("| `")}
    assert sorted(rows) == sorted(WANTED)
    assert "125000 s" in rows["wse_3"] and "~84" in rows["tpu_v5e"] and "| 989.4 |" in rows["h100"]
    assert len({row.count("|") for row in rows.values()}) == 1


def test_the_catalogue_reads_no_file_before_it_is_asked():
    program = "import sys, hardware.catalogue, hardware.grid; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
