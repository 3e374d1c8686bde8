"""What this machine really does: rates, bandwidth, launches and power, measured and fitted, and how far that predicts.

    c = calibrate(seconds=10.0)
    print(*c.lines(), sep="\\n")
    c.save("calibration.json")
    project(cost, "generic_server_cpu", calibration=Calibration.load("calibration.json"))

Time is fitted as T = Σ flop·τ_kind + bytes·τ_mem + kernels·launch_s, with non-negative prices τ that depend on the size
of the arrays (caches; cores that join in), to kernels of known work at several intensities. Energy, where a meter
counts joules, as E = flop·ε_flop + bytes·ε_mem + π0·T (Choi et al. 2013). The result is then tried on programs that
took no part in the fit (`hardware.calibrate.programs_jax`); the spread of those errors is its uncertainty.

One price stands for all transcendental functions, the mean of tanh, exp and a division. On a CPU a power with a broken
exponent takes some ten times as long, so programs full of them take longer than modelled.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.calibrate.fit import EnergyFit, Table, price_at

if TYPE_CHECKING:
    from hardware.devices import Device
    from hardware.energy import EnergyReader

FORMAT = 1
BUSY = 0.1  # an A/A spread of more is not the noise of a quiet machine, which is some 2%
# Kinds that are not measured (in that dtype) are priced as another, times the ratio of their usual shares of peak.
LIKE = {
    "convolution": "matmul",
    "reduction": "elementwise",
    "scatter": "elementwise",
    "linalg": "matmul",
    "fft": "elementwise",
}


class CalibrationError(ValueError):
    """A file that is no calibration; the message says what is wrong with it."""


@dataclass(frozen=True)
class HeldOut:
    """A program that took no part in the fit."""

    name: str
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True)
class Calibration:
    """Prices measured on one device.

    `prices`: "kind dtype" (or "bytes") -> ((size in bytes, seconds a FLOP or a byte), …). `peaks`: "kind dtype" (or
    "bytes") -> the best rate seen, per second. `launch_s`: a kernel inside a compiled program; `call_s`: a call of a
    jitted function from Python, which `project` leaves to whoever knows the number of calls. `fit_residual`: median
    relative error on the kernels of the fit. `aa_spread`: by how much one kernel differed, measured as two. `spreads`:
    of each peak, of "launch" and of "call", how far apart the middle 80% of the rounds lay, relative to their median.
    `idle_w`, `loaded_w`, `energy`: None without a meter that counts, for `energy_reason`.
    """

    device: str
    kind: str
    date: str
    versions: dict[str, str]
    seconds: float
    rounds: int
    prices: dict[str, Table]
    peaks: dict[str, float]
    launch_s: float
    call_s: float
    fit_residual: float
    aa_spread: float
    held_out: tuple[HeldOut, ...] = ()
    idle_w: float | None = None
    loaded_w: float | None = None
    energy: EnergyFit | None = None
    energy_reason: str | None = None
    spreads: dict[str, float] = field(default_factory=dict)

    def seconds_per_flop(self, kind: str, dtype: str, size: float | None) -> float | None:
        """At operations on `size` bytes; None where that dtype was not measured. Kinds in `LIKE` are estimates."""
        from hardware.projection.time import SHARES

        like = kind if f"{kind} {dtype}" in self.prices else LIKE.get(kind, kind)
        table = self.prices.get(f"{like} {dtype}")
        return None if table is None else price_at(table, size) * SHARES[like][1] / SHARES[kind][1]

    def seconds_per_byte(self, size: float | None) -> float:
        return price_at(self.prices["bytes"], size)

    @property
    def error_interval(self) -> tuple[float, float]:
        """Factors of the model between which the middle 80% of the programs held out lay; ±30% without any.

        Powers are underpriced, as one price stands for all transcendental functions: of the programs held out, pairwise
        forces, full of x**0.4, take some ten times as long as modelled on a CPU. A program full of powers is likely to
        lie above this interval.
        """
        if not self.held_out:
            return 0.7, 1.3
        low, high = np.quantile([program.measured_s / program.predicted_s for program in self.held_out], (0.1, 0.9))
        return min(1.0, float(low)), max(1.0, float(high))

    @property
    def median_error(self) -> float | None:
        """Of the absolute relative errors on the programs held out."""
        return statistics.median(abs(p.error) for p in self.held_out) if self.held_out else None

    @property
    def median_signed_error(self) -> float | None:
        """Negative where programs take longer than modelled."""
        return statistics.median(p.error for p in self.held_out) if self.held_out else None

    @property
    def worst(self) -> HeldOut | None:
        """The program that was predicted worst, by the ratio."""
        return max(self.held_out, key=lambda p: abs(math.log(p.predicted_s / p.measured_s)), default=None)

    def lines(self) -> list[str]:
        """The calibration for people: what was measured, then model against measurement."""
        text = [f"calibration of {self.device} ({self.date}), {_short(self.seconds)} s, {self.rounds} rounds"]
        if self.spreads:
            text.append("  figures are of the best round; beside them, how far apart the middle 80% of rounds lay")
        for name, rate in self.peaks.items():
            unit = "GB/s" if name.startswith("bytes") else "GFLOP/s"
            label = name.replace("bytes", "bandwidth")
            text.append(f"  {label:<24} {_short(rate / 1e9):>10} {unit:<8}{self._apart(name)}".rstrip())
        for label, name, took in (
            ("launch of a kernel", "launch", self.launch_s),
            ("call from Python", "call", self.call_s),
        ):
            text.append(f"  {label:<24} {_short(took * 1e6):>10} {'µs':<8}{self._apart(name)}".rstrip())
        if self.spreads:
            name = max(self.spreads, key=lambda name: self.spreads[name])
            label = name.replace("bytes", "bandwidth")
            text.append(f"  rounds differ most in {label}: {_percent(self.spreads[name])}")
        for label, power in (("idle power", self.idle_w), ("power under load", self.loaded_w)):
            known = f"{_short(power):>10} W" if power is not None else f"   unknown: {self.energy_reason or 'no meter'}"
            text.append(f"  {label:<24} {known}")
        if self.energy:
            e = self.energy
            text.append(
                f"  energy: {e.energy_j_per_flop * 1e12:.3g} pJ a FLOP, {e.energy_j_per_byte * 1e12:.3g} pJ a byte, "
                f"{e.constant_power_w:.3g} W constant (median error {_percent(e.residual)})"
            )
        text.append(f"  median error of the model on the kernels that it was fitted to: {_percent(self.fit_residual)}")
        text.append(
            f"  A/A test: one kernel, measured as if it were two, differs by {_percent(self.aa_spread)}; less is noise"
        )
        if self.aa_spread > BUSY:
            text.append("  two measurements of one thing differ by that much: the machine was busy, so calibrate again")
        if self.median_error is None or self.median_signed_error is None or self.worst is None:
            return [*text, "  no program was held out of the fit to try the model on: its error is not known"]
        text.append("  programs held out: the model was not fitted to them, so their errors are what to expect of it")
        text.append(f"  {'program':<24} {'modelled':>12} {'measured':>12} {'error':>8}")
        for p in self.held_out:
            modelled, took = (f"{_short(seconds * 1e6):>9} µs" for seconds in (p.predicted_s, p.measured_s))
            text.append(f"  {p.name:<24} {modelled} {took} {_signed(p.error):>8}")
        low, high = self.error_interval
        text.append(
            f"  error of modelled seconds: median {_percent(self.median_error)} in size; with its sign "
            f"{_signed(self.median_signed_error)} (below 0: programs take longer than modelled); "
            f"worst {_signed(self.worst.error)} ({self.worst.name}); "
            f"the middle 80% of programs took {_short(low)} to {_short(high)} times the modelled seconds"
        )
        return text

    def _apart(self, name: str) -> str:
        return f"{_percent(self.spreads[name])} apart" if name in self.spreads else ""

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n")
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote. Raises CalibrationError naming the file and what is wrong; OSError without a file."""
        try:
            return _checked(json.loads(Path(path).read_text("utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise CalibrationError(f"{path} is not a calibration ({reason}): make it anew with calibrate()") from error


def _short(value: float) -> str:
    """Three significant digits at most: no rate here is known better. Never in powers of ten."""
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


def _percent(share: float) -> str:
    return f"{_short(100 * share)}%"


def _signed(share: float) -> str:
    percent = round(100 * share)
    return f"{'-' if percent < 0 else '+'}{_short(abs(percent))}%"


def _checked(content: Any) -> Calibration:
    """A calibration from its JSON; ValueError, TypeError or KeyError where it is not one."""
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ValueError(f"it must be an object of format {FORMAT}")
    strange = set(content) - {f.name for f in fields(Calibration)}
    if strange:
        raise ValueError(f"unknown field {sorted(strange)[0]}")
    energy = content.get("energy")
    made = Calibration(
        **content
        | {
            "prices": {str(key): _table(key, rows) for key, rows in content["prices"].items()},
            "peaks": {str(key): _number(key, rate) for key, rate in content["peaks"].items()},
            "spreads": {str(key): _number(key, spread) for key, spread in content.get("spreads", {}).items()},
            "versions": {str(key): str(value) for key, value in content["versions"].items()},
            "held_out": tuple(HeldOut(**program) for program in content["held_out"]),
            "energy": None if energy is None else EnergyFit(**energy),
        }
    )
    if "bytes" not in made.prices:
        raise KeyError("the price of bytes")
    for name in ("device", "kind", "date"):
        if not isinstance(getattr(made, name), str):
            raise TypeError(f"{name} must be text")
    for name in ("seconds", "rounds", "launch_s", "call_s", "fit_residual", "aa_spread"):
        _number(name, getattr(made, name))
    for name in ("idle_w", "loaded_w"):
        if getattr(made, name) is not None:
            _number(name, getattr(made, name))
    for program in made.held_out:
        for value in (program.predicted_s, program.measured_s):
            if _number(program.name, value) == 0:
                raise ValueError(f"{program.name} took no time")
    for name, value in asdict(made.energy).items() if made.energy else ():
        _number(name, value)
    return made


def _number(name: Any, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a number that is not negative; it is {value!r}")
    return float(value)


def _table(name: Any, rows: Any) -> Table:
    table = tuple((_number(name, size), _number(name, price)) for size, price in rows)
    if not table or any(a[0] >= b[0] for a, b in itertools.pairwise(table)) or table[0][0] <= 0:
        raise ValueError(f"{name} must list at least one size, each larger than the one before")
    return table


def calibrate(
    seconds: float = 10.0, *, device: Device | None = None, reader: EnergyReader | None = None, hold_out: bool = True
) -> Calibration:
    """Measure a device with JAX (by default its own best one), in about `seconds`, compilation included.

    Every kernel has at least eight turns whatever `seconds` is, which takes some 6 s on a small CPU. The least time of
    a kernel's turns counts: what else the machine does only ever adds. `reader` counts the joules; by default the best
    for the device, and only one that measures is used. Raises DeviceError where the device is absent.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise CalibrationError(f"seconds={seconds}: it must be a positive number")
    from hardware import energy
    from hardware.calibrate.measure_jax import measured
    from hardware.devices import resolve

    device = device or resolve("auto", "jax")
    return measured(seconds, device, reader or energy.best(device), hold_out)
