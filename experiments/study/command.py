"""The command `sweep` step by step: the study with its settings, its plan, the sweep, and what it says at the end."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.errors import UserError
from experiments.progress import Reporter, terminal_width
from experiments.store import Store, StoreError
from experiments.study.devices import find_device
from experiments.study.engine import Options, Progress, Sweep
from experiments.study.executors import Executor, start
from experiments.study.finished import finished_units, known
from experiments.study.folder import StudyFolder
from experiments.study.overrides import device_word, with_settings
from experiments.study.plan import make_plan
from experiments.study.plan_file import save_plan
from experiments.study.spec import load_study
from experiments.study.summary import summarise
from experiments.study.unit import Plan, Unit, shard
from experiments.study.unit_state import UnitState
from experiments.study.view import View
from experiments.tracking import ModeError, resolve_mode
from hardware import catalogue
from hardware.devices import Device

NAMED = 10  # failures that are listed; `status` knows the rest


class Command:
    """One call of `sweep`. `own`: the words that are about the command; `words`: settings for every run."""

    def __init__(self, own: Mapping[str, str], words: Sequence[str], options: argparse.Namespace, store: Store) -> None:
        self.own, self.words, self.options, self.store = own, words, options, store
        self.report = Reporter(options.quiet or options.json)
        declared = load_study(own["study"])
        word = device_word(declared, words)
        self.device_name = word.removeprefix("device=") if word else None
        self.study = with_settings(declared, words)
        if self.study.hash != declared.hash:
            settings = " ".join(w for w in words if w != word)
            self.report.say(
                f"with {settings} this is not the study as it was registered: its records carry the hash "
                f"{self.study.hash}, not {declared.hash}"
            )
        self.tracking = self._tracking()
        self.executor: Executor | None = None

    def price(self) -> int:
        """Say what is left of the study would take, here or on a device of the catalogue. Nothing is run."""
        from experiments.study.price import price
        from hardware.grid import GridError, carbon_intensity
        from hardware.projection import ProjectionError

        options, elsewhere = self.options, self.device_name if self.device_name in catalogue.names() else None
        if elsewhere:
            self.device_name = None
        try:  # before minutes of measuring
            if options.grid:
                carbon_intensity(options.grid)
        except GridError as error:
            raise UserError(f"--grid: {error.args[0]} (list grid names them)") from None
        if not options.pue >= 1:
            raise UserError(f"--pue must be at least 1, but it is {options.pue:g}")
        device = self._device()
        plan = self._part(self._plan(device))
        plan = replace(plan, units=tuple(known(plan.units, self.store)))
        try:
            more = {"quick": options.quick, "on": elsewhere, "grid": options.grid, "pue": options.pue}
            found = price(plan, self.store, device, self.report, **more)
        except ProjectionError as error:
            raise UserError(str(error)) from None
        print(json.dumps(found.as_json(), indent=1) if options.json else "\n".join(found.lines(terminal_width())))
        return 0

    def sweep(self) -> Sweep:
        """The sweep, ready to run."""
        self.store.prepare()
        options = self.options
        folder = self.store.root / self.study.folder / "jobs"
        self.executor = start(options.engine, self._asked_device, self._backend, options.packing, folder)
        plan = self._plan(self.executor.device)
        if not self.options.shard:  # parts of it are of one plan
            try:
                save_plan(plan, self.store)
            except OSError as error:
                raise StoreError(f"{self.store} cannot be written: {error.strerror or error}") from None
        units = [self._here(unit) for unit in self._part(plan).units]
        self.report.say(
            f"study {self.study.name} ({self.study.hash}): {sum(len(unit.lanes) for unit in units)} runs in "
            f"{len(units)} units on {self.executor.device.name}"
        )
        return Sweep(units, self.study, self.store, self.executor, Options(options.retries, options.packing))

    def finish(self, sweep: Sweep) -> int:
        """Run it to its end, and say what came of it. 3 when some units failed for good."""
        assert self.executor is not None
        try:
            with View(self.report.quiet) as view:
                sweep.show = view.show
                progress = sweep.run()
                view.show(progress, sweep.files, now=True)
        finally:
            self.executor.close()
        self._tell(sweep.units.values(), progress.failed, sweep.files, progress)
        return 3 if progress.failed else 0

    def collect(self) -> int:
        """What is finished at this moment, while others may still run."""
        plan = self._part(self._plan(self._device()))
        files = StudyFolder(self.store, self.study.folder)
        units = known(plan.units, self.store)
        finished = finished_units(units, self.study, self.store)
        progress = Progress(len(units), plan.runs)
        progress.done = {unit.key: len(unit.lanes) for unit in units if unit.key in finished}
        progress.found = progress.runs_done
        states = files.states()
        missing = [unit for unit in units if unit.key not in finished]
        kinds = Counter(_standing(unit, states) for unit in missing)
        self._tell(units, {}, files, progress)
        if missing and not self.options.json:
            each = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            runs = sum(len(unit.lanes) for unit in missing)
            print(f"missing: {runs} of {plan.runs} runs, in {len(missing)} units ({each})")
        if finished and not self.options.json:
            self._write_report()
        return 0

    def _write_report(self) -> None:
        from experiments.study.report import write_study_report

        try:
            write_study_report([f"study={self.own['study']}", *self.words], str(self.store), None, report=self.report)
        except UserError as error:  # of what there is so far there may be nothing to say yet
            print(f"no report yet: {error}", file=sys.stderr)

    # -- The plan --------------------------------------------------------------------------------------------------

    def _plan(self, device: Device) -> Plan:
        several = len(self.study.values("device")) > 1
        plan = make_plan(self.study, None if several else device, yes=self.options.yes)
        for note in plan.notes:
            self.report.say(f"note: {note}")
        return plan

    def _part(self, plan: Plan) -> Plan:
        return shard(plan, *self.options.shard) if self.options.shard else plan

    @property
    def _asked_device(self) -> str:
        return self.device_name or (self.study.values("device") or ["auto"])[0]

    @property
    def _backend(self) -> str:
        return (self.study.values("backend") or ["jax"])[0]

    def _device(self) -> Device:
        return find_device(self._asked_device, self._backend)

    def _tracking(self) -> dict[str, str]:
        mode = self.own.get("tracking", self.own.get("tracking.mode"))
        project = self.own.get("tracking.project")
        try:
            resolve_mode(mode or "auto")
        except ModeError as error:
            raise UserError(str(error)) from None
        return {key: value for key, value in (("mode", mode), ("project", project)) if value is not None}

    def _here(self, unit: Unit) -> Unit:
        """The unit with what the command says of tracking and of the device, which are no part of a run's identity."""
        tree = unit.tree | {"tracking": unit.tree["tracking"] | self.tracking}
        return replace(unit, tree=tree | ({"device": self.device_name} if self.device_name else {}))

    # -- What came of it -------------------------------------------------------------------------------------------

    def _tell(self, units: Iterable[Unit], failed: Mapping[str, Any], files: StudyFolder, progress: Progress) -> None:
        found = summarise(units, self.study, self.store)
        told = [
            {
                "task": unit.task, "model": unit.model, "configuration": unit.configuration, "class": failure.kind,
                "reason": failure.reason, "log": str(files.log(unit.key)),
            }
            for unit, failure in failed.values()
        ]  # fmt: skip
        words = [f"study={self.own['study']}", *self.words, f"--runs={self.store}"]
        command = shlex.join(["python", "-m", "experiments", "report", *words])
        if self.options.json:
            body = {
                "study": self.study.name, "hash": self.study.hash, "runs": progress.runs, "done": progress.runs_done,
                "found": progress.found, "failed": told, "metric": self.study.metric,
                "statuses": found.statuses, "errors": found.cells, "report": command,
            }  # fmt: skip
            print(json.dumps(body, indent=1))
            return
        print("\n".join(found.lines(self.study)))
        for unit in told[:NAMED]:
            where = " ".join(filter(None, (unit["model"], "on", unit["task"], unit["configuration"])))
            print(f"failed ({unit['class']}): {where}: {unit['reason']} [{unit['log']}]", file=sys.stderr)
        if len(told) > NAMED:
            print(
                f"… and {len(told) - NAMED} more: python -m experiments status study={self.own['study']}",
                file=sys.stderr,
            )
        print(f"report: {command}")


def _standing(unit: Unit, states: Mapping[str, UnitState]) -> str:
    state = states.get(unit.key)
    return "not begun" if state is None else "lost" if state.lost else state.state
