"""Planted worlds are what they say: tables are those of `StudyData`, envelopes are the law, noise is as asked."""

import re
from typing import Any

import numpy as np
import pytest

from reports.study import AXES, StudyData
from reports.worlds import HOSTILE, METRIC, REFERENCES, START_FLOP, Law, Noise, many, world

QUIET = Noise(0, 0, 0)


def columns(section: str) -> set[str]:
    """The columns that the docstring of `StudyData` names in the section of a table."""
    text = re.search(
        rf"`{section}`, one entry.*?:\n(.*?)(?:\n    `|\.\n        `|\.\n\s*$)", StudyData.__doc__ or "", re.S
    )
    assert text
    return set(re.findall(r"\b[a-z_]+_[a-z_]+\b|\b(?:identity|task|model|seed|draw|step|flop|samples)\b", text[1]))


def test_tables_have_the_columns_of_a_study():
    data = world(draws=2, diverged=0.1)
    known = {"data_seed", "test.one_step_nrmse"}  # words of the docstring that are no columns
    assert columns("runs") - known <= set(data.runs)
    assert set(AXES) | {"run", "step", "error", f"test.{METRIC}"} <= set(data.points)
    for table in (data.runs, data.points):
        assert len({len(column) for column in table.values()}) == 1
    assert all(column.dtype.kind in "Oif" for table in (data.runs, data.points) for column in table.values())
    assert len(set(data.runs["identity"])) == len(data) == data.planned
    assert set(np.unique(data.points["run"])) == set(range(len(data)))


def test_every_setting_has_a_run():
    data = world(tasks=["a", "b"], conditions=["", "noise=0.1"], sizes=3, seeds=2, draws=2)
    assert data.tasks() == [("a", ""), ("a", "noise=0.1"), ("b", ""), ("b", "noise=0.1")]
    assert len(data.of("a", "", "mlp")) == 3 * 2 * 2
    assert {m for m in data.runs["model"]} == {*data.structured, *data.black_box, *REFERENCES}
    each = world(tasks={"a": {"mlp": Law()}, "b": {"mlp": Law(), "gru": Law()}}, references=False)
    assert len(each.of("a")) == 12 and len(each.of("b")) == 24


@pytest.mark.parametrize("law", [Law(0.01, 0.5, 0.5), Law(0, 2, 0.3), Law(0.1, 1, 0.0)], ids=str)
def test_the_envelope_over_sizes_is_the_law(law):
    data = world(models={"mlp": law}, sizes=5, scallop=0.02, noise=QUIET, references=False)
    flop, error = data.points["flop"], data.points[f"test.{METRIC}"]
    costs = np.unique(flop)
    lowest = np.array([error[flop == cost].min() for cost in costs])
    over = np.log(lowest / law.error(costs))
    assert over.min() > -1e-12
    assert over.max() < 0.02 * 1.01  # the scallop; the next order of the expansion is below 1% of it
    np.testing.assert_allclose(over[::8], 0, atol=1e-9)  # a size suits each decade


def test_noise_is_as_large_as_asked():
    settings: dict[str, Any] = dict(
        models={"a": Law(), "b": Law()}, sizes=1, draws=1500, seeds=2, decades=1, references=False
    )
    quiet = np.log(world(**settings, noise=QUIET).points[f"test.{METRIC}"]).reshape(2, 1500, 2, -1)
    noise = np.log(world(**settings, noise=Noise(0.2, 0.1, 0.05)).points[f"test.{METRIC}"]).reshape(quiet.shape) - quiet
    runs = noise.mean(-1)
    draw = runs.mean(-1)
    # Standard deviations estimated from 1500 draws or more scatter by 2%: five times that.
    assert (runs[..., 0] - runs[..., 1]).std() / np.sqrt(2) == pytest.approx(0.1, rel=0.15)
    assert draw[0].std() == pytest.approx(np.hypot(0.2, 0.1 / np.sqrt(2)), rel=0.1)
    assert np.corrcoef(draw)[0, 1] == pytest.approx(0.5 * 0.04 / (0.04 + 0.005), abs=0.1)
    steps = np.diff(noise, axis=-1)
    assert steps.std() == pytest.approx(0.05 * np.sqrt(2 * (1 - 0.7)), rel=0.05)


def test_costs_axes_and_tuning():
    data = world(tune_trials=8, decades=3, references=False)
    points = data.points
    assert points["flop"].min() == START_FLOP and points["flop"].max() == pytest.approx(START_FLOP * 1e3)
    for axis in ("flop", "energy_j", "seconds"):
        np.testing.assert_allclose(points[f"tuned_{axis}"], 9 * points[axis])
        np.testing.assert_allclose(data.runs[f"tune_{axis}"], 8 * data.runs[f"train_{axis}"])
    assert np.isnan(world(unknown_energy=True).points["energy_j"]).all()


def test_runs_that_diverge_end_without_an_error():
    data = world(diverged=0.5, seeds=10, references=False)
    gone = data.runs["status"] == "diverged"
    assert 0.3 < gone.mean() < 0.7  # 120 runs: four standard deviations
    last = np.r_[np.flatnonzero(np.diff(data.points["run"])), len(data.points["run"]) - 1]
    assert (np.isnan(data.points[f"test.{METRIC}"][last]) == gone).all()
    assert np.isnan(data.points["error"]).sum() == gone.sum()


def test_the_same_seed_gives_the_same_world():
    one, same, other = world(seed=1), world(seed=1), world(seed=2)
    np.testing.assert_array_equal(one.points["error"], same.points["error"])
    assert (one.points["error"] != other.points["error"]).any()


def test_hostile_names_are_everywhere():
    data = world(hostile=True)
    text = {value for column in ("task", "condition", "model") for value in data.runs[column]}
    assert set(HOSTILE) <= text
    assert any(HOSTILE[0] in label for label in data.runs["configuration"])


def test_many_runs_come_quickly():
    data = many(10_000)
    assert len(data) == 10_000 + 10 * len(REFERENCES) and len(data.tasks()) == 10
