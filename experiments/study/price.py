"""What a study would take, before it starts: FLOP, hours, joules, money and CO2, here or on another device."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from experiments.config import settings
from experiments.errors import UserError
from experiments.progress import Reporter
from experiments.record import FINAL, REFERENCE, TRIAL
from experiments.store import Store
from experiments.study.rates import Rate, Rates
from experiments.study.unit import START_S, Plan, Unit
from hardware import catalogue
from hardware.devices import Device
from hardware.projection import Interval, of_time
from reports.text import duration, si, wrapped

WORLD = "world"  # the grid where none is named


@dataclass(frozen=True)
class Part:
    """The share of one model in one role. `flop` None: its fit has an end of its own, and its FLOP are not known."""

    model: str
    role: str
    runs: int
    units: int
    flop: float | None
    seconds: Interval
    source: str


@dataclass(frozen=True)
class StudyPrice:
    """What is left of a study. `done`: runs that the store has already, which are not in the rest.

    `flop`: of training, which budgets in FLOP give exactly, trials included. `seconds`: of one device, one unit after
    another. None is unknown.
    """

    study: str
    hash: str
    device: str
    runs: int
    units: int
    trials: int
    done: int
    flop: float | None
    trial_flop: float | None
    seconds: Interval
    energy_j: Interval | None
    money_usd: Interval | None
    co2_g: Interval | None
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self, width: int = 110) -> list[str]:
        """The price for people."""
        trials = f", {self.trials:,} of them trials of tuning" if self.trials else ""
        done = f"; {self.done:,} runs more are done" if self.done else ""
        lines = [
            f"study {self.study} ({self.hash}): {self.runs:,} runs{trials}, in {self.units:,} units on {self.device}"
            f"{done}"
        ]
        flop = "not known before it runs: the budget is not in FLOP" if self.flop is None else si(self.flop, "FLOP")
        if self.flop is not None and self.trial_flop:
            flop += f", {si(self.trial_flop, 'FLOP')} of them for tuning"
        lines.append(f"training  {flop}")
        lines.append(f"time      {_span(self.seconds, duration)}, one unit after another")
        lines.append(f"energy    {_span(self.energy_j, lambda value: si(value, 'J'))}")
        lines.append(f"money     {_span(self.money_usd, lambda value: f'US$ {value:.3g}')}")
        lines.append(f"CO2       {_span(self.co2_g, lambda value: si(value, 'g'))}")
        for part in self.parts:
            what = part.model if part.role != TRIAL else f"{part.model} (trials)"
            training = "" if part.flop is None else f", {si(part.flop, 'FLOP')}"
            lines.append(
                f"  {what}: {part.runs:,} runs in {part.units:,} units{training}, {_span(part.seconds, duration)} "
                f"[{part.source}]"
            )
        return wrapped([*lines, *(f"note: {note}" for note in self.notes)], width)


def price(
    plan: Plan, store: Store, device: Device, report: Reporter, *, quick: bool = False, on: str | None = None,
    grid: str | None = None, pue: float = 1.0,
) -> StudyPrice:  # fmt: skip
    """What is left of the plan would take on `device`, which is here, or with `on` on a device of the catalogue.

    Rates come from the records of the store that ran on this device, else from 100 steps of a unit of each model
    (`quick`: none are taken), else they are guessed; each part says which. Raises UserError, CatalogueError.
    """
    notes: list[str] = []
    units, done = _left(plan, store)
    if on is None:
        name, entry = device.name, catalogue.match(device.name) or catalogue.load("generic_server_cpu")
        parts, seconds, energy_j = _here(units, Rates(store, device, report, quick), notes)
    else:
        name, entry, parts = f"{on} (modelled)", catalogue.load(on), []
        seconds, energy_j = _elsewhere(units, entry, report, notes)
    charged = of_time(seconds, energy_j, entry, "modelled", grid=grid or WORLD, pue=pue)
    trained = [unit for unit in units if unit.learning == "gradient"]
    trials = [unit for unit in units if unit.role == TRIAL]
    flop = _total_flop(trained)
    return StudyPrice(
        plan.study.name, plan.study.hash, name, _runs(units), len(units), _runs(trials), done, flop,
        None if flop is None else _total_flop([unit for unit in trained if unit.role == TRIAL]), seconds, energy_j,
        charged.money_usd, charged.co2_g, tuple(parts), tuple(dict.fromkeys([*plan.notes, *notes, *charged.notes])),
    )  # fmt: skip


def _left(plan: Plan, store: Store) -> tuple[list[Unit], int]:
    """Units with the lanes that have no result yet, and how many runs have one."""
    found = store.present(name for unit in plan.units for name in unit.identities)
    done = {name for name, status in found.items() if status in FINAL}
    left = []
    for unit in plan.units:
        if not unit.identities:
            left.append(unit)
            continue
        open_ = [i for i, name in enumerate(unit.identities) if name not in done]
        if open_:
            lanes, names = (tuple(values[i] for i in open_) for values in (unit.lanes, unit.identities))
            left.append(replace(unit, lanes=lanes, identities=names))
    return left, len(done)


def _runs(units: Sequence[Unit]) -> int:
    return sum(len(unit.lanes) for unit in units)


def _total_flop(units: Sequence[Unit]) -> float | None:
    """Training FLOP of all these units; None where one of them is not known."""
    flops = [_flop(unit) for unit in units]
    return None if None in flops else math.fsum(flop for flop in flops if flop is not None)


def _flop(unit: Unit) -> float | None:
    """Training FLOP of all lanes; None where the budget does not say."""
    if unit.learning == "none":
        return 0.0
    if unit.learning != "gradient":
        return None
    flop = unit.tree["budget"]["flop"]
    return None if flop is None else flop * len(unit.lanes)


# -- Here ----------------------------------------------------------------------------------------------------------


def _here(units: Sequence[Unit], rates: Rates, notes: list[str]) -> tuple[list[Part], Interval, Interval | None]:
    """The parts by model and role, references last, and the seconds and joules of all."""
    priced = [(unit, _seconds(unit, rate), rate) for unit, rate in zip(units, rates.of(units), strict=True)]
    notes += rates.notes
    groups: dict[tuple[str, str], list[tuple[Unit, Interval, Rate]]] = defaultdict(list)
    for unit, seconds, rate in priced:
        groups[unit.model, unit.role].append((unit, seconds, rate))
    parts = []
    for (model, role), members in sorted(groups.items(), key=lambda item: (item[0][1] == REFERENCE, item[0])):
        of = [unit for unit, _, _ in members]
        first, *others = sorted({rate.source for _, _, rate in members})
        source = f"{first}, and {len(others)} more" if others else first
        together = _sum(*(seconds for _, seconds, _ in members))
        parts.append(Part(model, role, _runs(of), len(of), _total_flop(of), together, source))
    joules = [seconds * rate.power_w for _, seconds, rate in priced if rate.power_w is not None]
    if not units or len(joules) < len(priced):
        notes.append("joules are not known: nothing was measured (leave --quick out), or the device tells none")
    energy_j = _sum(*joules) if units and len(joules) == len(priced) else None
    return parts, _sum(*(seconds for _, seconds, _ in priced)), energy_j


def _seconds(unit: Unit, rate: Rate) -> Interval:
    """All that the unit's worker takes."""
    train = Interval(0.0, 0.0, 0.0)
    budget = unit.tree["budget"]
    if unit.learning == "gradient":
        lanes = len(unit.lanes)
        if budget["second"] is not None:
            train = Interval(*3 * [budget["second"] * lanes])
        elif budget["flop"] is not None:
            flop, speed = budget["flop"] * lanes, rate.flop_per_s
            train = Interval(flop / speed.high, flop / speed.value, flop / speed.low)
        elif budget["joule"] is not None and rate.power_w:
            train = Interval(*3 * [budget["joule"] * lanes / rate.power_w])
        else:  # samples: of a network whose step takes what such steps take here
            steps = (budget["sample"] or 0) / unit.tree["training"]["batch"]
            train = Interval(2e-5 * steps, 2e-4 * steps, 5e-3 * steps)
    return _sum(train, rate.rest_s, Interval(*START_S))


# -- Elsewhere -----------------------------------------------------------------------------------------------------


def _elsewhere(
    units: Sequence[Unit], entry: catalogue.Entry, report: Reporter, notes: list[str]
) -> tuple[Interval, Interval | None]:
    """Seconds and joules of the units' training on a device of the catalogue, by one unit of each model."""
    from experiments.pricing import price as price_of_one

    on, seconds, joules, known = entry.name, Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0), True
    by_model: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        if unit.learning == "gradient":
            by_model[unit.model].append(unit)
    for model, members in sorted(by_model.items()):
        unit = members[len(members) // 2]
        if any(_flop(each) is None for each in members):
            raise UserError(f"on {on} only budgets in FLOP can be priced: {model} has another")
        one = price_of_one(settings({**unit.tree, "seed": [0]}), entry, None, 1.0, None, report)
        times = sum(_flop(each) or 0.0 for each in members) / one.step.flop
        if one.one.seconds is None:
            raise UserError(f"on {on} no time can be modelled: {'; '.join(one.one.notes)}")
        seconds = _sum(seconds, one.one.seconds * times)
        if one.one.energy_j is None:
            known = False
        else:
            joules = _sum(joules, one.one.energy_j * times)
        notes += one.one.notes
    notes.append(f"{on}: training only, by one size of each model; its steps were counted here and modelled there")
    return seconds, joules if known else None


def _sum(*parts: Interval) -> Interval:
    return Interval(*(math.fsum(getattr(part, bound) for part in parts) for bound in ("low", "value", "high")))


def _span(interval: Interval | None, words: Any) -> str:
    if interval is None:
        return "unknown"
    low, value, high = map(words, (interval.low, interval.value, interval.high))
    return value if low == high else f"{value} ({low} to {high})"
