"""A black box on rates: the vector field is a network (Chen et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from learners.base import MLP, Array, OdeModel, Operations, Parts, Spec, TaskInfo, network_of


@dataclass(frozen=True)
class NeuralOde(OdeModel):
    """Black-box vector field: dy/dt = s net(z), z the standardised state (Chen et al. 2018, arXiv 1806.07366).

    `s` is the standard deviation of the observed rates, so that the network's output is of order one.
    """

    width: int = 128
    depth: int = 2
    activation: str = "silu"

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        return {"net": MLP(info.size, info.outputs, self.width, self.depth, self.activation)}

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        return network_of(ops, info, parts["net"], y) * ops.constant(info.rate_std)
