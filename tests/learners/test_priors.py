"""Hybrid models under a prior: what they are told, hard and soft, and networks that take a told form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hardware.meter import Meter
from learners.base import MLP, Model, TaskInfo
from learners.discovery import models
from learners.forms import form_parts, form_rates
from learners.learner import Budget, Learner
from physics_models.base import System
from physics_models.pendulum import Pendulum
from physics_models.priors.discovery import priors
from tests.learners.conftest import BACKENDS, POINTS, RECIPE, SPACING, held_out, small_task, train

TWINS = dataclasses.replace(RECIPE, batch=64)
# The two backends add in different orders: see tests/learners/test_twins.py.
SAME = 1e-10


def info_of(system: str, kind: str, delta: float = 0.0, **options: Any) -> TaskInfo:
    info, prior = small_task(system).info, priors.load(kind)(delta=delta, **options)
    assert info.system is not None
    return dataclasses.replace(info, told=prior.tell(info.system), form=prior.told_form(info.system))


def undamped(**options: Any) -> TaskInfo:
    """The pendulum's data scales with equations that conserve an energy."""
    return dataclasses.replace(small_task("pendulum").info, system=Pendulum(damping=0.0), form="hamiltonian", **options)


def learner(model: Model, info: TaskInfo, backend: str, system: str, seeds: tuple[int, ...] = (0,)) -> Learner:
    points = small_task(system).points(1)
    return Learner(model, info, TWINS, points, seeds, backend, "float64", predict_batch=4, predict_times=POINTS - 1)


def hybrid(**options: Any) -> Model:
    return models.load("hybrid_ode")(width=16, depth=1, **options)


def exact_solution(system: System, y0: np.ndarray) -> np.ndarray:
    """(B, POINTS, *state) from SciPy, to 1e-11."""
    times = np.arange(POINTS) * SPACING
    solved = [
        solve_ivp(
            lambda t, y: system.field(t, y.reshape(system.state_shape)).ravel(),
            times[[0, -1]], start.ravel(), "DOP853", times, rtol=1e-11, atol=1e-11,
        ).y.T
        for start in y0
    ]  # fmt: skip
    return np.stack(solved).reshape(len(y0), POINTS, *system.state_shape)


# -- hard: nothing is learned --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "kind", "options"),
    [
        ("pendulum", "missing_term", {}),
        ("pendulum", "wrong_symmetry", {}),  # depends on time
        ("cucker_smale", "parameters", {}),
        ("cucker_smale", "wrong_term", {}),
    ],
)
def test_hard_is_the_told_equations(system: str, kind: str, options: dict[str, Any]) -> None:
    info = info_of(system, kind, 0.3, **options)
    hard = hybrid(network=False, steps=8)
    assert (hard.learning, hard.stochastic, hard.parts(info)) == ("none", False, {})
    made = learner(hard, info, "torch", system)
    assert made.parameters == 0
    [last] = made.fit(Budget(flop=1e9), Meter())
    assert last.flop == [0]
    y0, times = held_out(system)
    told = info.told
    assert told is not None and info.system is not None
    wanted = exact_solution(told, y0)
    predicted = made.predict(y0, times)[0][0]
    # rk4 with steps of 0.0125 on time scales of one: its error is some 0.0125^4 / 100 a unit of time, 1e-9.
    np.testing.assert_allclose(predicted, wanted, atol=1e-7)
    assert np.abs(predicted - exact_solution(info.system, y0)).max() > 1e-3


def test_options_say_what_is_learned() -> None:
    assert (hybrid().learning, hybrid().stochastic) == ("gradient", True)
    fitted = hybrid(network=False, fit_parameters=True)
    assert (fitted.learning, fitted.stochastic) == ("gauss_newton", True)
    assert dataclasses.replace(fitted, network=True).learning == "gradient"


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_fit_without_a_network_finds_the_true_parameters(backend: str) -> None:
    info = info_of("pendulum", "parameters", 0.2)
    made = learner(hybrid(network=False, fit_parameters=True, steps=4), info, backend, "pendulum")
    list(made.fit(Budget(flop=1e9), Meter()))
    assert info.told is not None and info.system is not None
    weights = made.engine.weights(0)
    found = {
        name: value * np.exp(next(float(w) for key, w in weights.items() if name in key))
        for name, value in info.told.values.items()
        if value
    }
    # The residual is that of rk4, some 1e-8 of the increments, and a fit ends within 1e-2 of it: see test_twins.
    for name, value in found.items():
        if name in ("gravity", "damping"):
            assert value == pytest.approx(info.system.values[name], rel=1e-5)


def test_hard_needs_something_told() -> None:
    form = dataclasses.replace(small_task("cucker_smale").info, form="pairwise")
    assert "without a network" in (hybrid(network=False).skip(form, "jax") or "")
    nothing = dataclasses.replace(form, form="", told=priors.load("unknown_form")().tell(form.system))  # type: ignore[arg-type]
    assert "no parameters" in (hybrid(network=False, fit_parameters=True).skip(nothing, "jax") or "")
    assert hybrid().skip(form, "jax") is None


# -- soft: the told equations, and a network -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing_term", "wrong_term"])
def test_soft_starts_as_hard_and_learns_what_is_wrong(kind: str) -> None:
    info = info_of("pendulum", kind, 1.0)
    y0, times = held_out()
    soft, hard = (learner(hybrid(network=n), info, "torch", "pendulum") for n in (True, False))
    first = soft.predict(y0, times)[0]
    np.testing.assert_allclose(first, hard.predict(y0, times)[0], rtol=0, atol=1e-14)
    truth = small_task("pendulum").val.y
    train(soft, 100)
    assert np.abs(soft.predict(y0, times)[0][0] - truth).mean() < 0.5 * np.abs(first[0] - truth).mean()


def test_without_a_prior_known_terms_are_told() -> None:
    info = small_task("pendulum").info
    plain, told = hybrid(), info_of("pendulum", "missing_term")
    model: Any = plain
    ops = learner(plain, info, "torch", "pendulum").engine.ops  # type: ignore[attr-defined]
    parts = {"net": lambda x: 0 * x}
    y = ops.constant(held_out()[0])
    t = ops.constant(np.zeros((2, 1)))
    assert info.system is not None
    known = info.system.terms(0.0, held_out()[0], info.system.values, info.system.known_terms)
    np.testing.assert_allclose(model.field(ops, info, parts, t, y), sum(known.values()))
    np.testing.assert_allclose(model.field(ops, told, parts, t, y), info.system.field(0.0, held_out()[0]))
    chosen = dataclasses.replace(model, known="gravity")
    gravity = info.system.terms(0.0, held_out()[0], info.system.values, ["gravity"])["gravity"]
    np.testing.assert_allclose(chosen.field(ops, told, parts, t, y), gravity)
    with pytest.raises(ValueError, match=r"known must be .* 'spurious'"):
        dataclasses.replace(model, known="spurious").parts(told)
    assert dataclasses.replace(model, known="spurious").parts(info_of("pendulum", "wrong_term", 0.1))


# -- a told form ---------------------------------------------------------------------------------------------------


def drawn(info: TaskInfo, backend: str) -> tuple[Any, dict[str, Any]]:
    """Operations, and networks of the form with weights that are nowhere 0."""
    made = learner(
        hybrid(), dataclasses.replace(info, form=""), backend, "pendulum" if info.size == 2 else "cucker_smale"
    )
    ops: Any = made.engine.ops  # type: ignore[attr-defined]
    rng = np.random.default_rng(8)
    parts = {}
    for name, spec in form_parts(info, 16, 2, "silu").items():
        assert isinstance(spec, MLP)
        parts[name] = ops.build(spec, dataclasses.replace(spec, zero_last=False).draw(rng))
    return ops, parts


def rates(ops: Any, info: TaskInfo, parts: dict[str, Any], y: np.ndarray) -> np.ndarray:
    found = form_rates(ops, info, parts, ops.constant(y))
    return np.asarray(found.detach() if ops.name == "torch" else found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairwise_is_equivariant_whatever_its_weights(backend: str) -> None:
    info = dataclasses.replace(small_task("cucker_smale").info, form="pairwise")
    ops, parts = drawn(info, backend)
    y = small_task("cucker_smale").train.y[:, 3]
    f = rates(ops, info, parts, y)
    assert np.abs(f[..., 2:]).min() > 1e-6 and np.array_equal(f[..., :2], y[..., 2:])
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.kron(np.eye(2), [[c, -s], [s, c]])
    mirror = np.diag([-1.0, 1.0, -1.0, 1.0])
    for g in (turn, mirror):
        np.testing.assert_allclose(rates(ops, info, parts, y @ g.T), f @ g.T, atol=1e-13)
    np.testing.assert_allclose(rates(ops, info, parts, y[:, [2, 0, 1]]), f[:, [2, 0, 1]], atol=1e-13)
    np.testing.assert_allclose(rates(ops, info, parts, y + np.array([0.7, -1.3, 0, 0])), f, atol=1e-13)
    assert np.isfinite(rates(ops, info, parts, np.ones_like(y))).all()  # agents on top of each other


@pytest.mark.parametrize("backend", BACKENDS)
def test_hamiltonian_is_the_flow_of_its_network(backend: str) -> None:
    """Against differences of the network: dH/dt = 0, and the rates are its slopes."""
    info = undamped()
    ops, parts = drawn(info, backend)
    y = small_task("pendulum").train.y[:, 3]
    f = rates(ops, info, parts, y)

    def energy(y: np.ndarray) -> np.ndarray:
        scale = float(np.mean(info.rate_std * info.std[::-1]))
        value = parts["energy"](ops.constant((y - info.mean) / info.std))
        return scale * np.asarray(value.detach() if backend == "torch" else value)[:, 0]

    h = 1e-5 * np.eye(2)
    slope = np.stack([(energy(y + d) - energy(y - d)) / 2e-5 for d in h], axis=-1)
    assert np.abs(f).min() > 1e-4
    # Central differences: 1e-10 of truncation, 1e-16 / 1e-5 of rounding.
    np.testing.assert_allclose(f, np.stack([slope[:, 1], -slope[:, 0]], axis=-1), atol=1e-8)


def test_gradients_of_a_function() -> None:
    for backend in BACKENDS:
        ops = drawn(undamped(), backend)[0]
        y = ops.constant([[1.0, 2.0], [3.0, -1.0]])
        slope = ops.grad(lambda y: y[:, 0] ** 2 * y[:, 1], y)
        np.testing.assert_allclose(np.asarray(slope.detach() if backend == "torch" else slope), [[4, 1], [-6, 9]])


@pytest.mark.parametrize("form", [pytest.param("pairwise", marks=pytest.mark.slow), "hamiltonian"])
def test_forms_train_alike_in_both_frameworks(form: str) -> None:
    system = "cucker_smale" if form == "pairwise" else "pendulum"
    info = undamped() if form == "hamiltonian" else dataclasses.replace(small_task(system).info, form="pairwise")
    in_jax, in_torch = (learner(hybrid(), info, backend, system, (3, 4)) for backend in BACKENDS)
    done = [train(made, 12) for made in (in_jax, in_torch)]
    assert np.ptp(done[0].losses[0]) > 0
    np.testing.assert_allclose(done[1].losses, done[0].losses, rtol=SAME)
    assert not any(cost.uncounted for trained in done for cost in trained.costs)
    # In the gradient of a gradient the second derivative of SiLU is one fused operation in torch, and a dozen in JAX:
    # 5% of the work of a network as small as this. Elsewhere as in test_twins.
    assert done[1].flop == pytest.approx(done[0].flop, rel=0.01 if form == "pairwise" else 0.06)
    (states, flop), (others, other) = (made.predict(*held_out(system), True) for made in (in_jax, in_torch))
    np.testing.assert_allclose(others, states, rtol=SAME, atol=SAME * np.abs(states).max())
    assert flop is not None and other == pytest.approx(flop, rel=0.01)
    assert in_jax.parameters == sum(w.size for w in in_jax.engine.weights(0).values())
