"""What is said of a task on the terminal: its equation, parameters, terms, structure, and where priors lead."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence

from experiments.show.scene import Scene
from experiments.show.told import Told
from physics_models.base import System
from reports.text import clean, number, wrapped


def title(scene: Scene) -> str:
    """The task with the first sentence of its docstring."""
    if scene.system is None:
        shape = scene.first.shape
        whose = f" of {shape[1]} agent{'s' * (shape[1] != 1)}" if len(shape) == 3 else ""
        return f"{scene.name}: {shape[0]} points of {shape[-1]} variable{'s' * (shape[-1] != 1)}{whose}"
    first = (type(scene.system).__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return f"{scene.name}: {clean(first)}" if first else scene.name


def description(scene: Scene, told: Sequence[Told], width: int) -> str:
    """Everything that is known of the task, as lines of text."""
    system = scene.system
    if system is None:
        lines = [title(scene), *(f"  {note}" for note in scene.notes), f"  variables: {', '.join(scene.variables)}"]
        return "\n".join(wrapped([clean(line) for line in lines], width))
    lines = [title(scene), "", *_equation(system), ""]
    facts = {
        "parameters": parameters(system) or "none",
        "options": options(system) or "none",
        "terms": ", ".join(f"{name}{' (known)' * (name in system.known_terms)}" for name in system.term_names),
        "structure": _structure(system),
        "symmetries": ", ".join(system.structure.symmetries) or "none stated",
        "conserved": ", ".join(system.structure.conserved) or "nothing stated",
        "time scale": f"{number(system.time_scale)} time units{'; chaotic' if system.chaotic else ''}",
        "shown": f"{len(scene.y)} starts, to t = {number(float(scene.times[-1]))}, {len(scene.times)} points",
    }
    if scene.notes:
        facts["note"] = "; ".join(scene.notes)
    lines[len(lines) :] = wrapped([f"{name + ':':<12}{text}" for name, text in facts.items()], width)
    return "\n".join([*lines, *_priors(scene, told, width)])


def parameters(system: System) -> str:
    """What a fit may adjust, with its values."""
    return ", ".join(f"{name} {number(value)}" for name, value in system.values.items())


def options(system: System) -> str:
    """What else a system is given, of its equation and of its starts, with its values."""
    given = {f.name: getattr(system, f.name) for f in dataclasses.fields(system) if f.name not in system.parameters}
    return ", ".join(f"{k} {number(v) if type(v) in (int, float) else clean(v)}" for k, v in given.items())


def _equation(system: System) -> list[str]:
    """The paragraph of the docstring that begins with the word Equation, up to the behaviour or another heading."""
    text = inspect.cleandoc(type(system).__doc__ or "")
    found = re.search(r"^Equation.*?(?=^(?:[A-Z]\w+:|[A-Z]\w+ [^\n]*:)|\Z)", text, re.S | re.M)
    return found[0].rstrip().splitlines() if found else ["(its docstring states no equation)"]


def _structure(system: System) -> str:
    s = system.structure
    shape = ", ".join(map(str, system.state_shape))
    parts = [f"state ({shape}): {', '.join(system.variables[:8])}{', …' * (len(system.variables) > 8)}"]
    if s.agents is not None:
        parts.append(f"{s.agents} agents in {s.space_dim} dimension{'s' * (s.space_dim != 1)}")
    if s.grid is not None:
        parts.append(f"{' × '.join(map(str, s.grid))} points on {' × '.join(number(side) for side in s.extent)}")
    if s.pairwise:
        parts.append("sum over pairs")
    if s.box is not None:
        parts.append(f"distances in a periodic box of side {number(s.box)}")
    return "; ".join([*parts, f"order {s.order} in time"])


def _priors(scene: Scene, told: Sequence[Told], width: int) -> list[str]:
    """The largest errors within one time scale, or up to the end where that is earlier.

    The largest, not the last: what a wrong symmetry does can be ten times smaller after just one period.
    """
    if not told:
        return []
    assert scene.system is not None
    at = min(scene.system.time_scale, float(scene.times[-1] - scene.times[0]))
    head = f"largest error of wrong priors within {number(at)} time units, in standard deviations"
    lines = ["", f"{head}:", "  " + " " * 15 + "".join(f"{f'δ = {d:g}':>11}" for d in told[0].deltas)]
    left_out = []
    for t in told:
        if t.reason:
            left_out.append(f"  {t.kind} left out: {t.reason}")
            continue
        within = t.times - t.times[0] <= 1.001 * at
        largest = t.errors[:, within].max(axis=1)
        errors = "".join(f"{number(float(e)):>11}" for e in largest)
        lines.append(f"  {t.kind:<15}{errors}  {t.what}{f' ({t.note})' if t.note else ''}")
    return [*lines, *wrapped(left_out, width)]
