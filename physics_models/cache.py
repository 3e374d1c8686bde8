"""Reference trajectories kept on disk under a hash of everything that determines them."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import logging
import os
import tempfile
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physics_models import simulate as simulate_module
from physics_models.base import System
from physics_models.simulate import Reference, simulate
from physics_models.syntax import canonical, parse

FOLDER = Path("structured-vs-blackbox") / "reference"
# Part of every key: raise it when the drawing of initial states or the layout of the files changes.
VERSION = 2

logger = logging.getLogger(__name__)


def reference(
    system: System,
    rng_seed: int,
    n: int,
    times: np.ndarray,
    cache_dir: Path | None = None,
    rtol: float = 1e-10,
    process_noise: float = 0.0,
) -> Reference:
    """n trajectories from random initial states at the given times, from the cache or computed and then cached.

    `rng_seed` (0 or more) picks the initial states, see `initial_states`, and the chance along the way; `times`, `rtol`
    and `process_noise` as for `simulate`; `cache_dir`: where files live, by default `default_cache_dir()`. A cache that
    cannot be read or written costs time and a logged warning, nothing else. Raises what `simulate` raises.
    """
    times = np.asarray(times, dtype=np.float64)
    key = _key(system, rng_seed, n, times, rtol, process_noise)
    if key is None:
        logger.info("%s is not cached: its source file cannot be read", type(system).__name__)
        return simulate(system, initial_states(system, rng_seed, n), times, rtol, process_noise, rng_seed)
    name = type(system).__module__.rpartition(".")[2]
    path = (default_cache_dir() if cache_dir is None else Path(cache_dir)) / f"{name}-{key}.npz"
    found = _read(path, (n, len(times), *system.state_shape), rtol)
    if found is None:
        found = simulate(system, initial_states(system, rng_seed, n), times, rtol, process_noise, rng_seed)
        _write(path, found)
    return found


def initial_states(system: System, rng_seed: int, n: int) -> np.ndarray:
    """(n, *state_shape) states. Trajectory i has its own random stream, so a larger n keeps the first ones."""
    if n < 1:
        raise ValueError(f"n must be 1 or more, but it is {n}")
    return np.stack([system.initial_state(np.random.default_rng([rng_seed, i])) for i in range(n)])


def default_cache_dir() -> Path:
    """$XDG_CACHE_HOME or ~/.cache, then `FOLDER`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / FOLDER


def _key(system: System, rng_seed: int, n: int, times: np.ndarray, rtol: float, process_noise: float) -> str | None:
    """What determines the result, hashed; None if the code that does cannot be found."""
    kinds = _kinds(system)
    try:
        files = [inspect.getsourcefile(kind) for kind in kinds] + [simulate_module.__file__]
        code = _code_hashes([Path(file) for file in files if file])
    except (OSError, TypeError):  # a class typed into a prompt has no file
        return None
    # repr names the classes of systems within a system, asdict has every digit of its options.
    known = [
        VERSION,
        type(system).__qualname__,
        repr(system),
        asdict(system),
        rng_seed,
        n,
        float(rtol),
        float(process_noise),
        code,
    ]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=float).encode())
    digest.update(times.tobytes())
    return digest.hexdigest()[:32]


def _kinds(system: Any) -> list[type]:
    """The classes that define a system, and those of the systems and priors that it holds."""
    held = [value for f in fields(system) if is_dataclass(value := getattr(system, f.name))]
    own = [kind for kind in type(system).__mro__ if is_dataclass(kind)]
    return own + [kind for inner in held for kind in _kinds(inner)]


def _code_hashes(files: list[Path]) -> list[str]:
    """Hashes of these files and of all files of this folder that they import, at the top or within, near or far."""
    found: dict[Path, str] = {}
    left = list(files)
    while left:
        file = left.pop().resolve()
        if file not in found:
            source = file.read_bytes()
            found[file] = hashlib.sha256(canonical(source).encode()).hexdigest()
            left += _ours(source)
    return sorted(found.values())


def _ours(source: bytes) -> list[Path]:
    """Files of this folder that a source imports."""
    names: set[str] = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    package = Path(__file__).parent
    inside = [name.partition(".")[2] for name in names if name.startswith(f"{package.name}.")]
    return [path for name in sorted(inside) if (path := package / f"{name.replace('.', '/')}.py").is_file()]


def _read(path: Path, shape: tuple[int, ...], rtol: float) -> Reference | None:
    try:
        # The file is opened here because np.load leaves it open when the archive is broken.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            y, error = archive["y"], float(archive["refinement_error"])  # the zip format checks a CRC of both
        if y.shape != shape or y.dtype != np.float64:
            raise ValueError(f"it holds {y.dtype} of shape {y.shape}, not float64 of shape {shape}")
    except FileNotFoundError:
        return None
    except Exception as problem:  # a damaged zip raises nearly anything: OSError, BadZipFile, zlib.error, RuntimeError
        logger.warning("the cached reference %s cannot be used and is computed again: %s", path, problem)
        return None
    return Reference(y, error, rtol)


def _write(path: Path, found: Reference) -> None:
    """Write aside, flush to disk and rename, so that no reader and no crash ever meets half a file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, y=found.y, refinement_error=found.refinement_error)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        logger.warning("the reference trajectories are not cached: %s cannot be written: %s", path, problem)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # still there only if the renaming was not reached
