"""Kinds, precision, operations and bytes of torch programs, each against numbers derived by hand."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.flops_torch import FlopCounter

A, B = torch.ones(3, 4), torch.ones(4, 5)
V, BIAS = torch.linspace(0.1, 1.0, 8), torch.ones(5)
ROWS = torch.tensor([0, 2])


def cost(program):
    with FlopCounter() as counter:
        program()
    return counter.cost


# name: (program, FLOP by kind)
KINDS = {
    "product": (lambda: A @ B, {("matmul", "float32"): 120}),
    "affine map": (lambda: torch.addmm(BIAS, A, B), {("matmul", "float32"): 120, ("elementwise", "float32"): 15}),
    "half precision": (lambda: A.bfloat16() @ B.bfloat16(), {("matmul", "bfloat16"): 120}),
    "double precision": (lambda: V.double().sum(), {("reduction", "float64"): 7}),
    "complex numbers are pairs": (lambda: torch.complex(V, V) * 2j, {("elementwise", "float32"): 48}),
    "transcendental": (
        lambda: V.exp() * 2 + 1,
        {("transcendental", "float32"): 8, ("elementwise", "float32"): 16},
    ),
    "mean": (lambda: V.mean(), {("reduction", "float32"): 7, ("transcendental", "float32"): 1}),
    "convolution": (
        lambda: F.conv1d(torch.ones(2, 3, 10), torch.ones(4, 3, 3), torch.ones(4)),
        {("convolution", "float32"): 2 * (2 * 4 * 8) * 9, ("elementwise", "float32"): 2 * 4 * 8},
    ),
    "scatter": (lambda: torch.zeros(3, 4).index_add_(0, ROWS, A[:2]), {("scatter", "float32"): 8}),
    "linear algebra": (lambda: torch.linalg.cholesky(torch.eye(6)), {("linalg", "float32"): 72}),
    "fft": (lambda: torch.fft.rfft(V), {("fft", "float32"): 60}),
    "foreach": (lambda: torch.ops.aten._foreach_add.Scalar([V, A], 1.0), {("elementwise", "float32"): 20}),
    "integers do no floating-point work": (lambda: (V > 0).sum() + 1, {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    program, by_kind = KINDS[name]
    counted = cost(program)
    assert counted.by_kind == by_kind
    assert sum(by_kind.values()) == counted.flop


# name: (program, operations, bytes of operands and results)
UNFUSED = {
    "product: both factors and the result": (lambda: A @ B, 1, 4 * (12 + 20 + 15)),
    "element-wise": (lambda: V * V + 1, 2, 4 * (8 + 8 + 8) + 4 * (8 + 8)),
    "views are nothing": (lambda: A.T.reshape(12)[2:5].unsqueeze(0).expand(9, 3).detach().view(9, 3), 1, 4 * 24),
    "a copy is something": (lambda: A.clone(), 1, 4 * 24),
    "an expanded operand is as large as stored": (lambda: BIAS.expand(3, 5) + 1, 1, 4 * (5 + 15)),
    "a broadcast operand, too": (lambda: A + A[0], 1, 4 * (12 + 4 + 12)),
    "comparisons and integers": (lambda: V > 0, 1, 4 * 8 + 8),
    "in place: read and written": (lambda: V.add_(0), 1, 4 * 16),
    "overwritten without being read": (lambda: V.clone().copy_(V).fill_(2), 3, 4 * (16 + 16 + 8)),
    "made of nothing": (lambda: (torch.empty(9), torch.zeros(5), torch.rand(3)), 2, 4 * 8),
    "gather: what is taken, twice, and the indices": (lambda: A[ROWS], 1, 2 * 4 * 8 + 2 * 8),
    "embedding": (lambda: F.embedding(ROWS, A), 1, 2 * 4 * 8 + 2 * 8),
    "put in place: what is put, twice, and the indices": (
        lambda: A.index_add_(0, ROWS, A.new_empty(2, 4).zero_()),
        2,
        4 * 8 + 2 * 4 * 8 + 2 * 8,
    ),
    "put into a copy: the copy as well": (
        lambda: A.index_put((ROWS,), torch.tensor(0.0)),
        1,
        4 + 4 * 8 + 2 * 8 + 2 * 4 * 12,
    ),
    "results that are several": (lambda: V.aminmax(), 1, 4 * (8 + 2)),
    "foreach is one operation": (lambda: torch.ops.aten._foreach_mul_.Scalar([V, A], 1.0), 1, 4 * 2 * 20),
    "sparse: indices and values": (lambda: torch.mm(EYE, B), 1, 4 * (2 * 8 + 4) + 4 * 2 * 20),
}
EYE = torch.eye(4).to_sparse()


@pytest.mark.parametrize("name", UNFUSED)
def test_operations_and_unfused_bytes(name):
    program, operations, unfused_bytes = UNFUSED[name]
    counted = cost(program)
    assert (counted.operations, counted.unfused_bytes) == (operations, unfused_bytes)


def chain(x):
    for _ in range(5):
        x = torch.tanh(x) + 1
    return x


def keeping(program):
    """The cost of a program whose result is kept beyond the block."""
    with FlopCounter() as counter:
        result = program()
    del result
    return counter.cost


# name: (program, bytes that must move)
LEAST = {
    "read once, written once": (lambda: chain(V), 4 * 16),
    "read twice is read once": (lambda: V * V + V, 4 * 16),
    "two arguments": (lambda: A @ B, 4 * (12 + 20 + 15)),
    "a part of an argument": (lambda: A[0] * 2, 4 * 8),
    "two views of one part": (lambda: A[0] + A[0], 4 * 8),
    "different parts": (lambda: A[0] + A[1], 4 * 12),
    "parts that overlap are at most the whole": (lambda: (A[:2] * 1, A[1:] * 1), 4 * (12 + 16)),
    "a view is no copy": (lambda: A.T, 0),
    "gathered rows": (lambda: A[ROWS], 4 * (8 + 8) + 2 * 8),
    "in place: read and written": (lambda: V.mul_(1), 4 * 16),
    "overwritten, then read": (lambda: (V.copy_(V_TOO), V + 1), 4 * (8 + 8 + 8)),
    "one sum": (lambda: chain(V).sum(), 4 * (8 + 1)),
    "zeros": (lambda: torch.zeros(7), 4 * 7),
}
V_TOO = V.clone()


@pytest.mark.parametrize("name", LEAST)
def test_least_bytes(name):
    program, least_bytes = LEAST[name]
    assert keeping(program).least_bytes == least_bytes


def test_what_does_not_outlive_the_block_is_not_written():
    assert cost(lambda: chain(V)).least_bytes == 4 * 8


def test_a_training_step_reads_weights_and_data_and_writes_weights():
    """Weights, gradients and two moments are read and written once; nothing else lasts (steps are one number each)."""
    net = torch.nn.Linear(40, 30)
    optimiser = torch.optim.Adam(net.parameters(), fused=True)
    x, y = torch.ones(8, 40), torch.ones(8, 30)

    def step():
        optimiser.zero_grad(set_to_none=False)
        F.mse_loss(net(x), y).backward()
        optimiser.step()

    step()
    weights, data = 30 * 40 + 30, 8 * (40 + 30)
    counted = cost(step)
    assert 4 * (6 * weights + data) <= counted.least_bytes <= 4 * (8 * weights + data) + 8 * 4
    assert counted.least_bytes < counted.unfused_bytes


def test_blocks_add_up():
    counter = FlopCounter()
    for _ in range(2):
        with counter:
            chain(V)
    assert counter.cost.least_bytes == 2 * 4 * 8


def test_inside_a_block_the_cost_is_as_if_it_ended_there():
    with FlopCounter() as counter:
        x = V + 1
        assert counter.cost.least_bytes == 4 * 16
        del x
        assert counter.cost.least_bytes == 4 * 8


def test_no_tensor_is_kept_alive():
    """A temporary's memory is free as soon as the program lets go of it, and references do not pile up."""
    with FlopCounter() as counter:
        x = torch.ones(1000)
        for _ in range(10000):
            x = x + 1
            storage = weakref.ref(x.untyped_storage())
        del x
        assert storage() is None
        assert len(counter._storages.made) <= 4096
    assert not counter._storages.made


def test_freed_memory_is_used_again():
    """Resident memory grows by few arrays, not by all that were ever made (200 of 4 MiB)."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    with FlopCounter():
        x = torch.zeros(2**20)
        before = resident()
        for _ in range(200):
            x = x + 1
        assert resident() - before < 20 * 2**22


SMALL = st.integers(1, 6)


@settings(max_examples=30, deadline=None)
@given(SMALL, SMALL, SMALL, st.integers(0, 4), st.booleans())
def test_the_least_is_never_more_than_the_most(m, n, k, steps, backward):
    """And parts sum to the whole, for any of these programs."""
    x, w = torch.ones(m, n, requires_grad=backward), torch.ones(n, k)

    def program():
        y = (x @ w).T[:1]
        for _ in range(steps):
            y = y.sin() * y.sum(1, keepdim=True)
            y[0].detach().mul_(2)
        z = torch.cat([y, y]).cumsum(0).mean()
        if backward:
            z.backward()
        return z

    counted = keeping(program)
    assert 0 < counted.least_bytes <= counted.unfused_bytes
    assert sum(counted.by_kind.values()) == counted.flop
