"""What a run's identity is made of: the configuration that matters to it, and the code that matters."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from experiments.record import SCHEMA, identity_of

ROOT = Path(__file__).parent.parent
# What decides a run's numbers; the command line, tables and tracking do not.
CODE = (
    "physics_models/*.py", "learners/**/*.py", "hardware/*.py", "experiments/metrics/*.py", "experiments/task.py",
    "experiments/evaluate.py", "experiments/run.py", "experiments/trajectories.py", "experiments/read_*.py",
)  # fmt: skip
LIBRARIES = ("jax", "jaxlib", "diffrax", "equinox", "optax", "torch", "torchdiffeq", "numpy", "scipy")


@functools.cache
def code_hash() -> str:
    """Hash of the syntax of the code that matters: comments, docstrings and layout do not change it."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CODE for path in ROOT.glob(pattern)}):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(_syntax(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def _syntax(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an unused backend may be missing
            continue
    return found


def run_config(tree: dict[str, Any], model: dict[str, Any], learning: str, device: str, seed: int) -> dict[str, Any]:
    """The part of the resolved configuration that this run depends on; what does not matter to it is left out.

    A fit with an end of its own is thus the same run whatever the budget, and is found again.
    """
    config = {"task": tree["task"], "model": model, "backend": tree["backend"], "dtype": tree["dtype"]}
    config |= {"device": device, "seed": seed}
    if learning == "gradient":
        config |= {"training": tree["training"], "budget": tree["budget"]}
    elif learning == "gauss_newton":
        config |= {"training": {"window": tree["training"]["window"]}}
    return config


def identity(config: dict[str, Any], facts: dict[str, Any]) -> str:
    """`facts["content"]` is the hash of the user's data, where there are some."""
    return identity_of({"config": config, "data": facts.get("content"), "code": code_hash(), "schema": SCHEMA})
