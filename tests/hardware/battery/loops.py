"""Loops cost the trips that are really taken, branches the one that is; a vmapped loop goes on for its slowest lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import lax

from tests.hardware.battery.program import Program

N, B = 16, 6
S = {"n": N}
TRIPS = (1, 2, 100)


def eye_jax() -> tuple[Any, ...]:
    return (jnp.eye(N), jnp.eye(N))


def eye_torch() -> tuple[Any, ...]:
    return (torch.eye(N), torch.eye(N))


def repeat(times: int, step: Callable[[Any], Any], x: Any) -> Any:
    for _ in range(times):
        x = step(x)
    return x


def scan_of_products(times: int) -> Program:
    return Program(
        f"scan of {times} matrix products",
        f"{times}*2*n**3",
        sizes=S,
        jax=lambda: (lambda a, x: lax.scan(lambda x, _: (a @ x, None), x, length=times)[0], eye_jax()),
        torch=lambda: (lambda a, x: repeat(times, lambda x: a @ x, x), eye_torch()),
    )


def nested_scan(x: Any) -> Any:
    def inner(x: Any, _: Any) -> Any:
        return jnp.sin(x), None

    return lax.scan(lambda x, _: (lax.scan(inner, x, length=7)[0], None), x, length=5)[0]


def halve_in_jax(x: Any) -> Any:
    return lax.while_loop(lambda x: x[0] > 1, lambda x: 0.5 * x, x)


def halve_in_torch(x: Any) -> Any:
    while x[0] > 1:
        x = 0.5 * x
    return x


def halve_the_sum_in_jax(x: Any) -> Any:
    return lax.while_loop(lambda x: x.sum() > 1, lambda x: 0.5 * x, x)


def halve_the_sum_in_torch(x: Any) -> Any:
    while x.sum() > 1:
        x = 0.5 * x
    return x


def newton_in_jax(a: Any) -> Any:
    """√a of a scalar, to |y² - a| ≤ 0.001: from 1 the iterates for 2 are 1.5, 1.4167, 1.414216."""
    return lax.while_loop(lambda y: jnp.abs(y * y - a) > 1e-3, lambda y: 0.5 * (y + a / y), jnp.ones_like(a))


def newton_in_torch(a: Any) -> Any:
    y = torch.ones_like(a)
    while (y * y - a).abs() > 1e-3:
        y = 0.5 * (y + a / y)
    return y


def count_down(n: Any) -> Any:
    return lax.while_loop(lambda n: n > 0, lambda n: n - 1, n)


def branch(x: Any) -> Any:
    return lax.cond(x[0] > 0, lambda x: jnp.sin(x) * x, lambda x: x + x, x)


def torch_branch(x: Any) -> Any:
    return torch.sin(x) * x if x[0] > 0 else x + x


def scanned_switch(indices: Any, x: Any) -> Any:
    branches = [lambda x: x, lambda x: x + x, lambda x: jnp.sin(x) * x + x]
    return lax.scan(lambda x, i: (lax.switch(i, branches, x), None), x, indices)[0]


def spin(trips: Any, x: Any) -> Any:
    return lax.while_loop(lambda c: c[0] < trips, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, x))[1]


def scanned_spin(trips: Any, x: Any) -> Any:
    return lax.scan(lambda x, n: (spin(n, x), None), x, trips)[0]


def spin_lanes_in_torch(trips: Any, x: Any) -> Any:
    """As vmap does it: all lanes go round until the last is done, and those that are done keep their values."""
    for i in range(int(trips.max())):
        x = torch.where((i < trips)[:, None], torch.tanh(x), x)
    return x


def spin_each_in_torch(trips: Any, x: Any) -> Any:
    return [repeat(int(n), torch.tanh, lane) for n, lane in zip(trips, x, strict=True)]


PROGRAMS = [
    *[scan_of_products(times) for times in (2, 10, 100)],
    Program(
        "scan of 7 in a scan of 5: sin",
        "5*7*n",
        "5*7*n",
        S,
        jax=lambda: (nested_scan, (jnp.ones(N),)),
        torch=lambda: (lambda x: repeat(35, torch.sin, x), (torch.ones(N),)),
    ),
    Program(
        "fori_loop of 20: 0.9 x + 0.1",
        "20*2*n",
        sizes=S,
        jax=lambda: (lambda x: lax.fori_loop(0, 20, lambda i, x: 0.9 * x + 0.1, x), (jnp.ones(N),)),
        torch=lambda: (lambda x: repeat(20, lambda x: 0.9 * x + 0.1, x), (torch.ones(N),)),
    ),
    Program(
        "while: halve from 1000 to below 1",
        "10*n",
        sizes=S,
        jax=lambda: (halve_in_jax, (jnp.full(N, 1000.0),)),
        torch=lambda: (halve_in_torch, (torch.full((N,), 1000.0),)),
        note="2¹⁰ > 1000 > 2⁹",
    ),
    Program(
        "while whose test is a sum",
        "4*n + 5*(n - 1)",
        sizes=S,
        jax=lambda: (halve_the_sum_in_jax, (jnp.ones(N),)),
        torch=lambda: (halve_the_sum_in_torch, (torch.ones(N),)),
        note="sums 16, 8, 4, 2, 1: four rounds, five tests",
    ),
    Program(
        "while: Newton's iteration for √2",
        "4*3 + 3*3",
        "3",
        jax=lambda: (newton_in_jax, (jnp.array(2.0),)),
        torch=lambda: (newton_in_torch, (torch.tensor(2.0),)),
        note="three rounds, four tests of 3 operations each",
    ),
    Program(
        "while over integers",
        "0",
        jax=lambda: (count_down, (jnp.int32(9),)),
        torch=lambda: (lambda n: repeat(9, lambda n: n - 1, n), (torch.tensor(9, dtype=torch.int32),)),
    ),
    Program(
        "cond, one branch: x sin(x)",
        "2*n",
        "n",
        S,
        jax=lambda: (branch, (jnp.ones(N),)),
        torch=lambda: (torch_branch, (torch.ones(N),)),
    ),
    Program(
        "cond, the other branch: x + x",
        "n",
        "0",
        S,
        jax=lambda: (branch, (-jnp.ones(N),)),
        torch=lambda: (torch_branch, (-torch.ones(N),)),
    ),
    Program(
        "cond, vmapped: both branches",
        "b*(2*n + n)",
        "b*n",
        S | {"b": B},
        jax=lambda: (jax.vmap(branch), (jnp.ones((B, N)),)),
        torch=lambda: (lambda x: torch.where(x[:, :1] > 0, torch.sin(x) * x, x + x), (torch.ones(B, N),)),
    ),
    Program(
        "switch in a scan over 0, 1, 2, 2",
        "0 + n + 3*n + 3*n",
        "2*n",
        S,
        jax=lambda: (scanned_switch, (jnp.array([0, 1, 2, 2]), jnp.ones(N))),
    ),
    Program(
        "while in a scan: 3, 0 and 4 trips of tanh",
        "(3 + 0 + 4)*n",
        "7*n",
        S,
        jax=lambda: (scanned_spin, (jnp.array([3, 0, 4]), jnp.ones(N))),
        torch=lambda: (lambda x: repeat(7, torch.tanh, x), (torch.ones(N),)),
    ),
    Program(
        "while, vmapped over 1, 2, 100 trips: executed",
        "3*100*n",
        "3*100*n",
        S,
        jax=lambda: (jax.vmap(spin), (jnp.array(TRIPS), jnp.ones((3, N)))),
        torch=lambda: (spin_lanes_in_torch, (torch.tensor(TRIPS), torch.ones(3, N))),
    ),
    Program(
        "while, vmapped over 1, 2, 100 trips: needed",
        "(1 + 2 + 100)*n",
        "103*n",
        S,
        jax=lambda: (spin, (jnp.array(TRIPS), jnp.ones((3, N)))),
        lanes=3,
        torch=lambda: (spin_each_in_torch, (torch.tensor(TRIPS), torch.ones(3, N))),
    ),
]
