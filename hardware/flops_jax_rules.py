"""What one JAX primitive costs: `price(eqn) -> Cost`, from shapes and parameters alone.

Conventions (FLOP = floating-point arithmetic; see also `hardware.formulas`):

- element-wise arithmetic, minimum and maximum, abs, neg and rounding: 1 for each output element;
- transcendental functions, division, powers, roots: 1 for each output element, also counted in `transcendental`;
- comparison, selection, conversion, copies, layout, indexing, sorting, random bits, integers and booleans: 0;
- a reduction: inputs - outputs; a cumulative one: inputs - lines; scatter-add: one add for each update;
- `integer_pow`: its multiplications; products, convolutions, linear algebra and FFT: see `hardware.formulas`.

Call-like and looping primitives are not here: `hardware.flops_jax` walks into them. A rule for a further primitive is
added with `RULES["name"] = function_of_an_eqn`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from hardware import formulas
from hardware.cost import Cost

RULES: dict[str, Callable[[Any], Cost]] = {}

FREE = """
    after_all and announce_jaxpr approx_top_k argmax argmin axis_index bitcast_convert_type broadcast_in_dim
    broadcast_to clz complex concatenate conj convert_element_type copy copy_p create_token dce_sink debug_callback
    debug_print device_put dim_as_value dimension_size dynamic_slice dynamic_update_slice empty empty2 eq eq_to
    expand_dims gather ge get gt imag inspect_sharding iota iota_2x32_shape is_finite layout_constraint le le_to lt
    lt_to lu_pivots_to_permutation mulhi name ne nextafter nonbatchable nondifferentiable_backward nontraceable not
    optimization_barrier or pad philox2x32 philox4x32 pin platform_index population_count pvary random_bits
    random_clone random_fold_in random_seed random_split random_unwrap random_wrap real reduce_and reduce_or
    reduce_precision reduce_xor reshape reshard rev rng_bit_generator rng_uniform scatter select_and_gather_add
    select_if_vmap select_n shape_assertion sharding_constraint shift_left shift_right_arithmetic
    shift_right_logical slice sort split squeeze stack stop_gradient swap threefry2x32 threefry4x32 tie tile top_k
    transpose unpin unreduced_psum unstack unvmap_all unvmap_any unvmap_max with_memory_space_constraint xor
    zeros_like
"""
ARITHMETIC = "abs add add_any ceil clamp floor max min mul neg round sign square sub"
TRANSCENDENTAL = """
    acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt cos cosh digamma div erf erf_inv erfc exp exp2
    expm1 igamma igamma_grad_a igammac lgamma log log1p log2 logistic polygamma pow random_gamma_grad
    regularized_incomplete_beta rem rsqrt sin sinh sqrt tan tanh zeta
"""


def price(eqn: Any) -> Cost | None:
    """The cost of one equation, or None when there is no rule for its primitive."""
    rule = RULES.get(eqn.primitive.name)
    return rule(eqn) if rule else None


def rule(*names: str) -> Callable:
    def register(function: Callable[[Any], Cost]) -> Callable[[Any], Cost]:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _float(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.inexact)


def _complex(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.complexfloating)


def _scale(aval: Any) -> int:
    """1 for real numbers, 4 for a product of complex ones, 0 for integers."""
    return formulas.COMPLEX_PRODUCT if _complex(aval) else int(_float(aval))


@rule(*FREE.split())
def _free(eqn: Any) -> Cost:
    return Cost()


@rule(*ARITHMETIC.split(), *TRANSCENDENTAL.split())
def _element_wise(eqn: Any) -> Cost:
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    if not _float(out):
        return Cost()
    if any(_complex(v.aval) for v in (*eqn.invars, *eqn.outvars)):
        if name not in formulas.COMPLEX and name != "add_any":
            return Cost(uncounted=frozenset({f"{name}[complex]"}))
        flop, transcendental = formulas.COMPLEX["add" if name == "add_any" else name]
        return Cost(out.size * flop, out.size * transcendental)
    return Cost(out.size, out.size if name in TRANSCENDENTAL.split() else 0)


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
    if _complex(out):
        return Cost(uncounted=frozenset({"integer_pow[complex]"}))
    return formulas.integer_power(eqn.params["y"]) * (out.size if _float(out) else 0)


@rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
def _reduction(eqn: Any) -> Cost:
    x, out = eqn.invars[0].aval, eqn.outvars[0].aval
    each = (6 if eqn.primitive.name == "reduce_prod" else 2) if _complex(x) else int(_float(x))
    return Cost(max(0, x.size - out.size) * each)


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulative(eqn: Any) -> Cost:
    x = eqn.invars[0].aval
    steps = (x.size - x.size // x.shape[eqn.params["axis"]]) if x.size and _float(x) else 0
    if eqn.primitive.name == "cumlogsumexp":  # max(a, b) + log1p(exp(-|a - b|)): 6 operations, 2 of them transcendental
        return Cost(6 * steps, 2 * steps)
    return Cost(steps * (2 if _complex(x) else 1))


def _cost_of_one(eqn: Any) -> Cost:
    """The computation of a general reduction, which works on two scalars."""
    total = Cost()
    for inner in eqn.params["jaxpr"].eqns:
        known = price(inner)
        total += Cost(uncounted=frozenset({inner.primitive.name})) if known is None else known
    return total


@rule("reduce")
def _general_reduction(eqn: Any) -> Cost:
    return _cost_of_one(eqn) * (eqn.invars[0].aval.size - eqn.outvars[0].aval.size)


@rule("reduce_window")
def _general_reduce_window(eqn: Any) -> Cost:
    return _cost_of_one(eqn) * (eqn.outvars[0].aval.size * (math.prod(eqn.params["window_dimensions"]) - 1))


@rule("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def _reduce_window(eqn: Any) -> Cost:
    out = eqn.outvars[0].aval
    return Cost(out.size * (math.prod(eqn.params["window_dimensions"]) - 1) if _float(out) else 0)


@rule("scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "scatter-min", "scatter_min", "scatter-max",
      "scatter_max", "scatter-sub", "scatter_sub")  # fmt: skip
def _scatter(eqn: Any) -> Cost:
    updates = eqn.invars[2].aval
    return Cost(updates.size * _scale(updates))


@rule("select_and_scatter_add")
def _select_and_scatter_add(eqn: Any) -> Cost:
    source = eqn.invars[0].aval
    return Cost(source.size if _float(source) else 0)


@rule("dot_general")
def _dot_general(eqn: Any) -> Cost:
    (contracting, _), _ = eqn.params["dimension_numbers"]
    left, out = eqn.invars[0].aval, eqn.outvars[0].aval
    return Cost(formulas.product(out.size, *(left.shape[d] for d in contracting)) * _scale(out))


@rule("conv_general_dilated")
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
    return Cost(formulas.convolution(batch, in_channels, out_channels, 1, taps) * _scale(out))


@rule("fft")
def _fft(eqn: Any) -> Cost:
    lengths, x, out = eqn.params["fft_lengths"], eqn.invars[0].aval, eqn.outvars[0].aval
    whole = out if _complex(x) else x  # the side that has all points along the last axis
    batch = math.prod(whole.shape[: len(whole.shape) - len(lengths)])
    return Cost(formulas.fft(lengths, batch, real=not (_complex(x) and _complex(out))))


def _matrix(eqn: Any, flop_of: Callable[[int, int], int]) -> Cost:
    *batch, m, n = eqn.invars[0].aval.shape
    return Cost(math.prod(batch) * flop_of(m, n) * _scale(eqn.invars[0].aval))


@rule("cholesky")
def _cholesky(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.cholesky(n))


@rule("lu")
def _lu(eqn: Any) -> Cost:
    return _matrix(eqn, formulas.lu)


@rule("geqrf")
def _geqrf(eqn: Any) -> Cost:
    return _matrix(eqn, formulas.householder_qr)


@rule("householder_product")
def _householder_product(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.householder_product(m, n, eqn.invars[1].aval.shape[-1]))


@rule("qr")
def _qr(eqn: Any) -> Cost:
    columns = eqn.outvars[0].aval.shape[-1]
    return _matrix(
        eqn, lambda m, n: formulas.householder_qr(m, n) + formulas.householder_product(m, columns, min(m, n))
    )


@rule("eigh")
def _eigh(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.eigh(n))


@rule("eig", "schur")
def _eig(eqn: Any) -> Cost:
    wanted = [v for k, v in eqn.params.items() if k.startswith("compute_") and k != "compute_schur_vectors"]
    return _matrix(eqn, lambda m, n: formulas.eig(n, any(wanted) or eqn.primitive.name == "schur"))


@rule("svd")
def _svd(eqn: Any) -> Cost:
    p = eqn.params
    return _matrix(eqn, lambda m, n: formulas.svd(m, n, p["compute_uv"], p["full_matrices"]))


@rule("hessenberg")
def _hessenberg(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: round(10 * n**3 / 3))


@rule("tridiagonal")
def _tridiagonal(eqn: Any) -> Cost:
    return _matrix(eqn, lambda m, n: formulas.eigh(n, vectors=False))


@rule("triangular_solve")
def _triangular_solve(eqn: Any) -> Cost:
    a, b = eqn.invars[0].aval, eqn.invars[1].aval
    return Cost(b.size * a.shape[-1] * _scale(b))


@rule("tridiagonal_solve")
def _tridiagonal_solve(eqn: Any) -> Cost:
    """Thomas' algorithm: 8 operations for each unknown, 2 of them divisions."""
    size = eqn.outvars[0].aval.size
    return Cost(8 * size, 2 * size)
