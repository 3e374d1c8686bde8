"""What every system must do, whoever wrote it: walks all that discovery finds, third-party ones included."""

from __future__ import annotations

import dataclasses
import functools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import array_api_compat
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physics_models.base import SYMMETRIES, System
from physics_models.discovery import systems

NAMES = systems.names()
FIELDS = {name: {f.name for f in dataclasses.fields(systems.load(name))} for name in NAMES}
SEEDS = st.integers(0, 2**32 - 1)
# A field adds a few hundred products of numbers of its own size or less; libraries differ in the order of the sums and
# in the last bit of exp and pow. 1e-12 is some thousand roundings of float64 (2e-16).
SAME = 1e-12


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """XLA's passes take seconds, and here every program runs for milliseconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(params=NAMES)
def system(request: pytest.FixtureRequest) -> System:
    return systems.load(request.param)()


def draw(system: System, seed: int, n: int = 3) -> np.ndarray:
    """States from the system's law, somewhat displaced so that they are generic."""
    rng = np.random.default_rng(seed)
    y = np.stack([system.initial_state(rng) for _ in range(n)])
    return y + 0.1 * rng.standard_normal(y.shape)


def assert_same(found: Any, wanted: np.ndarray, tolerance: float = SAME) -> None:
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


def test_class_declares_its_options_and_terms(system: System) -> None:
    kind = type(system)
    assert dataclasses.is_dataclass(kind) and hash(system) == hash(kind()) and system == kind()
    names = {f.name for f in dataclasses.fields(kind)}
    assert all(type(f.default) in (float, int, str) for f in dataclasses.fields(kind))
    assert set(kind.parameters) <= names and set(kind.positive) | set(kind.non_negative) <= names
    assert set(kind.known_terms) < set(kind.term_names), "a hybrid must be left something to learn"
    assert len(set(kind.term_names)) == len(kind.term_names)
    assert system.values.keys() == set(kind.parameters)
    assert system.time_scale > 0
    structure = system.structure
    points = () if structure.grid is None else (math.prod(structure.grid),)
    bodies = points if structure.agents is None else (structure.agents,)
    assert system.state_shape == (*bodies, len(system.variables))
    assert set(structure.symmetries) <= set(SYMMETRIES)


def test_docstring_tells_equation_behaviour_arguments_and_reference(system: System) -> None:
    doc = type(system).__doc__ or ""
    first = doc.partition("\n")[0]
    assert 20 < len(first) <= 110 and first.endswith(".")
    for word in ("Equation", "Behaviour", "State", "Arguments", "Reference"):
        assert f"\n    {word}" in doc, f"no paragraph begins with {word}"
    for f in dataclasses.fields(system):
        assert f.name in doc, f"the docstring does not mention {f.name}"


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_field_is_finite_and_the_sum_of_its_terms(name: str, seed: int) -> None:
    system = systems.load(name)()
    y = draw(system, seed)
    assert y.shape[1:] == system.state_shape and y.dtype == np.float64
    field = system.field(0.0, y)
    assert field.shape == y.shape and np.isfinite(field).all()
    parts = system.terms(0.0, y, system.values, system.term_names)
    assert parts.keys() == set(system.term_names)
    assert_same(sum(np.broadcast_to(part, y.shape) for part in parts.values()), field)
    for term in system.term_names:
        alone = system.terms(0.0, y, system.values, [term])
        assert alone.keys() == {term}
        assert_same(alone[term], parts[term])
    assert system.terms(0.0, y, system.values, []) == {}


@functools.cache
def compiled_field(name: str) -> tuple[System, Any]:
    """A system and its field in JAX, compiled once for all examples: JAX knows a method again only while it is held."""
    system = systems.load(name)()
    return system, jax.jit(system.field)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_batch_is_a_loop_and_libraries_agree(name: str, seed: int) -> None:
    system, field_in_jax = compiled_field(name)
    y = draw(system, seed, n=4)
    field = system.field(0.0, y)
    assert_same(np.stack([system.field(0.0, state) for state in y]), field)
    assert_same(system.field(0.0, y.reshape(2, 2, *system.state_shape)).reshape(y.shape), field)
    in_torch = system.field(0.0, torch.asarray(y))
    assert in_torch.dtype == torch.float64
    assert_same(in_torch, field)
    with jax.enable_x64(True):
        in_jax = field_in_jax(0.0, jnp.asarray(y))
        assert in_jax.dtype == jnp.float64
        assert_same(in_jax, field)


@pytest.mark.parametrize("x64", [False, True])
def test_single_precision_stays_single(system: System, x64: bool) -> None:
    y = draw(system, 0).astype(np.float32)

    def values(state: Any) -> list[Any]:
        return [system.field(0.0, state), *system.invariants(state).values()]

    with jax.enable_x64(x64):
        # JAX as models run it, in one program: operation by operation, each would be compiled alone.
        for state, evaluate in ((y, values), (jnp.asarray(y), jax.jit(values)), (torch.asarray(y), values)):
            found = evaluate(state)
            for value in found:
                assert value.dtype == array_api_compat.array_namespace(state).float32
                assert_same(value, np.asarray(value, dtype=np.float64))
            # 1e-4: a thousand roundings of float32 (6e-8), as for SAME.
            assert_same(found[0], system.field(0.0, y.astype(np.float64)), tolerance=1e-4)


def test_parameters_are_taken_from_the_argument(system: System) -> None:
    """A fit passes trial values, as floats or arrays: none may be read from the system behind its back."""
    y = draw(system, 1)
    for name, value in system.values.items():
        changed = dataclasses.replace(system, **{name: value * 1.1})
        assert_same(system.field(0.0, y, changed.values), changed.field(0.0, y))
        assert not np.array_equal(system.field(0.0, y), changed.field(0.0, y)), f"{name} does nothing"

    def size(p: dict[str, Any]) -> Any:
        return jnp.sum(system.field(0.0, jnp.asarray(y), p) ** 2)

    with jax.enable_x64(True):
        slopes = jax.jit(jax.grad(size))({name: jnp.asarray(value) for name, value in system.values.items()})
    assert all(np.isfinite(slope) for slope in slopes.values())


def test_smooth_where_everything_coincides(system: System) -> None:
    """Equal entries (agents on top of each other, a pendulum at rest, ...) give finite values and derivatives."""
    y = np.ones(system.state_shape)
    assert np.isfinite(system.field(0.0, y)).all()
    with jax.enable_x64(True):
        slope = jax.grad(lambda y: jnp.sum(system.field(0.0, y) ** 2))
        curvature = jax.jit(lambda y: jax.jvp(slope, (y,), (y,))[1])(jnp.asarray(y))
    assert jnp.isfinite(curvature).all()


def test_invariants_have_one_value_a_state(system: System) -> None:
    y = np.stack([system.initial_state(np.random.default_rng(i)) for i in range(6)]).reshape(2, 3, *system.state_shape)
    found = system.invariants(y)
    assert set(system.structure.conserved) <= found.keys()
    for value in found.values():
        assert value.shape == (2, 3) and np.isfinite(value).all()


def test_initial_states_are_drawn_from_the_given_stream_only(system: System) -> None:
    first, again, other = (system.initial_state(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_impossible_parameters_are_refused_by_name(system: System, value: float) -> None:
    for f in dataclasses.fields(system):
        bounded = f.name in (*system.positive, *system.non_negative)
        if isinstance(f.default, float) and (bounded or not np.isfinite(value)):
            with pytest.raises(ValueError, match=f"{f.name} must be .*, but it is {value}"):
                dataclasses.replace(system, **{f.name: value})


@pytest.mark.parametrize("name", [name for name in NAMES if "n_agents" in FIELDS[name]])
def test_groups_of_other_sizes(name: str) -> None:
    kind: Any = systems.load(name)
    with pytest.raises(ValueError, match=r"n_agents must be .*2 or more, but it is 1"):
        kind(n_agents=1)
    system = kind(n_agents=2)
    if "space_dim" in FIELDS[name]:
        with pytest.raises(ValueError, match=r"space_dim must be .*2 or 3, but it is 4"):
            kind(space_dim=4)
        system = kind(n_agents=2, space_dim=3)
        names = ("x", "y", "z", "vx", "vy", "vz")[: 3 * system.structure.order]
        assert system.variables[: len(names)] == names
    assert system.state_shape == (2, len(system.variables))
    assert np.isfinite(system.field(0.0, draw(system, 0))).all()


def test_listing_imports_no_framework() -> None:
    code = (
        "import sys; from physics_models.discovery import systems as d; s = d.summaries(); "
        "assert list(s) == d.names(), s; "
        "bad = {'numpy', 'jax', 'torch', 'array_api_compat'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_summaries_are_the_docstrings() -> None:
    assert {"cucker_smale", "flocking", "lorenz63", "lotka_volterra", "pendulum"} <= set(NAMES)
    for name, line in systems.summaries().items():
        assert line.startswith("from ") or line == (systems.load(name).__doc__ or "").partition("\n")[0]


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"no system is called 'lorentz63'.*did you mean 'lorenz63'\?"):
        systems.load("lorentz63")


def test_entry_points_add_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    def entry(name: str, value: str) -> EntryPoint:
        return EntryPoint(name, value, "physics_models")

    good = entry("swing", "physics_models.pendulum:Pendulum")
    bad = entry("broken", "physics_models.base:Structure")
    monkeypatch.setitem(systems.__dict__, "_entry_points", {"swing": good, "broken": bad})  # a cached property
    assert "swing" in systems.names()
    assert systems.summaries()["swing"] == "from physics_models.pendulum:Pendulum"
    assert systems.load("swing") is systems.load("pendulum")
    with pytest.raises(TypeError, match=r"physics_models\.base:Structure.* must be a subclass"):
        systems.load("broken")
