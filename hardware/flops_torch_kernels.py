"""Torch rules continued: reductions, losses, normalisation, attention, LSTM, optimisers, linear algebra, FFT."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_torch_rules import Call, elements, inexact, rule, scale, tensors

# ---- reductions ----


@rule("sum", "nansum", "amax", "amin", "aminmax", "max", "min", "prod")
def _reduction(call: Call) -> Cost:
    if call.func._overloadname == "other":  # the element-wise maximum
        return Cost(call.size)
    x, results = call[0], next(tensors(call.out)).numel()
    each = (6 if call.name == "prod" else 2) if x.is_complex() else int(inexact(x))
    return Cost(max(0, x.numel() - results) * each * (2 if call.name == "aminmax" else 1))


@rule("mean")
def _mean(call: Call) -> Cost:
    """A sum and a division."""
    return Cost(call[0].numel() * (2 if call[0].is_complex() else 1), call.size)


@rule("var", "std", "var_mean", "std_mean")
def _var(call: Call) -> Cost:
    """Mean, difference, square, mean: 4 operations for each element."""
    n, lines = call[0].numel(), next(tensors(call.out)).numel()
    root = lines if call.name.startswith("std") else 0
    return Cost(4 * n + root, 2 * lines + root)


@rule("norm", "linalg_vector_norm")
def _norm(call: Call) -> Cost:
    """Square, sum, root; of other finite orders a power for each element; of 1 and ∞ the absolute value and no root."""
    n, lines = call[0].numel(), call.size
    order = call.option("ord", call.option("p", 2))
    root = 0 if order in (0, 1, math.inf, -math.inf) else lines
    return Cost(2 * n - lines + root, root + (0 if order in (2, None) or not root else n))


@rule("cumsum", "cumprod", "_cummax_helper", "_cummin_helper", "logcumsumexp")
def _cumulative(call: Call) -> Cost:
    x = call[0]
    steps = x.numel() - x.numel() // x.shape[call.option("dim")] if x.ndim and x.numel() and inexact(x) else 0
    if call.name == "logcumsumexp":
        return Cost(6 * steps, 2 * steps)
    return Cost(steps * (2 if x.is_complex() else 1))


@rule("logsumexp")
def _logsumexp(call: Call) -> Cost:
    """Maximum, difference, exp and sum for each element; log and addition for each line."""
    n, lines = call[0].numel(), call.size
    return Cost(4 * n, n + lines)


@rule("_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data")
def _softmax(call: Call) -> Cost:
    x = call[0]
    n, lines = x.numel(), x.numel() // x.shape[call.option("dim")] if x.ndim and x.numel() else 1
    return {
        "_softmax": Cost(5 * n - lines, 2 * n),
        "_log_softmax": Cost(5 * n, n + lines),
        "_softmax_backward_data": Cost(6 * n + 2 * lines, n + lines),
        "_log_softmax_backward_data": Cost(4 * n, lines),
    }[call.name]


# ---- losses and normalisation ----


@rule("mse_loss", "smooth_l1_loss", "huber_loss")
def _loss(call: Call) -> Cost:
    """Difference and square (for the other two: absolute value, square, products, choice), then a mean or a sum."""
    n = max(t.numel() for t in tensors(call.args[:2]))
    reduced = call.size < n
    return Cost((2 if call.name == "mse_loss" else 5) * n + (n if reduced else 0), int(reduced))


@rule("binary_cross_entropy")
def _binary_cross_entropy(call: Call) -> Cost:
    return Cost(8 * call[0].numel(), 2 * call[0].numel())


@rule("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward")
def _nll(call: Call) -> Cost:
    return Cost(call.option("target").numel())


@rule("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm")
def _normalisation(call: Call) -> Cost:
    """Mean, variance (4), difference and product: 7 for each element, and 2 for an affine map."""
    n, lines = call[0].numel(), elements(call.out[2])
    affine = 2 if call.option("weight") is not None else 0
    return Cost((7 + affine) * n + 2 * lines, 4 * lines)


@rule("native_layer_norm_backward", "native_group_norm_backward", "native_batch_norm_backward",
      "cudnn_batch_norm_backward")  # fmt: skip
def _normalisation_backward(call: Call) -> Cost:
    return Cost(13 * call[0].numel())


# ---- attention and LSTM ----

ATTENTION = [
    f"_scaled_dot_product_{kind}_attention{where}"
    for kind, where in [("flash", "_for_cpu"), ("flash", ""), ("efficient", ""), ("cudnn", "")]
]


@rule(*ATTENTION)
def _attention(call: Call) -> Cost:
    """Two products, and 6 operations for each score: scale and softmax."""
    products, scores = _attention_sizes(call)
    return Cost(products + 6 * scores, 2 * scores)


@rule(*(f"{name}_backward" for name in ATTENTION))
def _attention_backward(call: Call) -> Cost:
    """The scores once more, and two products for each of the forward ones: 5 instead of 2."""
    products, scores = _attention_sizes(call)
    return Cost(products * 5 // 2 + 14 * scores, 2 * scores)


def _attention_sizes(call: Call) -> tuple[int, int]:
    q, k, v = call.option("query"), call.option("key"), call.option("value")
    (*batch, m, d), n = q.shape, k.shape[-2]
    # A causal mask leaves the scores on and below the diagonal, and the fused kernels skip the others.
    pairs = sum(min(i + 1, n) for i in range(m)) if call.option("is_causal") else m * n
    scores = math.prod(batch) * pairs
    return formulas.product(scores, d + v.shape[-1]), scores


def _lstm_sizes(call: Call) -> tuple[int, int, int]:
    """Products of all steps of a layer, elements of all gates, elements of all states."""
    (steps, batch, inputs), (gates, hidden) = call[0].shape, call[2].shape
    return formulas.product(steps * batch, gates, inputs + hidden), steps * batch * gates, steps * batch * hidden


@rule("mkldnn_rnn_layer")
def _lstm(call: Call) -> Cost:
    """Four gates (3 sigmoid, 1 tanh), the cell c = f c + i g and the output o tanh(c)."""
    products, gates, states = _lstm_sizes(call)
    biases = 2 if call.option("has_biases") else 0
    return Cost(products + gates * (1 + biases) + 9 * states, 5 * states)


@rule("mkldnn_rnn_layer_backward")
def _lstm_backward(call: Call) -> Cost:
    """Both gradients of each product, those of the biases, and the chain rule through gates, cell and output."""
    products, gates, states = _lstm_sizes(call)
    return Cost(2 * products + 2 * gates + 29 * states)


# ---- optimisers ----


@rule("_fused_adam", "_fused_adamw")
def _fused_adam(call: Call) -> Cost:
    """The arithmetic of the unfused one: lerp 3, second moment 4, √v/√(1-β₂ᵗ)+ε 3, update 3; decay 2 (AdamW: 1)."""
    n = elements(call[0])
    decay = (1 if call.name == "_fused_adamw" else 2) if call.option("weight_decay") else 0
    return Cost(n * (13 + decay + bool(call.option("amsgrad"))), n * 3)


@rule("_fused_sgd")
def _fused_sgd(call: Call) -> Cost:
    return Cost(elements(call[0]) * (2 + 2 * bool(call.option("weight_decay")) + 2 * bool(call.option("momentum"))))


# ---- scatter and pooling: one addition for each value put in ----


@rule("scatter_add", "index_add", "scatter_reduce", "index_reduce")
def _scatter_add(call: Call) -> Cost:
    return Cost(elements(call.option("src", call.option("source"))))


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def _index_put(call: Call) -> Cost:
    return Cost(elements(call.option("values")) if call.option("accumulate") else 0)


@rule("embedding_dense_backward", "max_pool2d_with_indices_backward")
def _added_back(call: Call) -> Cost:
    return Cost(elements(call[0]))


@rule("max_pool2d_with_indices", "avg_pool2d")
def _pool(call: Call) -> Cost:
    window = call.option("kernel_size")
    points, size = math.prod(window) if len(window) == 2 else window[0] ** 2, next(tensors(call.out)).numel()
    return Cost(size * (points - 1)) if "max" in call.name else Cost(size * points, size)


# ---- linear algebra and FFT ----


def _matrices(*names: str) -> Callable:
    """A formula of (m, n, call) for each matrix of the first argument."""

    def register(flop_of: Callable[[int, int, Call], int]) -> Callable:
        def cost(call: Call) -> Cost:
            *batch, m, n = call[0].shape
            return Cost(math.prod(batch) * flop_of(m, n, call) * scale(call[0]))

        rule(*names)(cost)
        return flop_of

    return register


def _qr(m: int, n: int, call: Call) -> int:
    q = call.out[0]
    return formulas.householder_qr(m, n) + (formulas.householder_product(m, q.shape[-1], min(m, n)) if q.numel() else 0)


def _svd(m: int, n: int, call: Call) -> int:
    return formulas.svd(m, n, call.option("compute_uv"), call.option("full_matrices"))


def _solve(m: int, n: int, call: Call) -> int:
    """LU and two triangular solves."""
    right_hand_sides = call[1].numel() // max(1, call[0].numel() // n)
    return formulas.lu(m, n) + 2 * formulas.triangular_solve(n, right_hand_sides)


_matrices("linalg_cholesky_ex", "cholesky")(lambda m, n, call: formulas.cholesky(n))
_matrices("linalg_lu_factor_ex", "linalg_lu", "_linalg_det", "_linalg_slogdet")(lambda m, n, call: formulas.lu(m, n))
_matrices("linalg_inv_ex")(lambda m, n, call: 2 * n**3)
_matrices("geqrf")(lambda m, n, call: formulas.householder_qr(m, n))
_matrices("linalg_householder_product")(lambda m, n, call: formulas.householder_product(m, n, call[1].shape[-1]))
_matrices("linalg_qr")(_qr)
_matrices("_linalg_eigh")(lambda m, n, call: formulas.eigh(n, call.option("compute_v")))
_matrices("linalg_eig")(lambda m, n, call: formulas.eig(n))
_matrices("linalg_eigvals", "_linalg_eigvals")(lambda m, n, call: formulas.eig(n, vectors=False))
_matrices("_linalg_svd")(_svd)
_matrices("_linalg_solve_ex")(_solve)


@rule("linalg_solve_triangular", "triangular_solve", "cholesky_solve", "linalg_lu_solve")
def _triangular_solve(call: Call) -> Cost:
    matrix, right, solves = {
        "linalg_solve_triangular": (call[0], call[1], 1),
        "triangular_solve": (call[1], call[0], 1),
        "cholesky_solve": (call[1], call[0], 2),
        "linalg_lu_solve": (call[0], call[-1], 2),
    }[call.name]
    return Cost(solves * matrix.shape[-1] * elements(right) * scale(matrix))


@rule("_fft_c2c", "_fft_r2c", "_fft_c2r")
def _fft(call: Call) -> Cost:
    whole: Any = call.out if call.name == "_fft_c2r" else call[0]
    lengths = [whole.shape[d] for d in call[1]]
    batch = whole.numel() // max(1, math.prod(lengths))
    return Cost(formulas.fft(lengths, batch, real=call.name != "_fft_c2c"))
