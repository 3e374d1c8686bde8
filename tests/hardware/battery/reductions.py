"""Reductions (inputs less outputs), cumulative sums (inputs less lines), pooling, softmax, normalisation."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F

from tests.hardware.battery.program import Program, both

L, C = 20, 120  # lines, columns
S = {"l": L, "c": C}


def x_jax() -> tuple[Any, ...]:
    return (jnp.ones((L, C)),)


def x_torch() -> tuple[Any, ...]:
    return (torch.ones(L, C),)


def pooled(x: Any, start: float, combine: Any) -> Any:
    return jax.lax.reduce_window(x, start, combine, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


PROGRAMS = [
    Program(
        "sum of all",
        "l*c - 1",
        sizes=S,
        **both(lambda xp, x: xp.sum(x), (L, C)),
        least_bytes="4*(l*c + 1)",
        kinds={("reduction", "float32"): "l*c - 1"},
    ),
    Program(
        "sum of each line", "l*(c - 1)", sizes=S, **both(lambda xp, x: x.sum(1), (L, C)), least_bytes="4*(l*c + l)"
    ),
    Program(
        "largest of each line",
        "l*(c - 1)",
        sizes=S,
        jax=lambda: (lambda x: x.max(1), x_jax()),
        torch=lambda: (lambda x: x.amax(1), x_torch()),
    ),
    Program(
        "where the largest is", "0", sizes=S, **both(lambda xp, x: x.argmax(1), (L, C)), note="comparisons are free"
    ),
    Program("product of all", "l*c - 1", sizes=S, **both(lambda xp, x: x.prod(), (L, C))),
    Program("integers: sum", "0", sizes=S, **both(lambda xp, x: x.sum(), ((L, C), "int32"))),
    Program("mean of each line", "l*(c - 1) + l", "l", S, **both(lambda xp, x: x.mean(1), (L, C))),
    Program(
        "variance of each line",
        "4*l*c + 1",
        "2*l",
        S,
        jax=lambda: (lambda x: x.var(1), x_jax()),
        torch=lambda: (lambda x: x.var(1, unbiased=False), x_torch()),
        torch_formula="4*l*c",
        note="two means (c each), difference, square; JAX also computes the divisor c - 0, once",
    ),
    Program(
        "Euclidean norm",
        "2*l*c",
        "1",
        S,
        **both(lambda xp, x: xp.linalg.norm(x), (L, C)),
        note="squares, l c - 1 sums, a root",
    ),
    Program("cumulative sum", "l*(c - 1)", sizes=S, **both(lambda xp, x: xp.cumsum(x, 1), (L, C))),
    Program(
        "cumulative maximum",
        "l*(c - 1)",
        sizes=S,
        jax=lambda: (lambda x: jax.lax.cummax(x, 1), x_jax()),
        torch=lambda: (lambda x: torch.cummax(x, 1), x_torch()),
    ),
    Program(
        "cumulative logsumexp",
        "6*l*(c - 1)",
        "2*l*(c - 1)",
        S,
        jax=lambda: (lambda x: jax.lax.cumlogsumexp(x, 1), x_jax()),
        torch=lambda: (lambda x: torch.logcumsumexp(x, 1), x_torch()),
        note="a step is max(a, b) + log1p(exp(-|a - b|)): maximum, difference, abs (with its sign), exp, log1p, sum",
    ),
    Program(
        "logsumexp of each line",
        "4*l*c + 2*l",
        "l*c + l",
        S,
        jax=lambda: (lambda x: jax.nn.logsumexp(x, 1), x_jax()),
        torch=lambda: (lambda x: torch.logsumexp(x, 1), x_torch()),
        torch_formula="4*l*c",
        note="max c - 1, difference c, exp c, sum c - 1, log, sum; JAX also compares with -∞ and takes |sum|",
    ),
    Program(
        "softmax of each line",
        "5*l*c - l",
        "2*l*c",
        S,
        jax=lambda: (lambda x: jax.nn.softmax(x, 1), x_jax()),
        torch=lambda: (lambda x: torch.softmax(x, 1), x_torch()),
        note="max with -∞ as start c, difference c, exp c, sum c - 1, division c",
    ),
    Program(
        "log-softmax of each line",
        "5*l*c",
        "l*c + l",
        S,
        jax=lambda: (lambda x: jax.nn.log_softmax(x, 1), x_jax()),
        torch=lambda: (lambda x: torch.log_softmax(x, 1), x_torch()),
        note="max with -∞ as start c, difference c, exp c, sum c - 1, log, difference c",
    ),
    Program(
        "layer normalisation, affine",
        "9*l*c + 3*l + 1",
        "4*l",
        S,
        jax=lambda: (jax.vmap(eqx.nn.LayerNorm(C)), x_jax()),
        torch=lambda: (torch.nn.LayerNorm(C), x_torch()),
        torch_formula="9*l*c + 2*l",
        note="mean c, variance 4c (which takes the mean again), difference c, product c, affine map 2c; + ε, 1/√; "
        "equinox also max(0, variance), and JAX the divisor",
    ),
    Program(
        "average pooling 2 × 2",
        "q*(4 - 1) + q",
        "q",
        {"q": 2 * 3 * 4 * 4},
        jax=lambda: (lambda x: pooled(x, 0.0, jax.lax.add) / 4, (jnp.ones((2, 3, 8, 8)),)),
        torch=lambda: (lambda x: F.avg_pool2d(x, 2), (torch.ones(2, 3, 8, 8),)),
        note="q outputs",
    ),
    Program(
        "maximum pooling 2 × 2",
        "q*(4 - 1)",
        sizes={"q": 2 * 3 * 4 * 4},
        jax=lambda: (lambda x: pooled(x, -jnp.inf, jax.lax.max), (jnp.ones((2, 3, 8, 8)),)),
        torch=lambda: (lambda x: F.max_pool2d(x, 2), (torch.ones(2, 3, 8, 8),)),
    ),
]
