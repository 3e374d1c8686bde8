"""Any JAX program compiled by the real TPU compiler, on a machine without a TPU, and what the compiler says of it.

    program = compile_for(f, *args, device="tpu_v5e")
    print(*program.lines(), sep="\n")

libtpu (the [tpu] extra) compiles for a topology that is not there; its optimised HLO carries the compiler's own
estimate of cycles for each fusion, which is multiplied by the loops' trips and divided by the clock. So seconds and
joules here are **modelled**, for one device (one chip, or one core where JAX sees a chip's cores apart).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hardware import catalogue
from hardware.compiled_jax import Fused, fused_of
from hardware.hlo import parse
from hardware.hlo.walk import execute, measured_trips
from hardware.projection.time import Interval
from hardware.tpu.compiler import GENERATIONS, Generation, TpuError, compile_apart, generation_of, one_line
from hardware.tpu.cycles import Cycles, cycles_of

__all__ = ["GENERATIONS", "Memory", "TpuError", "TpuProgram", "compile_for"]

METHOD = "modelled:tpu_compiler"
_WRAPPING = re.compile(r"^jit\(call\)/call_exported/jit\(\w+\)/")  # what the way through `jax.export` adds to op_names


@dataclass(frozen=True)
class Memory:
    """Bytes of one device's memory, as stored (padded). `limit_bytes`: what the device has, None where unpublished."""

    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    code_bytes: int
    alias_bytes: int
    limit_bytes: int | None

    @property
    def needed_bytes(self) -> int:
        return self.argument_bytes + self.output_bytes + self.temporary_bytes + self.code_bytes - self.alias_bytes

    @property
    def fits(self) -> bool | None:
        return None if self.limit_bytes is None else self.needed_bytes <= self.limit_bytes


@dataclass(frozen=True)
class TpuProgram:
    """What the TPU compiler made of a program, for one device. Modelled, never measured.

    `cycles`: see `hardware.tpu.cycles.Cycles`; `seconds` = cycles / clock, None where the clock is unpublished.
    `energy_j`: seconds times the chip's power under load (the catalogue's busy_w: least, mean, most), None without it.
    `fused`: bytes to and from the device's memory, and kernels. `compile_s`: the compiler's time on this machine.
    """

    device: str
    cycles: Cycles
    seconds: float | None
    energy_j: Interval | None
    memory: Memory
    fused: Fused
    compile_s: float
    notes: tuple[str, ...]
    hlo: str
    method: str = METHOD

    @property
    def unknown_loops(self) -> tuple[str, ...]:
        return self.fused.unknown_loops

    @property
    def is_lower_bound(self) -> bool:
        """Whether some loop's trips are unknown or some kernel is without an estimate of its cycles."""
        return bool(self.unknown_loops or self.cycles.unestimated)

    @property
    def padding(self) -> float | None:
        """The share of the memory traffic that only fills tiles up; None without traffic."""
        return 1 - self.fused.fused_bytes / self.fused.padded_bytes if self.fused.padded_bytes else None

    def lines(self) -> list[str]:
        """The program for people, a line a fact."""
        bound = "at least " if self.is_lower_bound else ""
        parts = ", ".join(f"{kind} {share:.0%}" for kind, share in self.cycles.shares().items())
        limit = "unknown" if self.memory.limit_bytes is None else _size(self.memory.limit_bytes)
        verdict = {True: "fits", False: "does not fit", None: "not known whether it fits"}[self.memory.fits]
        seconds = "unknown" if self.seconds is None else f"{bound}{self.seconds:.3g} s"
        energy = "unknown" if self.energy_j is None else f"{bound}{self.energy_j.low:.3g} to {self.energy_j.high:.3g} J"
        lines = [
            f"{self.device}: compiled by the TPU compiler in {self.compile_s:.1f} s; nothing below is measured",
            f"cycles: {bound}{self.cycles.total:,} ({parts or 'none'})",
            f"time: {seconds}; energy: {energy} ({self.method})",
            f"memory: {_size(self.memory.needed_bytes)} of {limit}, {verdict} "
            f"(arguments {_size(self.memory.argument_bytes)}, results {_size(self.memory.output_bytes)}, "
            f"temporaries {_size(self.memory.temporary_bytes)})",
            f"traffic: {_size(self.fused.fused_bytes)} by {self.fused.kernels:,} instructions, "
            f"padding {_percent(self.padding)}; matrix units' tiles filled {_percent(self.cycles.mxu_fill)}",
        ]
        return lines + [f"note: {note}" for note in self.notes]


def compile_for(
    f: Callable, *args: Any, device: str = "tpu_v5e", tally: Any = None, timeout_s: float = 300.0
) -> TpuProgram:
    """f(*args) compiled for one device of `device` (tpu_v2 … tpu_v7); nothing runs and no TPU is needed.

    Arguments may be arrays or ShapeDtypeStructs. `tally`, the cost that `hardware.count(f)` measured on any machine,
    tells the trips of loops that depend on data; without it they count as one and are named. Matrix products are done
    at f's precision: `jax_default_matmul_precision` holds here as on the TPU.
    Raises TpuError: unknown device, libtpu absent, topology refused, no compilation (the compiler's reason), timeout,
    a tally of another program or of other shapes; ValueError for a tally of several lanes.
    """
    generation, trips = generation_of(device), measured_trips(tally)
    from hardware.tpu.jax_export import export_for_tpu

    try:
        exported = export_for_tpu(f, args)
    except Exception as error:  # tracing runs the user's function, which may raise anything
        raise TpuError(f"device={device}: the program cannot be lowered for a TPU: {one_line(str(error))}") from error
    if tally is not None and _signature(tally) != [_price(price) for price in exported.prices]:
        raise TpuError(
            f"device={device}: the tally must be of this program at these shapes, but its prices are of another; pass "
            "the cost that count(f)(*args) returned"
        )
    result, text = compile_apart(device, generation, exported.program, exported.x64, timeout_s)
    module = parse(text)
    executed = execute(module, trips, lambda computation, i: i.estimated_cycles or 0)
    cycles, fused = cycles_of(executed, generation.mxu), fused_of(executed)
    entry = catalogue.load(device)
    clock_hz, watts, capacity = (entry.get(name) for name in ("clock_hz", "busy_w", "memory_bytes"))
    seconds = cycles.total / clock_hz.value if clock_hz else None
    sizes = {name: int(size or 0) for name, size in result["memory"].items()}
    memory = Memory(
        sizes["argument"], sizes["output"], sizes["temp"], sizes["generated_code"], sizes["alias"],
        int(capacity.value) // generation.devices_per_chip if capacity else None,
    )  # fmt: skip
    return TpuProgram(
        device, cycles, seconds, _energy(seconds, watts), memory, fused, result["compile_s"],
        tuple(_notes(generation, exported, cycles, fused, clock_hz, watts)), text,
    )  # fmt: skip


def _signature(tally: Any) -> list[Any]:
    return [_price(price) for price in getattr(tally, "prices", (tally,))]


def _price(price: Any) -> Any:
    """What identifies a site. Bytes are left out: an argument that is known when traced is captured, or absent."""
    return price.flop, price.parts, price.uncounted


def _energy(seconds: float | None, watts: Any) -> Interval | None:
    if seconds is None or watts is None:
        return None
    low, high = (watts.value if bound is None else bound for bound in (watts.low, watts.high))
    return Interval(seconds * low, seconds * watts.value, seconds * high)


def _notes(generation: Generation, exported: Any, cycles: Cycles, fused: Fused, clock_hz: Any, watts: Any) -> list[str]:
    notes = []
    dtypes = {dtype for price in exported.prices for kind, dtype in price.by_kind if kind in ("matmul", "convolution")}
    if "float32" in dtypes and cycles.products:
        made = ", ".join(f"{n:,} as {passes}" for passes, n in cycles.products.items())
        notes.append(
            f"precision: float32 matrix products become products of bfloat16 parts; the matrix units run {made} each. "
            "1 keeps 8 bits of each factor, 3 (high) about 16, 6 (highest) all 24: jax_default_matmul_precision sets "
            "it, and a match with another device is only fair at the same precision"
        )
    if "float64" in dtypes:
        notes.append("precision: TPUs have no float64; the compiler emulates it with pairs of float32")
    if exported.callbacks:
        notes.append(f"{exported.callbacks} callback(s) to the host (checks, prints) are left out")
    if fused.unknown_loops:
        names = ", ".join(_WRAPPING.sub("", name) for name in fused.unknown_loops[:3])
        notes.append(
            f"lower bound: {len(fused.unknown_loops)} loop(s) with unknown trips counted as one trip each: {names}; "
            "run count(f) on any machine and pass its tally"
        )
    if fused.conditionals:
        notes.append(f"{len(fused.conditionals)} conditional(s): the branch with the most cycles is counted")
    if cycles.unestimated:
        names = ", ".join(f"{opcode} ×{n:,}" for opcode, n in list(cycles.unestimated.items())[:4])
        notes.append(
            f"lower bound: {sum(cycles.unestimated.values()):,} of {fused.kernels:,} instructions carry no estimate of "
            f"cycles ({names}), with {cycles.unestimated_share:.1%} of the bytes"
        )
    if generation.devices_per_chip > 1:
        notes.append(
            f"one of the chip's {generation.devices_per_chip} cores runs it, with its share of the chip's memory; "
            "energy is that of the whole chip"
        )
    if clock_hz is None:
        notes.append("seconds unknown: the catalogue has no clock_hz")
    if watts is not None and watts.basis != "measured":
        notes.append(f"joules: this chip's power under load is not measured ({watts.basis}): {watts.source}")
    if watts is None:
        notes.append("joules unknown: nobody has published this chip's power under load (busy_w)")
    return notes


def _size(n: int) -> str:
    """Bytes in binary units: 2.5 MiB."""
    power = min(int(math.log2(n) // 10), 4) if n > 0 else 0
    return f"{n / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"
