"""What a report says of told priors: floors beside what was measured, and where a black box becomes better."""

import csv
import io
import math

import numpy as np
import pytest

from reports.floors import HARD, SOFT
from reports.page import page, payload
from reports.study import parted
from reports.study_figures.priors import GAP, prior_figures
from reports.study_tables import priors, render, study_sheets, summarise
from reports.study_tables.priors import crossing, families
from reports.study_tables.summary import geometric_mean
from reports.verdict.types import Verdict
from reports.worlds import world
from tests.reports.told import ONE_STEP, ROLLOUT, told_study

DELTAS = (0.0, 0.01, 0.03, 0.1, 0.3)
SPREAD = (0.9, 1.0, 1.1)  # of seeds
BOX = 0.1 / math.prod(SPREAD) ** (1 / 3)  # times SPREAD: 0.1 in the geometric mean
FLOORS = {delta: 2 * delta or 1e-12 for delta in DELTAS}
VERDICT = Verdict("Nothing was judged.", (), (), (), ())


def study(hard=None, soft=None, boxes=None, **options):
    """Hard errors are the floors, 2 delta, but for a hundredth; soft ones a tenth of that and 0.001 more."""
    hard = hard or {delta: [1.01 * FLOORS[delta] + 1e-6 * (delta == 0)] for delta in DELTAS}
    soft = soft or {delta: [(0.001 + 0.2 * delta) * seed for seed in SPREAD] for delta in DELTAS}
    boxes = boxes or {"mlp": [BOX * seed for seed in SPREAD], "neural_ode": [0.3] * 3}
    return told_study({HARD: hard, SOFT: soft}, boxes, FLOORS, **options)


@pytest.fixture(scope="module")
def data():
    return study(notes=["No error floor is known of vicsek: it steps by chance."])


def test_hard_and_soft_make_one_family_under_whichever_name(data):
    whole, apart = (families(summarise(one)) for one in (data, parted(data)))
    assert [family.model for family in apart] == ["hybrid_ode"] * 2 and apart == whole


def one_step(data):
    [found] = [family for family in families(summarise(data)) if family.metric == ONE_STEP]
    return found


# The crossing


def test_a_crossing_is_interpolated_in_the_logarithm_of_delta():
    """Errors in proportion to delta^2, equal to the black box's at 0.05: straight in logarithms, thus exact."""
    deltas = [0.01, 0.1, 0.3]
    assert crossing(deltas, [2 * math.log(d / 0.05) for d in deltas]) == pytest.approx(0.05, rel=1e-12)
    assert crossing(deltas, [-1.0, 1.0, 2.0]) == pytest.approx(math.sqrt(0.01 * 0.1), rel=1e-12)


def test_a_crossing_beyond_what_was_run_is_none_of_its_numbers():
    assert crossing([0.01, 0.1], [-2.0, -1.0]) == math.inf  # better throughout
    assert crossing([0.01, 0.1], [1.0, 2.0]) == 0  # worse throughout
    assert crossing([], []) == math.inf


def test_a_crossing_is_the_one_for_good():
    """Worse at 0.03, better again at 0.1: from between 0.1 and 0.3 on it stays worse."""
    assert crossing([0.01, 0.03, 0.1, 0.3], [-1.0, 0.5, -1.0, 1.0]) == pytest.approx(math.sqrt(0.03))
    assert crossing([0.01, 0.03, 0.1], [-1.0, 0.5, -1.0]) == math.inf


# What was measured


def test_a_family_has_what_was_run(data):
    found = one_step(data)
    assert (found.task, found.model, found.prior, found.condition) == ("lorenz63", "hybrid_ode", "missing_term", "")
    assert [step.delta for step in found.steps] == list(DELTAS) and found.hows == [HARD, SOFT]
    assert list(found.black_boxes) == ["mlp", "neural_ode"], "the best first"
    for step in found.steps[1:]:
        assert step.floor.value == pytest.approx(2 * step.delta)
        assert step.measured[HARD].value == pytest.approx(2.02 * step.delta) and step.excess.value == pytest.approx(
            1.01
        )
        seeds = (0.001 + 0.2 * step.delta) * np.array(SPREAD)
        expected = geometric_mean(seeds, np.arange(3))
        assert vars(step.measured[SOFT]) == pytest.approx(vars(expected)) and expected.low < expected.high
        assert step.gain.value == pytest.approx(expected.value / (2.02 * step.delta))
    exact = found.steps[0]
    assert exact.measured[HARD].value == pytest.approx(1e-6, rel=1e-3)
    assert math.isnan(exact.excess.value), "a floor that is the solver's own is nothing to divide by"


def test_the_crossing_of_a_hard_prior_has_the_interval_of_the_black_box(data):
    """2.02 delta = the black box's error: the crossing is that error over 2.02, and so are the ends of its interval."""
    found, box = one_step(data), geometric_mean(BOX * np.array(SPREAD), np.arange(3))
    hard = found.crossings[HARD]
    assert hard.delta == pytest.approx(0.1 / 2.02) and hard.exact is True
    assert (hard.low, hard.high) == pytest.approx((box.low / 2.02, box.high / 2.02))
    assert found.crossings[SOFT].delta == math.inf, "0.061 at delta = 0.3"


def test_soft_runs_are_paired_with_black_boxes_by_seed():
    """The same seeds make both errors large: their ratio, and so the crossing, is the same for every seed."""
    soft = {delta: [2 * delta * seed + 1e-9 for seed in SPREAD] for delta in DELTAS}
    found = one_step(study(soft=soft)).crossings[SOFT]
    assert (found.delta, found.low, found.high) == pytest.approx((BOX / 2,) * 3, rel=1e-6)


def test_every_data_draw_is_compared_with_its_own_floor():
    """All errors double from one draw to the next: ratios and crossings do not change, means grow by a factor √2."""
    found = one_step(study(draws=(0.0, 5.0)))
    for step in found.steps[1:]:
        assert step.floor.value == pytest.approx(2 * step.delta * math.sqrt(2))
        assert (step.excess.value, step.excess.low, step.excess.high) == pytest.approx((1.01, 1.01, 1.01))
    assert found.crossings[HARD].delta == pytest.approx(0.1 / 2.02)


def test_a_run_that_failed_is_no_error():
    data = study()
    lost = (data.runs["configuration"] == "network=false width=8") & (data.runs["condition"] == "delta=0.03")
    data.runs["status"] = np.where(lost, "diverged", data.runs["status"]).astype(object)
    found = one_step(data)
    assert HARD not in found.steps[2].measured and math.isnan(found.steps[2].gain.value)
    assert found.crossings[HARD].delta == pytest.approx(0.1 / 2.02), "from its neighbours"


# Tables


def rows_of(data, table):
    rows = list(csv.DictReader(io.StringIO(render(data, VERDICT, "csv"))))
    return [row for row in rows if row["table"] == table]


def test_the_table_has_the_floors_as_they_were_computed(data):
    cells = {(r["metric"], r["delta"], r["quantity"]): r["value"] or r["text"] for r in rows_of(data, "floors")}
    for metric, factor in ((ONE_STEP, 1), (ROLLOUT, 10)):
        floors = [float(cells[metric, repr(delta), "floor"]) for delta in DELTAS]
        assert floors == pytest.approx([factor * FLOORS[delta] for delta in DELTAS])
        least = [cells[metric, repr(delta), "least"] for delta in DELTAS]
        assert least == ["hard", "soft", "soft", "soft", "soft"]


@pytest.mark.parametrize(
    ("box", "said"), [([10.0] * 3, "above 0.3"), ([1e-3] * 3, "below 0.01"), ([1e-8] * 3, "never better")]
)
def test_a_crossing_that_was_not_seen_is_said_in_words(box, said):
    [row] = [r for r in rows_of(study(boxes={"mlp": box}), "crossings")
             if (r["quantity"], r["metric"]) == ("crossing_hard", ONE_STEP)]  # fmt: skip
    assert (row["text"], row["value"]) == (said, "")


def test_notes_are_in_every_form(data):
    note = "No error floor is known of vicsek"
    assert note in render(data, VERDICT, "markdown") and note in render(data, VERDICT, "latex")
    text = page(data, VERDICT)
    assert text.count(note) >= 2 and 'id="priors"' in text


def test_without_floors_there_is_still_what_was_measured():
    data = told_study(
        {HARD: {0.0: [0.1], 0.1: [0.2]}}, {"mlp": [0.15] * 2}, {}, notes=["None, for it steps by chance."]
    )
    family = one_step(data)
    assert [step.measured[HARD].value for step in family.steps] == pytest.approx([0.1, 0.2])
    assert all(not step.floor.n for step in family.steps)
    floors = [row for row in rows_of(data, "floors") if row["quantity"] == "floor"]
    assert floors and not any(row["value"] or row["text"] != "—" for row in floors)
    assert "None, for it steps by chance." in page(data, VERDICT)


def test_a_study_that_tells_nothing_has_no_such_section():
    plain = world(["lorenz63"], seeds=2, sizes=2)
    assert not families(summarise(plain)) and not list(prior_figures(summarise(plain)))
    names = {sheet.name for sheet in study_sheets(summarise(plain), VERDICT)[0]}
    assert not names & {"floors", "crossings"}
    text = page(plain, VERDICT)
    assert 'id="priors"' not in text and "#priors" not in text and "How wrong a prior" not in text


def test_it_is_said_how_sure_errors_go_together_with_laws_that_cannot_tell(data):
    text = " ".join(render(data, VERDICT, "markdown").split())
    assert "The verdict is of scaling laws" in text and text.index("scaling laws") < text.index("alone (hard) it is")
    assert "The verdict is of scaling laws" in page(data, VERDICT)
    assert "scaling laws" not in render(study(boxes={"mlp": [math.nan]}), VERDICT, "markdown"), "nothing is compared"


def test_families_are_made_once(data, monkeypatch):
    made = []
    monkeypatch.setattr(priors, "families", lambda summary: made.append(1) or families(summary))
    summary = summarise(data)
    render(data, VERDICT, "markdown", summary=summary)
    payload(summary, VERDICT)
    list(prior_figures(summary))
    assert made == [1]


# Pictures


def test_the_figure_shows_floors_dashed_and_0_apart(data):
    [drawing] = prior_figures(summarise(data))
    axes = drawing.figure.axes[0]
    assert drawing.name == "priors" and len(drawing.figure.axes) == 2
    expected = [2 * d for d in DELTAS[1:]]
    [dashed] = [line for line in axes.get_lines() if list(line.get_ydata()) == pytest.approx(expected)]
    assert dashed.get_linestyle() == "--" and list(dashed.get_xdata()) == list(DELTAS[1:])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.01", "0.03", "0.1", "0.3"]
    assert axes.get_xticks()[0] == pytest.approx(0.01 / GAP)
    assert any("1e-12" in text.get_text() for text in axes.texts), "what lies below is named"
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1 and list(hollow[0].get_ydata()[1:]) == pytest.approx([2.02 * d for d in DELTAS[1:]])
    assert axes.get_ylim()[0] < hollow[0].get_ydata()[0]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if len(set(line.get_ydata())) == 1]
    assert {round(level, 6) for level in levels} >= {0.1, 0.3}


def test_the_page_has_what_the_figure_has(data):
    found = {family["metric"]: family for family in payload(summarise(data), VERDICT)["priors"]}
    steps = found[ONE_STEP]["steps"]
    assert [step["delta"] for step in steps] == list(DELTAS)
    assert [step["floor"] for step in steps] == pytest.approx([FLOORS[delta] for delta in DELTAS])
    assert steps[3]["measured"][HARD][0] == pytest.approx(0.202)
    low, high = steps[3]["measured"][SOFT][1:]
    assert low < 0.021 < high
    assert [box["error"][0] for box in found[ONE_STEP]["boxes"]] == pytest.approx([0.1, 0.3])
