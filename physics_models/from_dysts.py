"""Any system of the package dysts by name, its vector field read from its source and run on arrays of every library.

The package itself is not imported: that would bring in a dozen others (or numba), and its functions know NumPy only.
Its equations are short plain Python; they are taken from its source file and run with a stand-in for `numpy` that asks
each argument for its own library. So `pip install --no-deps dysts` is enough.

Of dysts 0.96's 135 systems, 119 can be used. Of 32 starts at the default `spread`, all stay on the attractor for five
periods in 111 of them; the others (SprottD, SprottI, SprottJ, SprottJerk, SprottL, SprottM, SprottQ, TurchinHanski)
have narrow basins and need a smaller `spread`: 0.005 does, but for SprottJerk.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import math
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from physics_models.base import Array, Structure, System
from physics_models.syntax import parse

JUMPS = {  # fields that are not continuous: no error control, and no comparison of gradients, makes sense of them
    "FluidTrampoline": "the trampoline's damping sets in with a jump",
    "SprottMore": "it has the sign of a variable",
    "StickSlipOscillator": "its dry friction is the sign of a velocity",
}
QUASIPERIODIC = ("Torus", "Quasiperiodic")  # in the names of the few systems that dysts lists beside the chaotic ones
DELAYS = "DynSysDelay"  # the class that all systems with a delay derive from


def folder() -> Path | None:
    """Where dysts is installed, or None. Imports nothing of it."""
    found = importlib.util.find_spec("dysts")
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None


def names() -> list[str]:
    """Every system of dysts that can be used, sorted; none if it is not installed. Takes 0.2 s: it tries them all."""
    return [name for name in _stored() if _usable(name)]


@functools.cache
def load(name: str) -> type[System]:
    """The class of one system of dysts, as `systems.load("dysts/NAME")` returns it.

    Its fields are `spread` and the parameters that are numbers, with their stored values. Raises KeyError if dysts is
    not installed or has no such system, ValueError, with the reason, for one that is no ordinary differential equation
    or cannot be evaluated on batches of states.
    """
    stored = _stored()
    if not stored:
        raise KeyError(f"dysts/{name} needs the package dysts: pip install --no-deps dysts")
    if name not in stored:
        usable = names()
        near = difflib.get_close_matches(name.lower(), map(str.lower, usable), n=1)
        hint = next((f" (did you mean {known!r}?)" for known in usable if known.lower() in near), "")
        raise KeyError(f"dysts has no system called {name!r}{hint}; those that can be used: {', '.join(usable)}")
    if name in JUMPS:
        raise ValueError(f"dysts/{name} cannot be used: {JUMPS[name]}, so that its field is not continuous")
    facts, family = stored[name], _family(name)
    if DELAYS in family.bases:
        raise ValueError(f"dysts/{name} cannot be used: it has a delay, and is no ordinary differential equation")
    cls = _class(name, facts, family)
    _check_batches(cls(), name)
    return cls


@dataclass(frozen=True)
class _FromDysts(System):
    """What all systems of dysts share; `load` makes a subclass of it for each."""

    spread: float = 0.1

    term_names: ClassVar[tuple[str, ...]] = ("field",)
    non_negative: ClassVar[tuple[str, ...]] = ("spread",)
    variable_names: ClassVar[tuple[str, ...]] = ()
    start: ClassVar[tuple[float, ...]] = ()
    size: ClassVar[tuple[float, ...]] = ()
    period: ClassVar[float] = 1.0
    tables: ClassVar[Mapping[str, Any]] = {}
    equations: ClassVar[type]

    @property
    def variables(self) -> tuple[str, ...]:
        return self.variable_names

    @property
    def structure(self) -> Structure:
        return Structure(symmetries=("time",) if self.autonomous else ())

    @property
    def autonomous(self) -> bool:
        return "t" not in self.equations.reads

    @property
    def time_scale(self) -> float:
        """The period of the strongest oscillation, as dysts has it (its Lyapunov exponents are not to be trusted)."""
        return self.period

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        if "field" not in names:
            return {}
        xp = array_namespace(y)
        model = self.equations()
        model.__dict__.update(self.tables, **{name: p[name] for name in self.parameters})
        states = [y[..., i] for i in range(y.shape[-1])]
        rates = model.rhs(states, t)
        # A rate may be a plain number, as that of a phase is.
        return {"field": xp.stack([xp.zeros_like(x) + rate for x, rate in zip(states, rates, strict=True)], axis=-1)}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        """The stored point on the attractor, displaced by `spread` times the attractor's size along each axis."""
        return np.array(self.start) + self.spread * np.array(self.size) * rng.standard_normal(len(self.start))


class _Equations:
    """Stands in for the base class of dysts' systems: parameters are attributes, a state is a list of its variables."""

    order: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[frozenset[str]] = frozenset()
    _rhs: ClassVar[Any]

    def rhs(self, state: list[Array], t: Array) -> Any:
        # As in dysts, parameters are passed by position, in the order of their sorted names.
        return self._rhs(*state, t, *(getattr(self, name) for name in self.order))


class _AnyNumpy:
    """Stands in for the module numpy: each function is that of its argument's own library."""

    pi = math.pi

    def __getattr__(self, name: str) -> Any:
        def function(x: Any) -> Any:
            if isinstance(x, int | float):
                return abs(x) if name == "abs" else getattr(math, name)(x)
            return getattr(array_namespace(x), name)(x)

        return function

    def heaviside(self, x: Any, at_zero: float) -> Any:
        xp = array_namespace(x)
        return xp.where(x > 0, xp.ones_like(x), xp.where(x < 0, xp.zeros_like(x), xp.zeros_like(x) + at_zero))


@dataclass(frozen=True)
class _Family:
    """A class of dysts' source and what it derives from, the most general first; the names of the outermost bases."""

    classes: tuple[ast.ClassDef, ...]
    bases: tuple[str, ...]

    @property
    def rhs(self) -> ast.FunctionDef:
        """The equations of the class nearest to the system."""
        functions = [node for c in self.classes for node in c.body if isinstance(node, ast.FunctionDef)]
        return [node for node in functions if node.name in ("rhs", "_rhs")][-1]


def _usable(name: str) -> bool:
    try:
        load(name)
    except ValueError:
        return False
    return True


@functools.cache
def _stored() -> dict[str, dict[str, Any]]:
    """What dysts knows of its systems, by name."""
    place = folder()
    if place is None:
        return {}
    found = json.loads((place / "data" / "chaotic_attractors.json").read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


@functools.cache
def _classes() -> dict[str, ast.ClassDef]:
    place = folder()
    assert place is not None, "asked for by `load`, which has looked"
    tree = parse((place / "flows.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _family(name: str) -> _Family:
    found, bases = [], [name]
    while bases and bases[0] in _classes():
        found.append(_classes()[bases[0]])
        bases = [ast.unparse(base) for base in found[-1].bases]
    return _Family(tuple(reversed(found)), tuple(bases))


def _class(name: str, facts: dict[str, Any], family: _Family) -> type[System]:
    values = {key: value for key, value in sorted(facts["parameters"].items()) if isinstance(value, int | float)}
    tables = {key: value for key, value in facts["parameters"].items() if key not in values}
    # The qualified name is part of the keys of caches and records: it stands for the equations and the stored numbers.
    content = json.dumps([facts["initial_conditions"], facts["std"], facts["period"], tables])
    content += "".join(ast.dump(node) for node in family.classes)
    body = {
        "__doc__": _doc(name, facts, family, values),
        "__qualname__": f"dysts/{name}@{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        "__module__": __name__,
        "parameters": tuple(values),
        "variable_names": _variables(family, facts["embedding_dimension"]),
        "start": tuple(map(float, facts["initial_conditions"])),
        "size": tuple(map(float, facts["std"])),
        "period": float(facts["period"]),
        "tables": tables,
        "equations": _equations(family, tuple(sorted(facts["parameters"]))),
        "chaotic": not any(word in name for word in QUASIPERIODIC),
    }
    if taken := [key for key in values if hasattr(_FromDysts, key)]:
        raise ValueError(f"dysts/{name} cannot be used: its parameter {taken[0]} has a name that every system uses")
    fields: list[Any] = [(key, float, float(value)) for key, value in values.items()]
    made = dataclasses.make_dataclass(name, fields, bases=(_FromDysts,), namespace=body, frozen=True)
    made.__qualname__ = body["__qualname__"]  # the maker sets it to the name
    return made


def _equations(family: _Family, order: tuple[str, ...]) -> type[_Equations]:
    """The family's classes, made from their source with the stand-ins."""
    space: dict[str, Any] = {"np": _AnyNumpy(), "staticjit": staticmethod, "__name__": __name__}
    space |= dict.fromkeys(family.bases, _Equations)
    exec(compile(ast.Module([*family.classes], []), "dysts/flows.py", "exec"), space)
    made = space[family.classes[-1].name]
    made.order = order
    made.reads = frozenset(node.id for node in ast.walk(family.rhs) if isinstance(node, ast.Name))
    return made


def _variables(family: _Family, size: int) -> tuple[str, ...]:
    """The names that the equations give to the entries of a state."""
    rhs = family.rhs
    if rhs.name == "_rhs":
        return tuple(arg.arg for arg in rhs.args.args[:size])
    for node in rhs.body:  # x, y, z = X
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and ast.unparse(node.value) == "X":
            return tuple(ast.unparse(target) for target in node.targets[0].elts)
    return tuple(f"x{i}" for i in range(size))


def _doc(name: str, facts: dict[str, Any], family: _Family, values: Mapping[str, float]) -> str:
    text = " ".join(facts["description"].split()).rstrip(".")
    lines = [line for line in ast.unparse(family.rhs).splitlines() if not line.startswith("@")]
    arguments = ", ".join(f"`{key}`" for key in values) or "no numbers"
    paragraphs = [
        f"Behaviour: {text}. One period is {facts['period']:.4g} time units.",
        f"State: ({facts['embedding_dimension']},), the variables of the equation, in its order.",
        f"Arguments: {arguments}, the parameters of the equation; `spread`, standard deviation of the initial states "
        "about a point of the attractor, relative to the attractor's size along each axis (0 or more).",
        f"Reference: {' '.join(facts['citation'].split())} Taken from the package dysts: W. Gilpin, arXiv:2110.05266.",
    ]
    wrapped = [textwrap.fill(text, 114, break_long_words=False) for text in paragraphs]
    first = f"{name} of the package dysts: {text.partition('. ')[0]}"
    equation = "Equation, as the package has it:\n\n" + textwrap.indent("\n".join(lines), "    ")
    return textwrap.indent("\n\n".join([f"{first}.", equation, *wrapped]), "    ").lstrip()


def _check_batches(system: System, name: str) -> None:
    """Equations for one state at a time cannot be told by looking: they fail on several, or find other rates."""
    why = "its equations work on one state at a time, and not on batches of states"
    y = np.stack([system.initial_state(np.random.default_rng(i)) for i in range(3)])
    try:
        with np.errstate(all="ignore"):
            both, single = system.field(0.0, y), np.stack([system.field(0.0, state) for state in y])
    except Exception as problem:
        raise ValueError(f"dysts/{name} cannot be used: {why}") from problem
    if both.shape != y.shape or not np.allclose(both, single, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise ValueError(f"dysts/{name} cannot be used: {why}")
