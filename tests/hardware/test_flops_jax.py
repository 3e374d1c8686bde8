"""JAX counts against counts derived by hand. Equality is exact: both sides are integers."""

from __future__ import annotations

import functools
import math
import re

import jax
import jax.experimental
import jax.numpy as jnp
import jax.ref
import numpy as np
import optax
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental import sparse

from hardware.flops_jax import DynamicCostError, count, static_cost

X, Y = jnp.ones((3, 4)), jnp.ones((4, 5))
V = jnp.linspace(0.1, 1.0, 8)
W = 0.1 * jnp.ones((8, 8))
B, I, H, O = 5, 4, 8, 2  # noqa: E741 (batch, inputs, hidden, outputs)
MLP = {"w1": jnp.ones((I, H)), "b1": jnp.ones(H), "w2": jnp.ones((H, O)), "b2": jnp.ones(O)}
DATA = jnp.ones((B, I))


def mlp(p, x):
    return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def field(y):
    return jnp.tanh(W @ y)


def loop(n, y):
    return lax.scan(lambda y, _: (field(y), None), y, length=n)[0]


def rk4(y, h=0.1):
    k1 = field(y)
    k2 = field(y + h / 2 * k1)
    k3 = field(y + h / 2 * k2)
    k4 = field(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@jax.custom_vjp
def doubled(x):
    return x + x


doubled.defvjp(lambda x: (jnp.exp(x), x), lambda x, g: (g * x,))


def adam(p, g):
    optimiser = optax.adam(1e-3)
    updates, _ = optimiser.update(g, optimiser.init(p), p)
    return optax.apply_updates(p, updates)


def convolve(x, k, **options):
    return lax.conv_general_dilated(x, k, **({"window_strides": (1,) * (x.ndim - 2), "padding": "VALID"} | options))


def mutable(x):
    ref = jax.new_ref(x)
    ref[...] += 1.0
    ref[0] = 3.0
    jax.ref.addupdate(ref, 0, 2.0)
    return ref[...] + 1


def kernel(x, y):
    def body(x, y, out):
        @pl.when(pl.program_id(0) == 0)
        def first():
            out[...] = jnp.zeros_like(out)

        out[...] = jnp.tanh(x[...]) @ y[...]

    rows = pl.BlockSpec((4, 8), lambda i: (i, 0))
    whole = pl.BlockSpec((8, 8), lambda i: (0, 0))
    call = pl.pallas_call(
        body, jax.ShapeDtypeStruct((8, 8), x.dtype), grid=(2,), in_specs=[rows, whole], out_specs=rows, interpret=True
    )
    return call(x, y)


LINE, KERNEL = jnp.ones((2, 3, 10)), jnp.ones((4, 3, 3))
# (g + g y) (1 - y), or g (1 - y²) in later versions of JAX
TANH_RULE = 3 if "one_minus_square" in str(jax.make_jaxpr(jax.grad(jnp.tanh))(1.0)) else 4
EVAL = 2 * 8 * 8 + 8  # one evaluation of field: W y and a tanh for each of 8 components

# name: (function, arguments, FLOPs, of which transcendental)
BATTERY = {
    "matrix product: 2mnk": (jnp.matmul, (X, Y), 2 * 3 * 4 * 5, 0),
    "matrix-vector": (jnp.matmul, (W, V), 2 * 64, 0),
    "dot": (jnp.dot, (V, V), 16, 0),
    "batched product": (jnp.matmul, (jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))), 240, 0),
    "vmapped product": (jax.vmap(jnp.matmul, (0, None)), (jnp.ones((2, 3, 4)), Y), 240, 0),
    "einsum over two pairs": (
        functools.partial(jnp.einsum, "ij,jk,k->i"),
        (X, Y, jnp.ones(5)),
        min(2 * 3 * 4 * 5 + 2 * 3 * 5, 2 * 4 * 5 + 2 * 3 * 4),
        0,
    ),
    "complex product: 8mnk": (jnp.matmul, (X + 0j, Y + 0j), 8 * 60, 0),
    "integer product is no FLOP": (jnp.matmul, (X.astype(int), Y.astype(int)), 0, 0),
    "convolution, valid": (convolve, (LINE, KERNEL), 2 * (2 * 4 * 8) * (3 * 3), 0),
    # 3 taps at 4 places, less one at each edge: 10 an axis; padding needs no arithmetic.
    "convolution, same": (
        functools.partial(convolve, padding="SAME"),
        (jnp.ones((1, 1, 4, 4)), jnp.ones((1, 1, 3, 3))),
        2 * 10 * 10,
        0,
    ),
    "convolution, strided and dilated": (
        functools.partial(convolve, window_strides=(2,), rhs_dilation=(2,)),
        (jnp.ones((1, 1, 9)), jnp.ones((1, 1, 3))),
        2 * 3 * 3,
        0,
    ),
    "convolution, 3 groups": (
        functools.partial(convolve, feature_group_count=3),
        (LINE, jnp.ones((6, 1, 3))),
        2 * (2 * 6 * 8) * 3,
        0,
    ),
    # Both gradients of a strided convolution meet the same pairs as the forward pass, which is dead here.
    "convolution, gradients": (
        jax.grad(lambda x, k: convolve(x, k, window_strides=(2,)).sum(), argnums=(0, 1)),
        (LINE, KERNEL),
        2 * (2 * (2 * 4 * 4) * (3 * 3)),
        0,
    ),
    "element-wise": (lambda x: x * x + x, (V,), 16, 0),
    "transcendental": (lambda x: jnp.exp(jnp.sin(x)) / x, (V,), 24, 24),
    "cube: 2 products": (lambda x: x**3, (V,), 16, 0),
    "x**-2: product and division": (lambda x: x**-2, (V,), 16, 8),
    "free: compare, choose, convert, move, sort": (
        lambda x: jnp.sort(jnp.where(x > 0, x, 0)[::-1].astype(int).astype(float)),
        (V,),
        0,
        0,
    ),
    "sum over an axis: inputs - outputs": (lambda x: x.sum(1), (X,), 9, 0),
    "mean: sum and division": (jnp.mean, (X,), 12, 1),
    "cumulative sum": (lambda x: jnp.cumsum(x, 1), (X,), 9, 0),
    "scatter-add": (lambda x: jnp.zeros(3).at[jnp.array([0, 0, 1, 2])].add(x), (jnp.ones(4),), 4, 0),
    # maximum (11 - and once more against -inf in each of 3 lines), difference, exp, sum, division
    "softmax": (lambda x: jax.nn.softmax(x, axis=1), (X,), 9 + 3 + 12 + 12 + 9 + 12, 24),
    "network forward": (mlp, (MLP, DATA), 2 * B * (I * H + H * O) + B * (2 * H + O), B * H),
    # x w1, +b1, tanh; h'g, g w2', tanh', x'd; sums for b1 and b2. The output is not needed.
    "network gradient": (
        jax.grad(lambda p, x: mlp(p, x).sum()),
        (MLP, DATA),
        2 * B * (2 * I * H + 2 * H * O) + 2 * B * H + TANH_RULE * B * H + (B - 1) * (H + O),
        B * H,
    ),
    "scan of 1": (functools.partial(loop, 1), (V,), EVAL, 8),
    "scan of 10": (functools.partial(loop, 10), (V,), 10 * EVAL, 80),
    "scan of 100": (functools.partial(loop, 100), (V,), 100 * EVAL, 800),
    "scan of 3 in scan of 4": (
        lambda y: lax.scan(lambda y, _: (loop(3, y), None), y, length=4)[0],
        (V,),
        12 * EVAL,
        96,
    ),
    "fori_loop with fixed ends": (lambda y: lax.fori_loop(0, 7, lambda i, y: field(y), y), (V,), 7 * EVAL, 56),
    "jit in jit": (jax.jit(lambda y: jax.jit(field)(field(y))), (V,), 2 * EVAL, 16),
    "cond with equal branches": (lambda y: lax.cond(y[0] > 0, jnp.sin, jnp.cos, y), (V,), 8, 8),
    "custom_vjp, forward": (doubled, (V,), 8, 0),
    "custom_vjp, its own backward": (jax.grad(lambda x: doubled(x).sum()), (V,), 8, 0),
    # value: 2 sin and 7 additions; gradient: sin again, 2 cos, 2 products
    "remat computes again": (
        jax.value_and_grad(lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x).sum()),
        (V,),
        16 + 7 + 5 * 8,
        16 + 3 * 8,
    ),
    "without remat": (jax.value_and_grad(lambda x: jnp.sin(jnp.sin(x)).sum()), (V,), 16 + 7 + 4 * 8, 16 + 2 * 8),
    "dead code": (lambda x: (W @ x, x + 1)[1], (V,), 8, 0),
    "cholesky: n³/3": (functools.partial(jnp.linalg.cholesky, symmetrize_input=False), (jnp.eye(6),), 72, 0),
    "triangular solve: n² a side": (jax.scipy.linalg.solve_triangular, (W, jnp.ones((8, 3))), 64 * 3, 0),
    "solve: LU and two triangular": (jnp.linalg.solve, (jnp.eye(6), jnp.ones(6)), 2 * 72 + 2 * 36, 0),
    "qr with Q: 2(2mn² - 2n³/3)": (jnp.linalg.qr, (jnp.ones((9, 3)),), 2 * (2 * 9 * 9 - 2 * 9), 0),
    "eigh: 9n³ after symmetrising": (jnp.linalg.eigh, (jnp.eye(5),), 9 * 125 + 2 * 25, 25),
    "svd, thin: 14mn² + 8n³": (
        functools.partial(jnp.linalg.svd, full_matrices=False),
        (jnp.ones((6, 3)),),
        14 * 54 + 8 * 27,
        0,
    ),
    "fft: 5 n log2 n": (jnp.fft.fft, (jnp.ones(8) + 0j,), 5 * 8 * 3, 0),
    "fft of 4 lines, one side real": (jnp.fft.rfft, (jnp.ones((4, 8)),), 4 * 5 * 8 * 3 // 2, 0),
    "fft, two axes": (jnp.fft.fft2, (jnp.ones((4, 8)) + 0j,), 5 * 32 * 5, 0),
    "lu": (jax.lax.linalg.lu, (jnp.ones((6, 4)),), round(2 * 6 * 4 * 4 - 10 * 16 + 2 * 64 / 3), 0),
    "eigenvalues of any matrix: 10n³": (jnp.linalg.eigvals, (W,), 10 * 512, 0),
    "Schur form with its vectors: 25n³": (jax.scipy.linalg.schur, (W,), 25 * 512, 0),
    "Schur form alone: 10n³": (
        functools.partial(jax.lax.linalg.schur, compute_schur_vectors=False),
        (W,),
        10 * 512,
        0,
    ),
    "Hessenberg: 10n³/3": (
        functools.partial(jax.scipy.linalg.hessenberg, calc_q=False),
        (jnp.ones((6, 6)),),
        720,
        0,
    ),
    "svd, singular values: 4mn² - 4n³/3": (
        functools.partial(jnp.linalg.svd, compute_uv=False),
        (jnp.ones((6, 3)),),
        4 * 54 - 36,
        0,
    ),
    "svd, full: 4m²n + 8mn² + 9n³": (jnp.linalg.svd, (jnp.ones((6, 3)),), 4 * 108 + 8 * 54 + 9 * 27, 0),
    "tridiagonal solve: 8 an unknown": (lax.linalg.tridiagonal_solve, (V, V, V, jnp.ones((8, 2))), 8 * 16, 2 * 16),
    "rank-one update of a Cholesky factor: 3n² + 3n": (
        lax.linalg.cholesky_update,
        (jnp.eye(8), V),
        3 * 64 + 3 * 8,
        24,
    ),
    "symmetric product: 2n²k + 3n²": (lax.linalg.symmetric_product, (X, jnp.eye(3)), 2 * 9 * 4 + 27, 0),
    "Q of a pivoted QR times a matrix: 4mnk - 2nk²": (
        lambda a, c: lax.linalg.ormqr(a, jnp.ones(3), c),
        (jnp.ones((9, 3)), jnp.ones((9, 2))),
        4 * 9 * 2 * 3 - 2 * 2 * 9,
        0,
    ),
    "ragged product: each row meets one group": (
        lax.ragged_dot,
        (jnp.ones((6, 4)), jnp.ones((3, 4, 5)), jnp.array([1, 2, 3])),
        2 * 6 * 4 * 5,
        0,
    ),
    "sparse times dense: 2 nse a column": (
        lambda x, y: sparse.BCOO.fromdense(x, nse=7) @ y,
        (X, Y),
        2 * 7 * 5,
        0,
    ),
    "complex tanh: (sinh 2a, sin 2b)/(cosh 2a + cos 2b)": (jnp.tanh, (V + 1j,), 8 * 9, 8 * 6),
    "complex root": (jnp.sqrt, (V + 1j,), 8 * 10, 8 * 3),
    "complex power: exp(w log z)": (jnp.power, (V + 1j, V + 2j), 8 * 17, 8 * 5),
    "complex z**-3: 2 products and an inverse": (lambda z: z**-3, (V + 1j,), 8 * (2 * 6 + 6), 8 * 2),
    "complex cumulative product: 6 a step": (lambda z: jnp.cumprod(z), (V + 1j,), 7 * 6, 0),
    "complex scatter-add: 2 an update": (
        lambda z: jnp.zeros(3, complex).at[jnp.array([0, 0, 1])].add(z),
        (jnp.ones(3) + 0j,),
        6,
        0,
    ),
    "clamp: a minimum and a maximum": (lambda x: lax.clamp(0.2, x, 0.8), (V,), 16, 0),
    "free: reduced precision, next float, top k, sort by two keys": (
        lambda x: (
            lax.reduce_precision(jnp.nextafter(x, x), 5, 10),
            lax.top_k(x, 3),
            lax.sort((x, -x), num_keys=2),
        ),
        (V,),
        8,  # of -x
        0,
    ),
    "window sums: inputs of a window less one, each": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "VALID"),
        (V,),
        6 * 2,
        0,
    ),
    "window sums, padded: 2 values in each window at an edge": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"),
        (V,),
        6 * 2 + 2 * 1,
        0,
    ),
    "general reduction: what its computation costs": (
        lambda x: lax.reduce(x, 0.0, lambda a, b: jnp.sin(a) * b, (0,)),
        (V,),
        7 * 2,
        7,
    ),
    "convolution over 2 batch groups": (
        functools.partial(convolve, batch_group_count=2),
        (LINE, jnp.ones((4, 3, 3))),
        2 * (1 * 4 * 8) * (3 * 3),
        0,
    ),
    # Each of the 4 values meets each of the 3 taps once; the holes between them and the padding meet nothing.
    "transposed convolution skips its holes": (
        functools.partial(convolve, lhs_dilation=(2,), padding=[(2, 2)]),
        (jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3))),
        2 * 4 * 3,
        0,
    ),
    "scan backwards, unrolled": (
        lambda y: lax.scan(lambda y, _: (field(y), None), y, length=6, reverse=True, unroll=4)[0],
        (V,),
        6 * EVAL,
        48,
    ),
    "map": (lambda x: lax.map(jnp.sin, x), (X,), 12, 12),
    # 8 values: 4 sums of pairs, 2 of these, 1, and back down 1 and 3; JAX interleaves two halves by padding and
    # adding them, which is 8, 4 and 2 more.
    "associative scan": (lambda x: lax.associative_scan(jnp.add, x), (V,), 11 + 14, 0),
    "jvp: the function and its tangent": (lambda x: jax.jvp(jnp.sin, (x,), (x,)), (V,), 8 + 16, 16),
    "linearised once, applied twice": (lambda x: [jax.linearize(jnp.sin, x)[1](t) for t in (x, x)], (V,), 2 * 16, 16),
    "forward Jacobian of W y: a product for each of 8 directions": (
        jax.jacfwd(lambda y: W @ y),
        (V,),
        2 * 8 * 64,
        0,
    ),
    "reverse Jacobian of W y": (jax.jacrev(lambda y: W @ y), (V,), 2 * 8 * 64, 0),
    "branches under vmap: both, in every lane": (
        jax.vmap(lambda y: lax.cond(y > 0, lambda y: y * y * y, lambda y: jnp.sin(y) + y, y)),
        (V,),
        8 * (2 + 2),
        8,
    ),
    # Sines are saved, so cosines are all that is computed again: nothing more than without remat.
    "remat that saves everything": (
        jax.value_and_grad(
            lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)), policy=jax.checkpoint_policies.everything_saveable)(
                x
            ).sum()
        ),
        (V,),
        16 + 7 + 4 * 8,
        16 + 2 * 8,
    ),
    # A step: sin; backward: sin is not needed again, cos and a product. 10 steps; the sum of 8 and its gradient.
    "remat in a scan": (
        jax.grad(lambda x: lax.scan(jax.checkpoint(lambda x, _: (jnp.sin(x), None)), x, length=10)[0].sum()),
        (V,),
        10 * 8 + 10 * 16,
        10 * 16,
    ),
    # 4 evaluations; y + c k three times; the weighted sum has 3 products and 4 additions
    "Runge-Kutta step of a neural ODE": (rk4, (V,), 4 * EVAL + 3 * 16 + 7 * 8, 32),
    "mutable array: three sums, one value overwritten": (mutable, (V,), 8 + 1 + 8, 0),
    "Pallas kernel: its body at each point of the grid": (kernel, (jnp.ones((8, 8)), W), 2 * (2 * 4 * 64 + 32), 64),
    # 3 for m, 4 for v, 2 corrections, root, 2 additions, division, -lr, +; scalars: 1 - b**t twice
    "Adam step of optax": (adam, (jnp.ones(1000), jnp.ones(1000)), 15 * 1000 + 4, 4 * 1000 + 2),
}


@pytest.mark.parametrize("name", BATTERY)
def test_battery(name):
    f, arguments, flop, transcendental = BATTERY[name]
    cost = static_cost(f, *arguments)
    assert (cost.flop, cost.transcendental, cost.uncounted) == (flop, transcendental, frozenset())
    assert sum(cost.by_kind.values()) == flop
    assert sum(n for (kind, _), n in cost.by_kind.items() if kind == "transcendental") == transcendental


# Work that does not depend on the lane is done once: gradients of sums, the Jacobian of a linear map, powers of
# Adam's rates. A choice under vmap runs both branches. A Cholesky update has no batched form in JAX.
NOT_BY_LANES = {
    "network gradient",
    "cond with equal branches",
    "rank-one update of a Cholesky factor: 3n² + 3n",
    "forward Jacobian of W y: a product for each of 8 directions",
    "reverse Jacobian of W y",
    "Adam step of optax",
}


@pytest.mark.parametrize("name", [name for name in BATTERY if name not in NOT_BY_LANES])
def test_three_lanes_cost_three_times_as_much(name):
    f, arguments, flop, transcendental = BATTERY[name]
    lanes = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 3), arguments)
    cost = static_cost(jax.vmap(f), *lanes)
    assert (cost.flop, cost.transcendental, cost.uncounted) == (3 * flop, 3 * transcendental, frozenset())


def test_the_battery_of_jax_is_long_enough():
    assert len(BATTERY) >= 80


def test_shapes_are_enough():
    shapes = jax.ShapeDtypeStruct((30, 40), "float32"), jax.ShapeDtypeStruct((40, 50), "float32")
    assert static_cost(jnp.matmul, *shapes).flop == 2 * 30 * 40 * 50


@pytest.mark.parametrize("f", [rk4, functools.partial(loop, 10), jax.grad(lambda y: rk4(y).sum()), doubled])
def test_a_static_count_leaves_the_program_unchanged(f):
    assert str(jax.make_jaxpr(lambda y: count(f)(y)[0])(V)) == str(jax.make_jaxpr(f)(V))
    result, cost = jax.jit(count(f))(V)
    assert np.array_equal(result, jax.jit(f)(V))
    assert type(cost.flop) is int
    assert cost == cost.resolve() == static_cost(f, V)
    assert cost.lanes(3) == [cost] * 3


@pytest.mark.parametrize("f", [rk4, functools.partial(loop, 10), jax.grad(lambda y: rk4(y).sum()), jnp.linalg.qr])
def test_counting_a_static_program_adds_nothing(f):
    """The compiled programs are the same, but for the names of functions and lines in their metadata."""

    argument = W if f is jnp.linalg.qr else V

    def text(f):
        lines = str(jax.jit(f).lower(argument).compile().as_text()).splitlines()[1:]
        return [re.sub(r"metadata=\{[^}]*\}", "", line) for line in lines if "metadata" in line or "%" in line]

    plain, counted = text(lambda y: f(y)), text(lambda y: count(f)(y)[0])
    assert len(plain) > 3
    assert plain == counted


def test_counts_are_exact_beyond_32_and_64_bits():
    huge = jax.ShapeDtypeStruct((2**24, 2**24), "float32")
    assert static_cost(jnp.matmul, huge, huge).flop == 2 * 2**72


def test_an_uncounted_primitive_is_named_and_makes_a_lower_bound():
    def f(x):
        return x + jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    cost = static_cost(f, V)
    assert (cost.flop, cost.uncounted) == (8, {"pure_callback"})
    assert cost.is_lower_bound


def test_a_call_into_foreign_code_is_named_with_its_target():
    f = jax.ffi.ffi_call("their_solver", jax.ShapeDtypeStruct(V.shape, V.dtype))
    assert static_cost(f, V).uncounted == {"ffi_call[their_solver]"}
    ordered = lambda x: jax.experimental.io_callback(np.sin, x, x, ordered=True)  # noqa: E731
    assert static_cost(ordered, V).uncounted == {"io_callback"}


def test_a_dynamic_program_has_no_static_cost():
    with pytest.raises(DynamicCostError, match="1 loops or branches"):
        static_cost(lambda y: lax.while_loop(lambda y: y[0] < 1, field, y), V)


def test_leaves_that_are_no_arrays_pass_through():
    (result, name), cost = count(lambda f, x: ((f(x), x), "kept"))(jnp.sin, V)
    assert name == "kept"
    assert np.array_equal(result[0], jnp.sin(V))
    assert (cost.flop, cost.transcendental) == (8, 8)


def test_differentiation_passes_through():
    def loss(y):
        value, cost = count(lambda y: rk4(y).sum())(y)
        return value, cost

    gradient, cost = jax.grad(loss, has_aux=True)(V)
    assert np.allclose(gradient, jax.grad(lambda y: rk4(y).sum())(V), rtol=1e-5)  # float32: rounding of two orders
    assert cost.flop == 4 * EVAL + 3 * 16 + 7 * 8 + 7
    assert math.isclose(cost.transcendental, 32)
