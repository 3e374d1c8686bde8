"""Who may import whom: the house rules as one table, read from the syntax trees, so that nothing has to run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each room, and what it may import of ours besides itself.
ROOMS: dict[str, set[str]] = {
    "physics_models": set(),
    "hardware": set(),
    "learners": {"physics_models.base", "physics_models.registry", "hardware"},  # backends count their operations
    "experiments": {"physics_models", "hardware", "learners", "reports", "configs"},
    "reports": {"experiments.record"},  # reads records only
    "configs": set(),
}

# Frameworks: (the modules, files that may import them, files that may do so inside a function only). A function's
# imports cost nothing until it is called, so `--help` and `list` stay quick.
LAZILY = ["hardware/devices*", "hardware/meter*", "hardware/energy*"]
JAX = {"jax", "jaxlib", "equinox", "optax", "diffrax", "lineax", "optimistix", "array_api_compat.jax"}
TORCH = {"torch", "torchdiffeq", "array_api_compat.torch"}
FRAMEWORKS: list[tuple[set[str], list[str], list[str]]] = [
    (
        JAX,
        ["learners/backends/jax*", "hardware/*jax*"],
        [
            *LAZILY,
            "physics_models/solution.py",
            "physics_models/solve_*",
            "physics_models/lyapunov.py",
            "physics_models/neighbours.py",
            "physics_models/large_flock.py",
        ],
    ),
    (TORCH, ["learners/backends/torch*", "hardware/*torch*"], LAZILY),
    ({"hydra", "omegaconf"}, ["experiments/cli*", "experiments/config*"], []),
    ({"wandb", "wandb_workspaces"}, [], ["experiments/tracking*", "experiments/dashboard.py"]),
    ({"ray"}, [], ["experiments/study/ray_executor.py"]),
    ({"submitit"}, [], ["experiments/study/slurm.py"]),
    ({"fsspec"}, [], ["experiments/store/*", "experiments/study/*"]),
    ({"jinja2", "vl_convert"}, [], ["reports/page/*"]),
    ({"pynvml"}, [], ["hardware/energy/nvidia.py"]),
    ({"zeus"}, [], ["hardware/energy/through_zeus.py"]),
]


def imports(tree: ast.AST, package: str, lazy: bool = False) -> Iterator[tuple[str, bool, int]]:
    """(dotted name, inside a function or for type checking only, line) of every import below `tree`."""
    for node in ast.iter_child_nodes(tree):
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside = True
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", lazy, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((str(arg.value), lazy, node.lineno) for arg in node.args if isinstance(arg, ast.Constant))
        yield from imports(node, package, inside)


def is_within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def violations(path: str, source: str) -> list[str]:
    """What the file at `path`, relative to the root, imports against the rules."""
    room, package = path.split("/")[0], path.rpartition("/")[0].replace("/", ".")
    found = []
    for name, lazy, line in imports(ast.parse(source), package):
        ours = name.split(".")[0] in ROOMS
        if ours and not is_within(name, {room} | ROOMS[room]):
            allowed = ", ".join(sorted(ROOMS[room])) or "nothing else of ours"
            found.append(f"{path}:{line} imports {name}: {room} may import {allowed}")
        for modules, anywhere, lazily in FRAMEWORKS:
            places = anywhere + (lazily if lazy else [])
            if is_within(name, modules) and not any(fnmatch(path, place) for place in places):
                late = f", and inside functions only: {', '.join(lazily)}" if lazily else ""
                found.append(f"{path}:{line} imports {name}: allowed in {', '.join(anywhere) or 'no file'}{late}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_keeps_the_import_rules(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"{room} has no files: was it moved?"
    found = [v for file in files for v in violations(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "caught"),
    [
        ("physics_models/new.py", "import hardware", True),
        ("physics_models/new.py", "from physics_models.base import System", False),
        ("physics_models/new.py", "from .base import System", False),
        ("physics_models/new.py", "from ..learners import base", True),
        ("physics_models/new.py", "import numpy as np", False),
        ("physics_models/solve_adaptive.py", "def f():\n    import jax", False),
        ("physics_models/simulate.py", "import jax", True),
        ("learners/models/new.py", "from physics_models import flocking", True),
        ("learners/models/new.py", "from physics_models import base", False),
        ("learners/models/new.py", "from array_api_compat import torch", True),
        ("learners/models/new.py", "from array_api_compat import array_namespace", False),
        ("learners/models/new.py", "def f():\n    import jax.numpy as jnp", True),
        ("learners/models/new.py", "import importlib\ntorch = importlib.import_module('torch')", True),
        ("learners/backends/jax_new.py", "import jax.numpy as jnp\nimport equinox as eqx", False),
        ("learners/backends/jax_new.py", "import torch", True),
        ("hardware/flops_torch/new.py", "import torch", False),
        ("hardware/devices.py", "import torch", True),
        ("hardware/devices.py", "class A:\n    async def f(self):\n        import torch", False),
        ("experiments/run.py", "from hydra import compose", True),
        ("experiments/config.py", "from hydra import compose", False),
        ("experiments/tracking.py", "import wandb", True),
        ("experiments/tracking_wandb.py", "def f():\n    import wandb.sdk", False),
        ("experiments/run.py", "import wandbish", False),
        ("reports/page.py", "from experiments.record import Record", False),
        ("reports/page.py", "if True:\n    from experiments import store", True),
    ],
)
def test_the_walker_catches_what_it_should(path: str, source: str, caught: bool) -> None:
    assert bool(violations(path, source)) == caught
