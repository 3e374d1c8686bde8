"""Find the things of a folder by name without importing them, so that `list` and shell completion stay instant.

A thing is a file that defines a class named after it (`lorenz63.py`: `Lorenz63`), or an entry point of the registry's
group in an installed package (name = "module:Class"). A shipped thing wins over an entry point of the same name.
A family is a whole collection of another package, whose things are called "family/name" and made when asked for.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from physics_models.syntax import parse


def class_name(name: str) -> str:
    """The class a file must define: cucker_smale -> CuckerSmale."""
    return "".join(part.capitalize() for part in name.split("_"))


@dataclass(frozen=True)
class Registry:
    """The things of `package`, whose files lie in `folder`; others come from entry points of `group`.

    `kind` is what messages call one of them; `base`, "module:Class", is what each must be a subclass of. `families`:
    by the name of the package that they come from, a module of ours with a function `load`, from a name to a class, and
    a member that stands for all in lists.
    """

    kind: str
    package: str
    folder: Path
    group: str
    base: str
    families: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The names of all but the families' members, sorted."""
        return sorted({*self._files, *self._entry_points})

    def summaries(self) -> dict[str, str]:
        """One line on each: the first line of its docstring, or the entry point that provides it."""
        found = {name: f"from {entry.value}" for name, entry in self._entry_points.items()}
        found |= {name: _first_docstring_line(path, class_name(name)) for name, path in self._files.items()}
        return {name: found[name] for name in sorted(found)}

    def examples(self) -> dict[str, str]:
        """One member of each family whose package is there, found without importing it, with a line on the family."""
        return {
            f"{family}/{member}": f"Stands for every {self.kind} of the package {family}: each is {family}/NAME."
            for family, (_, member) in self.families.items()
            if importlib.util.find_spec(family) is not None
        }

    def load(self, name: str) -> type:
        """The class of one. Raises KeyError for an unknown name, TypeError if an entry point is of another kind.

        Of a family, also ValueError, with the reason, for a member that cannot be used here.
        """
        family, sign, member = name.partition("/")
        if sign and family in self.families:
            return importlib.import_module(self.families[family][0]).load(member)
        if name in self._files:
            return getattr(importlib.import_module(f"{self.package}.{name}"), class_name(name))
        if name not in self._entry_points:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise KeyError(f"no {self.kind} is called {name!r}{hint}; known: {', '.join(self.names())}")
        module, _, attribute = self.base.partition(":")
        base = getattr(importlib.import_module(module), attribute)
        entry = self._entry_points[name]
        found = entry.load()
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise TypeError(f"the entry point {entry.value} must be a subclass of {module}.{attribute}")
        return found

    @cached_property
    def _files(self) -> dict[str, Path]:
        found = {}
        for path in self.folder.glob("*.py"):
            # A text search tells them from the helper files beside them about a hundred times faster than parsing.
            if f"\nclass {class_name(path.stem)}(" in path.read_text(encoding="utf-8"):
                found[path.stem] = path
        return found

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}


def _first_docstring_line(path: Path, name: str) -> str:
    for node in parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
