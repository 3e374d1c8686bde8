"""A structured classifier of tracks: what a fitted rule leaves unexplained of them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from learners.base import MLP, Array, Model, Operations, Parts, Spec, TaskInfo
from learners.physics import known_parameters, known_rates
from learners.tracks import answer, asked_of, needs_question

SMALL = 1e-6  # relative to the variance of velocities: below what any track is known to


@dataclass(frozen=True)
class RuleResiduals(Model):
    """Residuals of a fitted rule, classified: does an agent's velocity change as the rule says of those around it?

    Along the track of each agent, with I(t) the integral of the acceleration that the rule gives where all agents are
    seen (by trapezoids), the velocity less I(t) of an agent that obeys it is constant but for noise. The squared trends
    in time (least-squares slopes) of v - I, v and I, as logarithms, are what is known of an agent. With the mean over
    the group of what another small network makes of them they go through one small network, the same for all agents: an
    agent is judged beside the others (deep sets, Zaheer et al. 2017, arXiv 1703.06114). Its output is an agent's score;
    a group's score is their mean. The parameters of the rule start at exp(u)
    times the true ones, u uniform in ±`spread`, and are trained with the network, by the same loss: it is the rule that
    tells members best, which need not be the one that they obey.
    """

    spread: float = 0.5
    width: int = 16
    depth: int = 1
    activation: str = "silu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread < 0:
            raise ValueError(f"spread must be 0 or more, but it is {self.spread}")

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_question(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        rule = asked_of(info).rule
        return {
            "physics": known_parameters(rule, self.spread),
            "context": MLP(3, self.width, self.width, self.depth, self.activation),
            "net": MLP(3 + self.width, 1, self.width, self.depth, self.activation),
        }

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        xp, asked = ops.xp, asked_of(info)
        rule, d = asked.rule, asked.rule.structure.space_dim
        states = asked.tracks(y)
        flat = xp.reshape(states, (-1, *rule.state_shape))
        rates = known_rates(ops, rule, parts["physics"], xp.zeros_like(flat[:, :1, :1]), flat, rule.term_names)
        rate = xp.reshape(rates, states.shape)[..., d:]
        v = states[..., d:]
        told = xp.cumulative_sum(0.5 * asked.interval * (rate[:, 1:] + rate[:, :-1]), axis=1)
        told = xp.concat([xp.zeros_like(told[:, :1]), told], axis=1)
        trends = [_trend(ops, a) for a in (v - told, v, told)]
        unit = float(np.mean(np.square(asked.tracks(info.std[None])[..., d:])))
        # Of order one: from the rounding of a thousandth of the speed to the whole of it.
        features = xp.log(xp.stack(trends, axis=-1) / unit + SMALL) / math.log(1 / SMALL) + 0.5
        b, n = features.shape[:2]
        own = xp.reshape(features, (-1, 3))
        group = xp.mean(xp.reshape(parts["context"](own), (b, n, -1)), axis=1)
        group = xp.reshape(xp.broadcast_to(group[:, None], (b, n, group.shape[-1])), (b * n, -1))
        scores = parts["net"](xp.concat([own, group], axis=-1))
        return answer(ops, info, y, h, xp.reshape(scores, (b, n)))


def _trend(ops: Operations, a: Array) -> Array:
    """(B, N) squared slopes in time of a (B, P, N, d), as mean squares along the track."""
    along = ops.xp.sum(a * ops.constant(_line(a.shape[1])), axis=1)
    return ops.xp.sum(along**2, axis=-1)


@functools.cache
def _line(points: int) -> np.ndarray:
    """(P, 1, 1) weights of a slope: a line of mean 0, whose product with itself has the mean square of its track."""
    line = np.arange(points) - (points - 1) / 2
    return (line / np.sqrt(points * np.sum(line**2)))[:, None, None]
