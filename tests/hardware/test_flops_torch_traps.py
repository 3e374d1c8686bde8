"""The traps of counting in torch: each shows torch's own counter wrong, and this one right, on the same program.

A trap that torch mends in a later release fails here, which is the time to drop it.
"""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch.func import jacrev, vmap
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torchdiffeq import odeint, odeint_adjoint

from hardware.flops_torch import FlopCounter

A, V = torch.linspace(-1, 1, 64).reshape(8, 8), torch.linspace(-1, 1, 8)


def ours(program):
    with FlopCounter() as counter:
        program()
    assert not counter.cost.uncounted
    return counter.cost.flop


def theirs(program):
    with FlopCounterMode(display=False) as counter:
        program()
    return counter.get_total_flops()


def adam():
    p = torch.ones(100, requires_grad=True)
    p.grad = torch.ones(100)
    return torch.optim.Adam([p], fused=True).step


SILENT = {
    "matrix-vector product": (lambda: A @ V, 128),
    "dot product": (lambda: V @ V, 16),
    "outer product": (lambda: torch.outer(V, V), 64),
    "element-wise": (lambda: V * V + V, 16),
    "sum": (lambda: A.sum(), 63),
    "step of Adam": (adam(), 1300 + 1),
    "FFT": (lambda: torch.fft.rfft(V), 60),
    "solve": (lambda: torch.linalg.solve(torch.eye(6), torch.ones(6)), 144 + 72),
    # With vectors: under any dispatch mode torch computes them for singular values alone, too.
    "singular values": (lambda: torch.linalg.svdvals(torch.eye(6)), 14 * 216 + 8 * 216),
    "QR": (lambda: torch.linalg.qr(torch.eye(6)), 2 * 288),
    "exponential of a matrix of norm 1, degree 12": (lambda: torch.linalg.matrix_exp(torch.eye(6)), 4 * 432),
    "sparse product": (lambda: torch.sparse.mm(torch.eye(6).to_sparse(), torch.ones(6, 4)), 48),
    "distances": (lambda: torch.cdist(torch.ones(5, 3), torch.ones(4, 3)), 20 * 9),
}


@pytest.mark.parametrize("name", SILENT)
def test_silent_zero_operations(name):
    program, flop = SILENT[name]
    assert theirs(program) == 0
    assert ours(program) == flop


@pytest.mark.filterwarnings("ignore")
def test_silent_zero_of_fused_layers():
    """LSTM on a CPU, and the fast path of the transformer's encoder."""
    lstm, layer = torch.nn.LSTM(4, 8), torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x, y = torch.ones(5, 3, 4), torch.ones(3, 5, 8)

    def recurrent():
        with torch.no_grad():
            lstm(x)

    def fast():
        with torch.no_grad():
            layer(y)

    assert theirs(recurrent) == theirs(fast) == 0
    assert ours(recurrent) > 2 * 15 * 32 * (4 + 8)
    assert ours(fast) > 2 * 15 * 8 * (4 * 8 + 2 * 16)


def test_complex_products_are_four_real_ones():
    z = torch.complex(A, A)
    assert theirs(lambda: z @ z) == 2 * 8**3
    assert ours(lambda: z @ z) == 4 * 2 * 8**3


def test_causal_attention_computes_half_of_the_pairs():
    q = torch.ones(1, 1, 64, 16)

    def attention():
        F.scaled_dot_product_attention(q, q, q, is_causal=True)

    pairs, all_pairs = 64 * 65 // 2, 64 * 64
    # Its formula, used for the kernels of GPUs, does not ask for the mask; the kernel of CPUs it does not know.
    assert sdpa_flop_count(q.shape, q.shape, q.shape) == all_pairs * 2 * 2 * 16
    assert theirs(attention) == 0
    assert ours(attention) == pairs * (2 * 2 * 16 + 6) - 64


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.linear(y)


def solve_and_differentiate(solve):
    field = Field()
    solution = solve(field, torch.ones(4, 8), torch.linspace(0, 1, 3), method="rk4")
    solution[-1].sum().backward()
    return field.calls


def test_the_adjoint_evaluates_again():
    """The backward pass of the adjoint method integrates backwards: more evaluations, each with its gradient.

    Each evaluation is one product (512), and two more where it is differentiated.
    """
    with pytest.raises(Exception):  # noqa: B017 (its tracker of modules, against a gradient inside a gradient)
        theirs(lambda: solve_and_differentiate(odeint_adjoint))
    calls = []
    product = 2 * 4 * 8 * 8
    with FlopCounter() as counter:
        calls.append(solve_and_differentiate(odeint))
    direct = counter.cost.by_kind["matmul", "float32"]
    with FlopCounter() as counter:
        calls.append(solve_and_differentiate(odeint_adjoint))
    adjoint = counter.cost.by_kind["matmul", "float32"]
    forward = calls[0]
    # Nothing asks for the gradient to y of the first evaluation, of the constant initial state.
    assert direct == pytest.approx(3 * forward * product, abs=product)
    assert adjoint == (forward + 3 * (calls[1] - forward)) * product
    assert calls[1] >= 2 * forward


def test_a_jacobian_of_each():
    def program():
        field = Field()
        vmap(jacrev(lambda y: torch.tanh(field(0.0, y))))(torch.ones(4, 8))

    with pytest.raises(Exception):  # noqa: B017
        theirs(program)
    assert ours(program) > 2 * 4 * 8 * 8 * (1 + 8)  # a product forwards, and one for each of 8 rows


def test_work_in_another_thread():
    def program():
        thread = threading.Thread(target=lambda: A @ A)
        thread.start()
        thread.join()

    assert theirs(program) == 0
    assert ours(program) == 2 * 8**3


def test_a_multiply_add_is_two_operations():
    """Not one MAC: 2mnk, in products, convolutions and attention alike."""
    x, k = torch.ones(1, 3, 10), torch.ones(4, 3, 3)
    assert ours(lambda: A @ A) == 2 * 8**3
    assert ours(lambda: F.conv1d(x, k)) == 2 * (4 * 8) * 9


def test_padding_is_no_work():
    """torch's counter multiplies the zeros around an image as well."""
    x, k = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    assert theirs(lambda: F.conv2d(x, k, padding=1)) == 2 * 16 * 9
    assert ours(lambda: F.conv2d(x, k, padding=1)) == 2 * 10 * 10  # 2 + 3 + 3 + 2 taps along each axis


def test_adaptive_and_rejected_steps_are_executed():
    """What an adaptive solver evaluates, accepted or not, is counted; its number is known only afterwards."""
    field = Field()
    with torch.no_grad(), FlopCounter() as counter:
        odeint(field, torch.ones(4, 8), torch.linspace(0, 10, 2), rtol=1e-8, atol=1e-8)
    assert field.calls > 50
    # The solver itself multiplies small arrays too (its tableau), but never a (4, 8) by an (8, 8).
    assert counter.cost.by_kind["matmul", "float32"] >= field.calls * 2 * 4 * 8 * 8


def test_twice_the_width_is_four_times_the_work_only_in_products():
    """6ND does not hold: per parameter, an ODE model works as often as its solver calls it."""
    field = Field()
    once = ours(lambda: field(0.0, torch.ones(4, 8)))
    with torch.no_grad():
        solved = ours(lambda: odeint(field, torch.ones(4, 8), torch.linspace(0, 1, 6), method="rk4"))
    assert solved > 20 * once
