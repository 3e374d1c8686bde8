"""torch counts against counts derived by hand. Equality is exact: both sides are integers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torchdiffeq import odeint, odeint_adjoint

from hardware.cost import Cost
from hardware.flops_torch import FlopCounter
from hardware.flops_torch import rules as flops_torch_rules

X, Y = torch.ones(3, 4), torch.ones(4, 5)
V = torch.linspace(0.1, 1.0, 8)
W = 0.1 * torch.ones(8, 8)
LINE, KERNEL = torch.ones(2, 3, 10), torch.ones(4, 3, 3)
B, I, H, O = 5, 4, 8, 2  # noqa: E741 (batch, inputs, hidden, outputs)
DATA = torch.ones(B, I)
EVAL = 2 * 64 + 8
# Gradient of the network with one tanh: x w1, h'g, g w2', x'd; the output too, since nothing is left out as dead.
FORWARD = 2 * B * (I * H + H * O) + B * (2 * H + O)
BACKWARD = 2 * B * (I * H + 2 * H * O) + 4 * B * H + (B - 1) * (H + O)


def net():
    return torch.nn.Sequential(torch.nn.Linear(I, H), torch.nn.Tanh(), torch.nn.Linear(H, O))


def field(y):
    return torch.tanh(W @ y)


def rk4(y, h=0.1):
    k1 = field(y)
    k2 = field(y + h / 2 * k1)
    k3 = field(y + h / 2 * k2)
    k4 = field(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def backward(f, *inputs):
    return lambda: f(*(x.clone().requires_grad_() for x in inputs)).sum().backward()


def in_place(x):
    return x.clone().add_(1).mul_(2).tanh_().addcdiv_(x, x, value=3)


def gradient_of_each(n):
    p = dict(n.named_parameters())
    return vmap(grad(lambda p, x: functional_call(n, p, (x,)).sum()), (None, 0))(p, DATA)


def inference():
    with torch.inference_mode():
        return net()(DATA), X @ Y


# name: (program, FLOPs, of which transcendental)
BATTERY = {
    "matrix product: 2mnk": (lambda: X @ Y, 120, 0),
    "matrix-vector": (lambda: W @ V, 128, 0),
    "dot": (lambda: V @ V, 16, 0),
    "outer product": (lambda: torch.outer(V, V), 64, 0),
    "batched product": (lambda: torch.ones(2, 3, 4) @ torch.ones(2, 4, 5), 240, 0),
    "einsum": (lambda: torch.einsum("bij,bjk->bik", torch.ones(2, 3, 4), torch.ones(2, 4, 5)), 240, 0),
    "affine map: 2mnk + mn": (lambda: torch.addmm(torch.ones(5), X, Y), 135, 0),
    "affine map with factors": (lambda: torch.addmm(torch.ones(3, 5), X, Y, beta=2, alpha=3), 120 + 45, 0),
    "batched affine map": (
        lambda: torch.baddbmm(torch.ones(2, 3, 5), torch.ones(2, 3, 4), torch.ones(2, 4, 5)),
        270,
        0,
    ),
    "complex product: 8mnk": (lambda: (X + 0j) @ (Y + 0j), 480 + 2 * (12 + 20), 0),
    "integer product is no FLOP": (lambda: X.int() @ Y.int(), 0, 0),
    "convolution, valid": (lambda: F.conv1d(LINE, KERNEL), 2 * (2 * 4 * 8) * 9, 0),
    "convolution, same": (lambda: F.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), padding=1), 200, 0),
    "convolution, strided and dilated": (
        lambda: F.conv1d(torch.ones(1, 1, 9), torch.ones(1, 1, 3), stride=2, dilation=2),
        18,
        0,
    ),
    "convolution, 3 groups": (lambda: F.conv1d(LINE, torch.ones(6, 1, 3), groups=3), 2 * (2 * 6 * 8) * 3, 0),
    "convolution, transposed: as its gradient": (
        lambda: F.conv_transpose1d(torch.ones(2, 4, 8), KERNEL),
        2 * (2 * 4 * 8) * 9,
        0,
    ),
    "convolution, forward and both gradients": (
        backward(lambda x, k: F.conv1d(x, k, stride=2), LINE, KERNEL),
        3 * 2 * (2 * 4 * 4) * 9 + 2 * 4 * 4 - 1,
        0,
    ),
    "element-wise": (lambda: V * V + V, 16, 0),
    "transcendental": (lambda: V.sin().exp() / V, 24, 24),
    "cube: 2 products": (lambda: V**3, 16, 0),
    "x**-2: product and division": (lambda: V**-2, 16, 8),
    "in place: 1, 1, 1 and x + value (y / z)": (lambda: in_place(V), 8 * (1 + 1 + 1 + 3), 16),
    "foreach": (lambda: torch.ops.aten._foreach_add.List([V, X], [V, X], alpha=2), 2 * 20, 0),
    "free": (lambda: torch.where(V > 0, V, 0).flip(0).int().double().sort().values.clone().view(2, 4).T, 0, 0),
    "random numbers are free": (lambda: torch.rand(10).normal_(), 0, 0),
    "sum over an axis": (lambda: X.sum(1), 9, 0),
    "mean: sum and division": (lambda: X.mean(), 12, 1),
    "cumulative sum": (lambda: X.cumsum(1), 9, 0),
    "scatter-add": (lambda: torch.zeros(3).index_add(0, torch.tensor([0, 0, 1, 2]), torch.ones(4)), 4, 0),
    "softmax": (lambda: X.softmax(1), 5 * 12 - 3, 24),
    "network forward": (lambda: net()(DATA), FORWARD, B * H),
    "network forward and backward": (lambda: net()(DATA).sum().backward(), FORWARD + BACKWARD + B * O - 1, B * H),
    "one layer norm": (lambda: F.layer_norm(X, (4,)), 7 * 12 + 2 * 3, 4 * 3),
    "Runge-Kutta step of a neural ODE": (lambda: rk4(V), 4 * EVAL + 3 * 16 + 7 * 8, 32),
    "100 steps": (lambda: [field(V) for _ in range(100)], 100 * EVAL, 800),
    # A product batched over rows, no bias sums, and the gradient of the sum over outputs is 1 for each row.
    "vmap(grad)": (
        lambda: gradient_of_each(net()),
        FORWARD + B * (O - 1) + 2 * B * (2 * H * O + I * H) + 4 * B * H,
        40,
    ),
    "inference mode": (inference, FORWARD + 120, B * H),
    "cholesky: n³/3": (lambda: torch.linalg.cholesky(torch.eye(6)), 72, 0),
    "solve: LU and two triangular": (lambda: torch.linalg.solve(torch.eye(6), torch.ones(6)), 144 + 72, 0),
    "qr with Q": (lambda: torch.linalg.qr(torch.ones(9, 3)), 2 * (2 * 81 - 18), 0),
    "inverse from a Cholesky factor: 2n³/3": (lambda: torch.cholesky_inverse(torch.eye(6)), 144, 0),
    "matrix power 5: three products": (lambda: torch.linalg.matrix_power(torch.eye(6), 5), 3 * 432, 0),
    "pinv: svd, k reciprocals, two products": (
        lambda: torch.linalg.pinv(torch.ones(6, 3)),
        14 * 54 + 8 * 27 + 3 * (3 + 1) + 2 * 6 * 3 * 3,
        3,
    ),
    "least squares: QR, reflectors, triangular": (
        lambda: torch.linalg.lstsq(torch.eye(9, 3), torch.ones(9, 2)),
        (2 * 81 - 18) + (4 * 9 * 2 * 3 - 2 * 2 * 9) + 9 * 2,
        0,
    ),
    "distances, directly: difference, square, sum, root": (
        lambda: torch.cdist(torch.ones(5, 3), torch.ones(4, 3)),
        20 * 9,
        20,
    ),
    "distances along the axes": (lambda: torch.cdist(torch.ones(5, 3), torch.ones(4, 3), p=1), 20 * 8, 0),
    "sparse product: 2 for each stored value and column": (
        lambda: torch.sparse.mm(torch.eye(6).to_sparse(), torch.ones(6, 4)),
        2 * 6 * 4,
        0,
    ),
    "bilinear form": (
        lambda: F.bilinear(torch.ones(3, 4), torch.ones(3, 5), torch.ones(2, 4, 5)),
        2 * (3 * 4 * 5) * 2 + 3 * 4 * 5 * 2,
        0,
    ),
    "linear interpolation: 3 an element": (
        lambda: F.interpolate(LINE, scale_factor=2, mode="linear"),
        3 * 2 * 3 * 20,
        0,
    ),
    "bilinear interpolation: 9 an element": (
        lambda: F.interpolate(torch.ones(1, 1, 4, 4), scale_factor=2, mode="bilinear"),
        9 * 64,
        0,
    ),
    "average pooling: sum and division": (lambda: F.avg_pool1d(LINE, 2), 2 * 3 * 5 * 2, 2 * 3 * 5),
    "adaptive pooling with windows of 4, 4 and 4 of 10": (
        lambda: F.adaptive_avg_pool1d(LINE, 3),
        2 * 3 * (4 + 4 + 4),
        2 * 3 * 3,
    ),
    "variance: mean, difference, square, mean": (lambda: X.var(), 4 * 12, 2),
    "Euclidean norm: squares, sum, root": (lambda: torch.linalg.vector_norm(X), 12 + 11 + 1, 1),
    "cross product: 3 an element": (lambda: torch.linalg.cross(torch.ones(5, 3), torch.ones(5, 3)), 45, 0),
    "batch norm, evaluating": (
        lambda: torch.nn.BatchNorm1d(3).eval()(LINE),
        4 * 60 + 3 * 3,
        2 * 3,
    ),
    "embedding bags": (
        lambda: F.embedding_bag(torch.arange(6).reshape(2, 3), torch.ones(6, 4), mode="sum"),
        (6 - 2) * 4,
        0,
    ),
    "eigh": (lambda: torch.linalg.eigh(torch.eye(5)), 9 * 125, 0),
    "svd, thin": (lambda: torch.linalg.svd(torch.ones(6, 3), full_matrices=False), 14 * 54 + 8 * 27, 0),
    "fft: 5 n log2 n": (lambda: torch.fft.fft(torch.ones(8, dtype=torch.complex64)), 120, 0),
    "fft, one side real": (lambda: torch.fft.irfft(torch.fft.rfft(torch.ones(4, 8))), 2 * 240, 0),
}


@pytest.mark.parametrize("name", BATTERY)
def test_battery(name):
    program, flop, transcendental = BATTERY[name]
    with FlopCounter() as counter:
        program()
    cost = counter.cost
    assert (cost.flop, cost.transcendental, cost.uncounted) == (flop, transcendental, frozenset())
    assert sum(cost.by_kind.values()) == flop
    assert cost.least_bytes <= cost.unfused_bytes


def test_the_battery_of_torch_is_long_enough():
    assert len(BATTERY) >= 60


@torch.library.custom_op("hardware_tests::sin", mutates_args=())
def foreign_sin(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) @ x


def test_uncounted_operations_are_named():
    """An operation of somebody else's is not taken for torch's own of the same name, and makes a lower bound."""
    with FlopCounter() as counter:
        foreign_sin(X[:, :3] @ X[:, :3])
    assert counter.cost.uncounted == {"hardware_tests::sin"}
    assert counter.cost.is_lower_bound
    assert counter.cost.flop == 54


def test_a_rule_may_be_added(monkeypatch):
    monkeypatch.setitem(flops_torch_rules.RULES, "hardware_tests::sin", lambda call: Cost(7 * call.size, call.size))
    with FlopCounter() as counter:
        foreign_sin(X[:, :3])
    assert (counter.cost.flop, counter.cost.transcendental, counter.cost.uncounted) == (63, 9, frozenset())


def test_counters_nest_and_are_cumulative():
    with FlopCounter() as outer:
        _ = V + V
        with FlopCounter() as inner:
            _ = V * V
        middle = outer.cost.flop
        _ = V + V
    assert (inner.cost.flop, middle, outer.cost.flop) == (8, 16, 24)
    _ = V + V
    assert outer.cost.flop == 24


@pytest.mark.parametrize("variant", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_adam(variant):
    """m 3, v 4, root, division, addition 3, update 3; the unfused one corrects its bias in scalars of Python."""
    p = torch.ones(1000, requires_grad=True)
    p.grad = torch.ones(1000)
    optimiser = torch.optim.Adam([p], **variant)
    with FlopCounter() as counter:
        optimiser.step()
    step_count = 1  # the tensor that holds the number of the step
    assert (counter.cost.flop, counter.cost.transcendental) == (13 * 1000 + step_count, 3 * 1000)


class Field(torch.nn.Module):
    """One tanh of one component each time it is called."""

    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return -self.rate * torch.tanh(y)


@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_odeint_costs_its_evaluations(solve, method, monkeypatch):
    """The price of a tanh, far above all others, tells how often the field was evaluated, backward pass included."""
    mark = 10**12
    monkeypatch.setitem(flops_torch_rules.RULES, "tanh", lambda call: Cost(mark * call.size))
    field = Field()
    with FlopCounter() as counter:
        solution = solve(field, torch.ones(1), torch.linspace(0, 1, 3), method=method)
        forward = field.calls
        assert counter.cost.flop // mark == forward > 0
        solution[-1].sum().backward()
    assert counter.cost.flop // mark == field.calls
    assert (field.calls > forward) == (solve is odeint_adjoint)
    assert not counter.cost.uncounted
