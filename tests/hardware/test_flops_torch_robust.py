"""The torch counter at its edges: nothing it meets ends the program, and what it cannot price is named.

Empty arrays, sparse and nested tensors, infinite orders, indices that broadcast, and buffers filled part by part.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from hardware.cost import Cost
from hardware.flops_torch import FlopCounter
from hardware.flops_torch.rules import RULES

V, X = torch.linspace(0.1, 1.0, 16), torch.linspace(-1, 1, 64).reshape(8, 8)
Z = torch.complex(V, V)
INDICES = torch.arange(500) % 16
SPARSE = torch.eye(64).to_sparse()
DENSE = torch.ones(64, 64)


def cost(program):
    with FlopCounter() as counter:
        program()
    return counter.cost


# ---- the program goes on ----


@pytest.mark.filterwarnings("ignore")
def test_what_only_torchscript_knows_is_nothing():
    """torch ends the process, or raises, where it is asked for the parts of these."""
    masked = torch.masked.as_masked_tensor(X, X > 0)
    with FlopCounter() as counter:
        assert torch.ops.prim.layout.default(X) is not None
        total = masked.sum()
    assert total.get_data() == X[X > 0].sum()  # pyright: ignore
    assert counter.cost.flop


@pytest.mark.filterwarnings("ignore")
def test_a_program_may_be_exported_inside():
    with FlopCounter():
        exported = torch.export.export(torch.nn.Linear(8, 8), (X,))
    assert exported.module()(X).shape == (8, 8)


def broken(call):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "rule",
    [broken, lambda _: Cost(-1), lambda _: Cost(1, 2), lambda _: Cost(0.5), lambda _: 3],  # pyright: ignore
)
def test_a_rule_that_fails_is_named(monkeypatch, rule):
    """An exception, a negative number, more transcendental operations than operations, half of one, no cost at all."""
    monkeypatch.setitem(RULES, "tanh", rule)
    counted = cost(lambda: (X @ X).tanh())
    assert (counted.flop, counted.uncounted, counted.operations) == (2 * 8**3, {"tanh"}, 2)
    assert counted.unfused_bytes == 4 * 64 * 5


def test_bytes_that_fail_are_named(monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("hardware.flops_torch.unfused", fail)
    counted = cost(lambda: X.double().tanh())
    assert (counted.flop, counted.uncounted) == (64, {"_to_copy", "tanh"})
    monkeypatch.undo()
    monkeypatch.setattr("hardware.flops_torch.Storages.write", fail)
    assert cost(lambda: X.tanh()).uncounted == {"tanh"}


@pytest.mark.filterwarnings("ignore")
def test_nested_tensors():
    """Those with strides hide their sizes, and are named; jagged ones are their values and offsets."""
    rows = [X, X[:3]]
    strided = torch.nested.nested_tensor(rows)
    assert cost(lambda: strided + 1).uncounted == {"add"}
    jagged = torch.nested.nested_tensor(rows, layout=torch.jagged)
    counted = cost(lambda: jagged + 1)
    assert (counted.flop, counted.uncounted) == (11 * 8, frozenset())
    assert counted.unfused_bytes == 2 * (4 * 11 * 8 + 8 * 3)
    assert counted.least_bytes == 4 * 11 * 8 + 2 * 8 * 3  # the offsets, which live on, pass for a result as well


def test_a_layout_without_known_bytes_is_named():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no other layout to try")
    opaque = X.to_mkldnn()
    assert cost(lambda: opaque.relu()).uncounted == {"relu"}


def test_sizes_that_stand_for_unknown_ones_are_no_numbers():
    with FakeTensorMode() as mode:
        x = mode.from_tensor(X)
        with FlopCounter() as counter:
            _ = x @ x
    assert counter.cost.flop == 2 * 8**3


def test_rules_that_compute_are_not_counted_by_counters_outside():
    mask = X > 0

    def program():
        torch.linalg.matrix_exp(X)
        X.clone().index_put_((mask,), torch.tensor(1.0), accumulate=True)

    with FlopCounter() as outer, FlopCounter() as inner:
        program()
    assert outer.cost == inner.cost == cost(program)


# ---- right numbers ----

SRC, TO = torch.ones(1000), torch.zeros(10, dtype=torch.long)

# name: (program, FLOP, of which transcendental)
BATTERY = {
    "two scalars to a power": (lambda: torch.ops.aten._foreach_pow.ScalarAndTensor(0.9, [V[0], V[1]]), 2, 2),
    "sparse matrix, vector: 2 for each value": (lambda: SPARSE @ DENSE[0], 128, 0),
    "compressed sparse matrix, vector": (lambda: SPARSE.to_sparse_csr() @ DENSE[0], 128, 0),
    "dense and sparse: 2 for each value and row": (lambda: DENSE[:5] @ SPARSE.to_sparse_csr(), 2 * 64 * 5, 0),
    "sparse matrix without values": (lambda: torch.zeros(8, 8).to_sparse() @ X, 0, 0),
    "scattering overwrites": (lambda: torch.zeros(5).scatter(0, TO, SRC), 0, 0),
    "scatter, adding": (lambda: torch.zeros(5).scatter(0, TO, SRC, reduce="add"), 10, 0),
    "scatter, multiplying by a number": (lambda: torch.ones(5).scatter_(0, TO, 2.0, reduce="multiply"), 10, 0),
    "scatter_add, from the corner of a larger source": (lambda: torch.zeros(5).scatter_add(0, TO, SRC), 10, 0),
    "scatter_reduce, mean: 5 divisions": (
        lambda: torch.ones(5).scatter_reduce(0, TO, SRC[:10], "mean"),
        10 + 5,
        5,
    ),
    "index_add with a factor": (
        lambda: V.index_add(0, INDICES, torch.ones(500), alpha=2),
        2 * 500,
        0,
    ),
    "index_put, one value everywhere": (
        lambda: V.clone().index_put_((INDICES,), torch.tensor(1.0), accumulate=True),
        500,
        0,
    ),
    "index_put, rows": (
        lambda: X.clone().index_put_((TO,), torch.ones(8), accumulate=True),
        10 * 8,
        0,
    ),
    "index_put, columns": (
        lambda: torch.ops.aten.index_put(X, [None, TO[:3]], torch.tensor(1.0), True),
        8 * 3,
        0,
    ),
    "index_put, indices that broadcast": (
        lambda: X.index_put((TO[:3, None], TO[:2]), torch.tensor(1.0), accumulate=True),
        6,
        0,
    ),
    "index_put, a mask": (lambda: X.index_put((X > 0,), torch.tensor(1.0), accumulate=True), 32, 0),
    "index_put, overwriting": (lambda: X.index_put((TO,), torch.tensor(1.0)), 0, 0),
    "complex scatter: 2 for each": (lambda: torch.zeros_like(Z).scatter_add(0, TO, Z[:10]), 20, 0),
    "complex square: one product": (lambda: Z**2, 6 * 16, 0),
    "complex inverse square: one product, one reciprocal": (lambda: Z**-2, 12 * 16, 2 * 16),
    "complex cumulative product": (lambda: Z.cumprod(0), 15 * 6, 0),
    "complex cumulative sum": (lambda: Z.cumsum(0), 15 * 2, 0),
    "integers summed as floats": (lambda: torch.arange(10).sum(dtype=torch.float32), 9, 0),
    "solve nothing": (lambda: torch.linalg.solve(torch.zeros(0, 0), torch.zeros(0, 2)), 0, 0),
    "softmax of nothing": (lambda: torch.zeros(0, 3).softmax(0), 0, 0),
    "distances without coordinates: the roots": (lambda: torch.cdist(torch.zeros(2, 0), torch.zeros(3, 0)), 6, 6),
    "means of nothing: the divisions": (lambda: torch.zeros(0, 3).mean(0), 3, 3),
}


@pytest.mark.filterwarnings("ignore:The reduce argument", "ignore:Sparse")
@pytest.mark.parametrize("name", BATTERY)
def test_battery(name):
    program, flop, transcendental = BATTERY[name]
    counted = cost(program)
    assert (counted.flop, counted.transcendental, counted.uncounted) == (flop, transcendental, frozenset())
    assert counted.least_bytes <= counted.unfused_bytes


@pytest.mark.filterwarnings("ignore:Sparse")
def test_two_sparse_factors_are_named():
    matrix = SPARSE.to_sparse_csr()
    assert cost(lambda: matrix @ matrix).is_lower_bound


def test_a_mask_is_counted_anew_each_time():
    """Its shape is no key to a price."""
    counted = []
    for limit in (0.0, 0.5, 2.0):
        mask = torch.gt(X, limit)
        counted.append(cost(lambda mask=mask: X.index_put((mask,), torch.tensor(1.0), accumulate=True)).flop)
    assert counted == [32, int((X > 0.5).sum()), 0]


def test_one_value_put_at_many_places_is_written_at_each():
    counted = cost(lambda: V.clone().index_put_((INDICES[:10],), torch.tensor(1.0)))
    assert counted.unfused_bytes == 2 * 4 * 16 + 4 + 4 * 10 + 8 * 10


ORDERS = st.sampled_from([1.5, 2.5, 0.3, 1.0, 2.0, 3.0, 0.0, float("inf"), float("-inf"), float("nan")])


@settings(max_examples=40, deadline=None)
@given(st.lists(ORDERS, min_size=2, max_size=4), st.integers(2, 40))
def test_prices_do_not_depend_on_what_was_priced_before(orders, n):
    """Of norms, whose price depends on the order alone: one pass for the power, none for 1 and ∞."""
    x = torch.ones(n)
    for order in orders:
        counted = cost(lambda order=order: torch.linalg.vector_norm(x, order))
        infinite = abs(order) == float("inf")
        expected = 0 if order in (0, 1) or infinite else 1 if order == 2 else n + 1
        assert counted.transcendental == expected


def test_distances_of_infinite_and_of_other_order_differ():
    a, b = torch.ones(5, 3), torch.ones(4, 3)
    for order, transcendental in ((float("inf"), 0), (1.5, 20 * 4), (float("inf"), 0)):
        assert cost(lambda order=order: torch.cdist(a, b, p=order)).transcendental == transcendental


# ---- least bytes of buffers ----


def filled(make):
    buffer = make(100, 16)
    for i in range(100):
        buffer[i] = V * 2
    return buffer


@pytest.mark.parametrize("make", [torch.empty, torch.zeros, X.new_empty, lambda *n: torch.empty_like(torch.ones(*n))])
def test_a_buffer_filled_by_slices_was_made_inside(make):
    assert cost(lambda: filled(make).sum()).least_bytes == 4 * 16
    with FlopCounter() as counter:
        kept = filled(make)
    del kept
    assert counter.cost.least_bytes == 4 * 16 + 4 * 1600


def test_a_buffer_filled_in_part_is_written_in_part():
    with FlopCounter() as counter:
        buffer = torch.empty(100, 16)
        buffer[3] = V
        assert counter.cost.least_bytes == 4 * 16 + 4 * 16
        torch.mul(V, 2, out=buffer[5])
        assert counter.cost.least_bytes == 4 * 16 + 4 * 32
        other = torch.empty(0)
        torch.mul(V, 2, out=other.resize_(16))
        assert counter.cost.least_bytes == 4 * 16 + 4 * 48
        buffer.fill_(1.0)
        assert counter.cost.least_bytes == 4 * 16 + 4 * (1600 + 16)


def test_solutions_of_an_ode_are_no_argument():
    from torchdiffeq import odeint

    times = torch.linspace(0, 1, 100)

    def program():
        with torch.no_grad():
            return odeint(lambda t, y: torch.tanh(y), V, times, method="euler").sum()  # pyright: ignore

    assert cost(program).least_bytes <= 2 * (V.nbytes + times.nbytes)


# ---- empty arrays ----

SIZE = st.integers(0, 3)
EMPTY = {
    "softmax": lambda x: x.softmax(-1),
    "softmax, first": lambda x: x.softmax(0),
    "log softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "mean": lambda x: x.mean(0),
    "mean of all": lambda x: x.mean(),
    "sum": lambda x: x.sum(-1),
    "prod": lambda x: x.prod(0),
    "var": lambda x: x.var(-1),
    "std": lambda x: x.std(),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "norm of all, order 3": lambda x: torch.linalg.vector_norm(x, 3),
    "cumsum": lambda x: x.cumsum(0),
    "logcumsumexp": lambda x: x.logcumsumexp(-1),
    "distances": lambda x: torch.cdist(x, x),
    "distances, order 1": lambda x: torch.cdist(x, x, p=1.0),
    "distances by products": lambda x: torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist"),
    "difference": lambda x: torch.dist(x, x),
    "renorm": lambda x: x.renorm(2, 0, 1.0),
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "RMS norm": lambda x: F.rms_norm(x, x.shape[-1:]),
    "group norm": lambda x: F.group_norm(x.flatten(1)[..., None].expand(-1, -1, 2), 1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "loss": lambda x: F.mse_loss(x, x),
    "smooth loss": lambda x: F.smooth_l1_loss(x, x),
    "cross entropy": lambda x: F.binary_cross_entropy_with_logits(x, x),
    "product": lambda x: x @ x.mT,
    "affine": lambda x: F.linear(x, torch.ones(2, x.shape[-1]), torch.ones(2)),
    "solve": lambda x: torch.linalg.solve(torch.eye(x.shape[-2]).expand(*x.shape[:-2], -1, -1), x),
    "qr": lambda x: torch.linalg.qr(x),
    "singular values": lambda x: torch.linalg.svd(x, full_matrices=False),
    "inverse": lambda x: torch.linalg.pinv(x),
    "least squares": lambda x: torch.linalg.lstsq(x, x),
    "Cholesky": lambda x: torch.linalg.cholesky(x @ x.mT + torch.eye(x.shape[-2])),
    "trace": lambda x: torch.trace(x.flatten(1)),
    "histogram": lambda x: torch.histc(x, 4),
    "index_put": lambda x: x.index_put((torch.arange(x.shape[0]),), torch.tensor(1.0), accumulate=True),
    "scatter_reduce": lambda x: x.scatter_reduce(0, torch.zeros_like(x, dtype=torch.long), x, "mean"),
}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(SIZE, min_size=2, max_size=3), backward=st.booleans())
@pytest.mark.parametrize("name", EMPTY)
def test_shapes_with_zeros(name, shape, backward):
    """Numbers that are no nonsense, of forward and backward passes. All of these take any shape."""
    program = EMPTY[name]

    def run():
        x = torch.ones(shape, requires_grad=backward)
        out = program(x)
        out = out[0] if isinstance(out, tuple) else out
        if out.requires_grad:
            out.abs().sum().backward()

    counted = cost(run)
    assert not counted.uncounted
    assert counted.flop >= counted.transcendental >= 0
    assert sum(flop for *_, flop in counted.parts) == counted.flop
    assert all(flop >= 0 for *_, flop in counted.parts)
    assert counted.unfused_bytes >= counted.least_bytes >= 0
