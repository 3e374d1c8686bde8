"""Windows long enough to be measured: joules of a short function by repetition, and the power of an idle device."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hardware.energy.reader import EnergyReader, check_reader

WINDOW_S = 5.0  # a counter updated each 100 ms is then read to 2%
WINDOW_UPDATES = 50
BATCH_S = 0.2  # the device is waited for about this often, so that a queue of work cannot outgrow the window


@dataclass(frozen=True)
class Idle:
    """The power while nothing of ours runs. `power_w` is None where it is not known, with the reason."""

    power_w: float | None
    uncertainty: float | None = None
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True)
class Measurement:
    """One call: seconds, joules (gross, and net of idle), relative uncertainties; None, never 0, where unknown.

    `calls` were made in a window of `window_s` seconds.
    """

    seconds: float
    energy_j: float | None
    uncertainty: float | None
    net_energy_j: float | None
    net_uncertainty: float | None
    calls: int
    window_s: float
    method: str
    reason: str | None = None


def update_s(reader: EnergyReader) -> float:
    """Seconds between changes of a reader's counter; 0 for a reader that does not say."""
    return getattr(reader, "update_s", 0.0)


def moved_j(
    reader: EnergyReader, start_j: float | None, end_j: float | None, seconds: float
) -> tuple[float | None, str]:
    """(joules between two readings, ""), or (None, why they are not known)."""
    if start_j is None or end_j is None:
        return None, reader.reason or "the energy counter could not be read"
    if end_j < start_j:
        return None, f"the energy counter went backwards, from {start_j:.3f} J to {end_j:.3f} J"
    if not reader.method.startswith("measured"):
        return end_j - start_j, ""
    if seconds < update_s(reader):
        return None, f"{seconds:.3g} s are too short for a counter that is updated every {update_s(reader):g} s"
    if end_j == start_j:
        return None, f"the energy counter did not move in {seconds:.3g} s"
    return end_j - start_j, ""


def relative_uncertainty(reader: EnergyReader, seconds: float, windows: int = 1) -> float | None:
    """√(stated² + quantisation²); None where nobody states one.

    Quantisation: each end of a window is off by up to one update of the counter, at steady power update_s / seconds.
    Over several windows the errors are independent and grow with the root of their number.
    """
    if reader.uncertainty is None or seconds <= 0:
        return reader.uncertainty
    return math.hypot(reader.uncertainty, math.sqrt(windows) * update_s(reader) / seconds)


def net(
    energy_j: float | None, uncertainty: float | None, seconds: float, idle: Idle | None
) -> tuple[float | None, float | None, float | None]:
    """(idle joules, net joules, relative uncertainty of net): net = gross - idle power · seconds.

    The errors of both are added in quadrature. Net may come out negative where it is less than its error.
    """
    if energy_j is None or idle is None or idle.power_w is None:
        return None, None, None
    idle_j = idle.power_w * seconds
    net_j = energy_j - idle_j
    if uncertainty is None or idle.uncertainty is None or net_j == 0:
        return idle_j, net_j, None
    return idle_j, net_j, math.hypot(uncertainty * energy_j, idle.uncertainty * idle_j) / abs(net_j)


def measure_idle(
    reader: EnergyReader,
    seconds: float = WINDOW_S,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> Idle:
    """The power of the reader's device over some seconds in which this process sleeps. What else runs is in it.

    Returns at once for readers that model their joules: with the power of the catalogue, or None and the reason.
    Raises TypeError for what is no reader, ValueError for seconds that are negative or not finite.
    """
    check_reader("measure_idle(reader)", reader)
    _check_not_negative("seconds", seconds)
    known = getattr(reader, "idle_power_w", None)
    if known is not None:
        return Idle(known, reader.uncertainty)
    if not reader.method.startswith("measured"):
        why = reader.reason or getattr(reader, "idle_reason", None)
        return Idle(None, reason=why or "nobody has published the idle power of this device")
    start_j, start = reader.read_j(), clock()
    sleep(seconds)
    end_j, took = reader.read_j(), clock() - start
    joules, why = moved_j(reader, start_j, end_j, took)
    if joules is None:
        return Idle(None, seconds=took, reason=why)
    return Idle(joules / took, relative_uncertainty(reader, took), took)


def measure(
    function: Callable[[], Any],
    reader: EnergyReader,
    *,
    synchronise: Callable[[], object] | None = None,
    idle: Idle | None = None,
    min_seconds: float = WINDOW_S,
    min_readings: int = WINDOW_UPDATES,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Joules and seconds of one call, from as many calls as fill a window.

    The window is at least `min_seconds` and `min_readings` updates of the counter long, so that quantisation is at most
    1 / min_readings. The first call, which may compile, is not in it. The device is waited for at both ends and after
    every batch of calls: by `synchronise`, else through what the function returns (arrays of JAX, tensors of torch); a
    function that returns nothing needs `synchronise` on a device that works asynchronously.

        energy.measure(lambda: step(weights, batch), energy.best(device))

    Raises TypeError for what is no function or no reader, ValueError for a window that is negative or not finite.
    """
    if not callable(function):
        raise TypeError(
            f"measure(function, reader): function must be callable; it is {function!r} ({type(function).__name__}): "
            "pass lambda: f(x)"
        )
    check_reader("measure(function, reader)", reader)
    _check_not_negative("min_seconds", min_seconds)
    _check_not_negative("min_readings", min_readings)
    wait = (lambda _: synchronise()) if synchronise else wait_for
    wait(function())
    least = max(min_seconds, min_readings * update_s(reader))
    calls, batch = 0, 1
    start_j, start = reader.read_j(), clock()
    elapsed = 0.0
    while elapsed < least or not calls:
        before, result = elapsed, None
        for _ in range(batch):
            result = function()
        wait(result)
        calls, elapsed = calls + batch, clock() - start
        if elapsed - before < BATCH_S / 2:
            batch *= 2
    end_j = reader.read_j()
    elapsed = clock() - start
    gross_j, why = moved_j(reader, start_j, end_j, elapsed)
    uncertainty = None if gross_j is None else relative_uncertainty(reader, elapsed)
    _, net_j, net_uncertainty = net(gross_j, uncertainty, elapsed, idle)
    return Measurement(
        elapsed / calls,
        None if gross_j is None else gross_j / calls,
        uncertainty,
        None if net_j is None else net_j / calls,
        net_uncertainty,
        calls,
        elapsed,
        reader.method,
        why or None,
    )


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}={value}: it must be a finite number and at least 0, such as {WINDOW_S:g}")


def wait_for(result: Any) -> None:
    """Wait until the arrays in `result` are computed, also those in lists, tuples, dicts, dataclasses, torch modules,
    and whatever JAX knows as a tree. Imports no framework."""
    parts = _parts(result)
    if parts is not None:
        for part in parts:
            wait_for(part)
    elif hasattr(result, "block_until_ready"):
        result.block_until_ready()
    elif getattr(result, "is_cuda", False):
        sys.modules["torch"].cuda.synchronize(result.device)


def _parts(result: Any) -> Iterable[Any] | None:
    if isinstance(result, dict):
        return result.values()
    if isinstance(result, list | tuple):
        return result
    if dataclasses.is_dataclass(result):
        return [getattr(result, field.name, None) for field in dataclasses.fields(result)]
    if hasattr(result, "parameters") and hasattr(result, "buffers"):  # a torch module
        return [*result.parameters(), *result.buffers()]
    if "jax" in sys.modules and not hasattr(result, "block_until_ready"):
        leaves = sys.modules["jax"].tree.leaves(result)
        return None if len(leaves) == 1 and leaves[0] is result else leaves
    return None
