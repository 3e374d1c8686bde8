"""Roofline in time: what a cost asks of a device, and the seconds that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware.projection.rates import MATRIX_KINDS, figure, or_note, rates, running_precision

if TYPE_CHECKING:
    from hardware.calibrate import Calibration
    from hardware.catalogue import Entry
    from hardware.cost import Cost

# (best, central, worst) share of the peak rate that a kind of work reaches. Central: what good library code does on
# large arrays. A peak counts a fused multiply-add as two, which ordinary element-wise code seldom is, hence one half.
# A transcendental function is one operation in our counts and some 4 to 40 instructions: a quarter-rate special unit at
# best, a polynomial at worst. Worst for products: 0.2, the least of the published shares of whole trainings (GPT-3
# 0.21, PaLM 0.46: Chowdhery et al. 2022, table 3). The others' central and worst shares are judgements.
SHARES = {
    "matmul": (1.0, 0.7, 0.2),
    "convolution": (1.0, 0.6, 0.15),
    "elementwise": (1.0, 0.5, 0.2),
    "reduction": (1.0, 0.5, 0.1),
    "transcendental": (1 / 4, 1 / 16, 1 / 40),
    "scatter": (0.5, 0.1, 0.02),
    "linalg": (1.0, 0.1, 0.01),
    "fft": (0.5, 0.1, 0.02),
}
BANDWIDTH_SHARES = (1.0, 0.85, 0.6)  # STREAM-like kernels reach about 0.85 of the stated bandwidth
# Where the number of launches is not given: none (one program, one launch), half the operations, two an operation. XLA
# made 0.06 to 1.7 kernels an operation of the twelve programs of `calibrate_programs_jax` on a CPU, in the median 0.5;
# they moved 0.05 to 16 times the geometric mean of least and unfused bytes, in the median once.
LAUNCHED = (0.0, 0.5, 2.0)
# (least, central, most) seconds to start a kernel, where nobody has published them for the device, and why.
GPU_LAUNCH = (1e-6, 3e-6, 6e-6), "above the 0.9 to 2.4 µs published for V100, A100 and H100"
UNKNOWN_LAUNCH_S = {
    # A device of which less is known must not come out ahead for that. The catalogue's V100, A100 and H100 have 1.1,
    # 1.5 and 2.1 µs, and up to 2.4 from the call to the kernel's start.
    "cuda": GPU_LAUNCH,
    "rocm": GPU_LAUNCH,
    # 30 to 60 cycles an instruction, most of them tiny, in the compiled chunks of our trainings.
    "tpu": ((0.0, 1e-7, 1e-6), "as in the TPU compiler's estimates"),
    # benchmarks/results/calibration.json: 0.12 to 0.16 µs. A kernel that wakes other threads takes microseconds.
    "cpu": ((0.0, 1.2e-7, 3e-6), "as calibrations of a CPU measured it inside a compiled program"),
}
OTHER_LAUNCH = (0.0, 3e-7, 3e-6), "which is a judgement, between a CPU's and a GPU's"
# A share of the FLOP so small that its rate cannot matter: an optimiser's schedule in float64 on a device without it.
TRACE = 1e-3
UNCALIBRATED = 0.3  # a model that was never measured on the device errs by this at best


@dataclass(frozen=True)
class Interval:
    """low <= value <= high."""

    low: float
    value: float
    high: float

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.value * factor, self.high * factor)

    def at_least(self, floor: float) -> Interval:
        return Interval(*(max(bound, floor) for bound in (self.low, self.value, self.high)))

    def at_most(self, ceiling: Interval) -> Interval:
        return Interval(min(self.low, ceiling.low), min(self.value, ceiling.value), min(self.high, ceiling.high))

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Work:
    """What a cost asks of a device. Parts: (kind, dtype it runs in) -> flop."""

    parts: dict[tuple[str, str], int]
    moved: Interval | None
    least: float
    launches: Interval
    bytes_per_operation: float | None


def work_of(
    cost: Cost, entry: Entry, fused: float | None, launches: float | None, precision: str | None, notes: list[str]
) -> Work:
    if cost.is_lower_bound:
        notes.append(f"the count is a lower bound: no rule for {', '.join(sorted(cost.uncounted))}")
    if cost.flop and not cost.parts:
        notes.append("the cost names no kinds of work: all of it is taken as float32 element-wise")
        cost = cost.of("elementwise", "float32")
    parts: dict[tuple[str, str], int] = {}
    main = _main_dtype(cost)
    for kind, dtype, flop in cost.parts:
        if dtype != main and flop < TRACE * cost.flop:
            notes.append(f"a trace of {dtype} operations is taken as {main}")
            dtype = main
        if kind in MATRIX_KINDS and dtype == "float32":
            dtype = running_precision(entry, precision, notes)
        parts[kind, dtype] = parts.get((kind, dtype), 0) + flop
    started = (launches,) * 3 if launches is not None else tuple(share * cost.operations for share in LAUNCHED)
    each = cost.unfused_bytes / cost.operations if cost.operations else None
    moved = _moved(cost, fused)
    if moved is None:
        notes.append("the cost has no bytes, so no seconds: count bytes too, or give fused_bytes")
    return Work(parts, moved, cost.least_bytes or (moved.low if moved else 0), Interval(*started), each)


def _main_dtype(cost: Cost) -> str:
    """The dtype in which most FLOP are done."""
    total: dict[str, int] = {}
    for _, dtype, flop in cost.parts:
        total[dtype] = total.get(dtype, 0) + flop
    return max(total, key=lambda dtype: total[dtype], default="float32")


def _moved(cost: Cost, fused: float | None) -> Interval | None:
    """Bytes moved: fewest, after fusion, without fusion. None where nobody counted any."""
    known = [b for b in (cost.least_bytes, fused, cost.unfused_bytes) if b]
    if not known:
        return Interval(0, 0, 0) if not cost.flop else None
    low, high = min(known), max(known)
    least, unfused = cost.least_bytes or low, cost.unfused_bytes or high
    return Interval(low, fused or math.sqrt(least * unfused), high)


def roofline(work: Work, entry: Entry, notes: list[str]) -> tuple[Interval, str] | None:
    compute = _compute(work, entry, notes)
    memory = _memory(work, entry, notes)
    launch_s = figure(entry, "launch_s")
    if compute is None or memory is None:
        return None
    if launch_s is not None:
        launch = work.launches * launch_s
    else:
        at = work.launches
        starts_s, why = UNKNOWN_LAUNCH_S.get(entry.kind, OTHER_LAUNCH)
        launch = Interval(*(n * s for n, s in zip((at.low, at.value, at.high), starts_s, strict=True)))
        least, central, most = (f"{s * 1e6:g}" for s in starts_s)
        notes.append(
            f"{entry.name} has no launch_s: a kernel's start is taken as {central} µs ({least} to {most}), {why}"
        )
    value = max(compute.value, memory.value) + launch.value
    low = max(compute.low, memory.low) + launch.low
    high = compute.high + memory.high + launch.high
    terms = {"compute": compute.value, "memory": memory.value, "launches": launch.value}
    return widened(low, value, high), max(terms, key=lambda term: terms[term])


def widened(low: float, value: float, high: float, margin: float = UNCALIBRATED) -> Interval:
    return Interval(min(low, value * (1 - margin)), value, max(high, value * (1 + margin)))


def _compute(work: Work, entry: Entry, notes: list[str]) -> Interval | None:
    total = [0.0, 0.0, 0.0]
    for (kind, dtype), flop in work.parts.items():
        peaks = rates(entry, kind, dtype, notes)
        if peaks is None:
            return None
        for i, (peak, share) in enumerate(zip(peaks, SHARES[kind], strict=True)):
            total[i] += flop / (peak * share)
    return Interval(*total)


def _memory(work: Work, entry: Entry, notes: list[str]) -> Interval | None:
    """Arguments and results cross the memory's interface; what lies between stays on the chip if a step of it fits."""
    if work.moved is None:
        return None
    main, on_chip = figure(entry, "memory_bandwidth_bytes_per_s"), figure(entry, "on_chip_bandwidth_bytes_per_s")
    if main is None and on_chip is None:
        or_note(entry, "memory_bandwidth_bytes_per_s", "no seconds", notes)
        return None
    if main is None:
        or_note(entry, "memory_bandwidth_bytes_per_s", "all bytes are taken to stay on the chip", notes)
    main = main or on_chip or math.nan
    size = figure(entry, "on_chip_bytes")
    fits = size is not None and work.bytes_per_operation is not None and work.bytes_per_operation <= size
    near = max(main, on_chip) if on_chip is not None and fits else main
    best, central, worst = BANDWIDTH_SHARES
    inner = max(0.0, work.moved.value - work.least)
    value = (min(work.least, work.moved.value) / main + inner / near) / central
    return Interval(work.moved.low / near / best, value, max(work.moved.high / main / worst, value))


def calibrated(work: Work, calibration: Calibration, notes: list[str]) -> tuple[Interval, str] | None:
    """Σ flop·τ + bytes·τ_mem + launches·launch_s, all measured; the interval is that of the errors held out."""
    if work.moved is None:
        return None
    compute = 0.0
    for (kind, dtype), flop in work.parts.items():
        price = calibration.seconds_per_flop(kind, dtype, work.bytes_per_operation)
        if price is None:
            notes.append(f"the calibration measured no {kind} in {dtype}: no seconds")
            return None
        compute += flop * price
    memory = work.moved.value * calibration.seconds_per_byte(work.bytes_per_operation)
    terms = {"compute": compute, "memory": memory, "launches": work.launches.value * calibration.launch_s}
    value = sum(terms.values())
    low, high = calibration.error_interval
    return Interval(value * low, value, value * high), max(terms, key=lambda term: terms[term])
