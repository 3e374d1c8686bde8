"""Known terms plus a network: a universal differential equation (Rackauckas et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.base import MLP, Array, OdeModel, Operations, Parts, Spec, TaskInfo, network_of
from learners.forms import form_parts, form_rates
from learners.physics import known_parameters, known_rates, known_term_names, needs_system
from physics_models.base import System


@dataclass(frozen=True)
class HybridOde(OdeModel):
    """Universal differential equation: dy/dt = told terms(t, y) + s net(z) (Rackauckas et al. 2020, 2001.04385).

    What it is told is the run's prior: without one, the terms that the system itself calls known, at their true values.
    `known`: names of the told terms it takes, separated by commas; "default" for those called known, "all" for all,
    "none" for a plain neural ODE. `fit_parameters` trains their parameters too. Where the prior tells a form in place
    of terms, the network takes that form. The network starts at zero, so that training starts from what is told.

    `network`: false for the told equations alone. Nothing then learns what is wrong with them: nothing is trained, or,
    with `fit_parameters`, their parameters are fitted by Levenberg-Marquardt from the told values.
    """

    of_equations: ClassVar[bool] = True
    takes_prior: ClassVar[bool] = True
    max_windows: ClassVar[int] = 512  # of a fit without a network, as for true_physics
    max_iterations: ClassVar[int] = 50

    known: str = "default"
    fit_parameters: bool = False
    width: int = 128
    depth: int = 2
    activation: str = "silu"
    network: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network:
            object.__setattr__(self, "learning", "gauss_newton" if self.fit_parameters else "none")
            object.__setattr__(self, "stochastic", self.fit_parameters)  # the windows of the fit are drawn

    def skip(self, info: TaskInfo, backend: str) -> str | None:
        if reason := needs_system(info):
            return reason
        if info.form and not self.network:
            return "where only a form is told, there is nothing without a network"
        if not self.network and self.fit_parameters and not _told(info).values:
            return "no parameters are told that could be fitted"
        return None

    def parts(self, info: TaskInfo) -> dict[str, Spec]:
        told = _told(info)
        known_term_names(told, self.known)  # a wrong name is told here, before anything is compiled
        parts: dict[str, Spec] = {}
        if info.form:
            parts |= form_parts(info, self.width, self.depth, self.activation)
        elif self.network:
            parts["net"] = MLP(info.size, info.size, self.width, self.depth, self.activation, zero_last=True)
        if self._trains(info) and told.values:
            parts["physics"] = known_parameters(told, spread=0.0)
        return parts

    def field(self, ops: Operations, info: TaskInfo, parts: Parts, t: Array, y: Array) -> Array:
        if info.form:
            return form_rates(ops, info, parts, y)
        told = _told(info)
        known = known_rates(ops, told, parts.get("physics"), t, y, known_term_names(told, self.known))
        if not self.network:
            return known
        return network_of(ops, info, parts["net"], y) * ops.constant(info.rate_std) + known

    def _trains(self, info: TaskInfo) -> bool:
        # Where nobody knows the true values there is nothing right to hold fixed; but without a network nothing is
        # trained unless it was asked for.
        return self.fit_parameters or (self.network and not info.exact)


def _told(info: TaskInfo) -> System:
    told = info.system if info.told is None else info.told
    assert told is not None  # skip() has seen to it
    return told
