"""Prices of JAX's linear algebra: leading terms of the textbook counts (`hardware.formulas`), complex ones 4 times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_jax.rules import rule, scale


def _matrix(eqn: Any, flop_of: Callable[[int, int], int]) -> Cost:
    *batch, m, n = eqn.invars[0].aval.shape
    return Cost(math.prod(batch) * flop_of(m, n) * scale(eqn.invars[0].aval))


@rule("cholesky", kind="linalg")
def _cholesky(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.cholesky(n))


@rule("lu", kind="linalg")
def _lu(eqn: Any) -> Cost:
    return _matrix(eqn, formulas.lu)


@rule("geqrf", "geqp3", kind="linalg")
def _geqrf(eqn: Any) -> Cost:
    """With or without pivoting, whose column norms are of lower order."""
    return _matrix(eqn, formulas.householder_qr)


@rule("householder_product", kind="linalg")
def _householder_product(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.householder_product(m, n, eqn.invars[1].aval.shape[-1]))


@rule("qr", kind="linalg")
def _qr(eqn: Any) -> Cost:
    columns = eqn.outvars[0].aval.shape[-1]
    return _matrix(
        eqn, lambda m, n: formulas.householder_qr(m, n) + formulas.householder_product(m, columns, min(m, n))
    )


@rule("ormqr", kind="linalg")
def _ormqr(eqn: Any) -> Cost:
    """From either side: the reflectors run along the m rows, or columns."""
    c, k = eqn.invars[2].aval, eqn.invars[1].aval.shape[-1]
    *batch, rows, columns = c.shape
    m, n = (rows, columns) if eqn.params["left"] else (columns, rows)
    return Cost(math.prod(batch) * formulas.apply_reflectors(m, n, k) * scale(c))


@rule("cholesky_update", kind="linalg")
def _cholesky_update(eqn: Any) -> Cost:
    *batch, n = eqn.invars[1].aval.shape
    return math.prod(batch) * Cost(*formulas.cholesky_update(n))


@rule("symmetric_product", kind="matmul")
def _symmetric_product(eqn: Any) -> Cost:
    """alpha a aᵀ + beta c, computed whole: two scalings and a sum beside the product."""
    *batch, n, k = eqn.invars[0].aval.shape
    return Cost(math.prod(batch) * (formulas.product(n, n, k) + 3 * n * n) * scale(eqn.invars[0].aval))


@rule("eigh", kind="linalg")
def _eigh(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.eigh(n))


@rule("eig", "schur", kind="linalg")
def _eig(eqn: Any) -> Cost:
    """Both find the Schur form; vectors, of whatever kind, are the difference of the two counts."""
    vectors = any(wanted for name, wanted in eqn.params.items() if name.startswith("compute_"))
    return _matrix(eqn, lambda m, n: formulas.eig(n, vectors))


@rule("svd", kind="linalg")
def _svd(eqn: Any) -> Cost:
    p = eqn.params
    return _matrix(eqn, lambda m, n: formulas.svd(m, n, p["compute_uv"], p["full_matrices"]))


@rule("hessenberg", kind="linalg")
def _hessenberg(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.hessenberg(n))


@rule("tridiagonal", kind="linalg")
def _tridiagonal(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.eigh(n, vectors=False))


@rule("triangular_solve", kind="linalg")
def _triangular_solve(eqn: Any) -> Cost:
    a, b = eqn.invars[0].aval, eqn.invars[1].aval
    return Cost(b.size * a.shape[-1] * scale(b))


@rule("tridiagonal_solve", kind="linalg")
def _tridiagonal_solve(eqn: Any) -> Cost:
    """Thomas' algorithm: 8 operations for each unknown, 2 of them divisions."""
    size = eqn.outvars[0].aval.size
    return Cost(8 * size, 2 * size)
