"""The battery: our counters say what a person derived, for every program; JAX and torch agree; the page tells it."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from benchmarks import battery as benchmark
from hardware.cost import Cost
from hardware.flops_jax import rules as flops_jax_rules
from tests.hardware.battery import PROGRAMS
from tests.hardware.battery.counting import COUNTERS
from tests.hardware.battery.program import Program, evaluate

# torch builds its forward-mode decompositions with a function of its own that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

BY_NAME = {program.name: program for program in PROGRAMS}
VERSIONS = [(p.name, framework) for p in PROGRAMS for framework in COUNTERS if getattr(p, framework)]
# Where a counter is known to err: the reason, as the page tells it too.
KNOWN: dict[tuple[str, str], str] = {
    ("symmetric eigenvalues alone", "torch"): "torch computes the vectors too while a dispatch mode is active",
    ("singular values alone", "torch"): "torch computes the vectors too while a dispatch mode is active",
}


@functools.cache
def counted(name: str, framework: str) -> tuple[dict[str, int], Cost]:
    measured = COUNTERS[framework](BY_NAME[name])
    assert measured
    return measured


def known_ones_fail(versions: list[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(*v, marks=pytest.mark.xfail(reason=KNOWN[v], strict=True)) if v in KNOWN else v for v in versions
    ]


@pytest.mark.parametrize(("name", "framework"), known_ones_fail(VERSIONS))
def test_counted_is_what_was_derived(name: str, framework: str) -> None:
    program, (evaluations, cost) = BY_NAME[name], counted(name, framework)
    flop, transcendental = program.expected(framework, evaluations)
    assert not cost.uncounted
    if not program.tolerance:
        assert (cost.flop, cost.transcendental) == (flop, transcendental)
    else:  # the vector field exactly, and on top of it the solver's own work, which the program's note bounds
        assert flop <= cost.flop <= flop * (1 + program.tolerance)
        assert transcendental <= cost.transcendental <= transcendental * (1 + program.tolerance)


@pytest.mark.parametrize(
    ("name", "framework"), known_ones_fail([v for v in VERSIONS if BY_NAME[v[0]].kinds or BY_NAME[v[0]].least_bytes])
)
def test_kinds_and_least_bytes_are_what_was_derived(name: str, framework: str) -> None:
    program, (_, cost) = BY_NAME[name], counted(name, framework)
    assert {kind: cost.by_kind.get(kind) for kind in program.kinds} == {
        kind: evaluate(formula, program.sizes) for kind, formula in program.kinds.items()
    }
    if program.least_bytes:
        assert cost.least_bytes == evaluate(program.least_bytes, program.sizes)


@pytest.mark.parametrize(("name", "framework"), VERSIONS)
def test_parts_make_the_whole(name: str, framework: str) -> None:
    _, cost = counted(name, framework)
    assert sum(flop for *_, flop in cost.parts) == cost.flop
    assert sum(flop for kind, _, flop in cost.parts if kind == "transcendental") == cost.transcendental
    assert cost.least_bytes > 0 and cost.least_bytes <= cost.unfused_bytes


@pytest.mark.parametrize(
    "name",
    [
        p.name
        for p in PROGRAMS
        if p.jax and p.torch and p.twins and not KNOWN.keys() & {(p.name, "jax"), (p.name, "torch")}
    ],
)
def test_twins_cost_the_same_to_a_percent(name: str) -> None:
    """1% is what the comparison of frameworks needs; adaptive solvers, which choose other steps, by the evaluation."""
    each = []
    for framework in COUNTERS:
        evaluations, cost = counted(name, framework)
        each.append(cost.flop / evaluations.get("E", 1))
    assert each[1] == pytest.approx(each[0], rel=0.01)


def test_the_battery_is_large_and_says_why_twins_differ() -> None:
    assert len(PROGRAMS) == len(BY_NAME) >= 60
    for p in PROGRAMS:
        assert p.jax or p.torch
        assert p.note or (p.twins and not p.torch_formula and not p.tolerance), f"{p.name} must say why"


@pytest.mark.parametrize(
    ("formula", "value"),
    [("2*m*n", 30), ("n**3/3", 42), ("5*m - 1", 14), ("(m + n)/2", 4), ("log2(m + n) + log2(1)", 3), ("0", 0)],
)
def test_formulas_are_arithmetic(formula: str, value: int) -> None:
    assert evaluate(formula, {"m": 3, "n": 5}) == value


@pytest.mark.parametrize("formula", ["q", "log2(m)", "m % n", "m.real", "1.5*m", "abs(m)", "print(m)"])
def test_formulas_are_nothing_else(formula: str) -> None:
    with pytest.raises(ValueError, match="not"):
        evaluate(formula, {"m": 3, "n": 5})


# ---- the committed table ----


def test_the_committed_table_is_of_this_battery() -> None:
    rows = benchmark.programs(benchmark.committed())
    assert list(rows) == list(BY_NAME)
    for name, row in rows.items():
        program = BY_NAME[name]
        assert (row["group"], row["formula"], row["note"]) == (program.group, program.formula, program.note)
        for framework in COUNTERS:
            if getattr(program, framework) and not program.evaluations:
                assert row["expected"][framework] == list(program.expected(framework))
                if (name, framework) not in KNOWN:
                    assert row["counted"][framework] == row["expected"][framework]


def test_a_wrong_count_is_bold() -> None:
    result = benchmark.committed()
    assert "**7**" not in benchmark.rendered(result)
    result["figures"]["matrix product"]["counted"]["torch"] = [7, 0]
    assert "**7**" in benchmark.rendered(result)


def test_the_page_shows_the_committed_table() -> None:
    assert benchmark.rendered(benchmark.committed()) in benchmark.PAGE.read_text("utf-8")


def test_a_counter_that_crashes_gets_its_error_in_the_cell() -> None:
    def crash() -> Any:
        raise ZeroDivisionError("as some do")

    assert benchmark.said(crash) == "ZeroDivisionError"
    assert json.dumps(benchmark.said(lambda: 3.0)) == "3"


def test_the_battery_notices_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flops_jax_rules.RULES, "sin", lambda eqn: Cost())
    program = BY_NAME["jit in jit in jit"]
    measured = COUNTERS["jax"](program)
    assert measured
    assert measured[1].flop != program.expected("jax")[0]


def test_other_counters_of_one_program() -> None:
    product: Program = BY_NAME["matrix product"]
    flop = evaluate("2*m*k*n", product.sizes)
    assert benchmark.xla(product) == [flop, 0]
    assert benchmark.flop_counter_mode(product) == flop
