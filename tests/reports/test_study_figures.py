"""The figures of a study: what is drawn is what the verdict holds, and the files are the same each time."""

import math
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.scaling import bootstrap_power_law, compare_forms, fit_power_law
from reports.study_figures import draw, write
from reports.study_figures.base import PANELS, Look, label, save
from reports.study_figures.errors import BEYOND, reference_levels
from reports.study_figures.forest import SAYS as MARKS
from reports.study_figures.grid import Grid
from reports.study_figures.phases import phases
from reports.study_figures.ranks import ranks
from reports.study_tables import summarise
from reports.styles import style
from reports.verdict.types import CANNOT_TELL, ESCAPES, OFFSET, SAYS, BreakEven, Contest, Estimate, Scaling, Verdict
from reports.worlds import Law, world

UNKNOWN = Estimate(None, reason="too few points")


def scaling_of(data, task, condition, model, axis, fitted=True):
    """The scaling of the best size at each checkpoint, with a law where asked for."""
    runs = data.of(task, condition, model)
    counts = {s: int((data.runs["status"][runs] == s).sum()) for s in set(data.runs["status"][runs])}
    mine = np.isin(data.points["run"], runs)
    cost, error = data.points[axis][mine], data.points[f"test.{data.metric}"][mine]
    known = np.isfinite(cost) & np.isfinite(error) & (cost > 0)
    cost, error = cost[known], error[known]
    empty = np.array([])
    if not len(cost):
        nothing = (empty, empty, empty, empty, empty, np.zeros((0, 2)), empty)
        return Scaling(task, condition, model, axis, counts, *nothing, reasons=("no run finished",))
    levels = np.unique(np.round(np.log10(cost), 1))
    of = [np.round(np.log10(cost), 1) == level for level in levels]
    x = np.array([np.median(cost[i]) for i in of])
    y = np.array([np.min(error[i]) for i in of])
    members = (cost, error, np.zeros((len(cost), 2)), np.zeros(len(cost), int))
    if not fitted:
        return Scaling(task, condition, model, axis, counts, x, y, x.astype(str), *members)
    law, boot = fit_power_law(x, y), bootstrap_power_law(x, y, resamples=20)
    grid = np.geomspace(x[0], 100 * x[-1], 30)
    band = np.stack([grid, law.error(grid), 0.9 * law.error(grid), 1.1 * law.error(grid)])
    held = compare_forms(x, y)
    made = (law, boot, boot.interval("exponent"), boot.interval("floor"), held, law.identifiability, band)
    return Scaling(task, condition, model, axis, counts, x, y, x.astype(str), *members, *made)


def verdict_of(data, axes=("flop",), fitted=True):
    models = (*data.structured, *data.black_box)
    scalings = [
        scaling_of(data, task, condition, model, axis, fitted)
        for task, condition in data.tasks()
        for axis in axes
        for model in models
    ]
    contests, even = [], []
    for i, (task, condition) in enumerate(data.tasks()):
        for a in data.structured:
            for b in data.black_box:
                says = SAYS[i % len(SAYS)]
                difference = UNKNOWN if says == CANNOT_TELL else Estimate(0.1 + i, 0.05 + i, 0.2 + i)
                names = ("error_ratio", "cost_ratio", "crossover", "improvement")
                unknown: dict[str, Any] = {name: UNKNOWN for name in names}
                who = (task, condition, "flop", a, b, says, f"{a}, {b}.")
                contests.append(Contest(*who, difference=difference, p=0.01, p_holm=0.02, **unknown))
        for value in (0.0, 1e4, math.inf, None):
            q = Estimate(value, None if value is None else value / 2, None if value is None else 2 * value)
            even.append(BreakEven(task, condition, data.structured[0], "simulator", "flop", q))
    return Verdict("Headline.", tuple(scalings), tuple(contests), (), tuple(even))


@pytest.fixture(scope="module")
def data():
    return world(["lorenz63", "flocking"], seeds=3, draws=2, sizes=3, diverged=0.1, seed=2)


@pytest.fixture(scope="module")
def drawn(data):
    return {drawing.name: drawing for drawing in draw(data, verdict_of(data))}


def panels(drawing):
    return [
        axes for axes in drawing.figure.axes if axes.get_title() or axes.get_title("left") or axes.get_title("right")
    ]


def title(axes):
    return axes.get_title() or axes.get_title("left") or axes.get_title("right")


def lines(axes, **wanted):
    return [line for line in axes.get_lines() if all(getattr(line, f"get_{k}")() == v for k, v in wanted.items())]


# Error against cost


def test_every_frontier_is_drawn_with_its_law_and_what_was_held_out(data, drawn):
    verdict, look = verdict_of(data), Look.of(data)
    found = {title(axes): axes for axes in panels(drawn["error_flop"])}
    assert set(found) == {"lorenz63", "flocking"}
    for s in verdict.scalings:
        axes, its = found[s.task], look[s.model]
        assert s.heldout is not None and s.law is not None and s.band is not None
        marked = [
            line for line in lines(axes, color=its["color"], marker=its["marker"]) if line.get_linestyle() == "None"
        ]
        filled = [line for line in marked if line.get_markerfacecolor() != "white"]
        hollow = [line for line in marked if line.get_markerfacecolor() == "white"]
        held = s.cost >= s.heldout.cost.min() * (1 - 1e-9)
        assert np.array_equal(filled[0].get_xdata(), s.cost[~held]) and np.array_equal(
            filled[0].get_ydata(), s.error[~held]
        )
        assert np.array_equal(hollow[0].get_xdata(), s.cost[held]) and len(hollow[0].get_xdata()) > 0
        laws = [line for line in lines(axes, color=its["color"]) if line.get_marker() == "None"]
        assert {line.get_linestyle() for line in laws} == {"-", "--"}
        (dashed,) = (line for line in laws if line.get_linestyle() == "--")
        assert dashed.get_xdata()[0] >= s.cost.max() and dashed.get_xdata()[-1] == pytest.approx(
            BEYOND * s.member_cost.max()
        )
        assert np.allclose(dashed.get_ydata(), s.law.error(dashed.get_xdata()))
    bands = [c for axes in found.values() for c in axes.collections]
    assert len(bands) == len(verdict.scalings)


def test_references_are_levels_with_their_names(data, drawn):
    summary = summarise(data)
    for axes in panels(drawn["error_flop"]):
        expected = reference_levels(summary, (title(axes), ""))
        assert [name for name, _ in expected] == ["persistence", "linear", "true_physics"]  # the simulator's is 0
        said = " ".join(text.get_text() for text in axes.texts)
        low, high = axes.get_ylim()
        horizontal = [line.get_ydata()[0] for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
        for name, level in expected:
            assert name in said
            assert not low <= level <= high or level in horizontal


def test_what_diverged_is_said(data, drawn):
    texts = " ".join(t.get_text() for axes in panels(drawn["error_flop"]) for t in axes.texts)
    assert "diverged" in texts and "of 18" in texts


def test_without_a_law_points_are_drawn_and_no_line(data):
    found = next(draw(data, verdict_of(data, fitted=False)))
    for axes in panels(found):
        marked = [line for line in lines(axes) if line.get_marker() not in ("None", ".")]
        assert len(marked) >= 3 and {line.get_linestyle() for line in marked} == {"None"}
        assert not axes.collections
    assert "held out" not in {text.get_text() for text in found.figure.legends[0].get_texts()}


def test_legend_names_every_model_and_which_are_structured(data, drawn):
    texts = {text.get_text() for text in drawn["error_flop"].figure.legends[0].get_texts()}
    assert {"hybrid_ode (structured)", "mlp", "neural_ode", "extrapolated", "held out", "90% band"} == texts


def test_models_differ_in_more_than_colour():
    looks = [style(i) for i in range(35)]
    assert len({(s["color"], str(s["ls"]), s["marker"]) for s in looks}) == 35
    assert len({(s["marker"], str(s["ls"])) for s in looks[:8]}) == 8  # print in black and white


# Who wins


def test_the_frontier_is_the_least_error_over_sizes(data, drawn):
    summary = summarise(data)
    grid = Grid.of(summary)
    above, below = drawn["frontier"].figure.axes[0], drawn["frontier"].figure.axes[2]
    place = next(place for place in summary.rows if place[0] == title(above))
    look = Look.of(data)
    for row in summary.rows[place]:
        if row.reference:
            continue
        medians = np.array([median for _, median in grid.configurations(row.runs)])
        least = np.nanmin(medians, axis=0)
        (bold,) = (line for line in lines(above, color=look[row.model]["color"]) if line.get_linewidth() == 1.5)
        assert np.allclose(bold.get_ydata(), least[np.isfinite(least)])
        sizes = {float(n) for n in data.runs["parameters"][row.runs]}
        (steps,) = lines(below, color=look[row.model]["color"])
        assert all(min(abs(y / n - 1) for n in sizes) < 0.06 for y in steps.get_ydata())  # lines are moved 5% apart


def test_larger_models_win_at_larger_costs():
    """In these worlds the size whose own cost is nearest is the best, so N grows with C."""
    summary = summarise(world(sizes=4, seeds=3, noise=0.0, scallop=0.1))
    grid = Grid.of(summary)
    row = summary.rows["lorenz63", ""][0]
    medians = np.array([m for _, m in grid.configurations(row.runs)])
    sizes = np.array([summary.data.runs["parameters"][runs[0]] for runs, _ in grid.configurations(row.runs)])
    winner = sizes[np.argmin(medians, axis=0)]
    assert (np.diff(winner) >= 0).all() and len(set(winner)) == 4


def test_the_phase_diagram_finds_the_crossing():
    """The black box starts behind and ends ahead where the prior is wrong; with an exact prior it never does."""
    exact = world({"t": {"hybrid_ode": Law(0, 0.1, 0.4), "mlp": Law(0, 1, 0.4)}}, conditions=("fidelity=0",), noise=0.0)
    wrong = world(
        {"t": {"hybrid_ode": Law(0.05, 0.1, 0.4), "mlp": Law(0, 1, 0.4)}}, conditions=("fidelity=1",), noise=0.0
    )
    count = len(exact)
    runs = {name: np.concatenate([exact.runs[name], wrong.runs[name]]) for name in exact.runs}
    points = {name: np.concatenate([exact.points[name], wrong.points[name]]) for name in exact.points}
    points["run"] = np.concatenate([exact.points["run"], wrong.points["run"] + count])
    summary = summarise(replace(exact, runs=runs, points=points))
    (panel,) = phases(summary, Grid.of(summary))
    assert panel.axis == "fidelity" and panel.names == ["0", "1"]
    names = np.array(panel.models)[panel.winner]
    assert set(names[0]) == {"hybrid_ode"}
    assert names[1][0] == "hybrid_ode" and names[1][-1] == "mlp"
    assert panel.clear.all() or (names[:, ~panel.clear.all(0)] != "").all()
    assert (np.diff((names[1] == "mlp").astype(int)) >= 0).all()  # it crosses once


def test_phase_diagram_without_anything_that_varies_says_so():
    data = world(sizes=1, seeds=2)
    found = {drawing.name: drawing for drawing in draw(data, verdict_of(data))}
    assert found["phase"].figure is None and "varies" in found["phase"].reason
    assert found["frontier"].figure is None and "two sizes" in found["frontier"].reason


# Forests and ranks


def test_exponents_and_intervals_are_those_of_the_verdict(data, drawn):
    verdict, look = verdict_of(data), Look.of(data)
    for axes in panels(drawn["exponents_flop"]):
        names = [text.get_text() for text in axes.get_yticklabels()]
        for s in verdict.scalings:
            if s.task == title(axes):
                assert s.law is not None and s.exponent is not None
                at = names.index(label(s.model, 20))
                mine = lines(axes, color=look[s.model]["color"])
                assert any(
                    list(line.get_xdata()) == [s.law.exponent] and list(line.get_ydata()) == [at] for line in mine
                )
                assert any(list(line.get_xdata()) == [s.exponent.low, s.exponent.high] for line in mine)


def test_differences_carry_what_was_said(data, drawn):
    verdict = verdict_of(data)
    markers = {}
    for axes in panels(drawn["differences_flop"]):
        for line in axes.get_lines():
            if len(line.get_xdata()) == 1:
                markers[line.get_xdata()[0]] = (line.get_color(), line.get_marker())
    for c in verdict.contests:
        if c.difference.value is not None:
            assert markers[c.difference.value] == MARKS[c.says]
    texts = {text.get_text() for text in drawn["differences_flop"].figure.legends[0].get_texts()}
    assert texts == {ESCAPES, OFFSET}
    assert set(MARKS) == set(SAYS)


def test_break_even_says_never_and_from_the_start(drawn):
    texts = " ".join(t.get_text() for axes in panels(drawn["break_even_flop"]) for t in axes.texts)
    assert "never" in texts and "from the start" in texts and "unknown" in texts


def test_ranks_are_those_of_the_costs():
    laws = {"hybrid_ode": Law(0.001, 0.2, 0.5), "mlp": Law(0.001, 1.0, 0.4), "neural_ode": Law(0.001, 0.6, 0.4)}
    data = world(["x"], laws, seeds=3, noise=0.01)
    dear = np.isin(data.points["run"], data.of("x", "", "hybrid_ode"))
    data.points["energy_j"][dear] *= 1e4  # few operations, many joules
    (panel,) = ranks(summarise(data))
    order = [panel.models[i] for i in np.argsort(panel.flop)]
    assert order == ["hybrid_ode", "neural_ode", "mlp"]
    assert [panel.models[i] for i in np.argsort(panel.joule)] == ["neural_ode", "mlp", "hybrid_ode"]
    figure = next(d for d in draw(data, verdict_of(data)) if d.name == "ranks").figure
    ends = {tuple(line.get_ydata()) for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2}
    assert ends == {(1, 3), (2, 1), (3, 2)}
    assert "τ = -0.33" in figure.axes[0].get_title("left")  # one of three pairs agrees: (1 − 2)/3


# Pages and files


def test_many_tasks_go_on_more_pages():
    data = world([f"task_{i:02}" for i in range(13)], seeds=2, sizes=2, per_decade=4)
    drawings = list(draw(data, verdict_of(data, fitted=False)))
    pages = [d for d in drawings if d.name.startswith("error_flop")]
    assert [d.name for d in pages] == ["error_flop-1", "error_flop-2", "error_flop-3"]
    titles = [title(axes) for d in pages for axes in panels(d)]
    assert titles == [f"task_{i:02}" for i in range(13)]
    for drawing in drawings:
        assert drawing.figure is None or len(panels(drawing)) <= PANELS


@pytest.mark.parametrize(("name", "formats"), [("error_flop", ("svg",)), ("phase", ("png", "svg", "pdf"))])
def test_files_are_the_same_each_time(drawn, name, formats, tmp_path):
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        again = replace(drawn[name], figure=pickle.loads(pickle.dumps(drawn[name].figure)))
        files.append(save(again, tmp_path / folder, formats))
    for a, b in zip(*files, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
        assert b"dc:date" not in a.read_bytes() and b"CreationDate" not in a.read_bytes()


def test_captions_and_reasons_are_written_down(tmp_path):
    data = world(["x"], seeds=2, sizes=1)
    paths = write(data, Verdict("Nothing.", (), ()), tmp_path / "figures", formats=("svg",))
    assert paths[-1].name == "README.md"
    readme = paths[-1].read_text()
    assert "`ranks`: Rank by FLOP" in readme and "Not drawn" in readme and "`phase`: neither a condition" in readme


def test_hostile_names(tmp_path):
    data = world(["a", "b"], seeds=2, sizes=2, hostile=True)
    for drawing in draw(data, verdict_of(data, fitted=False)):
        if drawing.name in ("error_flop", "phase", "differences_flop", "ranks"):
            (path,) = save(drawing, tmp_path, ("svg",))
            assert path.parent == tmp_path
            root = ElementTree.fromstring(path.read_bytes())
            assert not [element for element in root.iter() if element.tag.endswith("script")]


@pytest.mark.parametrize("kind", ["diverged", "empty", "no_energy"])
def test_nothing_to_draw_has_its_reason(kind):
    data = world(["x"], seeds=2, unknown_energy=kind == "no_energy")
    if kind == "empty":
        points = {name: column[:0] for name, column in data.points.items()}
        data = replace(data, runs={name: column[:0] for name, column in data.runs.items()}, points=points)
    if kind == "diverged":
        mine = data.runs["role"] == "run"
        data.runs["status"][mine] = "diverged"
        data.runs["metrics.one_step_nrmse"][mine] = np.nan
        data.points["test.one_step_nrmse"][np.isin(data.points["run"], np.flatnonzero(mine))] = np.nan
    found = {d.name: d for d in draw(data, verdict_of(data, axes=("flop", "energy_j")))}
    for drawing in found.values():
        assert (drawing.figure is None) == bool(drawing.reason) and drawing.caption
    gone = ("ranks", "error_energy_j") if kind == "no_energy" else ("error_flop", "frontier", "exponents_flop", "ranks")
    assert all(found[name].reason for name in gone)


def test_importing_draws_nothing():
    code = "import sys, reports.study_figures, reports.study_tables; print({'matplotlib', 'rich'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
