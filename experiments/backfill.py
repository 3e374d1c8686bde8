"""Past records to W&B: each becomes a tracked run, as if it had been tracked while it ran."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from experiments.record import FINISHED, Record
from experiments.store import write_atomic
from experiments.tracking import Tracker

BATCH = 200  # runs to one tracker, whose queue is bounded
CLOSING_S = 600.0


def backfill(
    records: Iterable[Record],
    group: str,
    tracker: Callable[[], Tracker],
    done: Path,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Track the records that have not been tracked so before; returns how many.

    `group`: of the runs, the study's name. `tracker`: makes one. `done`: the file that remembers what was tracked, so
    that the same command does not track a run twice. A batch that W&B did not take is tried again by the next call.
    """
    known = _known(done)
    count = 0
    for batch in _batches(r for r in records if r.identity not in known):
        tracking = tracker()
        for record in batch:
            track(record, group, tracking)
        failed = tracking.off
        tracking.close(CLOSING_S)
        if failed or tracking.off:
            break
        known |= {record.identity for record in batch}
        count += len(batch)
        done.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(done, json.dumps(sorted(known)).encode())
        say(f"{count} runs tracked")
    return count


def track(record: Record, group: str, tracker: Tracker) -> None:
    """One record as a tracked run: configuration, curve and final figures."""
    run = tracker.run(
        name=f"{record.task}-{record.model}-{record.seed}",
        group=group,
        job_type=record.model,
        config=record.config | {"identity": record.identity, "backend": record.backend, "device": record.device},
        tags=[record.role],
    )
    for point in record.curve:
        run.log(
            {"step": point.step, "samples": point.samples, "flop": point.flop, "train_s": point.seconds,
             "energy_j": point.energy_j, "train/loss": point.train_loss, "val/error": point.error,
             **{f"test/{name}": value for name, value in point.test.items()}}
        )  # fmt: skip
    train_energy = record.costs.energy_j.get("train")
    known = {"train_flop": record.costs.train_flop, "train_energy_j": train_energy, "parameters": record.parameters}
    run.summary({**record.metrics, **known, "status": record.status, "reason": record.reason})
    run.finish("finished" if record.status == FINISHED else record.status)


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _known(done: Path) -> set[str]:
    try:
        return set(json.loads(done.read_text()))
    except (OSError, ValueError):
        return set()
