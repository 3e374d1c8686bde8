"""A model's mathematics in torch: networks as `nn.Module`, integration by torchdiffeq."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchdiffeq
from array_api_compat import torch as torch_xp

from learners.base import MLP, Array, Solver, Spec

ACTIVATION = {
    "tanh": torch.nn.Tanh,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
    "relu": torch.nn.ReLU,
    "softplus": torch.nn.Softplus,
}
METHOD = {"heun": "heun2"}  # where torchdiffeq's name differs from ours


class TorchOperations:
    """`Operations` for torch at one precision, on one device."""

    name = "torch"
    xp = torch_xp

    def __init__(self, dtype: str, device: torch.device) -> None:
        self.dtype, self.device = getattr(torch, dtype), device
        self.attempted = self.accepted = 0  # adaptive steps so far: what the cost of a training step depends on
        self._constants: dict[int, tuple[Any, torch.Tensor]] = {}

    def constant(self, value: Any) -> Array:
        # Kept by identity: a copy to the device at every call would cost more than the arithmetic.
        kept = self._constants.get(id(value))
        if kept is None or kept[0] is not value:
            kept = (value, torch.as_tensor(np.asarray(value), dtype=self.dtype, device=self.device))
            self._constants[id(value)] = kept
        return kept[1]

    def build(self, spec: Spec, drawn: Any) -> torch.nn.Module:
        """A part from the arrays that `spec.draw` gave."""
        if isinstance(spec, MLP):
            layers: list[torch.nn.Module] = []
            for weight, bias in drawn:
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=self.dtype, device=self.device)
                with torch.no_grad():
                    linear.weight.copy_(torch.as_tensor(weight))
                    linear.bias.copy_(torch.as_tensor(bias))
                layers += [linear, ACTIVATION[spec.activation]()]
            return torch.nn.Sequential(*layers[:-1])
        # torch.tensor copies: as_tensor would let the weights, their average and the best share the drawn array.
        tensors = {
            k: torch.nn.Parameter(torch.tensor(v, dtype=self.dtype, device=self.device)) for k, v in drawn.items()
        }
        return torch.nn.ParameterDict(tensors)

    def odeint(self, field: Callable[[Array, Array], Array], y: Array, t: Array, h: Array, solver: Solver) -> Array:
        column = (-1, *(1,) * (y.ndim - 1))
        start, length = t.reshape(column), h.reshape(column)
        latest = y

        def rate(s: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            """d(state)/ds over the unit interval: every sample's own interval becomes the same one."""
            nonlocal latest
            latest = state
            return length * field(start + s * length, state)

        method = METHOD.get(solver.method, solver.method)
        if solver.is_fixed:
            grid = torch.linspace(0, 1, solver.steps + 1, dtype=self.dtype, device=self.device)
            options: dict[str, Any] = {"grid_constructor": lambda f, y0, t: grid}
            return torchdiffeq.odeint(rate, y, grid[[0, -1]], method=method, options=options)[-1]  # type: ignore[index]
        rate.callback_step = self._attempt  # type: ignore[attr-defined]
        rate.callback_accept_step = self._accept  # type: ignore[attr-defined]
        unit = torch.tensor([0.0, 1.0], dtype=self.dtype, device=self.device)
        # As diffrax: the first step tries the whole interval, and the last one ends on it instead of interpolating.
        options = {"first_step": 1.0, "step_t": unit[1:], "dtype": self.dtype, "max_num_steps": MAX_STEPS}
        try:
            torchdiffeq.odeint(rate, y, unit, rtol=solver.rtol, atol=solver.atol, method=method, options=options)
            # The last stage of all three methods is taken at the end of the step. What odeint returns is a quartic
            # through that state, evaluated at its end, which loses two digits: 5e-6 an interval in float32.
            return latest
        except AssertionError:  # torchdiffeq's way to say that the step underflowed or the state is not finite
            return rate(unit[0], y) * torch.nan  # through the field, so that there is a gradient: not a number as well

    def grad(self, function: Callable[[Array], Array], y: Array) -> Array:
        training = torch.is_grad_enabled()
        with torch.enable_grad():  # predictions are made without
            at = y if training and y.requires_grad else y.detach().requires_grad_()
            return torch.autograd.grad(function(at).sum(), at, create_graph=training)[0]

    def _attempt(self, *_: Any) -> None:
        self.attempted += 1

    def _accept(self, *_: Any) -> None:
        self.accepted += 1


MAX_STEPS = 256  # as in the JAX backend
