"""Several stores into one: shards of a study that ran on machines which share no disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from experiments.record import Record
from experiments.store import Store
from experiments.store.compaction import BATCH, add_lines
from experiments.store.reading import LOOSE, Tables
from experiments.store.tables import line


class Standing(NamedTuple):
    """What decides between two records of one run: whether it came to a result, then when it started."""

    final: bool
    started: str
    digest: str
    studies: dict[str, str]
    loose: bool

    def before(self, other: Standing) -> bool:
        return (self.final, self.started) < (other.final, other.started)


@dataclass
class Merged:
    """`added`: runs that the target did not have; `replaced`: whose record gave way to the source's, by final status
    and then by the start; `kept`: whose own record stood; `same`: equal records; `damaged`: left out, each named in the
    log."""

    added: int = 0
    replaced: int = 0
    kept: int = 0
    same: int = 0
    damaged: int = 0


def merge(sources: Sequence[Store], target: Store) -> list[Merged]:
    """Bring the records of every source, and the files beside them, into the target; says what came of each source.

    A record that both have becomes part of the studies of both. Raises StoreError when the target cannot be written.
    """
    target.prepare()
    have = target._read(_standings)
    outcomes = []
    for source in sources:
        outcome = Merged()
        found = source._read(_standings)
        wanted: list[str] = []
        for identity, theirs in found.items():
            ours = have.get(identity)
            if ours is None:
                outcome.added += 1
            elif ours.digest == theirs.digest:
                outcome.same += 1
                continue
            elif ours.before(theirs):
                outcome.replaced += 1
                theirs = theirs._replace(studies=ours.studies | theirs.studies)
            else:
                outcome.kept += 1
                if missing := theirs.studies.keys() - ours.studies.keys():
                    for study in missing:
                        target.join(identity, study, theirs.studies[study])
                continue
            wanted.append(identity)
            have[identity] = theirs
        _bring(source, target, wanted, {identity: have[identity] for identity in wanted})
        _copy_studies(source, target)
        outcome.damaged = len(source._loose.left_out)
        outcomes.append(outcome)
    return outcomes


def _standings(tables: Tables) -> dict[str, Standing]:
    rows = tables.execute(
        f"SELECT identity, final, started, json->>'$.digest', studies, place = {LOOSE} FROM runs ORDER BY identity"
    ).fetchall()
    return {identity: Standing(*rest) for identity, *rest in rows}


def _bring(source: Store, target: Store, wanted: list[str], standings: dict[str, Standing]) -> None:
    """Files first: a folder that has a record is complete. What was compacted in the source is so in the target."""
    for identity in wanted:
        for name in source.file_names(identity):
            if name != "record.json" and not name.startswith("."):
                target.write_file(f"{identity}/{name}", source.read_file(f"{identity}/{name}"))
    lines: list[bytes] = []
    for text in source.texts(wanted):
        record = Record.from_json(text)
        standing = standings[record.identity]
        if record.studies != standing.studies:
            record = replace(record, studies=standing.studies)
        if standing.loose or not standing.final:
            target.save(record)
        else:
            lines.append(line(record.to_json(), record.identity))
        if len(lines) == BATCH:
            _add(target, lines)
    _add(target, lines)


def _add(target: Store, lines: list[bytes]) -> None:
    if lines:
        with target.lock("compact"):
            add_lines(target._files, lines)
        lines.clear()


def _copy_studies(source: Store, target: Store) -> None:
    """The studies themselves (the file as it was, and its plan), where the target does not have them."""
    for study in source.file_names("studies"):
        have = target.file_names(f"studies/{study}")
        for name in source.file_names(f"studies/{study}"):
            if "." in name and name not in have:
                target.write_file(f"studies/{study}/{name}", source.read_file(f"studies/{study}/{name}"))
