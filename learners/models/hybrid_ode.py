"""Known terms plus a network: a universal differential equation (Rackauckas et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from learners.base import MLP, Array, OdeModel, Operations, Parts, Spec, TaskInfo, network_of
from learners.physics import known_parameters, known_rates, known_term_names, needs_system


@dataclass(frozen=True)
class HybridOde(OdeModel):
    """Universal differential equation: dy/dt = known terms(t, y) + s net(z) (Rackauckas et al. 2020, 2001.04385).

    `known`: names of the terms it is told, separated by commas; "default" for those the system calls known, "all" for
    the exact equations, "none" for a plain neural ODE. Their parameters are the system's true values; `fit_parameters`
    trains them too. The network starts at zero, so that training starts from what is known.
    """

    known: str = "default"
    fit_parameters: bool = False
    width: int = 128
    depth: int = 2
    activation: str = "silu"

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        return needs_system(info)

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        known_term_names(info, self.known)  # a wrong name is told here, before anything is compiled
        parts: dict[str, Spec] = {
            "net": MLP(info.size, info.size, self.width, self.depth, self.activation, zero_last=True)
        }
        if self._trains(info):
            parts["physics"] = known_parameters(info, spread=0.0)
        return parts

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        learned = network_of(ops, info, parts["net"], y) * ops.constant(info.rate_std)
        names = known_term_names(info, self.known)
        return learned + known_rates(ops, info, parts.get("physics"), t, y, names)

    def _trains(self, info: TaskInfo) -> bool:
        # Where nobody knows the true values there is nothing right to hold fixed.
        return self.fit_parameters or not info.exact
