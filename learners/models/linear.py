"""The best linear one-step map: the cheapest trained reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learners.base import Array, Operations, Parts, RegressionModel, Spec, TaskInfo, Tensors, answered


@dataclass(frozen=True)
class Linear(RegressionModel):
    """Linear fit in closed form: y(t1) = y(t0) + (t1 - t0) s (A z + b), z the standardised state, s the rate scale.

    A (n, n) and b (n,) minimise the squared one-step error by ridge-regularised least squares (QR), `ridge` relative
    to the number of windows. With even sampling this is dynamic mode decomposition with an offset (Schmid 2010).
    """

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        shapes = {"weight": (info.size + 1, info.outputs)}
        return {"map": Tensors(shapes, lambda rng: {name: np.zeros(shape) for name, shape in shapes.items()})}

    def features(self, ops: Operations, info: TaskInfo, y: Array) -> Array:
        """(B, n + 1): the standardised state and a one."""
        z = (y - ops.constant(info.mean)) / ops.constant(info.std)
        z = ops.xp.reshape(z, (y.shape[0], info.size))
        return ops.xp.concat([z, ops.xp.ones_like(z[:, :1])], axis=1)

    def targets(self, ops: Operations, info: TaskInfo, y0: Array, y1: Array, h: Array) -> Array:
        """(B, n): the rates over each interval, in units of the rate scale, of what is asked."""
        length = ops.xp.reshape(h, (-1, *(1,) * len(info.state_shape)))
        rates = ops.xp.reshape((y1 - y0) / length / ops.constant(info.rate_std), (y0.shape[0], info.size))
        return rates[:, info.size - info.outputs :]

    def advance(self, ops: Operations, info: TaskInfo, parts: Parts, y: Array, t: Array, h: Array) -> Array:
        said = self.features(ops, info, y) @ parts["map"]["weight"]
        rate = ops.xp.reshape(answered(ops, info, said), y.shape)
        length = ops.xp.reshape(h, (-1, *(1,) * len(info.state_shape)))
        return y + length * (rate * ops.constant(info.rate_std))
