"""What a study's models were told, and the error floors of that: computed once, and kept beside its report."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.prior import prior_config
from experiments.progress import Reporter
from experiments.study.labels import keys
from experiments.study.spec import Study
from reports.floors import FITTED, HARD, SOFT, Floor, Floors, Told

log = logging.getLogger("experiments")

FILE = "floors.json"
VERSION = 1  # of the file's layout
INFINITE = "infinite"  # JSON has no such number


def floors_of(study: Study, folder: Path, report: Reporter | None = None) -> Floors | None:
    """What models were told, and the floors of it; None for a study whose models are told nothing.

    Floors that `folder`/floors.json has of the same data, priors and code are taken from there; others are simulated,
    and the file is written anew. Whatever fails is a note, never an error.
    """
    if not any(key.startswith("prior.") for key in keys(study)):
        return None
    try:
        from experiments.prior_floor import METRICS, study_floors

        told = tuple(told_runs(study))
        if not told:
            return None
        rows = study_floors(study, _read(folder / FILE), report)
    except Exception as error:
        log.warning("the floors of %s are left out", study.name, exc_info=True)  # a bug keeps its traceback
        return Floors((), notes=(f"No error floor could be computed: {error}.",))
    found = [row for row in rows if "reason" not in row]
    if found:
        _write(study, found, folder / FILE)
    floors = [Floor(row["floor"], float(row["data_seed"]), {name: row[name] for name in METRICS}) for row in found]
    notes = (_why(row) for row in rows if "reason" in row)
    return Floors(told, tuple(floors), tuple(dict.fromkeys(notes)), METRICS)


def told_runs(study: Study) -> Iterator[Told]:
    """Which runs of a study are told what."""
    from experiments.prior_floor import floor_key, told_trees

    for tree in told_trees(study):
        options = prior_config(tree, True)
        model = {key: value for key, value in tree["model"].items() if key not in ("network", "fit_parameters")}
        plain = {**tree, "prior": {}, "model": model}
        words = _words(study, {**tree, "prior": options}) - _words(study, plain)
        others = [f"{key}={value}" for key, value in options.items() if key not in ("kind", "delta")]
        learns = tree["model"].get("network", True), tree["model"].get("fit_parameters", False)
        yield Told(
            task=tree["task"]["name"],
            condition=study.condition({**tree, "prior": options}),
            model=tree["model"]["name"],
            configuration=study.configuration({**tree, "prior": options}),
            prior=" ".join([options["kind"], *others]),
            delta=float(options.get("delta", 0.0)),
            how=SOFT if learns[0] else FITTED if learns[1] else HARD,
            floor=floor_key({**tree["task"], "data_seed": None}, options),
            words=frozenset(words),
        )


def _words(study: Study, config: Mapping[str, Any]) -> set[str]:
    return {*study.condition(config).split(), *study.configuration(config).split()}


def _why(row: Mapping[str, Any]) -> str:
    return f"No error floor is known of {row['task']} told {row['kind']}: {row['reason']}."


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of floors; none where it cannot be read: they are then computed anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["rows"] if found["version"] == VERSION else []
        return [{key: math.inf if value == INFINITE else value for key, value in row.items()} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _write(study: Study, rows: list[dict[str, Any]], path: Path) -> None:
    finite = [{key: INFINITE if value == math.inf else value for key, value in row.items()} for row in rows]
    text = json.dumps({"version": VERSION, "study": study.name, "hash": study.hash, "rows": finite}, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("%s could not be written (%s): the next report computes its floors anew", path, error)
