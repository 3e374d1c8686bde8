"""What every prior keeps on every system that discovery finds, and the few laws of each kind."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from physics_models.base import Map, System
from physics_models.discovery import systems
from physics_models.flocking import Flocking
from physics_models.lorenz63 import Lorenz63
from physics_models.pendulum import Pendulum
from physics_models.priors.base import Prior, Told, forced
from physics_models.priors.discovery import priors

NAMES = systems.names()
DIALS = ("parameters", "missing_term", "wrong_term", "wrong_symmetry")
TIME = 0.3  # at 0 a season has not begun
# Libraries differ in the order of sums and the last bit of exp and sin: some thousand roundings of float64 (2e-16).
SAME = 1e-12


@functools.cache
def default(name: str) -> System:
    return systems.load(name)()


@functools.cache
def states(name: str) -> np.ndarray:
    """Three states from the system's law, somewhat displaced so that they are generic."""
    rng = np.random.default_rng(5)
    y = np.stack([default(name).initial_state(rng) for _ in range(3)])
    return y + 0.01 * rng.standard_normal(y.shape)


# What may mean nothing for a system: that no parameter is off where all are 0, and that no symmetry is broken where
# there is none. The equations of whoever has symmetries but not that of time may lack one that can be broken.
MAY_REFUSE: dict[str, Callable[[System], bool]] = {
    "parameters": lambda system: not any(system.values.values()),
    "wrong_symmetry": lambda system: "time" not in system.structure.symmetries,
}


def told(kind: str, system: System, delta: float = 0.0, **options: Any) -> System:
    """The told system; the test is skipped where this kind may mean nothing for it, and says so."""
    try:
        return priors.load(kind)(delta=delta, **options).tell(system)
    except ValueError as reason:
        if kind not in MAY_REFUSE or not MAY_REFUSE[kind](system):
            raise
        assert type(system).__name__ in str(reason)
        pytest.skip(str(reason))


def error(kind: str, name: str, delta: float) -> float:
    """Root mean square error of the told field."""
    system, y = default(name), states(name)
    return float(np.sqrt(np.mean((told(kind, system, delta).field(TIME, y) - system.field(TIME, y)) ** 2)))


def test_kinds_are_found() -> None:
    assert {*DIALS, "default", "unknown_form"} <= set(priors.names())
    for name, line in priors.summaries().items():
        assert line == (priors.load(name).__doc__ or "").partition("\n")[0] and line.endswith(".")


# -- the contract: every kind on every system ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DIALS)
def test_the_dial(kind: str, name: str) -> None:
    """At 0 the truth to the last bit; then an error that grows, in proportion while it is small."""
    system, y = default(name), states(name)
    exact = told(kind, system)
    assert np.array_equal(exact.field(TIME, y), system.field(TIME, y))
    assert exact.values == system.values and exact.term_names == system.term_names
    assert exact.structure == system.structure
    small, double, large = (error(kind, name, delta) for delta in (0.001, 0.002, 0.1))
    assert 0 < small < double < large < math.inf
    # All kinds but `parameters` and the reflection (a sine) are linear in delta. What is left there is of second order,
    # 0.001 times a ratio of derivatives, which for powers up to the sixth and exponentials stays below some tens.
    assert double == pytest.approx(2 * small, rel=0.05 if kind == "parameters" else 1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DIALS)
def test_told_is_a_system(kind: str, name: str) -> None:
    system, y = default(name), states(name)
    wrong = told(kind, system, 0.2)
    assert isinstance(wrong, Told) and hash(wrong) == hash(told(kind, system, 0.2)) and wrong == told(kind, system, 0.2)
    assert wrong.state_shape == system.state_shape and wrong.variables == system.variables
    assert wrong.known_terms == wrong.term_names and wrong.values.keys() == set(wrong.parameters)
    assert wrong.structure.conserved == () and wrong.time_scale == system.time_scale
    parts = wrong.terms(TIME, y, wrong.values, wrong.term_names)
    assert parts.keys() == set(wrong.term_names)
    field = wrong.field(TIME, y)
    assert np.isfinite(field).all() and field.dtype == np.float64
    size = SAME * max(1.0, np.abs(field).max())
    np.testing.assert_allclose(sum(np.broadcast_to(p, y.shape) for p in parts.values()), field, rtol=0, atol=size)
    for term in wrong.term_names:
        alone = wrong.terms(TIME, y, wrong.values, [term])
        assert alone.keys() == {term}
        np.testing.assert_allclose(alone[term], parts[term], rtol=0, atol=size)
    assert np.array_equal(wrong.initial_state(np.random.default_rng(3)), system.initial_state(np.random.default_rng(3)))
    single = wrong.field(TIME, y.astype(np.float32))
    assert single.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_at_its_worst(name: str) -> None:
    """delta = 1 makes a finite field; only of parameters it is else refused, with the parameter's name."""
    system, y = default(name), states(name)
    for kind in DIALS:
        try:
            field = priors.load(kind)(delta=1.0).tell(system).field(TIME, y)
        except ValueError as reason:
            named = any(parameter in str(reason) for parameter in system.parameters)
            assert (named and kind == "parameters") or (kind in MAY_REFUSE and MAY_REFUSE[kind](system))
        else:
            assert np.isfinite(field).all()


# One system of each shape: (D,), (N, D) and a field on a grid, (P, D).
SHAPES = [name for name in ("lorenz63", "flocking", "kuramoto_sivashinsky") if name in NAMES]


@pytest.mark.parametrize("name", SHAPES)
def test_libraries_agree(name: str) -> None:
    system, y = default(name), states(name)
    for kind in DIALS:
        wrong = priors.load(kind)(delta=0.2).tell(system)
        field = wrong.field(TIME, y)
        size = SAME * max(1.0, np.abs(field).max())
        in_torch = wrong.field(TIME, torch.asarray(y))
        assert in_torch.dtype == torch.float64
        np.testing.assert_allclose(np.asarray(in_torch), field, rtol=0, atol=size)
        with jax.enable_x64(True):
            in_jax = jax.jit(wrong.field)(TIME, jnp.asarray(y))
            assert in_jax.dtype == jnp.float64
        np.testing.assert_allclose(np.asarray(in_jax), field, rtol=0, atol=size)
        single = wrong.field(TIME, torch.asarray(y, dtype=torch.float32))
        assert single.dtype == array_api_compat.array_namespace(single).float32


FIELDS = [name for name in NAMES if default(name).linear_multiplier() is not None]


@pytest.mark.parametrize("name", FIELDS)
def test_the_told_multiplier_is_the_told_linear_terms(name: str) -> None:
    """What a solver takes exactly is what is told, and nothing of the truth."""
    system: Any = default(name)
    y, linear = states(name), set(system.linear_terms)
    kinds: list[tuple[str, dict[str, Any]]] = [(kind, {}) for kind in DIALS if kind != "missing_term"]
    weak = [("missing_term", {"term": term}) for term in system.term_names]
    for kind, options in kinds + weak:
        for delta in (0.0, 0.2):
            wrong = told(kind, system, delta, **options)
            # Terms that depend on the place are not diagonal, and of one that is too weak nothing is set apart.
            lost = delta > 0 and (kind == "wrong_symmetry" or options.get("term") in linear)
            assert set(wrong.linear_terms) == (set() if lost else linear), (kind, options)
            multiplier: Any = wrong.linear_multiplier()
            assert (multiplier is None) == lost and (wrong.stiff or not lost)
            if not lost:
                wanted = sum(wrong.terms(TIME, y, wrong.values, wrong.linear_terms).values())
                found = system.back(multiplier * system.spectrum(y), y)
                # As for the truth's own multiplier: sums of some hundred roundings of the largest one.
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(multiplier).max())


# -- laws of each kind ---------------------------------------------------------------------------------------------


def test_parameters_are_off_in_turn() -> None:
    wrong = told("parameters", Lorenz63(), 0.1)
    assert wrong.values == pytest.approx({"sigma": 11.0, "rho": 25.2, "beta": 2.6666666667 * 1.1})
    one = told("parameters", Lorenz63(), 0.1, parameter="rho")
    assert one.values == pytest.approx(Lorenz63().values | {"rho": 30.8})
    # What is 0 stays 0, and takes no turn.
    still = told("parameters", Pendulum(damping=0.0), 0.1)
    assert still.values["damping"] == 0 and still.values["gravity"] == pytest.approx(1.1)


def test_a_fit_may_move_the_told_parameters() -> None:
    wrong, y = told("parameters", Lorenz63(), 0.1), states("lorenz63")
    assert np.array_equal(wrong.field(0.0, y, Lorenz63().values), Lorenz63().field(0.0, y))


def test_a_missing_term_is_the_field_without_it() -> None:
    system, y = Lorenz63(), states("lorenz63")
    products = system.terms(0.0, y, system.values, ["advection"])["advection"]
    np.testing.assert_allclose(told("missing_term", system, 0.3).field(0.0, y), system.field(0.0, y) - 0.3 * products)
    gone = told("missing_term", system, 1.0)
    assert gone.term_names == ("linear",)
    np.testing.assert_allclose(gone.field(0.0, y), system.field(0.0, y) - products, atol=1e-12)
    other = told("missing_term", system, 1.0, term="linear")
    np.testing.assert_allclose(other.field(0.0, y), products, atol=1e-12)


def test_a_term_that_does_nothing_cannot_be_missing() -> None:
    """The drive of a pendulum that is not driven is passed over, and refused by name."""
    assert told("missing_term", Pendulum(), 1.0).term_names[-1] != "damping"
    with pytest.raises(ValueError, match=r"term must be one that acts \(.*\), but damping is 0"):
        priors.load("missing_term")(delta=0.1, term="damping").tell(Pendulum(damping=0.0))


@pytest.mark.parametrize("name", ["flocking", "lorenz63", "pendulum"])
def test_a_wrong_term_is_as_large_as_the_true_rates(name: str) -> None:
    system = default(name)
    rng = np.random.default_rng(11)
    y = np.stack([system.initial_state(rng) for _ in range(4000)])
    low, high = forced(system)
    extra = told("wrong_term", system, 1.0).terms(0.0, y, system.values, ["spurious"])["spurious"]
    assert np.all(extra[..., :low] == 0)
    ratio = np.sqrt(np.mean(extra[..., low:high] ** 2) / np.mean(system.field(0.0, y)[..., low:high] ** 2))
    # The scale is from 64 states: both root mean squares have a relative error of some 1 / sqrt(2 * 64), 9%, each.
    assert ratio == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_term_holds_back(name: str) -> None:
    """It is a drag: against the motion of whatever moves, or towards the mean of agents that have no place."""
    system, y = default(name), states(name)
    if not hasattr(system, "spurious_term"):
        extra = told("wrong_term", system, 1.0).terms(0.0, y, system.values, ["spurious"])["spurious"]
        assert (np.sum(extra * y, axis=tuple(range(1, y.ndim))) < 0).all()


def test_a_system_may_bring_its_own_wrong_term() -> None:
    @dataclasses.dataclass(frozen=True)
    class Windy(Lorenz63):
        def spurious_term(self, t: Any, y: Any) -> Any:
            return 0 * y + 3.0

    y = states("lorenz63")
    extra = told("wrong_term", Windy(), 0.5).terms(0.0, y, Windy().values, ["spurious"])["spurious"]
    assert np.ptp(extra) == 0 and extra.flat[0] > 0


def rotated(y: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    pairs = y.reshape(*y.shape[:-1], -1, 2)
    return np.stack([c * pairs[..., 0] - s * pairs[..., 1], s * pairs[..., 0] + c * pairs[..., 1]], -1).reshape(y.shape)


SHIFT = np.array([0.7, -1.3, 0, 0])
MIRROR = np.array([-1.0, 1.0, -1.0, 1.0])
TESTS: dict[str, Any] = {  # |field(g y) - g field(y)| for a symmetry g
    "rotation": lambda f, y: f(rotated(y, 0.4)) - rotated(f(y), 0.4),
    "translation": lambda f, y: f(y + SHIFT) - f(y),
    "permutation": lambda f, y: f(np.roll(y, 1, axis=-2)) - np.roll(f(y), 1, axis=-2),
    "reflection": lambda f, y: f(y * MIRROR) - f(y) * MIRROR,
}
# Turning the forces keeps rotations; an axis of its own keeps mirrors; a place in space is seen by mirrors and turns.
ALSO_BROKEN = {"translation": {"rotation", "reflection"}}


@pytest.mark.parametrize("broken", TESTS)
def test_one_symmetry_is_broken(broken: str) -> None:
    system, y = Flocking(), states("flocking")
    wrong = told("wrong_symmetry", system, 0.1, symmetry=broken)
    off = {name: np.abs(test(lambda y: wrong.field(0.0, y), y)).max() for name, test in TESTS.items()}
    assert off.pop(broken) > 1e-3
    for name, size in off.items():
        assert size < SAME * 100 or name in ALSO_BROKEN.get(broken, ()), (name, size)
    # Time is broken by seasons only, and positions still change by the velocities.
    assert np.array_equal(wrong.field(0.0, y), wrong.field(1.0, y))
    assert np.array_equal(wrong.field(0.0, y)[..., :2], y[..., 2:])


@pytest.mark.parametrize("name", ["local_flocking", "kuramoto", "vicsek"])
def test_a_place_in_a_periodic_box_is_one_place(name: str) -> None:
    """A broken translation breaks the box's own periods no more than the truth does."""
    system = default(name) if name != "local_flocking" else dataclasses.replace(default(name), box=8.0)
    side, wrong = system.structure.box or 0.0, told("wrong_symmetry", system, 0.1, symmetry="translation")
    rng = np.random.default_rng(5)
    y = system.initial_state(rng)
    moved = y.copy()
    moved[:, 0] += side * rng.integers(-2, 3, len(y))
    assert not np.allclose(wrong.field(0.0, y), system.field(0.0, y), rtol=1e-3)
    # A few sides of a box of 8 are rounded to some 1e-15, which forces that change over lengths of one hardly enlarge.
    np.testing.assert_allclose(wrong.field(0.0, moved), wrong.field(0.0, y), rtol=0, atol=SAME * 10)


def test_seasons_come_back() -> None:
    system, y = Lorenz63(), states("lorenz63")
    wrong, period = told("wrong_symmetry", system, 0.1), system.time_scale
    assert not np.allclose(wrong.field(0.2 * period, y), wrong.field(0.7 * period, y), rtol=0.05)
    np.testing.assert_allclose(wrong.field(0.2 * period, y), wrong.field(1.2 * period, y), rtol=1e-12)


def test_an_unknown_form_has_no_terms() -> None:
    prior: Prior = priors.load("unknown_form")()
    assert prior.told_form(Flocking()) == "pairwise" and prior.tell(Flocking()).term_names == ()
    assert not np.any(prior.tell(Flocking()).field(0.0, states("flocking")))
    with pytest.raises(ValueError, match="Lorenz63 has no form"):
        prior.tell(Lorenz63())
    with pytest.raises(ValueError, match="delta must be 0"):
        priors.load("unknown_form")(delta=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_form_is_told_where_it_is_true(name: str) -> None:
    """dH/dt along the true field is 0 where the flow is said to be that of an energy."""
    system, y = default(name), states(name)
    try:
        form = priors.load("unknown_form")().told_form(system)
    except ValueError:
        return
    if form == "pairwise":
        assert system.structure.pairwise and system.structure.agents is not None and not isinstance(system, Map)
        return
    rate, h = system.field(0.0, y), 1e-4
    slope = (system.invariants(y + h * rate)["energy"] - system.invariants(y - h * rate)["energy"]) / (2 * h)
    # Central differences of numbers of order one: h^2 of truncation, 1e-16 / h of rounding.
    np.testing.assert_allclose(slope, 0, atol=1e-5)


@pytest.mark.parametrize("delta", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("kind", priors.names())
def test_the_dial_has_ends(kind: str, delta: float) -> None:
    with pytest.raises(ValueError, match="delta must be"):
        priors.load(kind)(delta=delta)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("missing_term", {"term": "advectoin"}, "term must be one of linear, advection, .* did you mean advection"),
        ("parameters", {"parameter": "roh"}, "parameter must be one of sigma, rho, beta, .* did you mean rho"),
        ("wrong_symmetry", {"symmetry": "tiem"}, "symmetry must be one of time, .* did you mean time"),
        ("parameters", {"delta": 1.0}, "delta must leave parameters that are allowed, .* rho must be above 0"),
    ],
)
def test_wrong_choices_are_told(kind: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        priors.load(kind)(**options).tell(Lorenz63())
