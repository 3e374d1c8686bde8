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


@pytest.fixture
def drawn(monkeypatch):
    """Every matplotlib figure that is made, so that a test sees what was drawn and not only the file."""
    from matplotlib import figure

    made = []

    class Kept(figure.Figure):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(figure, "Figure", Kept)
    return made


@pytest.fixture
def measured_and_modelled(record, reference):
    """One measured row, and four modelled: a curve, seeds with no cost in common, and two single points."""
    runs = [record("mlp", errors=(1.0, 0.5, 0.1), energy_method="measured:rapl", energy_uncertainty=0.05)]
    runs += [record(seed=seed) for seed in range(2)]
    runs += [record("hybrid_ode", flops=(1, 2, 3)), record("hybrid_ode", seed=1, flops=(10, 20, 30))]
    return [*runs, reference("linear", 0.3, 10**5), reference("true_physics", 0.01, 10**6)]


def fills(axes):
    """The fills of the markers by the row's colour; "open" is white."""
    found = {}
    for line in axes.get_lines():
        if line.get_marker() not in ("None", "x", "_", "|"):
            fill = line.get_markerfacecolor()
            found.setdefault(line.get_color(), set()).add("open" if fill == "white" else fill)
    return found


def test_withheld_joules_are_neither_titled_nor_passed_over(measured_and_modelled, tmp_path, drawn):
    text = words(comparison_figure(measured_and_modelled, {}, tmp_path / "figure")[1])
    assert "joules measured ±5%" in text and "modelled ±50%" not in text
    assert "4 rows with modelled joules withheld" in text and "open markers" not in text
    flop, joule = drawn[0].subfigs[0].axes
    (note,) = (note for note in joule.texts if "withheld" in note.get_text())
    assert len(fills(flop)) == 5 and len(fills(joule)) == 1
    assert not any("open" in fill for axes in (flop, joule) for fill in fills(axes).values())
    inside = joule.get_window_extent()
    around = note.get_window_extent()
    assert inside.x0 < around.x0 < around.x1 < inside.x1 and inside.y0 < around.y0 < around.y1 < inside.y1
    assert note.get_fontsize() < 10 and note.get_color() == "#666666"
    one = words(comparison_figure(measured_and_modelled[:2], {}, tmp_path / "one")[1])
    assert "1 row with modelled joules withheld" in one


def test_mixed_joules_are_told_apart(measured_and_modelled, tmp_path, drawn):
    text = words(comparison_figure(measured_and_modelled, {}, tmp_path / "figure", mix_joules=True)[1])
    assert "joules measured ±5% and modelled ±50%" in text and "withheld" not in text
    assert "not to be compared" in text and "open markers: modelled" in text
    flop, joule = (fills(axes) for axes in drawn[0].subfigs[0].axes)
    assert set(flop) == set(joule) and len(joule) == 5
    assert not any("open" in fill for fill in flop.values())
    filled = [color for color, fill in joule.items() if "open" not in fill]
    assert len(filled) == 1 and all(fill == {"open"} for color, fill in joule.items() if color not in filled)


def test_one_kind_of_joules_is_drawn_filled_and_said_plainly(record, tmp_path, drawn):
    unknown = record("mlp", energy_method="modelled:other", energy_uncertainty=None)
    text = words(comparison_figure([record(), unknown], {}, tmp_path / "figure")[1])
    assert "joules modelled ±50% and modelled ±?" in text
    assert "open markers" not in text and "withheld" not in text
    assert not any("open" in fill for fill in fills(drawn[0].subfigs[0].axes[1]).values())


def test_a_row_whose_seeds_differ_in_kind_is_all_withheld(record, tmp_path):
    seeds = [record(), record(seed=1, energy_method="measured:rapl", energy_uncertainty=0.05)]
    text = words(comparison_figure(seeds, {}, tmp_path / "figure")[1])
    assert "joules withheld" in text and "1 row with modelled joules withheld" in text and "are unknown" not in text


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
