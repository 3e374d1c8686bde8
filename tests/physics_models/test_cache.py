"""The cache of reference trajectories: the same numbers, sooner, and never a wrong file."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from physics_models import cache
from physics_models.base import System
from physics_models.lorenz63 import Lorenz63
from physics_models.pendulum import Pendulum
from physics_models.priors.missing_term import MissingTerm
from physics_models.simulate import Reference

TIMES = np.linspace(0, 1, 5)


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[System]:
    """Which systems were really simulated; a stand-in for the solver keeps the tests quick."""
    calls = []

    def fake(
        system: System, y0: np.ndarray, times: np.ndarray, rtol: float, process_noise: float, rng_seed: int
    ) -> Reference:
        calls.append(system)
        return Reference(y0[:, None] + times[None, :, None], 1e-12, rtol)

    monkeypatch.setattr(cache, "simulate", fake)
    return calls


def test_second_call_reads_the_file(tmp_path: Path, solved: list[System]) -> None:
    first = cache.reference(Pendulum(), 7, 3, TIMES, tmp_path / "deep" / "folder")
    again = cache.reference(Pendulum(), 7, 3, TIMES, tmp_path / "deep" / "folder")
    assert len(solved) == 1
    assert np.array_equal(first.y, again.y) and again.y.flags.writeable
    assert (again.refinement_error, again.rtol) == (first.refinement_error, first.rtol)
    (file,) = (tmp_path / "deep" / "folder").iterdir()
    assert file.name.startswith("pendulum-") and file.suffix == ".npz"


def test_everything_that_matters_changes_the_key(tmp_path: Path, solved: list[System]) -> None:
    def solves(*args: object, **more: object) -> bool:
        before = len(solved)
        cache.reference(*args, cache_dir=tmp_path, **more)  # type: ignore[arg-type]
        return len(solved) > before

    assert solves(Pendulum(), 7, 3, TIMES)
    assert not solves(Pendulum(), 7, 3, list(TIMES))
    assert solves(Pendulum(damping=0.2), 7, 3, TIMES)
    assert solves(Pendulum(), 8, 3, TIMES)
    assert solves(Pendulum(), 7, 4, TIMES)
    assert solves(Pendulum(), 7, 3, TIMES * 2)
    assert solves(Pendulum(), 7, 3, TIMES, rtol=1e-9)
    assert solves(Pendulum(), 7, 3, TIMES, process_noise=0.1)
    assert not solves(Pendulum(), 7, 3, TIMES, process_noise=0.1)


def test_more_trajectories_keep_the_first_ones() -> None:
    few, many = (cache.initial_states(Pendulum(), 7, n) for n in (3, 10))
    assert np.array_equal(few, many[:3])
    assert len(np.unique(many, axis=0)) == 10
    with pytest.raises(ValueError, match="n must be 1 or more, but it is 0"):
        cache.initial_states(Pendulum(), 7, 0)


def test_only_code_counts_in_the_hash(tmp_path: Path) -> None:
    def code_hash(text: str) -> list[str]:
        file = tmp_path / "code.py"
        file.write_text(text)
        return cache._code_hashes([file])

    plain = code_hash("class A:\n    x = 1\n    def f(self):\n        return 2\n")
    told = code_hash(
        '"""M."""\nclass A:\n    """A."""\n    x = 1  # why\n\n    def f(self):\n        """F."""\n        return 2'
    )
    assert plain == told
    assert plain != code_hash("class A:\n    x = 1\n    def f(self):\n        return 3\n")


def test_code_that_is_imported_counts_as_well() -> None:
    """Directly or not, at the top of a file or in a function: helpers decide the numbers as much as the system."""
    folder = Path(cache.__file__).parent
    one = cache._code_hashes([folder / "base.py"])
    found = cache._code_hashes([folder / "burgers.py", folder / "simulate.py"])
    for helper in ("base", "periodic", "solution", "solve_adaptive", "solve_exponential", "solve_noisy", "solve_map"):
        assert set(cache._code_hashes([folder / f"{helper}.py"])) <= set(found), helper
    assert len(one) == 1 and not set(cache._code_hashes([folder / "lorenz63.py"])) <= set(found)


def test_systems_within_a_system_count(tmp_path: Path, solved: list[System]) -> None:
    @dataclasses.dataclass(frozen=True)
    class Watched(Pendulum):
        watched: System | None = None

    assert Lorenz63 in cache._kinds(Watched(watched=Lorenz63()))
    assert MissingTerm in cache._kinds(MissingTerm(0.1).tell(Lorenz63()))  # what is told depends on the kind's code
    for inner in (Pendulum(), Pendulum(damping=0.2), Lorenz63(), Pendulum()):
        cache.reference(Watched(watched=inner), 7, 3, TIMES, tmp_path)
    assert len(solved) == 3


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "other shape"])
def test_damaged_file_is_computed_again(
    tmp_path: Path, solved: list[System], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    good = cache.reference(Pendulum(), 7, 50, TIMES, tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1  # inside the numbers: only the checksum can tell
    broken = {"truncated": content[:500], "flipped": content, "empty": b"", "text": b"not an archive"}
    if damage == "other shape":
        np.savez(file, y=np.zeros((1, 2)), refinement_error=0.0)
    else:
        file.write_bytes(bytes(broken[damage]))
    with caplog.at_level(logging.WARNING):
        again = cache.reference(Pendulum(), 7, 50, TIMES, tmp_path)
    assert "cannot be used and is computed again" in caplog.text
    assert len(solved) == 2 and np.array_equal(again.y, good.y)
    cache.reference(Pendulum(), 7, 50, TIMES, tmp_path)  # mended
    assert len(solved) == 2 and len(list(tmp_path.iterdir())) == 1


def test_unusable_folder_is_not_fatal(tmp_path: Path, solved: list[System], caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        found = cache.reference(Pendulum(), 7, 3, TIMES, blocked)
    assert "are not cached" in caplog.text and found.y.shape == (3, 5, 2)


def test_crash_while_writing_leaves_nothing(
    tmp_path: Path, solved: list[System], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with caplog.at_level(logging.WARNING):
        cache.reference(Pendulum(), 7, 3, TIMES, tmp_path)
    assert "No space left" in caplog.text and list(tmp_path.iterdir()) == []


def test_system_without_a_file_is_not_cached(tmp_path: Path, solved: list[System]) -> None:
    scope: dict[str, object] = {"Pendulum": Pendulum, "__name__": "a_prompt"}
    exec("class Typed(Pendulum): pass", scope)
    system = dataclasses.replace(scope["Typed"](), damping=0.3)  # type: ignore[operator]
    for _ in range(2):
        assert cache.reference(system, 7, 3, TIMES, tmp_path).y.shape == (3, 5, 2)
    assert len(solved) == 2 and list(tmp_path.iterdir()) == []


def test_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / "structured-vs-blackbox" / "reference"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / ".cache" / "structured-vs-blackbox" / "reference"


def test_real_solver_through_the_cache(tmp_path: Path) -> None:
    first = cache.reference(Pendulum(), 7, 2, TIMES, tmp_path)
    again = cache.reference(Pendulum(), 7, 2, TIMES, tmp_path)
    assert np.array_equal(first.y, again.y) and first.refinement_error == again.refinement_error
