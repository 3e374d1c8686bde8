"""Synthetic studies whose scaling laws are planted, so that what is said of them can be checked.

Every size of a model has a curve of its own, tangent to the law of the model at the cost that suits the size:

    e_i(C) = E + A·C_i^(−α)·((r − α) + α·(C/C_i)^(−r))/r,    r > α,

which is nowhere below E + A·C^(−α) (by the inequality of weighted means) and touches it at C_i, as the curves of
L = E + a·N^(−p) + b·D^(−q) touch their compute frontier. Noise is log-normal: of a data draw, of a run, along a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reports.study import Hypothesis, StudyData

START_FLOP = 1e6  # of the cheapest checkpoint, and where `Law.scale` is read
J_PER_FLOP, POWER_W = 1e-9, 20.0
METRIC = "one_step_nrmse"
# (error, training FLOP) of the rows that every comparison shows.
REFERENCES = {"persistence": (1.0, 0.0), "linear": (0.6, 1e5), "true_physics": (2e-3, 1e7), "simulator": (0.0, 0.0)}
# Names that break what is not careful with them: markup, paths, LaTeX, formulas of spreadsheets, quotes, other scripts.
HOSTILE = (
    "<script>alert('x')</script>",
    "../../etc/passwd",
    r"50%_of $x^2$ & \input{x} #1 ~{}",
    '=HYPERLINK("http://x")|a\nb\t\'; drop table runs; -- é 漢字 \u202e',
)


@dataclass(frozen=True)
class Law:
    """error = `floor` + `scale`·(C/START_FLOP)^(−`exponent`), C in FLOP."""

    floor: float = 0.01
    scale: float = 1.0
    exponent: float = 0.4

    def error(self, flop: ArrayLike) -> np.ndarray:
        return self.floor + self.scale * (np.asarray(flop, dtype=float) / START_FLOP) ** -self.exponent


@dataclass(frozen=True)
class Noise:
    """Standard deviations of ln error. `draw`: of a data draw, half of its variance shared by all models of the task.
    `seed`: of a run as a whole. `point`: along a run, where neighbours correlate by `correlation`."""

    draw: float = 0.05
    seed: float = 0.05
    point: float = 0.03
    correlation: float = 0.7


MODELS = {"hybrid_ode": Law(0.005, 0.5, 0.5), "mlp": Law(0.01, 1.0, 0.35), "neural_ode": Law(0.01, 0.9, 0.4)}


def world(
    tasks: Sequence[str] | Mapping[str, Mapping[str, Law]] = ("lorenz63",),
    models: Mapping[str, Law] | None = None,
    *,
    structured: Sequence[str] = ("hybrid_ode",),
    conditions: Sequence[str] = ("",),
    sizes: int = 4,
    seeds: int = 3,
    draws: int = 1,
    decades: float = 4.0,
    per_decade: int = 8,
    noise: Noise | float = Noise(),
    scallop: float = 0.02,
    diverged: float = 0.0,
    unknown_energy: bool = False,
    tune_trials: int = 0,
    references: bool = True,
    targets: Sequence[float] = (0.03, 0.015),
    hypotheses: Sequence[Hypothesis] = (),
    hostile: bool = False,
    seed: int = 0,
) -> StudyData:
    """A study of `tasks` under `conditions` by `models`, of which those not `structured` are black boxes.

    Args:
        tasks: names; or a mapping to models, where each task has laws of its own. models: by name (None: `MODELS`).
        sizes: of each model, the costs that suit them evenly spaced. seeds, draws: runs of each, crossed.
        decades: of cost from START_FLOP, with `per_decade` checkpoints. noise: as a number, that of the draw and of
            the run, and along a run 0.6 of it.
        scallop: how far ln of the least curve rises above the law halfway between two sizes.
        diverged: share of runs that diverge on their way. tune_trials: charged, each as dear as the run.
        unknown_energy: joules were not measured. hostile: the first task, condition, models and configurations are
            called by `HOSTILE`.
    """
    noise = noise if isinstance(noise, Noise) else Noise(noise, noise, 0.6 * noise)
    laws = tasks if isinstance(tasks, Mapping) else {task: models or MODELS for task in tasks}
    names = {name: name for per_task in laws.values() for name in per_task}
    names |= {task: task for task in laws} | {condition: condition for condition in conditions}
    if hostile:
        bad = [next(iter(laws)), conditions[0], *[next(n for n in laws[next(iter(laws))] if s == (n in structured))
                                                  for s in (True, False)]]  # fmt: skip
        names |= dict(zip(bad, HOSTILE, strict=True))
    parts, rng = [], np.random.default_rng(seed)
    for task, per_task in laws.items():
        for condition in conditions:
            shared = rng.standard_normal(draws)
            for model, law in per_task.items():
                size, draw, run_seed = (x.ravel() for x in np.indices((sizes, draws, seeds)))
                part = _Part(names[task], names[condition], names[model], law, size, draw, run_seed)
                parts.append((part, shared, _curves(part, shared, sizes, decades, per_decade, noise, scallop, rng)))
    runs, points = _tables(parts, sizes, decades, diverged, tune_trials, unknown_energy, hostile, rng)
    planned = len(runs["identity"])
    rows = [(names[task], names[condition]) for task in laws for condition in conditions]
    if references:
        runs, points = _with_references(runs, points, rows, unknown_energy)
        planned += len(rows) * len(REFERENCES)
    of_all = dict.fromkeys(model for per_task in laws.values() for model in per_task)
    return StudyData(
        name=HOSTILE[0] if hostile else "world",
        hash=f"{seed:016x}",
        runs=runs,
        points=points,
        question="Does knowing part of the physics change the exponent of the scaling law, or only its offset?",
        hypotheses=tuple(hypotheses),
        metric=METRIC,
        structured=tuple(names[model] for model in of_all if model in structured),
        black_box=tuple(names[model] for model in of_all if model not in structured),
        references=tuple(REFERENCES) if references else (),
        targets=tuple(targets),
        hashes=(f"{seed:016x}",),
        planned=planned,
    )


def many(runs: int = 10**6, seed: int = 0) -> StudyData:
    """A study of some `runs` runs of 7 points each: 10 tasks, 10 models, 5 sizes, 10 draws, and as many seeds."""
    rng = np.random.default_rng(seed)
    models = {
        f"model_{i}": Law(*rng.uniform((0.005, 0.5, 0.3), (0.02, 1.5, 0.6)))  # type: ignore[arg-type]
        for i in range(10)
    }
    return world(
        [f"task_{i}" for i in range(10)],
        models,
        structured=["model_0", "model_1"],
        sizes=5,
        draws=10,
        seeds=max(runs // 5000, 1),
        decades=3,
        per_decade=2,
        seed=seed,
    )


@dataclass(frozen=True)
class _Part:
    """The runs of one task, condition and model."""

    task: str
    condition: str
    model: str
    law: Law
    size: np.ndarray
    draw: np.ndarray
    seed: np.ndarray


def _best_flop(sizes: int, decades: float) -> np.ndarray:
    """The cost that suits each size: from the least cost to the most; of one size the middle."""
    return START_FLOP * 10 ** (decades * (np.linspace(0, 1, sizes) if sizes > 1 else np.array([0.5])))


def _curves(
    part: _Part,
    shared: np.ndarray,
    sizes: int,
    decades: float,
    per_decade: int,
    noise: Noise,
    scallop: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Costs (P,) and errors (runs, P)."""
    law, flop = part.law, START_FLOP * np.logspace(0, decades, round(decades * per_decade) + 1)
    best = _best_flop(sizes, decades)[:, None]
    mean = np.repeat(law.error(flop)[None], sizes, 0)
    if law.exponent > 0:  # else all sizes are alike
        half = np.log(10) * decades / max(sizes - 1, 1) / 2
        r = law.exponent + 2 * scallop / (law.exponent * half**2)  # ln of curve over law: about α(r − α)·ln²(C/C_i)/2
        saturating = ((r - law.exponent) + law.exponent * (flop / best) ** -r) / r
        mean = law.floor + law.scale * (best / START_FLOP) ** -law.exponent * saturating
    own = np.sqrt(0.5) * (shared + rng.standard_normal(len(shared)))
    shift = noise.draw * own[part.draw] + noise.seed * rng.standard_normal(len(part.size))
    steps = rng.standard_normal((len(part.size), len(flop)))
    for column in range(1, len(flop)):
        steps[:, column] *= np.sqrt(1 - noise.correlation**2)
        steps[:, column] += noise.correlation * steps[:, column - 1]
    return flop, mean[part.size] * np.exp(shift[:, None] + noise.point * steps)


def _tables(
    parts: list[Any],
    sizes: int,
    decades: float,
    diverged: float,
    tune_trials: int,
    unknown_energy: bool,
    hostile: bool,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    every = [part for part, _, _ in parts]
    counts = [len(part.size) for part in every]
    n, flop = sum(counts), parts[0][2][0]
    error = np.concatenate([errors for _, _, (_, errors) in parts])
    size, draw, run_seed = (np.concatenate([getattr(p, name) for p in every]) for name in ("size", "draw", "seed"))
    text = {name: _repeated([getattr(p, name) for p in every], counts) for name in ("task", "condition", "model")}
    widths = [8 * 2**i for i in range(sizes)]
    labels = [f"width={width} n_train=512" for width in widths]
    if hostile:
        labels[0] = f"width={HOSTILE[0]} n_train={HOSTILE[2]}"
    fails = rng.random(n) < diverged
    length = np.where(fails, 1 + (rng.random(n) * (len(flop) - 1)).astype(int), len(flop))
    gone = fails[:, None] & (np.arange(len(flop)) == length[:, None] - 1)
    keep = np.arange(len(flop)) < length[:, None]
    j_per_flop = np.full(n, np.nan) if unknown_energy else J_PER_FLOP * np.exp(0.05 * rng.standard_normal(n))
    s_per_flop = J_PER_FLOP / POWER_W * np.exp(0.1 * rng.standard_normal(n))
    batch = 32 * np.array(widths, dtype=float)[size] ** 2  # FLOP of one window, about
    run, column = np.nonzero(keep)
    test = np.where(gone, np.nan, error)[keep]
    cost = flop[column]
    points = {
        "run": run,
        "step": np.maximum(cost / batch[run] / 16, 1).round(),
        "samples": cost / batch[run],
        "flop": cost,
        "seconds": cost * s_per_flop[run],
        "energy_j": cost * j_per_flop[run],
    }
    points |= {f"tuned_{axis}": points[axis] * (1 + tune_trials) for axis in ("flop", "energy_j", "seconds")}
    points["error"] = test * np.exp(0.02 * rng.standard_normal(len(test)))
    points |= {f"test.{METRIC}": test, "test.rollout_nrmse": np.minimum(20 * test, 1.5)}
    train = flop[length - 1]
    last = np.where(fails, np.nan, error[np.arange(n), length - 1])
    runs = {
        "identity": np.array([f"{i:016x}" for i in range(n)], dtype=object),
        **text,
        "configuration": np.array(labels, dtype=object)[size],
        "status": np.where(fails, "diverged", "finished").astype(object),
        "reason": np.where(fails, "the training loss is not finite", "").astype(object),
        "command": np.array(
            [
                f"python -m experiments run {task} model={model} model.width={widths[i]} seed={s} task.data_seed={d}"
                for task, model, i, s, d in zip(text["task"], text["model"], size, run_seed, draw, strict=True)
            ],
            dtype=object,
        ),
        **_same(n, "run"),
        "seed": run_seed.astype(float),
        "draw": draw.astype(float),
        "parameters": np.array(widths, dtype=float)[size] ** 2 * 3,
        "data": np.full(n, 512.0),
        "train_flop": train,
        "train_energy_j": train * j_per_flop,
        "train_seconds": train * s_per_flop,
        "tune_flop": train * tune_trials,
        "tune_energy_j": train * j_per_flop * tune_trials,
        "tune_seconds": train * s_per_flop * tune_trials,
        **{f"tune_{cost}_unknown": np.zeros(n) for cost in ("flop", "energy_j", "seconds")},
        "tune_trials": np.full(n, float(tune_trials)),
        **_inference(batch * 10, unknown_energy),
        "peak_memory_bytes": 1e8 + 100 * batch,
        "shared_by": np.full(n, float(run_seed.max() + 1)),
        "uncounted": np.zeros(n),
        f"metrics.{METRIC}": last,
        "metrics.rollout_nrmse": np.minimum(20 * last, 1.5),
    }
    return runs, points


def _same(n: int, role: str) -> dict[str, np.ndarray]:
    """Columns of text that are the same for all runs."""
    values = {
        "role": role,
        "backend": "jax",
        "device": "cpu",
        "device_name": "a processor",
        "energy_method": "modelled",
    }
    values["started"] = "2026-01-01T00:00:00+00:00"
    return {name: np.full(n, value, dtype=object) for name, value in values.items()}


def _repeated(values: list[str], counts: list[int]) -> np.ndarray:
    return np.repeat(np.array(values, dtype=object), counts)


def _inference(flop: np.ndarray, unknown_energy: bool) -> dict[str, np.ndarray]:
    joules = np.full(len(flop), np.nan) if unknown_energy else flop * J_PER_FLOP
    return {
        "infer_flop_per_time_unit": flop,
        "infer_energy_j_per_time_unit": joules,
        "infer_seconds_per_time_unit": flop * J_PER_FLOP / POWER_W,
    }


def _with_references(
    runs: dict[str, np.ndarray], points: dict[str, np.ndarray], rows: list[tuple[str, str]], unknown_energy: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A run of each reference for each (task, condition): a curve of one point, at what fitting it costs."""
    first, count = len(runs["identity"]), len(rows) * len(REFERENCES)
    error, flop = np.tile(np.array(list(REFERENCES.values())), (len(rows), 1)).T
    model = np.tile(np.array(list(REFERENCES), dtype=object), len(rows))
    joules = np.full(count, np.nan) if unknown_energy else flop * J_PER_FLOP
    task, condition = (np.repeat(np.array(column, dtype=object), len(REFERENCES)) for column in zip(*rows, strict=True))
    zero, none = np.zeros(count), np.full(count, "", dtype=object)
    costs = {"flop": flop, "energy_j": joules, "seconds": flop * J_PER_FLOP / POWER_W}
    infer = np.where(model == "simulator", 1e9, np.where(model == "true_physics", 1e8, 1e3))
    added = {
        "identity": np.array([f"{first + i:016x}" for i in range(count)], dtype=object),
        "task": task,
        "condition": condition,
        "model": model,
        "configuration": np.full(count, "n_train=512", dtype=object),
        "status": np.full(count, "finished", dtype=object),
        "reason": none,
        "command": np.array(
            [f"python -m experiments run {t} model={m}" for t, m in zip(task, model, strict=True)], object
        ),
        **_same(count, "reference"),
        "seed": zero,
        "draw": zero,
        "parameters": np.where(model == "linear", 12.0, 0.0),
        "data": np.full(count, 512.0),
        **{f"train_{name}": cost for name, cost in costs.items()},
        **{f"tune_{name}": zero for name in costs},
        **{f"tune_{cost}_unknown": zero for cost in ("flop", "energy_j", "seconds")},
        "tune_trials": zero,
        **_inference(infer, unknown_energy),
        "peak_memory_bytes": np.full(count, 1e8),
        "shared_by": np.ones(count),
        "uncounted": zero,
        f"metrics.{METRIC}": error,
        "metrics.rollout_nrmse": np.minimum(20 * error, 1.5),
    }
    curve = {"run": first + np.arange(count), "step": zero, "samples": np.where(flop > 0, 512.0, 0.0), **costs}
    curve |= {f"tuned_{name}": cost for name, cost in costs.items()}
    curve |= {"error": error, f"test.{METRIC}": error, "test.rollout_nrmse": np.minimum(20 * error, 1.5)}
    return tuple(
        {name: np.concatenate([old[name], new[name]]) for name in old} for old, new in ((runs, added), (points, curve))
    )  # type: ignore[return-value]
