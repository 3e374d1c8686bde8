"""The dashboard: W&B's own classes read back what was written, and a server on this machine gets what is pushed."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from experiments.backfill import backfill
from experiments.dashboard import COSTS, ERROR, Board, push, report, specification, workspace
from experiments.errors import UserError
from experiments.record import Costs, Point, Record
from experiments.tracking import Tracker, start

wr: Any = import_module("wandb_workspaces.reports.v2")
ws: Any = import_module("wandb_workspaces.workspaces")
BOARD = Board("quick", "0123456789abcdef", "Does it?", ["one_step_nrmse"], ["model.width"], "**cannot tell**")


def panels(view: Any) -> list[Any]:
    return [panel for section in view.sections for panel in section.panels]


def names(metrics: Any) -> list[str]:
    return [getattr(metric, "name", metric) for metric in metrics]


def test_w_and_b_reads_the_workspace_back_with_every_panel() -> None:
    written = json.loads(specification(BOARD, "me", "project"))["workspace"]
    read = ws.Workspace._from_model(ws.internal.View.model_validate(written))
    assert [type(panel) for panel in panels(read)] == [type(panel) for panel in panels(workspace(BOARD, "me", "p"))]
    lines = [panel for panel in panels(read) if isinstance(panel, wr.LinePlot) and names(panel.y) == [ERROR]]
    assert [names([panel.x]) for panel in lines] == [[key] for key, _ in COSTS]
    assert all(panel.log_x and panel.log_y for panel in lines)
    assert read.runset_settings.filters.replace('"', "'") == "Metric('Group') == 'quick'"


def test_w_and_b_reads_the_report_back_with_the_same_panels() -> None:
    written = json.loads(specification(BOARD, "", "project"))["report"]
    read = wr.Report._from_model(wr.interface.internal.ReportViewspec.model_validate(written | {"id": "", "name": "x"}))
    grids = [block for block in read.blocks if isinstance(block, wr.PanelGrid)]
    shown = [type(panel) for grid in grids for panel in grid.panels]
    assert sorted(map(str, shown)) == sorted(str(type(panel)) for panel in panels(workspace(BOARD, "me", "p")))
    assert all(grid.runsets[0].filters.replace('"', "'") == "Metric('Group') == 'quick'" for grid in grids)


@pytest.mark.parametrize("name", ['it\'s "quoted"', "a' or Metric('Group') != 'a", "\\", "snow ☃ and 🐦", "x" * 200])
def test_a_hostile_name_stays_a_name(name: str) -> None:
    view = workspace(replace(BOARD, study=name), "me", "p")
    filters = view._to_model().spec.section.run_sets[0].filters
    found = json.dumps(filters if isinstance(filters, dict) else filters.model_dump())
    assert json.dumps(name) in found, "the whole name is the one value that is compared"
    assert found.count('"value"') == 1
    assert len(report(replace(BOARD, study=name), "me", "p").title) <= 128


class Server(http.server.BaseHTTPRequestHandler):
    """The few calls of W&B's API that a push makes."""

    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer: dict[str, Any] = {}
        if "graphql" in self.path:
            request = json.loads(body)
            answer = self.answer(request["query"], request.get("variables") or {})
        text = json.dumps({"data": answer}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" in query:
            type(self).posted.append(variables)
            view = {"id": f"view{len(self.posted)}", "name": variables["name"], "type": variables["type"]}
            view |= {"displayName": variables["displayName"], "description": "", "spec": variables["spec"]}
            view |= {"project": {"id": "p", "name": "project", "entityName": "me"}}
            return {"upsertView": {"view": view, "inserted": True}}
        if "allViews" in query:
            spec = next(v["spec"] for v in reversed(self.posted) if v["type"] == "project-view")
            return {"project": {"allViews": {"edges": [{"node": {"id": "old", "displayName": "x", "spec": spec}}]}}}
        if "models" in query:
            project = {"id": "p", "name": "project", "entityName": "me", "createdAt": "2026-01-01T00:00:00"}
            node = {"node": project | {"isBenchmark": False, "user": None}, "cursor": "c"}
            return {"models": {"edges": [node], "pageInfo": {"endCursor": "c", "hasNextPage": False}}}
        viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer}

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"posted": []})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "WANDB_BASE_URL": f"http://127.0.0.1:{httpd.server_port}",
        "WANDB_API_KEY": "a" * 40,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    yield handler
    httpd.shutdown()
    httpd.server_close()
    thread.join(5)


def test_a_push_saves_both_views_and_a_second_one_replaces_them(server: type[Server]) -> None:
    first = push(BOARD, "", "project")
    kinds = {posted["type"]: posted for posted in server.posted}
    assert set(kinds) == {"runs", "project-view"}
    assert all((v["entityName"], v["projectName"]) == ("me", "project") for v in kinds.values())
    assert "error against training FLOP" in kinds["project-view"]["spec"] and "quick" in kinds["runs"]["spec"]
    assert first["workspace"].startswith("http://127.0.0.1") and first["report_id"] == "view1"
    push(BOARD, "me", "project", first)
    again = server.posted[2:]
    assert [v.get("id") for v in again] == ["view1", "old"], "the same views, not new ones"


def test_a_server_that_refuses_is_told_in_one_line(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "answer", lambda self, query, variables: {})
    with pytest.raises(UserError, match="W&B"):
        push(BOARD, "", "project")


def record(identity: str) -> Record:
    curve = (
        Point(1, 64, 10**6, 0.1, 0.5, 0.3, 0.9, {"one_step_nrmse": 0.8}),
        Point(2, 128, 2 * 10**6, 0.2, 1, 0.2, 0.5),
    )
    return Record(
        identity=identity, task="flocking", model="mlp", backend="jax", device="cpu", seed=3, status="finished",
        config={"model": {"name": "mlp", "width": 8}}, metrics={"rollout_nrmse": 0.5},
        costs=Costs(train_flop=2 * 10**6, energy_j={"train": 1.0}), curve=curve, studies={"quick": "0"},
    )  # fmt: skip


class FakeRun:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.logged, self.summed, self.ended = spec, [], {}, ""

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def summary(self, values: dict[str, Any]) -> None:
        self.summed = values

    def finish(self, status: str) -> None:
        self.ended = status


class FakeTracker:
    off = False

    def __init__(self, runs: list[FakeRun]) -> None:
        self.runs = runs

    def run(self, **spec: Any) -> FakeRun:
        self.runs.append(FakeRun(spec))
        return self.runs[-1]

    def close(self, timeout_s: float) -> None:
        pass


def test_records_are_tracked_once_with_curve_and_figures(tmp_path: Path) -> None:
    runs: list[FakeRun] = []
    records, done = [record(f"{i:020x}") for i in range(450)], tmp_path / "done.json"

    def tracker() -> Tracker:
        return FakeTracker(runs)  # type: ignore[return-value]

    assert backfill(records, "quick", tracker, done) == 450
    first = runs[0]
    assert first.spec["group"] == "quick" and first.spec["job_type"] == "mlp" and first.ended == "finished"
    assert [v["flop"] for v in first.logged] == [10**6, 2 * 10**6]
    assert first.logged[0]["test/one_step_nrmse"] == 0.8 and first.logged[0]["val/error"] == 0.9
    assert first.summed["rollout_nrmse"] == 0.5 and first.summed["train_flop"] == 2 * 10**6
    assert backfill(records, "quick", tracker, done) == 0 and len(runs) == 450, "nothing twice"
    assert backfill([*records, record("f" * 20)], "quick", tracker, done) == 1


def test_what_w_and_b_did_not_take_is_tried_again(tmp_path: Path) -> None:
    class Dead(FakeTracker):
        off = True

    runs: list[FakeRun] = []
    done = tmp_path / "done.json"
    assert backfill([record("a" * 20)], "quick", lambda: Dead(runs), done) == 0  # type: ignore[arg-type,return-value]
    assert backfill([record("a" * 20)], "quick", lambda: FakeTracker(runs), done) == 1  # type: ignore[arg-type,return-value]


def test_an_offline_backfill_leaves_a_log_that_w_and_b_can_read(tmp_path: Path) -> None:
    done = tmp_path / "done.json"
    assert backfill([record("a" * 20)], "quick", lambda: start("offline", tmp_path, "p"), done) == 1
    logs = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(logs) == 1 and b"one_step_nrmse" in logs[0].read_bytes()


def test_the_dashboard_shows_the_verdict_of_the_last_report_unless_the_study_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.cli import main
    from experiments.study.spec import load_study

    monkeypatch.setenv("WANDB_MODE", "offline")
    verdict = tmp_path / "studies" / "quick" / "report" / "verdict.json"
    verdict.parent.mkdir(parents=True)
    written = tmp_path / "board.json"
    for digest, told in ((load_study("quick").hash, True), ("0" * 16, False)):
        verdict.write_text(json.dumps({"hash": digest, "headline": "Physics pays on 2 of 3 tasks."}))
        assert main(["dashboard", "study=quick", f"--runs={tmp_path}", f"--out={written}"]) == 0
        assert ("Physics pays" in written.read_text()) == told
