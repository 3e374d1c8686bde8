"""From a study to its plan: every run once, in units, each run named before anything is simulated."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from experiments.config import Settings, settings
from experiments.config_tree import changed
from experiments.errors import UserError
from experiments.identity import planned_identity, run_config
from experiments.job import Lane
from experiments.record import REFERENCE, RUN, TRIAL
from experiments.study.devices import find_device
from experiments.study.expand import RATE, Shape, count_runs, natural, shapes
from experiments.study.labels import lookup
from experiments.study.spec import DRAW, Study
from experiments.study.unit import Plan, Unit
from hardware.devices import Device

MAX_LANES = 8
MAX_RUNS = 100_000  # more than these are a slip of the pen more often than a wish


def make_plan(study: Study, device: Device | None = None, *, yes: bool = False, max_lanes: int = MAX_LANES) -> Plan:
    """Every run of the study, once. The same plan comes of the same study, whatever the order of keys and blocks.

    `device`: what all runs use; without it, what each configuration's `device` is on this machine. Raises UserError for
    anything that the configuration does not allow, for contradictory budgets, and, unless `yes`, for too many runs.
    """
    most = count_runs(study)
    if most > MAX_RUNS and not yes:
        raise UserError(
            f"study {study.name} has {most:,} runs, more than {MAX_RUNS:,}: shorten its axes, or say --yes to mean it"
        )
    try:
        return _Planner(study, device, max_lanes).plan()
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from None


class _Planner:
    def __init__(self, study: Study, device: Device | None, max_lanes: int) -> None:
        self.study, self.device, self.max_lanes = study, device, max(1, max_lanes)
        self.draws = [] if study.tuning is None else study.tuning.draw()
        self.seen: set[str] = set()
        self.seeds: set[int] = set()
        self.data_draws: set[Any] = set()
        # Of each (task, condition), the budgets of each model that is compared.
        self.budgets: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def plan(self) -> Plan:
        found: list[tuple[Any, Unit]] = []
        # What is a run and a reference as well is a run.
        for shape in sorted(shapes(self.study), key=lambda shape: shape.role == REFERENCE):
            found += self._units(shape)
        for (task, condition), models_of in self.budgets.items():
            if len({frozenset(budgets) for budgets in models_of.values()}) > 1:
                each = "; ".join(f"{name} {' and '.join(sorted(models_of[name]))}" for name in sorted(models_of))
                where = f"{task} {condition}".strip()
                raise UserError(f"{where}: models must be compared at equal budgets, but they are {each}")
        found.sort(key=lambda item: item[0])
        return Plan(self.study, tuple(unit for _, unit in found), tuple(self._notes()))

    def _units(self, shape: Shape) -> Iterator[tuple[Any, Unit]]:
        tree = shape.tree
        checked, config = self._check(tree)
        condition, configuration = self.study.condition(config), self.study.configuration(config)
        labels = {"condition": condition, "configuration": configuration}
        compared = shape.role == RUN and checked.model_name in self.study.compared
        if compared:
            self.seeds |= {seed for seed, _ in shape.lanes}
            self.data_draws.add(tree["task"].get("data_seed"))
        if checked.model.learning == "gradient":
            budget = _budget(tree)
            if compared:
                self.budgets[checked.task_name, condition][checked.model_name].add(budget)
        order = (
            shape.role != REFERENCE, checked.task_name, condition, self._sizes(config),
            natural(tree["task"].get("data_seed")), checked.model_name,
        )  # fmt: skip
        keys = self._tuned_keys(checked) if compared else []
        rest = json.dumps(tree, sort_keys=True)
        if not keys:
            for unit in self._plain(tree, checked, shape.role, shape.lanes, labels):
                yield (*order, rest, unit.key), unit
            return
        for rate in sorted({rate for _, rate in shape.lanes}, key=natural):
            own = replace(shape, tree=tree if rate is None else changed(tree, {RATE: rate}))
            lanes = [(seed, None) for seed, of in shape.lanes if of == rate]
            for last, unit in self._tuned(own, keys, lanes, labels):
                yield (*order, json.dumps(own.tree, sort_keys=True), last, unit.key), unit

    def _plain(
        self, tree: dict[str, Any], checked: Settings, role: str, lanes: Iterable[tuple[int, float | None]],
        more: dict[str, Any],
    ) -> Iterator[Unit]:  # fmt: skip
        """Units of lanes that no other has."""
        device = self._device(tree)
        new: dict[str, Lane] = {}
        for seed, rate in sorted(lanes, key=lambda lane: (natural(lane[1]), lane[0])):
            lane = Lane(seed, rate)
            name = planned_identity(checked, lane, device)
            if name not in self.seen:
                self.seen.add(name)
                new[name] = lane
        for names in _parts(list(new), self.max_lanes):
            yield Unit(_key(names), tree, tuple(new[name] for name in names), tuple(names), role, **more)

    def _tuned(
        self, shape: Shape, keys: Sequence[str], lanes: list[tuple[int, None]], labels: dict[str, Any]
    ) -> Iterator[tuple[int, Unit]]:
        """The trials of a configuration, then the runs that wait for them."""
        tuning = self.study.tuning
        assert tuning is not None
        device = self._device(shape.tree)
        by_tree: dict[str, tuple[dict[str, Any], Settings, list[tuple[int, float | None]]]] = {}
        trials: dict[str, dict[str, Any]] = {}
        for draw in self.draws:
            values = {key: shape.typed(key, draw[key]) for key in keys}
            tree = changed(shape.tree, {key: value for key, value in values.items() if key != RATE})
            name = json.dumps(tree, sort_keys=True)
            if name not in by_tree:
                by_tree[name] = (tree, self._check(tree)[0], [])
            lane = Lane(tuning.seed, values.get(RATE))
            trials.setdefault(planned_identity(by_tree[name][1], lane, device), values)
            by_tree[name][2].append((lane.seed, lane.learning_rate))
        group = {"group": _key(sorted(trials))}
        waits = []
        for tree, checked, of in by_tree.values():
            for unit in self._plain(tree, checked, TRIAL, set(of), {**labels, "tuning": group}):
                waits.append(unit.key)
                yield 0, unit
        tuned = group | {"trials": list(trials), "values": list(trials.values()), "space": dict(tuning.space)}
        tuned |= {"device": asdict(device)}
        for part in _parts(sorted(lanes), self.max_lanes):
            key = _key([json.dumps(shape.tree, sort_keys=True), *map(str, part), group["group"]])
            own = tuple(Lane(*lane) for lane in part)
            yield 1, Unit(key, shape.tree, own, (), RUN, tuple(sorted(waits)), tuned, **labels)

    def _tuned_keys(self, checked: Settings) -> list[str]:
        """The keys of the space that matter to a model: a fit with an end of its own has no learning rate."""
        keys = () if self.study.tuning is None else self.study.tuning.keys
        return [key for key in keys if checked.model.learning == "gradient" or not key.startswith("training.")]

    def _check(self, tree: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
        """The validated settings of a tree, and the part of it that a record of its runs will have."""
        try:
            checked = settings(tree)
        except UserError as error:
            raise UserError(f"task={tree['task']['name']} model={tree['model']['name']}: {error}") from None
        kind = self._device(tree).kind
        model = checked.model
        return checked, run_config(tree, tree["model"], model.learning, kind, 0, takes_prior=model.takes_prior)

    def _device(self, tree: dict[str, Any]) -> Device:
        return self.device or _here(tree["device"], tree["backend"])

    def _sizes(self, config: dict[str, Any]) -> tuple[Any, ...]:
        """The varied values, for sorting: small ones first."""
        return tuple(natural(lookup(config, key)[1]) for key in self.study.varied)

    def _notes(self) -> Iterator[str]:
        if not self.study.compared:
            yield "no models are named in structured and black_box: nothing is compared"
        elif not (self.study.structured and self.study.black_box):
            yield "a comparison needs a structured model and a black box: nothing is compared"
        if len(self.seeds) == 1:
            yield "one seed only: nothing can be said with error bars over seeds"
        if len(self.data_draws) == 1:
            yield f"one data draw only ({DRAW}): error bars do not cover another draw of the data"


def _key(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]


def _parts(items: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """The items in as few parts of at most `most` as it takes, all about equally long."""
    n = -(-len(items) // most)
    return [items[i * len(items) // n : (i + 1) * len(items) // n] for i in range(n)]


def _budget(tree: dict[str, Any]) -> str:
    """The one limit of a budget, in words."""
    limits = {name: value for name, value in tree["budget"].items() if value is not None}
    if len(limits) != 1:
        each = ", ".join(f"budget.{name}={value:g}" for name, value in limits.items()) or "none"
        raise UserError(
            f"a study's runs must have one limit, by which they are matched, but they have {each}: choose the group of "
            f"the one that is meant, as in budget: {[*limits][-1] if limits else 'flop'}"
        )
    ((name, value),) = limits.items()
    return f"{name}={value:g}"


_here = functools.cache(find_device)  # in a process of its own: who plans, or looks on, opens no accelerator
