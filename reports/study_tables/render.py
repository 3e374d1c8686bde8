"""Sheets in any of the formats: terminal (rich), Markdown, CSV, LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reports.study_tables.sheet import Cell, Column, Sheet
from reports.text import clean, csv_text, latex, latex_number, markdown

NAMES = 26  # characters of one key column, at most
WORDS = 40  # of a column of text
LONG = 40  # rows that fit on a page of print


def packed(sheet: Sheet, width: int) -> list[Sheet]:
    """The sheet as one or more, each at most `width` characters wide: the keys, and as many columns as fit."""
    room = width - sum(3 + _key_width(sheet, k) for k in range(len(sheet.keys)))
    groups: list[list[int]] = []
    left = 0
    for k, column in enumerate(sheet.columns):
        need = 3 + _width(column, [line.cells[k] for line in sheet.lines])
        if not groups or need > left:
            groups.append([])
            left = room
        groups[-1].append(k)
        left -= need
    parts = []
    for number, group in enumerate(groups):
        lines = tuple(replace(line, cells=tuple(line.cells[k] for k in group)) for line in sheet.lines)
        title = sheet.title + (", continued" if number else "")
        columns = tuple(sheet.columns[k] for k in group)
        last = number == len(groups) - 1
        notes = sheet.notes if last else ()
        parts.append(replace(sheet, title=title, columns=columns, lines=lines, notes=notes))
    return parts


# What the terminal's tables of results go without first, where they are too wide; the other formats have everything.
SPARE = {
    "energy_method": "how joules were had",
    "seconds_to_error": "time to an error",
    "floor": "floor E",
    "exponent": "exponent α",
    "energy_j_to_error": "energy to an error",
    "train_seconds": "time",
}


def fitting(sheet: Sheet, width: int) -> Sheet:
    """The sheet without as many of the columns of `SPARE` as make it fit; as it is where that does not help."""
    slim, left_out = sheet, []
    for name in SPARE:
        if len(packed(slim, width)) == 1:
            break
        kept = [k for k, column in enumerate(slim.columns) if column.name != name]
        if len(kept) < len(slim.columns):
            left_out += dict.fromkeys(SPARE[name] for column in slim.columns if column.name == name)
        lines = tuple(replace(line, cells=tuple(line.cells[k] for k in kept)) for line in slim.lines)
        slim = replace(slim, columns=tuple(slim.columns[k] for k in kept), lines=lines)
    if not left_out or len(packed(slim, width)) > 1:
        return sheet
    return replace(slim, notes=(*slim.notes, f"Not shown, for want of room: {', '.join(left_out)}."))


def _key_width(sheet: Sheet, k: int) -> int:
    texts = [clean(line.keys[k]) for line in sheet.lines]
    if k == len(sheet.keys) - 1:
        texts += [clean(line.under) for line in sheet.lines]
    longest = max([len(sheet.keys[k]), *map(len, texts)])
    only_words = all(column.words for column in sheet.columns)
    return min(longest, 2 * NAMES if only_words else NAMES)


def _width(column: Column, cells: Sequence[Cell]) -> int:
    head = max((len(part) for part in _head(column, 0)), default=0)
    widest = max((max(len(clean(cell.text)) + cell.best, len(_range(cell.aside))) for cell in cells), default=1)
    return max(head, min(widest, WORDS) if column.words else widest)


def _head(column: Column, width: int) -> list[str]:
    """The title over its unit, broken between words so that the title is not what makes the column wide."""
    unit = [f"({clean(column.unit)})"] if column.unit else []
    return textwrap.wrap(clean(column.title).replace("_", " "), max(width, 11)) + unit


def _range(aside: str) -> str:
    return aside.replace(", ", "…")


def _shown(sheet: Sheet) -> list[tuple[str, ...]]:
    """The keys of each line, without those that the line above has too."""
    shown, before = [], ()
    for line in sheet.lines:
        same = 0
        while same < len(line.keys) - 1 and line.keys[: same + 1] == before[: same + 1]:
            same += 1
        shown.append(("",) * same + line.keys[same:])
        before = line.keys
    return shown


def terminal(sheets: Sequence[Sheet], above: Sequence[str], below: Sequence[str], width: int) -> Any:
    """A rich renderable. Every text is a Text object: in a plain str, rich would read [red] in a name as markup."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(clean(line), style="bold" if i == 0 else "") for i, line in enumerate(above)]
    for sheet in sheets:
        if not sheet.lines:
            parts += [Text(""), Text(clean(sheet.title), style="bold"), Text(clean(sheet.empty), style="dim")]
            continue
        sheet = fitting(sheet, width) if sheet.name == "results" else sheet
        for part in packed(sheet, width):
            title = Text(clean(part.title))
            look = {"box": box.SIMPLE_HEAD, "title_justify": "left", "title_style": "bold", "pad_edge": False}
            table = Table(title=title, padding=(0, 1), **look)  # type: ignore[arg-type]
            for k, key in enumerate(part.keys):
                table.add_column(Text(key), overflow="fold", max_width=_key_width(part, k))
            for k, column in enumerate(part.columns):
                cells = [line.cells[k] for line in part.lines]
                figures = 0 if column.words else _width(column, cells)
                head = Text("\n".join(_head(column, figures)))
                table.add_column(
                    head, justify="left" if column.words else "right", overflow="fold", min_width=figures or None
                )
            for line, keys in zip(part.lines, _shown(part), strict=True):
                if line.apart:
                    table.add_section()
                names = [Text(clean(key), style="cyan" if key else "") for key in keys]
                if line.under:
                    names[-1].append(f"\n{clean(line.under)}", style="dim")
                table.add_row(*names, *(_rich(cell) for cell in line.cells))
            parts += [Text(""), table]
        parts += [Text(clean(note), style=_style(note)) for note in sheet.notes]
    parts += [Text(""), *(Text(clean(line), style=_style(line)) for line in below)] if below else []
    return Group(*parts)


def _rich(cell: Cell) -> Any:
    from rich.text import Text

    text = Text(clean(cell.text) + "*" * cell.best, style="bold green" if cell.best else "")
    return text.append(f"\n{_range(cell.aside)}", style="dim") if cell.aside else text


def _style(line: str) -> str:
    return "yellow" if line.startswith("Warning") else "dim"


def to_markdown(sheets: Sequence[Sheet], above: Sequence[str], below: Sequence[str]) -> str:
    lines = [f"{'# ' if i == 0 else ''}{markdown(line)}\n" for i, line in enumerate(above)]
    for sheet in sheets:
        lines += [f"## {markdown(sheet.title)}", ""]
        if not sheet.lines:
            lines += [markdown(sheet.empty), ""]
            continue
        titles = [column.title + (f" ({column.unit})" if column.unit else "") for column in sheet.columns]
        lines.append(_piped([*map(markdown, sheet.keys), *map(markdown, titles)]))
        lines.append(_piped([":--"] * len(sheet.keys) + [":--" if c.words else "--:" for c in sheet.columns]))
        for line in sheet.lines:
            keys = [*line.keys[:-1], " ".join(filter(None, (line.keys[-1], line.under)))]
            lines.append(_piped([*map(markdown, keys), *map(_marked, line.cells)]))
        lines += ["", *(f"- {markdown(note)}" for note in sheet.notes), *([""] if sheet.notes else [])]
    lines += [f"- {markdown(line)}" for line in below]
    return "\n".join(lines).rstrip("\n") + "\n"


def _marked(cell: Cell) -> str:
    text = markdown(cell.text)
    return (f"**{text}**" if cell.best else text) + (f" [{markdown(cell.aside)}]" if cell.aside else "")


def _piped(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_latex(sheets: Sequence[Sheet], above: Sequence[str], below: Sequence[str], width: int) -> str:
    """Tabulars for the body of a document; those of many rows break over pages."""
    lines = ["% needs \\usepackage{booktabs,longtable,array}"]
    lines += [tex(line) + r"\par\medskip" for line in above]
    for sheet in sheets:
        if not sheet.lines:
            lines += [rf"\textbf{{{tex(sheet.title)}}}\quad {tex(sheet.empty)}\par\medskip"]
            continue
        for part in packed(sheet, width):
            lines += _tabular(part)
        if sheet.notes:
            lines.append(r"{\footnotesize " + " ".join(map(tex, sheet.notes)) + r"\par}\medskip")
    if below:
        lines.append(r"{\footnotesize " + " ".join(map(tex, below)) + r"\par}")
    return "\n".join(lines) + "\n"


def _tabular(sheet: Sheet) -> list[str]:
    long = len(sheet.lines) > LONG
    kind = "longtable" if long else "tabular"
    text = r">{\raggedright\arraybackslash}p{0.35\linewidth}"
    keys = text if all(column.words for column in sheet.columns) else "l"
    aligned = "".join(_alignment(sheet, k, text) for k in range(len(sheet.columns)))
    titles = [column.title + (f" ({column.unit})" if column.unit else "") for column in sheet.columns]
    head = [r"\toprule", " & ".join([*map(tex, sheet.keys), *map(tex, titles)]) + r" \\", r"\midrule"]
    lines = [rf"\textbf{{{tex(sheet.title)}}}\par\nopagebreak\smallskip"]
    lines += [rf"\begin{{{kind}}}{{@{{}}{keys * len(sheet.keys)}{aligned}@{{}}}}", *head]
    lines += [r"\endhead"] if long else []
    for line, shown in zip(sheet.lines, _shown(sheet), strict=True):
        lines += [r"\midrule"] if line.apart else []
        names = [*shown[:-1], " ".join(filter(None, (shown[-1], line.under)))]
        lines.append(" & ".join([*map(tex, names), *map(_typeset, line.cells)]) + r" \\")
    return [*lines, r"\bottomrule", rf"\end{{{kind}}}\par\medskip"]


def _alignment(sheet: Sheet, k: int, text: str) -> str:
    if not sheet.columns[k].words:
        return "r"
    return text if max(len(line.cells[k].text) for line in sheet.lines) > WORDS else "l"


def _typeset(cell: Cell) -> str:
    main = tex(cell.text) if cell.value is None else latex_number(cell.text)
    main = rf"\textbf{{{main}}}" if cell.best else main
    return main + (rf" {{\scriptsize{{}}[{latex_number(cell.aside)}]}}" if cell.aside else "")


# Signs of our own that LaTeX's default fonts lack; letters of other scripts stay as they are.
SIGNS = {
    ord(char): rf"\ensuremath{{{name}}}"
    for char, name in {
        **{"α": r"\alpha", "Δ": r"\Delta", "τ": r"\tau", "−": "-", "·": r"\cdot", "×": r"\times", "≤": r"\leq"},
        **{"≈": r"\approx", "→": r"\rightarrow", "∞": r"\infty"},
    }.items()
} | {ord("–"): r"\textendash{}", ord("…"): r"\ldots{}"}


def tex(text: str) -> str:
    return latex(text).translate(SIGNS)


FIELDS = (
    *("table", "task", "condition", "model", "other", "axis", "error", "hypothesis", "fact", "configuration"),
    *("metric", "delta"),
    *("quantity", "target", "unit", "text", "value", "low", "high", "level", "n", "best", "method", "reason"),
)


def to_csv(sheets: Sequence[Sheet]) -> str:
    """One line for each row and quantity of every table. Unknown figures are empty; inf is never."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for sheet in sheets:
        for line in sheet.lines:
            about = {"table": sheet.name, **line.about}
            for column, cell in zip(sheet.columns, line.cells, strict=True):
                figures = {name: getattr(cell, name) for name in ("value", "low", "high", "level", "n")}
                text = cell.text if cell.value is None else ""
                row = {**about, "quantity": column.name, "unit": column.unit, "text": text, **figures}
                row |= {"target": column.target, "method": cell.method, "reason": cell.reason}
                row["best"] = "true" if cell.best else ""
                writer.writerow({k: csv_text(v) if isinstance(v, str) else v for k, v in row.items()})
    return out.getvalue()
