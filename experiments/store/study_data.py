"""The records of a study as columns. Made by DuckDB: a million runs are never a million objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from experiments.record import TRIAL
from experiments.store.reading import LOOSE, Tables, points_of, read_parquet
from experiments.store.tables import sql_name, sql_text
from experiments.study.labels import command, keys
from experiments.study.spec import Study
from reports.study import Places, StudyData, parted, spread

# Text with few different values: a run has the number of its combination of them, which is made once.
FEW = ("task", "model", "status", "role", "backend", "device", "device_name", "energy_method")
TEXT = ("identity", "reason", "started")
NUMBERS = (
    "seed", "draw", "parameters", "data", "train_flop", "train_energy_j", "train_seconds", "infer_flop_per_time_unit",
    "infer_energy_j_per_time_unit", "infer_seconds_per_time_unit", "peak_memory_bytes", "shared_by",
)  # fmt: skip
COSTS = ("flop", "energy_j", "seconds")
POINT = ("step", "samples", *COSTS, "error")
BLOCK = 1 << 16  # points charged at a time: what stays in a processor's cache


def study_data(tables: Tables, study: Study, planned: int | None = None) -> StudyData:
    """All runs of a study, whatever their status, and their curves; tuning trials only as what they cost. A run whose
    condition is a part of others is entered once for each, see `reports.study.spread`; runs that learn less than others
    of their model are a model of their own, see `reports.study.parted`."""
    axes = keys(study)
    _choose(tables, study, axes)
    runs, places = _runs(tables, study, axes)
    points = _points(tables)
    tuning = _charge_tuning(tables, runs, points)
    planned = max(len(runs["identity"]), _planned(tables, study)) if planned is None else planned
    runs, points = spread(runs, points, places)
    hashes = [name for (name,) in tables.execute("SELECT DISTINCT hash FROM mine ORDER BY hash").fetchall()]
    data = StudyData(
        name=study.name,
        hash=study.hash,
        runs=runs,
        points=points,
        question=study.question,
        hypotheses=tuple(study.hypotheses),
        metric=study.metric,
        structured=tuple(study.structured),
        black_box=tuple(study.black_box),
        references=tuple(study.references),
        targets=tuple(study.targets),
        hashes=tuple(hashes),
        planned=planned,
        tuning=tuning,
        facts=_facts(tables),
    )
    return parted(data)


def _choose(tables: Tables, study: Study, axes: tuple[str, ...]) -> None:
    """The table `mine`: the runs of the study, numbered by `run`, each with its combination of `FEW` and axes."""
    paths = ", ".join(sql_text("$." + ".".join(sql_name(part) for part in key.split("."))) for key in axes)
    values = f"json_extract(config, [{paths}])::VARCHAR[]" if axes else "[]::VARCHAR[]"
    few = ", ".join(f"coalesce({name}, '')" for name in FEW)
    numbers = ", ".join(f"{name}::DOUBLE AS {name}" for name in NUMBERS if name != "draw")
    tables.execute(
        f"""CREATE OR REPLACE TEMP TABLE mine AS SELECT (row_number() OVER () - 1)::INTEGER AS run, place, row,
          list_concat([{few}], {values}) AS combination, identity, coalesce(reason, '') AS reason, started,
          {numbers}, coalesce(draw, 0)::DOUBLE AS draw, (len(coalesce(uncounted, [])) > 0)::DOUBLE AS uncounted,
          metrics, trials, studies[?] AS hash, code, flop_method, energy_covers
        FROM runs WHERE map_contains(studies, ?) AND role <> '{TRIAL}'""",
        [study.name, study.name],
    )
    tables.execute(
        """CREATE OR REPLACE TEMP TABLE combinations AS SELECT (row_number() OVER () - 1)::INTEGER AS number,
           combination FROM (SELECT DISTINCT combination FROM mine)"""
    )


def _runs(tables: Tables, study: Study, axes: tuple[str, ...]) -> tuple[dict[str, np.ndarray], Places]:
    """The table of runs, and of each run its (task, condition)."""
    names = tables.execute("SELECT DISTINCT unnest(map_keys(metrics)) AS name FROM mine ORDER BY name").fetchall()
    metrics = ", ".join(
        f"{_number(f'metrics[{sql_text(name)}]')} AS {sql_name(f'metrics.{name}')}" for (name,) in names
    )
    columns = ", ".join([*TEXT, *(f"{_number(name)} AS {name}" for name in (*NUMBERS, "uncounted"))])
    runs = _fetch(tables, f"SELECT {columns}{', ' if names else ''}{metrics} FROM mine ORDER BY run")
    found = _fetch(tables, "SELECT run, number FROM mine JOIN combinations USING (combination)")
    number = np.empty(len(found["run"]), dtype=np.int64)
    number[found["run"]] = found["number"]
    made = tables.execute("SELECT combination FROM combinations ORDER BY number").fetchall()
    told = np.array([_told(combination, axes, study) for (combination,) in made], dtype=object)
    told = told.reshape(len(made), len(FEW) + 3)
    for column, name in enumerate((*FEW, "condition", "configuration", "command")):
        runs[name] = told[number, column]
    seeds = zip(runs["command"], runs["draw"].tolist(), runs["seed"].tolist(), strict=True)
    runs["command"] = _objects([f"{line} task.data_seed={draw:.0f} seed={seed:.0f}" for line, draw, seed in seeds])
    task, condition = FEW.index("task"), len(FEW)
    seen: dict[tuple[str, str], int] = {}
    place = [seen.setdefault((row[task], row[condition]), len(seen)) for row in told.tolist()]
    return runs, (np.array(place, dtype=np.int64)[number], list(seen))


def _told(combination: list[str | None], axes: tuple[str, ...], study: Study) -> tuple[str, ...]:
    """The text of a combination: `FEW`, then condition, configuration and command."""
    few = [value or "" for value in combination[: len(FEW)]]
    config: dict[str, Any] = {"task": {"name": few[0]}, "model": {"name": few[1]}}
    for key, value in zip(axes, combination[len(FEW) :], strict=True):
        if value is not None:
            *path, last = key.split(".")
            inner = config
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = json.loads(value)
    return (*few, study.condition(config), study.configuration(config), command(config, study))


def _points(tables: Tables) -> dict[str, np.ndarray]:
    """Every point of every curve, with the number of its run, in order of runs and steps."""
    places = [p for (p,) in tables.execute("SELECT DISTINCT place FROM mine WHERE place <> ?", [LOOSE]).fetchall()]
    sound = {place: points_of(tables.parts[place]) for place in sorted(places)}
    sound = {place: name for place, name in sound.items() if tables.readable(name)}
    tables.execute(
        f"""CREATE OR REPLACE TEMP TABLE bent AS SELECT run, unnest(curve) AS p, generate_subscripts(curve, 1) AS i
        FROM (SELECT run, curve FROM mine JOIN runs USING (place, row)
        WHERE place NOT IN ({", ".join(map(str, sound)) or -1}))"""
    )
    names = [n for (n,) in tables.execute("SELECT DISTINCT unnest(map_keys(p.test)) FROM bent").fetchall()]
    errors = {f"test.{name}": f"p.test[{sql_text(name)}]" for name in names}
    columns = {name: f"p.{name}" for name in POINT} | errors
    chosen = ", ".join(f"{_number(value)} AS {sql_name(name)}" for name, value in columns.items())
    pieces = [_fetch(tables, f"SELECT run, {chosen} FROM bent ORDER BY run, i")]
    if sound:
        pieces.insert(0, _compacted_points(tables, sound))
    every = dict.fromkeys(name for piece in pieces for name in piece)
    pieces = [piece for piece in pieces if len(piece["run"])] or pieces[:1]
    points = {}
    for name in every:
        column = [piece[name] if name in piece else np.full(len(piece["run"]), np.nan) for piece in pieces]
        points[name] = column[0] if len(column) == 1 else np.concatenate(column)
    run = points["run"]
    if (run[1:] < run[:-1]).any():
        order = np.argsort(run, kind="stable")
        points = {name: column[order] for name, column in points.items()}
    return points


def _compacted_points(tables: Tables, sound: dict[int, str]) -> dict[str, np.ndarray]:
    source = read_parquet(tables.files, sound.values())
    names = [column[0] for column in tables.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    names = [*POINT, *(name for name in names if name.startswith("test."))]
    chosen = ", ".join(f"{_number(sql_name(name))} AS {sql_name(name)}" for name in names)
    points = _fetch(tables, f"SELECT file_index::INTEGER AS file, row, {chosen} FROM {source}")
    # A run's number by its place and row: one array look-up instead of a join of millions of points.
    mine = _fetch(tables, f"SELECT run, place, row FROM mine WHERE place IN ({', '.join(map(str, sound))})")
    file = np.zeros(max(sound) + 1, dtype=np.int64)
    file[list(sound)] = np.arange(len(sound))
    sizes = tables.execute("SELECT place, max(row) + 1 FROM compacted GROUP BY place").fetchall()
    rows = dict(sizes)
    first = np.cumsum([0, *(rows[place] for place in sound)])
    number = np.full(first[-1], -1, dtype=np.int64)
    number[first[file[mine["place"]]] + mine["row"]] = mine["run"]
    run = number[first[points.pop("file")] + points.pop("row")]
    kept = run >= 0
    if not kept.all():
        run, points = run[kept], {name: column[kept] for name, column in points.items()}
    return {"run": run, **points}


def _charge_tuning(tables: Tables, runs: dict[str, np.ndarray], points: dict[str, np.ndarray]) -> dict[str, float]:
    """Add what tuning cost: whole, to the runs, and at every point, up to its own cost. Returns what all trials cost.

    At a budget C each trial would have been stopped at C too: with trials that cost c in whole, C + Σ min(C, c) is
    paid. Trials whose cost is not known are counted and left out, so that a lower bound is charged; where no cost of
    a run's trials is known, nothing is known of its charge.
    """
    trials = tables.execute("SELECT DISTINCT unnest(trials) AS identity FROM mine").fetchnumpy()["identity"]
    tuned = _fetch(tables, "SELECT run, len(trials) AS n FROM mine WHERE len(trials) > 0 ORDER BY run")
    runs["tune_trials"] = np.zeros(len(runs["identity"]))
    for cost in COSTS:
        runs[f"tune_{cost}"] = np.zeros(len(runs["identity"]))
        runs[f"tune_{cost}_unknown"] = np.zeros(len(runs["identity"]))
        points[f"tuned_{cost}"] = points[cost]
    if not len(trials):
        return {}
    tables.connection.register("wanted_trials", {"identity": trials})
    whole = tables.execute(
        """SELECT identity, coalesce(train_flop, 'nan'::DOUBLE), coalesce(train_energy_j, 'nan'::DOUBLE),
        coalesce(train_seconds, 'nan'::DOUBLE) FROM runs SEMI JOIN wanted_trials USING (identity)"""
    ).fetchall()
    number = {identity: i for i, (identity, *_) in enumerate(whole)}
    known = np.array([costs for _, *costs in whole] + [[np.nan] * len(COSTS)])  # the last: of a trial without a record
    sets = tables.execute("SELECT trials, list(run) FROM mine WHERE len(trials) > 0 GROUP BY trials").fetchall()
    width = max(len(names) for names, _ in sets)
    paid = np.zeros((len(COSTS), width, len(runs["identity"])))  # nothing for trials that a run does not have
    for names, members in sets:
        costs = known[[number.get(name, -1) for name in names]].T
        unknown = np.isnan(costs)
        some = ~unknown.all(1, keepdims=True)
        paid[:, : len(names), np.asarray(members)] = np.where(unknown & some, 0.0, costs)[:, :, None]
        for cost, count in zip(COSTS, unknown.sum(1), strict=True):
            runs[f"tune_{cost}_unknown"][np.asarray(members)] = count
    runs["tune_trials"][tuned["run"]] = tuned["n"]
    for i, cost in enumerate(COSTS):
        runs[f"tune_{cost}"] = paid[i].sum(axis=0)
        total = points[cost].copy()
        for start in range(0, len(total), BLOCK):
            block = slice(start, start + BLOCK)
            run, own = points["run"][block], points[cost][block]
            for k in range(width):
                total[block] += np.minimum(own, paid[i, k][run])
        points[f"tuned_{cost}"] = total
    totals = {cost: column[np.isfinite(column)] for cost, column in zip(COSTS, known.T, strict=True)}
    return {"trials": float(len(trials))} | {cost: float(found.sum()) for cost, found in totals.items() if len(found)}


def _planned(tables: Tables, study: Study) -> int:
    """How many runs the plan has that the store keeps, trials left out; 0 where it keeps none."""
    import duckdb

    plan = sql_text(tables.files.address(f"{study.folder}/plan.parquet"))
    try:
        found = tables.execute(f"SELECT sum(len(lanes))::BIGINT FROM read_parquet({plan}) WHERE role <> '{TRIAL}'")
        return (found.fetchone() or (0,))[0] or 0
    except (duckdb.Error, OSError):
        return 0


def _facts(tables: Tables) -> dict[str, Any]:
    """What a reader of the results must know of how they were made."""
    facts = {}
    for name in ("code", "flop_method", "energy_covers"):
        found = tables.execute(f"SELECT DISTINCT {name} FROM mine WHERE {name} <> '' ORDER BY 1 LIMIT 20").fetchall()
        if found:
            facts[name] = [value for (value,) in found]
    return facts


def _number(value: str) -> str:
    return f"coalesce({value}::DOUBLE, 'nan'::DOUBLE)"


def _fetch(tables: Tables, sql: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(column) for name, column in tables.execute(sql).fetchnumpy().items()}


def _objects(values: list[str]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
