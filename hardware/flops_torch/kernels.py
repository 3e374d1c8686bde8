"""Torch rules continued: reductions, losses, optimisers, scatter."""

from __future__ import annotations

import math

import torch
from torch.utils._python_dispatch import _disable_current_modes

from hardware.cost import Cost
from hardware.flops_torch.rules import Call, each, elements, inexact, rule, tensors

# ---- reductions ----


@rule("sum", "nansum", "amax", "amin", "aminmax", "max", "min", "prod", kind="reduction")
def _reduction(call: Call) -> Cost:
    if call.func._overloadname == "other":  # the element-wise maximum
        return Cost(call.size)
    out = next(tensors(call.out))  # whose dtype is that of the work: integers may be summed as floats
    steps = max(0, call[0].numel() - out.numel()) * (2 if call.name == "aminmax" else 1)
    return Cost(steps * each(out, "mul" if call.name == "prod" else "add"))


@rule("mean", kind="reduction")
def _mean(call: Call) -> Cost:
    """A sum and a division, which there is for the mean of nothing as well."""
    return Cost(max(call[0].numel(), call.size) * (2 if call[0].is_complex() else 1), call.size)


@rule("var", "std", "var_mean", "std_mean", kind="reduction")
def _var(call: Call) -> Cost:
    """Mean, difference, square, mean: 4 operations for each element."""
    n, lines = call[0].numel(), next(tensors(call.out)).numel()
    root = lines if call.name.startswith("std") else 0
    return Cost(max(4 * n, 2 * lines) + root, 2 * lines + root)


@rule("norm", "linalg_vector_norm", kind="reduction")
def _norm(call: Call) -> Cost:
    """Square, sum, root; of other finite orders a power for each element; of 1 and ∞ the absolute value and no root."""
    n, lines = call[0].numel(), call.size
    order = call.option("ord", call.option("p", 2))
    root = 0 if order in (0, 1, math.inf, -math.inf) else lines
    return Cost(n + max(0, n - lines) + root, root + (0 if order in (2, None) or not root else n))


@rule("cumsum", "cumprod", "cummax", "cummin", "_cummax_helper", "_cummin_helper", "logcumsumexp", kind="reduction")
def _cumulative(call: Call) -> Cost:
    x = next(tensors(call.out))
    steps = x.numel() - x.numel() // x.shape[call.option("dim")] if x.ndim and x.numel() and inexact(x) else 0
    if call.name == "logcumsumexp":
        if x.is_complex():
            return Cost(uncounted=frozenset({"logcumsumexp[complex]"}))
        return Cost(6 * steps, 2 * steps)
    return Cost(steps * each(x, "mul" if call.name == "cumprod" else "add"))


@rule("logsumexp", kind="reduction")
def _logsumexp(call: Call) -> Cost:
    """Maximum, difference, exp and sum for each element; log and addition for each line."""
    n, lines = call[0].numel(), call.size
    return Cost(max(4 * n, n + lines), n + lines)


@rule("_softmax", "_safe_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data")
def _softmax(call: Call) -> Cost:
    x = call[0]
    if not x.numel():
        return Cost()
    n, lines = x.numel(), x.numel() // x.shape[call.option("dim")] if x.ndim else 1
    return {
        "_softmax": Cost(5 * n - lines, 2 * n),
        "_safe_softmax": Cost(5 * n - lines, 2 * n),
        "_log_softmax": Cost(5 * n, n + lines),
        "_softmax_backward_data": Cost(6 * n + 2 * lines, n + lines),
        "_log_softmax_backward_data": Cost(4 * n, lines),
    }[call.name]


@rule("trace", kind="reduction")
def _trace(call: Call) -> Cost:
    return Cost(max(0, min(call[0].shape) - 1) * each(call[0], "add"))


@rule("dist")
def _dist(call: Call) -> Cost:
    """Difference, square, sum, root."""
    n = max(call[0].numel(), call[1].numel())
    return Cost(max(3 * n, 1), 1)


@rule("renorm")
def _renorm(call: Call) -> Cost:
    """The norm of each slice (square, sum, root), a factor for each (division), a product for each element."""
    n, slices = call[0].numel(), call[0].shape[call[2]]
    return Cost(max(3 * n + slices, 2 * slices), 2 * slices)


@rule("polar")
def _polar(call: Call) -> Cost:
    """Sine and cosine, and their products with the length."""
    return Cost(4 * call.size, 2 * call.size)


@rule("mvlgamma")
def _mvlgamma(call: Call) -> Cost:
    p = call.option("p")
    return Cost((2 * p + 1) * call.size, p * call.size)


@rule("histc", "histogram", "_histogramdd_from_bin_cts", "bincount", kind="scatter")
def _histogram(call: Call) -> Cost:
    """Difference, product and division find the bin of each value (but with given bins); one addition for each."""
    n = call[0].numel()
    if call.name == "bincount":
        return Cost(elements(call.option("weights")))
    return Cost(4 * n, n) if call.name != "histogram" else Cost(n)


# ---- losses ----


@rule("mse_loss", "smooth_l1_loss", "huber_loss")
def _loss(call: Call) -> Cost:
    """Difference and square (for the other two: absolute value, square, products, choice), then a mean or a sum."""
    n = max(t.numel() for t in tensors(call.args[:2]))
    reduced = call.size < n
    return Cost((2 if call.name == "mse_loss" else 5) * n + (n if reduced else 0), int(reduced))


@rule("binary_cross_entropy")
def _binary_cross_entropy(call: Call) -> Cost:
    return Cost(8 * call[0].numel(), 2 * call[0].numel())


@rule("binary_cross_entropy_with_logits")
def _binary_cross_entropy_with_logits(call: Call) -> Cost:
    """(1 - y) x - log_sigmoid(x), in which log_sigmoid takes 10; weights take a few more; then a mean or a sum."""
    n = call[0].numel()
    positive, weight = call.option("pos_weight") is not None, call.option("weight") is not None
    reduced = call.size < n
    return Cost((13 + 4 * positive + weight + reduced) * n, 2 * n + reduced)


@rule("soft_margin_loss", "soft_margin_loss_backward")
def _soft_margin_loss(call: Call) -> Cost:
    """log(1 + exp(-y x)), then a mean or a sum; backward -y z / (1 + z), z = exp(-y x)."""
    n, reduced = call[0].numel(), call.size < call[0].numel()
    if call.name.endswith("backward"):
        n = call[1].numel()
        return Cost(8 * n, 2 * n)
    return Cost((4 + reduced) * n, 2 * n + reduced)


@rule("multi_margin_loss", "multi_margin_loss_backward")
def _multi_margin_loss(call: Call) -> Cost:
    """For each class: difference, margin, maximum, sum."""
    scores = call[1] if call.name.endswith("backward") else call[0]
    return Cost(4 * scores.numel())


@rule("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward")
def _nll(call: Call) -> Cost:
    return Cost(call.option("target").numel())


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


# ---- scatter: one addition for each value put in ----


@rule(
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "unfold_backward", "col2im",
    "replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward",
    kind="scatter",
)  # fmt: skip
def _added_over(call: Call) -> Cost:
    return Cost(elements(call[0]))


@rule(
    "_embedding_bag",
    "_embedding_bag_forward_only",
    "_embedding_bag_backward",
    "_embedding_bag_dense_backward",
    kind="reduction",
)
def _embedding_bag(call: Call) -> Cost:
    """A row for each index is added (or compared), times its weight where there are weights."""
    if call.name.endswith("backward"):
        return Cost(call.option("indices").numel() * call[0].shape[-1])
    rows = call.option("indices").numel() * call[0].shape[-1]
    mean, weighted = call.option("mode") == 1, call.option("per_sample_weights") is not None
    size = call.out[0].numel()
    return Cost(max(0, rows - size) + rows * weighted + size * mean, size * mean)


def is_masked(indices: list[torch.Tensor | None]) -> bool:
    """Whether the indices of an `index_put` are masks, so that the number of places is data."""
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def places(call: Call) -> int:
    """Values of the first argument that are put, each as often as it is: where indices repeat, several times."""
    if "index_put" not in call.name:
        return call.option("source" if call.name.startswith("index_") else "index").numel()
    shape, found, axis, kept = call[0].shape, [], 0, 1
    for index in call[1]:
        if index is None:
            kept *= shape[axis]
            axis += 1
        elif is_masked([index]):
            with _disable_current_modes():  # an outer counter does not count this
                found.append((int(index.count_nonzero()),))
            axis += index.ndim
        else:
            found.append(index.shape)
            axis += 1
    return kept * math.prod(shape[axis:]) * math.prod(torch.broadcast_shapes(*found))


@rule("scatter", "scatter_add", "index_add", "scatter_reduce", "index_reduce", "index_put", "_index_put_impl",
      "_unsafe_index_put", "put", kind="scatter")  # fmt: skip
def _scatter(call: Call) -> Cost:
    """One addition, product or comparison at each place, and a product where a factor is not 1; a mean divides."""
    x, reduced = call[0], call.option("reduce", "")
    if call.name == "scatter" and not reduced:
        return Cost()
    if "put" in call.name and not call.option("accumulate"):
        return Cost()
    n = places(call)
    scaled = call.name == "index_add" and call.option("alpha", 1) != 1
    of_one = each(x, "mul" if reduced in ("multiply", "prod") else "add") + scaled * each(x, "mul")
    means = x.numel() if reduced == "mean" and inexact(x) else 0
    return Cost(n * of_one + means, means)


@rule("embedding_dense_backward", kind="scatter")
def _added_back(call: Call) -> Cost:
    return Cost(elements(call[0]))
