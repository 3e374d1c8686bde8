"""Laws of the page that need no browser: it parses, loads nothing, escapes everything, and stays small."""

import base64
import dataclasses
import hashlib
import importlib
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from reports.page import embedded, page, payload, write
from reports.page.styles import styles
from reports.page.words import prose, text_of
from reports.scaling import Interval
from reports.study import Hypothesis
from reports.study_figures.base import Look
from reports.study_tables import summarise
from reports.verdict.types import Contest, Estimate, Outcome, Scaling, Verdict
from reports.worlds import HOSTILE, world

BOUNDS = importlib.import_module("reports.page.payload")  # the package has its function under that name
VOID = {"meta", "link", "input", "br"}
MEBIBYTE = 2**20


class Page(HTMLParser):
    """The page as a browser would take it apart: elements, their attributes, headings, and unbalanced tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.headings, self.text, self.wrong = [], [], [], "", []
        self.programs, self.styles, self.data = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.wrong.append((tag, self.getpos()))
        else:
            self.open.pop()

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script" and attrs.get("type") == "application/json":
            self.data += data
        elif tag == "script":
            self.programs.append(data)
        elif tag == "style":
            self.styles.append(data)
        else:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def verdict_of(data):
    """A verdict by hand: judging takes its time, and the page must not depend on how it was reached."""
    scalings, contests = [], []
    for task, condition in data.tasks():
        for axis in ("flop", "energy_j"):
            for model in (*data.structured, *data.black_box):
                cost = np.logspace(6, 10, 9)
                error = 0.01 + (cost / 1e6) ** -0.4
                band = np.array([np.logspace(6, 12, 40), *(np.full(40, x) for x in (0.1, 0.08, 0.12))])
                empty = np.empty(0)
                s = Scaling(
                    task, condition, model, axis, {"finished": 9}, cost, error, np.full(9, "width=8", dtype=object),
                    empty, empty, np.empty((0, 2)), empty, exponent=Interval(0.3, 0.5, 0.9, "jackknife"), band=band,
                    reasons=("two seeds only",),
                )  # fmt: skip
                scalings.append(s)
            for structured in data.structured:
                for black_box in data.black_box:
                    sentence = f"{structured} differs from {black_box} on {task}: at 1e10 FLOP by -0.02."
                    e = Estimate(0.1, 0.05, 0.15)
                    contests.append(
                        Contest(task, condition, axis, structured, black_box, "offset only", sentence, e, 0.01, 0.02, e,
                                e, Estimate(np.inf), e, ("the top decade is missed",))
                    )  # fmt: skip
    outcomes = tuple(Outcome(h.text, "contradicted", "the interval holds 0") for h in data.hypotheses)
    return Verdict("Physics changes the offset, not the exponent.", tuple(scalings), tuple(contests), (), (), outcomes)


@pytest.fixture(scope="module")
def study():
    return world(
        ["lorenz63", "pendulum"], hypotheses=[Hypothesis("Physics wins.")], tune_trials=2, diverged=0.2, targets=[5.0]
    )


@pytest.fixture(scope="module")
def text(study):
    return page(study, verdict_of(study))


@pytest.fixture(scope="module")
def hostile():
    bad = HOSTILE[0]
    data = world(["lorenz63"], hostile=True, hypotheses=[Hypothesis(bad)])
    data.runs["reason"][0] = bad
    data.runs["command"][0] = "</script><script>alert(1)</script>"
    data.runs["device_name"][1] = '"><img src=x onerror=alert(1)>'
    data = dataclasses.replace(data, question=bad, facts={bad: [bad]})
    return data, page(data, dataclasses.replace(verdict_of(data), headline=bad, notes=(bad,)))


def test_the_page_is_well_formed_and_says_the_verdict_first(text, study):
    parsed = Page(text)
    assert not parsed.wrong and not parsed.open
    assert text.startswith("<!DOCTYPE html>")
    assert parsed.all("html")[0]["lang"] == "en"
    body = parsed.text[parsed.text.index("Physics changes the offset") :]  # what is before is the way to it
    for later in ("What was expected", "The evidence", "Results in tables", "How it was measured", "All runs"):
        assert later in body
    for said in ("Physics wins.", "contradicted", "offset only", "at 10¹⁰ FLOP by −0.02", "the top decade is missed"):
        assert said in parsed.text


def test_headings_go_down_one_level_at_a_time_and_there_is_one_first(text):
    levels = Page(text).headings
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_everything_has_its_landmark_its_label_and_its_own_identifier(text):
    parsed = Page(text)
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag in ("header", "nav", "main", "footer"):
        assert len(parsed.all(tag)) == 1, tag
    for _, attrs in parsed.elements:
        assert attrs.get("aria-labelledby", ids[0]) in ids
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    tables = [attrs for attrs in parsed.all("div") if "scroll" in attrs.get("class", "").split()]
    assert tables and all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in tables)
    assert sum("aria-live" in attrs for _, attrs in parsed.elements) >= 3
    # Fields are inside their labels.
    assert len(parsed.all("label")) == len(parsed.all("input")) + len(parsed.all("select"))


def test_nothing_is_loaded_and_only_known_programs_run(text):
    parsed = Page(text)
    for tag, attrs in parsed.elements:
        assert "src" not in attrs and "srcset" not in attrs and "style" not in attrs, (tag, attrs)
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "base", "img")
        if tag in ("a", "link"):
            assert attrs["href"].startswith(("#", "data:"))
    assert "@import" not in parsed.styles[0] and "url(" not in parsed.styles[0]
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for source in (*parsed.programs, *parsed.styles):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == len(parsed.programs) + len(parsed.styles) == 3
    assert "\r" not in text  # a browser would read it as a newline, and the hash would be another's


def test_hostile_names_stay_text(hostile):
    _, text = hostile
    parsed = Page(text)
    assert not parsed.wrong and not parsed.open
    assert len(parsed.programs) == 2 and not parsed.all("img")
    assert "alert(" not in "".join(parsed.programs)
    assert parsed.text.count(HOSTILE[0]) > 5
    loaded = json.loads(parsed.data)
    assert loaded["runs"]["command"][0] == "</script><script>alert(1)</script>"
    assert not set("<>&\u2028\u2029") & set(parsed.data)
    assert not any(char in parsed.text + parsed.data for char in "\x00\x1b\u202e")


@pytest.mark.parametrize("value", ["</script>", "<!--", "\u2028", "&lt;", "]]>", 'a"b\\c'])
def test_embedded_json_is_the_same_value_and_harmless(value):
    found = embedded({value: [value, 1.5, None]})
    assert json.loads(found) == {value: [value, 1.5, None]}
    assert not set(found) & set("<>&\u2028\u2029")


def test_the_same_study_gives_the_same_bytes_and_no_time_of_day(study, text, tmp_path):
    (path,) = write(study, verdict_of(study), tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "report.html"
    assert path.read_bytes() == text.encode()
    assert set(re.findall(r"\d{4}-\d\d-\d\dT[\d:]+", re.sub(r"(?s)<script>.*?</script>", "", text))) <= {
        started[:19] for started in study.runs["started"]
    }


def test_every_run_is_there_with_its_command_status_and_reason(study, text):
    runs = json.loads(Page(text).data)["runs"]
    assert runs["command"] == list(study.runs["command"])
    assert runs["identity"] == list(study.runs["identity"])
    assert runs["status"] == list(study.runs["status"]) and "diverged" in runs["status"]
    assert runs["reason"] == list(study.runs["reason"])
    gone = [error for error, status in zip(runs["error"], runs["status"], strict=True) if status == "diverged"]
    assert gone and not any(gone)  # unknown, never 0


def test_a_thousand_runs_stay_below_three_megabytes_and_a_larger_study_is_bounded(monkeypatch):
    data = world([f"task_{i}" for i in range(6)], sizes=6, seeds=10)
    assert len(data) > 1000
    assert len(page(data, verdict_of(data)).encode()) < 3 * MEBIBYTE
    monkeypatch.setattr(BOUNDS, "MOST_RUNS", 100)
    monkeypatch.setattr(BOUNDS, "MOST_ROWS", 20)
    monkeypatch.setattr(BOUNDS, "MOST_POINTS", 500)
    monkeypatch.setattr(BOUNDS, "MOST_PANELS", 4)
    loaded = payload(summarise(data), verdict_of(data))
    assert len(loaded["runs"]["identity"]) == 100 and len(loaded["points"]["run"]) <= 500
    drawable = [
        i for i, error in enumerate(loaded["runs"]["error"]) if error
    ]  # an error of 0 is off a logarithmic axis
    assert set(loaded["points"]["run"]) == set(drawable) and len(drawable) > 90
    assert len(loaded["panels"]) == 4 and {s["panel"] for s in loaded["scalings"]} == {0, 1, 2, 3}
    rows = loaded["configurations"]
    assert len(rows["rows"]) == 20 and rows["total"] == len(
        set(zip(data.runs["task"], data.runs["model"], data.runs["configuration"], strict=True))
    )
    text = page(data, verdict_of(data))
    assert "the charts draw 100, chosen by chance" in text and "runs.parquet" in text


def test_the_query_of_a_configuration_finds_its_runs_whatever_they_are_called(tmp_path, monkeypatch):
    import duckdb

    monkeypatch.setattr(BOUNDS, "MOST_RUNS", 5)
    data = world(["it's", "b"], conditions=["", "noise=0.1"])
    columns = {name: list(data.runs[name]) for name in ("identity", "task", "condition", "model", "configuration")}
    names = ", ".join(f"unnest(?) AS {name}" for name in columns)
    path = str(tmp_path / "runs.parquet")
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE runs AS SELECT {names}", list(columns.values()))
    connection.execute(f"COPY runs TO '{path}' (FORMAT parquet)")
    found = payload(summarise(data), verdict_of(data))["configurations"]
    count = 0
    for row in found["rows"]:
        rows = connection.execute(row["query"].replace("'runs.parquet'", f"'{path}'")).fetchall()
        assert len(rows) == row["runs"]
        count += len(rows)
    assert count == len(data)


@pytest.mark.parametrize("runs", [0, 1])
def test_a_study_without_results_gives_a_page_too(runs):
    data = world(["lorenz63"], sizes=1, seeds=1)
    kept = {name: values[:runs] for name, values in data.runs.items()}
    points = {name: values[data.points["run"] < runs] for name, values in data.points.items()}
    data = dataclasses.replace(data, runs=kept, points=points, planned=7)
    parsed = Page(page(data, Verdict("", (), ())))
    assert not parsed.wrong and f"{runs} of 7 runs" in parsed.text and "No verdict" in parsed.text


def test_numbers_read_as_people_write_them():
    assert [text_of(x) for x in (1e10, -2.5e-7, 0.1234, None, float("nan"), float("inf"), 3)] == [
        "10¹⁰", "−2.5×10⁻⁷", "0.123", "—", "—", "never", "3",
    ]  # fmt: skip
    assert prose("at 1e10 FLOP by -0.02 (1.5e-07 to 2), not 3e5f or x1e10") == (
        "at 10¹⁰ FLOP by −0.02 (1.5×10⁻⁷ to 2), not 3e5f or x1e10"
    )


def test_models_have_the_colours_of_the_static_figures_even_where_one_has_no_run_yet():
    data = world()
    missing = dataclasses.replace(data, structured=("nobody_has_run_this", *data.structured))
    look = Look.of(missing)
    shown = styles(missing)
    assert shown and "nobody_has_run_this" not in {model["key"] for model in shown}
    assert all(model["light"] == look[model["key"]]["color"] for model in shown)
