"""Numbers as people read them, and names made harmless for where they are written.

Names come from users (models, metrics, settings), so that any character may be in them.
"""

from __future__ import annotations

import math
import re

NEVER = "never"

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
