"""What a study would take, before it starts: FLOP, hours, joules, money and CO2, here or on another device."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from experiments.config import settings
from experiments.errors import UserError
from experiments.job import Job
from experiments.main_job import load_task
from experiments.progress import Reporter
from experiments.record import FINAL, REFERENCE, TRIAL
from experiments.store import Store
from experiments.study.plan import Plan, Unit
from experiments.study.status import duration
from hardware import catalogue, energy
from hardware.devices import Device
from hardware.meter import Meter
from hardware.projection import Interval, of_time
from learners.discovery import models
from learners.learner import Budget, BudgetError
from reports.text import si, wrapped

STEPS = 100  # of training, to measure a model by
MEASURE_S = 20.0  # for all models together, about
START_S = Interval(2.5, 4.0, 8.0)  # a worker's process: its start and its imports
REST_S = Interval(4.0, 9.0, 25.0)  # compiling and evaluating a unit: what models of this size took on two cores
GUESS_FLOP_PER_S = Interval(3e8, 3e9, 3e10)  # of a unit: small networks on processors, where nothing was measured
WORLD = "world"  # the grid where none is named
# How far off a rate may be, as a factor, by what it was measured on.
THIS, SIZE, TASK, MODEL = 1.3, 3.0, 4.0, 10.0


@dataclass(frozen=True)
class Rate:
    """How fast a unit of some model trains. `flop_per_s`: of all its lanes. `rest_s`: compiling and evaluating it.

    `source`: where that is known from, in words; `guessed`: whether from nothing that ran here.
    """

    flop_per_s: Interval
    rest_s: Interval
    power_w: float | None
    source: str
    guessed: bool = False


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
    rates = Rates(store, device, report, quick)
    groups: dict[tuple[str, str], list[tuple[Unit, Rate]]] = defaultdict(list)
    for unit, rate in zip(units, rates.of(units), strict=True):
        groups[unit.model, unit.role].append((unit, rate))
    parts, total, joules, known_j = [], Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0), True
    for (model, role), members in sorted(groups.items(), key=lambda item: (item[0][1] == REFERENCE, item[0])):
        seconds = Interval(0.0, 0.0, 0.0)
        for unit, rate in members:
            took = _seconds(unit, rate)
            seconds = _sum(seconds, took)
            if rate.power_w is None:
                known_j = False
            else:
                joules = _sum(joules, took * rate.power_w)
        sources = sorted({rate.source for _, rate in members})
        flops = [_flop(unit) for unit, _ in members]
        flop = None if None in flops else math.fsum(value for value in flops if value is not None)
        source = sources[0] if len(sources) == 1 else f"{sources[0]}, and {len(sources) - 1} more"
        runs = sum(len(unit.lanes) for unit, _ in members)
        parts.append(Part(model, role, runs, len(members), flop, seconds, source))
        total = _sum(total, seconds)
    notes += rates.notes
    entry, name, energy_j = _entry(device), device.name, joules if known_j and units else None
    if on is not None:
        total, energy_j, entry = _elsewhere(units, on, report, notes)
        name = f"{on} (modelled)"
        parts = []
    if energy_j is None:
        notes.append("joules are not known: nothing was measured (leave --quick out), or the device tells none")
    charged = of_time(total, energy_j, entry, "modelled", grid=grid or WORLD, pue=pue)
    notes += charged.notes
    flops = [_flop(unit) for unit in units if models.load(unit.model).learning == "gradient"]
    trials = [unit for unit in units if unit.role == TRIAL]
    known = None not in flops
    return StudyPrice(
        plan.study.name, plan.study.hash, name, sum(len(unit.lanes) for unit in units), len(units),
        sum(len(unit.lanes) for unit in trials), done, math.fsum(f or 0.0 for f in flops) if known else None,
        math.fsum(_flop(unit) or 0.0 for unit in trials) if known else None, total, energy_j, charged.money_usd,
        charged.co2_g, tuple(parts), tuple(dict.fromkeys([*plan.notes, *notes])),
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


def _flop(unit: Unit) -> float | None:
    """Training FLOP of all lanes; None where the budget does not say."""
    if models.load(unit.model).learning == "none":
        return 0.0
    if models.load(unit.model).learning != "gradient":
        return None
    flop = unit.tree["budget"]["flop"]
    return None if flop is None else flop * len(unit.lanes)


def _seconds(unit: Unit, rate: Rate) -> Interval:
    """All that the unit's worker takes."""
    train = Interval(0.0, 0.0, 0.0)
    budget = unit.tree["budget"]
    if models.load(unit.model).learning == "gradient":
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
    return _sum(train, rate.rest_s, START_S)


# -- How fast ------------------------------------------------------------------------------------------------------


class Rates:
    """How fast units train on a device that is here."""

    def __init__(self, store: Store, device: Device, report: Reporter, quick: bool) -> None:
        self.device, self.report, self.quick = device, report, quick
        self.known: dict[tuple[str, str, str], Rate] = _from_records(store, device)
        self.notes: list[str] = []

    def of(self, units: Sequence[Unit]) -> list[Rate]:
        if not self.quick:
            self._measure(units)
        found = [self._like(unit) for unit in units]
        guessed = sorted({unit.model for unit, rate in zip(units, found, strict=True) if rate.guessed})
        if guessed:
            self.notes.append(
                f"guessed, with nothing that ran here to go by: how fast {', '.join(guessed)} train"
                + (" (without --quick some steps are measured)" if self.quick else "")
            )
        return found

    def _measure(self, units: Sequence[Unit]) -> None:
        """A unit of every model of which no record tells, those of middle size first, until the time is up."""
        begun, known = time.monotonic(), {model for _, model, _ in self.known}
        missing: dict[str, list[Unit]] = defaultdict(list)
        for unit in units:
            if unit.model not in known and models.load(unit.model).learning == "gradient":
                missing[unit.model].append(unit)
        for model in sorted(missing):
            if time.monotonic() - begun > MEASURE_S:
                self.notes.append(f"measuring was stopped after {MEASURE_S:g} s, before {model}")
                return
            unit = missing[model][len(missing[model]) // 2]
            self.report.say(f"measuring {STEPS} steps of {model} on {unit.task} {unit.configuration}".rstrip())
            try:
                rate = _measured(unit, self.device)
            except (UserError, BudgetError) as error:
                self.notes.append(f"{model} could not be measured: {error}")
                continue
            if rate is not None:
                self.known[unit.task, model, _options(unit)] = rate

    def _like(self, unit: Unit) -> Rate:
        """The rate of what is most like the unit."""
        task, model, options = unit.task, unit.model, _options(unit)
        if models.load(model).learning != "gradient":
            exact = self.known.get((task, model, options))
            return exact or Rate(GUESS_FLOP_PER_S, REST_S, self._power(), "compiling and evaluating, by default")
        if exact := self.known.get((task, model, options)):
            return _wider(exact, THIS, exact.source)
        sizes = [(rate, SIZE, "another size") for (t, m, _), rate in self.known.items() if (t, m) == (task, model)]
        tasks = [(rate, TASK, "another task") for (_, m, _), rate in self.known.items() if m == model]
        others = [(rate, MODEL, "another model") for (_, m, _), rate in self.known.items() if _by_gradient(m)]
        for alike in (sizes, tasks, others):
            if alike:
                middle = sorted(alike, key=lambda item: item[0].flop_per_s.value)[len(alike) // 2]
                return _wider(middle[0], middle[1], f"{middle[0].source}, of {middle[2]}")
        return Rate(GUESS_FLOP_PER_S, REST_S, self._power(), "guessed", guessed=True)

    def _power(self) -> float | None:
        found = [rate.power_w for rate in self.known.values() if rate.power_w is not None]
        return statistics.median(found) if found else None


def _by_gradient(model: str) -> bool:
    return model in models.names() and models.load(model).learning == "gradient"


def _wider(rate: Rate, factor: float, source: str) -> Rate:
    speed = rate.flop_per_s
    return replace(rate, flop_per_s=Interval(speed.low / factor, speed.value, speed.high * factor), source=source)


def _options(unit: Unit) -> str:
    return json.dumps(unit.tree["model"], sort_keys=True)


def _from_records(store: Store, device: Device) -> dict[tuple[str, str, str], Rate]:
    """By task, model and the model's options: what finished runs took on this device."""
    name = device.name.replace("'", "''")
    rows = store.query(f"""
        SELECT task, model, (config->'$.model')::VARCHAR AS options, count(*),
          quantile_cont(train_flop / nullif(seconds['train'], 0), [0.25, 0.5, 0.75]),
          quantile_cont(shared_by * (coalesce(seconds['compile'], 0) + coalesce(seconds['evaluate'], 0)
            + coalesce(seconds['infer'], 0)), [0.25, 0.5, 0.75]),
          median(energy_j['train'] / nullif(seconds['train'], 0))
        FROM records WHERE status = 'finished' AND facts->>'$.device_name' = '{name}' GROUP BY ALL""").fetchall()
    found = {}
    for task, model, options, count, speed, rest, power in rows:
        kept = json.dumps(json.loads(options), sort_keys=True)
        interval = GUESS_FLOP_PER_S if not speed or None in speed or not speed[0] else Interval(*speed)
        found[task, model, kept] = Rate(interval, Interval(*rest), power, f"from {count} records")
    return found


def _measured(unit: Unit, device: Device) -> Rate | None:
    """The rate of some steps, taken now. None where the model cannot be run on the task."""
    checked = settings({**unit.tree, "seed": [lane.seed for lane in unit.lanes]})
    task = load_task(checked, Reporter(quiet=True))
    job = Job(task, checked.model, unit.tree["model"], checked.budget, checked.recipe, device, unit.tree)
    if job.model.skip(task.info, unit.tree["backend"]):
        return None
    before = time.perf_counter()
    learner = job.learner(list(unit.lanes))
    learner.compile()
    compiled = time.perf_counter() - before
    last = first = None
    for last in learner.fit(Budget(sample=STEPS * job.recipe.batch), Meter(energy.best(device))):
        if first is None and last.step:
            first = last  # it met everything for the first time
    assert first is not None and last is not None
    seconds = (last.seconds - first.seconds) * len(unit.lanes)
    if last.step <= first.step or seconds <= 0:
        first, seconds = replace(first, costs=[], step=0), last.seconds * len(unit.lanes)
    flop = sum(last.flop) - sum(first.flop)
    power = None if last.energy_j is None or not last.seconds else last.energy_j / last.seconds
    speed = flop / seconds
    rest = Interval(compiled, 1.5 * compiled, 3 * compiled)  # evaluation compiles and runs programs of its own
    return Rate(Interval(speed, speed, speed), rest, power, f"{STEPS} steps measured now")


# -- Elsewhere -----------------------------------------------------------------------------------------------------


def _entry(device: Device) -> Any:
    return catalogue.match(device.name) or catalogue.load("generic_server_cpu")


def _elsewhere(
    units: Sequence[Unit], on: str, report: Reporter, notes: list[str]
) -> tuple[Interval, Interval | None, Any]:
    """Seconds and joules of the units' training on a device of the catalogue, by one unit of each model."""
    from experiments.pricing import price as price_of_one

    entry = catalogue.load(on)
    seconds, joules, known = Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0), True
    by_model: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        if models.load(unit.model).learning == "gradient":
            by_model[unit.model].append(unit)
    for model, members in sorted(by_model.items()):
        unit = members[len(members) // 2]
        if any(_flop(each) is None for each in members):
            raise UserError(f"on {on} only budgets in FLOP can be priced: {model} has another")
        one = price_of_one(settings({**unit.tree, "seed": [0]}), entry, None, 1.0, None, report)
        per_flop = 1 / one.step.flop
        times = sum(_flop(each) or 0.0 for each in members) * per_flop
        if one.one.seconds is None:
            raise UserError(f"on {on} no time can be modelled: {'; '.join(one.one.notes)}")
        seconds = _sum(seconds, one.one.seconds * times)
        if one.one.energy_j is None:
            known = False
        else:
            joules = _sum(joules, one.one.energy_j * times)
        notes += one.one.notes
    notes.append(f"{on}: training only, by one size of each model; its steps were counted here and modelled there")
    return seconds, joules if known else None, entry


def _sum(*parts: Interval) -> Interval:
    return Interval(*(math.fsum(getattr(part, bound) for part in parts) for bound in ("low", "value", "high")))


def _span(interval: Interval | None, words: Any) -> str:
    if interval is None:
        return "unknown"
    low, value, high = map(words, (interval.low, interval.value, interval.high))
    return value if low == high else f"{value} ({low} to {high})"
