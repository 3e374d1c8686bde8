"""What training a model on a task would take on a device that is not here: counted here, projected there.

A few steps are trained on this machine, so that operations, bytes and the trips of loops that depend on data are
counted and not guessed. `hardware.projection` turns them into time, joules, money and CO2; for a TPU the real compiler
is asked as well. Everything about the other device is modelled and says so.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from experiments.config import Settings
from experiments.errors import UserError
from experiments.job import Job, Lane
from experiments.main_job import load_task
from experiments.progress import Reporter
from hardware import energy
from hardware.calibrate import Calibration
from hardware.catalogue import Entry
from hardware.cost import Cost
from hardware.devices import Device, resolve
from hardware.meter import Meter
from hardware.projection import Interval, Projection, of_time, project
from hardware.tpu import GENERATIONS, TpuError, TpuProgram, compile_for
from learners.learner import Budget, Learner, Progress
from reports.text import si, wrapped

STEPS = 100  # trained here; a step's cost varies only where the solver is adaptive
# What the compiler's estimate leaves out (asynchronous copies, waiting, the host) may well double the time.
BEYOND_COMPILER = 1.0


@dataclass(frozen=True)
class Price:
    """One seed's training. `unit`: what is priced, a training step or a whole fit (of a model that is not trained by
    gradient). `step`: its mean cost; `moved_bytes` and `kernels` those after fusion (None where nothing is compiled).
    `steps`: what the budget pays for, None where that depends on the device. `here_seconds`: a step on this machine,
    measured (least, median and most of the chunks timed), and `here_modelled` what its calibration says (None without
    one). `whole_by_compiler`: the budget by the TPU compiler's estimate, where there is one."""

    task: str
    model: str
    backend: str
    dtype: str
    device: str
    unit: str
    step: Cost
    moved_bytes: float | None
    kernels: float | None
    steps: int | None
    one: Projection
    whole: Projection | None
    here: str
    here_seconds: Interval
    here_modelled: Interval | None
    here_calibrated: str
    tpu: TpuProgram | None
    tpu_reason: str
    whole_by_compiler: Projection | None

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["step"]["uncounted"] = sorted(self.step.uncounted)
        if self.tpu is not None:
            fields["tpu"].pop("hlo")
            fields["tpu"]["lines"] = self.tpu.lines()
        return fields

    def lines(self, width: int = 110) -> list[str]:
        """The price for people."""
        what = f"one {self.unit}"
        calibrated = f"; modelled {_si(self.here_modelled, 's')}, by the calibration of {self.here_calibrated}"
        lines = [
            f"{self.task}, {self.model}, one seed, backend={self.backend}, dtype={self.dtype} on {self.device}: "
            "modelled, nothing ran there",
            f"{what:<19} {_count(self.step)}",
            f"{'bytes':<19} {_bytes(self)}",
            f"{'on this machine':<19} {_si(self.here_seconds, 's')} measured on {self.here}"
            + ("" if self.here_modelled is None else calibrated),
            *_projected(what, self.one),
        ]
        whole = self.whole_by_compiler or self.whole
        if self.unit == "training step" and (whole is None or self.steps is None):
            lines.append(f"{'budget':<19} in seconds or joules: how many steps it pays for depends on the device")
        elif whole is not None and self.steps is not None and self.steps > 1:
            lines += _projected(f"budget, {self.steps:,} steps", whole)
        lines += [f"note: {note}" for note in self.one.notes]
        if self.tpu is not None:
            each = "" if self.tpu.seconds is None else f", {_si(self.tpu.seconds / STEPS, 's')} a step"
            lines += [
                "",
                f"TPU compiler, {STEPS} steps in one program{each}. It knows the latency of each instruction, the "
                "roofline above only rates: where they differ, trust this one. The budget is by it.",
                *(f"  {line}" for line in self.tpu.lines()),
            ]
        elif self.tpu_reason:
            lines += ["", f"TPU compiler: {self.tpu_reason}"]
        return wrapped(lines, width)


def price(
    settings: Settings, entry: Entry, grid: str | None, pue: float, calibration: Calibration | None, report: Reporter
) -> Price:
    """The price of the settings' model on the device `entry`. Raises UserError for what cannot be priced."""
    tree = settings.tree
    device = resolve("auto", tree["backend"])
    task = load_task(settings, report)
    job = Job(task, settings.model, tree["model"], settings.budget, settings.recipe, device, tree)
    if reason := job.model.skip(job.info, tree["backend"]):
        raise UserError(f"{job.name} on {task.name}: {reason}")
    report.say(f"{job.name}: counting on {device.name}")
    learner, last, here = _train(job, device)
    if last.step == 0:
        raise UserError(f"{job.name} is not trained, so there is no training to price; name another with model=NAME")
    step, work = last.costs[0].share(last.step), learner.engine.fused_work()
    moved, kernels = (None, step.operations) if work is None else (n / last.step for n in work)
    precision = "float32" if tree["dtype"] == "float32" else None  # the engines ask for the full precision of dtype

    def projected(times: int, where: str | Entry, known: Calibration | None = None) -> Projection:
        bytes_moved = None if moved is None else moved * times
        return project(
            step * times, where, fused_bytes=bytes_moved, launches=kernels * times, precision=precision,
            grid=None if known else grid, pue=1.0 if known else pue, calibration=known,
        )  # fmt: skip

    steps = _steps(job, step, last)
    # It was measured with JAX's programs: torch starts its operations one by one, from Python.
    known = calibration if tree["backend"] == "jax" else None
    own = None if known is None else projected(1, "generic_server_cpu" if known.kind == "cpu" else entry, known)
    tpu, reason = _compiled(job, learner, entry, report)
    whole = None if steps is None else projected(steps, entry)
    return Price(
        task.name, job.name, tree["backend"], tree["dtype"], entry.name,
        "training step" if job.model.learning == "gradient" else "fit", step, moved,
        None if work is None else kernels, steps, projected(1, entry), whole, device.name, here,
        own.seconds if own else None, known.date if known else "", tpu, reason,
        _by_compiler(tpu, steps, entry, grid, pue),
    )  # fmt: skip


def _train(job: Job, device: Device) -> tuple[Learner, Progress, Interval]:
    """A learner that took some steps, where it stands, and the seconds of a step: least, median and most."""
    learner = job.learner([Lane(0)])
    learner.compile()
    seconds, before = [], None
    for last in learner.fit(Budget(sample=STEPS * job.recipe.batch), Meter(energy.best(device))):
        if before is not None and last.step > before.step:
            seconds += [(last.seconds - before.seconds) / (last.step - before.step)] * (last.step - before.step)
        before = last
    assert before is not None
    late = seconds[len(seconds) // 2 :] or [before.seconds]  # the first ones meet everything for the first time
    if job.model.learning != "gradient":
        late = [before.seconds / max(1, before.step)]
    return learner, before, Interval(min(late), statistics.median(late), max(late))


def _by_compiler(
    tpu: TpuProgram | None, steps: int | None, entry: Entry, grid: str | None, pue: float
) -> Projection | None:
    """The budget at the compiler's seconds and joules a step."""
    if tpu is None or tpu.seconds is None or steps is None:
        return None
    times = steps / STEPS
    seconds = Interval(tpu.seconds, tpu.seconds, tpu.seconds * (1 + BEYOND_COMPILER)) * times
    joules = None if tpu.energy_j is None else tpu.energy_j * times
    return of_time(seconds, joules, entry, tpu.method, grid=grid, pue=pue)


def _steps(job: Job, step: Cost, last: Progress) -> int | None:
    """The steps that the budget pays for; 1 for a fit with an end of its own, whose steps are taken together."""
    if job.model.learning != "gradient":
        return last.step
    limits = []
    if job.budget.flop is not None:
        limits.append(int(job.budget.flop // step.flop))
    if job.budget.sample is not None:
        limits.append(job.budget.sample // job.recipe.batch)
    return max(1, min(limits)) if limits else None


def _compiled(job: Job, learner: Learner, entry: Entry, report: Reporter) -> tuple[TpuProgram | None, str]:
    if entry.name not in GENERATIONS:
        return None, ""
    traced = learner.engine.training_program(STEPS) if job.model.learning == "gradient" else None
    if traced is None:
        return None, "only training by gradient with backend=jax is compiled for a TPU"
    from hardware.flops_jax import count

    report.say(f"{job.name}: compiling {STEPS} steps for {entry.name}")
    program, arguments = traced
    try:
        return compile_for(program, *arguments, device=entry.name, tally=count(program)(*arguments)[1]), ""
    except TpuError as error:
        return None, str(error)


def _si(value: float | Interval | None, unit: str) -> str:
    """As "1.8 µs"; an interval in the prefix of its value, as "1.8 µs (1 to 31)"."""
    if value is None:
        return "unknown"
    if isinstance(value, Interval):
        return si(value.value, unit, (value.low, value.high))
    return si(value, unit)


def _count(cost: Cost) -> str:
    kinds: dict[str, int] = {}
    for kind, _, flop in cost.parts:
        kinds[kind] = kinds.get(kind, 0) + flop
    shares = sorted(kinds.items(), key=lambda item: -item[1])
    bound = "at least " if cost.is_lower_bound else ""
    return f"{bound}{_si(cost.flop, 'FLOP')} ({', '.join(f'{kind} {flop / cost.flop:.1%}' for kind, flop in shares)})"


def _bytes(price: Price) -> str:
    step = price.step
    known = [("least", step.least_bytes), ("after fusion", price.moved_bytes), ("unfused", step.unfused_bytes)]
    parts = [f"{name} {_si(moved, 'B')} ({step.flop / moved:.3g} FLOP a byte)" for name, moved in known if moved]
    kernels = f"{price.kernels:,.0f} kernels" if price.kernels is not None else f"{step.operations:,} operations"
    return ", ".join([*parts, kernels])


def _projected(title: str, found: Projection) -> list[str]:
    """One projection: time, energy, money and CO2, as far as they are known."""
    rows = [("time", found.seconds, "s"), ("energy", found.energy_j, "J"), ("CO2", found.co2_g, "g")]
    known = [f"{name} {_si(interval, unit)}" for name, interval, unit in rows if interval is not None]
    if found.money_usd is not None:
        known.insert(2, f"US$ {found.money_usd}")
    bound = f"; bound by {found.bound_by}" if found.bound_by else ""
    return [f"{title:<19} {', '.join(known) or 'not known: see the notes'}{bound} [{found.method}]"]
