"""Grouping over seeds, labels, spreads, order of the rows, and what is said about statuses and energy."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.record import Costs, Record
from reports import Spread, compare
from reports.notes import energy, heading, notes, warnings

KEY = "metrics.rollout_nrmse"


def known(row, key):
    """A figure that must not be unknown."""
    spread = row.figures[key]
    assert spread is not None
    return spread


@given(st.lists(st.one_of(st.none(), st.one_of(st.just(math.nan), st.floats(-1e300, 1e300))), max_size=9))
def test_spread(values):
    spread = Spread.of(values)
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    assert (spread is None) == (not numbers)
    if spread is not None:
        assert (spread.low, spread.high, spread.n) == (min(numbers), max(numbers), len(numbers))
        assert spread.low <= spread.median <= spread.high


def test_spread_over_seeds(record):
    (row,) = compare([record(seed=s, errors=(1.0, 0.1, error)) for s, error in enumerate((0.03, 0.01, 0.02))]).rows
    assert row.figures[KEY] == Spread(0.02, 0.01, 0.03, 3, 3)
    assert row.label == "neural_ode" and row.status == ""
    assert [run.seed for run in row.runs] == [0, 1, 2]


def test_never_in_a_spread():
    assert Spread.of([1.0, math.inf, 2.0]) == Spread(2.0, 1.0, math.inf, 3, 2)
    assert Spread.of([math.inf, math.inf]) == Spread(math.inf, math.inf, math.inf, 2, 0)


def test_labels_show_what_differs_and_nothing_else(record):
    runs = [record(settings={"width": width, "depth": 2}) for width in (64, 256)]
    runs += [record("mlp", settings={"width": 32}), record("neural_ode", seed=1, settings={"width": 64, "depth": 2})]
    assert {row.label for row in compare(runs)} == {"neural_ode model.width=64", "neural_ode model.width=256", "mlp"}


def test_a_setting_that_one_lacks_still_sets_it_apart(record):
    rows = compare([record(settings={"width": 64}), record(settings={"width": 64, "skip": True})])
    assert {row.label for row in rows} == {"neural_ode model.skip=true", "neural_ode model.skip=unset"}


def test_whole_floats_are_the_same_setting_as_ints(record):
    one, other = record(seed=0, settings={"width": 64}), record(seed=1, settings={"width": 64.0})
    assert len(compare([one, other])) == 1


def test_unequal_conditions_are_shown_on_models_but_not_on_references(record, reference):
    cheap, dear = record("mlp"), record()
    dear = replace(dear, config={**dear.config, "budget": {"flop": 1e12}})
    labels = [row.label for row in compare([cheap, dear, reference("persistence", 0.8)])]
    assert sorted(labels) == ["mlp budget.flop=1e8", "neural_ode budget.flop=1e12", "persistence"]


def test_backend_and_device_set_rows_apart(record):
    rows = compare([record(), record(backend="torch"), record(device="cuda")])
    assert {row.label for row in rows} == {
        "neural_ode backend=jax device=cpu",
        "neural_ode backend=torch device=cpu",
        "neural_ode backend=jax device=cuda",
    }


def test_models_by_error_then_references_in_their_order(everything):
    assert [row.model for row in compare(everything)] == [
        *("hybrid_ode", "neural_ode", "mlp", "gone", "unfit"),
        *("persistence", "linear", "true_physics", "simulator"),
    ]


def test_a_model_most_of_whose_runs_failed_does_not_lead(record):
    lucky = [record("lucky", seed=0, errors=(1.0, 0.1, 0.001))]
    lucky += [record("lucky", seed=seed, status="diverged", metrics={}) for seed in (1, 2)]
    assert [row.model for row in compare([*lucky, record()])] == ["neural_ode", "lucky"]


def test_statuses_are_told_and_failed_runs_do_not_flatter_the_cost(everything):
    rows = {row.model: row for row in compare(everything)}
    assert rows["mlp"].status == "diverged 1/2" and rows["mlp"].reasons == ("grew",)
    assert rows["mlp"].figures[KEY] == Spread(0.5, 0.5, 0.5, 1, 1)
    assert known(rows["mlp"], "train_flop").n == 1
    assert rows["gone"].status == "diverged 1/1" and rows["gone"].figures[KEY] is None
    assert rows["unfit"].status == "skipped 1/1"
    assert all(figure is None for figure in rows["unfit"].figures.values())


def test_nan_and_none_metrics_are_unknown(record):
    runs = [record(seed=s, metrics={"rollout_nrmse": m, "x": None}) for s, m in enumerate((math.nan, None, 0.5))]
    (row,) = compare(runs).rows
    assert row.figures[KEY] == Spread(0.5, 0.5, 0.5, 1, 1)
    assert row.figures["metrics.x"] is None


def test_metric_columns_know_unit_and_direction(everything):
    first, second = compare(everything).columns[:2]
    assert (first.name, first.unit, first.better) == ("rollout_nrmse", "", "lower")
    assert (second.name, second.unit, second.better) == ("valid_time", "time units", "higher")


def test_cost_to_error_over_seeds(record):
    comparison = compare([record(seed=s, errors=(1.0, 0.1, e)) for s, e in enumerate((0.01, 0.05, 0.02))], [0.1, 0.02])
    (row,) = comparison.rows
    assert row.figures["flop@0.1"] == Spread(1e7, 1e7, 1e7, 3, 3)
    hard = known(row, "flop@0.02")
    assert (hard.n, hard.reached, hard.high) == (3, 2, math.inf)
    assert hard.median == pytest.approx(1e8)
    assert known(row, "energy_j@0.1").median == pytest.approx(1e-2)


def test_untrained_models_cost_nothing_and_unknown_is_not_zero(record, reference):
    unknown = record("mlp", costs=Costs())
    rows = {row.model: row for row in compare([reference("persistence", 0.05), unknown, record()], [0.1])}
    assert (
        rows["persistence"].figures["flop@0.1"] == rows["persistence"].figures["energy_j@0.1"] == Spread(0, 0, 0, 1, 1)
    )
    assert rows["mlp"].figures["train_flop"] is None and rows["mlp"].figures["train_energy_j"] is None


def test_of_two_records_of_one_run_the_later_counts(record):
    old, new = record(started="2025-01-01"), record(started="2025-02-01", metrics={"rollout_nrmse": 0.5})
    cut = record(started="2025-03-01", status="interrupted", metrics={})
    comparison = compare([new, cut, old])
    assert known(comparison.rows[0], KEY).median == 0.5 and comparison.superseded == 2
    assert any("2 older records" in line for line in warnings(comparison))


def test_records_read_back_from_json_compare_the_same(everything):
    again = compare([Record.from_json(run.to_json()) for run in everything])
    assert [(row.label, row.status, row.figures) for row in again] == [
        (row.label, row.status, row.figures) for row in compare(everything)
    ]


def test_several_tasks_and_bad_targets_are_refused(record):
    with pytest.raises(ValueError, match="of one task"):
        compare([record(), record(task="pendulum")])
    for target in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="above 0"):
            compare([record()], [target])
    with pytest.raises(ValueError, match="must be an error"):
        compare([record()], primary="valid_time")


def test_no_records_are_an_empty_comparison():
    comparison = compare([])
    assert len(comparison) == 0 and comparison.targets == ()
    assert heading(comparison) and notes(comparison)


def test_energy_methods_are_told_and_mixing_is_warned_of(record):
    measured = record("mlp", energy_method="measured:rapl", energy_uncertainty=0.05)
    alone, mixed = compare([record()]), compare([record(), measured])
    assert energy(alone.rows[0]) == "modelled ±50%" and not warnings(alone)
    assert "measured in some runs and modelled in others" in warnings(mixed)[0]
    asked = compare([record(), measured], mix_joules=True)
    assert "do not compare them across methods" in warnings(asked)[0]
    within = compare([record(), record(seed=1, energy_method="measured:rapl", energy_uncertainty=0.05)])
    assert energy(within.rows[0]) == "modelled ±50%, measured ±5%" and warnings(within)
    two_meters = compare([record(), record("mlp", energy_method="modelled:other")])
    assert "different methods" in warnings(two_meters)[0]


def test_joules_of_unknown_uncertainty_say_so(record):
    unknown = record(energy_method="measured:rapl", energy_uncertainty=None)
    comparison = compare([unknown])
    assert energy(comparison.rows[0]) == "measured ±?"
    assert energy(comparison.rows[0], full=True) == "measured:rapl ±?"
    assert "Joules: measured:rapl ±? (±?: unknown uncertainty)." in notes(comparison)
    assert not any("±?" in line for line in notes(compare([record()])))
    seeds = compare([unknown, record(seed=1, energy_method="measured:rapl", energy_uncertainty=0.05)])
    assert energy(seeds.rows[0]) == "measured ±?, measured ±5%"


def test_the_reader_is_told_what_was_measured(everything):
    comparison = compare(everything)
    assert "rollout_nrmse over 1 time unit; 64 training trajectories" in heading(comparison)
    told = "\n".join(notes(comparison))
    for words in ("Median over 1 to 3 seeds", "lower bound", "sort (hybrid_ode)", "not reached", "needs 3-D", "±50%"):
        assert words in told
    assert "nothing is known of the spread" in notes(compare(everything[:1]))[0]


def test_other_settings_of_the_task_or_other_code_are_warned_of(record):
    other = record("mlp")
    other = replace(other, config={**other.config, "task": {"name": "flocking", "agents": 8}}, code="def")
    comparison = compare([record(), other])
    assert {row.label for row in comparison} == {"neural_ode task.agents=16", "mlp task.agents=8"}
    told = "\n".join(warnings(comparison))
    assert "not of the same problem" in told
    assert "versions of the code" not in told, "another model's file is no other version"
    told = "\n".join(warnings(compare([record(seed=0), record(seed=1, code="def")])))
    assert "runs of neural_ode come from 2 versions of the code" in told


def test_measured_and_modelled_joules_are_not_ranked_together_unless_asked(record):
    measured = record("mlp", energy_method="measured:rapl", energy_uncertainty=0.05)
    runs = [record(), measured]
    shown, asked = compare(runs, [0.1]), compare(runs, [0.1], mix_joules=True)
    modelled, known = sorted(shown, key=lambda row: row.model, reverse=True)
    also = {row.label: row for row in asked}[known.label]
    assert modelled.model == "neural_ode" and modelled.joules_withheld and not known.joules_withheld
    keys = [column.key for column in shown.columns if column.unit == "J" and also.figures[column.key]]
    assert "train_energy_j" in keys and any("@" in key for key in keys)
    assert all(modelled.figures[key] is None and known.figures[key] == also.figures[key] for key in keys)
    assert not any(row.joules_withheld for row in asked) and "--mix-joules" in warnings(shown)[0]
    # FLOP and errors stay, and one kind alone is never withheld.
    assert modelled.figures["train_flop"] is not None
    assert not any(row.joules_withheld for row in compare([record(), record("mlp")]))


def test_a_gpu_alone_is_not_ranked_against_a_node_without_a_word(record):
    gpu, node = record(energy_method="measured:nvml"), record("mlp", energy_method="measured:rapl")
    gpu = replace(gpu, costs=replace(gpu.costs, energy_covers="one GPU without its host"))
    node = replace(node, costs=replace(node.costs, energy_covers="all processor packages"))
    comparison = compare([gpu, node])
    told = " ".join([*notes(comparison), *warnings(comparison)])
    assert "one GPU without its host" in told and "all processor packages" in told
