"""Carbon intensity and PUE: an offline table with sources, and nothing applied that nobody asked for."""

from __future__ import annotations

import inspect
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import grid
from hardware.cost import Cost


def test_every_figure_has_a_year_a_source_and_a_plausible_value():
    """20 g/kWh is all hydropower, 1300 all lignite or oil; a figure in kg or in pounds would be outside."""
    assert len(grid.grids()) > 250
    for name in grid.grids():
        found = grid.carbon_intensity(name)
        assert 10 <= found.g_per_kwh <= 1400, name
        assert 2022 <= found.year <= date.today().year, name
        assert "https://" in found.source and len(found.covers) > 20, name
        assert found.name == name


@pytest.mark.parametrize(
    "names", [("france", "FR", "fra", "France"), ("us_california", "US-CA"), ("united_kingdom", "UK", "GB")]
)
def test_a_grid_goes_by_its_name_and_its_codes(names):
    assert len({grid.carbon_intensity(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("cleaner", "dirtier"),
    [
        ("france", "germany"),
        ("norway", "poland"),
        ("us_vermont", "us_west_virginia"),
        ("gcp_europe_west9", "gcp_asia_south1"),
    ],
)
def test_hydropower_and_nuclear_are_below_coal(cleaner, dirtier):
    assert grid.carbon_intensity(cleaner).g_per_kwh < 0.5 * grid.carbon_intensity(dirtier).g_per_kwh


def test_the_world_lies_between_its_countries():
    countries = [grid.carbon_intensity(name).g_per_kwh for name in ("france", "china", "united_states", "india")]
    assert min(countries) < grid.carbon_intensity("world").g_per_kwh < max(countries)


def test_an_unknown_grid_is_refused_and_the_nearest_named():
    with pytest.raises(grid.GridError, match=r"grid frannce is not .* did you mean france"):
        grid.carbon_intensity("frannce")
    with pytest.raises(LookupError, match=r"grids\(\) lists them"):
        grid.carbon_intensity("??")
    with pytest.raises(grid.GridError, match="did you mean industry_2025"):
        grid.pue("industry_202")


@settings(deadline=None)  # the first call reads the files
@given(st.text(max_size=30))
def test_any_name_gives_a_figure_or_a_grid_error(name):
    try:
        assert grid.carbon_intensity(name).name in grid.grids()
    except grid.GridError as error:
        assert "\n" not in str(error) or "\n" in name


def test_the_published_pues():
    for name in grid.pues():
        found = grid.pue(name)
        assert 1 < found.value < 2 and 2020 <= found.year <= date.today().year and len(found.source) > 20
    assert grid.pue("industry_2024").value == 1.56
    assert grid.pue("google_2025").value < grid.pue("industry_2025").value


def test_no_carbon_and_no_building_unless_asked_for():
    """Trap: hidden PUE or carbon factor. 1 kWh is 3.6e6 J, so the figures follow by hand."""
    from hardware.projection import project

    assert grid.DEFAULT_PUE == inspect.signature(project).parameters["pue"].default == 1.0
    assert inspect.signature(project).parameters["grid"].default is None
    cost = Cost(10**15, 0, frozenset(), (("matmul", "float32", 10**15),), 10, 10**9, 10**8)
    plain, named, housed = (
        project(cost, "a100"),
        project(cost, "a100", grid="france"),
        project(cost, "a100", grid="france", pue=1.5),
    )
    assert plain.co2_g is None and plain.energy_j is not None
    assert named.energy_j == plain.energy_j == housed.energy_j, "joules are those of the device, whatever the building"
    assert named.co2_g is not None and housed.co2_g is not None
    expected = plain.energy_j.value / 3.6e6 * grid.carbon_intensity("france").g_per_kwh
    assert named.co2_g.value == pytest.approx(expected, rel=1e-12)  # the same products in another order
    assert housed.co2_g.value == pytest.approx(1.5 * expected, rel=1e-12)
    assert any("56 g/kWh" in note and "PUE 1" in note for note in named.notes)
