"""What one torch operation costs: `price(call) -> Cost`, or None when there is no rule for it.

The conventions are those of `hardware.flops_jax.rules`. A fused kernel (an activation, its backward, a loss, a
normalisation) is priced as the arithmetic that JAX writes out for the same function, so that one function costs the
same in both frameworks; where a kernel saves an operation or two of an element, the saving is not counted.
Operations are known by their name without namespace, `_foreach_` prefix and the trailing underscore of in-place ones.
A rule for a further operation is added with `RULES["name"] = function_of_a_call`, of elementwise kind unless
`KIND["name"]` says otherwise; that of an operation outside torch's own has its namespace in the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hardware import formulas
from hardware.cost import Cost

FREE = """
    _assert_async _assert_scalar _cast_Double _cast_Float _coalesce _conj _conj_physical _efficientzerotensor
    _functional_assert_async _histogramdd_bin_edges _is_all_true _is_any_true _linalg_check_errors
    _local_scalar_dense _make_dual _neg_view
    _new_zeros_with_same_feature_meta _nested_from_padded _nested_tensor_from_mask _pack_padded_sequence
    _pad_packed_sequence _pin_memory _record_function_enter_new _record_function_exit _reshape_alias
    _sample_dirichlet _sparse_compressed_tensor_unsafe _sparse_coo_tensor_with_dims _sparse_mask_projection
    _standard_gamma _to_copy _to_dense _to_sparse _to_sparse_csc _to_sparse_csr _unique2 _unsafe_index _unsafe_view
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d alias alias_copy all any arange
    argmax argmin argsort as_strided as_strided_copy as_strided_scatter bernoulli binomial bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor block_diag bucketize cat cauchy
    channel_shuffle clone coalesce complex conj_physical constant_pad_nd copy copysign count_nonzero dequantize
    detach detach_copy diag diag_embed diagonal_backward diagonal_copy diagonal_scatter embedding empty empty_like
    empty_permuted empty_strided eq equal expand_copy exponential eye fill fill_diagonal flip frexp full full_like
    gather gcd ge geometric gt heaviside im2col index index_copy index_fill index_select is_pinned is_same_size
    isfinite isin isinf isnan isneginf isposinf isreal item kthvalue lcm le lift lift_fresh lift_fresh_copy linspace
    log_normal logical_and logical_not logical_or logical_xor logspace lt lu_unpack masked_fill masked_scatter
    masked_scatter_backward masked_select max_unpool2d max_unpool3d median mode multinomial nan_to_num nanmedian
    narrow_copy native_channel_shuffle ne new_empty new_empty_strided new_full new_ones new_zeros nextafter nonzero
    normal ones ones_like permute_copy pixel_shuffle pixel_unshuffle poisson promote_types rand rand_like randint
    randint_like randn randn_like random randperm record_stream reflection_pad1d reflection_pad2d reflection_pad3d
    repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d resize roll rot90 scalar_tensor
    searchsorted select_backward select_copy select_scatter set signbit slice_backward slice_copy
    slice_scatter sort sparse_mask split_copy split_with_sizes_copy squeeze squeeze_copy stack swapaxes swapdims
    sym_numel sym_size sym_storage_offset sym_stride t t_copy take to to_dense to_sparse topk transpose
    transpose_copy tril tril_indices triu triu_indices unbind_copy unfold_copy uniform unique_consecutive unique_dim
    unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_copy upsample_nearest1d upsample_nearest2d
    upsample_nearest3d view_as_complex_copy view_copy where zero zeros zeros_like
"""

# For each element of the result: (flop, transcendental) and the operations that cost so.
ELEMENT_WISE = {
    (0, 0): "hardshrink hardshrink_backward hardtanh hardtanh_backward softshrink_backward threshold_backward",
    (1, 0): """
        _prelu_kernel _prelu_kernel_backward abs ceil clamp_max clamp_min deg2rad fft_fftfreq fft_rfftfreq
        floor fmax fmin frac leaky_relu maximum minimum mul neg positive rad2deg relu relu6 round rrelu_with_noise
        rrelu_with_noise_backward sgn sign softshrink square threshold trunc
    """,
    (1, 1): """
        _dirichlet_grad _standard_gamma_grad acos acosh angle asin asinh atan atan2 atanh cos cosh digamma div
        erf erfc erfinv exp exp2 expm1 floor_divide fmod hardsigmoid_backward i0 igamma igammac lgamma log log10
        log1p log2 logit polygamma reciprocal remainder rsqrt sigmoid sin sinc sinh special_bessel_j0
        special_bessel_j1 special_entr special_erfcx special_i0e special_i1 special_i1e special_log_ndtr
        special_ndtri special_zeta sqrt tan tanh true_divide
    """,
    # Activations, losses and their backward passes, counted from the jaxprs of jax.nn and its gradients.
    (2, 0): "leaky_relu_backward mse_loss_backward native_dropout native_dropout_backward",
    (2, 1): "elu glu ldexp silu special_xlog1py xlogy",
    (3, 0): "huber_loss_backward linalg_cross sigmoid_backward",
    (3, 1): "logit_backward selu smooth_l1_loss_backward softplus_backward",
    (4, 0): "elu_backward tanh_backward",
    (4, 1): "hamming_window hann_window hardsigmoid hardswish_backward hypot",
    (5, 1): "gelu hardswish log_sigmoid_backward",
    (6, 0): "silu_backward",
    (6, 1): "binary_cross_entropy_backward",
    (6, 2): "celu",
    (8, 2): "logaddexp logaddexp2 softplus",
    (10, 1): "mish_backward",
    (10, 2): "log_sigmoid_forward",
    (10, 3): "mish",
    (11, 1): "gelu_backward",
}
EACH = {name: cost for cost, names in ELEMENT_WISE.items() for name in names.split()}
TANH_GELU = {"gelu": (9, 1), "gelu_backward": (14, 0)}
IN_COMPLEX = {"rsub": "sub", "sigmoid": "logistic", "sgn": "sign", "true_divide": "div"}  # others keep their name


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
KIND: dict[str, str] = {}  # of `hardware.cost`


def price(call: Call) -> Cost | None:
    known = RULES.get(call.name)
    return known(call) if known else None


def rule(*names: str, kind: str = "elementwise") -> Callable:
    """Registers a function of a call as the price of operations whose work is of this kind."""

    def register(function: Callable[[Call], Cost]) -> Callable[[Call], Cost]:
        RULES.update(dict.fromkeys(names, function))
        KIND.update(dict.fromkeys(names, kind))
        return function

    return register


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, torch.Tensor):
                yield item
            else:
                yield from tensors(item)


def inexact(t: torch.Tensor) -> bool:
    return t.is_floating_point() or t.is_complex()


def elements(value: Any) -> int:
    """Floating-point numbers stored: of a sparse tensor, those it holds."""
    return sum(t.numel() if t.layout == torch.strided else stored_values(t) for t in tensors(value) if inexact(t))


def stored_values(t: torch.Tensor) -> int:
    return (t._values() if t.layout == torch.sparse_coo else t.values()).numel()


def scale(t: torch.Tensor) -> int:
    """1 for real numbers, 4 for a product of complex ones, 0 for integers."""
    return formulas.COMPLEX_PRODUCT if t.is_complex() else int(t.is_floating_point())


def each(t: torch.Tensor, name: str) -> int:
    """FLOP of one addition ("add") or product ("mul") of two numbers of this dtype."""
    return formulas.COMPLEX[name][0] if t.is_complex() else int(t.is_floating_point())


def dtype_of(call: Call) -> str:
    """The real precision that the arithmetic is done in, as in "float32"; complex numbers are pairs of real ones."""
    for t in tensors([call.out, *call.args, *call.kwargs.values()]):
        if inexact(t):
            return str(t.dtype.to_real() if t.is_complex() else t.dtype).removeprefix("torch.")
    return "float32"


def share(kind: str, flop: int) -> Cost:
    """Work of another kind than the rest of its operation's, as the product in an affine map."""
    return Cost(flop, parts=((kind, "", flop),) if flop else ())


@rule(*FREE.split())
def free(call: Call) -> Cost:
    return Cost()


def _per_element(call: Call, flop: int, transcendental: int = 0) -> Cost:
    size = call.size
    if size and any(t.is_complex() for t in tensors([call.out, *call.args])):
        known = IN_COMPLEX.get(call.name, call.name)
        if known not in formulas.COMPLEX:
            return Cost(uncounted=frozenset({f"{call.name}[complex]"}))
        flop_of_one, transcendental = formulas.COMPLEX[known]
        flop = flop_of_one + 2 * (flop - 1)
    return Cost(size * flop, size * transcendental)


@rule(*EACH)
def _element_wise(call: Call) -> Cost:
    tanh = call.name in TANH_GELU and call.option("approximate") == "tanh"
    each = (TANH_GELU if tanh else EACH)[call.name]
    if call.name in ("log_sigmoid_forward", "native_dropout"):  # the second result is a buffer or a mask
        return Cost(each[0] * call.out[0].numel(), each[1] * call.out[0].numel())
    return _per_element(call, *each)


@rule("glu_backward")
def _glu_backward(call: Call) -> Cost:
    """Of a σ(b): g σ and g a σ (1 - σ), six operations for a pair of results."""
    return Cost(3 * call.size, call.size // 2)


@rule("clamp")
def _clamp(call: Call) -> Cost:
    """A maximum, a minimum, or both."""
    return _per_element(call, (call.option("min") is not None) + (call.option("max") is not None))


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
    if isinstance(exponent, int | float) and float(exponent).is_integer():
        of_one = formulas.integer_power(int(exponent))
        if call[0].is_complex():
            inverses, (flop, transcendental) = of_one.transcendental, formulas.COMPLEX["reciprocal"]
            products = (of_one.flop - inverses) * formulas.COMPLEX["mul"][0]
            of_one = Cost(products + inverses * flop, inverses * transcendental)
        return of_one * call.size
    return _per_element(call, 1, 1)


@rule("addr")
def _add_outer(call: Call) -> Cost:
    return _per_element(call, 2 + (call.option("beta", 1) not in (0, 1)) + (call.option("alpha", 1) != 1))
