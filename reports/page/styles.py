"""Each model's colour and shape: the same in every chart of the page, and the colours those of the static figures.

Okabe and Ito's palette, which colour-blind readers tell apart; on dark paper lighter shades of the same hues. A shape
of its own tells models apart without any colour.
"""

from __future__ import annotations

from typing import Any

from reports.study import StudyData
from reports.study_figures.base import Look
from reports.text import clean

STRUCTURED, BLACK_BOX, REFERENCE, OTHER = "structured", "black box", "reference", "not compared"
LIGHTER = {
    "#0072B2": "#5AB0E6", "#D55E00": "#FF8A3D", "#009E73": "#2BC79A", "#E69F00": "#F2B733", "#56B4E9": "#A3D8F7",
    "#000000": "#F2F2F2", "#CC79A7": "#E3A3C6", "#666666": "#A6A6A6",
}  # fmt: skip
# Vega's names of the markers of the static figures.
SHAPE_OF = {
    "o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross",
    "X": "triangle-right", "*": "triangle-left",
}  # fmt: skip
# A shape's name in Vega and its outline in a box of 12 × 12.
SHAPES = {
    "circle": "M6 1.5a4.5 4.5 0 1 0 .01 0z",
    "square": "M2 2h8v8h-8z",
    "triangle-up": "M6 1l5 9.5h-10z",
    "diamond": "M6 .5l5 5.5l-5 5.5l-5-5.5z",
    "triangle-down": "M6 11l-5-9.5h10z",
    "cross": "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
    "triangle-right": "M11 6l-9.5 5v-10z",
    "triangle-left": "M1 6l9.5-5v10z",
}


def styles(data: StudyData) -> list[dict[str, Any]]:
    """Models in the order in which they are shown: structured, black boxes, what nobody declared, references."""
    present = set(data.runs["model"])
    kinds = [(STRUCTURED, data.structured), (BLACK_BOX, data.black_box), (REFERENCE, data.references)]
    declared = {model for _, models in kinds for model in models}
    kinds.insert(2, (OTHER, tuple(sorted(present - declared))))
    look, found = Look.of(data), dict[str, dict[str, Any]]()
    for kind, models in kinds:
        for model in models:
            if model not in present or model in found:
                continue
            drawn = look[model]
            shape = SHAPE_OF.get(drawn["marker"], "circle")
            found[model] = {
                "key": model, "name": clean(model), "kind": kind, "light": drawn["color"],
                "dark": LIGHTER.get(drawn["color"], drawn["color"]), "shape": shape, "outline": SHAPES[shape],
            }  # fmt: skip
    return list(found.values())
