"""The short table at the end of a sweep: models by tasks, the error of each model's best configuration."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.record import FINAL, FINISHED, TRIAL
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.spec import Study
from experiments.study.unit import Unit


@dataclass(frozen=True)
class Summary:
    """`cells`: by task (with its condition) and model, an error, or the status of runs that have none. `statuses`: of
    all runs of the units that have come to a result, trials among them."""

    cells: dict[str, dict[str, float | str]]
    statuses: Counter[str]

    def lines(self, study: Study) -> list[str]:
        if not self.statuses:
            return ["no run has come to a result"]
        listed = [*study.structured, *study.black_box, *study.references]
        have = {model for of in self.cells.values() for model in of}
        models = [*(m for m in dict.fromkeys(listed) if m in have), *sorted(have - set(listed))]
        rows = [["task", *models]]
        for task, of in self.cells.items():
            rows.append([task, *(_text(of.get(model, "–")) for model in models)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        each = ", ".join(f"{count:,} {status}" for status, count in sorted(self.statuses.items()))
        head = f"{each}. {study.metric} on test data, best configuration, median over seeds and data draws:"
        return [head, *("  ".join(_padded(row, widths)) for row in rows)]


def summarise(units: Iterable[Unit], study: Study, store: Store) -> Summary:
    """What the store has of these units."""
    units = list(units)
    wanted = {name: unit for unit in units for name in unit.identities}
    rows = store.query(
        f"SELECT identity, status, metrics[{sql_text(study.metric)}] FROM records "
        f"WHERE studies[{sql_text(study.name)}] = {sql_text(study.hash)} AND status IN {FINAL}"
    ).fetchall()
    statuses: Counter[str] = Counter()
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    why: dict[tuple[str, str], set[str]] = defaultdict(set)
    for identity, status, error in rows:
        if (unit := wanted.get(identity)) is None:
            continue
        statuses[status] += 1
        if unit.role != TRIAL:
            task = f"{unit.task} {unit.condition}".strip()
            errors[task, unit.model, unit.configuration].append(_number(error))
            why[task, unit.model].add(status)
    cells: dict[str, dict[str, float | str]] = defaultdict(dict)
    best: dict[tuple[str, str], float] = defaultdict(lambda: math.inf)
    for (task, model, _), values in sorted(errors.items()):
        best[task, model] = min(best[task, model], statistics.median(values))
        error = best[task, model]
        others = " and ".join(sorted(why[task, model] - {FINISHED})) or "not finite"
        cells[task][model] = error if math.isfinite(error) else others
    return Summary(dict(cells), statuses)


def _number(error: float | None) -> float:
    return error if error is not None and math.isfinite(error) else math.inf


def _text(cell: float | str) -> str:
    return cell if isinstance(cell, str) else f"{cell:.3g}"


def _padded(row: list[str], widths: list[int]) -> Iterable[str]:
    return (f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
