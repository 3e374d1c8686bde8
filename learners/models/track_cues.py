"""Cues that need no rule: what a question about tracks must not be answered by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learners.base import Array, Operations, Parts, RegressionModel, Spec, TaskInfo, Tensors, answered
from learners.tracks import asked_of, needs_question


@dataclass(frozen=True)
class TrackCues(RegressionModel):
    """Linear fit of the answers to speed, order, crowding and size, at every point of the tracks.

    Of a group: its mean speed, polarisation, mean distance to the nearest neighbour and radius. Of an agent: its speed,
    the cosine between its heading and the mean one, its distance to the nearest neighbour and to the centre. `ridge`:
    relative to the number of rows. It is a reference, as chance is: a task of matched groups leaves it little.
    """

    ridge: float = 1e-4

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_question(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        shapes = {"weight": (4 * asked_of(info).points + 1, 1)}
        return {"map": Tensors(shapes, lambda rng: {name: np.zeros(shape) for name, shape in shapes.items()})}

    def features(self, ops: Operations, info: TaskInfo, y: Array) -> Array:
        """(B, 4 P + 1) of groups, or of all their agents (B N, 4 P + 1): the cues and a one."""
        xp, asked = ops.xp, asked_of(info)
        states, d = asked.tracks(y), asked.rule.structure.space_dim
        x, v = states[..., :d], states[..., d:]
        speed = _norm(xp, v)
        heading = v / (speed + 1e-12)[..., None]
        mean = xp.mean(heading, axis=2)[:, :, None]
        r = _norm(xp, x[:, :, None] - x[:, :, :, None])
        far = ops.constant(FAR * np.eye(asked.rule.state_shape[0]))
        nearest, centre = xp.min(r + far, axis=-1), _norm(xp, x - xp.mean(x, axis=2)[:, :, None])
        if asked.answers == 1:
            cues = [xp.mean(speed, axis=2), _norm(xp, mean)[..., 0], xp.mean(nearest, axis=2), xp.mean(centre, axis=2)]
            columns = xp.concat(cues, axis=1)
        else:
            with_mean = xp.sum(heading * mean, axis=-1) / (_norm(xp, mean) + 1e-12)
            cues = [xp.permute_dims(cue, (0, 2, 1)) for cue in (speed, with_mean, nearest, centre)]
            columns = xp.reshape(xp.concat(cues, axis=2), (-1, 4 * asked.points))
        return xp.concat([columns, xp.ones_like(columns[:, :1])], axis=1)

    def targets(self, ops: Operations, info: TaskInfo, y0: Array, y1: Array, h: Array) -> Array:
        """(B, 1) or (B N, 1): the answers, from -1 to 1."""
        said = (y1 - y0)[:, info.size - info.outputs :] / h[:, None]
        return ops.xp.reshape(said / ops.constant(info.rate_std)[info.size - info.outputs :], (-1, 1))

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        said = ops.xp.reshape(self.features(ops, info, y) @ parts["map"]["weight"], (y.shape[0], -1))
        return y + h[:, None] * (answered(ops, info, said) * ops.constant(info.rate_std))


FAR = 1e6  # no agent is its own neighbour


def _norm(xp: Array, a: Array) -> Array:
    return xp.sqrt(xp.sum(a * a, axis=-1))
