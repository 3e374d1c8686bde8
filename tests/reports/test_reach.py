"""Cost to reach an error, against curves worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.reach import FLOP, JOULE, choose_targets, cost_to_error, ladder, reach

# Slope -1 on log-log axes: error 1 at cost 1e2, 0.1 at 1e3, 0.01 at 1e4.
LINE = [(1e2, 1.0), (1e3, 0.1), (1e4, 0.01)]


@pytest.mark.parametrize(
    ("points", "target", "cost"),
    [
        (LINE, 0.1, 1e3),
        (LINE, 10**-0.5, 10**2.5),
        (LINE, 0.01, 1e4),
        (LINE, 5.0, 1e2),  # better than asked at once: the cost of the first point
        (LINE, 0.001, math.inf),  # never
        ([(50.0, 0.2)], 0.3, 50.0),  # one point, as of a closed-form fit
        ([(50.0, 0.2)], 0.1, math.inf),
        ([(0, 0.2)], 0.3, 0.0),  # no training at all
        ([(0, 1.0), (1e3, 0.1)], 0.5, 1e3),  # no logarithm of zero: the later point is charged
        ([(1e2, 1.0), (1e3, 0.0)], 0.5, 1e3),
        ([(1e2, 1.0), (1e3, 0.01), (1e4, 0.5), (1e5, 0.001)], 0.1, 1e2 * 10**0.5),  # a rise does not undo it
        ([(1e2, 1.0), (1e3, 2.0), (1e4, 0.1)], 0.1, 1e4),
        ([(1e2, 1.0), (1e3, 2.0), (1e4, 0.01)], 0.1, 1e3 * 10**0.5),  # best so far is 1 until 1e3
        ([(1e2, math.nan), (1e3, None), (1e4, 0.1)], 0.2, 1e4),
        ([(None, 1.0), (None, 0.1)], 0.2, None),  # reached, at a cost nobody knows
        ([(None, 1.0), (None, 0.1)], 0.01, math.inf),  # whatever it cost, it was not reached
        ([(1e2, None), (1e3, math.nan)], 0.1, None),
        ([], 0.1, None),
    ],
)
def test_hand_computed(points, target, cost):
    assert cost_to_error(points, target) == (cost if cost is None else pytest.approx(cost))


numbers = st.floats(1e-6, 1e6)
curves = st.lists(st.tuples(numbers, st.one_of(st.none(), st.just(math.nan), numbers)), min_size=1, max_size=12).map(
    lambda points: list(zip(sorted(cost for cost, _ in points), [error for _, error in points], strict=True))
)


@given(curves, numbers, numbers)
def test_a_harder_target_never_costs_less(points, a, b):
    easy, hard = cost_to_error(points, max(a, b)), cost_to_error(points, min(a, b))
    if easy is None or hard is None:
        return
    assert hard >= easy * (1 - 1e-9)


@given(curves, numbers, st.floats(1e-3, 1e3))
def test_cost_has_the_unit_of_the_axis(points, target, factor):
    cost, scaled = cost_to_error(points, target), cost_to_error([(c * factor, e) for c, e in points], target)
    assert scaled == (cost if cost is None else pytest.approx(cost * factor))


@given(curves, numbers)
def test_a_reached_target_costs_no_more_than_the_point_that_reached_it(points, target):
    cost = cost_to_error(points, target)
    reached = [c for c, error in points if error is not None and error <= target]
    assert (cost is not None and math.isfinite(cost)) == bool(reached)
    if reached:
        assert points[0][0] * (1 - 1e-9) <= cost <= reached[0] * (1 + 1e-9)


def test_a_run_without_a_curve_counts_from_its_final_error(reference):
    assert reach(reference("persistence", 0.8), 1.0, FLOP, "rollout_nrmse") == 0
    assert reach(reference("persistence", 0.8), 1.0, JOULE, "rollout_nrmse") == 0
    assert reach(reference("persistence", 0.8), 0.5, FLOP, "rollout_nrmse") == math.inf
    assert reach(reference("linear", 0.3, 10**5), 0.5, JOULE, "rollout_nrmse") == pytest.approx(1e-4)


def test_a_broken_run_did_not_reach_it_and_an_interrupted_one_might_have(record):
    assert reach(record(errors=(None, None), flops=(1, 2), status="diverged"), 0.1, FLOP, "rollout_nrmse") == math.inf
    assert reach(record(errors=(1.0, 0.5), flops=(1, 2), status="interrupted"), 0.1, FLOP, "rollout_nrmse") is None
    assert reach(record(errors=(1.0, 0.05), flops=(1, 2), status="interrupted"), 0.05, FLOP, "rollout_nrmse") == 2
    assert reach(record(errors=(), flops=(), status="skipped"), 0.1, FLOP, "rollout_nrmse") is None


def test_ladder():
    assert ladder(0.009, 1.0) == [1.0, 0.3, 0.1, 0.03, 0.01]
    assert ladder(0.4, 0.9) == []
    assert ladder(2.0, 40.0) == [30.0, 10.0, 3.0]


@pytest.mark.parametrize(
    ("starts", "ends", "targets"),
    [
        ([1.0], [0.02], [0.3, 0.1, 0.03]),  # one model: the hardest it reaches, and easier ones
        ([1.0, 0.9, 0.9], [0.1, 0.02, 0.001], [0.1, 0.01, 0.001]),  # from all reach it to one does
        ([0.9], [0.42], [0.8, 0.6, 0.5]),  # a narrow range: closer rungs
        ([0.2], [0.2], [0.2]),
        ([], [], []),
        ([0.5], [0.0], [0.3, 0.1, 0.03]),
    ],
)
def test_targets(starts, ends, targets):
    chosen = choose_targets(starts, ends)
    if ends == [0.0]:
        assert len(chosen) == 3  # an exact model reaches any error: some are asked for all the same
    else:
        assert chosen == targets


@given(st.lists(st.tuples(st.floats(1e-9, 1e3), st.floats(1e-9, 1.0)), min_size=1, max_size=5))
def test_targets_are_few_distinct_and_reached_by_somebody(pairs):
    starts, ends = [start for start, _ in pairs], [start * share for start, share in pairs]
    targets = choose_targets(starts, ends)
    assert 1 <= len(targets) <= 3
    assert targets == sorted(set(targets), reverse=True)
    assert min(ends) <= targets[-1] * (1 + 1e-9)


def test_two_errors_that_differ_in_the_last_digit() -> None:
    assert cost_to_error([(1.0, 1.0000000000000002e-06), (3.0, 1e-06)], 1e-06) == 3.0
