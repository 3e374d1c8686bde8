"""What every model keeps, shipped or not, on both backends and every shipped system."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Float, jaxtyped

from hardware.meter import Meter
from learners.base import Model
from learners.discovery import models
from learners.learner import Budget, Learner, Progress
from physics_models.base import Map
from physics_models.discovery import systems
from tests.learners.conftest import (
    BACKENDS,
    RECIPE,
    Relaxation,
    held_out,
    make_learner,
    small_system,
    small_task,
    train,
)

NAMES = models.names()
SEEDS = (0, 7)
SMALL = {"width": 8, "depth": 1}


def small(name: str, **options: Any) -> Model:
    kind = models.load(name)
    fields = {f.name for f in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in SMALL.items() if key in fields} | options)


# Models that say where a system goes. The others answer questions about tracks, and have tests of their own.
FORECASTERS = [name for name in NAMES if small(name).skip(small_task("pendulum").info, "torch") is None]
# JAX compiles a second to five for each case, so each model has one quick system, of states (D,) or (N, D); the twins
# have the other shape, and that every system's equations run in JAX is a test of its own (tests/physics_models).
QUICK = {
    name: "cucker_smale" if name in ("linear", "mlp", "neural_ode", "simulator") else "pendulum" for name in FORECASTERS
}


def kind_of(system: str) -> tuple[bool, ...]:
    """What a model can see of a system's structure: systems alike in this are alike to it."""
    made = small_system(system)
    known = made.structure
    with_agents, with_grid = known.agents is not None, known.grid is not None
    return with_agents, with_grid, known.order == 2, known.box is not None, made.stiff, isinstance(made, Map)


# One system of each kind. In torch, every model meets these, and every system meets `true_physics`: it needs all of the
# system's equations, and their derivatives with respect to states and parameters. All others are of the slow tests.
OF_A_KIND = {kind_of(name): name for name in reversed(("pendulum", "cucker_smale", *systems.names()))}.values()
ON_ALL = "true_physics"


def cases() -> Iterator[Any]:
    for backend in BACKENDS:
        for system in systems.names():
            for name in FORECASTERS:
                quick = system == QUICK[name] if backend == "jax" else name == ON_ALL or system in OF_A_KIND
                marks = [] if quick else [pytest.mark.slow]
                yield pytest.param((name, system, backend), marks=marks, id=f"{name}-{system}-{backend}")


@dataclass
class Case:
    """A model after a small budget, in single precision, and all that its training told."""

    model: Model
    system: str
    backend: str
    learner: Learner
    progress: list[Progress]


@pytest.fixture(scope="module", params=list(cases()))
def case(request: pytest.FixtureRequest) -> Case:
    name, system, backend = request.param
    model = small(name)
    if reason := model.skip(small_task(system).info, backend):
        pytest.skip(reason)
    learner = make_learner(model, backend, system, SEEDS, dtype="float32")
    learner.compile()
    return Case(model, system, backend, learner, list(learner.fit(Budget(sample=5 * RECIPE.batch), Meter())))


def test_trains_within_its_budget(case: Case) -> None:
    last = case.progress[-1]
    assert last.checkpoint and all(len(p.flop) == len(p.executed) == len(p.loss) == len(SEEDS) for p in case.progress)
    assert all(isinstance(f, int) for f in last.flop) and not any(cost.uncounted for cost in last.costs)
    if case.model.learning == "none":
        assert last.flop == [0, 0]
        return
    assert min(last.flop) > 0 and last.seconds > 0
    if case.model.learning == "gradient":
        assert last.samples == 5 * RECIPE.batch and np.isfinite(last.loss).all()
        assert [p.step for p in case.progress] == sorted({p.step for p in case.progress})


def test_predicts_the_right_shapes(case: Case) -> None:
    y0, times = held_out(case.system)
    task = small_task(case.system)

    @jaxtyped(typechecker=beartype)
    def predict() -> Float[np.ndarray, "seeds trajectories points ..."]:
        return case.learner.predict(y0, times)[0]

    states = predict()
    assert states.shape == (len(SEEDS), *times.shape, *task.info.state_shape)
    assert np.isfinite(states).all()
    for seed in states:
        np.testing.assert_array_equal(seed[:, 0], y0.astype(np.float32))  # it starts where it is told to


def test_single_precision_stays_single(case: Case) -> None:
    for seed in range(len(SEEDS)):
        assert {value.dtype for value in case.learner.engine.weights(seed).values()} <= {np.dtype("float32")}
    states, _ = case.learner.predict(*held_out(case.system))
    np.testing.assert_array_equal(states, states.astype(np.float32))


def test_parameter_count_is_what_the_engine_holds(case: Case) -> None:
    for seed in range(len(SEEDS)):
        held = sum(value.size for value in case.learner.engine.weights(seed).values())
        assert case.learner.parameters == case.model.count(case.learner.info) == held


def test_inference_is_counted(case: Case) -> None:
    y0, times = held_out(case.system)
    _, half = case.learner.predict(y0, times[:, : times.shape[1] // 2 + 1], count_flop=True)
    _, whole = case.learner.predict(y0, times, count_flop=True)
    assert half is not None and whole is not None
    if type(case.model).__name__ == "Persistence":
        assert whole == 0
    else:
        assert whole == pytest.approx(2 * half) and half > 0  # fixed steps: the cost is that of the intervals


SIMILAR = ("neural_ode", "hybrid_ode")  # to `mlp` in this respect, and slower to compile
TOGETHER = [
    pytest.param(name, backend, marks=[pytest.mark.slow] if backend == "jax" and name in SIMILAR else [])
    for name in FORECASTERS
    for backend in BACKENDS
    if models.load(name).stochastic
]


@pytest.mark.parametrize(("name", "backend"), TOGETHER)
def test_seeds_together_are_seeds_alone(name: str, backend: str) -> None:
    """To rounding: a vmapped product may add in another order, 1e-16 a sum, and Adam passes that on (see the twins)."""
    together = make_learner(small(name), backend, seeds=SEEDS)
    alone = make_learner(small(name), backend, seeds=SEEDS[1:])
    if together.model.learning == "gradient":
        np.testing.assert_allclose(train(together, 4).losses[1], train(alone, 4).losses[0], rtol=1e-12)
    else:
        ends = [list(learner.fit(Budget(flop=1e9), Meter()))[-1] for learner in (together, alone)]
        assert ends[0].loss[1] == pytest.approx(ends[1].loss[0], rel=1e-12)
    for key, value in alone.engine.weights(0).items():
        np.testing.assert_allclose(together.engine.weights(1)[key], value, rtol=1e-9, atol=1e-12)
    assert any(np.any(together.engine.weights(0)[k] != v) for k, v in together.engine.weights(1).items())


@pytest.mark.parametrize("name", NAMES)
def test_is_a_frozen_dataclass_that_states_its_equation(name: str) -> None:
    model, info = small(name), small_task("pendulum").info
    for f in dataclasses.fields(model):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(model, f.name, getattr(model, f.name))
    doc = type(model).__doc__ or ""
    assert "dy/dt = " in doc or "y(t1) = " in doc or name not in FORECASTERS
    assert all(f.name in doc or f.name in OF_MANY for f in dataclasses.fields(model))
    assert model.has_fixed_cost
    if any(f.name == "solver" for f in dataclasses.fields(model)):
        assert not small(name, solver="dopri5").has_fixed_cost
    assert (model.skip(info, "jax") is None) == (name in FORECASTERS)
    assert model.skip(dataclasses.replace(info, system=None), "jax") != ""


# Hyperparameters that several models share, and that base classes and specs document.
OF_MANY = ("solver", "steps", "rtol", "atol", "width", "depth", "activation")


def wrong_values() -> Iterator[Any]:
    for name in NAMES:
        for f in dataclasses.fields(models.load(name)):
            wrong = {
                "int": [0, -1, 2.5, True, "many"],
                "float": [float("nan"), float("inf"), -1.0, "some"],
                "bool": ["perhaps"],
                "str": ["nonsense"],
            }[str(f.type)]
            yield from (pytest.param(name, f.name, value, id=f"{name}-{f.name}-{value}") for value in wrong)


@pytest.mark.parametrize(("name", "key", "value"), list(wrong_values()))
def test_impossible_hyperparameters_are_refused_by_name(name: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key} must be .* {value!r}$"):
        model = small(name, **{key: value})
        model.parts(small_task("pendulum").info)  # terms can be judged only when the system is known


# -- a model that nobody here has heard of -------------------------------------------------------------------------


WHOLE = dataclasses.replace(RECIPE, batch=80)  # all windows in every batch: losses of several steps compare


@pytest.mark.parametrize("system", ["pendulum", "cucker_smale"])
def test_a_third_partys_model_needs_no_edit(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("relaxation", f"{Relaxation.__module__}:Relaxation", "learners")
    monkeypatch.setitem(models.__dict__, "_entry_points", {"relaxation": entry})  # a cached property
    assert "relaxation" in models.names() and models.summaries()["relaxation"] == f"from {entry.value}"
    model = models.load("relaxation")(first_guess=1.0)
    losses = []
    for backend in BACKENDS:
        learner = make_learner(model, backend, system, recipe=WHOLE)
        assert learner.parameters == len(learner.info.variables)
        losses.append(train(learner, 10).losses[0])
        assert np.isfinite(learner.predict(*held_out(system))[0]).all()
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(*losses, rtol=1e-10)  # as the twins of shipped models
    with pytest.raises(ValueError, match="first_guess must be a finite number, but it is nan"):
        models.load("relaxation")(first_guess=float("nan"))


def test_an_entry_point_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("stranger", "learners.base:TaskInfo", "learners")
    monkeypatch.setitem(models.__dict__, "_entry_points", {"stranger": entry})
    with pytest.raises(TypeError, match=r"learners\.base:TaskInfo must be a subclass of learners\.base\.Model"):
        models.load("stranger")
    with pytest.raises(KeyError, match=r"no model is called 'neural_od' \(did you mean 'neural_ode'\?\)"):
        models.load("neural_od")
