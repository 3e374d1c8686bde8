"""What one JAX primitive costs: `price(eqn) -> Cost`, from shapes and parameters alone.

Conventions (FLOP = floating-point arithmetic; see also `hardware.formulas`):

- element-wise arithmetic, minimum and maximum, abs, neg and rounding: 1 for each output element;
- transcendental functions, division, powers, roots: 1 for each output element, also counted in `transcendental`;
- comparison, selection, conversion, copies, layout, indexing, sorting, random bits, integers and booleans: 0;
- a reduction: inputs - outputs; a cumulative one: inputs - lines; scatter-add: one add for each update;
- `integer_pow`: its multiplications; products, convolutions, linear algebra and FFT: see `hardware.formulas`;
- complex arithmetic in real operations.

The dtype of the arithmetic is that of the result; of products and convolutions, that of the operands (bfloat16 operands
summed in float32 run at the bfloat16 rate) or what their `precision` names. Operations and bytes:
`hardware.flops_jax.traffic`. Call-like and looping primitives are not here: `hardware.flops_jax.walk` walks into them.
An equation whose rule fails is named uncounted: counting never stops a program.
A rule for a further primitive is added with `RULES["name"] = function_of_an_eqn`, of elementwise kind unless
`KIND["name"]` says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_jax.traffic import traffic

RULES: dict[str, Callable[[Any], Cost]] = {}
KIND: dict[str, str] = {}

FREE = """
    _copysign add_dependency after_all all_reduce_ffs all_reduce_population_count and announce_jaxpr approx_top_k
    argmax argmin assert_consumed_value axis_index bitcast bitcast_convert_type broadcast_in_dim broadcast_to clz
    complex concatenate conj convert_element_type copy copy_p create_token dce_sink debug_barrier_p debug_callback
    debug_print delay device_put dim_as_value dimension_size dma_start dma_wait dynamic_slice dynamic_update_slice
    empty empty2 empty_ref eq eq_to expand_dims free_ref freeze from_edtype gather ge get gt imag inspect_sharding iota
    iota_2x32_shape is_finite layout_cast layout_constraint le le_to load lt lt_to lu_pivots_to_permutation
    masked_load masked_swap max_contiguous mulhi multiple_of name ne new_ref nextafter nonbatchable
    nondifferentiable_backward nontraceable not num_programs optimization_barrier or pack_dtype pad philox2x32
    philox4x32 pin platform_index population_count preduced print_layout program_id pvary random_bits random_clone
    random_fold_in random_seed random_split random_unwrap random_wrap real reduce_and reduce_or reduce_precision
    reduce_xor reduced_vary_cast_p reshape reshard rev rng_bit_generator rng_uniform roll scatter
    select_and_gather_add select_if_vmap select_n semaphore_read semaphore_signal semaphore_wait shape_assertion
    shard_alike sharding_constraint shift_left shift_right_arithmetic shift_right_logical slice sort split squeeze
    stack stochastic_round stop_gradient swap threefry2x32 threefry4x32 tie tile to_edtype top_k transpose unpack_dtype
    unpin unreduced_psum unstack unvmap_all unvmap_any unvmap_max vary_unreduced_cast_p with_memory_space_constraint
    xla_metadata_value xor zeros_like
"""
ARITHMETIC = "abs add add_any ceil floor max min mul neg round sign square sub"
TRANSCENDENTAL = """
    acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt cos cosh digamma div erf erf_inv erfc exp exp2
    expm1 igamma igamma_grad_a igammac lgamma log log1p log2 logistic polygamma pow random_gamma_grad reciprocal
    regularized_incomplete_beta rem rsqrt sin sinh sqrt tan tanh zeta
"""
# How the names of dot algorithms begin, as BF16_BF16_F32.
ALGORITHMS = {"F16": "float16", "BF16": "bfloat16", "TF32": "tf32", "F32": "float32", "F64": "float64"}
# Those of several passes are as precise, and as slow, as this dtype (`hardware.projection.rates.PASSES`): FLOP are the
# model's, of one pass.
OF_PASSES = {"BF16_BF16_F32_X3": "tf32", "BF16_BF16_F32_X6": "float32", "BF16_BF16_F32_X9": "float32",
             "TF32_TF32_F32_X3": "float32"}  # fmt: skip


def price(eqn: Any, stored: dict[Any, int] | None = None, mine: frozenset[int] = frozenset()) -> Cost | None:
    """The cost of one equation, or None when there is no rule for its primitive. `stored`, `mine`: see `traffic`."""
    name = eqn.primitive.name
    if name not in RULES:
        return None
    operations, unfused_bytes = traffic(eqn, stored, mine)
    kind = KIND.get(name, "elementwise")
    known = RULES[name](eqn)
    known = known.of(kind, _dtype(eqn, kind)) if known.flop else known
    return replace(known, operations=operations, unfused_bytes=unfused_bytes)


def rule(*names: str, kind: str = "elementwise") -> Callable:
    def register(function: Callable[[Any], Cost]) -> Callable[[Any], Cost]:
        RULES.update(dict.fromkeys(names, function))
        KIND.update(dict.fromkeys(names, kind))
        return function

    return register


def _dtype(eqn: Any, kind: str) -> str:
    """The name of the dtype that an equation of floating-point numbers computes in; complex ones are pairs of reals."""
    if kind in ("matmul", "convolution"):
        algorithm = getattr(eqn.params.get("precision"), "name", "")
        if algorithm.partition("_")[0] in ALGORITHMS:
            return OF_PASSES.get(algorithm) or ALGORITHMS[algorithm.partition("_")[0]]
        operands = [v.aval.dtype for v in eqn.invars[:2]]  # the wider; promotion, which a user may forbid, can fail
        numbers = [max(operands, key=lambda d: (jnp.issubdtype(d, jnp.inexact), d.itemsize))]
    else:
        numbers = [v.aval.dtype for v in (*eqn.outvars, *eqn.invars) if hasattr(v.aval, "dtype")]
    name = next((np.dtype(d).name for d in numbers if jnp.issubdtype(d, jnp.inexact)), str(numbers[0]))
    return {"complex64": "float32", "complex128": "float64"}.get(name, name)


def _float(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.inexact)


def _complex(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.complexfloating)


def scale(aval: Any) -> int:
    """1 for real numbers, 4 for a product of complex ones, 0 for integers."""
    return formulas.COMPLEX_PRODUCT if _complex(aval) else int(_float(aval))


def each(aval: Any, name: str) -> int:
    """FLOP of one addition, comparison or product of two numbers of this dtype."""
    return formulas.COMPLEX[name][0] if _complex(aval) else int(_float(aval))


@rule(*FREE.split())
def _free(eqn: Any) -> Cost:
    return Cost()


@rule(*ARITHMETIC.split(), *TRANSCENDENTAL.split())
def _element_wise(eqn: Any) -> Cost:
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    if not _float(out):
        return Cost()
    if any(_complex(v.aval) for v in (*eqn.invars, *eqn.outvars)):
        in_real_ones = formulas.COMPLEX.get("add" if name == "add_any" else name)
        return Cost(*in_real_ones) * out.size if in_real_ones else Cost(uncounted=frozenset({f"{name}[complex]"}))
    return Cost(out.size, out.size if name in TRANSCENDENTAL.split() else 0)


@rule("clamp")
def _clamp(eqn: Any) -> Cost:
    """A minimum and a maximum."""
    out = eqn.outvars[0].aval
    return Cost(2 * out.size * int(_float(out)))


@rule("addupdate", "accum_grad_in_ref", kind="scatter")
def _add_in_place(eqn: Any) -> Cost:
    update = eqn.invars[1].aval
    return Cost(update.size * each(update, "add"))


@rule("one_minus_square")  # of tanh's derivative, in jax 0.11 and later
def _one_minus_square(eqn: Any) -> Cost:
    return Cost(2 * eqn.outvars[0].aval.size)


@rule("polynomial")
def _polynomial(eqn: Any) -> Cost:
    """Horner's scheme."""
    return Cost(2 * (len(eqn.invars) - 2) * eqn.outvars[0].aval.size)


@rule("integer_pow")
def _integer_pow(eqn: Any) -> Cost:
    out = eqn.outvars[0].aval
    of_one = formulas.integer_power(eqn.params["y"])
    if _complex(out):
        product, (flop, transcendental) = formulas.COMPLEX["mul"][0], formulas.COMPLEX["reciprocal"]
        inverses = of_one.transcendental
        of_one = Cost((of_one.flop - inverses) * product + inverses * flop, inverses * transcendental)
    return of_one * (out.size if _float(out) else 0)


@rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", kind="reduction")
def _reduction(eqn: Any) -> Cost:
    x, out = eqn.invars[0].aval, eqn.outvars[0].aval
    return Cost(max(0, x.size - out.size) * each(x, "mul" if eqn.primitive.name == "reduce_prod" else "add"))


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", kind="reduction")
def _cumulative(eqn: Any) -> Cost:
    name, x = eqn.primitive.name, eqn.invars[0].aval
    steps = (x.size - x.size // x.shape[eqn.params["axis"]]) if x.size and _float(x) else 0
    if name == "cumlogsumexp" and _complex(x):
        return Cost(uncounted=frozenset({"cumlogsumexp[complex]"}))
    if name == "cumlogsumexp":  # max(a, b) + log1p(exp(-|a - b|)): 6 operations, 2 of them transcendental
        return Cost(6 * steps, 2 * steps)
    return Cost(steps * each(x, "mul" if name == "cumprod" else "add"))


def _cost_of_one(jaxpr: Any) -> Cost:
    """The computation of a general reduction, which works on two scalars."""
    total = Cost()
    for inner in jaxpr.eqns:
        known = RULES.get(inner.primitive.name)
        total += known(inner) if known else Cost(uncounted=frozenset({inner.primitive.name}))
    return total


@rule("reduce", kind="reduction")
def _general_reduction(eqn: Any) -> Cost:
    return _cost_of_one(eqn.params["jaxpr"]) * max(0, eqn.invars[0].aval.size - eqn.outvars[0].aval.size)


def _window_steps(eqn: Any) -> int:
    """Values that the windows meet, less one a window: padding and holes need no arithmetic."""
    p, x, out = eqn.params, eqn.invars[0].aval, eqn.outvars[0].aval
    lows = [low for low, _ in p["padding"]]
    axes = zip(x.shape, out.shape, p["window_dimensions"], p["window_strides"], lows, p["window_dilation"],
               p["base_dilation"], strict=True)  # fmt: skip
    return max(0, math.prod(formulas.valid_taps(*axis) for axis in axes) - out.size)


@rule("reduce_window", kind="reduction")
def _general_reduce_window(eqn: Any) -> Cost:
    return _cost_of_one(eqn.params["jaxpr"]) * _window_steps(eqn)


@rule("reduce_window_sum", "reduce_window_max", "reduce_window_min", kind="reduction")
def _reduce_window(eqn: Any) -> Cost:
    return Cost(_window_steps(eqn) * each(eqn.outvars[0].aval, "add"))


@rule("scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "scatter-min", "scatter_min", "scatter-max",
      "scatter_max", "scatter-sub", "scatter_sub", kind="scatter")  # fmt: skip
def _scatter(eqn: Any) -> Cost:
    updates = eqn.invars[2].aval
    return Cost(updates.size * each(updates, "mul" if eqn.primitive.name.endswith("mul") else "add"))


@rule("select_and_scatter_add", kind="scatter")
def _select_and_scatter_add(eqn: Any) -> Cost:
    source = eqn.invars[0].aval
    return Cost(source.size * each(source, "add"))


@rule("select_and_scatter", kind="scatter")
def _select_and_scatter(eqn: Any) -> Cost:
    return _cost_of_one(eqn.params["scatter_jaxpr"]) * eqn.invars[1].aval.size


@rule("dot_general", kind="matmul")
def _dot_general(eqn: Any) -> Cost:
    (contracting, _), _ = eqn.params["dimension_numbers"]
    left, out = eqn.invars[0].aval, eqn.outvars[0].aval
    if not contracting:  # an outer product, or a number times an array: nothing is added up
        return Cost(out.size * (formulas.COMPLEX["mul"][0] if _complex(out) else int(_float(out))))
    return Cost(formulas.product(out.size, *(left.shape[d] for d in contracting)) * scale(out))


@rule("ragged_dot_general", kind="matmul")
def _ragged_dot(eqn: Any) -> Cost:
    """Each value on the left meets the right's free columns of its one group; groups that leave rows over cost less.

    What is needed, and what GPU and TPU kernels do; XLA on a CPU multiplies with every group and masks.
    """
    dims = eqn.params["ragged_dot_dimension_numbers"]
    (_, contracting), (_, batch) = dims.dot_dimension_numbers
    left, right, out = eqn.invars[0].aval, eqn.invars[1].aval, eqn.outvars[0].aval
    shared = {*contracting, *batch, *dims.rhs_group_dimensions}
    free = [n for d, n in enumerate(right.shape) if d not in shared]
    return Cost(formulas.product(left.size, *free) * scale(out))


@rule("bcoo_dot_general", "bcsr_dot_general", kind="matmul")
def _sparse_dot(eqn: Any) -> Cost:
    """Each stored value on the left, padding included, meets the right's free columns."""
    (_, contracting), (_, batch) = eqn.params["dimension_numbers"]
    left, right, out = eqn.invars[0].aval, eqn.invars[-1].aval, eqn.outvars[0].aval
    free = [n for d, n in enumerate(right.shape) if d not in {*contracting, *batch}]
    return Cost(formulas.product(left.size, *free) * scale(out))


@rule("scaled_matmul", "coo_matvec", "csr_matvec", "coo_matmat", "csr_matmat", kind="matmul")
def _other_product(eqn: Any) -> Cost:
    """Each stored value on the left meets each column on the right: (B, M, K) with (B, N, K), sparse with dense."""
    name, left, out = eqn.primitive.name, eqn.invars[0].aval, eqn.outvars[0].aval
    columns = eqn.invars[1].aval.shape[1] if name == "scaled_matmul" else out.shape[-1] if "matmat" in name else 1
    return Cost(formulas.product(left.size, columns) * scale(out))


@rule("conv_general_dilated", kind="convolution")
def _convolution(eqn: Any) -> Cost:
    p, dims = eqn.params, eqn.params["dimension_numbers"]
    x, kernel, out = eqn.invars[0].aval, eqn.invars[1].aval, eqn.outvars[0].aval
    spatial = zip(dims.lhs_spec[2:], dims.rhs_spec[2:], dims.out_spec[2:], strict=True)
    taps = [
        formulas.valid_taps(
            x.shape[i], out.shape[o], kernel.shape[k],
            p["window_strides"][axis], p["padding"][axis][0], p["rhs_dilation"][axis], p["lhs_dilation"][axis],
        )
        for axis, (i, k, o) in enumerate(spatial)
    ]  # fmt: skip
    # The kernel's input channels are already those of one group, and the output has all channels.
    batch, out_channels = (out.shape[d] for d in dims.out_spec[:2])
    in_channels = kernel.shape[dims.rhs_spec[1]]
    return Cost(formulas.convolution(batch, in_channels, out_channels, 1, taps) * scale(out))


@rule("fft", kind="fft")
def _fft(eqn: Any) -> Cost:
    lengths, x, out = eqn.params["fft_lengths"], eqn.invars[0].aval, eqn.outvars[0].aval
    whole = out if _complex(x) else x  # the side that has all points along the last axis
    batch = math.prod(whole.shape[: len(whole.shape) - len(lengths)])
    return Cost(formulas.fft(lengths, batch, real=not (_complex(x) and _complex(out))))
