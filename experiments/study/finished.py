"""Which units of a study need not be run: all of whose runs have come to a result, in whatever study."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.record import FINAL
from experiments.store import Store
from experiments.store.tables import sql_text
from experiments.study.spec import Study
from experiments.study.tuned import resolve
from experiments.study.unit import Unit


def finished_units(units: Sequence[Unit], study: Study, store: Store) -> set[str]:
    """The keys of units that are finished; their records now say that they are part of this study too.

    In one look at the store, because there may be a million runs.
    """
    names = [identity for unit in units for identity in unit.identities]
    finished = {name for name, status in store.present(names).items() if status in FINAL}
    if not finished:
        return set()
    sql = f"SELECT identity FROM records WHERE studies[{sql_text(study.name)}] = {sql_text(study.hash)}"
    joined = {name for (name,) in store.query(sql).fetchall()}
    keys = set()
    for unit in units:
        if unit.identities and finished.issuperset(unit.identities):
            keys.add(unit.key)
            join([name for name in unit.identities if name not in joined], study, store)
    return keys


def known(units: Sequence[Unit], store: Store) -> list[Unit]:
    """The units, tuned runs with their identities where all of their trials have records."""
    trials = {name for unit in units if not unit.identities for name in unit.tuning.get("trials", ())}
    there = store.present(trials)
    return [
        resolve(unit, store) if not unit.identities and there.keys() >= set(unit.tuning.get("trials", ())) else unit
        for unit in units
    ]


def all_finished(names: Sequence[str], store: Store) -> bool:
    """Whether these runs have come to a result by now."""
    return bool(names) and all(store.finished(name) for name in names)


def join(names: Sequence[str], study: Study, store: Store) -> None:
    """Let the records of these runs say that they are part of the study."""
    for name in names:
        store.join(name, study.name, study.hash)
