"""What one torch operation costs: `price(call) -> Cost`, or None when there is no rule for it.

The conventions are those of `hardware.flops_jax_rules`. A fused kernel (an activation, its backward, a loss, a
normalisation) is priced as the arithmetic that JAX writes out for the same function, so that one function costs the
same in both frameworks; where a kernel saves an operation or two of an element, the saving is not counted.
Operations are known by their name without namespace, `_foreach_` prefix and the trailing underscore of in-place ones.
A rule for a further operation is added with `RULES["name"] = function_of_a_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hardware import formulas
from hardware.cost import Cost

FREE = """
    _cast_Double _cast_Float _conj _conj_physical _efficientzerotensor _linalg_check_errors _local_scalar_dense
    _neg_view _record_function_enter_new _record_function_exit _reshape_alias _to_copy _unique2 _unsafe_index
    _unsafe_view alias all any arange argmax argmin argsort as_strided bernoulli bitwise_and bitwise_left_shift
    bitwise_not bitwise_or bitwise_right_shift bitwise_xor bucketize cat clone complex conj_physical constant_pad_nd
    copy copysign detach diag diag_embed diagonal_copy diagonal_scatter embedding empty empty_like empty_permuted
    empty_strided eq equal exponential eye fill fill_diagonal flip full full_like gather ge gt heaviside im2col
    index index_copy index_fill index_select is_pinned is_same_size isfinite isinf isnan isneginf isposinf item
    kthvalue le lift lift_fresh lift_fresh_copy linspace logical_and logical_not logical_or logical_xor logspace lt
    masked_fill masked_scatter masked_select median multinomial nan_to_num ne new_empty new_empty_strided new_full
    new_ones new_zeros nextafter nonzero normal ones ones_like permute_copy pixel_shuffle pixel_unshuffle
    promote_types rand rand_like randint randint_like randn randn_like random randperm reflection_pad1d
    reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d resize roll rot90 scalar_tensor
    scatter searchsorted select_backward select_scatter set signbit slice_backward slice_scatter sort
    split_with_sizes_copy squeeze stack swapaxes swapdims sym_numel sym_size sym_storage_offset sym_stride t take to
    topk transpose tril tril_indices triu triu_indices unfold_copy uniform unique_consecutive unique_dim
    unsafe_split unsafe_split_with_sizes unsqueeze upsample_nearest1d upsample_nearest2d view_as_complex_copy where
    zero zeros zeros_like
"""

# For each element of the result: (flop, transcendental) and the operations that cost so.
ELEMENT_WISE = {
    (0, 0): "hardtanh hardtanh_backward threshold_backward hardshrink hardshrink_backward softshrink_backward",
    (
        1,
        0,
    ): """abs ceil clamp clamp_max clamp_min deg2rad floor fmax fmin frac leaky_relu maximum minimum mul neg positive
               rad2deg relu relu6 round sgn sign softshrink square threshold trunc _prelu_kernel""",
    (1, 1): """acos acosh angle asin asinh atan atan2 atanh cos cosh digamma div erf erfc erfinv exp exp2 expm1
               floor_divide fmod igamma igammac lgamma log log10 log1p log2 logit polygamma reciprocal remainder rsqrt
               sigmoid sin sinc sinh special_bessel_j0 special_bessel_j1 special_entr special_erfcx special_i0e
               special_i1 special_i1e special_log_ndtr special_ndtri special_zeta i0 sqrt tan tanh true_divide
               hardsigmoid_backward""",
    # Activations, losses and their backward passes, counted from the jaxprs of jax.nn and its gradients.
    (2, 0): "leaky_relu_backward mse_loss_backward native_dropout native_dropout_backward",
    (2, 1): "elu silu xlogy",
    (3, 0): "sigmoid_backward huber_loss_backward",
    (3, 1): "selu softplus_backward smooth_l1_loss_backward logit_backward",
    (4, 0): "elu_backward tanh_backward",
    (4, 1): "hardsigmoid hardswish_backward hypot",
    (5, 1): "gelu hardswish log_sigmoid_backward",
    (6, 0): "silu_backward",
    (6, 2): "celu",
    (8, 2): "softplus logaddexp logaddexp2",
    (10, 1): "mish_backward",
    (10, 2): "log_sigmoid_forward",
    (10, 3): "mish",
    (11, 1): "gelu_backward",
}
EACH = {name: cost for cost, names in ELEMENT_WISE.items() for name in names.split()}
TANH_GELU = {"gelu": (9, 1), "gelu_backward": (14, 0)}
IN_COMPLEX = {"rsub": "sub", **{name: name for name in ("add", "sub", "neg", "mul", "div", "abs", "exp", "square")}}


@dataclass(slots=True)
class Call:
    """One call of a torch operation, and the tensors it produced or changed."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    def __getitem__(self, position: int) -> Any:
        return self.args[position]

    def option(self, name: str, default: Any = None) -> Any:
        """The argument called `name` in the operation's schema, however it was passed."""
        if name in self.kwargs:
            return self.kwargs[name]
        for position, argument in enumerate(self.func._schema.arguments):
            if argument.name == name:
                return self.args[position] if position < len(self.args) else argument.default_value
        return default

    @property
    def size(self) -> int:
        """Floating-point elements of the result."""
        return elements(self.out)


RULES: dict[str, Callable[[Call], Cost]] = {}


def price(call: Call) -> Cost | None:
    known = RULES.get(call.name)
    return known(call) if known else None


def rule(*names: str) -> Callable:
    def register(function: Callable[[Call], Cost]) -> Callable[[Call], Cost]:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def inexact(t: torch.Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def elements(value: Any) -> int:
    return sum(t.numel() for t in tensors(value) if inexact(t))


def scale(t: torch.Tensor) -> int:
    """1 for real numbers, 4 for a product of complex ones, 0 for integers."""
    return formulas.COMPLEX_PRODUCT if t.is_complex() else int(t.is_floating_point())


@rule(*FREE.split())
def free(call: Call) -> Cost:
    return Cost()


def _per_element(call: Call, flop: int, transcendental: int = 0) -> Cost:
    size = call.size
    if size and any(t.is_complex() for t in tensors([call.out, *call.args])):
        if call.name not in IN_COMPLEX:
            return Cost(uncounted=frozenset({f"{call.name}[complex]"}))
        flop_of_one, transcendental = formulas.COMPLEX[IN_COMPLEX[call.name]]
        flop = flop_of_one + 2 * (flop - 1)
    return Cost(size * flop, size * transcendental)


@rule(*EACH)
def _element_wise(call: Call) -> Cost:
    tanh = call.name in TANH_GELU and call.option("approximate") == "tanh"
    each = (TANH_GELU if tanh else EACH)[call.name]
    if call.name in ("log_sigmoid_forward", "native_dropout"):  # the second result is a buffer or a mask
        return Cost(each[0] * call.out[0].numel(), each[1] * call.out[0].numel())
    return _per_element(call, *each)


@rule("add", "sub", "rsub")
def _sum_of_two(call: Call) -> Cost:
    """x + alpha·y: the product only where alpha is not 1."""
    return _per_element(call, 1 + (call.option("alpha", 1) != 1))


@rule("lerp")
def _lerp(call: Call) -> Cost:
    return _per_element(call, 3)


@rule("addcmul", "addcdiv")
def _add_of_two(call: Call) -> Cost:
    """x + value·(y z) or x + value·(y / z)."""
    value = call.option("value", call.option("scalars", 1))
    factor = isinstance(value, torch.Tensor) or value != 1
    return _per_element(call, 2 + factor, int(call.name == "addcdiv"))


@rule("pow", "float_power")
def _pow(call: Call) -> Cost:
    exponent = call[1]
    if isinstance(exponent, int | float) and float(exponent).is_integer() and not call[0].is_complex():
        return formulas.integer_power(int(exponent)) * call.size
    return _per_element(call, 1, 1)


# ---- products and convolutions ----


@rule("mm", "bmm", "mv", "matmul", "linear")
def _product(call: Call) -> Cost:
    bias = call.size if call.name == "linear" and call.option("bias") is not None else 0
    return Cost(formulas.product(call.size, call[0].shape[-1]) * scale(call[0]) + bias)


@rule("dot", "vdot")
def _dot(call: Call) -> Cost:
    return Cost(formulas.product(call[0].numel()) * scale(call[0]))


@rule("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation")
def _add_product(call: Call) -> Cost:
    """beta·c + alpha·(a b): 2mnk, one addition for each result, one product for each factor that is not 1."""
    beta, alpha, left = call.option("beta", 1), call.option("alpha", 1), call[1]
    inner = left.shape[-1] * (left.shape[0] if call.name == "addbmm" else 1)
    extra = (beta != 0) + (beta not in (0, 1)) + (alpha != 1)
    each = 2 if left.is_complex() else int(inexact(left))
    return Cost(formulas.product(call.size, inner) * scale(left) + extra * call.size * each)


@rule("addr")
def _add_outer(call: Call) -> Cost:
    return _per_element(call, 2 + (call.option("beta", 1) not in (0, 1)) + (call.option("alpha", 1) != 1))


@rule("convolution", "_convolution")
def _convolution(call: Call) -> Cost:
    bias = call.size if call.option("bias") is not None else 0
    return Cost(_one_convolution(call, call.option("input"), call.option("weight"), call.out) + bias)


@rule("convolution_backward")
def _convolution_backward(call: Call) -> Cost:
    """Each gradient asked for costs what the forward pass did; that of the bias is a sum."""
    grad, (of_input, of_weight, of_bias) = call.option("grad_output"), call.option("output_mask")
    once = _one_convolution(call, call.option("input"), call.option("weight"), grad)
    return Cost(once * (of_input + of_weight) + (max(0, grad.numel() - grad.shape[1]) if of_bias else 0))


def _one_convolution(call: Call, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> int:
    axes = weight.ndim - 2
    stride, padding, dilation = (
        list(option) * (axes if len(option) == 1 else 1)
        for option in (call.option("stride"), call.option("padding"), call.option("dilation"))
    )
    # A transposed convolution is the gradient of an ordinary one, from its output to its input.
    small, large = (x, out) if call.option("transposed") else (out, x)
    taps = [
        formulas.valid_taps(
            large.shape[2 + i], small.shape[2 + i], weight.shape[2 + i], stride[i], padding[i], dilation[i]
        )
        for i in range(axes)
    ]
    return formulas.convolution(x.shape[0], x.shape[1], out.shape[1], call.option("groups"), taps) * scale(x)
