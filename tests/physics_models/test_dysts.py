"""Systems of the package dysts: with the package where it is installed, and with a small imitation everywhere."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.config import load as load_settings
from experiments.errors import UserError
from physics_models import from_dysts
from physics_models.base import System
from physics_models.cache import initial_states
from physics_models.discovery import systems
from physics_models.lorenz63 import Lorenz63

FLOWS = """
import numpy as np

from .base import DynSys, DynSysDelay, staticjit


class Spiral(DynSys):
    @staticjit
    def _rhs(x, y, phase, t, a, decay, scale):
        xdot = a * y - decay * x + scale[1] * np.abs(np.sin(t))
        ydot = -a * x - decay * y
        ydot += np.sqrt(4) * np.heaviside(x, 0) * x**2
        return xdot, ydot, 2 * np.pi

    def _postprocessing(self, x, y, phase):
        return x, y, np.cos(phase)


class Child(Spiral):
    pass


class ByName(DynSys):
    def _gate(self, v):
        return 1 / (1 + np.exp(-v))

    def rhs(self, X, t):
        u, v = X
        return self.k * self._gate(v) - u, self.k * u - v


class Late(DynSysDelay):
    @staticjit
    def _rhs(x, xt, t, tau):
        return -xt


class OneVector(DynSys):
    def rhs(self, X, t):
        return np.dot(self.w, X)


class Misnamed(DynSys):
    @staticjit
    def _rhs(x, t, period):
        return (-period * x,)


class SprottMore(DynSys):
    @staticjit
    def _rhs(x, t):
        return (-np.sign(x),)
"""


def facts(start: list[float], **parameters: Any) -> dict[str, Any]:
    return {
        "initial_conditions": start, "std": [0.5] * len(start), "embedding_dimension": len(start), "period": 2.5,
        "parameters": parameters, "description": "An example.", "citation": "Nobody (2026).",
    }  # fmt: skip


def forget() -> None:
    """What is cached of the package that is, or is not, installed."""
    for cached in (from_dysts._stored, from_dysts._classes, from_dysts.load):
        cached.cache_clear()
    importlib.invalidate_caches()
    sys.modules.pop("dysts", None)


@pytest.fixture
def imitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "dysts"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('nothing of this package is to be imported')")
    (folder / "flows.py").write_text(FLOWS)
    stored = {
        "Spiral": facts([1.0, 2.0, 0.0], a=2, decay=0.25, scale=[3.0, 4.0]),
        "Child": facts([1.0, 2.0, 0.0], a=3, decay=0.25, scale=[0.0, 0.0]),
        "ByName": facts([0.1, 0.2], k=1.5),
        "Late": facts([1.0], tau=3.0),
        "OneVector": facts([1.0, 2.0], w=[[0.0, 1.0], [1.0, 0.0]]),
        "Misnamed": facts([1.0], period=3.0),
        "SprottMore": facts([1.0]),
    }
    (folder / "data" / "chaotic_attractors.json").write_text(json.dumps(stored))
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield folder
    monkeypatch.undo()
    forget()


def test_imitated_equations(imitation: Path) -> None:
    system = systems.load("dysts/Spiral")()
    assert [f.name for f in dataclasses.fields(system)] == ["spread", "a", "decay"]
    assert system.values == {"a": 2.0, "decay": 0.25}
    assert system.variables == ("x", "y", "phase") and system.time_scale == 2.5
    assert system.structure.symmetries == ()  # its equations read t
    y = np.array([[0.5, -1.0, 7.0], [-0.5, 2.0, 0.0]])
    kept = y.copy()
    wanted = [[-2 - 0.125 + 4 * np.sin(1), -1 + 0.25 + 2 * 0.25], [4 + 0.125 + 4 * np.sin(1), 1 - 0.5]]
    np.testing.assert_allclose(system.field(1.0, y)[:, :2], wanted, rtol=1e-14)
    assert np.all(system.field(1.0, y)[:, 2] == 2 * np.pi)
    np.testing.assert_array_equal(y, kept)
    changed = systems.load("dysts/Child")()
    assert changed.values == {"a": 3.0, "decay": 0.25} and type(changed).__qualname__ != type(system).__qualname__
    by_name = systems.load("dysts/ByName")()
    assert by_name.variables == ("u", "v") and by_name.structure.symmetries == ("time",)
    np.testing.assert_allclose(by_name.field(0.0, np.array([1.0, 0.0])), [0.75 - 1, 1.5])


def test_imitated_equations_run_on_every_library(imitation: Path) -> None:
    check_libraries(systems.load("dysts/Spiral")())
    check_libraries(systems.load("dysts/ByName")())


def check_libraries(system: System) -> None:
    y = initial_states(system, 0, 4)
    wanted = system.field(0.3, y)
    assert wanted.shape == y.shape and np.isfinite(wanted).all()
    scale = max(1.0, np.abs(wanted).max())  # 1e-12: some thousand roundings, as in the contract's tests
    assert np.abs(np.stack([system.field(0.3, state) for state in y]) - wanted).max() < 1e-12 * scale
    assert np.abs(np.asarray(system.field(0.3, torch.asarray(y))) - wanted).max() < 1e-12 * scale
    with jax.enable_x64(True):
        assert np.abs(np.asarray(jax.jit(system.field)(0.3, jnp.asarray(y))) - wanted).max() < 1e-12 * scale
    small = y.astype(np.float32)
    assert system.field(0.3, small).dtype == np.float32
    assert system.field(0.3, torch.asarray(small)).dtype == torch.float32
    assert jax.eval_shape(system.field, 0.3, jnp.asarray(small)).dtype == jnp.float32
    for name, value in system.values.items():
        changed = dataclasses.replace(system, **{name: value * 1.1 + 0.01})
        np.testing.assert_array_equal(system.field(0.3, y, changed.values), changed.field(0.3, y))
    assert type(system).known_terms == () and system.terms(0.0, y, system.values, []) == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Late", "dysts/Late cannot be used: it has a delay"),
        (
            "OneVector",
            "dysts/OneVector cannot be used: its equations work on one state at a time, and not on batches of states$",
        ),
        ("Misnamed", "dysts/Misnamed cannot be used: its parameter period has a name that every system uses"),
        ("SprottMore", "dysts/SprottMore cannot be used: it has the sign of a variable"),
        (
            "spirall",
            r"dysts has no system called 'spirall' \(did you mean 'Spiral'\?\); those that can be used: ByName,",
        ),
    ],
)
def test_refused_with_the_reason(imitation: Path, name: str, reason: str) -> None:
    with pytest.raises((ValueError, KeyError), match=reason):
        systems.load(f"dysts/{name}")
    with pytest.raises(UserError, match=reason):  # one line on the command line
        load_settings(f"dysts/{name}", [])


def test_the_known_ones_are_those_that_can_be_used(imitation: Path) -> None:
    assert from_dysts.names() == ["ByName", "Child", "Spiral"]


def test_a_member_is_a_task_of_its_own_times(imitation: Path) -> None:
    found = load_settings("dysts/Spiral", ["task.system.a=5", "task.n_train=7"])
    assert found.task_name == "dysts/Spiral"
    task = found.tree["task"]
    assert task["system"] == {"a": 5.0, "decay": 0.25, "spread": 0.1}
    assert (task["n_train"], task["horizon"], task["spacing"]) == (7, 12.5, 0.05)
    with pytest.raises(UserError, match=r"task\.system\.decy.*did you mean task\.system\.decay"):
        load_settings("dysts/Spiral", ["task.system.decy=5"])
    with pytest.raises(UserError, match="spread must be 0 or more"):
        load_settings("dysts/Spiral", ["task.system.spread=-1"])


def test_other_equations_or_data_have_another_identity(imitation: Path) -> None:
    """Caches and records know a class by its qualified name."""
    first = from_dysts.load("Spiral").__qualname__
    flows = imitation / "flows.py"
    flows.write_text(FLOWS.replace("-a * x", "-2 * a * x"))
    forget()
    assert from_dysts.load("Spiral").__qualname__ != first
    flows.write_text(FLOWS)
    forget()
    assert from_dysts.load("Spiral").__qualname__ == first


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    forget()
    try:
        assert from_dysts.names() == [] and systems.examples() == {}
        with pytest.raises(UserError, match="dysts/Aizawa needs the package dysts: pip install --no-deps dysts"):
            load_settings("dysts/Aizawa", [])
    finally:
        forget()


def test_listing_shows_one_line_and_imports_nothing(imitation: Path) -> None:
    code = (
        "import sys; from experiments.listing import catalogue; tasks = catalogue()['task']; "
        "assert [name for name in tasks if name.startswith('dysts')] == ['dysts/Aizawa'], tasks; "
        "bad = {'numpy', 'jax', 'torch', 'dysts'} & set(sys.modules); assert not bad, bad"
    )
    root = Path(__file__).parents[2]
    path = {"PYTHONPATH": f"{imitation.parent}:{root}"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=path)


# The package itself.

installed = pytest.mark.skipif(
    importlib.util.find_spec("dysts") is None, reason="dysts is not installed: pip install --no-deps dysts"
)


@installed
def test_every_system_can_be_used_or_says_why_not() -> None:
    refused = {}
    for name in from_dysts._stored():
        try:
            system = from_dysts.load(name)()
        except ValueError as problem:
            refused[name] = str(problem)
            continue
        y = initial_states(system, 0, 3)
        kept = y.copy()
        rate = system.field(0.0, y)
        assert rate.shape == y.shape and np.isfinite(rate).all(), name
        np.testing.assert_array_equal(y, kept)
        doc = type(system).__doc__ or ""
        assert all(f"\n    {word}" in doc for word in ("Equation", "Behaviour", "State", "Arguments", "Reference")), (
            name
        )
    # Those of dysts 0.96, of 135.
    assert set(refused) == {
        "BeerRNN", "BelousovZhabotinsky", "BickleyJet", "FluidTrampoline", "Hopfield", "IkedaDelay", "InteriorSquirmer",
        "Lorenz96", "MacArthur", "MackeyGlass", "PiecewiseCircuit", "ScrollDelay", "SprottDelay", "SprottMore",
        "StickSlipOscillator", "VossDelay",
    }  # fmt: skip
    assert from_dysts.names() == [name for name in from_dysts._stored() if name not in refused]


@installed
def test_their_lorenz_is_ours() -> None:
    theirs, ours = from_dysts.load("Lorenz")(), Lorenz63()
    assert theirs.values == {"beta": 2.667, "rho": 28.0, "sigma": 10.0}
    y = initial_states(ours, 0, 5)
    # Rounding of sums of numbers of order 1000.
    np.testing.assert_allclose(theirs.field(0.0, y), ours.field(0.0, y, theirs.values), rtol=0, atol=1e-12)


@installed
@pytest.mark.parametrize("name", ["Aizawa", "Colpitts", "MultiChua", "BlinkingRotlet", "CellCycle"])
def test_their_equations_run_on_every_library(name: str) -> None:
    """The sorts of code there are: a plain right-hand side, jumps in a slope, tables, helper functions, rates."""
    check_libraries(from_dysts.load(name)())


@installed
@pytest.mark.slow
def test_all_their_equations_run_on_every_library() -> None:
    for name in from_dysts.names():
        check_libraries(from_dysts.load(name)())
