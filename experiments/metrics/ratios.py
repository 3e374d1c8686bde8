"""What acting on a system costs a model that was taught, as most are, by watching it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping


def interventional_ratio(metrics: Mapping[str, float | None], sets: Collection[str]) -> float:
    """Interventional over observational error: geometric mean over test sets of "ood/SET/error_ratio" in `metrics`.

    `sets`: those in which somebody intervenes. 1: what was learned holds when somebody acts; large: it holds only for
    what happens by itself. Lower is better. NaN if there is no set, or a ratio is missing or NaN; an infinite ratio
    gives infinity unless another is 0.
    """
    ratios = [metrics.get(f"ood/{name}/error_ratio") for name in sets]
    found = [ratio for ratio in ratios if ratio is not None and not math.isnan(ratio)]
    if not found or len(found) < len(ratios):
        return math.nan
    if 0 in found:
        return math.nan if math.inf in found else 0.0
    return math.exp(math.fsum(map(math.log, found)) / len(found))
