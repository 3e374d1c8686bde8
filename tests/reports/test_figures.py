"""The figure: both files, the same each time, whatever the records hold."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from reports import comparison_figure
from reports.trajectories import load

PNG = b"\x89PNG"


def words(svg):
    return "\n".join(ElementTree.fromstring(svg.read_bytes()).itertext())


def test_full_figure_is_complete_and_deterministic(everything, write_example, tmp_path):
    folders = {run.identity: write_example(tmp_path / run.identity, agents=5) for run in everything}
    first = comparison_figure(everything, folders, tmp_path / "one")
    second = comparison_figure(everything, folders, tmp_path / "two.b")
    assert [path.name for path in first] == ["one.png", "one.svg"]
    assert [path.name for path in second] == ["two.b.png", "two.b.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(PNG)
    text = words(first[1])
    for said in ("neural_ode", "hybrid_ode", "persistence", "linear", "integrator floor", "flocking", "modelled ±50%"):
        assert said in text
    assert "3 seeds" in text and "training FLOP" in text and "over 1 time unit" in text
    assert "<dc:date>" not in first[1].read_text()


def test_series_and_hostile_names(hostile_records, write_example, tmp_path):
    folders = {
        run.identity: write_example(tmp_path / run.identity, variables=("$x_{1}%$", "_<b>\x1b"), space_dim=0)
        for run in hostile_records
    }
    png, svg = comparison_figure(hostile_records, folders, tmp_path / "figure")
    assert png.stat().st_size > 10_000
    text = words(svg)
    for name in ("a|b", "[red]danger[/red]", "$x_{1}%$", "<b>bold</b>"):
        assert name in text


def test_no_curve_no_energy_no_example(record, tmp_path):
    lost = record(errors=(None, None), flops=(1, 2), status="diverged", metrics={})
    for records in ([lost], []):
        png, svg = comparison_figure(records, {}, tmp_path / "empty")
        assert png.stat().st_size > 1000
        assert "joules are unknown" in words(svg)


def test_seeds_with_no_cost_in_common_are_drawn_apart(record, tmp_path):
    runs = [record(), record(seed=1, flops=(10**9, 10**10, 10**11))]
    assert comparison_figure(runs, {}, tmp_path / "apart")[0].stat().st_size > 1000


def test_examples_that_cannot_be_read_are_left_out_and_logged(write_example, tmp_path, caplog):
    assert load(None) is None and load(tmp_path) is None and not caplog.records
    good = load(write_example(tmp_path / "good", agents=3))
    assert good is not None and good.agents and good.variables == ("x", "y", "vx", "vy")
    broken = {
        "empty": b"",
        "text": b"time,x\n0,1\n",
        "zip": b"PK\x03\x04" + b"\0" * 40,
    }
    for name, content in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "example.npz").write_bytes(content)
        assert load(tmp_path / name) is None
    one = replace(good, predicted=good.predicted[:-1])
    np.savez(tmp_path / "good" / "example.npz", **vars(one))
    assert load(tmp_path / "good") is None
    assert len(caplog.records) == 4


@pytest.mark.parametrize("bad", [np.nan, 1e30])
def test_a_prediction_that_runs_away_does_not_move_the_truth(bad, write_example, tmp_path):
    from matplotlib.figure import Figure

    from reports.trajectories import draw_paths, draw_series

    example = load(write_example(tmp_path / "run", agents=4))
    assert example is not None
    example.predicted[-3:] = bad
    axes = Figure().subplots(1, 2)
    draw_paths(axes[0], example, "C0", "title")
    draw_series(axes[1], [(example, {"color": "C0", "ls": "-"})], 0, "s")
    for limits in (axes[0].get_xlim(), axes[0].get_ylim(), axes[1].get_ylim()):
        assert -1 < limits[0] < limits[1] < 4
