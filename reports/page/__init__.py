"""A study as one web page: self-contained, offline, safe to open and to pass on. `write` makes report.html.

The page holds its data, its style and its programs; it loads nothing, and its content security policy lets it load
nothing and run nothing but its own programs, so that no name in a study can make it. Charts are drawn by Vega-Lite,
whose expressions are interpreted, not compiled. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from reports.page.contents import contents
from reports.page.payload import payload
from reports.study import StudyData
from reports.study_tables import Summary, summarise
from reports.verdict.types import Verdict

HERE = Path(__file__).parent
STYLE = "page.css"
PROGRAMS = ("format.js", "specs.js", "filters.js", "charts.js", "priors.js", "runs.js", "start.js")


def write(data: StudyData, verdict: Verdict, folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write `folder`/report.html and return its path in a list. Studies of any size give a page of bounded size: see
    `reports.page.payload`. `summary`: `reports.study_tables.summarise(data)`, where it has been made already.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(page(data, verdict, summary), encoding="utf-8", newline="\n")
    return [path]


def page(data: StudyData, verdict: Verdict, summary: Summary | None = None) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    summary = summary or summarise(data)
    loaded = payload(summary, verdict)
    style = (HERE / STYLE).read_text(encoding="utf-8")
    ours = "\n".join((HERE / name).read_text(encoding="utf-8") for name in PROGRAMS)
    programs = (charting(), f'(() => {{\n"use strict";\n{ours}\n}})();\n')
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("page.html.jinja")
    return template.render(
        **contents(summary, verdict, loaded),
        style=_inside(style, "style"),
        programs=[_inside(program, "script") for program in programs],
        policy=_policy(style, programs),
        payload=embedded(loaded),
    )


def embedded(value: Any) -> str:
    """JSON that ends no element and opens no comment wherever it stands in a page."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@functools.cache
def charting() -> str:
    """Vega, Vega-Lite and Vega-Embed in one program that sets `window.vegaEmbed`; vl-convert has them at hand."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _inside(text: str, element: str) -> str:
    if f"</{element}" in text.lower() or "<!--" in text:
        raise ValueError(f"a program or style of the page holds </{element} or <!--, which would end it too early")
    return text


def _policy(style: str, programs: tuple[str, ...]) -> str:
    """Nothing is loaded, and nothing runs but what is known by its hash."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {' '.join(map(digest, programs))}; style-src {digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
