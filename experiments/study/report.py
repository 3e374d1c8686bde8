"""`report study=NAME`: the verdict of a study in words, tables, figures and one page, from the records there are."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.errors import UserError
from experiments.progress import Reporter
from experiments.store import Store
from experiments.study.floors import floors_of
from experiments.study.folder import report_folder
from experiments.study.opened import open_study
from experiments.study.spec import Study
from reports.study import StudyData
from reports.study_tables import Summary, summarise
from reports.verdict import Prices, Verdict, judge, verdict_json
from reports.verdict.hypotheses import NOT_JUDGED
from reports.verdict.types import CANNOT_TELL

log = logging.getLogger("experiments")

MOST_WORKERS = 8


def write_study_report(
    words: Sequence[str],
    runs: str | None,
    out: str | None,
    shown: str = "terminal",
    targets: Sequence[float] | None = None,
    grid: str | None = None,
    report: Reporter | None = None,
) -> list[Path]:
    """Print one format and write all files to `out` (by default the study's folder in RUNS); returns their paths.

    `words`: study=NAME and the settings that it was swept with. `targets`: errors whose cost is asked for, instead of
    the study's own. `grid`: whose CO2 per kWh counts; without one CO2 is not told. Raises UserError for every mistake.
    """
    report = report or Reporter()
    for target in targets or ():
        if not (math.isfinite(target) and target > 0):
            raise UserError(f"--target must be an error above 0, but it is {target}")
    study, store = open_study("report", words, runs)
    data = _data(study, store)
    if targets:
        data = replace(data, targets=tuple(sorted(set(targets), reverse=True)))
    folder = Path(out) if out else report_folder(store, study.name)
    prices = prices_of(data, grid)
    _prepare(folder)
    data = replace(data, floors=floors_of(study, folder, report))
    report.say(f"{len(data.distinct())} runs of {data.name}: judging")
    verdict = judge(data, device_prices=prices, workers=min(os.cpu_count() or 1, MOST_WORKERS))
    verdict = with_readers(verdict, study, folder)
    summary = summarise(data)
    try:
        paths = write_files(data, verdict, folder, report, summary)
    except OSError as error:
        raise UserError(f"the report could not be written to {folder} ({error.strerror}); use --out FOLDER") from None
    _print(data, verdict, shown, summary)
    counts = Counter(path.parent for path in paths)
    said = ", ".join(str(path) for path in paths if path.parent == folder)
    figures = f" and {counts[folder / 'figures']} files of figures" if counts[folder / "figures"] else ""
    report.say(f"written: {said}{figures}")
    return paths


def write_files(
    data: StudyData, verdict: Verdict, folder: Path, report: Reporter | None = None, summary: Summary | None = None
) -> list[Path]:
    """Every file of a report; raises OSError where the folder cannot be written."""
    from reports import study_figures, study_tables

    folder.mkdir(parents=True, exist_ok=True)
    summary = summary or summarise(data)
    paths = study_tables.write(data, verdict, folder, summary)
    (folder / "verdict.json").write_text(_json(data, verdict), encoding="utf-8")
    write_parquet(data, folder / "runs.parquet")
    paths += [folder / "verdict.json", folder / "runs.parquet"]
    try:
        from reports import page

        paths += page.write(data, verdict, folder, summary)
    except ImportError as error:
        _say(report, f"report.html was not written: {error}; pip install -e '.[dev]' brings what it needs")
    if report is not None:
        report.say("drawing the figures")
    return paths + study_figures.write(data, verdict, folder / "figures", summary=summary)


def write_parquet(data: StudyData, path: Path) -> None:
    """The table of runs with the columns of `StudyData.runs`: a row each, or one for each condition that a run stands
    for; whoever counts runs counts identities."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("runs", data.runs)
        connection.sql("SELECT * FROM runs").to_parquet(str(path))


def prices_of(data: StudyData, grid: str | None) -> Prices:
    """What the device that most runs were on costs by the hour, as far as the catalogue knows, and what the grid emits
    where one is named.

    Raises UserError for an unknown grid.
    """
    from hardware.catalogue import match
    from hardware.grid import GridError, carbon_intensity

    try:
        carbon = None if grid is None else carbon_intensity(grid).g_per_kwh
    except GridError as error:
        raise UserError(f"--grid: {error.args[0]}") from None
    names = Counter(str(name) for name in data.runs["device_name"].tolist() if name)
    device = names.most_common(1)[0][0] if names else ""
    entry = match(device) if device else None
    price = entry.get("price_usd_per_hour") if entry is not None else None
    usd = None if price is None else float(price.value)
    return Prices(usd_per_hour=usd, co2_g_per_kwh=carbon, device=entry.name if entry else device, grid=grid or "")


def _data(study: Study, store: Store) -> StudyData:
    try:
        data = store.study_data(study)
    except (OSError, ImportError, ValueError) as error:
        raise UserError(f"the records in {store} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not len(data):
        raise UserError(
            f"no record of the study {study.name} is in {store}: sweep runs it, with the same words; another place is "
            "given with --runs FOLDER|URL"
        )
    return data


def with_readers(verdict: Verdict, study: Study, folder: Path) -> Verdict:
    """With where people judged what the rules leave open: a README beside the report's folder that has a heading of
    the study's name, as the shipped studies have."""
    try:
        lines = (folder.resolve().parent / "README.md").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return verdict
    if f"## {study.name}" not in lines:
        return verdict
    where = f". What people made of it is in ../README.md, under {study.name}."
    hypotheses = (
        replace(h, because=h.because.rstrip(".") + where) if h.outcome in (NOT_JUDGED, CANNOT_TELL) else h
        for h in verdict.hypotheses
    )
    return replace(verdict, hypotheses=tuple(hypotheses))


def _prepare(folder: Path) -> None:
    """Before minutes of judging, and not after them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the report could not be written to {folder} ({error.strerror}); use --out FOLDER") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"the report could not be written to {folder} (no permission); use --out FOLDER")


def _json(data: StudyData, verdict: Verdict) -> str:
    from reports.study_tables.facts import missing

    about = {"study": data.name, "hash": data.hash, "hashes": list(data.hashes), "metric": data.metric}
    about |= {"runs": len(data.distinct()), "planned": data.planned, "missing": missing(data)}
    return json.dumps(about | verdict_json(verdict), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _print(data: StudyData, verdict: Verdict, shown: str, summary: Summary) -> None:
    from reports.study_tables import render

    if shown != "terminal":
        print(render(data, verdict, shown, summary=summary), end="")
        return
    from rich.console import Console

    width = min(os.get_terminal_size().columns, 140) if sys.stdout.isatty() else 120
    Console(width=width).print(render(data, verdict, "terminal", width=width, summary=summary))


def _say(report: Reporter | None, text: str) -> None:
    if report is not None:
        report.say(text)
    else:
        log.warning("%s", text)
