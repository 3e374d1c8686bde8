"""`report TASK`: the comparison over all records of a task, printed and written in every format."""

from __future__ import annotations

import math
import os
from pathlib import Path

from rich.console import Console

from experiments.errors import UserError, nearest
from experiments.main_job import draw
from experiments.store import Store
from reports.rows import compare
from reports.tables import render

ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex"}


def write_report(
    task: str, runs: str, out: str | None, shown: str, targets: list[float] | None, mix_joules: bool = False
) -> list[Path]:
    """Print one format and write all of them, with the figure and the table of runs as Parquet; returns the paths."""
    for target in targets or []:
        if not (math.isfinite(target) and target > 0):
            raise UserError(f"--target must be an error above 0, but it is {target}")
    store = Store(runs)
    if not store.is_remote and not os.path.isdir(store.url):
        raise UserError(f"there is no runs folder {runs}: run something first, or name another with --runs FOLDER")
    records = store.records()
    chosen = [record for record in records if record.task == task]
    if not chosen:
        known = sorted({record.task for record in records})
        held = f"it has {', '.join(known)}" if known else "it is empty"
        raise UserError(f"no record of task {task} is in {runs}; {held}{nearest(task, known)}")
    comparison = compare(chosen, targets, mix_joules=mix_joules)
    stem = Path(out or store.root / "comparison") / task
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_suffix(f".{ending}") for ending in ENDINGS.values()]
        for form, path in zip(ENDINGS, paths, strict=True):
            path.write_text(render(comparison, form), encoding="utf-8")
        store.to_parquet(stem.with_suffix(".parquet"))
        paths += [stem.with_suffix(".parquet"), *draw(chosen, store, stem, mix_joules)]
    except OSError as error:
        raise UserError(
            f"the report could not be written to {stem.parent} ({error.strerror}); use --out FOLDER"
        ) from None
    if shown == "terminal":
        width = min(os.get_terminal_size().columns, 140) if os.isatty(1) else 120
        Console(width=width).print(render(comparison, "terminal", width=width))
        Console(stderr=True).print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True, markup=False)
    else:
        print(render(comparison, shown), end="")
    return paths
