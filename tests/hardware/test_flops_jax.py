"""JAX counts against counts derived by hand. Equality is exact: both sides are integers."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from hardware.cost import Cost
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
    # 4 evaluations; y + c k three times; the weighted sum has 3 products and 4 additions
    "Runge-Kutta step of a neural ODE": (rk4, (V,), 4 * EVAL + 3 * 16 + 7 * 8, 32),
    # 3 for m, 4 for v, 2 corrections, root, 2 additions, division, -lr, +; scalars: 1 - b**t twice
    "Adam step of optax": (adam, (jnp.ones(1000), jnp.ones(1000)), 15 * 1000 + 4, 4 * 1000 + 2),
}


@pytest.mark.parametrize("name", BATTERY)
def test_battery(name):
    f, arguments, flop, transcendental = BATTERY[name]
    assert static_cost(f, *arguments) == Cost(flop, transcendental)


def test_the_battery_of_jax_is_long_enough():
    assert len(BATTERY) >= 25


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


def test_counts_are_exact_beyond_32_and_64_bits():
    huge = jax.ShapeDtypeStruct((2**24, 2**24), "float32")
    assert static_cost(jnp.matmul, huge, huge).flop == 2 * 2**72


def test_an_uncounted_primitive_is_named_and_makes_a_lower_bound():
    def f(x):
        return x + jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    cost = static_cost(f, V)
    assert cost == Cost(8, 0, frozenset({"pure_callback"}))
    assert cost.is_lower_bound


def test_a_dynamic_program_has_no_static_cost():
    with pytest.raises(DynamicCostError, match="1 loops or branches"):
        static_cost(lambda y: lax.while_loop(lambda y: y[0] < 1, field, y), V)


def test_leaves_that_are_no_arrays_pass_through():
    (result, name), cost = count(lambda f, x: ((f(x), x), "kept"))(jnp.sin, V)
    assert name == "kept"
    assert np.array_equal(result[0], jnp.sin(V))
    assert cost == Cost(8, 8)


def test_differentiation_passes_through():
    def loss(y):
        value, cost = count(lambda y: rk4(y).sum())(y)
        return value, cost

    gradient, cost = jax.grad(loss, has_aux=True)(V)
    assert np.allclose(gradient, jax.grad(lambda y: rk4(y).sum())(V), rtol=1e-5)  # float32: rounding of two orders
    assert cost.flop == 4 * EVAL + 3 * 16 + 7 * 8 + 7
    assert math.isclose(cost.transcendental, 32)
