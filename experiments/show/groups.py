"""The picture of flock detection: a flock, a group that is none, and what tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.task import Task
from learners.base import Question
from physics_models.order_parameters import nearest_neighbour_distance, polarisation
from reports.styles import COLORS, STYLE, quiet
from reports.text import plotted

YES, NO = COLORS[0], COLORS[1]


def draw(task: Task, path: Path, changed: str = "") -> Path:
    """Write the picture of the test groups to `path`, PNG or SVG by its suffix. Raises OSError where it cannot be.

    `changed`: the settings that are not the task's own, to stand below the title.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE), quiet():
        figure = _figure(task, changed)
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else {})
    return path


def description(task: Task) -> str:
    """What is asked, and how many groups there are."""
    asked, facts = task.question, task.facts
    assert asked is not None
    agents = asked.rule.state_shape[0]
    what = {
        "group": "is this group a flock? Half of the groups are; in the others all agents are strangers",
        "members": f"which agents belong to the flock? {agents // 2} of {agents} are strangers, in every group",
    }[facts["question"]]
    counts = f"{task.train.count} training, {task.val.count} validation, {task.test.count} test groups"
    seen = f"{asked.points} points, {asked.interval:g} time units apart, with noise {facts['noise']:g}"
    return f"{task.name}: {what}\n  groups: {counts} of {agents} agents\n  seen:   {seen}"


def _figure(task: Task, changed: str) -> Any:
    from matplotlib.figure import Figure

    asked = task.question
    assert asked is not None
    tracks, answers = asked.tracks(task.test.y[:, 0]), task.test.y[:, 1, -asked.answers :]
    figure = Figure(figsize=(13.5, 8.2), layout="constrained")
    title = f"{task.name}: {_QUESTION[task.facts['question']]}"
    figure.suptitle(title + (f"\n{plotted(changed, 150)}" if changed else ""), x=0.01, ha="left", fontsize=13)
    rows: Any = figure.subfigures(2, 1, height_ratios=[1.15, 1.0])
    top, bottom = rows
    group = asked.answers == 1
    shown = [int(np.argmax(answers[:, 0])), int(np.argmin(answers[:, 0]))] if group else [0, 1]
    for axes, row, letter in zip(top.subplots(1, 2), shown, "ab", strict=True):
        yes = np.broadcast_to(answers[row], asked.rule.state_shape[:1]).astype(bool)
        _paths(axes, tracks[row], yes)
        what = ("a flock" if yes[0] else "strangers") if group else "a flock with strangers"
        axes.set_title(f"{letter}   Seen: {what}", loc="left")
    panels = bottom.subplots(1, 3)
    _cue(panels[0], asked, polarisation(tracks[..., 2:]) if group else _with_mean(tracks), answers)
    panels[0].set_title("c   Order", loc="left")
    panels[0].set_ylabel("polarisation" if group else "cosine with the mean heading")
    _cue(panels[1], asked, nearest_neighbour_distance(tracks[..., :2]) if group else _nearest(tracks), answers)
    panels[1].set_title("d   Nearest neighbour", loc="left")
    panels[1].set_ylabel("distance (length units)")
    _cue(panels[2], asked, unexplained(asked, tracks).mean(axis=-1) if group else unexplained(asked, tracks), answers)
    panels[2].set_title("e   Velocity change beyond the true rule's", loc="left")
    panels[2].set_ylabel("size (length units / time unit)")
    panels[0].legend(frameon=False, loc="best", fontsize=9)
    return figure


_QUESTION = {"group": "is this group a flock?", "members": "which agents belong to the flock?"}


def _paths(axes: Any, tracks: np.ndarray, yes: np.ndarray) -> None:
    """Tracks (P, N, 4), each with a dot at its end."""
    for agent in range(tracks.shape[1]):
        color = YES if yes[agent] else NO
        axes.plot(tracks[:, agent, 0], tracks[:, agent, 1], color=color, lw=1.2, ls="-" if yes[agent] else "--")
        axes.plot(*tracks[-1, agent, :2], marker="o" if yes[agent] else "D", ms=5, color=color)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (length units)")
    axes.set_ylabel("y (length units)")


def _cue(axes: Any, asked: Question, values: np.ndarray, answers: np.ndarray) -> None:
    """Medians and middle halves along the window of values (R, P) of groups, or (R, P, N) of their agents."""
    time = np.arange(asked.points) * asked.interval
    rows = np.moveaxis(values, 1, -1).reshape(-1, asked.points)
    for label, color, line in ((1, YES, "-"), (0, NO, "--")):
        low, middle, high = np.percentile(rows[answers.ravel() == label], (25, 50, 75), axis=0)
        axes.fill_between(time, low, high, color=color, alpha=0.18, lw=0)
        axes.plot(time, middle, color=color, ls=line, label=_LABEL[asked.answers == 1][label])
    axes.set_xlabel("time since the window's start (time units)")


_LABEL = {True: ("strangers", "flock"), False: ("strangers", "members")}


def _with_mean(tracks: np.ndarray) -> np.ndarray:
    heading = tracks[..., 2:] / np.linalg.norm(tracks[..., 2:], axis=-1, keepdims=True)
    mean = heading.mean(axis=2, keepdims=True)
    return np.sum(heading * mean, axis=-1) / np.linalg.norm(mean, axis=-1)


def _nearest(tracks: np.ndarray) -> np.ndarray:
    x = tracks[..., :2]
    apart = np.linalg.norm(x[:, :, :, None] - x[:, :, None], axis=-1)
    return np.where(np.eye(x.shape[2], dtype=bool), np.inf, apart).min(axis=-1)


def unexplained(asked: Question, tracks: np.ndarray) -> np.ndarray:
    """(R, P, N) sizes of the change of each agent's velocity since the first point, less what the rule with its true
    parameters makes of it (by trapezoids, where the agents are seen)."""
    rate = asked.rule.field(0.0, tracks)[..., 2:]
    told = np.cumsum(asked.interval / 2 * (rate[:, 1:] + rate[:, :-1]), axis=1)
    change = tracks[:, 1:, :, 2:] - tracks[:, :1, :, 2:] - told
    return np.concatenate([np.zeros_like(tracks[:, :1, :, 0]), np.linalg.norm(change, axis=-1)], axis=1)
