"""A black box on states: one network evaluation an interval."""

from __future__ import annotations

from dataclasses import dataclass

from learners.base import MLP, Array, Model, Operations, Parts, Spec, TaskInfo, network_of


@dataclass(frozen=True)
class Mlp(Model):
    """Black-box one-step residual network: y(t1) = y(t0) + (t1 - t0) s net(z), z the standardised state.

    `s` is the standard deviation of the observed rates, so that the network's output is of order one.
    """

    width: int = 128
    depth: int = 2
    activation: str = "silu"

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        return {"net": MLP(info.size, info.outputs, self.width, self.depth, self.activation)}

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        length = ops.xp.reshape(h, (-1, *(1,) * len(info.state_shape)))
        return y + length * (network_of(ops, info, parts["net"], y) * ops.constant(info.rate_std))
