"""Torch rules continued: linear algebra and FFT, by the formulas that both counters share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_torch.rules import Call, elements, rule, scale, share


def _matrices(*names: str) -> Callable:
    """A formula of (m, n, call) for each matrix of the first argument."""

    def register(flop_of: Callable[[int, int, Call], int]) -> Callable:
        def cost(call: Call) -> Cost:
            *batch, m, n = call[0].shape
            return Cost(math.prod(batch) * flop_of(m, n, call) * scale(call[0]))

        rule(*names, kind="linalg")(cost)
        return flop_of

    return register


def _qr(m: int, n: int, call: Call) -> int:
    q = call.out[0]
    return formulas.householder_qr(m, n) + (formulas.householder_product(m, q.shape[-1], min(m, n)) if q.numel() else 0)


def _svd(m: int, n: int, call: Call) -> int:
    return formulas.svd(m, n, call.option("compute_uv"), call.option("full_matrices"))


def _right_hand_sides(call: Call, position: int) -> int:
    return call[position].numel() // max(1, math.prod(call[0].shape[:-1]))


def _solve(m: int, n: int, call: Call) -> int:
    """LU and two triangular solves."""
    return formulas.lu(m, n) + 2 * formulas.triangular_solve(n, _right_hand_sides(call, 1))


_matrices("linalg_cholesky_ex", "cholesky")(lambda m, n, call: formulas.cholesky(n))
_matrices("linalg_lu_factor_ex", "linalg_lu", "_linalg_det", "_linalg_slogdet")(lambda m, n, call: formulas.lu(m, n))
_matrices("linalg_inv_ex")(lambda m, n, call: formulas.lu(n, n) + 2 * formulas.triangular_solve(n, n))
_matrices("cholesky_inverse")(lambda m, n, call: 2 * formulas.cholesky(n))
_matrices("linalg_ldl_factor_ex")(lambda m, n, call: formulas.cholesky(n))
_matrices("linalg_ldl_solve")(lambda m, n, call: 2 * formulas.triangular_solve(n, _right_hand_sides(call, 2)))
_matrices("geqrf")(lambda m, n, call: formulas.householder_qr(m, n))
_matrices("linalg_householder_product")(lambda m, n, call: formulas.householder_product(m, n, call[1].shape[-1]))
_matrices("linalg_qr")(_qr)
_matrices("_linalg_eigh")(lambda m, n, call: formulas.eigh(n, call.option("compute_v")))
_matrices("linalg_eig")(lambda m, n, call: formulas.eig(n))
_matrices("linalg_eigvals", "_linalg_eigvals")(lambda m, n, call: formulas.eig(n, vectors=False))
_matrices("_linalg_svd")(_svd)
_matrices("_linalg_solve_ex")(_solve)


@rule("linalg_solve_triangular", "triangular_solve", "cholesky_solve", "linalg_lu_solve", kind="linalg")
def _triangular_solve(call: Call) -> Cost:
    matrix, right, solves = {
        "linalg_solve_triangular": (call[0], call[1], 1),
        "triangular_solve": (call[1], call[0], 1),
        "cholesky_solve": (call[1], call[0], 2),
        "linalg_lu_solve": (call[0], call[-1], 2),
    }[call.name]
    return Cost(solves * matrix.shape[-1] * elements(right) * scale(matrix))


@rule("ormqr", kind="linalg")
def _ormqr(call: Call) -> Cost:
    reflectors, out = call[1].shape[-1], call.out
    *batch, m, n = out.shape if call.option("left") else out.mT.shape
    return Cost(math.prod(batch) * formulas.apply_reflectors(m, n, reflectors) * scale(out))


@rule("linalg_pinv", kind="linalg")
def _pinv(call: Call) -> Cost:
    """Singular values (eigenvalues of a Hermitian matrix) inverted, and one product with both sides."""
    *batch, m, n = call[0].shape
    k, times = min(m, n), math.prod(batch)
    factors = formulas.eigh(n) if call.option("hermitian") else formulas.svd(m, n)
    product = share("matmul", formulas.product(times, m, n, k) * scale(call[0]))
    return product + Cost(times * (factors * scale(call[0]) + k * (n + 1)), times * k)


@rule("linalg_lstsq", kind="linalg")
def _lstsq(call: Call) -> Cost:
    """QR, its reflectors on the right-hand sides, and a triangular solve; with driver gelss or gelsd, by the SVD."""
    *batch, m, n = call[0].shape
    sides, k = max(1, elements(call[1]) // max(1, math.prod(batch) * m)), min(m, n)
    if call.option("driver") in ("gelss", "gelsd"):
        each = formulas.svd(m, n) + formulas.product(k, m + n, sides)
    else:
        solves = formulas.triangular_solve(k, sides)
        each = formulas.householder_qr(m, n) + formulas.apply_reflectors(m, sides, k) + solves
    return Cost(math.prod(batch) * each * scale(call[0]))


@rule("linalg_matrix_exp", kind="linalg")
def _matrix_exp(call: Call) -> Cost:
    """Taylor polynomials of degree 1, 2, 4, 8, 12 or 18, by the norm of each matrix, and squarings beyond.

    The products alone, as in the other formulas. Source: Bader, Blanes, Casas 2019, Mathematics 7(12), 1174, table 1,
    and ATen's LinearAlgebra kernels.
    """
    n = call[0].shape[-1]
    single = call[0].dtype in (torch.float32, torch.complex64)
    limits = EXPONENTIAL_LIMITS["single" if single else "double"]
    products = 0
    with _disable_current_modes():  # an outer counter does not count this
        norms = call[0].detach().abs().sum(-2).amax(-1).flatten().tolist() if call[0].numel() else []
    for norm in norms:
        degree = next((i for i, limit in enumerate(limits) if norm <= limit), len(limits) - 1)
        squarings = math.ceil(math.log2(norm / limits[-1])) if limits[-1] < norm < math.inf else 0
        products += degree + squarings
    return share("matmul", products * formulas.product(n, n, n) * scale(call[0]))


# Largest 1-norms for which a Taylor polynomial of degree 1, 2, 4, 8, 12, 18 is exact to rounding; 0 to 5 products.
EXPONENTIAL_LIMITS = {
    "single": (1.192092800768788e-07, 5.978858893805233e-04, 5.116619363445086e-02, 5.800524627688768e-01,
               1.461661507209034, 3.010066362817634),
    "double": (2.220446049250313e-16, 2.580956802971767e-08, 3.397168839976962e-04, 4.991228871115323e-02,
               2.996158913811580e-01, 1.090863719290036),
}  # fmt: skip


# ---- distances ----

# p: operations for each coordinate of a pair, those for each pair, and which of all are transcendental.
DISTANCES = {0.0: (2, 0, 0, 0), 1.0: (3, 0, 0, 0), 2.0: (3, 1, 0, 1), math.inf: (3, 0, 0, 0)}


@rule("_cdist_forward", "_pdist_forward", "_cdist_backward", "_pdist_backward", kind="reduction")
def _distances(call: Call) -> Cost:
    """Difference, absolute value or power, sum, root; backward as many, a product and a sum more."""
    is_backward = call.name.endswith("backward")
    pairs = (call[0] if is_backward else call.out).numel()
    dimensions = (call[1] if is_backward else call[0]).shape[-1]
    each, root, powers, roots = DISTANCES.get(float(call.option("p")), (4, 1, 1, 1))
    if is_backward:
        return Cost(pairs * (dimensions * (each + 1) + root), pairs * (dimensions * powers + roots))
    return Cost(pairs * (max(0, dimensions * each - 1) + root), pairs * (dimensions * powers + roots))


@rule("_euclidean_dist")
def _euclidean(call: Call) -> Cost:
    """|x|² + |y|² - 2 x·y as one product of rows with two more columns; then maximum and root."""
    x, y = call[0], call[1]
    products = share("matmul", formulas.product(call.size, x.shape[-1] + 2))
    squares = 2 * (x.numel() + y.numel()) - (x.numel() + y.numel()) // max(1, x.shape[-1])
    return products + Cost(squares + x.numel() + 2 * call.size, call.size)


# ---- FFT ----


@rule("_fft_c2c", "_fft_r2c", "_fft_c2r", kind="fft")
def _fft(call: Call) -> Cost:
    whole: Any = call.out if call.name == "_fft_c2r" else call[0]
    lengths = [whole.shape[d] for d in call[1]]
    batch = whole.numel() // max(1, math.prod(lengths))
    return Cost(formulas.fft(lengths, batch, real=call.name != "_fft_c2c"))
