"""Tables in every format: complete, escaped, well formed, and true to the numbers."""

import csv
import io
import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from reports import FORMATS, compare, render
from reports.text import clean, csv_text, latex, latex_number, number


def printed(comparison, width=110):
    file = io.StringIO()
    Console(width=width, file=file).print(render(comparison, "terminal", width=width))
    return file.getvalue()


def rendered(comparison, format):
    return printed(comparison) if format == "terminal" else render(comparison, format)


def markdown_cells(text):
    """All cells of all tables as a reader sees them, one list a row."""
    rows = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > 3:
            assert all(child.type in ("text", "text_special", "em_open", "em_close") for child in token.children or ())
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


@pytest.mark.parametrize("format", FORMATS)
def test_every_row_is_in_every_format(everything, format):
    text = rendered(compare(everything), format).replace("\\_", "_")
    for row in compare(everything):
        assert row.label in text


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1])
def test_few_records(everything, format, count):
    text = rendered(compare(everything[:count]), format)
    assert text.strip()


@pytest.mark.parametrize("format", FORMATS)
def test_all_diverged(record, format):
    runs = [record(seed=s, errors=(None, None), flops=(1, 2), status="diverged", metrics={}) for s in range(2)]
    text = rendered(compare(runs), format)
    assert "neural" in text and "diverged 2/2" in text


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex"])
def test_mixed_energy_methods_are_warned_of(record, format):
    runs = [record(), record("mlp", energy_method="measured:rapl", energy_uncertainty=0.05)]
    text = " ".join(rendered(compare(runs), format).split())
    assert "Warning: Joules were measured in some runs and modelled in others" in text.replace("**", "")
    assert "measured" in text and "modelled" in text


@pytest.mark.parametrize(
    ("format", "cell"),
    [("terminal", "  measured ±?  "), ("markdown", "| measured ±? |"), ("latex", r"& measured \ensuremath{\pm}? &")],
)
def test_an_unknown_uncertainty_is_not_left_out(record, format, cell):
    text = rendered(compare([record(energy_method="measured:rapl", energy_uncertainty=None)]), format)
    assert cell in text
    if format == "latex":
        check_latex(text)
    if format == "markdown":
        assert "measured ±?" in [row[1] for row in markdown_cells(text)]


def test_unknown_format(record):
    with pytest.raises(ValueError, match="terminal, markdown, csv, latex"):
        render(compare([record()]), "html")


# Terminal


@pytest.mark.parametrize("width", [80, 110, 120])
def test_terminal_fits_and_breaks_no_number(everything, width):
    text = printed(compare(everything), width)
    assert max(len(line) for line in text.splitlines()) <= width
    comparison = compare(everything)
    spread = comparison.rows[1].figures["metrics.rollout_nrmse"]
    assert spread is not None
    assert f"{number(spread.low)}…{number(spread.high)}" in text
    assert "not reached" in text and "≥" in text and "diverged 1/2" in text


def test_terminal_shows_hostile_names_as_they_are(hostile_records, hostile):
    text = printed(compare(hostile_records), 120)
    assert "\x1b" not in text and "\x00" not in text
    for name in hostile:
        assert clean(name) in text


# Markdown


def test_markdown_reads_back(everything):
    comparison = compare(everything)
    rows = markdown_cells(render(comparison, "markdown"))
    assert len({len(row) for row in rows if row[0] == "model"} | {0}) > 1
    for row in comparison:
        assert sum(cells[0] == row.label for cells in rows) == 4  # once in each table
    assert ["neural_ode", "3", "0.02 [0.01, 0.03]"] in [cells[:3] for cells in rows]
    assert sum(cells[0] == "reference" for cells in rows) == 4


def test_markdown_shows_hostile_names_as_they_are(hostile_records):
    comparison = compare(hostile_records)
    names = [cells[0] for cells in markdown_cells(render(comparison, "markdown"))]
    for row in comparison:
        assert " ".join(clean(row.label).split()) in [" ".join(name.split()) for name in names]


# LaTeX


SAFE = re.compile(
    r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave)\{\}|\\[{}$&#%_]"
    r"|\{[\[\]*]\}|\{\\char34\}|\\ensuremath\{\\(pm|geq|downarrow|uparrow)\}|\{\}|[^\\{}$&#%_~^<>|\"`\[\]*]"
)


@given(st.text())
def test_latex_text_holds_no_command_of_the_user(name):
    assert re.fullmatch(f"(?:{SAFE.pattern})*", latex(name), re.DOTALL)
    assert "--" not in latex(name).replace("---", "") and "''" not in latex(name)


def check_latex(text):
    body = re.sub(r"\\[\\{}$&#%_]", "", re.sub(r"(?m)^%.*$", "", text))
    depth = 0
    for char in body:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0 and not re.search(r"[$#^_~]", re.sub(r"\\ensuremath\{[^{}]*(\{[^{}]*\})?\}", "", body))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") > 0
    for tabular in re.findall(r"(?s)\\begin\{tabular\}.*?\\end\{tabular\}", text):
        columns = 2 + int(re.findall(r"ll\*\{(\d+)\}", tabular)[0])
        rows = re.findall(r"(?m)^(.*) \\\\$", tabular)
        assert len(rows) >= 2
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
        assert not any(row.startswith(("[", "*")) for row in rows)


def test_latex_is_well_formed(everything, hostile_records):
    for records in (everything, hostile_records):
        check_latex(render(compare(records), "latex"))


def test_latex_numbers():
    assert latex_number("≥1.2e9") == r"\ensuremath{\geq}\ensuremath{1.2\times10^{9}}"
    assert latex_number("1e-3, never") == r"\ensuremath{1\times10^{-3}}, never"
    assert latex_number("not reached") == "not reached"


# CSV


def test_csv_equals_the_numbers(everything):
    comparison = compare(everything)
    lines = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    assert len(lines) == len(comparison.rows) * len(comparison.columns)
    expected = [(row, column) for row in comparison.rows for column in comparison.columns]
    for line, (row, column) in zip(lines, expected, strict=True):
        spread = row.figures[column.key]
        assert (line["label"], line["quantity"]) == (row.label, column.name)
        assert line["target"] == ("" if column.target is None else repr(column.target))
        if spread is None:
            assert line["median"] == line["low"] == line["high"] == line["n"] == ""
        else:
            assert [float(line[key]) for key in ("median", "low", "high")] == [spread.median, spread.low, spread.high]
            assert int(line["n"]) == spread.n
    hybrid = [line for line in lines if line["model"] == "hybrid_ode"]
    assert {line["lower_bound"] for line in hybrid if line["unit"] == "FLOP"} == {"true"}
    assert {line["method"] for line in hybrid if line["quantity"] == "train_energy_j"} == {"modelled:generic-cpu"}


def test_csv_starts_no_formula(hostile_records):
    rows = list(csv.reader(io.StringIO(render(compare(hostile_records), "csv"))))
    assert len({len(row) for row in rows}) == 1
    assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row if cell and not _is_number(cell))
    assert "'=cmd()" in {row[1] for row in rows}


@given(st.text())
def test_csv_text_is_inert(name):
    assert csv_text(name).lstrip()[:1] not in ("=", "+", "-", "@") or csv_text(name) == ""


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


# Numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (12, "12"), (4482, "4482"), (1.2e9, "1.2e9"), (12345, "1.23e4"), (9999.7, "1e4"), (999.7, "1000")),
        *(
            (0.012, "0.012"),
            (0.00123, "1.23e-3"),
            (3.4, "3.4"),
            (-0.5, "-0.5"),
            (1e-300, "1e-300"),
            (math.inf, "never"),
        ),
    ],
)
def test_number(value, text):
    assert number(value) == text


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_three_digits_and_stay_short(value):
    assert float(number(value)) == pytest.approx(value, rel=5.001e-3, abs=5e-324)
    assert len(number(value)) <= 10


def test_importing_reports_loads_nothing_heavy():
    code = "import sys, reports; print(sorted({'numpy', 'matplotlib', 'rich', 'jax', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
