"""The measuring behind `hardware.calibrate`: kernels and programs take turns, prices are fitted, programs predicted."""

from __future__ import annotations

import datetime
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from hardware.calibrate import Calibration, HeldOut
from hardware.calibrate.fit import Table, fit_energy, in_turns, price_at, prices
from hardware.calibrate.kernels_jax import Call, Kernel, call, empty_call, kernels, tiny, twice
from hardware.calibrate.programs_jax import held_out
from hardware.catalogue import Entry
from hardware.devices import Device
from hardware.energy import EnergyReader, measure, measure_idle
from hardware.projection import project

KINDS = ("elementwise", "transcendental")
# Arrays in each cache of a processor, and beyond them all; on an accelerator from a single launch to gigabytes.
SIZES = {"cpu": (8 << 10, 128 << 10, 2 << 20), "other": (64 << 10, 2 << 20, 64 << 20)}
BEYOND = {"cpu": 96 << 20, "other": 1 << 30}
WIDTHS = {"cpu": (32, 128, 640), "other": (256, 1024, 8192)}
DEPTHS = {"cpu": (1, 8, 32), "other": (1, 32, 256)}
REDUCED = {"cuda": "tf32", "tpu": "bfloat16"}  # in what JAX multiplies float32 matrices by default
EXPLAINED_AT_MOST = 0.5  # share of a kernel's time that launches, or what else it does, may explain
LEAST_ROUNDS = 8  # the best of so many turns is one that nothing disturbed, even where others have half the machine
WINDOW_S, IDLE_S = 0.6, 1.0  # of power under load, and idle: several updates of a counter that moves each 100 ms


def measured(seconds: float, device: Device, reader: EnergyReader, hold_out: bool) -> Calibration:
    """See `hardware.calibrate.calibrate`."""
    platform = "gpu" if device.kind == "cuda" else device.kind
    doubles = device.kind != "tpu"
    with jax.default_device(jax.devices(platform)[device.index]), jax.enable_x64(doubles):
        return _measured(time.perf_counter(), seconds, device, reader, doubles, hold_out)


def _measured(
    start: float, seconds: float, device: Device, reader: EnergyReader, doubles: bool, hold_out: bool
) -> Calibration:
    counted = reader.method.startswith("measured")
    idle = measure_idle(reader, IDLE_S) if counted else None
    sort = "cpu" if device.kind == "cpu" else "other"
    sizes = (*SIZES[sort], _beyond(sort))
    fitted_to = [tiny(), *kernels(sizes, WIDTHS[sort], DEPTHS[sort], doubles, REDUCED.get(device.kind))]
    same = twice()
    for kernel in (same, *fitted_to):
        kernel.compile()
    programs = held_out(doubles) if hold_out else {}
    calls = [empty_call(), *(call(name, function, arguments) for name, (function, arguments) in programs.items())]
    power = _power(reader, fitted_to, sizes) if counted else {}
    works = [same, *fitted_to, *calls, same]
    turns = in_turns([work.turn for work in works], seconds - (time.perf_counter() - start), LEAST_ROUNDS)
    least = [min(turn) for turn in turns]
    turns_of_kernels = turns[1 : 1 + len(fitted_to)]
    of_kernels, of_calls = least[1 : 1 + len(fitted_to)], least[1 + len(fitted_to) : -1]
    launch_s = of_kernels[0] / fitted_to[0].kernels
    peaks, spreads = _peaks(fitted_to[1:], turns_of_kernels[1:], sizes)
    table, residual = _fitted(fitted_to[1:], of_kernels[1:], launch_s)
    made = Calibration(
        device=device.name,
        kind=device.kind,
        date=datetime.date.today().isoformat(),
        versions={"jax": jax.__version__},
        seconds=time.perf_counter() - start,
        rounds=len(turns[0]),
        prices=table,
        peaks=peaks,
        launch_s=launch_s,
        call_s=of_calls[0],
        fit_residual=residual,
        aa_spread=abs(least[0] / least[-1] - 1),
        spreads=spreads | {"launch": _spread(turns_of_kernels[0]), "call": _spread(turns[1 + len(fitted_to)])},
        idle_w=idle.power_w if idle else None,
        energy_reason=(idle.reason if idle else reader.reason or "no meter here counts joules"),
        **power,
    )
    return replace(made, held_out=tuple(_tried(made, *pair) for pair in zip(calls[1:], of_calls[1:], strict=True)))


def _beyond(sort: str) -> int:
    """Bytes that no cache holds: four times the last-level cache, of a sixteenth of the memory at most."""
    try:
        cache = os.sysconf("SC_LEVEL3_CACHE_SIZE") if sort == "cpu" else 0
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not Linux
        return BEYOND[sort]
    return max(BEYOND[sort], min(4 * cache, memory // 16))


def _fitted(fitted_to: Sequence[Kernel], seconds: Sequence[float], launch_s: float) -> tuple[dict[str, Table], float]:
    """The prices, by dtype and size, and the median relative error with which they give the times back."""
    work_s = [max(t - launch_s * k.kernels, EXPLAINED_AT_MOST * t) for k, t in zip(fitted_to, seconds, strict=True)]
    groups: dict[tuple[str, float], list[tuple[Kernel, float]]] = defaultdict(list)
    alone = []
    for kernel, took in zip(fitted_to, work_s, strict=True):
        if "matmul" in kernel.flop or "reduction" in kernel.flop:
            alone.append((kernel, took))
        else:
            groups[kernel.dtype, kernel.size].append((kernel, took))
    tables: dict[str, list[tuple[float, float]]] = defaultdict(list)
    errors = []
    for (dtype, size), members in sorted(groups.items()):
        rows = [[*(k.flop.get(kind, 0.0) for kind in KINDS), k.bytes] for k, _ in members]
        times = [took for _, took in members]
        found, _ = prices(rows, times)
        errors += [abs(np.dot(row, found) / took - 1) for row, took in zip(rows, times, strict=True)]
        for kind, price in zip(KINDS, found, strict=False):
            tables[f"{kind} {dtype}"].append((float(size), float(price)))
        if dtype == "float32":
            tables["bytes"].append((float(size), float(found[-1])))
    # Of these there is one at each size, so that what else they do is taken off at the prices just found.
    for kernel, took in alone:
        kind = "matmul" if "matmul" in kernel.flop else "reduction"
        rest = kernel.bytes * price_at(tuple(tables["bytes"]), kernel.size)
        if "elementwise" in kernel.flop:
            rest += kernel.flop["elementwise"] * price_at(tuple(tables[f"elementwise {kernel.dtype}"]), kernel.size)
        own = max(took - rest, EXPLAINED_AT_MOST * took)
        tables[f"{kind} {kernel.dtype}"].append((kernel.size, own / kernel.flop[kind]))
    return {name: tuple(table) for name, table in tables.items()}, float(np.median(errors))


def _spread(turns: Sequence[float]) -> float:
    """How far apart the middle 80% of a kernel's turns lie, relative to their median."""
    low, middle, high = np.quantile(turns, (0.1, 0.5, 0.9))
    return float((high - low) / middle)


def _peaks(
    fitted_to: Sequence[Kernel], turns: Sequence[Sequence[float]], sizes: tuple[int, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """The best rates seen, launches included, and the spread over the rounds of the kernels that reached them."""
    best: dict[str, tuple[float, float]] = {}
    for kernel, turn in zip(fitted_to, turns, strict=True):
        took = min(turn)
        kind = next((k for k in ("matmul", "transcendental", "reduction") if k in kernel.flop), "elementwise")
        place = "bytes, main memory" if kernel.size == sizes[-1] else "bytes, in cache"
        rates = {f"{kind} {kernel.dtype}": kernel.flop[kind] / took, place: kernel.bytes / took}
        for name, rate in rates.items():
            if kind not in ("matmul", "reduction") or name != place:
                best[name] = max(best.get(name, (0.0, 0.0)), (rate, _spread(turn)))
    found = sorted(best.items())
    return {name: rate for name, (rate, _) in found}, {name: spread for name, (_, spread) in found}


def _tried(made: Calibration, program: Call, took: float) -> HeldOut:
    """Predicted against measured. One call from Python is added, which `project` knows nothing of."""
    machine = Entry("this_machine", made.kind, "the machine that was calibrated", {})
    found = project(
        program.cost,
        machine,
        fused_bytes=program.fused_bytes,
        launches=program.kernels,
        precision=REDUCED.get(made.kind),
        calibration=made,
    )
    if found.seconds is None:
        raise RuntimeError(f"the calibration cannot price {program.name}: {'; '.join(found.notes)}")
    return HeldOut(program.name, found.seconds.value + made.call_s, took)


def _power(reader: EnergyReader, fitted_to: Sequence[Kernel], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Power under the heaviest load seen, and the energy fit to the sweep, in and beyond the caches."""
    swept = [k for k in fitted_to if k.name.startswith("sweep") and k.dtype == "float32" and k.size in sizes[-2:]]
    product = [k for k in fitted_to if "matmul" in k.flop][-1:]
    rows, joules, watts = [], [], []
    for kernel in [*swept, *product]:
        found = measure(lambda k=kernel: k.run(k.times), reader, min_seconds=WINDOW_S, min_readings=5)
        if found.energy_j is None:
            return {"loaded_w": max(watts, default=None)}
        watts.append(found.energy_j / found.seconds)
        if kernel in swept:
            n = kernel.times
            rows.append((n * kernel.flop["elementwise"], n * kernel.bytes, found.seconds))
            joules.append(found.energy_j)
    flop, moved, seconds = zip(*rows, strict=True)
    return {"loaded_w": max(watts), "energy": fit_energy(flop, moved, seconds, joules)}
