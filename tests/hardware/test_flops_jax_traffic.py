"""Kinds, precision, operations and bytes of JAX programs, against values derived by hand. Equality is exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from hardware.flops_jax import count, static_cost

F32, BF16 = jnp.float32, jnp.bfloat16
A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
V = jnp.linspace(0.1, 1.0, 8)


def convolve(x, k):
    return lax.conv_general_dilated(x, k, (1,), "VALID")


@pytest.mark.parametrize(
    ("f", "arguments", "by_kind"),
    [
        (jnp.matmul, (A, B), {("matmul", "float32"): 120}),
        (lambda x: jnp.tanh(x) * x + x, (V,), {("elementwise", "float32"): 16, ("transcendental", "float32"): 8}),
        (jnp.mean, (V,), {("reduction", "float32"): 7, ("transcendental", "float32"): 1}),
        (jnp.cumsum, (V,), {("reduction", "float32"): 7}),
        (lambda x: jnp.zeros(3).at[jnp.array([0, 1])].add(x), (V[:2],), {("scatter", "float32"): 2}),
        (convolve, (jnp.ones((1, 2, 9)), jnp.ones((3, 2, 3))), {("convolution", "float32"): 2 * 2 * 3 * 7 * 3}),
        (lambda x: lax.linalg.cholesky(x, symmetrize_input=False), (jnp.eye(6),), {("linalg", "float32"): 72}),
        (jnp.fft.fft, (V + 0j,), {("fft", "float32"): 120}),
        (lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "VALID"), (V,), {("reduction", "float32"): 12}),
        (jnp.matmul, (A + 0j, B + 0j), {("matmul", "float32"): 480}),
        (lambda x: abs(x), (V + 0j,), {("elementwise", "float32"): 24, ("transcendental", "float32"): 8}),
        (jnp.matmul, (A.astype(BF16), B.astype(BF16)), {("matmul", "bfloat16"): 120}),
        (
            lambda a, b: lax.dot(a, b, preferred_element_type=F32) + 1,
            (A.astype(BF16), B.astype(BF16)),
            {("matmul", "bfloat16"): 120, ("elementwise", "float32"): 15},
        ),
        (
            lambda a, b: lax.dot(a, b, precision=lax.DotAlgorithmPreset.TF32_TF32_F32),
            (A, B),
            {("matmul", "tf32"): 120},
        ),
        (
            lambda a, b: lax.dot(a, b, precision=lax.DotAlgorithmPreset.BF16_BF16_F32),
            (A, B),
            {("matmul", "bfloat16"): 120},
        ),
        # 8-bit integers summed as floats: floating-point results at the rate of the operands
        (
            lambda a, b: lax.dot(a, b, preferred_element_type=F32),
            (A.astype(jnp.int8), B.astype(jnp.int8)),
            {("matmul", "int8"): 120},
        ),
        (lambda a, b: lax.dot(a, b, precision="highest"), (A, B), {("matmul", "float32"): 120}),
        # several passes: FLOP are the model's, at the rate of what is as slow
        (
            lambda a, b: lax.dot(a, b, precision=lax.DotAlgorithmPreset.BF16_BF16_F32_X6),
            (A, B),
            {("matmul", "float32"): 120},
        ),
        (
            lambda a, b: lax.dot(a, b, precision=lax.DotAlgorithmPreset.BF16_BF16_F32_X3),
            (A, B),
            {("matmul", "tf32"): 120},
        ),
        # two formats that have no common one
        (
            lambda a, b: lax.dot(a, b, preferred_element_type=F32),
            (A.astype(jnp.float8_e4m3fn), B.astype(jnp.float8_e5m2)),
            {("matmul", "float8_e4m3fn"): 120},
        ),
        (lambda a, b: lax.dot(a, b, preferred_element_type=F32), (A.astype(BF16), B), {("matmul", "float32"): 120}),
        # the usual mixed precision: products in bfloat16, the sum in float32
        (
            lambda a, b: (a.astype(BF16) @ b.astype(BF16)).astype(F32).sum(),
            (A, B),
            {("matmul", "bfloat16"): 120, ("reduction", "float32"): 14},
        ),
        (lambda x: x.astype(int) * 2, (V,), {}),
    ],
)
def test_kind_and_precision(f, arguments, by_kind):
    cost = static_cost(f, *arguments)
    assert cost.by_kind == by_kind
    assert cost.flop == sum(by_kind.values())


def test_forbidden_promotions_do_not_stop_a_count():
    with jax.numpy_dtype_promotion("strict"):
        cost = static_cost(lambda a, b: lax.dot(a, b, preferred_element_type=F32), A.astype(BF16), B)
    assert cost.by_kind == {("matmul", "float32"): 120}


def test_double_precision():
    with jax.enable_x64(True):
        cost = static_cost(lambda x: jnp.sin(x) + x, np.ones(8))
    assert cost.by_kind == {("elementwise", "float64"): 8, ("transcendental", "float64"): 8}


# i < 0, i + n, and the choice between i and that: int32 and a boolean
POSITIVE = (4 + 1) + (4 + 4) + (1 + 4 + 4 + 4)

COPY = 2 * 4 * 8  # of V


def put(x, u, i):
    return lax.dynamic_update_slice(x, u, (i,))


# (function, arguments, operations, bytes where nothing is fused), float32: 4 bytes each
MOVES = {
    "product: both operands and the result": (jnp.matmul, (A, B), 1, 4 * (12 + 20 + 15)),
    "two operations, the value between written and read": (lambda x: jnp.sin(x * x), (V,), 2, 4 * 8 * (2 + 1 + 1 + 1)),
    "views: nothing, until they are read": (lambda x: jnp.sin(x.reshape(2, 4).T[1:, None]), (V,), 1, 4 * 12),
    "a view of an argument as result: a copy of what it shows": (lambda x: x[2:4].reshape(2, 1), (V,), 1, 4 * 4),
    "a spread value as result": (lambda: jnp.full(8, 2.0), (), 1, 4 * 8),
    "scalars in the text: free": (lambda x: x + 2.0, (V,), 1, 4 * 16),
    "a broadcast operand counts what it stores": (lambda x, y: x + y, (A, B[:, 0]), 1, 4 * (12 + 4 + 12) + 0),
    "a broadcast scalar": (lambda x: x * jnp.full(8, 2.0), (V,), 1, 4 * 16),
    "a reshaped broadcast": (lambda x: x * jnp.broadcast_to(x[:1], (2, 4)).reshape(8), (V,), 1, 4 * (8 + 1 + 8)),
    "a slice counts what it takes": (lambda x: x[2:4] + x[:2], (V,), 1, 4 * 6),
    "gather: twice the result, and indices": (
        lambda x, i: lax.gather(
            x, i, lax.GatherDimensionNumbers((1,), (0,), (0,)), (1, 4), mode=lax.GatherScatterMode.CLIP
        ),
        (jnp.ones((100, 4)), jnp.zeros((3, 1), jnp.int32)),
        1,
        4 * (2 * 12 + 3),
    ),
    "dynamic slice, its index made positive first": (
        lambda x, i: lax.dynamic_slice(x, (i,), (3,)),
        (V, jnp.int32(1)),
        3 + 1,
        POSITIVE + 4 * (2 * 3 + 1),
    ),
    "update in place: twice the update, and the index": (
        lambda x, u, i: lax.dynamic_update_slice(jnp.sin(x), u, (i,)),
        (V, V[:3], jnp.int32(1)),
        3 + 2,
        POSITIVE + 4 * (2 * 3 + 1) + 4 * 16,
    ),
    "update of an argument: a copy first": (put, (V, V[:3], jnp.int32(1)), 3 + 1, POSITIVE + 4 * (2 * 3 + 1) + COPY),
    "update of a view of an argument": (
        lambda x, u, i: put(x.reshape(2, 4).reshape(8), u, i),
        (V, V[:3], jnp.int32(1)),
        3 + 1,
        POSITIVE + 4 * (2 * 3 + 1) + COPY,
    ),
    "update of what a call was given": (
        lambda x, u: jax.jit(lambda y: y.at[:3].set(u, indices_are_sorted=True))(jnp.sin(x)),
        (V, V[:3]),
        2,
        4 * 16 + 4 * 2 * 3,
    ),
    "update of a value that is needed again": (
        lambda x, u, i: (lambda y: (put(y, u, i), y))(jnp.sin(x)),
        (V, V[:3], jnp.int32(1)),
        3 + 2,
        POSITIVE + 4 * (2 * 3 + 1) + 4 * 16 + COPY,
    ),
    "update of zeros, which are written first": (
        lambda u, i: put(jnp.zeros(8), u, i),
        (V[:3], jnp.int32(1)),
        3 + 1,
        POSITIVE + 4 * (2 * 3 + 1) + 4 * 8,
    ),
    "updates of what a loop carries: in place": (
        lambda x, u: lax.scan(lambda x, _: (lax.dynamic_update_slice(x, u, (1,)), None), x, length=5)[0],
        (V, V[:3]),
        5,
        5 * 4 * 2 * 3,
    ),
    "a scan that stacks: each row read and written once more": (
        lambda x: lax.scan(lambda x, _: (x, jnp.sin(x)), x, length=5)[1],
        (V,),
        10,
        5 * 4 * (16 + 16),
    ),
    "scatter-add": (
        lambda x, i, u: lax.scatter_add(-x, i, u, lax.ScatterDimensionNumbers((), (0,), (0,)), mode="clip"),
        (V, jnp.zeros((3, 1), jnp.int32), V[:3]),
        2,
        4 * 16 + 4 * (2 * 3 + 3),
    ),
    "a copy is an operation": (lambda x: jnp.concatenate([x, x]), (V,), 1, 4 * 32),
    "conversion: 4 bytes read, 2 written": (lambda x: x.astype(BF16), (V,), 1, 8 * (4 + 2)),
    "a comparison writes booleans": (lambda x, y: x > y, (V, V), 1, 8 * (4 + 4 + 1)),
    "a loop: as often as it runs": (
        lambda x: lax.scan(lambda x, _: (jnp.sin(x), None), x, length=5)[0],
        (V,),
        5,
        5 * 4 * 16,
    ),
    "a call: what it calls": (lambda x: jax.jit(jnp.sin)(jax.checkpoint(jnp.cos)(x)), (V,), 2, 2 * 4 * 16),
    "an unknown operation moves all the same": (
        lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
        (V,),
        1,
        4 * 16,
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_operations_and_bytes(name):
    f, arguments, operations, unfused_bytes = MOVES[name]
    cost = static_cost(f, *arguments)
    assert (cost.operations, cost.unfused_bytes) == (operations, unfused_bytes)


CAPTURED = jnp.arange(8.0)


@pytest.mark.parametrize(
    ("f", "arguments", "floats"),
    [
        (jnp.matmul, (A, B), 12 + 20 + 15),
        (lambda x: jnp.sin(jnp.cos(x)), (V,), 16),
        (lambda x, unused: x + 1, (V, A), 16),
        (lambda x: (x, x), (V,), 0),  # a result that is the argument does not move
        (lambda x: (x, x + 1), (V,), 16),
        (lambda x: (lambda y: (y, y))(x + 1), (V,), 16),  # one result, twice
        (lambda x: x + x * x, (V,), 16),  # read three times, moved once
        (lambda x: x + CAPTURED, (V,), 24),
        (lambda x: jax.jit(lambda x: x * CAPTURED)(x) + CAPTURED, (V,), 24),  # captured twice, one array
        (lambda x: lax.scan(lambda y, _: (y * CAPTURED, None), x, length=100)[0], (V,), 24),
        (lambda x: (CAPTURED @ x, jnp.sin(x))[1], (V,), 16),  # dead code reads nothing
        (lambda x, i: x[i], (V, jnp.zeros(3, jnp.int32)), 3 + 3 + 3),  # rows taken, not the table
        (lambda x, i: jax.jit(lambda x: x.reshape(2, 4)[i])(x), (V, jnp.int32(1)), 4 + 1 + 4),
        (lambda x: x[:2] + x[6:], (V,), 2 + 2 + 2),
        (lambda x: x[:6] + x[2:], (V,), 8 + 6),  # at most the whole
        (lambda x: lax.scan(lambda c, i: (c + x[i], None), 0.0, jnp.arange(3))[0], (V,), 3 + 1),
        (lambda i: CAPTURED[i], (jnp.zeros(3, jnp.int32),), 3 + 3 + 3),
        (lambda x: x[:2] * x.sum(), (V,), 8 + 2),
    ],
)
def test_least_bytes(f, arguments, floats):
    assert static_cost(f, *arguments).least_bytes == 4 * floats


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 4))
def test_what_must_move_is_no_more_than_what_moves_unfused(m, k, n, steps):
    """Every value read is read by some operation, every result written by one: no fusion moves more."""

    def f(x, w):
        y = lax.scan(lambda y, _: (jnp.tanh(y @ w.T @ w), None), x, length=steps)[0]
        return (y @ w.T).sum(0), y.max() + 1

    cost = static_cost(f, jax.ShapeDtypeStruct((m, k), F32), jax.ShapeDtypeStruct((n, k), F32))
    assert 0 < cost.least_bytes <= cost.unfused_bytes
    unfused, least = cost.intensity
    assert unfused is not None
    assert least is not None
    assert unfused <= least


def spin(n, x):
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, x))[1]


def test_a_tally_has_the_same_face():
    """n rounds: n + 1 tests of two int32 that write a boolean; an int32 sum and a tanh of 8 each round."""
    n = 5
    cost = jax.jit(count(spin))(n, V)[1]
    assert cost.by_kind == {("transcendental", "float32"): 8 * n} == dict.fromkeys([cost.parts[0][:2]], 40)
    assert cost.operations == (n + 1) + 2 * n
    assert cost.unfused_bytes == (n + 1) * (4 + 4 + 1) + n * (4 + 4 + 32 + 32)
    assert cost.least_bytes == 4 + 32 + 32
    assert cost.intensity == (cost.flop / cost.unfused_bytes, cost.flop / cost.least_bytes)


def test_lanes_pay_for_their_own_bytes_and_the_whole_for_all():
    lanes = lambda x: jax.vmap(count(spin), (None, 0))(3, x)  # noqa: E731
    (_, of_lanes), whole = jax.jit(count(lanes))(jnp.ones((2, 8)))
    one = count(spin)(3, V)[1].resolve()
    # Counters of lanes are results of the whole, 4 bytes for each of 2 counters and 2 lanes.
    assert [c.by_kind for c in of_lanes.lanes(2)] == [one.by_kind] * 2
    assert [c.least_bytes for c in of_lanes.lanes(2)] == [one.least_bytes] * 2
    assert whole.by_kind == {kind: 2 * flop for kind, flop in one.by_kind.items()}
    assert whole.least_bytes <= 2 * 2 * 32 + 2 * 2 * 4
