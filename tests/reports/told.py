"""A study by hand in which models are told priors: errors as given, so that what is made of them can be checked."""

from collections.abc import Mapping, Sequence

import numpy as np

from reports.floors import HARD, SOFT, Floor, Floors, Told
from reports.study import StudyData, spread

ONE_STEP, ROLLOUT = "one_step_nrmse", "rollout_nrmse"
CURVE = ((10.0, 1e6), (3.0, 1e7), (1.0, 1e8))  # (error over that of the end, training FLOP)
WORDS = {HARD: "network=false", SOFT: "network=true"}


def told_study(
    measured: Mapping[str, Mapping[float, Sequence[float]]],
    boxes: Mapping[str, Sequence[float]],
    floors: Mapping[float, float],
    *,
    task: str = "lorenz63",
    draws: Sequence[float] = (0.0,),
    notes: Sequence[str] = (),
) -> StudyData:
    """`measured`: by how (HARD, SOFT), by delta, the one-step errors of seeds 0, 1, … (a hard run has one); `boxes`:
    those of black boxes, which run once for all deltas; `floors`: by delta. All double from one of `draws` to the next,
    and rollouts have ten times the one-step errors."""
    rows, told, known = [], [], []
    for how, by_delta in measured.items():
        for delta, errors in by_delta.items():
            condition, configuration = f"delta={delta:g}", f"{WORDS[how]} width=8"
            rows += [
                (condition, "hybrid_ode", configuration, seed, draw, error * 2**i)
                for i, draw in enumerate(draws)
                for seed, error in enumerate(errors)
            ]
            words = frozenset({condition, WORDS[how]})
            told.append(
                Told(task, condition, "hybrid_ode", configuration, "missing_term", delta, how, str(delta), words)
            )
    for model, errors in boxes.items():
        rows += [
            ("", model, "width=8", s, draw, e * 2**i) for i, draw in enumerate(draws) for s, e in enumerate(errors)
        ]
    for delta, error in floors.items():
        pairs = [(draw, error * 2**i) for i, draw in enumerate(draws)]
        known += [Floor(str(delta), draw, {ONE_STEP: own, ROLLOUT: 10 * own}) for draw, own in pairs]
    runs, points = _tables(task, rows)
    return StudyData(
        "told", "0" * 16, *spread(runs, points), structured=("hybrid_ode",), black_box=tuple(boxes),
        planned=len(rows), floors=Floors(tuple(told), tuple(known), tuple(notes), (ROLLOUT, ONE_STEP)),
    )  # fmt: skip


def _tables(task: str, rows: list[tuple]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    n = len(rows)
    condition, model, configuration, seed, draw, error = (list(column) for column in zip(*rows, strict=True))
    hard = [text.startswith(WORDS[HARD]) for text in configuration]
    text = {"task": [task] * n, "condition": condition, "model": model, "configuration": configuration}
    text |= {"identity": [f"{i:016x}" for i in range(n)], "reason": [""] * n, "command": [f"run {i}" for i in range(n)]}
    same = {"status": "finished", "role": "run", "backend": "jax", "device": "cpu", "device_name": "cpu"}
    text |= {name: [value] * n for name, value in same.items()} | {"energy_method": ["modelled:generic"] * n}
    flop = [0.0 if one else CURVE[-1][1] for one in hard]
    numbers = {"seed": seed, "draw": draw, "parameters": [0.0 if one else 100.0 for one in hard], "data": [512.0] * n}
    numbers |= {"train_flop": flop, "train_energy_j": flop, "train_seconds": flop, "uncounted": [0.0] * n}
    zero = ("tune_trials", "tune_flop", "tune_energy_j", "tune_seconds", "infer_flop_per_time_unit")
    numbers |= {name: [0.0] * n for name in zero} | {"shared_by": [1.0] * n}
    numbers |= {f"metrics.{ONE_STEP}": error, f"metrics.{ROLLOUT}": [10 * e for e in error]}
    runs = {name: np.array(column, dtype=object) for name, column in text.items()}
    runs |= {name: np.array(column, dtype=float) for name, column in numbers.items()}
    curve = [
        (i, k, e * error[i], flop)
        for i in range(n)
        for k, (e, flop) in enumerate([(1.0, 0.0)] if hard[i] else CURVE)
    ]  # fmt: skip
    run, step, own, cost = (np.array(column, dtype=float) for column in zip(*curve, strict=True))
    points = {"run": run.astype(int), "step": step, "samples": cost, "error": own}
    points |= {name: cost for name in ("flop", "energy_j", "seconds", "tuned_flop", "tuned_energy_j", "tuned_seconds")}
    return runs, points | {f"test.{ONE_STEP}": own, f"test.{ROLLOUT}": 10 * own}
