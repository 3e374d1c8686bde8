"""How all figures look: colours that colour-blind readers tell apart, and a line style and marker besides."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

# Okabe and Ito's palette, which colour-blind readers tell apart; its yellow is too pale for lines on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9")
REFERENCE_COLORS = {"true_physics": "#000000", "linear": "#CC79A7", "persistence": "#666666", "simulator": "#666666"}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.2, 1.2)))
MARKERS = "osD^vPX"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text: it can be searched, edited and read aloud
    "svg.hashsalt": "reports",  # without a salt of its own every SVG has random identifiers
    "axes.formatter.use_mathtext": True,
}


def style(index: int) -> dict[str, Any]:
    """Colour, line style and marker of the model that comes at `index`; all 35 combinations differ."""
    turn = index // len(COLORS) + index
    return {
        "color": COLORS[index % len(COLORS)],
        "ls": DASHES[turn % len(DASHES)],
        "marker": MARKERS[turn % len(MARKERS)],
    }


def reference_style(model: str) -> dict[str, Any]:
    return {"color": REFERENCE_COLORS.get(model, "#666666"), "ls": DASHES[3], "marker": "*"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that nobody can act on: a name may use a script that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
