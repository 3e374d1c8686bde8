"""One update of n parameters. Textbook formulas first, then what optax and torch really write."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
import torch

from tests.hardware.battery.program import Build, Program, both

N = 500
S = {"n": N}


def with_optax(optimiser: Any) -> Build:
    def step(p: Any, g: Any, state: Any) -> Any:
        updates, state = optimiser.update(g, state, p)
        return optax.apply_updates(p, updates), state

    return lambda: (step, (jnp.ones(N), jnp.ones(N), optimiser.init(jnp.ones(N))))


def with_torch(make: Any) -> Build:
    """The second step, when the optimiser has its buffers."""

    def build() -> Any:
        p = torch.ones(N, requires_grad=True)
        optimiser = make([p])
        p.grad = torch.ones(N)
        optimiser.step()
        return optimiser.step, ()

    return build


def adam(xp: Any, p: Any, g: Any, m: Any, v: Any) -> Any:
    """Kingma & Ba 2015, algorithm 1, with the powers of β known numbers."""
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 0.001 * (m / 0.19) / (xp.sqrt(v / 0.001999) + 1e-8), m, v


def clipped(xp: Any, g: Any) -> Any:
    return g * xp.reciprocal(xp.maximum(xp.sqrt((g * g).sum()), xp.ones(())))


PROGRAMS = [
    Program(
        "gradient descent",
        "2*n",
        sizes=S,
        jax=with_optax(optax.sgd(0.1)),
        torch=with_torch(lambda p: torch.optim.SGD(p, 0.1)),
        note="times the rate, sum",
    ),
    Program(
        "momentum",
        "4*n",
        sizes=S,
        jax=with_optax(optax.sgd(0.1, 0.9)),
        torch=with_torch(lambda p: torch.optim.SGD(p, 0.1, 0.9)),
        note="μ b + g, then p - η b",
    ),
    Program(
        "Adam, textbook",
        "3*n + 4*n + 7*n",
        "4*n",
        S,
        **both(adam, *[(N,)] * 4),
        note="two moments; two corrections, root, ε, division, rate, difference",
    ),
    Program(
        "Adam, optax and torch",
        "15*n + 4",
        "4*n + 2",
        S,
        jax=with_optax(optax.adam(1e-3)),
        torch=with_torch(lambda p: torch.optim.Adam(p, 1e-3)),
        torch_formula="13*n + 1",
        torch_of_which="3*n",
        twins=False,
        note="optax adds a second ε of 0 under the root, and two powers of β with 1 - βᵗ; torch puts "
        "the first correction into the rate, and counts its steps in floating point",
    ),
    Program(
        "AdamW, optax and torch",
        "17*n + 4",
        "4*n + 2",
        S,
        jax=with_optax(optax.adamw(1e-3, weight_decay=0.1)),
        torch=with_torch(lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1)),
        torch_formula="14*n + 1",
        torch_of_which="3*n",
        twins=False,
        note="decay: two operations in optax, in torch one product",
    ),
    Program(
        "running average of weights",
        "3*n",
        sizes=S,
        **both(lambda xp, a, p: 0.99 * a + 0.01 * p, (N,), (N,)),
        least_bytes="4*3*n",
    ),
    Program(
        "gradient clipped to norm 1",
        "n + (n - 1) + 1 + 1 + 1 + n",
        "2",
        S,
        **both(clipped, (N,)),
        note="squares, sum, root, maximum, division, product",
    ),
]
