"""From the records of one task to the rows of a comparison: grouped over seeds, each figure with its spread."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from experiments.record import FINISHED, PHASES, Record
from reports.groups import REFERENCES, group_by_seed, settings_of
from reports.reach import FLOP, JOULE, choose_targets, curve_points, finite, reach, train_energy, train_seconds

PRIMARY = "rollout_nrmse"

ACCURACY, COST, REACH_FLOP, REACH_JOULE, DETAIL = "accuracy", "cost", "FLOP to reach", "joules to reach", "detail"


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest over `n` seeds. Infinity, in a cost to reach an error, says never: `reached` did."""

    median: float
    low: float
    high: float
    n: int
    reached: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are known; None when none is."""
        known = sorted(float(value) for value in values if value is not None and not math.isnan(value))
        if not known:
            return None
        return cls(median(known), known[0], known[-1], len(known), sum(map(math.isfinite, known)))


@dataclass(frozen=True)
class Column:
    """One figure of every row. `section`: the table it belongs to (DETAIL: machine-readable tables only).

    `name`: its name in machine-readable tables, `title` in the others. `better`: "lower", "higher" or "". `target`:
    the error to reach.
    """

    key: str
    name: str
    title: str
    unit: str
    section: str
    better: str = "lower"
    target: float | None = None


@dataclass(frozen=True)
class Row:
    """One configuration: `runs` are its records, one a seed; `settings` what sets it apart from other rows."""

    label: str
    settings: dict[str, str]
    runs: tuple[Record, ...]
    figures: dict[str, Spread | None]
    joules_withheld: bool = False  # modelled ones, in a comparison where others are measured

    @property
    def model(self) -> str:
        return self.runs[0].model

    @property
    def reference(self) -> bool:
        return self.model in REFERENCES

    @property
    def status(self) -> str:
        """What happened to the runs that did not finish, as "diverged 1/3"; empty when all finished."""
        counts = Counter(run.status for run in self.runs if run.status != FINISHED)
        return ", ".join(f"{status.replace('_', ' ')} {n}/{len(self.runs)}" for status, n in sorted(counts.items()))

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.reason for run in self.runs if run.status != FINISHED and run.reason))

    @property
    def energy_methods(self) -> tuple[tuple[str, float | None], ...]:
        """How the training joules were obtained: distinct (method, relative uncertainty), of the runs that have any."""
        return tuple(
            dict.fromkeys(
                (run.costs.energy_method or "unknown method", run.costs.energy_uncertainty)
                for run in _counted(self.runs)
                if run.costs.energy_j.get("train") is not None
            )
        )

    @property
    def energy_covers(self) -> tuple[str, ...]:
        """What draws the training joules: one GPU, all processors of the machine."""
        return self._said(lambda run: (run.costs.energy_covers,))

    @property
    def energy_notes(self) -> tuple[str, ...]:
        """Faults seen while the joules were read."""
        return self._said(lambda run: run.costs.energy_notes)

    def _said(self, what: Callable[[Record], Iterable[str]]) -> tuple[str, ...]:
        runs = [run for run in _counted(self.runs) if run.costs.energy_j.get("train") is not None]
        return tuple(dict.fromkeys(text for run in runs for text in what(run) if text))

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operations that the FLOP counter had no rule for: when there are any, the row's FLOP are lower bounds."""
        return tuple(sorted({name for run in self.runs for name in run.costs.uncounted}))


@dataclass(frozen=True)
class Comparison:
    """The rows of one task, models first and best first, then the reference rows; and what the columns mean."""

    task: str
    primary: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    targets: tuple[float, ...]
    superseded: int = 0

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def runs(self) -> tuple[Record, ...]:
        return tuple(run for row in self.rows for run in row.runs)


def compare(
    records: Sequence[Record],
    targets: Sequence[float] | None = None,
    primary: str | None = None,
    mix_joules: bool = False,
) -> Comparison:
    """The comparison of all runs of one task.

    `targets`: errors whose cost is asked for; chosen from the curves when not given. `primary`: the metric of the
    curves, by default what the records' facts say. `mix_joules`: rank measured and modelled joules together; else,
    where some rows have measured ones, those of the other rows are withheld. Raises ValueError for records of several
    tasks or for a target that is no error.
    """
    tasks = sorted({record.task for record in records})
    if len(tasks) > 1:
        raise ValueError(f"a comparison is of one task, but these are of {', '.join(tasks)}: compare each apart")
    for target in targets or ():
        if not (math.isfinite(target) and target > 0):
            raise ValueError(f"an error to reach is a number above 0, but one of the targets is {target}")
    stated = [record.facts["primary_metric"] for record in records if record.facts.get("primary_metric")]
    error = str(primary or (stated[0] if stated else PRIMARY))
    metrics = _metric_columns(records, error)
    if metrics[0].better == "higher":
        raise ValueError(f"the primary metric must be an error, lower is better, but higher {error} is better")

    groups, superseded = group_by_seed(records)
    chosen = tuple(targets) if targets is not None else tuple(_targets(groups, error))
    columns = (*metrics, *(column for column, _ in COSTS), *_reach_columns(chosen), *(column for column, _ in DETAILS))
    settings = settings_of(groups)
    rows = []
    for group, shown in zip(groups, settings, strict=True):
        label = " ".join([group[0].model, *(f"{key}={value}" for key, value in shown.items())])
        figures = {column.key: _figure(column, group, error) for column in columns}
        rows.append(Row(label, shown, tuple(group), figures))
    if not mix_joules:
        rows = _of_one_kind(rows, columns)
    rows.sort(key=lambda row: _order(row, metrics[0].key))
    return Comparison(tasks[0] if tasks else "", error, tuple(rows), columns, chosen, superseded)


def _of_one_kind(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows, without the joules of those that were not measured where any were: one ranking, one kind."""
    kinds = [{method.partition(":")[0] for method, _ in row.energy_methods} for row in rows]
    if len(set().union(*kinds)) < 2:
        return rows
    joules = {column.key: None for column in columns if column.unit == "J"}
    return [
        replace(row, figures=row.figures | joules, joules_withheld=True) if found - {"measured"} else row
        for row, found in zip(rows, kinds, strict=True)
    ]


def _order(row: Row, key: str) -> tuple[Any, ...]:
    """References last, in their own order. Models by error; one most of whose runs have none cannot lead the table."""
    spread = row.figures[key]
    error = spread.median if spread else math.inf
    rank = REFERENCES.index(row.model) if row.reference else -1
    mostly_failed = spread is None or 2 * spread.n < len(row.runs)
    return rank, mostly_failed, error, row.label


# Columns and their figures.

COSTS: tuple[tuple[Column, Callable[[Record], float | None]], ...] = (
    (Column("train_flop", "train_flop", "training FLOP", "FLOP", COST), lambda r: r.costs.train_flop),
    (Column("train_seconds", "train_seconds", "training time", "s", COST), train_seconds),
    (Column("train_energy_j", "train_energy_j", "training energy", "J", COST), train_energy),
    (
        Column("infer_flop", "infer_flop_per_time_unit", "FLOP per predicted time unit", "FLOP", COST),
        lambda r: r.costs.infer_flop_per_time_unit,
    ),
    (Column("parameters", "parameters", "parameters", "", COST, better=""), lambda r: r.parameters),
    (Column("peak_memory", "peak_memory_bytes", "peak memory", "B", COST), lambda r: r.costs.peak_memory_bytes),
)


def _of_phase(phase: str, costs: str) -> Callable[[Record], float | None]:
    return lambda record: getattr(record.costs, costs).get(phase)


DETAILS: tuple[tuple[Column, Callable[[Record], float | None]], ...] = (
    (Column("net_energy", "train_net_energy_j", "", "J", DETAIL), lambda r: r.costs.net_energy_j.get("train")),
    (Column("executed", "train_flop_executed", "", "FLOP", DETAIL), lambda r: r.costs.train_flop_executed),
    (Column("operations", "train_operations", "", "", DETAIL), lambda r: r.costs.train_operations),
    (Column("least_bytes", "train_least_bytes", "", "B", DETAIL), lambda r: r.costs.train_least_bytes),
    (Column("fused_bytes", "train_fused_bytes", "", "B", DETAIL), lambda r: r.costs.train_fused_bytes),
    (Column("unfused_bytes", "train_unfused_bytes", "", "B", DETAIL), lambda r: r.costs.train_unfused_bytes),
    *(
        (Column(f"{phase}_{costs}", f"{phase}_{costs}", "", unit, DETAIL), _of_phase(phase, costs))
        for phase in PHASES
        if phase != "train"
        for costs, unit in (("seconds", "s"), ("energy_j", "J"))
    ),
)
_READ = {column.key: read for column, read in (*COSTS, *DETAILS)}


def _metric_columns(records: Sequence[Record], primary: str) -> list[Column]:
    units = {name: unit for record in reversed(records) for name, unit in record.metric_units.items()}
    names = dict.fromkeys([primary, *(name for record in records for name in (*record.metrics, *record.metric_units))])
    columns = []
    for name in names:
        unit, _, direction = units.get(name, "").rpartition(",")
        better = direction.split()[0] if direction.split()[1:2] == ["is"] else ""
        unit = unit.strip() if better else units.get(name, "")
        # Of the many that a record holds, tables for people show those that do not say that they are details.
        section = DETAIL if direction.endswith("(detail)") and name != primary else ACCURACY
        columns.append(Column(f"metrics.{name}", name, name, "" if unit == "1" else unit, section, better))
    return columns


def _reach_columns(targets: Sequence[float]) -> list[Column]:
    axes = ((FLOP, "flop_to_error", "FLOP", REACH_FLOP), (JOULE, "energy_to_error_j", "J", REACH_JOULE))
    return [
        Column(f"{axis}@{target!r}", name, f"{target:g}", unit, section, target=target)
        for axis, name, unit, section in axes
        for target in targets
    ]


def _counted(runs: Sequence[Record]) -> list[Record]:
    """The runs whose figures make up the row's: those that finished. Others stopped early, which would flatter it."""
    return [run for run in runs if run.status == FINISHED] or list(runs)


def _figure(column: Column, runs: Sequence[Record], primary: str) -> Spread | None:
    if column.target is not None:
        target, axis = column.target, FLOP if column.section == REACH_FLOP else JOULE
        return Spread.of(reach(run, target, axis, primary) for run in runs)
    if column.key.startswith("metrics."):
        return Spread.of(finite(run.metrics.get(column.name) for run in _counted(runs)))
    ran = [run for run in _counted(runs) if run.status != "skipped"]  # a model that never ran has no cost, not zero
    return Spread.of(finite(_READ[column.key](run) for run in ran))


def _targets(groups: Sequence[Sequence[Record]], primary: str) -> list[float]:
    trained = [group for group in groups if group[0].model not in REFERENCES]
    starts, ends = [], []
    for group in trained or groups:
        curves = [finite(error for _, error in curve_points(run, FLOP, primary)) for run in group]
        curves = [curve for curve in curves if curve]
        if curves:
            starts.append(median(curve[0] for curve in curves))
            ends.append(median(min(curve) for curve in curves))
    return choose_targets(starts, ends)
