"""What a reader must not be misled by: numbers that the data do not tell, certainty of three seeds, free targets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.floors import HARD, SOFT
from reports.scaling import fit_chinchilla, fit_power_law
from reports.study import AXES, Hypothesis, StudyData
from reports.study_tables import render, study_sheets, summarise
from reports.verdict import judge
from reports.verdict.hypotheses import outcome
from reports.verdict.overall import Finals, _at_least_wilson, _tail, trained
from reports.verdict.remarks import remarks
from reports.verdict.types import CANNOT_TELL, CROSSED, OFFSET, Contest, Estimate, Surface
from reports.verdict.words import _ranged, contest_sentence
from reports.worlds import Law, world
from tests.reports.told import told_study


def columns(data: StudyData, /, **runs: np.ndarray) -> StudyData:
    return replace(data, runs={**data.runs, **runs})


def test_a_steep_fall_to_a_floor_is_no_exponent() -> None:
    """One cost above the floor and the rest on it: any large exponent does, and none is a number to go by."""
    cost = np.repeat(np.geomspace(1, 4, 5), 3)
    noise = np.tile([0.99, 1.0, 1.01], 5)
    law = fit_power_law(cost, noise * np.where(cost == 1, 0.8, 0.5))
    assert law.identifiability.flat and law.exponent > 1
    # Too few decades alone leave a number.
    law = fit_power_law(cost, np.tile([0.999, 1.0, 1.001], 5) * cost**-0.5)
    assert all("decades" in reason for reason in law.identifiability.reasons) or law.identifiability.flat


def flat_study() -> StudyData:
    """A structured model that learns within a decade and stays where it is."""
    return world(["lorenz63"], {"hybrid_ode": Law(0.2, 0.3, 0.0), "mlp": Law(0.0, 1.0, 0.3)}, sizes=3, seeds=3)


def test_where_a_likelihood_is_flat_there_is_no_difference_and_no_p() -> None:
    verdict = judge(flat_study(), resamples=20, axes=["flop"])
    contest = next(c for c in verdict.contests if "flat likelihood" in " ".join(c.reasons))
    assert contest.difference.value is None and "flat likelihood" in contest.difference.reason
    assert contest.p is None and contest.p_holm is None
    assert "exponents cannot be compared" in contest.sentence and "p =" not in contest.sentence


def a_contest(**given: object) -> Contest:
    e = Estimate(1.5, 1.2, 1.8)
    base = Contest("t", "", "flop", "s", "b", CROSSED, "", e, 0.01, 0.02, e, e, e, e, common=(1e6, 1e9))
    return replace(base, **given)


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e8, None), (1e10, "(extrapolated)"), (1e13, "(extrapolated, not within reach of these data)")],
)
def test_a_crossover_beyond_the_data_is_called_so(value: float, said: str | None) -> None:
    sentence = contest_sentence(a_contest(crossover=Estimate(value, value / 2, value * 2)))
    assert (said in sentence) if said else ("extrapolated" not in sentence)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Estimate(2.0, 1.5, 3.0), "to an error of 0.1 b needs 2 [1.5, 3] times the cost"),
        (Estimate(2.0, 1.5, math.inf), "to an error of 0.1 b needs 2 [1.5, ∞] times the cost"),
        (Estimate(math.inf, math.inf, math.inf), "by its law b never comes to an error of 0.1;"),
        (Estimate(math.inf), "by its law b never comes to an error of 0.1;"),
        (
            Estimate(math.inf, 4.0, math.inf),
            "b never comes to an error of 0.1 (the interval begins at 4 times the cost)",
        ),
        (Estimate(0.0, 0.0, 0.5), "s never comes to an error of 0.1 (the interval ends at 0.5 times the cost)"),
        (Estimate(0.0, 0.0, math.inf), "s never comes to an error of 0.1 (the interval excludes no ratio of costs)"),
    ],
)
def test_what_is_never_reached_makes_a_sentence(ratio: Estimate, said: str) -> None:
    sentence = contest_sentence(a_contest(cost_ratio=ratio, equal_error=0.1)).removesuffix(".") + ";"
    assert said in sentence and "never [" not in sentence and "never]" not in sentence


def test_an_open_hypothesis_has_the_reasons_of_all_its_contests() -> None:
    """Not those of whichever comes first, which may be the one that it leaves out."""
    at = {"delta=0": ("s: it learns nothing",)} | {f"delta={d}": (f"b: off by {d}",) for d in (0.1, 0.2, 0.3)}
    open_ones = [a_contest(says=CANNOT_TELL, condition=name, reasons=why) for name, why in at.items()]
    found = outcome(Hypothesis("the same exponent", says=OFFSET), open_ones)
    assert found.outcome == CANNOT_TELL
    assert found.because == (
        "s against b on t: cannot tell in 4 of 4 contests (delta=0; delta=0.1; delta=0.2; delta=0.3). "
        "Most often: off by 0.1 to 0.3 (3 of 4); it learns nothing (1 of 4)."
    )
    one = outcome(Hypothesis("the same exponent", says=OFFSET), open_ones[:1])
    assert one.because == "s against b on t (delta=0): cannot tell: s: it learns nothing"
    other = a_contest(task="u")
    mixed = outcome(Hypothesis("the same exponent", says=OFFSET), [*open_ones, other])
    assert mixed.because == f"{CROSSED} in 1 of 5 contests, as s against b on u"


def test_the_sentence_says_what_is_corrected_and_what_is_not() -> None:
    assert "p = 0.02 corrected over tasks (Holm; the interval is not)" in contest_sentence(a_contest())
    assert "Holm" not in contest_sentence(a_contest(p_holm=0.01))


@given(st.floats(0, 1), st.integers(2, 50))
def test_no_probability_is_sure_from_a_few_clusters(value: float, count: int) -> None:
    found = _at_least_wilson(Estimate(value, value, value), count)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= value <= found.high <= 1 and found.high - found.low > 0.01
    # All of n: Wilson's lower end is n/(n + z²), z the normal quantile of 0.95.
    every = _at_least_wilson(Estimate(1.0, 1.0, 1.0), count)
    assert every.low == pytest.approx(count / (count + 1.6448536**2))


def test_percentiles_are_taken_further_out_where_runs_are_few() -> None:
    assert _tail(0.05, [3, 3]) < _tail(0.05, [10, 10]) < _tail(0.05, [1000, 1000])
    assert _tail(0.05, [1000, 1000]) == pytest.approx(0.05, rel=0.02)  # t of 1998 degrees is the normal


def test_a_model_always_ahead_is_not_surely_ahead() -> None:
    data = world(["lorenz63"], {"hybrid_ode": Law(0.0, 0.01, 0.3), "mlp": Law(0.0, 1.0, 0.3)}, sizes=2, seeds=3)
    improvement = judge(data, resamples=50, axes=["flop"]).contests[0].improvement
    assert improvement.value == improvement.high == 1 and improvement.low is not None and improvement.low < 0.6


def test_told_equations_alone_are_no_training_of_the_model_that_corrects_them() -> None:
    """Hard runs cost nothing and are worse than the black box, soft ones are better: soft ones only are compared."""
    data = told_study({HARD: {0.1: [1.0]}, SOFT: {0.1: [0.1, 0.12, 0.11]}}, {"mlp": [0.5, 0.5, 0.6]}, {0.1: 1.0})
    found = judge(data, resamples=20, axes=["flop"])
    assert found.contests[0].improvement.value == 1
    alone = told_study({HARD: {0.1: [1.0]}}, {"mlp": [0.5, 0.5, 0.6]}, {0.1: 1.0})
    hard = Finals(alone), trained(alone, alone.of("lorenz63", "delta=0.1", "hybrid_ode"))
    assert hard[0].error[hard[1]].tolist() == [1.0], "where there are no others, they are what there is"


def test_no_law_has_a_cost_of_what_a_model_had_untrained() -> None:
    """Told equations that are better than the black box ever gets, and training that makes them better still."""
    told = Law(0.0, 0.01, 0.5)
    data = world(["lorenz63"], {"hybrid_ode": told, "mlp": Law(0.1, 1.0, 0.4)}, sizes=2, seeds=3, decades=5)
    mine = np.isin(data.points["run"], data.of("lorenz63", "", "hybrid_ode"))
    flat = np.minimum(data.points["test.one_step_nrmse"], float(told.error(3e7)))  # a plateau until 3e7 FLOP
    start = {"step": 0, "samples": 0, "flop": 0.0, "test.one_step_nrmse": float(told.error(3e7))}
    points = {**data.points, "test.one_step_nrmse": np.where(mine, flat, data.points["test.one_step_nrmse"])}
    points = {name: np.append(column, start.get(name, 0.0)) for name, column in points.items()}
    points["run"] = np.append(data.points["run"], data.of("lorenz63", "", "hybrid_ode")[0])
    found = judge(replace(data, points=points), resamples=20, axes=["flop"]).contests[0]
    assert found.cost_ratio.value is None and "before training lowers its error" in found.cost_ratio.reason
    assert found.cost_ratio.reason in found.sentence and "needs" not in found.sentence
    plain = judge(data, resamples=20, axes=["flop"]).contests[0]
    assert plain.cost_ratio.value is not None and "times the cost" in plain.sentence


def test_the_headline_says_numbers_that_differ_as_a_range() -> None:
    reasons = [f"its top decade is not predicted (off by a factor {factor})" for factor in ("1.5", "12")]
    assert _ranged(reasons) == "the top decade is not predicted (off by a factor 1.5 to 12)"
    same = "the cost covers 2 decades; at least 2.5 are needed"
    assert _ranged([same, same]) == same
    assert _ranged([same, same.replace("2 ", "-1e-3 ")]) == same.replace("2 ", "-1e-3 to 2 ")


def test_what_is_over_tasks_is_shown_where_there_are_two() -> None:
    one, two = (world(names, sizes=2, seeds=2) for names in (["lorenz63"], ["lorenz63", "flocking"]))
    for data, there in ((one, False), (two, True)):
        verdict, summary = judge(data, resamples=10, axes=["flop"]), summarise(data)
        for most in (40, None):
            names = [sheet.name for sheet in study_sheets(summary, verdict, most)[0]]
            assert (("models" in names), ("improvement" in names)) == (there, there)
        assert ("Models over all tasks" in render(data, verdict, "markdown")) == there


def test_a_run_that_diverged_is_a_result_and_not_missing() -> None:
    data = world(["lorenz63"], sizes=2, seeds=2)
    status = data.runs["status"].copy()
    status[:2] = ["diverged", "skipped"]
    data = replace(columns(data, status=status), planned=len(data))
    assert not any("planned" in note for note in judge(data, resamples=10, axes=["flop"]).notes)
    status[0] = "failed"
    assert any("planned" in note for note in judge(data, resamples=10, axes=["flop"]).notes)


def test_a_charge_that_leaves_trials_out_is_said_to() -> None:
    data = world(["lorenz63"], sizes=2, seeds=2, tune_trials=2)
    data = columns(data, tune_flop_unknown=(data.runs["model"] == data.black_box[0]).astype(float))
    notes = judge(data, resamples=10, axes=["flop"]).notes
    assert f"Some trials of {data.black_box[0]} do not say their FLOP: the tuning charged is a lower bound." in notes


def test_it_is_said_why_no_tuning_is_charged() -> None:
    plain, tuned = (world(["lorenz63"], sizes=2, seeds=2, tune_trials=trials) for trials in (0, 2))
    nothing = "Nothing was tuned: no cost has tuning to be charged."
    assert nothing in remarks(plain, ["flop"], ()) and nothing in remarks(plain, ["flop"], (), asked=True)
    said = "There was tuning, but some costs that charge it are not judged, since"
    assert f"{said} they were not asked for: training energy, tuning charged." in remarks(
        tuned, ["flop", "tuned_flop"], (), asked=True
    )
    assert any(note.startswith(f"{said} the study is too large") for note in remarks(tuned, ["flop", "energy_j"], ()))
    assert not any("There was tuning" in note for note in remarks(tuned, list(AXES), ()))


def test_extrapolated_with_tuning_charged_too() -> None:
    data = world(["lorenz63"], sizes=2, seeds=2, tune_trials=2)
    axes = {e.axis for e in judge(data, resamples=10).extrapolations}
    assert axes == {"flop", "tuned_flop"}


def test_default_targets_are_had_for_nothing_by_nobody() -> None:
    data = world(["lorenz63"], sizes=2, seeds=2, references=True)
    summary = summarise(replace(data, targets=()))
    for place, targets in summary.targets.items():
        levels = [row.error.value for row in summary.rows[place] if row.model == "persistence"]
        assert 1 <= len(targets) <= 2 and all(target < min(levels, default=math.inf) for target in targets)
        learned = [row for row in summary.rows[place] if not row.reference]
        assert any(row.reach["flop", targets[-1]].value < math.inf for row in learned)
        assert all(row.reach["flop", target].value != 0 for row in learned for target in targets)


def test_the_law_in_size_and_data_is_fitted_where_a_study_varies_both() -> None:
    data = world(["lorenz63"], sizes=4, seeds=2)
    assert judge(data, resamples=10, axes=["flop"]).surfaces == ()
    assert "Not fitted: no model varies both" in render(data, judge(data, resamples=10, axes=["flop"]), "markdown")
    data = world(["lorenz63"], sizes=4, seeds=4)
    chosen = data.runs["model"] == data.black_box[0]
    k = np.cumsum(chosen) - 1
    n, d = 100 * 8.0 ** (k % 4), 50 * 8.0 ** (k // 4 % 2)
    wave = np.exp(0.01 * np.sin(7.0 * np.arange(len(data))))  # the only noise
    error = (0.05 + 3 * n**-0.4 + 5 * d**-0.3) * wave
    data = columns(data, parameters=np.where(chosen, n, 100.0), data=np.where(chosen, d, 50.0))
    data = columns(data, **{f"metrics.{data.metric}": error})
    verdict = judge(data, resamples=20, axes=["flop"])
    by_model: dict[str, Surface] = {s.model: s for s in verdict.surfaces}
    black_box, structured = by_model[data.black_box[0]], by_model[data.structured[0]]
    alone = fit_chinchilla(black_box.n, black_box.d, black_box.error)
    assert black_box.law is not None and black_box.law.exponent_n == pytest.approx(alone.exponent_n, rel=1e-3)
    assert set(black_box.intervals) == {"floor", "exponent_n", "exponent_d"}
    assert structured.law is None and "1 sizes" in structured.reasons[0]
    assert "Size and data" in render(data, verdict, "markdown")
