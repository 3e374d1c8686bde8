"""Torch rules continued: fused layers: normalisation, attention, recurrence, pooling, resampling."""

from __future__ import annotations

import math

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_torch.rules import Call, elements, rule, share, tensors

# ---- normalisation ----


@rule("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
      "_batch_norm_with_update", "_native_batch_norm_legit_no_training", "_batch_norm_no_update")  # fmt: skip
def _normalisation(call: Call) -> Cost:
    """Mean, variance (4), difference and product: 7 for each element, and 2 for an affine map.

    A batch norm that evaluates knows mean and variance: difference and product, root and reciprocal a channel.
    """
    x = call[0]
    affine = 2 if call.option("weight") is not None else 0
    if "batch_norm" in call.name and not _is_training(call):
        channels = x.shape[1]
        return Cost((2 + affine) * x.numel() + 3 * channels, 2 * channels)
    lines = elements(call.out[2])
    return Cost(max((7 + affine) * x.numel() + 2 * lines, 4 * lines), 4 * lines)


@rule("native_layer_norm_backward", "native_group_norm_backward", "native_batch_norm_backward",
      "cudnn_batch_norm_backward", "batch_norm_backward")  # fmt: skip
def _normalisation_backward(call: Call) -> Cost:
    """Evaluating, a batch norm is an affine map: 2 for each element, and 4 for the gradients of its weights."""
    is_fixed = "native_batch_norm" in call.name and not call.option("train")
    return Cost((6 if is_fixed else 13) * call[0].numel())


def _is_training(call: Call) -> bool:
    return call.name == "_batch_norm_with_update" or bool(call.option("training"))


@rule("_fused_rms_norm", "_fused_rms_norm_backward")
def _rms_norm(call: Call) -> Cost:
    """x / √(mean x² + ε): square, sum, product, and one for a weight; backward 9."""
    if call.name.endswith("backward"):
        return Cost(9 * call[0].numel())
    n, lines = call[0].numel(), call.out[1].numel()
    return Cost((3 + (call.option("weight") is not None)) * n + 3 * lines, 2 * lines)


@rule("_weight_norm_interface", "_weight_norm_interface_backward")
def _weight_norm(call: Call) -> Cost:
    """w = v g / |v|: square, sum and product; backward the product with v as well, and v's part taken out."""
    n, lines = call[0].numel(), call.option("g", call.option("saved_g")).numel()
    return Cost((6 if call.name.endswith("backward") else 3) * n + 2 * lines, 2 * lines)


# ---- attention ----

ATTENTION = [
    f"_scaled_dot_product_{kind}_attention{where}"
    for kind, where in [("flash", "_for_cpu"), ("flash", ""), ("efficient", ""), ("cudnn", "")]
]


@rule(*ATTENTION)
def _attention(call: Call) -> Cost:
    """Two products; for each score its scale and a softmax, which adds up one score less than a line has."""
    products, scores, lines = _attention_sizes(call)
    return share("matmul", products) + Cost(max(0, 6 * scores - lines), 2 * scores)


@rule(*(f"{name}_backward" for name in ATTENTION))
def _attention_backward(call: Call) -> Cost:
    """The scores once more, and two products for each of the forward ones: 5 instead of 2."""
    products, scores, _ = _attention_sizes(call)
    return share("matmul", products * 5 // 2) + Cost(14 * scores, 2 * scores)


def _attention_sizes(call: Call) -> tuple[int, int, int]:
    """FLOP of the two products, scores, and lines of scores."""
    q, k, v = call.option("query"), call.option("key"), call.option("value")
    (*batch, m, d), n = q.shape, k.shape[-2]
    # A causal mask leaves the scores on and below the diagonal, and the fused kernels skip the others.
    pairs = sum(min(i + 1, n) for i in range(m)) if call.option("is_causal") else m * n
    scores = math.prod(batch) * pairs
    return formulas.product(scores, d + v.shape[-1]), scores, math.prod(batch) * m


@rule("_transformer_encoder_layer_fwd")
def _encoder_layer(call: Call) -> Cost:
    """Attention, two affine maps with an activation between, two sums and two layer norms, in one kernel."""
    src, width = call.option("src"), call.option("embed_dim")
    rows, hidden = src.numel() // width, call.option("ffn_weight_1").shape[0]
    activation = Cost(5, 1) if call.option("use_gelu") else Cost(1)
    attention = _self_attention(rows, src.shape[1], width, call.option("num_heads"))
    maps = share("matmul", 2 * formulas.product(rows, width, hidden)) + Cost(rows * (hidden + width))
    norms = Cost(9 * rows * width + 2 * rows, 4 * rows) * 2
    return attention + maps + activation * (rows * hidden) + Cost(2 * rows * width) + norms


@rule("_native_multi_head_attention")
def _multi_head_attention(call: Call) -> Cost:
    query, width, heads = call.option("query"), call.option("embed_dim"), call.option("num_head")
    rows, length = query.numel() // width, query.shape[1]
    averaged = call.option("need_weights") and call.option("average_attn_weights")
    mean = Cost(rows * length * heads, rows * length) if averaged else Cost()
    return _self_attention(rows, length, width, heads) + mean


def _self_attention(rows: int, length: int, width: int, heads: int) -> Cost:
    """Four affine maps, two products, and 6 operations for each score: scale and softmax."""
    scores = rows * length * heads
    products = 4 * formulas.product(rows, width, width) + 2 * formulas.product(rows, length, width)
    return share("matmul", products) + Cost(4 * rows * width + 6 * scores, 2 * scores)


# ---- recurrence ----


def _lstm_sizes(call: Call) -> tuple[int, int, int]:
    """Products of all steps of a layer, elements of all gates, elements of all states."""
    (steps, batch, inputs), (gates, hidden) = call[0].shape, call[2].shape
    return formulas.product(steps * batch, gates, inputs + hidden), steps * batch * gates, steps * batch * hidden


@rule("mkldnn_rnn_layer")
def _lstm(call: Call) -> Cost:
    """Four gates (3 sigmoid, 1 tanh), the cell c = f c + i g and the output o tanh(c)."""
    products, gates, states = _lstm_sizes(call)
    biases = 2 if call.option("has_biases") else 0
    return share("matmul", products) + Cost(gates * (1 + biases) + 9 * states, 5 * states)


@rule("mkldnn_rnn_layer_backward")
def _lstm_backward(call: Call) -> Cost:
    """Both gradients of each product, those of the biases, and the chain rule through gates, cell and output."""
    products, gates, states = _lstm_sizes(call)
    return share("matmul", 2 * products) + Cost(2 * gates + 29 * states)


@rule("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell_backward_impl",
      "_thnn_fused_gru_cell_backward")  # fmt: skip
def _cell(call: Call) -> Cost:
    """What is left of a cell beside its products: sums, gates, state. Backward as in the whole LSTM."""
    if call.name.endswith(("backward", "impl")):
        return Cost(29 * max(t.numel() for t in tensors(call.args)) // 4)
    gates, states = call[0].numel(), call[2].numel()
    sums = gates * (1 + 2 * (call.option("input_bias") is not None))
    is_lstm = "lstm" in call.name
    return Cost(sums + (9 if is_lstm else 8) * states, (5 if is_lstm else 3) * states)


@rule("_cudnn_rnn", "_cudnn_rnn_backward")
def _cudnn_rnn(call: Call) -> Cost:
    """All layers: a product of each weight with each row, and sums, gates and states of each layer and direction."""
    x, weights, hidden = call[0], call[1], call.option("hidden_size")
    rows = x.shape[0] if call.option("batch_sizes") else x.shape[0] * x.shape[1]
    products = formulas.product(rows, sum(w.numel() for w in weights if w.ndim == 2))
    layers = call.option("num_layers") * (2 if call.option("bidirectional") else 1)
    states = rows * hidden * layers
    gates, each, transcendental = {0: (1, 0, 0), 1: (1, 1, 1), 2: (4, 9, 5), 3: (3, 8, 3)}[call.option("mode")]
    if call.name.endswith("backward"):
        return share("matmul", 2 * products) + Cost((2 * gates + (29 if gates > 1 else 5)) * states)
    biases = 2 if any(w.ndim == 1 for w in weights) else 0
    return share("matmul", products) + Cost((gates * (1 + biases) + each) * states, transcendental * states)
