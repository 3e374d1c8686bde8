"""Carbon intensity of electricity and PUE from a table that comes along: no network, each figure with its source.

    carbon_intensity("france").g_per_kwh      # or "FR", "FRA", "us_california", "US-CA", "gcp_europe_west1", "world"
    co2_g = energy_j / 3.6e6 * pue * carbon_intensity(grid).g_per_kwh

Nothing here is applied unless a grid is named: joules have no carbon of their own, and the default PUE is 1.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

DEFAULT_PUE = 1.0


class GridError(LookupError):
    """No such grid or building in the table; the message names the nearest."""


@dataclass(frozen=True)
class GridNumber:
    """Mean grams of CO2 equivalent a kilowatt-hour over `year`; `covers` says what the source counts in."""

    g_per_kwh: float
    year: int
    source: str
    covers: str = ""
    name: str = ""


@dataclass(frozen=True)
class PueNumber:
    """Energy of a building over that of the computers in it, at least 1."""

    value: float
    year: int
    source: str


def grids() -> list[str]:
    """Names of the grids: the world, countries, states of the US (us_…) and Google Cloud regions (gcp_…), sorted."""
    return sorted(_table()["grids"])


def carbon_intensity(name: str) -> GridNumber:
    """The grid called `name`: a name of `grids()` or an ISO 3166 code, in any case.

    Raises GridError, naming the nearest, when it is not in the table; TypeError for what is no text.
    """
    _check_text("carbon_intensity", name, "france")
    known = _table()["grids"]
    slug = name.strip().lower().replace(" ", "_").replace("-", "_")
    codes = {code.lower().replace("-", "_"): grid for grid, facts in known.items() for code in facts.get("codes", ())}
    found = slug if slug in known else codes.get(slug)
    if found is None:
        near = difflib.get_close_matches(slug, known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else "; hardware.grid.grids() lists them"
        raise GridError(f"grid {name} is not in the table of carbon intensities{hint}")
    facts = known[found]
    source = _table()["sources"][facts["source"]]
    text = f"{' '.join(source['name'].split())}, {source['url']}"
    return GridNumber(float(facts["g_per_kwh"]), facts["year"], text, source["covers"], found)


def pues() -> list[str]:
    """Names of the published PUE figures, sorted."""
    return sorted(_table()["pue"])


def pue(name: str) -> PueNumber:
    """A published power usage effectiveness, as in pue("google_2025"). Raises GridError for an unknown name."""
    _check_text("pue", name, "google_2025")
    known = _table()["pue"]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise GridError(f"PUE {name} is not in the table; it must be one of {', '.join(sorted(known))}{hint}")
    return PueNumber(float(known[name]["value"]), known[name]["year"], known[name]["source"])


def _check_text(function: str, name: Any, example: str) -> None:
    if not isinstance(name, str):
        raise TypeError(
            f'{function}(name): name must be text, as in {function}("{example}"); it is {name!r} '
            f"({type(name).__name__}): hardware.grid.{'grids' if function != 'pue' else 'pues'}() lists the names"
        )


@cache
def _table() -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(resources.files("hardware").joinpath("grid.yaml").read_text("utf-8"), Loader=loader)
