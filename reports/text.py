"""Numbers as people read them, and names made harmless for where they are written.

Names come from users (models, metrics, settings), so that any character may be in them.
"""

from __future__ import annotations

import math
import re
import textwrap

NEVER = "never"
PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E", 21: "Z"}

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\textasciigrave{}",
    "\ufffd": "?",
    # After \\ or \midrule a [ opens an optional argument and * is a variant of the command.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"\ensuremath{\pm}",
    "≥": r"\ensuremath{\geq}",
    "↓": r"\ensuremath{\downarrow}",
    "↑": r"\ensuremath{\uparrow}",
    "—": "---",
    **{char: f"\\{char}" for char in "{}$&#%_"},
}


def clean(name: object) -> str:
    """One line without control characters, which could steer a terminal or break a file's syntax."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in str(name))


def number(value: float) -> str:
    """Three significant digits, plain between 0.01 and 10 000 and as 1.23e9 beyond; whole numbers below as they are."""
    if math.isinf(value):
        return NEVER
    size = abs(value)
    if value == int(value) and size < 1e4:
        return str(int(value))
    if 999.5 <= size < 9999.5:
        return f"{value:.0f}"
    if 0.01 <= size < 999.5:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def si(value: float, unit: str, span: tuple[float, float] | None = None) -> str:
    """Three significant digits with a prefix, as "1.8 µs"; with a span in the same prefix, as "1.8 µs (1 to 31)"."""
    power = 3 * math.floor(math.log10(abs(value)) / 3) if value else 0
    power = min(max(power, min(PREFIXES)), max(PREFIXES))

    def digits(number: float) -> str:
        shown = number / 10**power
        return f"{shown:,.0f}" if abs(shown) >= 1000 else f"{shown:.3g}"

    text = f"{digits(value)} {PREFIXES[power]}{unit}"
    return text + (f" ({digits(span[0])} to {digits(span[1])})" if span and span[0] < span[1] else "")


def duration(seconds: float) -> str:
    """As "45 s", "12 min", "3.5 h", "20 days"."""
    for size, unit in ((172_800, "days"), (5400, "h"), (90, "min")):
        if seconds >= size:
            value = seconds / {"days": 86_400, "h": 3600, "min": 60}[unit]
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"


def wrapped(lines: list[str], width: int) -> list[str]:
    """Lines no wider than `width`; what goes on is set in, so that it does not pass for a line of its own."""
    found = []
    for line in lines:
        inset = " " * (len(line) - len(line.lstrip()) + 4)
        found += textwrap.wrap(line, width, subsequent_indent=inset, break_on_hyphens=False) or [""]
    return found


def where(task: str, condition: str) -> str:
    """A task and what sets it apart, as "flocking (noise=0.1)"."""
    return f"{task} ({condition})" if condition else task


def latex_number(text: str) -> str:
    """A text of `number`s, with powers of ten typeset."""
    text = "".join(LATEX.get(char, char) if char not in "[]" else char for char in text)
    return re.sub(r"(-?[\d.]+)e(-?\d+)", r"\\ensuremath{\1\\times10^{\2}}", text)


def latex(name: object) -> str:
    """Escaped for the text of a document. Letters of other scripts stay: those need XeLaTeX or LuaLaTeX."""
    apart = re.split(r"(?<=([-',]))(?=\1)", clean(name))[::2]  # -- and '' would run together into other characters
    return "{}".join("".join(LATEX.get(char, char) for char in part) for part in apart)


def markdown(name: object) -> str:
    """Escaped for CommonMark and for a cell of a GitHub table; neural_ode stays as it is, since _ inside is no mark."""
    text = clean(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$#!])", r"\\\1", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def csv_text(name: object) -> str:
    """Without a first character that makes a spreadsheet run the cell as a formula."""
    text = clean(name)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text


def plotted(name: object, most: int = 44) -> str:
    """As matplotlib should print it: no formulas, not too long."""
    text = clean(name)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.replace("$", r"\$")
