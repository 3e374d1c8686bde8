"""Reference trajectories kept on disk under a hash of everything that determines them."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from physics_models import simulate as simulate_module
from physics_models.base import System
from physics_models.simulate import Reference, simulate
from physics_models.syntax import canonical

FOLDER = Path("structured-vs-blackbox") / "reference"
# Part of every key: raise it when the drawing of initial states or the layout of the files changes.
VERSION = 1

logger = logging.getLogger(__name__)


def reference(
    system: System, rng_seed: int, n: int, times: np.ndarray, cache_dir: Path | None = None, rtol: float = 1e-10
) -> Reference:
    """n trajectories from random initial states at the given times, from the cache or computed and then cached.

    `rng_seed` (0 or more) picks the initial states, see `initial_states`; `times` and `rtol` as for `simulate`;
    `cache_dir`: where files live, by default `default_cache_dir()`. A cache that cannot be read or written costs time
    and a logged warning, nothing else. Raises what `simulate` raises.
    """
    times = np.asarray(times, dtype=np.float64)
    key = _key(system, rng_seed, n, times, rtol)
    if key is None:
        logger.info("%s is not cached: its source file cannot be read", type(system).__name__)
        return simulate(system, initial_states(system, rng_seed, n), times, rtol)
    name = type(system).__module__.rpartition(".")[2]
    path = (default_cache_dir() if cache_dir is None else Path(cache_dir)) / f"{name}-{key}.npz"
    found = _read(path, (n, len(times), *system.state_shape), rtol)
    if found is None:
        found = simulate(system, initial_states(system, rng_seed, n), times, rtol)
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


def _key(system: System, rng_seed: int, n: int, times: np.ndarray, rtol: float) -> str | None:
    """What determines the result, hashed; None if the code that does cannot be found."""
    kinds = [kind for kind in type(system).__mro__ if issubclass(kind, System)]
    try:
        files = [inspect.getsourcefile(kind) for kind in kinds] + [simulate_module.__file__]
        code = [_code_hash(Path(file)) for file in files if file]
    except (OSError, TypeError):  # a class typed into a prompt has no file
        return None
    known = [VERSION, type(system).__qualname__, asdict(system), rng_seed, n, float(rtol), code]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=float).encode())
    digest.update(times.tobytes())
    return digest.hexdigest()[:32]


def _code_hash(file: Path) -> str:
    return hashlib.sha256(canonical(file.read_bytes()).encode()).hexdigest()


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
