"""Tuned runs: once their trials are done, the values of the best one."""

from __future__ import annotations

import math
from dataclasses import replace

from experiments.config import settings
from experiments.config_tree import changed
from experiments.identity import planned_identity
from experiments.record import FINISHED, SKIPPED
from experiments.store import Store
from experiments.study.unit import Unit
from hardware.devices import Device


def resolve(unit: Unit, store: Store) -> Unit:
    """A tuned run with the values of its best trial, the one with the lowest validation error on its curve.

    Any other unit is returned as it is. Where no trial finished there is nothing to choose, and `reason` says why;
    where all were skipped the run is too, and its record says why.
    """
    if "values" not in unit.tuning:
        return unit
    best, chosen, outcomes = math.inf, None, []
    for name, values in zip(unit.tuning["trials"], unit.tuning["values"], strict=True):
        record = store.load(name)
        outcomes.append("without a record" if record is None else record.status)
        if record is not None and record.status == FINISHED:
            error = min((e for point in record.curve if (e := point.error) is not None), default=math.inf)
            if error < best:
                best, chosen = error, values
    kept = {key: unit.tuning[key] for key in ("group", "trials", "space")}
    if chosen is None:
        if set(outcomes) != {SKIPPED}:
            counts = ", ".join(f"{outcomes.count(what)} {what}" for what in sorted(set(outcomes)))
            return replace(unit, reason=f"no trial of its tuning came to an error: {counts}")
        chosen = {}
    tree = changed(unit.tree, chosen)
    checked, device = settings(tree), Device(**unit.tuning["device"])
    names = tuple(planned_identity(checked, lane, device) for lane in unit.lanes)
    return replace(unit, tree=tree, identities=names, tuning=kept | {"chosen": chosen})
