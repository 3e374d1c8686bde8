"""A study on W&B: a workspace with its panels, and a report with the same panels and the verdict in words.

Both are built with the classes of `wandb-workspaces`. Offline they are written to a file, as W&B's own JSON; online
they are saved to a project. Runs are found by their group, which is the study's name.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import UserError

# What runs log, and on which axes of cost the error is drawn: (key, title). See experiments/run.py.
COSTS = (
    ("flop", "training FLOP"),
    ("energy_j", "training energy (J)"),
    ("train_s", "training time (s)"),
    ("samples", "training samples"),
)
ERROR = "val/error"
MODEL = "config.model.name"


@dataclass(frozen=True)
class Board:
    """What the dashboard shows. `study`: its name, which is the group of its runs; `digest`: the hash of its file.

    `metrics`: the final figures of a run; `settings`: configuration keys that the study varies. `says`: the verdict in
    words, where there is one, as Markdown.
    """

    study: str
    digest: str
    question: str
    metrics: Sequence[str]
    settings: Sequence[str]
    says: str = ""


def workspace(board: Board, entity: str, project: str) -> Any:
    """The `wandb_workspaces.workspaces.Workspace` of a study."""
    import wandb_workspaces.workspaces.interface as ws

    sections = [
        ws.Section(name=name, panels=panels, is_open=index < 2)
        for index, (name, panels) in enumerate(_panels(board).items())
    ]
    runs = ws.RunsetSettings(filters=_filter(board.study), groupby=[ws.expr.Config("model.name")])
    return ws.Workspace(
        entity=entity, project=project, name=_plain(f"Study {board.study}"), sections=sections, runset_settings=runs
    )


def report(board: Board, entity: str, project: str) -> Any:
    """The `wandb_workspaces.reports.v2.Report` of a study, with the same panels."""
    import wandb_workspaces.reports.v2.interface as wr

    # A run set without an entity and a project is that of the report's own, and is built without asking a server.
    runs = wr.Runset(name=_plain(board.study), filters=_filter(board.study), groupby=[MODEL])
    blocks: list[Any] = [wr.MarkdownBlock(text=_words(board))]
    for name, panels in _panels(board).items():
        blocks += [wr.H2(text=name), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(
        entity=entity,
        project=project,
        title=_plain(f"Study {board.study}")[:128],
        description=board.question,
        blocks=blocks,
        width="fluid",
    )


def specification(board: Board, entity: str, project: str) -> str:
    """Both as the JSON that W&B's server takes; needs no server."""
    views = {
        name: json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))  # as they are sent
        for name, view in (
            ("workspace", workspace(board, entity, project)),
            ("report", report(board, entity, project)),
        )
    }
    about = {"study": board.study, "hash": board.digest, "entity": entity, "project": project}
    return json.dumps(about | views, indent=1)


def push(board: Board, entity: str, project: str, earlier: Mapping[str, str] | None = None) -> dict[str, str]:
    """Save both to W&B; returns {"workspace": address, "report": address, "report_id": …}.

    `earlier`: what a push before has returned; its views are then replaced instead of made again. Raises UserError when
    the server cannot be had or refuses.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it sends telemetry
    import wandb
    import wandb_workspaces.workspaces.interface as ws

    earlier = earlier or {}
    try:
        owner = entity or wandb.Api(timeout=20).default_entity
        if not owner:
            raise UserError("W&B does not say who you are: name your user or team with --entity NAME")
        text = report(board, owner, project)
        text.id = earlier.get("report_id", "")
        text = text.save()  # first: it makes the project where there is none yet
        view = workspace(board, owner, project)
        if "workspace" in earlier:
            kept = ws.Workspace.from_url(earlier["workspace"])
            kept.name, kept.sections, kept.runset_settings = view.name, view.sections, view.runset_settings
            view = kept
        view = view.save()
        return {"workspace": view.url, "report": text.url, "report_id": text.id}
    except UserError:
        raise
    except Exception as error:  # whatever the library, its transport or the server may raise
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"W&B did not take the dashboard ({type(error).__name__}: {told}); without --online it is written to a file"
        ) from None


def _panels(board: Board) -> dict[str, list[Any]]:
    """The panels by section; made anew at each call, since a view keeps the objects that it is given."""
    import wandb_workspaces.reports.v2.interface as wr

    by_model: dict[str, Any] = {"groupby": wr.Config("model.name"), "groupby_aggfunc": "median"}
    curves = [
        wr.LinePlot(
            title=f"error against {title}", x=wr.Metric(key), y=[ERROR], log_x=True, log_y=True, title_x=title,
            title_y="validation error", groupby_rangefunc="minmax", **by_model,
        )
        for key, title in COSTS
    ]  # fmt: skip
    loss = wr.LinePlot(title="training loss", x=wr.Metric("step"), y=["train/loss"], log_y=True, **by_model)
    finals = [
        wr.ScatterPlot(
            title=f"{metric} against training FLOP", x=wr.SummaryMetric("train_flop"), y=wr.SummaryMetric(metric),
            log_x=True, log_y=True,
        )
        for metric in board.metrics
    ]  # fmt: skip
    bars = [wr.BarPlot(title=metric, metrics=[wr.SummaryMetric(metric)], **by_model) for metric in board.metrics]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in board.settings]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(key), log=True) for key in board.metrics[:1]]
    settings: list[Any] = [wr.ParallelCoordinatesPlot(title="settings and error", columns=columns)]
    return {
        "Verdict": [wr.MarkdownPanel(markdown=_words(board), layout=wr.Layout(0, 0, 24, 8))],
        "Error against cost": curves,
        "Final results": [*bars, *finals],
        "Settings": [*settings, loss, wr.RunComparer(diff_only="split")],
    }


def _filter(study: str) -> str:
    """The runs of the study, as W&B's filter expression; the name as a string literal of that language."""
    return f"Metric('Group') == {json.dumps(study)}"


def _words(board: Board) -> str:
    lines = [board.question, board.says or "The verdict is told by `python -m experiments report study=…`."]
    return "\n\n".join([*lines, f"Study `{board.study}`, hash of its file `{board.digest}`."])


def _plain(text: str) -> str:
    """Without symbols: W&B takes them all for pictographs, which it refuses in names."""
    return "".join("?" if unicodedata.category(char) in ("So", "Sk", "Sm", "Sc", "Cs") else char for char in text)
