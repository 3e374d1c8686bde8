"""What training a model on a task would take on a device that is not here: counted here, projected there.

A few steps are trained on this machine, so that operations, bytes and the trips of loops that depend on data are
counted and not guessed. `hardware.projection` turns them into time, joules, money and CO2; for a TPU the real compiler
is asked as well. Everything about the other device is modelled and says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from experiments.config import Settings
from experiments.errors import UserError
from experiments.job import Job
from experiments.main_job import load_task
from experiments.progress import Reporter
from hardware import energy
from hardware.calibrate import Calibration
from hardware.catalogue import Entry
from hardware.cost import Cost
from hardware.devices import Device, resolve
from hardware.meter import Meter
from hardware.projection import Interval, Projection, project
from hardware.tpu import GENERATIONS, TpuError, TpuProgram, compile_for
from learners.learner import Budget, Learner, Progress

STEPS = 100  # trained here; a step's cost varies only where the solver is adaptive


@dataclass(frozen=True)
class Price:
    """One seed's training. `step`: the mean cost of a step (of the whole fit, for a model that is not trained by
    gradient), `moved_bytes` and `kernels` those after fusion (None where nothing is compiled). `steps`: what the budget
    pays for, None where that depends on the device. `here_seconds`: a step on this machine, measured, and
    `here_modelled` what its calibration says (None without one)."""

    task: str
    model: str
    backend: str
    dtype: str
    device: str
    step: Cost
    moved_bytes: float | None
    kernels: float | None
    steps: int | None
    one: Projection
    whole: Projection | None
    here: str
    here_seconds: float
    here_modelled: Interval | None
    tpu: TpuProgram | None
    tpu_reason: str

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["step"]["uncounted"] = sorted(self.step.uncounted)
        if self.tpu is not None:
            fields["tpu"].pop("hlo")
            fields["tpu"]["lines"] = self.tpu.lines()
        return fields

    def lines(self) -> list[str]:
        """The price for people."""
        what = "training step" if self.steps != 1 else "fit"
        lines = [
            f"{self.task}, {self.model}, backend={self.backend}, dtype={self.dtype} on {self.device}: "
            "modelled, nothing ran there",
            f"one {what:<15} {_count(self.step)}",
            f"{'bytes':<19} {_bytes(self)}",
            f"{'on this machine':<19} {self.here_seconds:.3g} s measured on {self.here}"
            + ("" if self.here_modelled is None else f"; its calibration says {self.here_modelled}"),
            *_projected(f"one {what}", self.one),
        ]
        if self.whole is not None and self.steps is not None and self.steps > 1:
            lines += _projected(f"budget, {self.steps:,} steps", self.whole)
        lines += [f"note: {note}" for note in self.one.notes]
        if self.tpu is not None:
            each = "" if self.tpu.seconds is None else f", {self.tpu.seconds / STEPS:.3g} s a step"
            lines += [
                "",
                f"TPU compiler, {STEPS} steps in one program{each}; it knows the latency of each instruction, so",
            ]
            lines += ["trust it before the roofline above, which knows only rates:"]
            lines += [f"  {line}" for line in self.tpu.lines()]
        elif self.tpu_reason:
            lines += ["", f"TPU compiler: {self.tpu_reason}"]
        return lines


def price(
    settings: Settings, entry: Entry, grid: str | None, pue: float, calibration: Calibration | None, report: Reporter
) -> Price:
    """The price of the settings' model on the device `entry`. Raises UserError for what cannot be priced."""
    tree = settings.tree
    device = resolve("auto", tree["backend"])
    task = load_task(settings, report)
    job = Job(task, settings.model, tree["model"], settings.budget, settings.recipe, device, tree)
    if reason := job.model.skip(task.info, tree["backend"]):
        raise UserError(f"{job.name} on {task.name}: {reason}")
    report.say(f"{job.name}: counting on {device.name}")
    learner, last = _train(job, device)
    if last.step == 0:
        raise UserError(f"{job.name} is not trained, so there is no training to price; name another with model=NAME")
    step, work = last.costs[0].share(last.step), learner.engine.fused_work()
    moved, kernels = (None, step.operations) if work is None else (n / last.step for n in work)
    precision = {"float32": "float32"}.get(tree["dtype"])  # the engines ask for the full precision of dtype

    def projected(times: int, where: str | Entry, known: Calibration | None = None) -> Projection:
        bytes_moved = None if moved is None else moved * times
        return project(
            step * times, where, fused_bytes=bytes_moved, launches=kernels * times, precision=precision,
            grid=None if known else grid, pue=1.0 if known else pue, calibration=known,
        )  # fmt: skip

    steps = _steps(job, step, last)
    own = None if calibration is None else projected(1, "generic_server_cpu", calibration).seconds
    tpu, reason = _compiled(job, learner, entry, report)
    return Price(
        task.name, job.name, tree["backend"], tree["dtype"], entry.name, step, moved, None if work is None else kernels,
        steps, projected(1, entry), None if steps is None else projected(steps, entry), device.name,
        last.seconds / last.step, own, tpu, reason,
    )  # fmt: skip


def _train(job: Job, device: Device) -> tuple[Learner, Progress]:
    learner = job.learner([0])
    learner.compile()
    *_, last = learner.fit(Budget(sample=STEPS * job.recipe.batch), Meter(energy.best(device)))
    return learner, last


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


def _count(cost: Cost) -> str:
    kinds: dict[str, int] = {}
    for kind, _, flop in cost.parts:
        kinds[kind] = kinds.get(kind, 0) + flop
    shares = sorted(kinds.items(), key=lambda item: -item[1])
    bound = "at least " if cost.is_lower_bound else ""
    return f"{bound}{cost.flop:.4g} FLOP ({', '.join(f'{kind} {flop / cost.flop:.1%}' for kind, flop in shares)})"


def _bytes(price: Price) -> str:
    step = price.step
    known = [("least", step.least_bytes), ("after fusion", price.moved_bytes), ("unfused", step.unfused_bytes)]
    parts = [f"{name} {moved:.3g} ({step.flop / moved:.3g} FLOP a byte)" for name, moved in known if moved]
    kernels = f"; {price.kernels:.4g} kernels" if price.kernels is not None else f"; {step.operations:,} operations"
    return ", ".join(parts) + kernels


def _projected(title: str, found: Projection) -> list[str]:
    """One projection: time, energy, money and CO2, as far as they are known."""
    rows = [("time", found.seconds, "s"), ("energy", found.energy_j, "J"), ("money", found.money_usd, "US$")]
    rows.append(("CO2", found.co2_g, "g"))
    known = [f"{name} {interval} {unit}" for name, interval, unit in rows if interval is not None]
    bound = f"; bound by {found.bound_by}" if found.bound_by else ""
    return [f"{title:<19} {', '.join(known) or 'not known: see the notes'}{bound} [{found.method}]"]
