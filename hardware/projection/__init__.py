"""From operations, bytes and launches to seconds, joules, money and CO2 on any device of the catalogue: modelled.

    project(cost, "h100", fused_bytes=2.1e9, launches=900, grid="FR").seconds      # Interval(low, value, high)

Time is a roofline (Williams et al. 2009): T = max(Σ flop/rate, bytes/bandwidth) + launches·launch_s. Energy is that of
Choi et al. (2013): E = Σ flop·ε_flop + bytes·ε_mem + π0·T where the catalogue has the ε, else power times time between
idle power and TDP. Money is price times time. CO2 = E·PUE·intensity, where a grid is named. Each result is an interval:

- low: perfect overlap, every peak reached, the fewest bytes;
- high: nothing overlaps, nothing is fused, the poor efficiencies that whole programs are known to have;
- value: perfect overlap, the bytes after fusion, the efficiency of good library code (`SHARES`).

A model that was never measured on the device is ±30% at best, so an interval is never narrower. With a `Calibration`
the prices are those measured on this machine, which add up, and the interval is where 80% of programs fell that it had
not seen.
What cannot be known is None, and `notes` names the number that is missing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

from hardware import catalogue
from hardware.projection.rates import PRECISIONS, figure, one_device
from hardware.projection.time import UNCALIBRATED, Interval, Work, calibrated, roofline, widened, work_of

if TYPE_CHECKING:
    from hardware.calibrate import Calibration
    from hardware.catalogue import Entry, Number
    from hardware.cost import Cost

TRANSCENDENTAL_ENERGY = 8  # energy of a transcendental function in that of ordinary operations
LEAST_SHARE = 0.1  # of the most power, where no idle power is published: those that are lie between 0.17 and 0.47


class ProjectionError(ValueError):
    """What was asked makes no sense; the message says what must hold."""


@dataclass(frozen=True)
class Projection:
    """Modelled, never measured. None where a number is missing, which `notes` then names.

    `bound_by`: the largest term of the time: compute, memory or launches.
    `method`: "modelled:roofline" or "modelled:roofline_calibrated".
    """

    seconds: Interval | None
    energy_j: Interval | None
    money_usd: Interval | None
    co2_g: Interval | None
    bound_by: str | None
    method: str
    notes: tuple[str, ...]


def project(
    cost: Cost,
    device: str | Entry,
    *,
    fused_bytes: float | None = None,
    launches: float | None = None,
    precision: str | None = None,
    grid: str | None = None,
    pue: float = 1.0,
    calibration: Calibration | None = None,
) -> Projection:
    """Seconds, joules, US dollars and grams of CO2 of `cost` on `device` (its catalogue name, or an entry).

    `fused_bytes`, `launches`: bytes moved and kernels started after fusion, from the compiled program; without them the
    central estimate is the geometric mean of least and unfused bytes, and half the operations.
    `precision`: in what float32 matrix products and convolutions run (float32, tf32, bfloat16, float16); None: as JAX
    would by default on that device. `pue`: power usage effectiveness of the building, 1 unless said otherwise.
    Of a chip that JAX shows as several devices, the program runs on one; joules and money are of the whole chip.
    Raises CatalogueError for an unknown device, LookupError for an unknown grid, TypeError for arguments of another
    type, ProjectionError for other input.
    """
    _check_types(cost, device, calibration)
    _check(fused_bytes, launches, precision, pue)
    entry = catalogue.load(device) if isinstance(device, str) else device
    if calibration and calibration.kind != entry.kind:
        raise ProjectionError(
            f"calibration: it was measured on a {calibration.kind} ({calibration.device}), and {entry.name} is a "
            f"{entry.kind}; a machine's rates do not carry over, so calibrate there or project without"
        )
    notes: list[str] = []
    alone = one_device(entry, notes)
    work = work_of(cost.resolve(), alone, fused_bytes, launches, precision, notes)
    method = "modelled:roofline_calibrated" if calibration else "modelled:roofline"
    timed = calibrated(work, calibration, notes) if calibration else roofline(work, alone, notes)
    seconds, bound_by = timed or (None, None)
    if entry.kind in ("neuromorphic", "fpga") and seconds is None:
        notes = [f"{entry.name}: no FLOP rate holds for it; what it does in a second depends on its design or spikes"]
    energy = None if seconds is None else _energy(work, seconds, entry, calibration, notes)
    return of_time(seconds, energy, entry, method, grid=grid, pue=pue, bound_by=bound_by, notes=notes)


def of_time(
    seconds: Interval | None,
    energy_j: Interval | None,
    entry: Entry,
    method: str,
    *,
    grid: str | None = None,
    pue: float = 1.0,
    bound_by: str | None = None,
    notes: Sequence[str] = (),
) -> Projection:
    """The money and CO2 of seconds and joules that are known already, such as a compiler's estimate."""
    said = list(notes)
    money = _money(seconds, entry, said)
    grams = None if grid is None else _co2(energy_j, grid, pue, said)
    return Projection(seconds, energy_j, money, grams, bound_by, method, tuple(dict.fromkeys(said)))


def _check_types(cost: Any, device: Any, calibration: Any) -> None:
    if not (hasattr(cost, "resolve") and hasattr(cost, "lanes")):  # a Tally of JAX too, without an import of JAX
        raise TypeError(
            f"project(cost, device): cost must be a Cost; it is {_shown(cost)}: take the second result of count(f)(x), "
            "or the .cost of a FlopCounter"
        )
    if not isinstance(device, str | catalogue.Entry):
        raise TypeError(
            f"project(cost, device): device must be a name of the catalogue or one of its entries; it is "
            f"{_shown(device)}: hardware.catalogue.names() lists the names"
        )
    if calibration is not None and not hasattr(calibration, "seconds_per_flop"):
        raise TypeError(
            f"calibration must be a Calibration; it is {_shown(calibration)}: make one with calibrate() or "
            "Calibration.load(path)"
        )


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"


def _check(fused_bytes: float | None, launches: float | None, precision: str | None, pue: float) -> None:
    for name, value, least in (("fused_bytes", fused_bytes, 0), ("launches", launches, 0), ("pue", pue, 1)):
        if value is None and name != "pue":
            continue
        if isinstance(value, bool) or not isinstance(value, SupportsFloat):
            raise TypeError(f"{name} must be a number; it is {_shown(value)}: pass one, or leave it out")
        if not (math.isfinite(value) and value >= least):
            raise ProjectionError(f"{name}={value}: it must be a finite number and at least {least}")
    if precision is not None and precision not in PRECISIONS:
        near = difflib.get_close_matches(str(precision), PRECISIONS, 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ProjectionError(f"precision={precision}: it must be one of {', '.join(PRECISIONS)}{hint}")


def _energy(
    work: Work, seconds: Interval, entry: Entry, calibration: Calibration | None, notes: list[str]
) -> Interval | None:
    if calibration and calibration.energy:
        fit = calibration.energy
        one = Interval(fit.energy_j_per_flop, fit.energy_j_per_flop, fit.energy_j_per_flop)
        found = _choi(
            work, seconds, {dtype: one for _, dtype in work.parts}, fit.energy_j_per_byte, fit.constant_power_w
        )
        return found if calibration.loaded_w is None else found.at_most(seconds * calibration.loaded_w)
    if calibration and calibration.idle_w is not None and calibration.loaded_w is not None:
        idle_w, loaded_w = calibration.idle_w, calibration.loaded_w
        return widened(seconds.low * idle_w, seconds.value * loaded_w, seconds.high * loaded_w)
    idle, tdp, busy = (figure(entry, name) for name in ("idle_w", "tdp_w", "busy_w"))
    published = {dtype: figure(entry, f"energy_j_per_flop_{dtype}") for _, dtype in work.parts}
    per_byte = figure(entry, "energy_j_per_byte")
    known = {dtype: Interval(e, e, e) for dtype, e in published.items() if e is not None}
    if idle is not None and per_byte is not None and known:
        near = max(known.values(), key=lambda e: e.value)
        for dtype in sorted(published.keys() - known.keys()):
            known[dtype] = Interval(near.low, 2 * near.value, 4 * near.high)
            notes.append(f"{entry.name} has no energy_j_per_flop_{dtype}: taken as 2 (1 to 4) times the largest it has")
        return _choi(work, seconds, known, per_byte, idle)
    seen = entry.get("busy_w")
    most = tdp if tdp is not None else seen.high if seen is not None else None
    if most is None:
        notes.append(f"{entry.name} has neither tdp_w nor busy_w with its high: no joules")
        return None
    floor = idle if idle is not None else seen.low if seen is not None else None
    if floor is None:
        floor = LEAST_SHARE * most
        notes.append(f"{entry.name} has no idle_w: the low joules are at {LEAST_SHARE:g} of the most power")
    power = busy if busy is not None else (floor + most) / 2
    notes.append(
        f"joules are seconds times power between {floor:g} and {most:g} W for all of the device; the value is "
        + (_power_said(seen) if busy is not None else "midway, for want of a measured load")
    )
    margin = min(1.0, max(UNCALIBRATED, figure(entry, "uncertainty") or 0.0))
    found = widened(seconds.low * floor, seconds.value * power, seconds.high * most, margin)
    return found.at_least(seconds.low * floor)


def _power_said(busy: Number | None) -> str:
    estimated = busy is not None and busy.basis == "estimate"
    return "at an estimate of the power under load" if estimated else "at the mean power measured under load"


def _choi(work: Work, seconds: Interval, epsilons: dict[str, Interval], per_byte: float, constant_w: float) -> Interval:
    assert work.moved is not None
    weights = {kind: TRANSCENDENTAL_ENERGY if kind == "transcendental" else 1 for kind, _ in work.parts}
    low, value, high = (
        sum(flop * weights[kind] * getattr(epsilons[dtype], bound) for (kind, dtype), flop in work.parts.items())
        + getattr(work.moved, bound) * per_byte
        + constant_w * getattr(seconds, bound)
        for bound in ("low", "value", "high")
    )
    return widened(low, value, high).at_least(constant_w * seconds.low)


def _money(seconds: Interval | None, entry: Entry, notes: list[str]) -> Interval | None:
    price = entry.get("price_usd_per_hour")
    if price is None:
        notes.append(f"{entry.name} has no price_usd_per_hour: no money")
        return None
    if seconds is None:
        return None
    low, high = (price.value if bound is None else bound for bound in (price.low, price.high))
    span = f"from {low:g} to {high:g}" if low < high else "no range is known"
    notes.append(f"money at {price.value:g} USD/h ({span}), {price.year}: {price.source}")
    return Interval(seconds.low * low / 3600, seconds.value * price.value / 3600, seconds.high * high / 3600)


def _co2(energy: Interval | None, grid: str, pue: float, notes: list[str]) -> Interval | None:
    from hardware.grid import carbon_intensity

    found = carbon_intensity(grid)  # an unknown grid is an error whether joules are known or not
    if energy is None:
        return None
    notes.append(f"CO2 with {found.g_per_kwh:g} g/kWh ({grid}, {found.year}) and PUE {pue:g}")
    return energy * (pue * found.g_per_kwh / 3.6e6)
