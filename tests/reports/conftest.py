"""Synthetic records: small, exact, and of every kind that a store may hold."""

import math

import numpy as np
import pytest

from experiments.record import Costs, Point, Record, identity_of

HOSTILE = (
    "<b>bold</b>",
    "a|b",
    "x_{1}%$\\input",
    "[red]danger[/red]",
    "=cmd()",
    "_~^&#\"'`*--",
    "\x1b[31mred\nline\x00",
)
UNITS = {"rollout_nrmse": "1, lower is better", "valid_time": "time units, higher is better"}


def make_record(model="neural_ode", seed=0, errors=(1.0, 0.1, 0.01), flops=(10**6, 10**7, 10**8), **changes):
    """A record whose curve has the given errors at the given FLOP, 1 nJ a FLOP."""
    points = tuple(
        Point(i, 10 * i, flop, flop * 1e-9, flop * 1e-9, None, error)
        for i, (flop, error) in enumerate(zip(flops, errors, strict=True))
    )
    final = errors[-1] if errors else None
    settings = changes.pop("settings", {})
    config = {
        "task": {"name": "flocking", "agents": 16},
        "model": {"name": model, **settings},
        "budget": {"flop": 1e8},
        "training": {"rate": 1e-3},
        "seed": seed,
    }
    flop = flops[-1] if flops else 0
    method = changes.pop("energy_method", "modelled:generic-cpu")
    costs = Costs(
        train_flop=flop,
        train_flop_executed=flop,
        infer_flop_per_time_unit=2.5e6,
        flop_method="jaxpr",
        uncounted=changes.pop("uncounted", ()),
        seconds={"train": 2.0, "compile": 1.0},
        energy_j={"train": flop * 1e-9},
        energy_method=method,
        energy_uncertainty=changes.pop("energy_uncertainty", 0.5),
        peak_memory_bytes=2 * 10**8,
    )
    fields = {
        "task": "flocking",
        "backend": "jax",
        "device": "cpu",
        "status": "finished",
        "config": config,
        "parameters": 100,
        "metrics": {"rollout_nrmse": final, "valid_time": None if not final else min(1.0, 0.05 / final)},
        "metric_units": UNITS,
        "costs": costs,
        "curve": points,
        "facts": {"primary_metric": "rollout_nrmse", "horizon": "1 time unit", "n_train": 64, "integrator_floor": 1e-9},
        "code": "abc",
        **changes,
    }
    return Record(
        identity=identity_of({**config, "on": [fields["backend"], fields["device"]]}), model=model, seed=seed, **fields
    )


def make_reference(model, error, flop=0):
    """A record without a curve, as of a closed-form fit or of a model that needs no training."""
    costs = Costs(
        train_flop=flop,
        flop_method="formula",
        energy_j={"train": flop * 1e-9} if flop else {},
        energy_method="modelled:generic-cpu" if flop else "",
        energy_uncertainty=0.5 if flop else None,
    )
    return make_record(model, errors=(), flops=(), metrics={"rollout_nrmse": error, "valid_time": 0.1}, costs=costs)


@pytest.fixture(scope="session")
def record():
    return make_record


@pytest.fixture(scope="session")
def reference():
    return make_reference


@pytest.fixture(scope="session")
def hostile():
    return HOSTILE


@pytest.fixture(scope="session")
def everything():
    """Runs of every status, with every reference row, over several seeds."""
    runs = [make_record(seed=seed, errors=(1.0, 0.1, 0.01 * (1 + seed))) for seed in range(3)]
    runs += [make_record("hybrid_ode", seed=seed, errors=(0.5, 0.01, 0.001), uncounted=("sort",)) for seed in range(2)]
    runs += [
        make_record("mlp", errors=(1.0, 0.5), flops=(10**6, 10**7)),
        make_record(
            "mlp", seed=1, errors=(1.0, 2.0), flops=(10**6, 10**7), status="diverged", reason="grew", metrics={}
        ),
        make_record("gone", errors=(1.0, math.nan, None), status="diverged", reason="not a number", metrics={}),
        make_record("unfit", errors=(), flops=(), status="skipped", reason="needs 3-D", metrics={}, costs=Costs()),
    ]
    references = (
        ("persistence", 0.8, 0),
        ("linear", 0.3, 10**5),
        ("true_physics", 1e-6, 10**6),
        ("simulator", 1e-9, 0),
    )
    return runs + [make_reference(*what) for what in references]


@pytest.fixture(scope="session")
def hostile_records():
    """As many models, settings, metrics and reasons as there are hostile names."""
    return [
        make_record(
            name,
            errors=(1.0, 0.1 / (i + 1)),
            flops=(10**6, 10**7),
            settings={name: f"{name}{k}"},
            seed=k,
            metrics={"rollout_nrmse": 0.1 / (i + 1), name: 1.0},
            metric_units={"rollout_nrmse": "1, lower is better", name: f"{name}, higher is better"},
            energy_method=name,
            reason=name,
            uncounted=(name,),
        )
        for i, name in enumerate(HOSTILE)
        for k in range(2)
    ]


@pytest.fixture(scope="session")
def write_example():
    """Write an `example.npz` as a run leaves it; `error` grows with time in the prediction."""

    def write(folder, agents=0, error=0.1, variables=("x", "y", "vx", "vy"), space_dim=2):
        folder.mkdir(parents=True, exist_ok=True)
        times = np.linspace(0.0, 1.0, 11)
        shape = (agents, len(variables)) if agents else (len(variables),)
        slopes = np.linspace(-1.0, 1.0, math.prod(shape)).reshape(shape)
        truth = 1.0 + times.reshape(-1, *[1] * len(shape)) * slopes
        predicted = truth * (1 + error * times.reshape(-1, *[1] * len(shape)))
        np.savez(
            folder / "example.npz",
            times=times,
            truth=truth,
            predicted=predicted,
            variables=np.array(variables),
            space_dim=space_dim,
        )
        return folder

    return write
