"""Training and prediction in torch: eager, seeds one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hardware.cost import Cost
from hardware.devices import Device
from hardware.flops_torch import FlopCounter
from learners.backends.base import OTHER_SIZE, Engine, Trained
from learners.backends.torch_ops import TorchOperations
from learners.base import RegressionModel, Spec, asked
from learners.snapshot import Snapshot, cost_from_json, cost_to_json, same_layout


class TorchEngine(Engine):
    """See `Engine`."""

    backend = "torch"

    @staticmethod
    def framework_device(device: Device) -> torch.device:
        return torch.device("cpu") if device.kind == "cpu" else torch.device(device.kind, device.index)

    def build(self, weights: Sequence[dict[str, Any]]) -> None:
        self.ops = TorchOperations(self.dtype, self.device)
        specs = self.model.parts(self.info)
        self._parts = [self._module(specs, drawn) for drawn in weights]
        self._averages = [self._module(specs, drawn) for drawn in weights]
        self._best = [self._module(specs, drawn) for drawn in weights]
        self.place_points()
        self._weights = [list(parts.parameters()) for parts in self._parts]
        self._mean_weights = [list(parts.parameters()) for parts in self._averages]
        self._optimisers = [
            # Fused: one call for all weights, where the default makes a dozen for each.
            torch.optim.AdamW(weights, weight_decay=self.recipe.weight_decay, fused=True)
            for weights in self._weights
            if weights
        ]
        for optimiser in self._optimisers:
            _make_moments(optimiser)
        self._steps_done = 0
        self._executed = [Cost()] * self.seeds
        self._step_costs: dict[Any, Cost] = {}

    def place_points(self) -> None:
        points, constant = self.points, self.ops.constant
        self._y, self._t, self._h = constant(points.y), constant(points.times), constant(points.lengths)
        self._held = None if points.held is None else torch.as_tensor(points.held, device=self.device)

    def _module(self, specs: dict[str, Spec], drawn: dict[str, Any]) -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({name: self.ops.build(spec, drawn[name]) for name, spec in specs.items()})

    def _advance(self, parts: Any, y: torch.Tensor, t: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.model.advance(self.ops, self.info, dict(parts.items()), y, t, h)

    def _errors(self, parts: Any, starts: torch.Tensor) -> torch.Tensor:
        """(B, window, *state): prediction minus data along each window, in units of the one-interval increments."""
        window = self.recipe.window
        rows = starts[:, None] + torch.arange(window + 1, device=self.device)
        times, lengths, truth = self._t[rows], self._h[rows], self._y[rows]
        state, errors = truth[:, 0], []
        for k in range(window):
            state = self._advance(parts, state, times[:, k], lengths[:, k])
            if self._held is not None:  # what was held is given
                state = torch.where(self._held[rows[:, k + 1]], truth[:, k + 1], state)
            errors.append(state - truth[:, k + 1])
        return asked(self.info, torch.stack(errors, dim=1) / self.ops.constant(self.info.step_std))

    def compile_training(self) -> None:
        # Eager: nothing is compiled. But the first step is counted, which takes as long as several, and meets all
        # it needs for the first time: it is taken now, and forgotten. (Solvers with a step size of their own have more
        # kinds of steps, each of which is counted as it comes.)
        if self._optimisers and not self._step_costs:
            now = self.snapshot()
            starts = torch.full((self.recipe.batch,), int(self.points.starts[0]), dtype=torch.int32, device=self.device)
            self._step(0, starts, 0)[0].cpu()
            self.restore(now)

    def compile_prediction(self) -> None:
        pass

    def compile_fit(self, rows: int) -> None:
        pass

    def train(self, starts: np.ndarray) -> Trained:
        n = starts.shape[1]
        losses = np.empty((self.seeds, n))
        costs = [Cost()] * self.seeds
        index = torch.as_tensor(starts, device=self.device)
        for seed in range(self.seeds):
            pending = []
            for i in range(n):
                loss, cost = self._step(seed, index[seed, i], self._steps_done + i)
                pending.append(loss)
                costs[seed] = costs[seed] + cost
            losses[seed] = torch.stack(pending).cpu().numpy()  # waits for the device, once a chunk
        self._steps_done += n
        self._executed = [before + cost for before, cost in zip(self._executed, costs, strict=True)]
        return Trained(losses, costs, self._executed)

    def _step(self, seed: int, starts: torch.Tensor, k: int) -> tuple[torch.Tensor, Cost]:
        """One optimiser step. Its cost is counted once for every number of solver steps met, and looked up after."""
        ops = self.ops
        ops.attempted = ops.accepted = 0
        loss = self._gradient(seed, starts)
        key = (ops.attempted, ops.accepted)
        if key not in self._step_costs:
            with FlopCounter() as counter:
                self._gradient(seed, starts)
                self._update(seed, k)
            self._step_costs[key] = counter.cost
        else:
            self._update(seed, k)
        return loss, self._step_costs[key]

    def _gradient(self, seed: int, starts: torch.Tensor) -> torch.Tensor:
        self._optimisers[seed].zero_grad()
        loss = torch.mean(self._errors(self._parts[seed], starts) ** 2)
        loss.backward()
        return loss.detach()

    def _update(self, seed: int, k: int) -> None:
        self._optimisers[seed].param_groups[0]["lr"] = self.recipe.rate(k, base=self.learning_rates[seed])
        self._optimisers[seed].step()
        with torch.no_grad():
            averages, newest = self._mean_weights[seed], self._weights[seed]
            torch._foreach_lerp_(averages, newest, float(self.recipe.mix(k)))  # pyright: ignore

    @torch.no_grad()
    def _rollout(
        self, y0: np.ndarray, times: np.ndarray, lengths: np.ndarray, intervals: int, count_flop: bool
    ) -> tuple[np.ndarray, list[Cost]]:
        starts = torch.as_tensor(y0, dtype=self.ops.dtype, device=self.device)
        t, h = (torch.as_tensor(a, dtype=self.ops.dtype, device=self.device) for a in (times, lengths))
        out, costs = np.empty((*y0.shape[:2], intervals + 1, *self.info.state_shape)), []
        for seed in range(self.seeds):
            counter = FlopCounter() if count_flop else None
            with counter or contextlib.nullcontext():
                states = [starts[seed]]
                for k in range(intervals):
                    states.append(self._advance(self._averages[seed], states[-1], t[:, k], h[:, k]))
            out[seed] = torch.stack(states, dim=1).cpu().numpy()
            costs.append(counter.cost if counter else Cost())
        return out, costs

    @torch.no_grad()
    def least_squares(self, starts: np.ndarray) -> Cost:
        model = self.model
        if not isinstance(model, RegressionModel):
            raise TypeError(f"{type(model).__name__} must be a RegressionModel to learn by least_squares")
        index = torch.as_tensor(starts, device=self.device)
        with FlopCounter() as counter:
            y0, y1, h = self._y[index], self._y[index + 1], self._h[index]
            x = model.features(self.ops, self.info, y0)
            weight = solve_ridge(x, model.targets(self.ops, self.info, y0, y1, h), model.ridge)
        for average in self._averages:
            next(average.parameters()).copy_(weight)
        return counter.cost

    @torch.no_grad()
    def residual(self, theta: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, Cost]:
        self.ops.attempted = self.ops.accepted = 0
        parts = self._tensors(torch.as_tensor(theta, dtype=self.ops.dtype, device=self.device))
        index = torch.as_tensor(starts, device=self.device)
        value = self._errors(parts, index)
        key = ("residual", len(starts), self.ops.attempted, self.ops.accepted)
        if key not in self._step_costs:
            with FlopCounter() as counter:
                self._errors(parts, index)
            self._step_costs[key] = counter.cost
        return value.double().cpu().numpy().ravel(), self._step_costs[key]

    def _tensors(self, theta: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
        """Parts that are all `Tensors`, from one flat vector in the order of their names."""
        parts, at = {}, 0
        for name, module in sorted(self._averages[0].items()):
            parts[name] = {}
            for key, value in sorted(module.named_parameters()):
                parts[name][key] = theta[at : at + value.numel()].reshape(value.shape)
                at += value.numel()
        return parts

    @torch.no_grad()
    def set_parameters(self, seed: int, theta: np.ndarray) -> None:
        for name, values in self._tensors(torch.as_tensor(theta, dtype=self.ops.dtype, device=self.device)).items():
            for key, value in values.items():
                self._averages[seed].get_submodule(name).get_parameter(key).copy_(value)

    @torch.no_grad()
    def take_weights(self, other: Engine) -> None:
        assert isinstance(other, TorchEngine)
        for mine, theirs in zip(self._averages, other._averages, strict=True):
            try:
                mine.load_state_dict(theirs.state_dict())
            except RuntimeError:
                raise ValueError(OTHER_SIZE) from None

    def keep_best(self, better: np.ndarray) -> None:
        for seed in np.flatnonzero(better):
            self._best[seed].load_state_dict(self._averages[seed].state_dict())

    def use_best(self) -> None:
        for best, average in zip(self._best, self._averages, strict=True):
            average.load_state_dict(best.state_dict())

    def snapshot(self) -> Snapshot:
        arrays = {}
        for seed, optimiser in enumerate(self._optimisers):
            for kind, modules in self._modules.items():
                for name, value in modules[seed].named_parameters():
                    arrays[f"{seed}.{kind}.{name}"] = _copy(value)
            for i, moments in optimiser.state_dict()["state"].items():
                for name, value in moments.items():
                    arrays[f"{seed}.optimiser.{i}.{name}"] = _copy(value)
        executed = [cost_to_json(cost) for cost in self._executed]
        return Snapshot(arrays, {"steps_done": self._steps_done, "executed": executed})

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        for seed, optimiser in enumerate(self._optimisers):
            for kind, modules in self._modules.items():
                for name, value in modules[seed].named_parameters():
                    key = f"{seed}.{kind}.{name}"
                    numpy_dtype = np.dtype(self.dtype)
                    saved = same_layout(key, snapshot.arrays[key], tuple(value.shape), numpy_dtype)
                    value.copy_(torch.as_tensor(saved))
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, saved in snapshot.part(f"{seed}.optimiser").items():
                i, _, moment = name.partition(".")
                state.setdefault(int(i), {})[moment] = torch.tensor(saved)
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        self._steps_done = snapshot.facts["steps_done"]
        self._executed = [cost_from_json(cost) for cost in snapshot.facts["executed"]]

    @property
    def _modules(self) -> dict[str, list[torch.nn.ModuleDict]]:
        return {"newest": self._parts, "average": self._averages, "best": self._best}

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        return {name: value.detach().cpu().numpy() for name, value in self._averages[seed].named_parameters()}


def _make_moments(optimiser: torch.optim.Optimizer) -> None:
    """Make what the optimiser would make in its first step, so that it is no part of that step and of its cost."""
    [group] = optimiser.param_groups
    rate, group["lr"] = group["lr"], 0.0
    for weight in group["params"]:
        weight.grad = torch.zeros_like(weight)
    optimiser.step()  # no gradient and no rate: nothing moves
    for state in optimiser.state.values():
        state["step"].zero_()
    group["lr"] = rate


def _copy(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().numpy().copy()


def solve_ridge(x: torch.Tensor, target: torch.Tensor, ridge: float) -> torch.Tensor:
    """argmin |x w - target|² + ridge rows |w|², by QR of the stacked system, so that the condition is not squared."""
    n = x.shape[1]
    root = (ridge * x.shape[0]) ** 0.5
    q, r = torch.linalg.qr(torch.cat([x, root * torch.eye(n, dtype=x.dtype, device=x.device)]))
    padded = torch.cat([target, target.new_zeros((n, target.shape[1]))])
    return torch.linalg.solve_triangular(r, q.T @ padded, upper=True)
