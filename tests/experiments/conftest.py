"""The command line as a user types it: in a process of its own, or in this one where that is enough and quicker."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# Before torch is imported. Its threads wait for each other busily: beside other work on the same cores, networks as
# small as these take three times as long with two threads as with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, output and errors."""

    code: int
    out: str
    err: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Smoke:
    """The one run of the smoke preset that many tests look at: its command, what it printed, its runs folder."""

    words: list[str]
    done: Done
    runs: Path

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The records as raw JSON, by model."""
        found = [json.loads(path.read_text()) for path in self.runs.glob("*/record.json")]
        return {record["model"]: record for record in found}


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Our packages are found from any folder, and no test sees an accelerator."""
    return os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder to run commands in: whatever lands there was not asked for."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="session")
def cli(environment: dict[str, str], elsewhere: Path) -> Callable[..., Done]:
    """Run `python -m experiments WORDS…` in a process of its own, in an empty folder."""

    def run(*words: str, timeout: float = 110) -> Done:
        started = time.perf_counter()
        command = [sys.executable, "-m", "experiments", *words]
        done = subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=timeout)
        return Done(done.returncode, done.stdout, done.stderr, time.perf_counter() - started)

    return run


@pytest.fixture(scope="session")
def smoke(cli: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    runs = tmp_path_factory.mktemp("smoke") / "runs"
    words = ["run", "pendulum", "experiment=smoke", "tracking=none", f"runs={runs}"]
    return Smoke(words, cli(*words), runs)


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the small runs of most tests, which look at other things."""
    monkeypatch.setattr("experiments.main_job.draw", lambda records, store, stem: [])


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Done]:
    """The same in this process, which saves the imports: `here("list", "model")`, in an empty folder."""
    from experiments.cli import main

    # It replaces the handlers of the root logger, among them those with which pytest collects log messages.
    monkeypatch.setattr("experiments.progress.log_to_console", lambda: None)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*words: str) -> Done:
        capsys.readouterr()
        started = time.perf_counter()
        try:
            code = main(words)
        except SystemExit as stop:  # how argparse ends --help
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err, time.perf_counter() - started)

    return run


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference trajectories by Runge and Kutta's rule in NumPy: good to about 1e-6, and nothing to compile."""
    from physics_models.base import System
    from physics_models.solution import Reference, SimulationError

    def simulate(
        system: System, y0: Any, times: Any, rtol: float = 0, process_noise: float = 0, rng_seed: int = 0
    ) -> Reference:
        out, f = [y0], system.field
        rng = np.random.default_rng([rng_seed, len(y0)])
        for start, end in itertools.pairwise(times):
            y, h = out[-1], (end - start) / 8
            for t in start + h * np.arange(8):
                with np.errstate(over="ignore", invalid="ignore"):
                    a = f(t, y)
                    b = f(t + h / 2, y + h / 2 * a)
                    c = f(t + h / 2, y + h / 2 * b)
                    y = y + h / 6 * (a + 2 * b + 2 * c + f(t + h, y + h * c))
                    if process_noise:
                        y = y + process_noise * np.sqrt(h) * rng.standard_normal(y.shape)
                if not np.isfinite(y).all() or np.abs(y).max() > 1e6:
                    raise SimulationError(f"trajectory 0 stops at t = {t:.3g}; it blows up", stopped_at=float(t))
            out.append(y)
        return Reference(np.stack(out, axis=1), 0.0, rtol)

    monkeypatch.setattr("physics_models.cache.simulate", simulate)
    monkeypatch.setattr("physics_models.simulate.simulate", simulate)
