"""A training step through our loop against the same step written by hand, in turn, as a ratio of times.

The hand-written JAX step is the usual diffrax one (`diffeqsolve`, optax, 200 steps in one `lax.scan`), the torch step
the usual torchdiffeq one. Same network, data, batch, solver and optimiser; ours also averages the weights and counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from experiments.task import Protocol, Task, simulated
from hardware.devices import Device
from learners.backends import engine_of
from learners.backends.base import Recipe
from learners.models.neural_ode import NeuralOde
from physics_models.flocking import Flocking

STEPS, PAIRS = 200, 9
RECIPE = Recipe()


def measure() -> dict[str, Any]:
    task = simulated("flocking", Flocking(), Protocol(n_train=64, n_val=2, n_test=2), None)
    figures: dict[str, Any] = {}
    for solver in ("euler", "midpoint", "heun", "dopri5"):
        ours, hand = _ours(task, solver, "jax"), _diffrax(task, solver)
        figures[f"jax, {solver}: ours / hand-written diffrax"] = _ratio(ours, hand)
    for solver in ("euler", "rk4"):
        ours, hand = _ours(task, solver, "torch"), _torchdiffeq(task, solver)
        figures[f"torch, {solver}: ours / hand-written torchdiffeq"] = _ratio(ours, hand)
    return figures


def _ratio(ours: Callable[[], None], hand: Callable[[], None]) -> str:
    """Median and range of paired ratios; each runs once before, so that nothing is compiled in the measurement."""
    for work in (ours, hand):
        work()
    ratios = []
    for _ in range(PAIRS):
        ratios.append(_seconds(ours) / _seconds(hand))
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _seconds(work: Callable[[], None]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def _drawn(task: Task, solver: str) -> tuple[NeuralOde, dict[str, Any]]:
    model = NeuralOde(solver=solver)
    rng = np.random.default_rng(0)
    return model, {name: spec.draw(rng) for name, spec in model.parts(task.info).items()}


def _starts(task: Task) -> np.ndarray:
    return np.random.default_rng(1).choice(task.points(1).starts, (1, STEPS, RECIPE.batch)).astype(np.int32)


def _ours(task: Task, solver: str, backend: str) -> Callable[[], None]:
    model, drawn = _drawn(task, solver)
    cpu = Device("cpu", "the processor")
    engine = engine_of(backend)(model, task.info, RECIPE, task.points(1), [drawn], "float32", cpu, STEPS, 2, 2)
    starts = _starts(task)
    return lambda: engine.train(starts)


def _diffrax(task: Task, solver: str) -> Callable[[], None]:
    import diffrax
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    info = task.info
    n = info.size
    mean, std, rate, step_std = (
        jnp.asarray(np.tile(v, n // len(v)), jnp.float32) for v in (info.mean, info.std, info.rate_std, info.step_std)
    )
    net = eqx.nn.MLP(n, n, 128, 2, jax.nn.silu, key=jax.random.PRNGKey(0), dtype=jnp.float32)
    points = task.points(1)
    y = jnp.asarray(points.y.reshape(len(points.y), n), jnp.float32)
    kind = {"euler": diffrax.Euler, "midpoint": diffrax.Midpoint, "heun": diffrax.Heun, "dopri5": diffrax.Dopri5}[
        solver
    ]
    controller = diffrax.PIDController(1e-5, 1e-6) if solver == "dopri5" else diffrax.ConstantStepSize()
    optimiser = optax.adam(optax.linear_schedule(2e-5, 2e-3, 100))

    def loss(net: Any, index: Any) -> Any:
        term = diffrax.ODETerm(lambda t, state, args: jax.vmap(net)((state - mean) / std) * rate)
        solution = diffrax.diffeqsolve(
            term, kind(), 0.0, info.interval, info.interval, y[index], stepsize_controller=controller,
            saveat=diffrax.SaveAt(t1=True), max_steps=256,
        )  # fmt: skip
        return jnp.mean(((solution.ys[-1] - y[index + 1]) / step_std) ** 2)  # type: ignore[index]

    params, static = eqx.partition(net, eqx.is_inexact_array)

    @jax.jit
    def run(params: Any, state: Any, indices: Any) -> Any:
        def step(carry: Any, index: Any) -> Any:
            params, state = carry
            value, gradient = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), index))(params)
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, state), indices)

    state, indices = optimiser.init(params), jnp.asarray(_starts(task)[0])
    return lambda: jax.block_until_ready(run(params, state, indices))


def _torchdiffeq(task: Task, solver: str) -> Callable[[], None]:
    import torch
    import torchdiffeq

    info = task.info
    n = info.size
    mean, std, rate, step_std = (
        torch.as_tensor(np.tile(v, n // len(v)), dtype=torch.float32)
        for v in (info.mean, info.std, info.rate_std, info.step_std)
    )
    layers = [torch.nn.Linear(n, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(128, n))
    points = task.points(1)
    y = torch.as_tensor(points.y.reshape(len(points.y), n), dtype=torch.float32)
    times = torch.tensor([0.0, info.interval])
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    starts = torch.as_tensor(_starts(task)[0])

    def run() -> None:
        for index in starts:
            optimiser.zero_grad()
            end = torchdiffeq.odeint(lambda t, state: net((state - mean) / std) * rate, y[index], times, method=solver)[
                -1
            ]
            loss = torch.mean(((end - y[index + 1]) / step_std) ** 2)  # type: ignore[operator]
            loss.backward()
            optimiser.step()

    return run
