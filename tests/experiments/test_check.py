"""`check`: what a machine is told about itself, and what a training would take on a device that is not there."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from experiments.check import Findings, check, kept_calibration, load_calibration
from experiments.pricing import STEPS
from experiments.progress import Reporter
from hardware import catalogue
from hardware.calibrate import Calibration
from hardware.devices import Device, resolve

PENDULUM = ["task=pendulum", "task.n_train=8", "task.n_val=2", "task.n_test=2", "task.horizon=2", "training.batch=8"]


@pytest.fixture(scope="module")
def priced(cli: Callable[..., Any]) -> dict[str, Any]:
    """A small network's price on an H100, in a grid."""
    done = cli("check", "device=h100", *PENDULUM, "budget.flop=1e9", "--grid", "FRA", "--pue", "1.2", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_price_is_counted_here_and_modelled_there(priced: dict[str, Any]) -> None:
    assert priced["device"] == "h100" and priced["one"]["method"] == "modelled:roofline"
    step, steps = priced["step"], priced["steps"]
    assert steps == 10**9 // step["flop"] > 1
    assert sum(flop for _, _, flop in step["parts"]) == pytest.approx(step["flop"], abs=len(step["parts"]))
    assert (
        0 < step["least_bytes"] <= priced["moved_bytes"]
        and 0 < priced["here_seconds"]["low"] <= priced["here_seconds"]["high"]
    )
    for name in ("seconds", "energy_j", "money_usd", "co2_g"):
        one, whole = priced["one"][name], priced["whole"][name]
        assert 0 < one["low"] <= one["value"] <= one["high"]
        # Everything in a price is proportional to the work, launches included.
        assert whole["value"] == pytest.approx(steps * one["value"], rel=1e-3)


def test_carbon_is_energy_times_pue_times_intensity(priced: dict[str, Any]) -> None:
    from hardware.grid import carbon_intensity

    joules, grams = priced["one"]["energy_j"]["value"], priced["one"]["co2_g"]["value"]
    assert grams == pytest.approx(joules / 3.6e6 * 1.2 * carbon_intensity("FRA").g_per_kwh)


def test_no_carbon_without_a_grid(here: Callable[..., Any]) -> None:
    done = here("check", "device=l4", "model=linear", *PENDULUM, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["one"]["co2_g"] is None and found["steps"] == 1 and found["one"]["seconds"]["value"] > 0


def test_a_device_without_rates_gives_nulls_and_says_why(here: Callable[..., Any]) -> None:
    done = here("check", "device=loihi_2", "model=linear", *PENDULUM)
    assert done.code == 0 and "not known: see the notes" in done.out and "no FLOP rate holds for it" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["device=h10"], "device=h10: there is no such device; did you mean h100?"),
        (["device=tpu_v5"], "device=tpu_v5: there is no such device; did you mean tpu_v5"),
        (["model=mlp"], "on which device?"),
        (["device=h100", "device=l4"], "check takes one device, but there are 2: h100, l4"),
        (["device=cpu", "model=mlp"], "model=mlp: settings are for a device of the catalogue"),
        (["device=tpu"], "device=tpu: no TPU is visible"),
        (["--grid", "FRA"], "--grid and --pue are for a device of the catalogue"),
        (["--calibrate", "--quick"], "choose one"),
        (["device=h100", "--calibrate"], "--calibrate and --quick are for this machine"),
        (["device=h100", "--grid", "Frence", "pendulum"], "did you mean france?"),
        (["device=h100", "model=persistence", *PENDULUM], "persistence is not trained"),
        (
            ["device=h100", "model=linear", *PENDULUM, "--pue", "0.5"],
            "pue=0.5: it must be a finite number and at least 1",
        ),
        (["device=h100", "model=linear", *PENDULUM, "--grid", "Frence"], "did you mean france?"),
        (["device=h100", "modle=linear"], "did you mean model"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(here: Callable[..., Any], words: list[str], message: str) -> None:
    done = here("check", *words)
    *progress, last = done.err.strip().splitlines()
    assert done.code == 2 and message in last and last.startswith("error: ")
    assert not progress or "is not trained" in message  # all other mistakes are told before anything is done


def test_a_run_points_to_check_for_a_device_of_the_catalogue(here: Callable[..., Any]) -> None:
    done = here("run", "pendulum", "device=h100")
    assert done.code == 2 and "check device=h100" in done.err


def test_a_kept_calibration_is_used_and_a_broken_one_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = Device("cpu", "A/B ../ name")
    path = kept_calibration(device)
    assert path.is_relative_to(tmp_path) and path.name.startswith("cpu-A-B-name-")
    assert load_calibration(device) is None
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert load_calibration(device) is None
    jax = {"jax": version("jax")}
    table, peaks = {"bytes": ((1.0, 1e-9),)}, {"bytes": 1e9}
    made = Calibration(device.name, "cpu", "2026-01-01", jax, 1.0, 3, table, peaks, 1e-6, 1e-6, 0.1, 0.1)
    made.save(path)
    assert load_calibration(device) == made
    for stranger in (replace(made, device="another"), replace(made, versions={"jax": "0.1"})):
        stranger.save(path)
        assert load_calibration(device) is None


def test_quick_neither_calibrates_nor_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("called")

    monkeypatch.setattr("experiments.check.calibrate", refuse)
    monkeypatch.setattr("experiments.check.energy.measure_idle", refuse)
    found = check(Reporter(quiet=True), quick=True)
    assert isinstance(found, Findings) and found.calibration is None and "not done" in found.calibration_note
    assert resolve("cpu", "jax").name in found.lines()[0] and any(
        line.startswith("Joules on ") for line in found.lines()
    )
    assert all(len(line) <= 80 for line in found.lines(80))


@pytest.mark.timeout(420)
@pytest.mark.slow  # the network and the TPU's program compile for half a minute
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is absent: pip install '.[tpu]'")
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_a_training_is_compiled_by_the_tpu_compiler(cli: Callable[..., Any], solver: str) -> None:
    done = cli("check", "device=tpu_v5e", *PENDULUM, f"model.solver={solver}", "--json", timeout=400)
    assert done.code == 0, done.err
    assert "libtpu" not in done.err and "INVALID_ARGUMENT" not in done.err and "host bounds" not in done.err
    tpu = json.loads(done.out)["tpu"]
    assert tpu["method"] == "modelled:tpu_compiler" and not tpu["fused"]["unknown_loops"]
    clock_hz = catalogue.load("tpu_v5e").value("clock_hz")
    assert tpu["seconds"] == pytest.approx(tpu["cycles"]["total"] / clock_hz) and tpu["seconds"] > 0
    # 100 steps of four stages each hold at least that many matrix products, forward and backward.
    assert sum(tpu["cycles"]["products"].values()) >= STEPS * 4 * 2


def test_ctrl_c_ends_a_check_at_once(environment: dict[str, str], elsewhere: Path) -> None:
    """Also while JAX is imported, whose garbage collection would swallow a KeyboardInterrupt."""
    command = [sys.executable, "-m", "experiments", "check", "--calibrate"]
    with subprocess.Popen(command, env=environment, cwd=elsewhere, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in said
    assert said.splitlines()[-1] == "stopped; nothing had been measured yet"
