"""Windows, segments and splits of trajectories: hand-checked examples, and properties of random data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.protocol import Protocol
from experiments.task import simulated
from experiments.trajectories import DataError, Trajectories, split
from physics_models.pendulum import Pendulum
from physics_models.solution import Reference, SimulationError


def uneven(lengths: list[int], seed: int = 0) -> Trajectories:
    """Random times; the state (r, k) says that it is point k of trajectory r, so that a test can tell."""
    rng = np.random.default_rng(seed)
    count, longest = len(lengths), max(lengths)
    times, y = np.full((count, longest), np.nan), np.full((count, longest, 2), np.nan)
    for r, n in enumerate(lengths):
        times[r, :n] = rng.uniform(-5, 5) + np.cumsum(rng.uniform(0.01, 1, n))
        y[r, :n] = np.stack([np.full(n, r), np.arange(n)], axis=-1)
    return Trajectories(times, y, np.array(lengths), ("r", "k"))


def test_windows_by_hand() -> None:
    times = np.array([[0.0, 1.0, 3.0], [5.0, 6.0, np.nan]])
    y = np.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [np.nan]]])
    data = Trajectories(times, y, np.array([3, 2]), ("x",))
    got_times, got_y = data.windows(1)
    np.testing.assert_array_equal(got_times, [[0, 1], [1, 3], [5, 6]])
    np.testing.assert_array_equal(got_y[..., 0], [[1, 2], [2, 3], [4, 5]])
    np.testing.assert_array_equal(data.windows(2)[0], [[0, 1, 3]])
    assert data.points == 5 and data.count == 2 and data.state_shape == (1,)
    with pytest.raises(DataError, match=r"needs 4 consecutive points, but the longest trajectory has 3"):
        data.windows(3)
    with pytest.raises(DataError, match="at least 1 step"):
        data.windows(0)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 5))
def test_each_window_is_consecutive_points_of_one_trajectory(lengths: list[int], steps: int) -> None:
    data = uneven(lengths)
    if max(lengths) <= steps:
        with pytest.raises(DataError):
            data.windows(steps)
        return
    times, y = data.windows(steps)
    assert times.shape == (sum(max(0, n - steps) for n in lengths), steps + 1)
    assert (y[..., 0] == y[:, :1, 0]).all()
    assert (np.diff(y[..., 1]) == 1).all()
    assert (np.diff(times) > 0).all()
    starts = {(int(r), int(k)) for r, k in y[:, 0]}
    assert len(starts) == len(y)


def test_segments_of_even_times_by_hand() -> None:
    times = np.arange(11) * 0.1  # rounded: 0.30000000000000004 is meant as 0.3
    data = Trajectories.common(times, np.arange(22.0).reshape(2, 11, 1), ["x"])
    segments = data.segments(0.3)
    assert segments.count == 8
    np.testing.assert_array_equal(segments.trajectory, [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(segments.mask.sum(axis=1), [4, 4, 4, 2] * 2)
    np.testing.assert_allclose(segments.times[:3, 0], [0, 0.3, 0.6])
    np.testing.assert_array_equal(segments.y[0, :, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(segments.y[3, :2, 0], [9, 10])
    assert np.isnan(segments.y[3, 2:]).all() and np.isnan(segments.times[3, 2:]).all()
    assert data.segments(0.3, complete=True).count == 6
    assert data.segments(1.0, complete=True).mask.all()  # the end itself starts no segment
    assert data.segments(5.0).count == 2  # longer than the data: one short segment each


def test_segments_of_uneven_times_by_hand() -> None:
    t = np.array([0.0, 0.4, 1.1, 1.2, 5.0, 5.5])
    data = Trajectories.common(t, np.arange(6.0).reshape(1, 6, 1), ["x"])
    segments = data.segments(1.0)
    # 1.1 is the first point at least 1 after 0, and 5 the first at least 1 after 1.1.
    points = [row[mask].tolist() for row, mask in zip(segments.times, segments.mask, strict=True)]
    assert points == [[0.0, 0.4], [1.1, 1.2], [5.0, 5.5]]


def test_segments_are_refused_when_none_is_left() -> None:
    data = Trajectories.common(np.arange(3.0), np.zeros((1, 3, 1)), ["x"])
    with pytest.raises(DataError, match=r"segment of duration 0\.5 with 2 points"):
        data.segments(0.5)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="duration must be above 0"):
            data.segments(bad)


@given(st.lists(st.integers(2, 20), min_size=1, max_size=4), st.floats(0.05, 20), st.integers(0, 1000))
def test_segments_hold_every_point_within_reach_of_their_start(lengths: list[int], duration: float, seed: int) -> None:
    data = uneven(lengths, seed)
    try:
        segments = data.segments(duration)
    except DataError:
        gaps = np.concatenate([np.diff(t[:n]) for t, n in zip(data.times, lengths, strict=True)])
        assert gaps.max() > duration  # some start was out of reach of its successor
        return
    for r, t, y, mask in zip(segments.trajectory, segments.times, segments.y, segments.mask, strict=True):
        n = mask.sum()
        assert n >= 2 and mask[:n].all() and np.isnan(y[n:]).all()
        whole = data.times[r, : lengths[r]]
        within = whole[(whole >= t[0]) & (whole <= t[0] + duration * (1 + 1e-6))]
        np.testing.assert_array_equal(t[:n], within)
    same = segments.trajectory[1:] == segments.trajectory[:-1]
    assert (np.diff(segments.times[:, 0])[same] >= duration * (1 - 1e-6)).all()


@given(st.integers(3, 40), st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.2, 0.4, 0.4)]), st.integers(0, 99))
def test_split_by_trajectory_is_disjoint_and_exhaustive(count: int, fractions: tuple, seed: int) -> None:
    data = uneven([2 + r % 3 for r in range(count)])
    parts = split(data, fractions, by="trajectory", seed=seed)
    assert min(part.count for part in parts) >= 1
    found = np.concatenate([part.y[:, 0, 0] for part in parts])
    assert sorted(found) == list(range(count))
    again = split(data, fractions, by="trajectory", seed=seed)
    assert [p.content_hash() for p in parts] == [p.content_hash() for p in again]


@given(
    st.lists(st.integers(12, 60), min_size=1, max_size=4),
    st.sampled_from([(0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.34, 0.33, 0.33)]),
)
def test_split_by_time_gives_blocks_in_order_that_leave_no_point_out(lengths: list[int], fractions: tuple) -> None:
    data = uneven(lengths)
    parts = split(data, fractions, by="time")
    for r, n in enumerate(lengths):
        blocks = [part.y[r, : part.lengths[r], 1] for part in parts]
        assert all(len(block) >= 2 for block in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), np.arange(n))
        assert abs(len(blocks[0]) - fractions[0] * n) <= 1


def test_auto_split_goes_by_trajectory_from_five_on() -> None:
    few, many = uneven([20] * 4), uneven([20] * 5)
    assert [part.count for part in split(few)] == [4, 4, 4]
    assert [part.lengths[0] for part in split(few)] == [14, 3, 3]
    assert [part.count for part in split(many)] == [3, 1, 1]
    assert split(many, by="time")[0].count == 5
    assert split(many, seed=1)[2].y[0, 0, 0] != split(many, seed=2)[2].y[0, 0, 0]


def test_a_split_that_is_too_small_says_how_much_is_needed() -> None:
    with pytest.raises(DataError, match=r"needs 12 points in every trajectory.* trajectory 2 has 7"):
        split(uneven([20, 7]))
    assert [part.points for part in split(uneven([12]))] == [8, 2, 2]  # the number named is enough
    with pytest.raises(DataError, match="at least 3 trajectories, one for each part, but there are 2"):
        split(uneven([20, 20]), by="trajectory")
    with pytest.raises(DataError, match="has 1; 3 points are enough"):
        uneven([2]).time_block(0, 0.5)
    for fractions in ((0.5, 0.5, 0.0), (0.7, 0.2, 0.2), (0.5, 0.5)):
        with pytest.raises(DataError, match="three fractions"):
            split(uneven([20]), fractions)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="by auto, trajectory or time"):
        split(uneven([20]), by="agent")  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.integers(2, 200), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_the_number_of_points_named_is_enough(n: int, a: float, b: float) -> None:
    fractions = (1 - a - b, a, b)
    try:
        split(uneven([n]), fractions, by="time")
    except DataError as error:
        needed = int(str(error).split(" needs ")[1].split()[0])
        assert needed > n
        split(Trajectories.common(np.arange(float(needed)), np.zeros((1, needed, 1)), ["x"]), fractions, by="time")


def test_select_crops_the_padding_and_the_hash_does_not_see_it() -> None:
    data = uneven([3, 8, 4])
    chosen = data.select([2, 0])
    assert chosen.times.shape == (2, 4)
    np.testing.assert_array_equal(chosen.y[:, 0, 0], [2, 0])
    wide = Trajectories(
        np.pad(chosen.times, ((0, 0), (0, 3)), constant_values=np.nan),
        np.pad(chosen.y, ((0, 0), (0, 3), (0, 0)), constant_values=np.nan),
        chosen.lengths,
        chosen.variables,
    )
    assert wide.content_hash() == chosen.content_hash()
    assert chosen.content_hash() != data.select([0, 2]).content_hash()
    renamed = Trajectories(chosen.times, chosen.y, chosen.lengths, ("r", "other"))
    moved = Trajectories(chosen.times + 1, chosen.y, chosen.lengths, chosen.variables)
    assert len({chosen.content_hash(), renamed.content_hash(), moved.content_hash()}) == 3


def test_agents_have_more_axes() -> None:
    y = np.random.default_rng(0).normal(size=(6, 10, 3, 4))
    data = Trajectories.common(np.linspace(0, 1, 10), y, ("x", "y", "vx", "vy"))
    assert data.state_shape == (3, 4)
    assert data.windows(2)[1].shape == (48, 3, 3, 4)
    assert data.segments(0.5).y.shape[2:] == (3, 4)
    assert split(data)[0].y.shape == (4, 10, 3, 4)


@pytest.mark.parametrize(
    ("times", "y", "variables", "message"),
    [
        (np.arange(3.0), np.zeros((1, 4, 1)), ["x"], "times must be"),
        (np.arange(3.0), np.zeros((1, 3)), ["x"], "times must have shape"),
        (np.arange(3.0), np.zeros((1, 3, 2)), ["x"], "1 variables, but it has 2"),
        (np.arange(3.0), np.zeros((0, 3, 1)), ["x"], "at least 1 trajectory"),
        (np.array([0.0, 1.0, 1.0]), np.zeros((1, 3, 1)), ["x"], "point 3 of trajectory 1"),
        (np.arange(3.0), np.full((1, 3, 1), np.inf), ["x"], "finite, but point 1 of trajectory 1"),
        (np.array([]), np.zeros((1, 0, 1)), ["x"], "lengths must lie in"),
    ],
)
def test_what_is_no_trajectory_is_refused(times, y, variables, message) -> None:
    with pytest.raises(DataError, match=message):
        Trajectories.common(times, y, variables)


# -- Trajectories that are cut where they blow up --------------------------------------------------------------------

CUT = Protocol(n_train=2, n_val=1, n_test=1, horizon=4.0, spacing=0.25, on_blow_up="cut")


class NotFinite(Pendulum):
    def terms(self, t: Any, y: Any, p: Any, names: Any) -> dict[str, Any]:
        return {"gravity": y * np.nan}


def test_a_field_not_finite_at_its_start_is_told_as_such_also_where_blow_ups_are_cut(tmp_path: Path) -> None:
    for protocol in (CUT, replace(CUT, on_blow_up="refuse")):
        with pytest.raises(UserError, match="the field must be finite where a trajectory begins") as caught:
            simulated("some", NotFinite(), protocol, tmp_path)
        assert "on_blow_up" not in str(caught.value)  # it would keep nothing


def test_a_cut_that_leaves_nothing_says_when_all_blew_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(system: Any, y0: np.ndarray, *rest: Any) -> Reference:
        raise SimulationError("it blows up", stopped_at=0.3 - 0.01 * len(y0))

    monkeypatch.setattr("physics_models.cache.simulate", simulate)
    monkeypatch.setattr("physics_models.simulate.simulate", simulate)
    with pytest.raises(UserError, match=r"leave something of a test trajectory, .* first of all at t = 0\.29: check"):
        simulated("some", Pendulum(), CUT, tmp_path)
