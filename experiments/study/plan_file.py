"""A study's plan kept beside its records, so that those who look on need not make it again: one row a unit."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.job import Lane
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.spec import Study
from experiments.study.unit import Plan, Unit

# `lanes`: by what a record is found: its identity, or, where that is not known yet, GROUP:SEED (see `lane_of`).
COLUMNS = {
    "key": "VARCHAR", "role": "VARCHAR", "task": "VARCHAR", "model": "VARCHAR", "condition": "VARCHAR",
    "configuration": "VARCHAR", "lanes": "VARCHAR[]", "seeds": "BIGINT[]", "rates": "DOUBLE[]",
    "identities": "VARCHAR[]", "after": "VARCHAR[]", "tree": "VARCHAR", "tuning": "VARCHAR",
}  # fmt: skip


def save_plan(plan: Plan, store: Store) -> None:
    """Write the plan and the study's file, as it was, to the study's folder in the store. Raises OSError."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "plan.parquet")
        write_parquet(plan, made)
        store.write_file(f"{plan.study.folder}/study.yaml", plan.study.text.encode())
        store.write_file(f"{plan.study.folder}/plan.parquet", made.read_bytes())


def write_parquet(plan: Plan, path: Path) -> None:
    """The plan as a table on this machine."""
    import duckdb

    kinds = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items()) + "}"
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as lines, duckdb.connect() as connection:
        lines.writelines(json.dumps(_row(unit)) + "\n" for unit in plan.units)
        lines.flush()
        connection.execute(
            f"COPY (SELECT * FROM read_json({sql_text(lines.name)}, format = 'newline_delimited', columns = {kinds}, "
            f"maximum_object_size = 268435456)) TO {sql_text(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        )


def load_units(study: Study, store: Store) -> list[Unit] | None:
    """The units of the plan that the store keeps, in order; None where it keeps none."""
    import duckdb

    with plan_on_disk(study, store) as path:
        if path is None:
            return None
        with duckdb.connect() as connection:
            rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {sql_text(str(path))}").fetchall()
    units = []
    for values in rows:
        row = dict(zip(COLUMNS, values, strict=True))
        lanes = tuple(Lane(seed, rate) for seed, rate in zip(row["seeds"], row["rates"], strict=True))
        units.append(
            Unit(
                row["key"], json.loads(row["tree"]), lanes, tuple(row["identities"]), row["role"], tuple(row["after"]),
                json.loads(row["tuning"]), row["condition"], row["configuration"],
            )
        )  # fmt: skip
    return units


@contextlib.contextmanager
def plan_on_disk(study: Study, store: Store) -> Iterator[Path | None]:
    """The plan as a Parquet file on this machine, for SQL; None where the store keeps none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = store.read_file(f"{study.folder}/plan.parquet")
        except FileNotFoundError:
            yield None
            return
        path = Path(folder, "plan.parquet")
        path.write_bytes(data)
        yield path


def lane_of(unit: Unit, index: int) -> str:
    """By what the record of a lane is found."""
    return unit.identities[index] if unit.identities else f"{unit.group}:{unit.lanes[index].seed}"


def _row(unit: Unit) -> dict[str, object]:
    return {
        "key": unit.key, "role": unit.role, "task": unit.task, "model": unit.model, "condition": unit.condition,
        "configuration": unit.configuration, "lanes": [lane_of(unit, i) for i in range(len(unit.lanes))],
        "seeds": [lane.seed for lane in unit.lanes], "rates": [lane.learning_rate for lane in unit.lanes],
        "identities": unit.identities, "after": unit.after, "tree": json.dumps(unit.tree),
        "tuning": json.dumps(unit.tuning),
    }  # fmt: skip
