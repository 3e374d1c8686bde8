"""Products: one multiply-add, 2 FLOP, for each combination of indices; a complex one is 8."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import torch

from tests.hardware.battery.program import Program, both

M, K, N, B, P = 24, 36, 20, 5, 7
S = {"m": M, "k": K, "n": N}

PROGRAMS = [
    Program(
        "matrix product",
        "2*m*k*n",
        sizes=S,
        **both(lambda xp, a, b: a @ b, (M, K), (K, N)),
        least_bytes="4*(m*k + k*n + m*n)",
        kinds={("matmul", "float32"): "2*m*k*n"},
    ),
    Program(
        "matrix times vector",
        "2*m*k",
        sizes={"m": M, "k": K},
        **both(lambda xp, a, x: a @ x, (M, K), (K,)),
        least_bytes="4*(m*k + k + m)",
        kinds={("matmul", "float32"): "2*m*k"},
    ),
    Program("scalar product", "2*n", sizes={"n": N}, **both(lambda xp, x, y: xp.dot(x, y), (N,), (N,))),
    Program(
        "outer product",
        "m*n",
        sizes={"m": M, "n": N},
        **both(lambda xp, x, y: xp.outer(x, y), (M,), (N,)),
        least_bytes="4*(m + n + m*n)",
    ),
    Program(
        "batched matrix product",
        "2*b*m*k*n",
        sizes=S | {"b": B},
        **both(lambda xp, a, b: a @ b, (B, M, K), (B, K, N)),
        least_bytes="4*b*(m*k + k*n + m*n)",
    ),
    Program(
        "linear layer with bias",
        "2*m*k*n + m*n",
        sizes=S,
        jax=lambda: (lambda x, w, b: x @ w.T + b, (jnp.ones((M, K)), jnp.ones((N, K)), jnp.ones(N))),
        torch=lambda: (torch.nn.functional.linear, (torch.ones(M, K), torch.ones(N, K), torch.ones(N))),
        least_bytes="4*(m*k + k*n + n + m*n)",
    ),
    Program(
        "c/2 + 2 a b",
        "2*m*k*n + 3*m*n",
        sizes=S,
        jax=lambda: (lambda c, a, b: 0.5 * c + 2.0 * (a @ b), (jnp.ones((M, N)), jnp.ones((M, K)), jnp.ones((K, N)))),
        torch=lambda: (
            lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2.0),
            (torch.ones(M, N), torch.ones(M, K), torch.ones(K, N)),
        ),
    ),
    Program(
        "complex matrix product",
        "8*m*k*n",
        sizes=S,
        **both(lambda xp, a, b: a @ b, ((M, K), "complex64"), ((K, N), "complex64")),
        least_bytes="8*(m*k + k*n + m*n)",
        kinds={("matmul", "float32"): "8*m*k*n"},
    ),
    Program(
        "bfloat16 matrix product",
        "2*m*k*n",
        sizes=S,
        **both(lambda xp, a, b: a @ b, ((M, K), "bfloat16"), ((K, N), "bfloat16")),
        least_bytes="2*(m*k + k*n + m*n)",
        kinds={("matmul", "bfloat16"): "2*m*k*n"},
    ),
    Program(
        "bfloat16 product, kept and added in float32",
        "2*m*k*n + m*n",
        sizes=S,
        jax=lambda: (
            lambda a, b, c: jax.lax.dot(a, b, preferred_element_type=jnp.float32) + c,
            (jnp.ones((M, K), jnp.bfloat16), jnp.ones((K, N), jnp.bfloat16), jnp.ones((M, N))),
        ),
        torch=lambda: (
            lambda a, b, c: (a @ b).float() + c,
            (torch.ones(M, K).bfloat16(), torch.ones(K, N).bfloat16(), torch.ones(M, N)),
        ),
    ),
    Program(
        "integer matrix product", "0", sizes=S, **both(lambda xp, a, b: a @ b, ((M, K), "int32"), ((K, N), "int32"))
    ),
    Program(
        "product of three, (a b) c",
        "2*m*k*n + 2*m*n*p",
        sizes=S | {"p": P},
        **both(lambda xp, a, b, c: a @ b @ c, (M, K), (K, N), (N, P)),
    ),
    Program(
        "einsum bik,bjk->bij",
        "2*b*m*n*k",
        sizes=S | {"b": B},
        **both(lambda xp, a, c: xp.einsum("bik,bjk->bij", a, c), (B, M, K), (B, N, K)),
    ),
    Program(
        "contraction of two axes",
        "2*m*n*(p*k)",
        sizes=S | {"p": P},
        **both(lambda xp, a, b: xp.tensordot(a, b, 2), (M, P, K), (P, K, N)),
    ),
    Program(
        "bilinear form xᵀ A y",
        "2*m*n + 2*m",
        sizes={"m": M, "n": N},
        **both(lambda xp, x, a, y: xp.dot(x, a @ y), (M,), (M, N), (N,)),
    ),
    Program("Kronecker product", "m*n*p*k", sizes=S | {"p": P}, **both(lambda xp, a, b: xp.kron(a, b), (M, N), (P, K))),
    Program(
        "eighth power of a matrix",
        "3*2*n**3",
        sizes={"n": N},
        **both(lambda xp, a: xp.linalg.matrix_power(a, 8), (N, N)),
        note="three squarings",
    ),
    Program(
        "matrix times vector, vmapped",
        "2*b*m*k",
        sizes={"b": B, "m": M, "k": K},
        jax=lambda: (jax.vmap(jnp.matmul, (None, 0)), (jnp.ones((M, K)), jnp.ones((B, K)))),
        torch=lambda: (torch.func.vmap(torch.mv, (None, 0)), (torch.ones(M, K), torch.ones(B, K))),
    ),
]
