"""Cues that need no rule: what a question about tracks must not be answered by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learners.base import Array, Operations, Parts, RegressionModel, Spec, TaskInfo, Tensors, answered
from learners.tracks import asked_of, needs_question


@dataclass(frozen=True)
class TrackCues(RegressionModel):
    """Quadratic fit of the answers to cues: to what tracks show but for who answers to whom.

    The cues of an agent, with positions and velocities about the group's means, and axes along and across its motion:
    its distance to the centre, speed relative to the group, distance to the nearest neighbour and speed, as logarithms;
    the cosine between its heading and the motion; and the four products of a component of position with one of
    velocity, which say how the group grows, narrows and turns, over the first two. A group's cues are made of the means
    over its agents. Of each the mean along the track and the trend in time (least-squares slope, times the track's
    length), cut smoothly to ±1, and all products of two of these, have a weight. `ridge`: relative to the number of
    rows. It is a reference, as chance is: a task of matched groups leaves it little.
    """

    ridge: float = 3e-4

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_question(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        shapes = {"weight": (len(LEFT), 1)}
        return {"map": Tensors(shapes, lambda rng: {name: np.zeros(shape) for name, shape in shapes.items()})}

    def features(self, ops: Operations, info: TaskInfo, y: Array) -> Array:
        """(B, 190) of groups, or of all their agents (B N, 190): products of two of a one, 9 means and 9 trends."""
        xp, asked = ops.xp, asked_of(info)
        line = np.linspace(-1.0, 1.0, asked.points)
        weights = np.stack([np.full(asked.points, 1 / asked.points), 2 * line / np.sum(line**2)])
        seen = _seen(ops, info, asked.tracks(y))
        seen = xp.mean(seen, axis=2) if asked.answers == 1 else xp.permute_dims(seen, (0, 2, 1, 3))
        sizes = seen[..., :4] + SMALL
        cues = [xp.log(sizes), seen[..., 4:5], seen[..., 5:] / (sizes[..., :1] * sizes[..., 1:2])]
        columns = xp.reshape(ops.constant(weights) @ xp.concat(cues, axis=-1), (-1, 2 * CUES))
        columns = columns / xp.sqrt(1 + columns**2)
        columns = xp.concat([xp.ones_like(columns[:, :1]), columns], axis=1)
        return columns[:, LEFT] * columns[:, RIGHT]

    def targets(self, ops: Operations, info: TaskInfo, y0: Array, y1: Array, h: Array) -> Array:
        """(B, 1) or (B N, 1): the answers, from -1 to 1."""
        said = (y1 - y0)[:, info.size - info.outputs :] / h[:, None]
        return ops.xp.reshape(said / ops.constant(info.rate_std)[info.size - info.outputs :], (-1, 1))

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        said = ops.xp.reshape(self.features(ops, info, y) @ parts["map"]["weight"], (y.shape[0], -1))
        return y + h[:, None] * (answered(ops, info, said) * ops.constant(info.rate_std))


CUES = 9
LEFT, RIGHT = np.triu_indices(1 + 2 * CUES)
FAR = 1e6  # no agent is its own neighbour
SMALL = 1e-6  # relative to the spread: below what any track is known to


def _seen(ops: Operations, info: TaskInfo, states: Array) -> Array:
    """(B, P, N, 9) what the cues are made of, of all agents at all points, in units of the data's spread."""
    xp = ops.xp
    spread = np.sqrt(np.mean(np.square(asked_of(info).tracks(info.std[None])), axis=(0, 1, 2)))
    x, v = states[..., :2] / float(spread[:2].mean()), states[..., 2:] / float(spread[2:].mean())
    r = _norm(xp, x[:, :, None] - x[:, :, :, None])
    nearest = xp.min(r + ops.constant(FAR * np.eye(x.shape[2])), axis=-1)
    mean = xp.mean(v, axis=2)[:, :, None]
    x, dv, speed = x - xp.mean(x, axis=2)[:, :, None], v - mean, _norm(xp, v)
    along = mean / (_norm(xp, mean) + 1e-12)[..., None]
    across = xp.stack([-along[..., 1], along[..., 0]], axis=-1)
    heading = xp.sum(v * along, axis=-1) / (speed + 1e-12)
    both = [xp.sum(x * a, axis=-1) * xp.sum(dv * b, axis=-1) for a in (along, across) for b in (along, across)]
    return xp.stack([_norm(xp, x), _norm(xp, dv), nearest, speed, heading, *both], axis=-1)


def _norm(xp: Array, a: Array) -> Array:
    return xp.sqrt(xp.sum(a * a, axis=-1))
