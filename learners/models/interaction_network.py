"""A black box on tracks that knows that agents are alike, and that places and directions do not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from learners.base import MLP, Array, Model, Operations, Parts, Spec, TaskInfo
from learners.tracks import answer, asked_of, needs_question


@dataclass(frozen=True)
class InteractionNetwork(Model):
    """Interaction network on raw tracks (Battaglia et al. 2016, arXiv 1612.00222), for questions about them.

    z_i = net([own track, mean over all j of pair(track of j seen from i)]): the score of agent i; a group's is
    their mean. A track seen from i is the sequence of relative positions and velocities, turned so that the mean
    velocity of i points along the first axis; its own is seen from its place half-way. Both networks have `depth`
    hidden layers of `width`. The answers are the same wherever the group is and however it is turned, and do not
    depend on the order of its agents, whatever the weights.
    """

    width: int = 64
    depth: int = 2
    activation: str = "silu"

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_question(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        asked = asked_of(info)
        track = asked.points * asked.rule.state_shape[-1]
        return {
            "pair": MLP(track, self.width, self.width, self.depth, self.activation),
            "net": MLP(track + self.width, 1, self.width, self.depth, self.activation),
        }

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        xp, asked = ops.xp, asked_of(info)
        spread = asked.tracks(info.std[None])
        states = xp.permute_dims(asked.tracks(y), (0, 2, 1, 3))  # (B, N, P, 4)
        x, v = (states[..., :2] / _size(spread[..., :2]), states[..., 2:] / _size(spread[..., 2:]))
        ahead = xp.mean(v, axis=2)
        ahead = ahead / xp.sqrt(xp.sum(ahead**2, axis=-1) + 1e-12)[..., None]
        own = _seen(xp, x - x[:, :, asked.points // 2][:, :, None], v, ahead[:, :, None])
        others = _seen(xp, x[:, None] - x[:, :, None], v[:, None] - v[:, :, None], ahead[:, :, None, None])
        b, n = own.shape[:2]
        heard = parts["pair"](xp.reshape(others, (b * n * n, -1)))
        heard = xp.mean(xp.reshape(heard, (b, n, n, -1)), axis=2)
        own = xp.reshape(own, (b, n, -1))
        scores = parts["net"](xp.reshape(xp.concat([own, heard], axis=-1), (b * n, -1)))
        return answer(ops, info, y, h, xp.reshape(scores, (b, n)))


def _seen(xp: Array, x: Array, v: Array, ahead: Array) -> Array:
    """(..., P, 4) positions and velocities (..., P, 2) along and across the directions `ahead` (..., 1, 2)."""
    along, across = ahead, xp.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)
    parts = [xp.sum(a * direction, axis=-1) for a in (x, v) for direction in (along, across)]
    return xp.stack(parts, axis=-1)


def _size(spread: np.ndarray) -> float:
    """One spread for all points and both axes."""
    return math.sqrt(float(np.mean(np.square(spread))))
