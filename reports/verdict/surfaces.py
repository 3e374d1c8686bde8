"""The law in size and data, L = E + A/N^α + B/D^β, of each model whose study varies both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reports.scaling import bootstrap_chinchilla, fit_chinchilla
from reports.study import StudyData
from reports.verdict.curves import Curves, clusters_of
from reports.verdict.laws import MOST, How, factors, final_error
from reports.verdict.types import Surface

LEAST = 5  # pairs of N and D: as many as the law has parameters
# In a study of very many models, tasks or runs: intervals are of the jackknife, which needs no resamples.
LARGE_MOST, LARGE_RESAMPLES = 200, 20


def surface_of(data: StudyData, curves: Curves, errors: np.ndarray, cluster: np.ndarray) -> Surface:
    """What is to be fitted: N, D, final test error and (draw, seed) of every run that finished; or why nothing is."""
    rows = np.unique(curves.run)
    n, d = (np.asarray(data.runs.get(k, np.full(len(data), np.nan)), float)[rows] for k in ("parameters", "data"))
    error = errors[rows]
    good = np.isfinite(n) & np.isfinite(d) & np.isfinite(error) & (n > 0) & (d > 0) & (error > 0)
    n, d, error, rows = n[good], d[good], error[good], rows[good]
    surface = Surface(*curves.key, n=n, d=d, error=error, cluster=cluster[rows])
    sizes, amounts, pairs = (len(np.unique(x, axis=0)) for x in (n, d, np.stack([n, d], 1)))
    if min(sizes, amounts) < 2 or pairs < LEAST:
        why = f"{sizes} sizes, {amounts} amounts of data, {pairs} pairs of them; 2 × 2 and {LEAST} pairs are needed"
        return replace(surface, reasons=(why,))
    return surface


def surfaces_of(data: StudyData, curves: dict[tuple[str, str, str], Curves]) -> list[Surface]:
    """One a model, unless the study does not vary both for any."""
    errors, cluster = final_error(data), clusters_of(data)
    found = [surface_of(data, one, errors, cluster) for one in curves.values()]
    return found if any(not surface.reasons for surface in found) else []


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def fitted_surface(surface: Surface, how: How) -> Surface:
    """With its law and the intervals of its parameters."""
    if surface.reasons:
        return surface
    # In an order of their own, whatever that of the records; of very many runs, evenly some of them by error.
    order = np.lexsort((surface.error, surface.cluster[:, 1], surface.cluster[:, 0], surface.d, surface.n))
    most = LARGE_MOST if how.large else MOST
    order = order[np.linspace(0, len(order) - 1, min(len(order), most)).astype(int)]
    n, d, error, cluster = surface.n[order], surface.d[order], surface.error[order], surface.cluster[order]
    try:
        law = fit_chinchilla(n, d, error)
    except ValueError as failure:
        return replace(surface, reasons=(f"no law can be fitted: {failure}",))
    reasons = law.identifiability.reasons
    varying = factors(cluster)
    if not varying:
        return replace(surface, law=law, reasons=(*reasons, "one draw and one seed: nothing is known of the spread"))
    resamples = min(how.resamples, LARGE_RESAMPLES) if how.large else how.resamples
    boot = bootstrap_chinchilla(n, d, error, varying, resamples=resamples, seed=how.seed)
    intervals = {name: boot.interval(name, how.level) for name in ("floor", "exponent_n", "exponent_d")}
    return replace(surface, law=law, intervals=intervals, reasons=reasons)
