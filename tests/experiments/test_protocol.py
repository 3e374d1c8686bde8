"""The data protocol: each key does what it says to the training data, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from experiments.config import load
from experiments.corruption import OUTLIER_SIZE
from experiments.errors import UserError
from experiments.identity import run_config
from experiments.protocol import Protocol
from experiments.task import Task, simulated
from hardware.energy import Unmeasured
from hardware.meter import Meter
from learners.backends.base import Points, Recipe
from learners.base import TaskInfo
from learners.learner import Budget, Learner
from learners.models.mlp import Mlp
from learners.models.true_physics import TruePhysics
from physics_models.base import System
from physics_models.flocking import Flocking
from physics_models.lotka_volterra import LotkaVolterra
from physics_models.pendulum import Pendulum
from reports.conditions import DONE

pytestmark = pytest.mark.usefixtures("by_numpy")
SMALL = Protocol(n_train=6, n_val=2, n_test=2, horizon=4.0, spacing=0.25)
T = 17


def task_of(cache: Path, system: System | None = None, **changes: Any) -> Task:
    return simulated("some", system or Pendulum(), replace(SMALL, **changes), cache)


@dataclass(frozen=True)
class Riccati(System):
    """dx/dt = x^2 from x0 in 1/2..1: infinite at t = 1 / x0, which is 1..2."""

    term_names: ClassVar[tuple[str, ...]] = ("square",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("x",)

    def terms(self, t: Any, y: Any, p: Any, names: Any) -> dict[str, Any]:
        return {"square": y * y}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.5, 1.0, 1)


# -- Off is off ----------------------------------------------------------------------------------------------------


def config_of(**changes: Any) -> dict[str, Any]:
    tree = load("pendulum", []).tree
    return run_config(tree | {"task": tree["task"] | changes}, tree["model"], "gradient", "cpu", 0)


def test_what_is_off_is_no_part_of_a_run() -> None:
    plain = config_of()
    always = {"n_train", "n_val", "n_test", "horizon", "spacing", "noise", "data_seed"}
    assert set(plain["task"]) == {"name", "system", *always}  # as before there was any other key
    for off in ({"ood": ["none"]}, {"ood": []}, {"uneven": 0}, {"shards": 1}, {"intervention": "clamp"}):
        assert config_of(**off) == plain, off
    for on in ({"ood": ["all"]}, {"uneven": 0.5}, {"shards": 2}, {"fresh": True}, {"hidden": ["velocity"]}):
        assert config_of(**on) != plain, on


def test_the_table_of_a_run_knows_all_that_may_be_done_to_data() -> None:
    always = {"n_train", "n_val", "n_test", "horizon", "spacing", "noise", "data_seed"}
    assert set(DONE) == {f.name for f in fields(Protocol)} - always - {"ood"}


def test_lists_are_written_as_lists() -> None:
    task = load("pendulum", ["task.ood=new_starts,changed_parameter:damping", "task.hidden=velocity"]).tree["task"]
    assert task["ood"] == ["new_starts", "changed_parameter:damping"] and task["hidden"] == ["velocity"]
    assert load("pendulum", ["task.ood=all"]).tree["task"]["ood"] == ["all"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_test": 0}, "n_test must be above 0"),
        ({"uneven": 1.0}, "uneven must be a fraction"),
        ({"corrupted": -0.1}, "corrupted must be a fraction"),
        ({"process_noise": -1.0}, "process_noise must be 0 or more"),
        ({"noise": float("inf")}, "noise must be 0 or more"),
        ({"hidden": ("velocty",)}, "hidden must be one of angle, velocity.*did you mean velocity"),
        ({"hidden": ("angle", "velocity")}, "must leave a variable"),
        ({"hidden": ("angle", "angle")}, "no variable twice"),
        ({"ood": ("changed_parameter:gravty",)}, "did you mean changed_parameter:gravity|did you mean gravity"),
        ({"on_blow_up": "ignore"}, "on_blow_up must be one of refuse, cut"),
        ({"n_train": 6, "shards": 4}, "shards must divide n_train"),
        ({"n_train": 6, "shards": 2, "fresh": True}, "shards must be 1 where the data are fresh"),
        ({"on_blow_up": "cut", "fresh": True}, "on_blow_up must be refuse"),
        ({"intervention": "poke"}, "intervention must be one of kick, clamp"),
    ],
)
def test_mistakes_are_told(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Protocol(**changes).check(Pendulum())


def test_mistakes_are_told_before_anything_is_simulated() -> None:
    with pytest.raises(UserError, match=r"task\.ood must be one of .*did you mean predator"):
        load("pendulum", ["task.ood=predater"])
    with pytest.raises(UserError, match=r"task\.hidden must be one of angle, velocity.*did you mean velocity"):
        load("pendulum", ["task.hidden=velocty"])


# -- What is done to training data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": 0.1}, {"uneven": 0.5}, {"corrupted": 0.2}, {"outliers": 0.1}, {"interventional": 0.5},
        {"interventional": 0.5, "intervention": "clamp"}, {"fresh": True},
    ],
)  # fmt: skip
def test_what_is_done_to_training_data_leaves_the_rest_and_the_units(changes: dict[str, Any], tmp_path: Path) -> None:
    plain, changed, again = task_of(tmp_path), task_of(tmp_path, **changes), task_of(tmp_path / "b", **changes)
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(plain, part).y, getattr(changed, part).y)
    for name in ("std", "step_std", "rate_std"):
        np.testing.assert_array_equal(getattr(plain.scales, name), getattr(changed.scales, name))
    assert changed.train.content_hash() == again.train.content_hash()
    same = changed.train.content_hash() == plain.train.content_hash()
    assert same == ("fresh" in changes)  # a fresh stream starts with the data there are anyway
    assert (changed.facts["data_hash"] == plain.facts["data_hash"]) == same


def test_uneven_sampling_leaves_points_out(tmp_path: Path) -> None:
    plain, uneven = task_of(tmp_path), task_of(tmp_path, uneven=0.4)
    assert (uneven.train.lengths == T - round(0.4 * T)).all()
    for row in range(6):
        where = np.searchsorted(plain.train.times[row], uneven.train.times[row])
        assert where[0] == 0  # the clock starts where it did
        np.testing.assert_array_equal(uneven.train.times[row], plain.train.times[row, where])
        np.testing.assert_array_equal(uneven.train.y[row], plain.train.y[row, where])
    assert len({tuple(row) for row in uneven.train.times}) > 1
    points = uneven.points(1)
    assert len(np.unique(points.lengths[points.starts].round(6))) > 1
    assert (task_of(tmp_path, uneven=0.99).train.lengths == 2).all()


def test_corrupted_points_have_changed_places(tmp_path: Path) -> None:
    plain, changed = task_of(tmp_path), task_of(tmp_path, corrupted=0.3)
    moved = (plain.train.y != changed.train.y).any(axis=-1)
    assert moved.sum() == round(0.3 * 6 * T)
    rows = [y[moved] for y in (plain.train.y, changed.train.y)]
    before, after = (row[np.lexsort(row.T)] for row in rows)
    np.testing.assert_array_equal(before, after)  # the same states, elsewhere


def test_outliers_are_few_and_large(tmp_path: Path) -> None:
    plain, changed = task_of(tmp_path), task_of(tmp_path, outliers=0.1)
    moved = (plain.train.y != changed.train.y).any(axis=-1)
    assert moved.sum() == round(0.1 * 6 * T)
    size = np.abs(changed.train.y - plain.train.y)[moved] / plain.train.y.std(axis=(0, 1))
    np.testing.assert_allclose(size, OUTLIER_SIZE, rtol=1e-12)


def test_one_corruption_does_not_change_the_draws_of_another(tmp_path: Path) -> None:
    noisy, both = task_of(tmp_path, noise=0.1), task_of(tmp_path, noise=0.1, outliers=0.1)
    assert (noisy.train.y == both.train.y).all(axis=-1).sum() == 6 * T - round(0.1 * 6 * T)


def test_of_hidden_variables_nobody_sees_anything(tmp_path: Path) -> None:
    plain, task = task_of(tmp_path, noise=0.1), task_of(tmp_path, noise=0.1, hidden=("velocity",))
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(task, part).y, getattr(plain, part).y[..., :1])
    assert task.info.variables == ("angle",) and task.system is None and task.origin is Pendulum
    reason = TruePhysics().skip(task.info, "torch")
    assert reason is not None and "velocity" in reason
    assert Mlp().skip(task.info, "torch") is None


def test_process_noise_moves_all_data_and_has_a_floor(tmp_path: Path) -> None:
    plain, noisy = task_of(tmp_path), task_of(tmp_path, process_noise=0.1)
    assert (plain.test.y[:, 1:] != noisy.test.y[:, 1:]).all()
    # Noise of a spacing, sqrt(h) q, in units of the increments; 2 x 16 x 2 draws know it to 1/sqrt(128) = 9%, and
    # what it grows or shrinks by within a spacing is of the order of the spacing.
    expected = 0.1 * np.sqrt(0.25) * np.sqrt(np.mean(noisy.scales.step_std**-2.0))
    assert noisy.facts["test_floor"] == pytest.approx(expected, rel=0.5) and "test_floor" not in plain.facts


def test_what_training_data_are_like_is_no_part_of_the_floor_of_test_data(tmp_path: Path) -> None:
    floors = [task_of(tmp_path, process_noise=0.1, noise=noise).facts for noise in (0.0, 0.5)]
    assert floors[1]["test_floor"] == floors[0]["test_floor"] < floors[1]["train_floor"] / 2


def test_the_noise_floor_is_that_of_the_true_equations(tmp_path: Path) -> None:
    """Small noise s on both ends of a short step: sqrt(2) s std in units of the increment."""
    task = task_of(tmp_path, noise=0.01, n_train=40)
    expected = 0.01 * np.sqrt(2 * np.mean((_std(task) / task.scales.step_std) ** 2))
    # 256 windows of 2 entries know a standard deviation to 3%; over a spacing of 0.25 noise turns by sin 0.25.
    assert task.facts["train_floor"] == pytest.approx(expected, rel=0.25)
    assert "train_floor" not in task_of(tmp_path).facts


def _std(task: Task) -> np.ndarray:
    return task.scales.std


# -- Little data, much data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"horizon": 0.25}, {"noise": 0.1, "outliers": 0.1, "corrupted": 0.1}])
def test_one_example_is_enough(changes: dict[str, Any], tmp_path: Path) -> None:
    task = task_of(tmp_path, n_train=1, **changes)
    info, points = task.info, task.points(1)
    for scale in (info.std, info.rate_std, info.step_std):
        assert np.isfinite(scale).all() and (scale > 0).all()
    assert len(points.starts) == task.train.lengths[0] - 1 >= 1
    learner = Learner(Mlp(width=4, depth=1), info, Recipe(batch=8), points, [0], "torch")
    losses = [p.loss[0] for p in learner.fit(Budget(sample=80), meter())]
    assert np.isfinite(losses[1:]).all()


def test_fresh_data_never_come_again(tmp_path: Path) -> None:
    task = task_of(tmp_path, fresh=True, noise=0.05)
    parts = task.parts(1)
    assert parts is not None
    drawn = [parts(k) for k in range(4)]
    np.testing.assert_array_equal(drawn[0].y, task.points(1).y)
    starts = np.concatenate([points.y for points in drawn])
    assert len(np.unique(starts, axis=0)) == len(starts) == 4 * 6 * T
    np.testing.assert_array_equal(parts(2).y, drawn[2].y)  # whenever it is asked for
    other = task_of(tmp_path, fresh=True, noise=0.05, data_seed=1).parts(1)
    assert other is not None and not np.isclose(other(1).y, drawn[1].y).all(axis=-1).any()


def test_shards_go_around_and_only_one_is_in_memory(tmp_path: Path) -> None:
    plain, task = task_of(tmp_path), task_of(tmp_path, shards=3, noise=0.05, outliers=0.1, interventional=0.5)
    np.testing.assert_array_equal(task.test.y, plain.test.y)
    parts = task.parts(1)
    assert parts is not None and task.train.count == 3  # two, of which one is kicked and goes on as another
    y = [parts(k).y for k in range(6)]
    assert len(np.unique(np.concatenate(y[:3]), axis=0)) == 6 * T
    for k in range(3):
        np.testing.assert_array_equal(y[k], y[k + 3])
    with pytest.raises(UserError, match=r"task\.shards"):
        task_of(tmp_path, n_train=10**11)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        *((key, {"fresh": True}) for key in ("noise", "outliers", "corrupted", "uneven")),
        ("noise", {"n_train": 18, "shards": 3}),
    ],
)
def test_in_every_part_chance_is_another_one(key: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Errors that come again in every part could be learnt."""
    one: dict[str, Any] = {key: 0.25}
    source = task_of(tmp_path, **changes, **one).source
    assert source is not None
    done = []
    for part in range(3):
        drawn = source.training(part)
        given = source.given(drawn, part)[0]
        assert drawn.clean.count == 6
        if key == "uneven":
            done.append(given.times)
        else:  # the errors, or which points have one
            error = given.y - drawn.clean.y
            done.append(error if key == "noise" else error != 0)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not np.allclose(done[first], done[second])


# -- Interventions -------------------------------------------------------------------------------------------------


def test_kicked_trajectories_go_on_elsewhere(tmp_path: Path) -> None:
    plain, task = task_of(tmp_path), task_of(tmp_path, interventional=0.5)
    assert task.train.count == 9 and sorted(task.train.lengths) == [8, 8, 8, 9, 9, 9, T, T, T]
    for row in range(6):  # what came before the kick is as it was
        n = task.train.lengths[row]
        np.testing.assert_array_equal(task.train.y[row, :n], plain.train.y[row, :n])
    assert (task.train.times[6:, 0] == 2.0).all()
    # No window crosses a kick: the equations hold along each.
    points = task.points(1)
    assert len(points.starts) == sum(task.train.lengths - 1)


@pytest.mark.parametrize("system", [Pendulum(), LotkaVolterra()])
def test_a_kick_is_of_the_datas_own_size(system: System, tmp_path: Path) -> None:
    """In the logarithm of populations."""
    plain, task = (task_of(tmp_path, system, n_train=256, interventional=share) for share in (0.0, 1.0))
    y, middle = plain.train.y, T // 2
    before, after = y[:, middle], task.train.y[256:, 0]
    if isinstance(system, LotkaVolterra):
        y, before, after = np.log(y), np.log(before), np.log(after)
    jump = after - before
    # 256 draws know a standard deviation to 1 / sqrt(2 * 256) = 4.4%, and a mean to 1 / sqrt(256) = 6.3% of it.
    np.testing.assert_allclose(jump.std(axis=0), y.std(axis=(0, 1)), rtol=4 * 0.044)
    assert (np.abs(jump.mean(axis=0)) < 4 * 0.063 * y.std(axis=(0, 1))).all()


@pytest.mark.parametrize("intervention", ["kick", "clamp"])
def test_in_every_part_others_are_acted_on(intervention: str, tmp_path: Path) -> None:
    task = task_of(tmp_path, n_train=12, fresh=True, interventional=0.5, intervention=intervention)
    assert task.source is not None
    rows = []
    for part in range(3):
        drawn = task.source.training(part)
        acted_on = drawn.clean.lengths[:12] < T if drawn.held is None else drawn.held.any(axis=-1)
        rows.append(tuple(np.flatnonzero(acted_on)))
    assert len(set(rows)) == 3 and all(len(row) == 6 for row in rows)  # by chance two agree once in 924


def test_kicked_populations_stay_populations(tmp_path: Path) -> None:
    y = task_of(tmp_path, LotkaVolterra(), n_train=32, interventional=1.0, spacing=0.125).train.y
    assert np.nanmin(y) > 0


def test_clamped_trajectories_hold_one_variable(tmp_path: Path) -> None:
    task = task_of(tmp_path, interventional=0.5, intervention="clamp")
    held = task.held
    assert held is not None and held.any(axis=-1).sum() == 3 and held.sum() == 3
    for row, which in zip(*np.nonzero(held), strict=True):
        assert (task.train.y[row, :, which] == task.train.y[row, 0, which]).all()
        assert np.ptp(task.train.y[row, :, 1 - which]) > 0
    flock = task_of(tmp_path, Flocking(n_agents=3), interventional=0.5, intervention="clamp").held
    assert flock is not None and (flock.sum(axis=(1, 2)) == [4 if row.any() else 0 for row in flock]).all()
    points = task.points(1)
    assert points.held is not None and points.held.shape == points.y.shape


# -- Blow-up -------------------------------------------------------------------------------------------------------


def test_what_blows_up_is_refused_with_the_time_or_cut_before(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stops at t = 1\.\d+.*task\.on_blow_up=cut"):
        task_of(tmp_path, Riccati())
    task = task_of(tmp_path, Riccati(), on_blow_up="cut")
    x0 = np.concatenate([part.y[:, 0, 0] for part in (task.train, task.val, task.test)])
    assert task.facts["blown_up"] == 10  # all of them
    assert task.facts["first_blow_up_time"] == pytest.approx((1 / x0).min(), abs=0.25)  # of the fixture's solver
    for part in (task.train, task.val, task.test):
        last = part.times[np.arange(part.count), part.lengths - 1]
        assert (last < 1 / part.y[:, 0, 0]).all() and (part.lengths >= 3).all()
    assert task.points(1).starts.size > 0 and np.isfinite(task.info.std).all()


def test_a_field_that_is_not_finite_is_the_users_to_mend(tmp_path: Path) -> None:
    class Broken(Riccati):
        def terms(self, t: Any, y: Any, p: Any, names: Any) -> dict[str, Any]:
            return {"square": y * np.nan}

    with pytest.raises(UserError, match=r"task some: .*stops at t = 0"):
        task_of(tmp_path, Broken())


# -- Learners on such data -----------------------------------------------------------------------------------------


def meter() -> Meter:
    return Meter(Unmeasured("a test"))


def info_of(d: int = 2) -> TaskInfo:
    one = np.ones(d)
    return TaskInfo((d,), tuple(f"x{k}" for k in range(d)), 0.1, 0 * one, one, one, one)


def points_of(part: int, held: bool = False) -> Points:
    y = np.random.default_rng(part).standard_normal((40, 2))
    times = np.tile(np.arange(10) * 0.1, 4)
    starts = np.flatnonzero(np.arange(40) % 10 < 9)
    mask = np.zeros((40, 2), bool)
    mask[:, 1] = True
    return Points(times, np.full(40, 0.1), y, starts, mask if held else None)


@pytest.fixture(params=["torch", "jax"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield request.param
    jax.config.update("jax_disable_most_optimizations", False)


def test_a_stopped_run_on_parts_goes_on_to_the_same_bits(backend: str) -> None:
    """36 windows, 8 a step: a part lasts 4 steps. Stopped in the middle of a part, at its end, and where it begins."""

    def fresh() -> Learner:
        model, recipe = Mlp(width=4, depth=1), Recipe(batch=8)
        return Learner(model, info_of(), recipe, points_of(0), [0, 1], backend, parts=points_of)

    def fitted(learner: Learner) -> dict[str, np.ndarray]:
        for _ in learner.fit(Budget(sample=8 * 14), meter()):
            pass
        return learner.engine.weights(1)

    whole, snapshots = fresh(), {}
    for progress in whole.fit(Budget(sample=8 * 14), meter()):
        snapshots[progress.step] = whole.snapshot()
    assert whole.windows_seen == 4 * 36 and max(snapshots) == 14
    stops = sorted({step for step in snapshots if 0 < step < 14}, key=lambda s: (s % 4, s))
    for step in (stops[0], stops[-1]):  # the end of a part where there is one, and within one
        again = fresh()
        snapshot = snapshots[step]
        assert snapshot is not None
        again.restore(snapshot)
        for name, weight in fitted(again).items():
            np.testing.assert_array_equal(weight, whole.engine.weights(1)[name])
    with pytest.raises(ValueError, match="as many points"):
        whole.engine.replace_points(Points(np.zeros(3), np.zeros(3), np.zeros((3, 2)), np.zeros(1, int)))


def test_nothing_is_learnt_of_what_is_held(backend: str) -> None:
    """The loss is over free entries: other values of what would have become of a held one change nothing."""
    recipe = Recipe(batch=8, window=2)
    model = Mlp(width=4, depth=1)
    plain = points_of(0, held=True)
    starts = plain.starts[plain.starts % 10 < 8]
    learner = Learner(model, info_of(), recipe, replace(plain, starts=starts), [0], backend, "float64")
    done = learner.engine.train(starts[None, None, :8])
    weight = learner._drawn[0]["net"]

    def network(y: np.ndarray) -> np.ndarray:
        (w1, b1), (w2, b2) = weight
        z = y @ w1.T + b1
        return z / (1 + np.exp(-z)) @ w2.T + b2

    state, error = plain.y[starts[:8]], []
    for k in range(2):
        truth = plain.y[starts[:8] + k + 1]
        state = state + 0.1 * network(state)
        state[:, 1] = truth[:, 1]  # given
        error.append(state - truth)
    assert done.losses[0, 0] == pytest.approx(np.mean(np.square(error)), rel=1e-12)
