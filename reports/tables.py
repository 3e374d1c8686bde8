"""A comparison as tables: for the terminal, Markdown, LaTeX, and one long tidy CSV for machines."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.record import FINISHED
from reports.conditions import conditions
from reports.notes import energy, heading, notes, warnings
from reports.rows import ACCURACY, COST, DETAIL, REACH_FLOP, REACH_JOULE, Column, Comparison, Row, Spread
from reports.text import clean, csv_text, latex, latex_number, markdown, number

if TYPE_CHECKING:
    from rich.console import Group

FORMATS = ("terminal", "markdown", "csv", "latex")

UNKNOWN = "—"
WIDTH = 110  # characters a table may take; columns that do not fit go to a further table
NAMES, ASIDES = 34, 14  # characters of the first two columns, at most
OOD = "out of distribution"  # of the details that a record holds, those that people ask for first
TITLES = {
    ACCURACY: "Accuracy",
    OOD: "Out of distribution: {} on each test set",
    COST: "Cost of training and use",
    REACH_FLOP: "Training FLOP to reach an error of",
    REACH_JOULE: "Training energy (J) to reach an error of",
}
MEGA = 1e6


@dataclass(frozen=True)
class Cell:
    """A figure ready to print: the median, and the range if there is one."""

    main: str
    range: str = ""


@dataclass(frozen=True)
class Block:
    """One table: `rows` are (row, its runs or energy method, cells); the first `models` of them are not references."""

    title: str
    aside: str
    columns: tuple[Column, ...]
    rows: list[tuple[Row, str, list[Cell]]]
    models: int


def render(comparison: Comparison, format: str, width: int = WIDTH) -> Any:
    """The comparison in one of FORMATS: a rich renderable for "terminal", otherwise a str ending in a newline.

    `width`: characters that a table may take.
    """
    if format == "csv":
        return _csv(comparison)
    if format == "terminal":
        return _terminal(comparison, width)
    if format == "markdown":
        return _markdown(comparison, width)
    if format == "latex":
        return _latex(comparison, width)
    raise ValueError(f"a table is made in one of {', '.join(FORMATS)}, not in {format!r}")


def _blocks(comparison: Comparison, width: int) -> list[Block]:
    names = [text for row in comparison for text in (row.model, *(f"{k}={v}" for k, v in row.settings.items()))]
    room = width - min(NAMES, max(map(len, names), default=0)) - ASIDES - 4
    blocks = []
    for section, name in TITLES.items():
        joules, title = section in (COST, REACH_JOULE), name.format(comparison.primary)
        for columns in _packed(comparison, section, room):
            rows = [
                (row, energy(row) if joules else _runs(row), [_cell(row, column) for column in columns])
                for row in comparison
            ]
            models = sum(not row.reference for row in comparison)
            blocks.append(Block(title, "joules" if joules else "runs", columns, rows, models))
            title = f"{name.format(comparison.primary)}, continued"
    return blocks


def _packed(comparison: Comparison, section: str, room: int) -> list[tuple[Column, ...]]:
    """The section's columns, as many to a table as there is room for."""
    packs: list[list[Column]] = []
    left = 0
    for column in (_column(one, comparison.primary) for one in comparison.columns):
        if column.section != section:
            continue
        need = 3 + max([len(line) for line in _head(column, 0)] + [_widest([_cell(row, column) for row in comparison])])
        if not packs or need > left:
            packs.append([])
            left = room
        packs[-1].append(column)
        left -= need
    return [tuple(pack) for pack in packs]


def _column(column: Column, primary: str) -> Column:
    """The column as tables for people have it: the error on a test set out of distribution is no detail there."""
    kind, _, rest = column.name.partition("/")
    name, _, metric = rest.rpartition("/")
    if kind == "ood" and metric == primary:
        return replace(column, section=OOD, title=name.replace(":", ": "))
    return replace(column, section=OOD) if column.name == "interventional_ratio" else column


def _heading(comparison: Comparison) -> str:
    return "; ".join([heading(comparison).removesuffix("."), *conditions(comparison)]) + "."


def _widest(cells: list[Cell]) -> int:
    return max((len(text) for cell in cells for text in (cell.main, cell.range)), default=0)


def _runs(row: Row) -> str:
    """Number of runs, or what became of them when not all finished."""
    return row.status or str(len(row.runs))


def _cell(row: Row, column: Column) -> Cell:
    spread = row.figures[column.key]
    if spread is None:
        return Cell(UNKNOWN)
    if math.isinf(spread.median):
        return Cell("not reached", f"{spread.reached}/{spread.n} at {number(spread.low)}" if spread.reached else "")
    scale = MEGA if column.unit == "B" else 1.0
    bound = "≥" if column.unit == "FLOP" and row.uncounted and spread.median > 0 else ""
    low, high = number(spread.low / scale), number(spread.high / scale)
    return Cell(bound + number(spread.median / scale), f"{low}, {high}" if low != high else "")


def _title(column: Column) -> tuple[str, str]:
    """The column's name, and its unit with an arrow to where better figures are."""
    arrow = {"lower": "↓", "higher": "↑"}.get(column.better, "") if column.section in (ACCURACY, OOD) else ""
    unit = "MB" if column.unit == "B" else column.unit
    known = column.target is not None or unit in column.title.split()  # said in the table's title, or in the name
    return column.title, " ".join(filter(None, ["" if known or not unit else f"({unit})", arrow]))


def _terminal(comparison: Comparison, width: int) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    # Every text is a Text object: in a plain str, rich would read [red] in a user's name as markup.
    parts: list[Any] = [Text(clean(_heading(comparison)), style="bold")]
    for block in _blocks(comparison, width):
        table = Table(box=box.SIMPLE_HEAD, title=block.title, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column(Text("model"), overflow="fold", max_width=NAMES)
        table.add_column(Text(block.aside), overflow="fold", max_width=ASIDES)
        for k, column in enumerate(block.columns):
            widest = _widest([cells[k] for _, _, cells in block.rows])
            table.add_column(Text("\n".join(_head(column, widest))), justify="right", overflow="fold", min_width=widest)
        for i, (row, aside, cells) in enumerate(block.rows):
            if i == block.models and i > 0:
                table.add_section()
            settings = [clean(f"{key}={value}") for key, value in row.settings.items()]
            name = Text.assemble((clean(row.model), "cyan"), *((f"\n{setting}", "dim") for setting in settings))
            note = Text(clean(aside), style="yellow" if block.aside == "runs" and not aside.isdigit() else "")
            figures = [
                Text.assemble(cell.main, *([(f"\n{cell.range.replace(', ', '…')}", "dim")] if cell.range else []))
                for cell in cells
            ]
            table.add_row(name, note, *figures)
        parts += [Text(""), table]
    parts += [Text(clean(f"Warning: {line}"), style="yellow") for line in warnings(comparison)]
    parts += [Text(clean(line), style="dim") for line in notes(comparison)]
    return Group(*parts)


def _head(column: Column, width: int) -> list[str]:
    """The column's name over its unit, broken between words so that the name is not what makes the column wide."""
    name, unit = _title(column)
    text = clean(name).replace("_", " ")
    longest = min(max(map(len, text.split()), default=0), 16)
    return textwrap.wrap(text, max(width, 12, longest)) + ([clean(unit)] if unit else [])


def _markdown(comparison: Comparison, width: int) -> str:
    lines = [markdown(_heading(comparison))]
    for block in _blocks(comparison, width):
        titles = [" ".join(filter(None, _title(column))) for column in block.columns]
        lines += ["", f"**{block.title}**", "", _piped(["model", block.aside, *map(markdown, titles)])]
        lines.append(_piped([":--", ":--", *["--:"] * len(titles)]))
        for i, (row, aside, cells) in enumerate(block.rows):
            if i == block.models and i > 0:  # Markdown knows no rule inside a table: an empty row stands for it
                lines.append(_piped(["*reference*", *[""] * (1 + len(titles))]))
            figures = [cell.main + (f" [{cell.range}]" if cell.range else "") for cell in cells]
            lines.append(_piped([markdown(row.label), markdown(aside), *figures]))
    lines += ["", *(f"- **Warning:** {markdown(line)}" for line in warnings(comparison))]
    lines += [f"- {markdown(line)}" for line in notes(comparison)]
    return "\n".join(lines) + "\n"


def _piped(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _latex(comparison: Comparison, width: int) -> str:
    """Tabulars and a paragraph of notes, for the body of a document or of a table environment."""
    lines = ["% needs \\usepackage{booktabs}", latex(_heading(comparison)) + r"\par\medskip"]
    for block in _blocks(comparison, width):
        titles = [" ".join(filter(None, _title(column))) for column in block.columns]
        lines += [rf"\begin{{tabular}}{{@{{}}ll*{{{len(titles)}}}{{r}}@{{}}}}", r"\toprule"]
        lines.append(" & ".join(["model", block.aside, *map(latex, titles)]) + r" \\")
        lines.append(r"\midrule")
        for i, (row, aside, cells) in enumerate(block.rows):
            if i == block.models and i > 0:
                lines.append(r"\midrule")
            figures = [
                latex_number(cell.main) + (rf" {{\scriptsize{{}}[{latex_number(cell.range)}]}}" if cell.range else "")
                for cell in cells
            ]
            lines.append(" & ".join([latex(row.label), latex(aside), *figures]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}\par\medskip"]
    said = [f"Warning: {line}" for line in warnings(comparison)] + notes(comparison)
    lines.append(r"{\footnotesize " + " ".join(map(latex, said)) + r"\par}")
    return "\n".join(lines) + "\n"


FIELDS = (
    *("task", "model", "label", "backend", "device", "settings", "kind", "runs", "finished", "status", "reason"),
    *("quantity", "target", "unit", "better", "median", "low", "high", "n", "reached"),
    *("method", "uncertainty", "lower_bound"),
)


def _csv(comparison: Comparison) -> str:
    """One line for each row and quantity. Unknown figures are empty; inf, in a cost to reach an error, is never."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for row in comparison.rows:
        for column in comparison.columns:
            line = {**_about(row), **_figures(row, column)}
            writer.writerow({k: csv_text(v) if isinstance(v, str) else v for k, v in line.items()})
    return text.getvalue()


def _about(row: Row) -> dict[str, Any]:
    first = row.runs[0]
    return {
        **{key: getattr(first, key) for key in ("task", "model", "backend", "device")},
        "label": row.label,
        "settings": " ".join(f"{key}={value}" for key, value in row.settings.items()),
        "kind": "reference" if row.reference else "model",
        "runs": len(row.runs),
        "finished": sum(run.status == FINISHED for run in row.runs),
        "status": row.status or FINISHED,
        "reason": "; ".join(row.reasons),
    }


def _figures(row: Row, column: Column) -> dict[str, Any]:
    spread: Spread | None = row.figures[column.key]
    line: dict[str, Any] = {"quantity": column.name, "unit": column.unit, "better": column.better}
    if column.target is not None:
        line["target"] = column.target
    if spread is not None:
        line |= {"median": spread.median, "low": spread.low, "high": spread.high, "n": spread.n}
        if column.target is not None:
            line["reached"] = spread.reached
    if column.unit == "J" and column.section != DETAIL:
        line["method"] = " or ".join(method for method, _ in row.energy_methods)
        line["uncertainty"] = " or ".join(str(u) for _, u in row.energy_methods if u is not None)
    if column.unit == "FLOP":
        line["method"] = " or ".join(dict.fromkeys(run.costs.flop_method for run in row.runs if run.costs.flop_method))
        line["lower_bound"] = str(bool(row.uncounted)).lower()
    return line
