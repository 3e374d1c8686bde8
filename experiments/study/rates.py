"""How fast units train on a device that is here: from records, from a short measurement, or guessed."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments.config import settings
from experiments.errors import UserError
from experiments.job import Job
from experiments.main_job import load_task
from experiments.progress import Reporter
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.unit import Unit
from hardware import energy
from hardware.devices import Device
from hardware.meter import Meter
from hardware.projection import Interval
from learners.discovery import models
from learners.learner import Budget, BudgetError

STEPS = 100  # of training, to measure a model by
MEASURE_S = 20.0  # for all models together, about
REST_S = Interval(4.0, 9.0, 25.0)  # compiling and evaluating a unit: what models of this size took on two cores
GUESS_FLOP_PER_S = Interval(3e8, 3e9, 3e10)  # of a unit: small networks on processors, where nothing was measured
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
            if unit.model not in known and unit.learning == "gradient":
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
        if unit.learning != "gradient":
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
    rows = store.query(f"""
        SELECT task, model, (config->'$.model')::VARCHAR AS options, count(*),
          quantile_cont(train_flop / nullif(seconds['train'], 0), [0.25, 0.5, 0.75]),
          quantile_cont(shared_by * (coalesce(seconds['compile'], 0) + coalesce(seconds['evaluate'], 0)
            + coalesce(seconds['infer'], 0)), [0.25, 0.5, 0.75]),
          median(energy_j['train'] / nullif(seconds['train'], 0))
        FROM records WHERE status = 'finished' AND facts->>'$.device_name' = {sql_text(device.name)}
        GROUP BY ALL""").fetchall()
    found = {}
    for task, model, options, count, speed, rest, power in rows:
        kept = json.dumps(json.loads(options), sort_keys=True)
        interval = GUESS_FLOP_PER_S if not speed or None in speed or not speed[0] else Interval(*speed)
        found[task, model, kept] = Rate(interval, Interval(*rest), power, f"from {count} records")
    return found


def _measured(unit: Unit, device: Device) -> Rate | None:
    """The rate of some steps, taken now. None where the model cannot be run on the task."""
    checked = settings({**unit.tree, "seed": [unit.lanes[0].seed]})
    task = load_task(checked, Reporter(quiet=True))
    job = Job(task, checked.model, unit.tree["model"], checked.budget, checked.recipe, device, unit.tree)
    if job.model.skip(job.info, unit.tree["backend"]):
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
