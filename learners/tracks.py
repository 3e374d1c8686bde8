"""What classifiers of tracks share: who they are for, and how an answer is given."""

from __future__ import annotations

from learners.base import Array, Operations, Question, TaskInfo, answered


def needs_question(info: TaskInfo) -> str | None:
    """The reason to skip a task that asks where things move, and nothing about their tracks."""
    return "it answers questions about tracks, as flock_detection asks them" if info.question is None else None


def asked_of(info: TaskInfo) -> Question:
    assert info.question is not None  # skip() has seen to it
    return info.question


def answer(ops: Operations, info: TaskInfo, y: Array, h: Array, scores: Array) -> Array:
    """States (B, D) with the answers that scores (B, N) of all agents give: each its own, 1/2 + tanh(score) / 2, or, of
    the one question about the group, by their mean."""
    if asked_of(info).answers == 1:
        scores = ops.xp.mean(scores, axis=1)[:, None]
    return y + h[:, None] * (answered(ops, info, ops.xp.tanh(scores)) * ops.constant(info.rate_std))
