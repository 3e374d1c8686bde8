"""The figures of a study, as pages of small panels. Importing this package imports no drawing library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.study import StudyData
from reports.study_figures.base import FORMATS, Drawing, save
from reports.study_figures.errors import error_figures
from reports.study_figures.forest import break_even_figures, difference_figures, exponent_figures
from reports.study_figures.frontier import frontier_figures
from reports.study_figures.grid import Grid
from reports.study_figures.phases import phase_figures
from reports.study_figures.priors import prior_figures
from reports.study_figures.ranks import rank_figures
from reports.study_tables.summary import Summary, summarise
from reports.text import markdown
from reports.verdict.types import Verdict


def draw(data: StudyData, verdict: Verdict, summary: Summary | None = None) -> Iterator[Drawing]:
    """Every figure, one page at a time. A figure that has nothing to show comes with its `reason` instead."""
    summary = summary or summarise(data)
    axes = ["flop", "energy_j", "seconds", "samples"]
    axes += [s for s in dict.fromkeys(s.axis for s in verdict.scalings) if s not in axes]
    for axis in axes:
        yield from error_figures(summary, verdict, axis)
    yield from prior_figures(summary)
    grid = Grid.of(summary)
    yield from frontier_figures(summary, grid)
    yield from phase_figures(summary, grid)
    for axis in ("flop", "energy_j"):
        yield from exponent_figures(summary, verdict, axis)
        yield from difference_figures(summary, verdict, axis)
        yield from break_even_figures(summary, verdict, axis)
    yield from rank_figures(summary)


def write(
    data: StudyData,
    verdict: Verdict,
    folder: Path,
    formats: Sequence[str] = FORMATS,
    summary: Summary | None = None,
) -> list[Path]:
    """Write every figure to `folder` (made if need be) in each of the formats; returns the paths.

    What was not drawn, and why, and the captions, are in `folder`/README.md.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths, said, skipped = [], [], []
    for drawing in draw(data, verdict, summary):
        if drawing.figure is None:
            skipped.append(f"- `{drawing.name}`: {markdown(drawing.reason)}")
            continue
        paths += save(drawing, folder, formats)
        said.append(f"- `{drawing.name}`: {markdown(drawing.caption)}")
    text = [f"# Figures of the study {markdown(data.name)}", "", *said]
    text += ["", "## Not drawn", "", *skipped] if skipped else []
    readme = folder / "README.md"
    readme.write_text("\n".join(text) + "\n", encoding="utf-8")
    return [*paths, readme]


__all__ = ["FORMATS", "Drawing", "draw", "write"]
