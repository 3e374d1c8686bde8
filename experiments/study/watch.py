"""A live look at a running study, from its store alone: it may run on other machines, under any engine."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.evaluate import PRIMARY
from experiments.record import FINISHED, TRIAL
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.spec import Study
from experiments.study.status import Row, Status, status
from reports.text import clean, duration, number

SHOWN = 12  # running units and failures that a terminal has room for
ERRORS = """
SELECT task, model, median(metrics[@metric]) FROM records
WHERE studies[@study] = @hash AND status = @finished AND role <> @trial GROUP BY ALL
"""
Errors = dict[tuple[str, str], float | None]


def watch(study: Study, store: Store, console: Console, every_s: float, once: bool = False, go_on: str = "") -> Status:
    """Show the study until every run has come to a result (or one picture); returns what was seen last.

    On a terminal a picture that changes, elsewhere a line whenever something has. `go_on`: the command that does, told
    where nothing runs. Ends by KeyboardInterrupt.
    """
    found, errors = look(study, store)
    if once:
        console.print(picture(found, errors, study.metric, go_on))
        return found
    if not console.is_terminal:
        return _lines(study, store, console, every_s, found)
    with Live(picture(found, errors, study.metric, go_on), console=console, auto_refresh=False) as live:
        while found.done + sum(found.failed.values()) < found.planned:
            time.sleep(every_s)
            found, errors = look(study, store)
            live.update(picture(found, errors, study.metric, go_on), refresh=True)
    return found


def look(study: Study, store: Store) -> tuple[Status, Errors]:
    """The standing of the study, and by (task, model) the median test error of the runs that have finished."""
    sql = ERRORS
    values = {"metric": study.metric, "study": study.name, "hash": study.hash, "finished": FINISHED, "trial": TRIAL}
    for name, value in values.items():
        sql = sql.replace(f"@{name}", sql_text(value))
    return status(study, store), {(task, model): error for task, model, error in store.query(sql).fetchall()}


def _lines(study: Study, store: Store, console: Console, every_s: float, found: Status) -> Status:
    said = ""
    while True:
        line = summary(found)
        if line != said:
            console.print(line, markup=False, soft_wrap=True)
            said = line
        if found.done + sum(found.failed.values()) >= found.planned:
            return found
        time.sleep(every_s)
        found, _ = look(study, store)


def summary(found: Status) -> str:
    """As "study quick: 12/66 done, 1 diverged, 3 running, 51 to do, about 3 to 5 min left, 12.0 W"."""
    parts = [f"{found.done:,}/{found.planned:,} done"]
    counts: list[tuple[int, str]] = [(found.diverged, "diverged"), (sum(found.failed.values()), "failed")]
    counts += [(found.running, "running"), (found.lost, "lost"), (found.interrupted, "interrupted")]
    parts += [f"{count:,} {what}" for count, what in [*counts, (found.to_do, "to do")] if count]
    if found.seconds_left is not None and found.done < found.planned:
        low, high = map(duration, found.seconds_left)
        parts.append(f"about {low if low == high else f'{low} to {high}'} left")
    if (power := _power(found)) is not None:
        parts.append(f"{power:.1f} W")
    return f"study {found.study}: {', '.join(parts)}"


def picture(found: Status, errors: Errors, metric: str, go_on: str = "") -> RenderableType:
    """The whole as one picture: a bar, models by task, what runs now, what failed."""
    bar = Table.grid()  # a bar alone ends no line where the output is no terminal
    bar.add_row(ProgressBar(max(found.planned, 1), found.done, width=60))
    parts: list[RenderableType] = [Text(summary(found), style="bold"), bar]
    parts.append(_models(found, errors, metric))
    if found.running_units:
        parts.append(_units(found))
    elif found.done < found.planned:
        parts.append(Text(f"nothing is running{f': {go_on} goes on' if go_on else ''}"))
    for failure in found.failures[:SHOWN]:
        where = clean(f"{failure.model} on {failure.task} {failure.configuration}").strip()
        parts.append(Text(f"failed ({failure.kind}): {where}: {clean(failure.reason)}", style="red"))
    return Group(*parts)


def _models(found: Status, errors: Errors, metric: str) -> Table:
    """A row for each task and model: how far it is, and its error so far."""
    table = _table(["task", "model", "done", "diverged", "error so far"], numbers=(2, 3, 4))
    table.caption = f"error so far: {clean(metric)} on test data, median of finished runs"
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in found.rows:
        rows.setdefault((row.task, row.model), []).append(row)
    for (task, model), group in rows.items():
        done, planned = sum(row.done for row in group), sum(row.planned for row in group)
        error = errors.get((task, model))
        table.add_row(
            clean(task), clean(model), f"{done:,}/{planned:,}", f"{sum(row.diverged for row in group):,}",
            "–" if error is None else number(error),
        )  # fmt: skip
    return table


def _units(found: Status) -> Table:
    table = _table(["running on", "done", "step", "error now", "power", "left"], numbers=(1, 2, 3, 4, 5))
    for unit in found.running_units[:SHOWN]:
        table.add_row(f"{clean(unit.host)} {unit.pid}", *unit.cells())
    more = len(found.running_units) - SHOWN
    table.caption = f"error now: {PRIMARY} on validation data" + (f"; and {more} more units" if more > 0 else "")
    return table


def _table(titles: list[str], numbers: tuple[int, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
    for index, title in enumerate(titles):
        table.add_column(Text(title), justify="right" if index in numbers else "left", no_wrap=True)
    return table


def _power(found: Status) -> float | None:
    """Of all running units together; None where it is not known of each."""
    powers = [unit.power_w for unit in found.running_units]
    known: list[float] = [power for power in powers if power is not None]
    return sum(known) if known and len(known) == len(powers) else None
