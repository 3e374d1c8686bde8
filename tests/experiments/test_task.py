"""Tasks: who sees which data. Splits are disjoint, truth is free of noise, scales know the training data only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.task import DataFile, Protocol, Task, from_file, simulated
from experiments.trajectories import Trajectories
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.pendulum import Pendulum
from physics_models.simulate import Reference, SimulationError

SMALL = Protocol(n_train=4, n_val=2, n_test=3, horizon=8.0, spacing=0.5)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for trajectories that need no solver: who gets which is the question here, not what they are."""

    def simulate(system: Any, y0: np.ndarray, times: np.ndarray, rtol: float, *_: Any) -> Reference:
        return Reference(y0[:, None] * np.exp(-0.1 * times)[:, None], 0.0, rtol)

    monkeypatch.setattr("physics_models.cache.simulate", simulate)
    return tmp_path / "reference"


def task_of(cache: Path, **changes: Any) -> Task:
    return simulated("pendulum", Pendulum(), replace(SMALL, **changes), cache)


def made(train: np.ndarray, other: np.ndarray | None = None, dt: float = 0.5) -> Task:
    """A task of states (R, T, D) at even times."""
    names = [f"x{i}" for i in range(train.shape[-1])]
    data = [
        Trajectories.common(np.arange(y.shape[1]) * dt, y, names) for y in (train, train if other is None else other)
    ]
    return Task("hand-made", None, False, train=data[0], val=data[1], test=data[1], unit=1.0)


# -- Splits --------------------------------------------------------------------------------------------------------


def test_splits_are_disjoint_and_of_the_sizes_asked_for(cache: Path) -> None:
    task = task_of(cache)
    assert (task.train.count, task.val.count, task.test.count) == (4, 2, 3)
    starts = np.concatenate([part.y[:, 0] for part in (task.train, task.val, task.test)])
    assert len(np.unique(starts, axis=0)) == 9
    for part in (task.train, task.val, task.test):
        np.testing.assert_array_equal(part.times[0], np.arange(17) * 0.5)
        assert part.variables == ("angle", "velocity")
    assert task.exact and task.unit == pytest.approx(2 * np.pi)  # the period of small swings at gravity 1


def test_more_training_data_leave_the_rest_as_it_was(cache: Path) -> None:
    """What makes scaling curves comparable: a larger training set contains the smaller one, and is tested alike."""
    few, many = task_of(cache), task_of(cache, n_train=7)
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(few, part).y, getattr(many, part).y)
    np.testing.assert_array_equal(few.train.y, many.train.y[:4])


def test_the_same_protocol_gives_the_same_data_and_another_seed_others(cache: Path) -> None:
    task = task_of(cache)
    fresh = task_of(cache / "another")  # simulated again, and not found in the cache
    other = task_of(cache, data_seed=1)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(task, part).y, getattr(fresh, part).y)
        assert not np.isclose(getattr(task, part).y[:, 0], getattr(other, part).y[:, 0]).any()


def test_noise_is_on_training_states_only_and_of_the_size_asked_for(cache: Path) -> None:
    clean, noisy, again = task_of(cache), task_of(cache, noise=0.1), task_of(cache, noise=0.1)
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(clean, part).y, getattr(noisy, part).y)
    np.testing.assert_array_equal(noisy.train.y, again.train.y)
    added = noisy.train.y - clean.train.y
    relative = added.std(axis=(0, 1)) / (0.1 * clean.train.y.std(axis=(0, 1)))
    # 68 draws a variable: a standard deviation is known to 1/sqrt(136) = 9%; four of these.
    np.testing.assert_allclose(relative, 1, atol=0.35)
    assert abs(np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]) < 4 / np.sqrt(68)
    # Errors are measured in units of the clean data's spread: more noise does not make a model look better.
    np.testing.assert_array_equal(noisy.scales.std, clean.scales.std)
    assert (noisy.info.std != clean.info.std).all()
    assert task_of(cache, noise=0.1, data_seed=1).train.y.shape == added.shape


def test_what_a_system_cannot_do_is_the_users_to_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise SimulationError("trajectory 3 stops at t = 1")

    monkeypatch.setattr("physics_models.cache.simulate", refuse)
    with pytest.raises(UserError, match="task pendulum: trajectory 3 stops"):
        task_of(cache, data_seed=7)
    with pytest.raises(UserError, match=r"GB of memory.*task\.n_train"):
        task_of(cache, n_train=10**11)


# -- Scales --------------------------------------------------------------------------------------------------------


def test_scales_come_from_training_data_only() -> None:
    rng = np.random.default_rng(0)
    train, other = rng.standard_normal((3, 9, 2)), 1000 + 1000 * rng.standard_normal((2, 9, 2))
    alone, beside = made(train).info, made(train, other).info
    for name in ("mean", "std", "rate_std", "step_std", "interval"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))


def test_scales_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal((3, 9, 2)) * [1.0, 5.0] + [10.0, -3.0]
    info = made(y, dt=0.25).info
    np.testing.assert_allclose(info.mean, y.mean(axis=(0, 1)))
    np.testing.assert_allclose(info.std, y.std(axis=(0, 1)))
    steps = np.diff(y, axis=1)
    np.testing.assert_allclose(info.step_std, np.sqrt((steps**2).mean(axis=(0, 1))))
    np.testing.assert_allclose(info.rate_std, info.step_std / 0.25)
    assert info.interval == 0.25 and info.state_shape == (2,) and info.variables == ("x0", "x1")


@pytest.mark.parametrize("value", [0.0, 0.1, -7e30, 1e-30])
def test_a_variable_that_never_changes_has_no_scale(value: float) -> None:
    rng = np.random.default_rng(2)
    y = np.stack([rng.standard_normal((3, 9)), np.full((3, 9), value)], axis=-1)
    info = made(y).info
    # Not 0, by which it would be divided, and not the rounding error of its mean.
    assert info.std[1] == info.rate_std[1] == info.step_std[1] == 1
    assert info.std[0] == pytest.approx(y[..., 0].std())


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_the_units_of_one_variable_do_not_matter_to_another(unit: float) -> None:
    """Moles per litre beside kelvin: a small number is not a constant."""
    y = np.random.default_rng(3).standard_normal((3, 9, 2))
    plain, scaled = made(y).info, made(y * [1.0, unit]).info
    for name in ("std", "rate_std", "step_std"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name) * [1.0, unit])


def test_training_states_that_overflow_are_refused() -> None:
    y = np.random.default_rng(4).standard_normal((3, 9, 1)) * 1e200
    with np.errstate(over="ignore"), pytest.raises(UserError, match="overflow"):
        _ = made(y).info


# -- Windows -------------------------------------------------------------------------------------------------------


def ragged(lengths: list[int]) -> Trajectories:
    """The state (r, k) says that it is point k of trajectory r."""
    times, y = np.full((len(lengths), max(lengths)), np.nan), np.full((len(lengths), max(lengths), 2), np.nan)
    for r, n in enumerate(lengths):
        times[r, :n] = 100 * r + np.cumsum(np.linspace(0.1, 1, n))
        y[r, :n] = np.stack([np.full(n, r), np.arange(n)], axis=-1)
    return Trajectories(times, y, np.array(lengths), ("r", "k"))


@settings(deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=5), st.integers(1, 4))
def test_no_window_crosses_from_one_trajectory_into_the_next(lengths: list[int], window: int) -> None:
    data = ragged(lengths)
    task = Task("ragged", None, False, train=data, val=data, test=data, unit=1.0)
    if max(lengths) <= window:
        with pytest.raises(ValueError, match="consecutive points"):
            task.points(window)
        return
    points = task.points(window)
    assert len(points.y) == sum(lengths)
    where = points.starts[:, None] + np.arange(window + 1)
    assert (points.y[where, 0] == points.y[where[:, :1], 0]).all()
    assert (np.diff(points.y[where, 1], axis=1) == 1).all()
    assert len(where) == len(np.unique(points.starts)) == sum(max(0, n - window) for n in lengths)
    assert (np.diff(points.times[where], axis=1) > 0).all()


@settings(deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=5), st.floats(0.05, 20))
def test_every_segment_lies_in_one_trajectory_and_within_the_unit(lengths: list[int], unit: float) -> None:
    data = ragged(lengths)
    task = Task("ragged", None, False, train=data, val=data, test=data, unit=unit)
    for segments in task.segments.values():
        assert segments.count > 0 and segments.mask[:, :2].all()  # a start, and something to predict
        for times, y, mask in zip(segments.times, segments.y, segments.mask, strict=True):
            assert len(set(y[mask, 0])) == 1 and (np.diff(y[mask, 1]) == 1).all()
            longest = max(unit, float(np.nanmin(np.diff(data.times, axis=1))))
            assert np.ptp(times[mask]) <= longest * (1 + 1e-5)  # times are rounded: see Trajectories.segments


# -- The user's own data -------------------------------------------------------------------------------------------


def test_lynx_and_hare_are_a_forecast() -> None:
    task = from_file(DataFile("lynx_hare", variables=("hare", "lynx")), None)
    parts = [task.train, task.val, task.test]
    assert all(part.count == 1 for part in parts)
    years = [part.times[0] for part in parts]
    assert years[0][0] == 1900 and years[2][-1] == 1920
    np.testing.assert_array_equal(np.concatenate(years), np.arange(1900, 1921))  # in order, all, and none twice
    assert [len(y) for y in years] == [15, 3, 3]  # 70, 15 and 15% of 21
    assert not task.exact and task.system is None and task.unit == 5.0


def test_equations_must_fit_the_data() -> None:
    with pytest.raises(UserError, match=r"task\.equations needs .*angle, velocity.*the file has .*hare"):
        from_file(DataFile("lynx_hare", variables=("hare",)), Pendulum())
    task = from_file(DataFile("lynx_hare", variables=("hare", "lynx")), LotkaVolterra())
    assert task.info.system is not None and not task.info.exact


@pytest.mark.parametrize("split", ["trajectory", "time"])
def test_a_file_is_split_as_asked(tmp_path: Path, split: str) -> None:
    rows = [f"{t},{r},{r + 10 * t}" for r in range(7) for t in range(14)]
    (tmp_path / "data.csv").write_text("\n".join(["time,trajectory,x", *rows]))
    task = from_file(DataFile(str(tmp_path / "data.csv"), split=split), None)
    points = [part.y[part.inside][:, 0] for part in (task.train, task.val, task.test)]
    assert sorted(np.concatenate(points)) == sorted(r + 10 * t for r in range(7) for t in range(14))
    if split == "trajectory":
        assert [part.count for part in (task.train, task.val, task.test)] == [5, 1, 1]
        again = from_file(DataFile(str(tmp_path / "data.csv"), split=split, data_seed=5), None)
        assert not np.array_equal(again.test.y, task.test.y) or not np.array_equal(again.val.y, task.val.y)
    else:
        assert task.train.times[:, -1].max() < task.val.times[:, 0].min() < task.test.times[:, 0].min()
