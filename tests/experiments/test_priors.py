"""A prior on the command line, in identities, in studies, and the error floors that it induces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from experiments import prior_floor
from experiments.config import load
from experiments.drawing import Source
from experiments.errors import UserError
from experiments.evaluate import PRIMARY
from experiments.identity import planned_identity
from experiments.job import Job, Lane
from experiments.prior_floor import ONE_STEP, floor, floors, study_floors
from experiments.protocol import Protocol
from experiments.study.plan import make_plan
from experiments.study.spec import load_study, parse
from experiments.task import Task
from experiments.trajectories import Trajectories
from hardware.devices import Device
from physics_models.base import System
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.pendulum import Pendulum
from physics_models.priors.discovery import priors
from physics_models.simulate import Reference, SimulationError
from tests.learners.conftest import small_task

CPU = Device("cpu", "some processor")
MISSING = ["prior=missing_term", "prior.delta=0.1"]


@dataclasses.dataclass(frozen=True)
class Riccati(System):
    """dx/dt = rate x²: x = 1 / (1/x0 - rate t), until there is none."""

    rate: float = 1.0

    parameters: ClassVar[tuple[str, ...]] = ("rate",)
    term_names: ClassVar[tuple[str, ...]] = ("growth",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x",)

    def terms(self, t: Any, y: Any, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        return {"growth": p["rate"] * y**2}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.1, 1.0, 1)


def by_riccati(system: Any, y0: np.ndarray, times: np.ndarray) -> Reference:
    rate = system.field(0.0, np.ones(1))[0]
    ends = 1 / (rate * y0[:, 0])
    if (late := ends <= times[-1] - times[0]).any():
        raise SimulationError("it blows up", float(ends.min()), int(late.argmax()))
    return Reference(1 / (1 / y0 - rate * (times - times[0]))[..., None], 0.0, 0.0)


# -- the command line ----------------------------------------------------------------------------------------------

HYBRID = "run pendulum model=hybrid_ode "
WRONG: list[tuple[str, list[str]]] = [
    (HYBRID + "prior=missing_trm", ["prior must be one of", "did you mean missing_term?"]),
    (HYBRID + "prior.kind=missing", ["prior.kind must be one of", "did you mean missing_term?"]),
    (HYBRID + "prior=parameters prior.delta=1.5", ["prior.delta must be from 0 (exact) to 1", "1.5"]),
    (HYBRID + "prior=parameters prior.delta=-0.1", ["prior.delta must be from 0", "-0.1"]),
    (HYBRID + "prior=parameters prior.delta=nan", ["prior.delta", "nan"]),
    (HYBRID + "prior=parameters prior.delta=much", ["prior.delta must be a number", "much"]),
    (HYBRID + "prior=parameters prior.detla=0.1", ["no key prior.detla", "did you mean prior.delta?"]),
    (HYBRID + "prior.delta=0.1", ["prior.delta must be 0 for prior=default", "prior=parameters"]),
    (HYBRID + "prior=missing_term prior.term=dampin", ["prior.term must be one of", "did you mean damping?"]),
    (HYBRID + "prior=parameters prior.parameter=gravty", ["prior.parameter", "did you mean gravity?"]),
    (HYBRID + "prior=parameters prior.term=damping", ["prior.term belongs to prior=missing_term", "leave it out"]),
    (HYBRID + "prior=wrong_symmetry prior.symmetry=rotation", ["prior.symmetry must be one of time"]),
    (HYBRID + "prior=unknown_form prior.delta=0.5", ["prior.delta must be 0 for prior=unknown_form"]),
    ("run lorenz63 model=hybrid_ode prior=unknown_form", ["prior: Lorenz63 has no form"]),
    ("run pendulum model=mlp prior=missing_term", ["hybrid_ode", "model=mlp is not"]),
    ("run pendulum model=simulator prior=missing_term", ["model=simulator is not"]),
    (
        "run trajectories task.path=lynx_hare model=hybrid_ode prior=parameters",
        ["true ones, which nobody knows", "task=trajectories"],
    ),
]


@pytest.mark.parametrize(("command", "parts"), WRONG, ids=[command for command, _ in WRONG])
def test_a_mistake_in_a_prior(command: str, parts: list[str], here: Callable[..., Any]) -> None:
    done = here(*command.split())
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert not [part for part in parts if part not in done.err], done.err


def test_priors_are_listed(here: Callable[..., Any]) -> None:
    out = here("list", "prior").out
    assert all(name in out for name in priors.names())


# -- identities ----------------------------------------------------------------------------------------------------


def job_of(words: list[str]) -> tuple[str, Job]:
    settings = load("pendulum", words)
    tree, task = settings.tree, small_task("pendulum")
    job = Job(task, settings.model, tree["model"], settings.budget, settings.recipe, CPU, tree)
    return planned_identity(settings, Lane(0), CPU), job


def test_a_prior_is_part_of_the_runs_that_are_told_it() -> None:
    words = [["model=hybrid_ode", *more] for more in ([], MISSING, ["prior=missing_term"], ["prior=parameters"])]
    jobs = [job_of(each) for each in words]
    assert [planned for planned, _ in jobs] == [job.identity(Lane(0)) for _, job in jobs]
    assert len({planned for planned, _ in jobs}) == 4
    assert "prior" not in jobs[0][1].config(Lane(0))
    assert jobs[1][1].config(Lane(0))["prior"] == {"kind": "missing_term", "delta": 0.1}
    assert jobs[0][1].info.told is None
    told = jobs[1][1].info.told
    assert told is not None and told.known_terms == told.term_names
    # Of what is told to nobody, nothing depends on it: the references of a run are those of any other.
    for name in ("simulator", "persistence", "mlp"):
        options = load("pendulum", [f"model={name}"])
        plain, beside = (
            dataclasses.replace(job, model=options.model, options=options.tree["model"]) for _, job in jobs[:2]
        )
        assert beside.identity(Lane(0)) == plain.identity(Lane(0)) and beside.info is beside.task.info


def test_a_hard_prior_is_one_run_whatever_the_seed_and_budget() -> None:
    hard = ["model=hybrid_ode", "model.network=false", *MISSING]
    one, other = (load("pendulum", [*hard, *more]) for more in ([], ["budget.flop=1e7", "training.batch=8"]))
    assert len({planned_identity(s, Lane(seed), CPU) for s in (one, other) for seed in (0, 5)}) == 1


# -- studies -------------------------------------------------------------------------------------------------------

SMALL = {
    "structured": ["hybrid_ode"],
    "black_box": ["mlp"],
    "references": ["simulator"],
    "settings": {"prior.kind": "missing_term", "budget.flop": 1e8},
    "grid": [
        {"task": ["pendulum"], "model": ["mlp", "hybrid_ode"], "prior.delta": [0.0, 0.1, 0.3], "seed": [0, 1]},
        {
            "task": ["pendulum"],
            "model": ["hybrid_ode"],
            "model.network": [False],
            "prior.delta": [0.0, 0.1, 0.3],
            "seed": [0, 1],
        },
    ],
    "conditions": ["prior.delta", "model.network"],
    "scale": [],
}


def test_a_study_runs_a_black_box_once_for_all_priors() -> None:
    plan = make_plan(parse("small", json.dumps(SMALL)), CPU)
    found = [(unit.model, unit.condition, unit.learning, len(unit.lanes)) for unit in plan.units]
    hybrids = [
        ("hybrid_ode", f"network={network} delta={delta}", learning, lanes)
        for network, learning, lanes in (("true", "gradient", 2), ("false", "none", 1))
        for delta in ("0", "0.1", "0.3")
    ]
    assert sorted(found) == sorted([("mlp", "", "gradient", 2), ("simulator", "", "none", 1), *hybrids])


def test_every_trial_of_a_black_box_is_one_of_all_priors() -> None:
    tuning = {"trials": 2, "space": {"training.learning_rate": {"log_uniform": [1e-4, 1e-2]}}}
    plan = make_plan(parse("small", json.dumps({**SMALL, "tuning": tuning})), CPU)
    lanes = [unit for unit in plan.units if unit.model == "mlp"]
    assert sum(len(unit.lanes) for unit in lanes if unit.identities) == 2  # the trials
    assert sum(len(unit.lanes) for unit in lanes if not unit.identities) == 2  # the seeds


def test_the_shipped_study_is_one() -> None:
    plan = make_plan(load_study("priors"), CPU)
    assert {unit.condition for unit in plan.units if unit.model != "hybrid_ode"} == {""}
    assert len({unit.condition for unit in plan.units}) == 1 + 5
    hard = [unit for unit in plan.units if unit.learning == "none" and unit.model == "hybrid_ode"]
    assert len(hard) == 2 * 5 and all(len(unit.lanes) == 1 for unit in hard)
    names = [name for unit in plan.units for name in unit.identities]
    assert len(names) == len(set(names))


# -- floors --------------------------------------------------------------------------------------------------------


def by_scipy(system: System, y0: np.ndarray, times: np.ndarray) -> Reference:
    """`simulate` without the seconds that JAX compiles for every told system."""
    solved = solve_ivp(
        lambda t, y: system.field(t, y.reshape(y0.shape)).ravel(),
        times[[0, -1]], y0.ravel(), "DOP853", times, rtol=1e-11, atol=1e-11,
    )  # fmt: skip
    return Reference(np.moveaxis(solved.y.reshape(*y0.shape, -1), -1, 1), 0.0, 1e-11)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_floor, "simulate", by_scipy)


CASES = [
    ("pendulum", "missing_term"),
    ("pendulum", "wrong_symmetry"),
    ("cucker_smale", "wrong_term"),
    ("lotka_volterra", "parameters"),
    ("lorenz63", "parameters"),
]


@pytest.mark.parametrize(("system", "kind"), CASES)
def test_floors_are_proportional_to_a_small_delta(system: str, kind: str, quick: None) -> None:
    rows = floors(small_task(system), kind, [0.0, 1e-4, 2e-4, 1e-2, 1e-1])
    for name in (PRIMARY, ONE_STEP):
        zero, one, two, *large = (row[name] for row in rows)
        assert zero < 1e-8  # the solver's own
        # The second order is delta times a ratio of derivatives: 1e-4 times some tens at most.
        assert two / one == pytest.approx(2, rel=5e-3) and one > 1e-7
        assert two < large[0] < large[1]


def test_the_first_order_of_one_step_is_the_field_error(quick: None) -> None:
    """After a short interval h a state is off by h times the error of the field."""
    task, delta = small_task("pendulum"), 1e-3
    prior = priors.load("missing_term")(delta=delta)
    assert task.system is not None
    y = task.test.y[:, :-1].reshape(-1, 2)
    wrong = prior.tell(task.system).field(0.0, y) - task.system.field(0.0, y)
    interval = float(task.test.times[0, 1])
    expected = np.sqrt(np.mean((interval * wrong / task.scales.step_std) ** 2))
    # An interval of 0.1 on a time scale of one: the rest is of the relative order h.
    assert floor(task, prior)[ONE_STEP] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("kind", ["missing_term", "wrong_symmetry"])
def test_a_hard_run_comes_to_the_floor(kind: str, quick: None) -> None:
    """A run's own errors, with a solver of order 4 in steps of 0.01: its error is 1e-8 a unit of time."""
    from experiments.evaluate import test_results
    from experiments.metrics.discovery import metrics

    words = ["model=hybrid_ode", "model.network=false", "model.steps=10", f"prior={kind}", "prior.delta=0.1"]
    _, job = job_of([*words, "backend=torch", "dtype=float64"])
    learner = job.learner([Lane(0)])
    wanted = {name: metrics.load(name)() for name in (PRIMARY, ONE_STEP)}
    found = test_results(learner, job.task, wanted).metrics[0]
    floor_of = floor(job.task, priors.load(kind)(delta=0.1))
    for name in wanted:
        assert found[name] == pytest.approx(floor_of[name], rel=1e-5) and floor_of[name] > 1e-3


@pytest.mark.slow  # JAX compiles the solver
def test_a_floor_with_the_reference_solver() -> None:
    """The same with the solver that makes the data."""
    task, prior = small_task("pendulum"), priors.load("parameters")(delta=0.1)
    real = floor(task, prior)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_floor, "simulate", by_scipy)
        assert real == pytest.approx(floor(task, prior), rel=1e-7)


def test_floors_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small_task("pendulum")
    unknown = dataclasses.replace(task, exact=False)
    with pytest.raises(ValueError, match="true equations of the task must be known"):
        floor(unknown, priors.load("parameters")(delta=0.1))

    by_chance = dataclasses.replace(task, source=Source(Pendulum(), Protocol(process_noise=0.1), None))
    with pytest.raises(ValueError, match=r"task.process_noise adds chance to pendulum"):
        floor(by_chance, priors.load("parameters")(delta=0.1))

    def fails(problem: SimulationError) -> Any:
        def simulate(*_: Any) -> Reference:
            raise problem

        return simulate

    monkeypatch.setattr(prior_floor, "simulate", fails(SimulationError("it blows up", stopped_at=0.1)))
    assert floor(task, priors.load("parameters")(delta=0.1)) == {PRIMARY: np.inf, ONE_STEP: np.inf}
    monkeypatch.setattr(prior_floor, "simulate", fails(SimulationError("too many steps")))
    with pytest.raises(SimulationError, match="too many steps"):  # which says nothing of the prior
        floor(task, priors.load("parameters")(delta=0.1))


def test_what_is_cut_where_it_blows_up_is_solved_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """x' = x², x = 1 / (1/x0 - t): of the exact prior the floor is 0, though the longest row's times are beyond the
    ends of others, and beyond the truth's own for one-step starts."""
    monkeypatch.setattr(prior_floor, "simulate", by_riccati)
    starts, dt = np.array([1.0, 2.0, 0.2]), 0.1
    times, lengths = np.arange(11) * dt, np.array([10, 5, 11])
    with np.errstate(divide="ignore"):
        y = 1 / (1 / starts[:, None] - times)
    inside = np.arange(11) < lengths[:, None]
    data = Trajectories(np.where(inside, times, np.nan), np.where(inside, y, np.nan)[..., None], lengths, ("x",))
    task = Task("riccati", Riccati(), True, train=data, val=data, test=data, unit=1.0)
    exact = floor(task, priors.load("parameters")(delta=0.0))
    assert exact == {PRIMARY: pytest.approx(0, abs=1e-9), ONE_STEP: pytest.approx(0, abs=1e-9)}
    wrong = floor(task, priors.load("parameters")(delta=0.3))
    assert 0 < wrong[ONE_STEP] < np.inf and wrong[PRIMARY] == np.inf  # 1.3 x² goes off before the truth ends


def test_where_equations_depend_on_time_floors_have_the_time(quick: None) -> None:
    """Exactly told, a driven pendulum has no floor; nor has a run any other error than that of its solver."""
    from experiments.evaluate import test_results
    from experiments.metrics.discovery import metrics

    words = ["model=hybrid_ode", "model.network=false", "model.steps=10", "prior=wrong_symmetry", "backend=torch"]
    _, job = job_of([*words, "dtype=float64", "prior.delta=0.1"])
    driven = dataclasses.replace(small_task("pendulum"), name="driven")
    system = dataclasses.replace(driven.system, drive=0.5)  # type: ignore[type-var]
    y = by_scipy(system, driven.test.y[:, 0], driven.test.times[0]).y
    driven = dataclasses.replace(driven, system=system, test=dataclasses.replace(driven.test, y=y))
    assert floor(driven, priors.load("parameters")(delta=0.0))[PRIMARY] < 1e-8
    # Of the told equations alone, which the truth does not share: seasons that begin with the trajectory.
    learner, prior = job.learner([Lane(0)]), priors.load("wrong_symmetry")(delta=0.1, symmetry="time")
    wanted = {PRIMARY: metrics.load(PRIMARY)()}
    found = test_results(learner, job.task, wanted).metrics[0][PRIMARY]
    assert found == pytest.approx(floor(job.task, prior)[PRIMARY], rel=1e-5)
    told = prior.tell(job.task.system)  # type: ignore[arg-type]
    unit = job.task.segments["test"]
    late = dataclasses.replace(unit, times=unit.times + 0.5)
    clocks = [job.task.clock(segments, job.task.test, told=True) for segments in (unit, late)]
    early, later = (prior_floor._solved(told, unit, clock) for clock in clocks)
    assert not np.allclose(early[:, -1], later[:, -1])


def test_uneven_times_are_solved_together(quick: None) -> None:
    """Segments with times of their own come to what each comes to alone."""
    system = LotkaVolterra()
    told = priors.load("parameters")(delta=0.1).tell(system)
    even = small_task("lotka_volterra")
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(0, 1, (3, 6)), axis=1) + 5.0
    y0 = even.test.y[[0, 1, 0], 0]
    mask = np.arange(6) < np.array([6, 4, 6])[:, None]
    segments = prior_floor.Segments(np.where(mask, times, np.nan), np.tile(y0[:, None], (1, 6, 1)), mask, np.arange(3))
    found = prior_floor._solved(told, segments, None)
    for row in range(3):
        own = times[row, mask[row]]
        alone = by_scipy(told, y0[[row]], own - own[0]).y[0]
        # Times closer than a millionth of the shortest interval count as one.
        np.testing.assert_allclose(found[row, mask[row]], alone, atol=1e-5)


def test_the_rows_of_a_study(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    loaded: list[str] = []

    def small(settings: Any, report: Any) -> Task:
        loaded.append(settings.task_name)
        return small_task(settings.task_name)

    monkeypatch.setattr("experiments.main_job.load_task", small)
    rows = study_floors(parse("small", json.dumps(SMALL)))
    assert loaded == ["pendulum"]
    assert [(row["task"], row["kind"], row["delta"]) for row in rows] == [
        ("pendulum", "missing_term", delta) for delta in (0.0, 0.1, 0.3)
    ]
    assert rows[0][PRIMARY] < 1e-8 < rows[1][PRIMARY] < rows[2][PRIMARY]


def test_an_unknown_study_value_is_told() -> None:
    wrong = {**SMALL, "settings": {"prior.kind": "missing_trm", "budget.flop": 1e8}}
    with pytest.raises(UserError, match=r"prior\.kind must be one of .* did you mean missing_term"):
        make_plan(parse("small", json.dumps(wrong)), CPU)
