"""`dashboard study=NAME`: the study on W&B, as a workspace and a report; offline, as a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.errors import UserError

SUMMARY = "a study's panels as a W&B workspace and report; offline, as a file"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="study=NAME", help="a study of configs/study, or a file")
    parser.add_argument("--runs", help="the folder or URL of records (default: runs)")
    parser.add_argument("--online", action="store_true", help="save it to W&B (or set WANDB_MODE=online)")
    parser.add_argument("--entity", default="", help="W&B user or team (default: yours)")
    parser.add_argument("--project", default="structured-vs-blackbox", help="W&B project")
    parser.add_argument("--from-records", action="store_true", help="track past runs that were not tracked yet")
    parser.add_argument("--out", help="the file to write (default: in the study's folder)")


def main(options: argparse.Namespace) -> int:
    from experiments.dashboard import push, specification
    from experiments.progress import Reporter
    from experiments.store import write_atomic
    from experiments.study.folder import report_folder
    from experiments.study.opened import open_study, shell_line
    from experiments.tracking import resolve_mode

    study, store = open_study("dashboard", options.words, options.runs)
    # Beside the study's other files; not in a store elsewhere, where nobody looks at files.
    folder = Path("dashboard") / study.name if store.is_remote else store.root / study.folder
    online = options.online or resolve_mode() == "online"
    if options.from_records:
        _backfill(study, store, folder, "online" if online else "offline", options, Reporter())
    board = _board(study, _read(report_folder(store, study.name) / "verdict.json"))
    path = Path(options.out) if options.out else folder / "dashboard.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, specification(board, options.entity, options.project).encode())
    except OSError as error:
        raise UserError(f"the dashboard could not be written to {path} ({error.strerror}); use --out FILE") from None
    print(f"written: {path}")
    if not online:
        again = shell_line("dashboard", options.words, options.runs)
        print(f"to put it on W&B: wandb login, then {again} --online")
        return 0
    kept = folder / "dashboard-pushed.json"
    pushed = push(board, options.entity, options.project, _read(kept))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, json.dumps(pushed).encode())
    print(f"workspace: {pushed['workspace']}\nreport: {pushed['report']}")
    return 0


def _board(study: Any, verdict: dict[str, Any]) -> Any:
    """`verdict`: what the last report of a study of this name says; another file of that name has another verdict."""
    from experiments.dashboard import Board

    says = verdict.get("headline", "") if verdict.get("hash") == study.hash else ""
    metrics = list(dict.fromkeys([study.metric, "rollout_nrmse"]))
    return Board(study.name, study.hash, study.question, metrics, study.varied, str(says))


def _backfill(study: Any, store: Any, folder: Path, mode: str, options: argparse.Namespace, report: Any) -> None:
    from experiments.backfill import backfill
    from experiments.study.opened import shell_line
    from experiments.tracking import start

    root = folder / "tracking"
    records = [record for record in store.records() if study.name in record.studies]
    if not records:
        sweep = shell_line("sweep", options.words, options.runs)
        raise UserError(f"no record of study {study.name} is in {store}; run it first: {sweep}")
    done = root / f"tracked-{mode}.json"
    count = backfill(records, study.name, lambda: start(mode, root, options.project, 60.0), done, report.say)
    where = "sent to W&B" if mode == "online" else f"in {root}: wandb sync {root}/wandb/offline-run-* sends them"
    report.say(f"{count} of {len(records)} runs tracked now, the others were before; {where}")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
