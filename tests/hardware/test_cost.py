"""Laws of costs and of the formulas behind them: sums are kept, nothing is negative, closed forms equal enumeration."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_jax import static_cost

KINDS = st.sampled_from(["elementwise", "matmul", "transcendental"])
PARTS = st.dictionaries(st.tuples(KINDS, st.sampled_from(["float32", "float64"])), st.integers(0, 50), max_size=5)


@given(PARTS, st.integers(1, 7))
def test_the_parts_of_a_share_sum_to_it(parts, n):
    whole = Cost()
    for (kind, dtype), flop in parts.items():
        whole += Cost(flop, flop * (kind == "transcendental")).of(kind, dtype)
    share = whole.share(n)
    assert (share.flop, share.transcendental) == (whole.flop // n, whole.transcendental // n)
    assert sum(share.by_kind.values()) == share.flop
    assert sum(flop for (kind, _), flop in share.by_kind.items() if kind == "transcendental") == share.transcendental
    assert all(abs(flop - whole.by_kind[key] / n) < 1 for key, flop in share.by_kind.items())


def pooled(x):
    return lax.reduce_window(x, 0.0, lax.add, (2, 3), (1, 2), [(1, 1), (2, 0)])


OF_MATRICES = {
    "general reduction": lambda x: lax.reduce(x, jnp.float32(0), lambda a, b: a + b * 2.0, (0,)),
    "sum": lambda x: x.sum(0),
    "mean": jnp.mean,
    "cumulative": lambda x: (jnp.cumsum(x, 0), lax.cumlogsumexp(x, 1)),
    "product": lambda x: x @ x.T,
    "windows": pooled,
    "general windows": lambda x: lax.reduce_window(x, 0.0, lambda a, b: a + b * 2.0, (2, 2), (1, 1), "SAME"),
    "convolution": lambda x: lax.conv_general_dilated(x[None, None], jnp.ones((1, 1, 2, 3)), (1, 2), "SAME"),
    "scatter": lambda x: x.at[:, 1:].add(1.0),
    "transcendental": lambda x: jnp.exp(x) / 3 + x**-3,
    "qr": jnp.linalg.qr,
    "svd": jnp.linalg.svd,
    "lu": lambda x: lax.linalg.lu(x),
    "fft": lambda x: jnp.fft.fft(x, axis=0) if x.shape[0] else x,
    "scan": lambda x: lax.scan(lambda c, row: (c + row.sum(), jnp.sin(row)), 0.0, x),
}


@pytest.mark.parametrize("name", OF_MATRICES)
@settings(max_examples=12, deadline=None)
@given(shape=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_no_count_is_negative(name, shape):
    cost = static_cost(OF_MATRICES[name], jax.ShapeDtypeStruct(shape, jnp.float32))
    assert cost.flop >= cost.transcendental >= 0
    assert all(flop >= 0 for *_, flop in cost.parts)
    assert sum(cost.by_kind.values()) == cost.flop
    assert not cost.uncounted
    assert cost.operations >= 0
    assert 0 <= cost.least_bytes <= cost.unfused_bytes


@settings(max_examples=300, deadline=None)
@given(
    *(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)),
    *(st.integers(1, 6), st.integers(-3, 6), st.integers(1, 6), st.integers(1, 6)),
)
def test_valid_taps_are_those_that_enumeration_finds(size, out, kernel, stride, low, dilation, holes):
    extent = (size - 1) * holes + 1 if size else 0
    places = [o * stride + k * dilation - low for o in range(out) for k in range(kernel)]
    expected = sum(0 <= p < extent and p % holes == 0 for p in places)
    assert formulas.valid_taps(size, out, kernel, stride, low, dilation, holes) == expected


def test_long_axes_are_counted_at_once():
    """Gradients of a strided convolution over 2**20 values: 3 taps at 2**19 - 1 places, in each of both gradients."""

    def loss(x, k):
        return lax.conv_general_dilated(x, k, (2,), "VALID").sum()

    n = 2**20
    shapes = jax.ShapeDtypeStruct((1, 1, n), jnp.float32), jax.ShapeDtypeStruct((1, 1, 3), jnp.float32)
    start = time.perf_counter()
    cost = static_cost(jax.grad(loss, (0, 1)), *shapes)
    assert time.perf_counter() - start < 2  # seconds; enumerating took 3.7 s, the closed form takes 0.1 s
    assert cost.by_kind["convolution", "float32"] == 2 * (2 * 3 * (n // 2 - 1))
