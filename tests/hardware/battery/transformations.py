"""Derivatives and other transformations: the chain rule written out, with what each framework leaves undone.

Rules used: the derivative of sin costs a cosine and a product; of x², 2x and a product; of tanh as JAX 0.10 writes it,
g(1 - y) + g(1 - y) y, 4 operations; of a matrix product, two products. A cotangent of ones is multiplied like another.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch.utils.checkpoint import checkpoint

from tests.hardware.battery.program import Program

B, M, N = 50, 40, 100
V, S = {"n": N}, {"m": M, "n": N}
NEWER = "one_minus_square" in str(jax.make_jaxpr(jax.grad(jnp.tanh))(1.0))  # jax 0.11: g (1 - y²), 3 operations


def gradient_in_torch(f: Any) -> Any:
    """Value and gradients of the sum of f's results."""

    def both(*args: Any) -> Any:
        value = f(*args).sum()
        return value.detach(), torch.autograd.grad(value, [a for a in args if a.requires_grad])

    return both


def moving(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, requires_grad=True)


def pulled_back(value_and_pull: Any, cotangent: Any) -> Any:
    value, pull = value_and_pull
    return value, pull(cotangent)


def sum_of_sines(xp: Any, x: Any, w: Any) -> Any:
    return xp.sin(x @ w).sum()


@jax.custom_vjp
def square_by_hand(x: Any) -> Any:
    return x * x


square_by_hand.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))


class SquareByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return 2 * x * g


def jax_hvp(w: Any, x: Any, v: Any) -> Any:
    return jax.jvp(jax.grad(lambda w: sum_of_sines(jnp, x, w)), (w,), (v,))


def torch_hvp(w: Any, x: Any, v: Any) -> Any:
    return torch.func.jvp(torch.func.grad(lambda w: sum_of_sines(torch, x, w)), (w,), (v,))


def recurrence(xp: Any, w: Any, y: Any) -> Any:
    return xp.sin(y @ w)


def jax_scan_gradient(w: Any, y: Any) -> Any:
    def loss(w: Any, y: Any) -> Any:
        return jax.lax.scan(lambda y, _: (recurrence(jnp, w, y), None), y, length=5)[0].sum()

    return jax.value_and_grad(loss, (0, 1))(w, y)


def torch_scan_gradient(w: Any, y: Any) -> Any:
    z = y
    for _ in range(5):
        z = recurrence(torch, w, z)
    return torch.autograd.grad(z.sum(), (w, y))


PROGRAMS = [
    Program(
        "sum of sin(x) and its gradient",
        "n + (n - 1) + 2*n",
        "2*n",
        V,
        jax=lambda: (jax.value_and_grad(lambda x: jnp.sin(x).sum()), (jnp.ones(N),)),
        torch=lambda: (gradient_in_torch(torch.sin), (moving(N),)),
        least_bytes="4*(2*n + 1)",
    ),
    Program(
        "sum of tanh(x) and its gradient",
        "n + (n - 1) + d*n",
        "n",
        V | {"d": 3 if NEWER else 4},
        jax=lambda: (jax.value_and_grad(lambda x: jnp.tanh(x).sum()), (jnp.ones(N),)),
        torch=lambda: (gradient_in_torch(torch.tanh), (moving(N),)),
        torch_formula="n + (n - 1) + 4*n",
        twins=not NEWER,
        note="d = 4 as JAX 0.10 writes the derivative, 3 in JAX 0.11",
    ),
    Program(
        "squared error of x w and its gradient",
        "2*b*m*n + 2*b*n + (b*n - 1) + 2*b*n + 2*b*m*n",
        sizes=S | {"b": B},
        jax=lambda: (
            jax.value_and_grad(lambda w, x, y: ((x @ w - y) ** 2).sum()),
            (jnp.ones((M, N)), jnp.ones((B, M)), jnp.ones((B, N))),
        ),
        torch=lambda: (
            gradient_in_torch(lambda w, x, y: (x @ w - y) ** 2),
            (moving(M, N), torch.ones(B, M), torch.ones(B, N)),
        ),
        note="product, difference, square, sum; 2 d g; product",
    ),
    Program(
        "jvp of sin",
        "3*n",
        "2*n",
        V,
        jax=lambda: (lambda x, t: jax.jvp(jnp.sin, (x,), (t,)), (jnp.ones(N), jnp.ones(N))),
        torch=lambda: (lambda x, t: torch.func.jvp(torch.sin, (x,), (t,)), (torch.ones(N), torch.ones(N))),
    ),
    Program(
        "vjp of a matrix product",
        "3*2*b*m*n",
        sizes=S | {"b": B},
        jax=lambda: (
            lambda x, w, g: pulled_back(jax.vjp(jnp.matmul, x, w), g),
            (jnp.ones((B, M)), jnp.ones((M, N)), jnp.ones((B, N))),
        ),
        torch=lambda: (
            lambda x, w, g: pulled_back(torch.func.vjp(torch.matmul, x, w), g),
            (torch.ones(B, M), torch.ones(M, N), torch.ones(B, N)),
        ),
    ),
    Program(
        "gradient for each example: vmap(grad)",
        "b*(2*n + 2 + n)",
        "b",
        {"b": B, "n": N},
        jax=lambda: (
            jax.vmap(jax.grad(lambda w, x: jnp.sin(jnp.dot(w, x))), (None, 0)),
            (jnp.ones(N), jnp.ones((B, N))),
        ),
        torch=lambda: (
            torch.func.vmap(torch.func.grad(lambda w, x: torch.sin(torch.dot(w, x))), (None, 0)),
            (torch.ones(N), torch.ones(B, N)),
        ),
        torch_formula="b*(2*n + 3 + n)",
        torch_of_which="2*b",
        note="w·x, cosine, times the cotangent, times x; torch also computes the sine that nobody asks for",
    ),
    Program(
        "jacrev of sin(w x)",
        "2*m*n + m + m*m + 2*m*m*n",
        "m",
        S,
        jax=lambda: (jax.jacrev(lambda x, w: jnp.sin(w @ x)), (jnp.ones(N), jnp.ones((M, N)))),
        torch=lambda: (torch.func.jacrev(lambda x, w: torch.sin(w @ x)), (torch.ones(N), torch.ones(M, N))),
        torch_formula="2*m*n + 2*m + m*m + 2*m*m*n",
        torch_of_which="2*m",
        note="m cotangents at once; torch also computes the sine",
    ),
    Program(
        "jacfwd of sin(w x)",
        "2*m*n + m + m*n + 2*m*n*n",
        "m",
        S,
        jax=lambda: (jax.jacfwd(lambda x, w: jnp.sin(w @ x)), (jnp.ones(N), jnp.ones((M, N)))),
        torch=lambda: (torch.func.jacfwd(lambda x, w: torch.sin(w @ x)), (torch.ones(N), torch.ones(M, N))),
        torch_formula="4*m*n + 2*m + 2*m*n + 2*m*n*n",
        torch_of_which="2*m",
        twins=False,
        note="n tangents at once; torch also computes the sine, multiplies by the zero tangent of w, and adds that",
    ),
    Program(
        "gradient and Hessian-vector product of Σ sin(x w)",
        "4*2*b*n + 6*b",
        "2*b",
        {"b": B, "n": N},
        jax=lambda: (jax_hvp, (jnp.ones(N), jnp.ones((B, N)), jnp.ones(N))),
        torch=lambda: (torch_hvp, (torch.ones(N), torch.ones(B, N), torch.ones(N))),
        torch_formula="6*2*b*n + 12*b - 2 + n",
        torch_of_which="4*b",
        twins=False,
        note="x w, x v, xᵀ·, xᵀ·; cos, times 1; sin, times, negated, times 1. torch multiplies twice by the zero "
        "tangent of x and adds that, and computes value, sum and their tangents",
    ),
    Program(
        "Hessian of Σ sin(x w)",
        "2*b*n + b + 2*b*n*n + 3*b*n + 2*b*n*n",
        "b",
        {"b": B, "n": N},
        jax=lambda: (jax.hessian(lambda w, x: sum_of_sines(jnp, x, w)), (jnp.ones(N), jnp.ones((B, N)))),
        torch=lambda: (torch.func.hessian(lambda w, x: sum_of_sines(torch, x, w)), (torch.ones(N), torch.ones(B, N))),
        torch_formula="4*b*n*n + 4*2*b*n + (b*n + b*n + n*(b - 1) + 2*b*n) + 6*b + (b - 1) + n*n",
        torch_of_which="4*b",
        twins=False,
        note="n tangents at once. torch computes value and gradient too, and multiplies by zero tangents as above",
    ),
    Program(
        "gradients through a checkpoint",
        "4*2*b*m*n + 4*b*n - 1",
        "2*b*n",
        S | {"b": B},
        jax=lambda: (
            jax.value_and_grad(lambda x, w: jax.checkpoint(lambda x, w: jnp.sin(x @ w))(x, w).sum(), (0, 1)),
            (jnp.ones((B, M)), jnp.ones((M, N))),
        ),
        torch=lambda: (
            gradient_in_torch(lambda x, w: checkpoint(lambda x, w: torch.sin(x @ w), x, w, use_reentrant=False)),
            (moving(B, M), moving(M, N)),
        ),
        note="x w twice, and two products; sine, sum, cosine, product",
    ),
    Program(
        "a derivative written by hand",
        "n + (n - 1) + 2*n",
        sizes=V,
        jax=lambda: (jax.value_and_grad(lambda x: square_by_hand(x).sum()), (jnp.ones(N),)),
        torch=lambda: (gradient_in_torch(SquareByHand.apply), (moving(N),)),
    ),
    Program(
        "jit in jit in jit",
        "3*n",
        "n",
        V,
        jax=lambda: (jax.jit(lambda x: jax.jit(lambda x: x + jax.jit(lambda x: x * jnp.sin(x))(x))(x)), (jnp.ones(N),)),
        torch=lambda: (lambda x: x + x * torch.sin(x), (torch.ones(N),)),
    ),
    Program(
        "a product that no result needs",
        "n*n",
        sizes=V,
        jax=lambda: (lambda a: (a @ a, a + a)[1], (jnp.ones((N, N)),)),
        torch=lambda: (lambda a: (a @ a, a + a)[1], (torch.ones(N, N),)),
        torch_formula="2*n**3 + n*n",
        twins=False,
        note="JAX, traced as a whole, leaves it out; torch executes it",
    ),
    Program(
        "gradients through 5 recurrent steps",
        "5*(2*b*n*n + b*n) + (b*n - 1) + 5*(2*b*n + 4*b*n*n + n*n)",
        "5*2*b*n",
        {"b": B, "n": N},
        jax=lambda: (jax_scan_gradient, (jnp.ones((N, N)), jnp.ones((B, N)))),
        torch=lambda: (torch_scan_gradient, (moving(N, N), moving(B, N))),
        torch_formula="5*(2*b*n*n + b*n) + (b*n - 1) + 5*(2*b*n + 4*b*n*n) + 4*n*n",
        note="forward, sum, and back: cosine, product, two matrix products, gradients added up (JAX starts from zeros)",
    ),
]
