"""Linear algebra: leading terms of the textbook counts (Golub & Van Loan), and methods built of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import torch

from tests.hardware.battery.program import Program

N, M, R, P = 12, 20, 3, 6
S = {"n": N}
# Symmetric, positive definite, well conditioned; rectangular with full rank.
SQUARE = (4 * np.eye(N) + 1 / (1 + np.add.outer(np.arange(N), np.arange(N)))).astype(np.float32)
TALL = np.random.default_rng(0).normal(size=(M, P)).astype(np.float32)


def on(jax_function: Any, torch_function: Any, *arrays: Any) -> dict[str, Any]:
    """Two functions of the same arrays; an array may be given by its shape."""
    filled = [np.ones(a, np.float32) if isinstance(a, tuple) else a for a in arrays]
    return {
        "jax": lambda: (jax_function, tuple(jnp.asarray(a) for a in filled)),
        "torch": lambda: (torch_function, tuple(torch.as_tensor(a) for a in filled)),
    }


def jax_cholesky(a: Any) -> Any:
    return jax.lax.linalg.cholesky(a, symmetrize_input=False)


def jax_ridge(x: Any, y: Any, penalty: Any) -> Any:
    return jsl.cho_solve((jax_cholesky(x.T @ x + penalty), True), x.T @ y)


def torch_ridge(x: Any, y: Any, penalty: Any) -> Any:
    return torch.cholesky_solve((x.T @ y)[:, None], torch.linalg.cholesky(x.T @ x + penalty))


def jax_log_determinant(a: Any) -> Any:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(jax_cholesky(a))))


def torch_log_determinant(a: Any) -> Any:
    return 2 * torch.linalg.cholesky(a).diagonal().log().sum()


def levenberg_marquardt(xp: Any, solve: Any, x: Any, y: Any, w: Any, damping: Any) -> Any:
    """One step on the residual r = sin(x w) - y, with its Jacobian J = cos(x w) x."""
    z = x @ w
    residual, jacobian = xp.sin(z) - y, xp.cos(z)[:, None] * x
    return w - solve(jacobian.T @ jacobian + damping, jacobian.T @ residual)


def power_iteration(xp: Any, a: Any, v: Any) -> Any:
    for _ in range(10):
        v = a @ v
        v = v / xp.linalg.norm(v)
    return v


PROGRAMS = [
    Program(
        "Cholesky",
        "n**3/3",
        sizes=S,
        **on(jax_cholesky, torch.linalg.cholesky, SQUARE),
        least_bytes="4*2*n*n",
        kinds={("linalg", "float32"): "n**3/3"},
    ),
    Program("LU", "2*n**3/3", sizes=S, **on(jsl.lu_factor, torch.linalg.lu_factor, SQUARE)),
    Program(
        "QR, reduced",
        "2*(2*m*p**2 - 2*p**3/3)",
        sizes={"m": M, "p": P},
        **on(jnp.linalg.qr, torch.linalg.qr, TALL),
        note="reflectors and R, then the columns of Q",
    ),
    Program(
        "symmetric eigenvalues and vectors",
        "9*n**3",
        sizes=S,
        **on(lambda a: jnp.linalg.eigh(a, symmetrize_input=False), torch.linalg.eigh, SQUARE),
    ),
    Program(
        "symmetric eigenvalues alone",
        "9*n**3 + 2*n**2",
        "n**2",
        S,
        **on(jnp.linalg.eigvalsh, torch.linalg.eigvalsh, SQUARE),
        torch_formula="4*n**3/3",
        torch_of_which="0",
        twins=False,
        note="JAX makes the matrix symmetric, computes the vectors too and drops them",
    ),
    Program(
        "SVD, thin",
        "14*m*p**2 + 8*p**3",
        sizes={"m": M, "p": P},
        **on(
            lambda a: jnp.linalg.svd(a, full_matrices=False), lambda a: torch.linalg.svd(a, full_matrices=False), TALL
        ),
    ),
    Program(
        "singular values alone",
        "4*m*p**2 - 4*p**3/3",
        sizes={"m": M, "p": P},
        **on(lambda a: jnp.linalg.svd(a, compute_uv=False), torch.linalg.svdvals, TALL),
    ),
    Program(
        "solve, one right-hand side",
        "2*n**3/3 + 2*n**2",
        sizes=S,
        **on(jnp.linalg.solve, torch.linalg.solve, SQUARE, (N,)),
        least_bytes="4*(n*n + 2*n)",
    ),
    Program(
        "solve, several right-hand sides",
        "2*n**3/3 + 2*n**2*r",
        sizes=S | {"r": R},
        **on(jnp.linalg.solve, torch.linalg.solve, SQUARE, (N, R)),
    ),
    Program(
        "solve, a batch",
        "b*(2*n**3/3 + 2*n**2*r)",
        sizes=S | {"r": R, "b": 4},
        **on(jnp.linalg.solve, torch.linalg.solve, np.stack([SQUARE] * 4), (4, N, R)),
    ),
    Program(
        "triangular solve",
        "n**2*r",
        sizes=S | {"r": R},
        **on(
            jsl.solve_triangular, lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), np.triu(SQUARE), (N, R)
        ),
    ),
    Program(
        "inverse",
        "2*n**3/3 + 2*n**2*n",
        sizes=S,
        **on(jnp.linalg.inv, torch.linalg.inv, SQUARE),
        note="both frameworks solve for the n columns of the identity",
    ),
    Program(
        "solve from a Cholesky factor",
        "2*n**2*r",
        sizes=S | {"r": R},
        **on(
            lambda a, b: jsl.cho_solve((a, True), b), lambda a, b: torch.cholesky_solve(b, a), np.tril(SQUARE), (N, R)
        ),
    ),
    Program(
        "tridiagonal solve",
        "8*n",
        "2*n",
        S,
        jax=lambda: (jax.lax.linalg.tridiagonal_solve, (jnp.ones(N), jnp.full(N, 4.0), jnp.ones(N), jnp.ones((N, 1)))),
        note="Thomas' algorithm: down 3 for the matrix and 3 for the right-hand side, up 2; torch has none",
    ),
    Program(
        "log-determinant by Cholesky",
        "n**3/3 + n + (n - 1) + 1",
        "n",
        S,
        **on(jax_log_determinant, torch_log_determinant, SQUARE),
    ),
    Program(
        "complex Cholesky",
        "4*n**3/3",
        sizes=S,
        **on(jax_cholesky, torch.linalg.cholesky, SQUARE.astype(np.complex64)),
        note="4 times the real count",
    ),
    Program(
        "ridge regression",
        "2*m*p**2 + p**2 + 2*m*p + p**3/3 + 2*p**2",
        sizes={"m": M, "p": P},
        **on(jax_ridge, torch_ridge, TALL, (M,), np.eye(P, dtype=np.float32)),
        note="XᵀX, + λI, Xᵀy, Cholesky, two triangular solves",
    ),
    Program(
        "Levenberg–Marquardt step",
        "2*m*p + 3*m + m*p + 2*m*p**2 + p**2 + 2*m*p + 2*p**3/3 + 2*p**2 + p",
        "2*m",
        {"m": M, "p": P},
        **on(
            lambda *a: levenberg_marquardt(jnp, jnp.linalg.solve, *a),
            lambda *a: levenberg_marquardt(torch, torch.linalg.solve, *a),
            TALL,
            (M,),
            (P,),
            np.eye(P, dtype=np.float32),
        ),
        note="X w; sin, cos, difference; J; JᵀJ + μI; Jᵀr; LU and two triangular solves; update",
    ),
    Program(
        "ten power iterations",
        "10*(2*n**2 + 2*n + n)",
        "10*(1 + n)",
        S,
        **on(lambda a, v: power_iteration(jnp, a, v), lambda a, v: power_iteration(torch, a, v), SQUARE, (N,)),
        note="product; norm (squares, sums, root); division",
    ),
]
