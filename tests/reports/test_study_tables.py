"""The tables of a study: true to the numbers in every format, and the best marked only where it is one."""

import csv
import io
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from reports.reach import cost_to_error
from reports.scaling.bootstrap import resampled
from reports.study import StudyData
from reports.study_tables import FORMATS, render, study_sheets, summarise, write
from reports.study_tables.best import best_errors, holm, paired_p
from reports.study_tables.contests import contest_sheet, thompson_sheet
from reports.study_tables.curves import Curves
from reports.study_tables.facts import missing
from reports.study_tables.render import packed, tex
from reports.study_tables.sheet import figure
from reports.study_tables.summary import geometric_mean, log_mean
from reports.text import clean, number
from reports.verdict.types import (
    CANNOT_TELL,
    ESCAPES,
    BreakEven,
    Contest,
    Estimate,
    Extrapolation,
    Outcome,
    Verdict,
)
from reports.worlds import HOSTILE, Law, world

COMMANDS = {
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textasciigrave"),
    *("char", "ensuremath", "pm", "geq", "downarrow", "uparrow", "alpha", "Delta", "tau", "cdot", "times", "leq"),
    *("approx", "rightarrow", "infty", "textendash", "ldots"),
}
UNKNOWN = Estimate(None, reason="too few points")


def verdict_of(data: StudyData, says: str = ESCAPES) -> Verdict:
    """A verdict made by hand: every number in it is its own, so that none can stand in another's place."""
    contests, targets, even = [], [], []
    serial = iter(range(1, 10**6))

    def some() -> Estimate:
        n = next(serial)
        return Estimate(n / 7, n / 8, n / 6)

    for task, condition in data.tasks():
        for a in data.structured:
            for b in data.black_box:
                parts = ("difference", "error_ratio", "cost_ratio", "crossover", "improvement")
                estimates: dict[str, Any] = {name: some() for name in parts}
                who = (task, condition, "flop", a, b, says, f"{a} and {b} on {task}.")
                contests.append(Contest(*who, p=0.01 * next(serial), p_holm=1e-5, **estimates))
            for target in data.targets:
                money, co2 = Estimate(math.inf, 1e12, math.inf), UNKNOWN
                targets.append(
                    Extrapolation(task, condition, a, target, some(), "flop", some(), money, co2, "at 1 nJ a FLOP")
                )
            even.append(BreakEven(task, condition, a, "simulator", "flop", Estimate(0.0, 0.0, 5.0), 0.02))
    outcomes = (Outcome("It | helps_{1}%.", "supported", "$so$ it does"),)
    return Verdict("The headline.", (), tuple(contests), tuple(targets), tuple(even), outcomes, notes=("A note.",))


@pytest.fixture(scope="module")
def data():
    return world(["lorenz63", "flocking"], seeds=3, draws=2, diverged=0.2, seed=1)


@pytest.fixture(scope="module")
def hostile():
    return world(["a", "b"], conditions=("", "noise=0.1"), seeds=2, hostile=True)


def printed(data, verdict, width=120):
    out = io.StringIO()
    Console(width=width, file=out).print(render(data, verdict, "terminal", width))
    return out.getvalue()


def lines_of(data, verdict):
    return list(csv.DictReader(io.StringIO(render(data, verdict, "csv"))))


# The numbers


def test_csv_holds_every_cell_of_every_table(data):
    verdict = verdict_of(data)
    sheets, short = study_sheets(summarise(data), verdict)
    assert not short
    cells = [(sheet.name, c.name, cell) for sheet in sheets for line in sheet.lines
             for c, cell in zip(sheet.columns, line.cells, strict=True)]  # fmt: skip
    lines = lines_of(data, verdict)
    assert len(lines) == len(cells) > 200
    for line, (table, quantity, cell) in zip(lines, cells, strict=True):
        assert (line["table"], line["quantity"]) == (table, quantity)
        for name in ("value", "low", "high", "level"):
            expected = getattr(cell, name)
            assert line[name] == "" if expected is None else float(line[name]) == expected
        assert (line["best"] == "true") == cell.best


def test_contests_and_targets_are_those_of_the_verdict(data):
    verdict = verdict_of(data)
    lines = lines_of(data, verdict)
    found = {(r["task"], r["model"], r["other"], r["axis"]): r for r in lines if r["quantity"] == "exponent_difference"}
    assert len(found) == len(verdict.contests)
    for c in verdict.contests:
        row = found[c.task, c.structured, c.black_box, c.axis]
        expected = [c.difference.value, c.difference.low, c.difference.high]
        assert [float(row[k]) for k in ("value", "low", "high")] == expected
    money = [r for r in lines if r["quantity"] == "money_usd"]
    assert len(money) == len(verdict.extrapolations) and {r["value"] for r in money} == {"inf"}
    co2 = [r for r in lines if r["quantity"] == "co2_g"]
    assert {(r["value"], r["reason"]) for r in co2} == {("", "too few points")}


def test_errors_and_costs_are_those_of_the_runs(data):
    """A second, plain computation from the columns."""
    runs = data.runs
    for rows in summarise(data).rows.values():
        for row in rows:
            mine = data.of(row.task, row.condition, row.model)
            assert sorted(row.runs) == sorted(mine) and sum(row.counts.values()) == len(mine)
            assert set(runs["configuration"][row.chosen]) == {row.configuration}
            good = row.chosen[runs["status"][row.chosen] == "finished"]
            errors = runs["metrics.one_step_nrmse"][good]
            if (errors > 0).all():
                assert row.error.value == pytest.approx(np.exp(np.mean(np.log(errors))), rel=1e-12)  # rounding
            assert row.costs["train_flop"].value == np.median(runs["train_flop"][good])
            assert row.costs["train_energy_j"].high == runs["train_energy_j"][good].max()
            if row.error.level:
                assert row.error.low <= row.error.value <= row.error.high


def test_the_configuration_is_chosen_on_validation_never_on_test_data(data):
    """With validation errors reversed in order, another one is chosen, though the test errors are the same."""
    points = {**data.points, "error": 1 / (data.points["error"] + 1)}
    before, after = summarise(data), summarise(replace(data, points=points))
    for place, rows in before.rows.items():
        chosen = {row.model: row.configuration for row in rows if not row.reference}
        other = {row.model: row.configuration for row in after.rows[place] if not row.reference}
        assert all(chosen[model] != other[model] for model in chosen)


def test_cost_to_an_error_is_that_of_a_record(data):
    """The vectorised search agrees with `reports.reach.cost_to_error`, which takes one curve at a time."""
    curves = Curves.of(data)
    error, flop = data.points["test.one_step_nrmse"], data.points["flop"]
    for target in (0.3, 0.05, 1e-9):
        found = curves.cost_to("flop", "one_step_nrmse", target)
        for run in range(0, len(data), 7):
            mine = np.flatnonzero(data.points["run"] == run)
            ahead = np.minimum.accumulate(error[mine])
            expected = cost_to_error([(flop[i], error[i]) for i in mine], target)
            if expected is None:
                continue
            first = np.flatnonzero(ahead <= target)
            if len(first) and first[0] > 0 and error[mine[first[0] - 1]] > ahead[first[0] - 1]:
                continue  # it went up before it came down: between those two points the ways differ
            assert found[run] == pytest.approx(expected, rel=1e-9)


def test_points_in_any_order_give_the_same_tables(data):
    order = np.random.default_rng(0).permutation(len(data.points["run"]))
    shuffled = replace(data, points={name: column[order] for name, column in data.points.items()})
    assert render(shuffled, verdict_of(data), "csv") == render(data, verdict_of(data), "csv")


def test_error_at_a_cost_lies_on_the_curve(data):
    curves = Curves.of(data)
    flop, error, run = data.points["flop"], data.points["test.one_step_nrmse"], data.points["run"]
    known = np.isfinite(error) & (flop > 0)
    for cost in np.unique(flop[known])[[0, 5, -1]]:
        found = curves.error_at("flop", "one_step_nrmse", np.array([cost]))[0]
        at = np.flatnonzero(known & (flop == cost))
        assert found[run[at]] == pytest.approx(error[at], rel=1e-9)  # rounding of logarithms
    assert np.isnan(curves.error_at("flop", "one_step_nrmse", np.array([1.0]))).all()


# The best


def test_a_clear_winner_is_marked_and_equals_are_not():
    laws = {"hybrid_ode": Law(0.001, 0.2, 0.5), "mlp": Law(0.01, 1.0, 0.3)}
    apart = world(["x", "y"], laws, seeds=6, draws=4, noise=0.02, seed=3)
    assert {model for *_, model in best_errors(summarise(apart))} == {"hybrid_ode"}
    marked = [row for row in lines_of(apart, verdict_of(apart)) if row["best"]]
    assert {row["model"] for row in marked} == {"hybrid_ode"} and len(marked) >= 2
    same = {"hybrid_ode": Law(), "mlp": Law()}
    alike = [world(["x"], same, seeds=3, draws=2, seed=s) for s in range(40)]
    # Each has at most 5% in theory; 7 of 40 is beyond the 99.5% quantile of binomial(40, 0.05).
    assert sum(bool(best_errors(summarise(one))) for one in alike) < 7


def test_one_run_marks_nothing():
    one = world(seeds=1, draws=1)
    assert not best_errors(summarise(one))
    assert not [row for row in lines_of(one, verdict_of(one)) if row["best"]]


def test_a_model_that_mostly_failed_is_not_the_best():
    laws = {"hybrid_ode": Law(0.001, 0.2, 0.5), "mlp": Law(0.01, 1.0, 0.3)}
    data = world(["x"], laws, seeds=5, draws=4, noise=0.02, seed=3)
    lost = (data.runs["model"] == "hybrid_ode") & (data.runs["seed"] > 1)
    data.runs["status"][lost] = "diverged"
    assert not best_errors(summarise(data))
    assert next(iter(summarise(data).rows.values()))[0].model == "mlp"


def test_measured_and_modelled_joules_are_not_ranked():
    laws = {"hybrid_ode": Law(0.001, 0.2, 0.5), "mlp": Law(0.001, 1.0, 0.5)}
    data = world(["x"], laws, seeds=6, draws=4, noise=0.02, targets=(0.1,), seed=3)

    def marked():
        return {row["quantity"] for row in lines_of(data, verdict_of(data)) if row["best"]}

    assert {"flop_to_error", "energy_j_to_error"} <= marked()
    data.runs["energy_method"][data.runs["model"] == "mlp"] = "measured:rapl"
    assert "flop_to_error" in marked() and "energy_j_to_error" not in marked()
    assert "do not compare" in printed(data, verdict_of(data))


def test_p_of_pairs_is_no_less_than_that_of_a_t_test():
    """One draw: the jackknife over seeds of a mean is its standard error, so p is Student's but for the widening that
    `reports.scaling.intervals` gives to few clusters: some 10% of the score at six, less than a factor of 3 in p."""
    from scipy.stats import ttest_rel

    data = world(seeds=6, draws=1, sizes=1)
    a, b = (data.of("lorenz63", "", model) for model in ("mlp", "neural_ode"))
    x, y = (data.runs["metrics.one_step_nrmse"][runs] for runs in (a, b))
    expected = ttest_rel(np.log(x), np.log(y)).pvalue
    found = paired_p(data, (a, x), (b, y))
    assert found is not None and expected * (1 - 1e-9) <= found < 3 * expected
    assert paired_p(data, (a[:1], x[:1]), (b[:1], y[:1])) is None
    assert paired_p(data, (a, x), (b, np.full(6, np.inf))) is None


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(p_values):
    corrected = holm(p_values)
    assert all(1 >= c >= p for p, c in zip(p_values, corrected, strict=True))
    assert all(a <= b for p, a in zip(p_values, corrected, strict=True)
               for q, b in zip(p_values, corrected, strict=True) if p <= q)  # fmt: skip
    if p_values:
        least = min(p_values)
        assert corrected[p_values.index(least)] == min(1.0, len(p_values) * least)


def test_the_jackknife_of_a_mean_is_that_of_the_exponents():
    """Sums over levels give what `reports.scaling.bootstrap` gets from its weights."""
    draw, seed = (labels.ravel() for labels in np.indices((3, 4)))
    values = np.random.default_rng(0).normal(size=12)
    for factors in ((draw, seed), (draw,), (np.zeros(12), seed)):
        found = log_mean(values, *factors)
        assert found is not None
        weights = resampled([labels for labels in factors if len(set(labels)) > 1], 2, 0)[1]
        for mine, w in zip(found.jackknife, weights, strict=True):
            assert mine[:, 0] == pytest.approx(w @ values / w.sum(1), rel=1e-12)  # rounding


def test_geometric_mean_has_an_interval_only_where_runs_repeat():
    values = np.array([0.1, 0.2, 0.4])
    found = geometric_mean(values, np.zeros(3), np.arange(3))
    assert found.value == pytest.approx(0.2) and found.low < 0.2 < found.high and found.level == 0.9
    assert math.isnan(geometric_mean(values[:1], np.zeros(1), np.zeros(1)).low)
    assert geometric_mean(values[:0]).n == 0


# Formats


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_terminal_fits(data, width):
    verdict = verdict_of(data)
    text = printed(data, verdict, width)
    assert max(map(len, text.splitlines())) <= width
    for said in ("The headline.", "Results on lorenz63", "Hypotheses", "How it was measured", "A note.", "diverged"):
        assert said in text
    for sheet in study_sheets(summarise(data), verdict, 60)[0]:
        for part in packed(sheet, width) if sheet.lines else []:
            assert len(part.columns) >= 1
    assert number(verdict.contests[0].difference.value or 0) in text  # no number is broken over lines


def markdown_rows(text):
    rows = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > 3:
            allowed = ("text", "text_special", "strong_open", "strong_close")
            assert all(child.type in allowed for child in token.children or ()), token.content
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_markdown_reads_back(data, hostile):
    for one in (data, hostile):
        verdict = verdict_of(one)
        rows = markdown_rows(render(one, verdict, "markdown"))
        sheets, _ = study_sheets(summarise(one), verdict, 400)
        expected = [line for sheet in sheets for line in [None, *sheet.lines] if sheet.lines]
        assert len(rows) == len(expected)
        for row, line in zip(rows, expected, strict=True):
            if line is not None:
                keys = [*line.keys[:-1], " ".join(filter(None, (line.keys[-1], line.under)))]
                assert [" ".join(k.split()) for k in row[: len(keys)]] == [" ".join(clean(k).split()) for k in keys]
                assert row[len(keys)].split(" [")[0].split() == clean(line.cells[0].text).split()


def check_latex(text):
    body = re.sub(r"\\[\\{}$&#%_]", "", re.sub(r"(?m)^%.*$", "", text))
    depth = 0
    for char in body:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    plain = re.sub(r"\\ensuremath\{[^{}]*(\{[^{}]*\})?\}", "", body)
    assert not re.search(r"[$#^_~]", plain)
    for kind in ("tabular", "longtable"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}")
    for spec, tabular in re.findall(
        r"(?s)\\begin\{(?:tabular|longtable)\}\{@\{\}(.*?)@\{\}\}\n(.*?)\\bottomrule", text
    ):
        columns = len(re.sub(r">\{[^{}]*\}p\{[^{}]*\}", "l", spec))
        rows = re.findall(r"(?m)^(.*) \\\\$", tabular)
        assert len(rows) >= 2
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
        assert not any(row.startswith(("[", "*")) for row in rows)
    assert not set(text) & set("αΔτ−–·×≤≈→∞…")


def test_latex_is_well_formed(data, hostile):
    for one in (data, hostile):
        check_latex(render(one, verdict_of(one), "latex"))
    assert r"\input{x}" not in render(hostile, verdict_of(hostile), "latex")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_latex_text_holds_no_command_of_the_user(name):
    written = tex(name)
    for command in re.findall(r"\\([a-zA-Z]+)", written):
        assert command in COMMANDS


def test_hostile_names_steer_nothing(hostile):
    verdict = verdict_of(hostile)
    text = printed(hostile, verdict, 140)
    assert "\x1b" not in text and "\u202e" not in text
    rows = list(csv.reader(io.StringIO(render(hostile, verdict, "csv"))))
    assert len({len(row) for row in rows}) == 1
    starts = {
        cell[:1] for row in rows for cell in row if cell and not re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?|-?inf", cell)
    }
    assert not starts & set("=+-@")
    assert f"'{HOSTILE[3].splitlines()[0]}"[:14] in {cell[:14] for row in rows for cell in row}
    assert "<script>" not in render(hostile, verdict, "markdown")


def test_an_unknown_format_is_refused(data):
    with pytest.raises(ValueError, match="terminal, markdown, csv, latex"):
        render(data, verdict_of(data), "html")


# Studies of every kind


def empty_of(data: StudyData) -> StudyData:
    none = {name: column[:0] for name, column in data.runs.items()}
    return replace(data, runs=none, points={name: column[:0] for name, column in data.points.items()})


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_study(data, format):
    empty = empty_of(data)
    nothing = Verdict("Nothing to judge.", (), ())
    text = printed(empty, nothing) if format == "terminal" else render(empty, nothing, format)
    assert text.strip()
    if format != "csv":
        assert f"0 of {data.planned} runs have a record" in text


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex"])
def test_a_task_where_everything_diverged(format):
    data = world(["good", "gone"], seeds=2)
    gone = (data.runs["task"] == "gone") & (data.runs["role"] == "run")
    data.runs["status"][gone] = "diverged"
    data.runs["metrics.one_step_nrmse"][gone] = np.nan
    for name in ("test.one_step_nrmse", "error"):
        data.points[name][np.isin(data.points["run"], np.flatnonzero(gone))] = np.nan
    verdict = verdict_of(data, CANNOT_TELL)
    text = printed(data, verdict) if format == "terminal" else render(data, verdict, format)
    assert "8 diverged" in text
    assert "No run of mlp on gone finished" in text.replace("\n", " ")
    row = next(row for row in summarise(data).rows["gone", ""] if row.model == "mlp")
    assert math.isnan(row.error.value) and row.mostly_failed


def test_what_is_missing_is_said_first(data):
    other = replace(data, planned=len(data) + 10, hashes=(data.hash, "feedfacefeedface"))
    said = missing(other)
    assert any("10 are missing" in line for line in said) and any("feedfacefeedface" in line for line in said)
    text = render(other, verdict_of(other), "markdown")
    assert text.index("10 are missing") < text.index("The headline") < text.index("Results on")
    assert not missing(world(seeds=2))


def test_many_tasks_are_counted_and_csv_has_them_all():
    data = world([f"task_{i:03}" for i in range(30)], seeds=2, sizes=2)
    verdict = verdict_of(data)
    text = printed(data, verdict)
    assert "Models over all tasks" in text and "Results on" not in text
    assert len(text.splitlines()) < 250  # of some 40 rows in each of five tables
    rows = lines_of(data, verdict)
    assert len({row["task"] for row in rows if row["table"] == "results"}) == 30
    says = [row for row in rows if row["quantity"] == "says"]
    assert len(says) == len(verdict.contests) and {row["text"] for row in says} == {ESCAPES}
    assert "longtable" in render(data, verdict, "latex")


def test_files_are_the_same_each_time(data, tmp_path):
    verdict = verdict_of(data)
    paths = write(data, verdict, tmp_path)
    assert [path.name for path in paths] == ["tables.md", "tables.csv", "tables.tex"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write(data, verdict, tmp_path)] == before


@given(st.floats(allow_nan=True), st.floats(), st.floats())
def test_a_cell_says_what_it_holds(value, low, high):
    cell = figure(value, low, high)
    if math.isnan(value):
        assert cell.value is None and cell.text == "—" and not cell.aside
    else:
        assert cell.value == value
        assert math.isinf(value) or cell.text == number(value)


def test_an_extrapolation_that_is_unknown_has_its_reason(data):
    sheet = thompson_sheet(verdict_of(data))
    assert {line.cells[3].reason for line in sheet.lines} == {"too few points"}
    assert {line.cells[2].text for line in sheet.lines} == {"never"}
    assert "at 1 nJ a FLOP" in sheet.notes
    assert contest_sheet(Verdict("", (), ())).empty
