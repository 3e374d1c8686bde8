"""One model on one task for some lanes: from the store where they are finished, else by running them now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from experiments.checkpoint import EVERY_S, Checkpoint
from experiments.execute import Execution
from experiments.interrupt import Interrupted
from experiments.job import Job, Lane
from experiments.progress import Reporter
from experiments.record import Record
from experiments.store import Store
from experiments.tracking import Tracker

__all__ = ["Interrupted", "Lane", "run"]


def run(
    job: Job, lanes: Sequence[Lane], store: Store, tracker: Tracker, report: Reporter, force: bool = False,
    checkpoint: Path | None = None, checkpoint_s: float = EVERY_S,
) -> list[Record]:  # fmt: skip
    """Records of the lanes, in their order, from the store where they are finished, else by running them together now.

    Lanes that are one and the same run (seeds of a model without a draw of its own, learning rates of one that has
    none) leave one record. `checkpoint`: a folder in which training by gradient is kept every `checkpoint_s` seconds
    and when SIGINT or SIGTERM stop it (Interrupted, which a handler may raise itself); the next call goes on from there
    and comes to the same records. It is empty again when the records are saved.
    """
    wanted = {job.identity(lane): job.own(lane) for lane in reversed(lanes)}
    wanted = dict(reversed(wanted.items()))
    with ExitStack() as locks:
        for name in sorted(wanted):
            if not locks.enter_context(store.lock(name)):
                force = False  # the other process has just done what was asked for
        found = {} if force else {name: r for name in wanted if (r := store.finished(name))}
        missing = [lane for name, lane in wanted.items() if name not in found]
        if found:
            names = ", ".join(str(lane) for name, lane in wanted.items() if name in found)
            report.say(f"{job.name}: already finished for seed {names} (--force runs it again)")
        # Lanes whose steps cost differently cannot share a program without paying for each other, and a budget would
        # stop them together: they run one after another, each result its own.
        groups = [missing] if job.model.has_fixed_cost else [[lane] for lane in missing]
        try:
            for group in groups if missing else []:
                kept = Checkpoint(checkpoint, job, group, checkpoint_s)
                for r in Execution(job, group, store, tracker, report, kept).records():
                    found[r.identity] = r
        except Interrupted as stop:
            stop.kept += len(found)
            raise
    return [found[name] for name in wanted]
