"""The same program in JAX and torch costs the same, within 1%.

1% is what the comparison of frameworks needs. What remains comes from work that really differs, not from counting
(`DIFFERENCES` has the figures where it is more):
optax corrects Adam's bias element by element (15 operations a parameter, torch 13), and torch computes sums that JAX
leaves out as dead.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import optax
import pytest
import torch
import torch.nn.functional as F

from hardware.flops_jax import static_cost
from hardware.flops_torch import FlopCounter

BATCH, WIDTH = 64, 32
SIZES = (4, WIDTH, WIDTH, 3)


def jax_network(p, x):
    for i, (w, b) in enumerate(p):
        x = x @ w + b
        x = jnp.tanh(x) if i < len(p) - 1 else x
    return x


def jax_parameters():
    return [(jnp.ones((m, n)), jnp.ones(n)) for m, n in itertools.pairwise(SIZES)]


def torch_network():
    layers = [torch.nn.Linear(m, n) for m, n in itertools.pairwise(SIZES)]
    return torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])


def cost_in_torch(program):
    with FlopCounter() as counter:
        program()
    assert not counter.cost.uncounted
    return counter.cost


def assert_twins(in_jax, in_torch):
    assert not in_jax.uncounted
    assert in_torch.flop == pytest.approx(in_jax.flop, rel=0.01)


@pytest.mark.parametrize("variant", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_training_step(variant):
    optimiser = optax.adam(1e-3)

    def step(p, state, x, y):
        loss, g = jax.value_and_grad(lambda p: jnp.mean((jax_network(p, x) - y) ** 2))(p)
        updates, state = optimiser.update(g, state, p)
        return optax.apply_updates(p, updates), state, loss

    p, x, y = jax_parameters(), jnp.ones((BATCH, 4)), jnp.ones((BATCH, 3))
    in_jax = static_cost(step, p, optimiser.init(p), x, y)

    net, x, y = torch_network(), torch.ones(BATCH, 4), torch.ones(BATCH, 3)
    adam = torch.optim.Adam(net.parameters(), **variant)

    def torch_step():
        adam.zero_grad()
        F.mse_loss(net(x), y).backward()
        adam.step()

    assert_twins(in_jax, cost_in_torch(torch_step))


def rk4_steps(field, y, n=5, h=0.1):
    for _ in range(n):
        k1 = field(y)
        k2 = field(y + h / 2 * k1)
        k3 = field(y + h / 2 * k2)
        k4 = field(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def test_neural_ode_and_its_gradient():
    def loss(w):
        return rk4_steps(lambda y: jnp.tanh(y @ w), jnp.ones((BATCH, WIDTH))).sum()

    w = torch.ones(WIDTH, WIDTH, requires_grad=True)
    in_torch = cost_in_torch(lambda: rk4_steps(lambda y: torch.tanh(y @ w), torch.ones(BATCH, WIDTH)).sum().backward())
    assert_twins(static_cost(jax.value_and_grad(loss), jnp.ones((WIDTH, WIDTH))), in_torch)


def test_convolution_and_its_gradient():
    def loss(x, k):
        return jax.lax.conv(x, k, (2, 2), "SAME").sum()

    in_jax = static_cost(jax.value_and_grad(loss, argnums=(0, 1)), jnp.ones((8, 3, 15, 15)), jnp.ones((16, 3, 3, 3)))
    x, k = torch.ones(8, 3, 15, 15, requires_grad=True), torch.ones(16, 3, 3, 3, requires_grad=True)
    in_torch = cost_in_torch(lambda: F.conv2d(x, k, stride=2, padding=1).sum().backward())
    assert_twins(in_jax, in_torch)


ACTIVATIONS = {
    "tanh": (jnp.tanh, torch.tanh),
    "sigmoid": (jax.nn.sigmoid, torch.sigmoid),
    "relu": (jax.nn.relu, torch.relu),
    "silu": (jax.nn.silu, F.silu),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), F.gelu),
    "gelu, tanh": (jax.nn.gelu, lambda x: F.gelu(x, approximate="tanh")),
    "softplus": (jax.nn.softplus, F.softplus),
    "elu": (jax.nn.elu, F.elu),
    "leaky relu": (jax.nn.leaky_relu, F.leaky_relu),
    "softmax": (lambda x: jax.nn.softmax(x, axis=1), lambda x: x.softmax(1)),
    "log softmax": (lambda x: jax.nn.log_softmax(x, axis=1), lambda x: x.log_softmax(1)),
    "square": (jnp.square, torch.square),
    "sine": (jnp.sin, torch.sin),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_forward_and_backward(name):
    if name == "tanh" and "one_minus_square" in str(jax.make_jaxpr(jax.grad(jnp.tanh))(1.0)):
        pytest.skip("this JAX writes tanh's derivative in 3 operations; the torch rules follow jax 0.10, which has 4")
    in_jax, in_torch = ACTIVATIONS[name]
    x, g = torch.ones(50, 200, requires_grad=True), torch.ones(50, 200)
    counted = cost_in_torch(lambda: in_torch(x).backward(g))

    def both(x, g):
        value, pull_back = jax.vjp(in_jax, x)
        return value, pull_back(g)

    assert_twins(static_cost(both, jnp.ones((50, 200)), jnp.ones((50, 200))), counted)


def both(f, *shapes):
    """In JAX: the value of f and the gradients of its sum to all arguments."""
    arguments = [jnp.ones(shape) for shape in shapes]
    loss = jax.value_and_grad(lambda *x: f(*x).sum(), argnums=tuple(range(len(shapes))))
    return static_cost(loss, *arguments)


def both_in_torch(f, *shapes):
    return cost_in_torch(lambda: f(*(torch.ones(*shape, requires_grad=True) for shape in shapes)).sum().backward())


def attention_jax(q, k, v):
    return jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2) * 0.25, axis=-1) @ v


def attention_torch(q, k, v):
    return (q @ k.transpose(1, 2) * 0.25).softmax(-1) @ v


def layer_norm_jax(x, w, b):
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w + b


def gru_jax(x, h, wi, wh, bi, bh):
    ri, zi, ni = jnp.split(x @ wi.T + bi, 3, axis=1)
    rh, zh, nh = jnp.split(h @ wh.T + bh, 3, axis=1)
    r, z = jax.nn.sigmoid(ri + rh), jax.nn.sigmoid(zi + zh)
    n = jnp.tanh(ni + r * nh)
    return n + z * (h - n)


def gru_torch(x, h, wi, wh, bi, bh):
    (ri, zi, ni), (rh, zh, nh) = F.linear(x, wi, bi).chunk(3, 1), F.linear(h, wh, bh).chunk(3, 1)
    r, z = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
    n = torch.tanh(ni + r * nh)
    return n + z * (h - n)


def convolve_jax(x, k, b):
    return jax.lax.conv(x, k, (1, 1), "SAME") + b[:, None, None]


def conv_net_jax(x, k1, b1, k2, b2, w):
    x = jax.nn.relu(convolve_jax(x, k1, b1))
    x = jax.nn.relu(convolve_jax(x, k2, b2))
    return x.mean((2, 3)) @ w


def conv_net_torch(x, k1, b1, k2, b2, w):
    x = torch.relu(F.conv2d(x, k1, b1, padding=1))
    x = torch.relu(F.conv2d(x, k2, b2, padding=1))
    return x.mean((2, 3)) @ w


# name: (in JAX, in torch, shapes). Forward and backward.
WITH_GRADIENTS = {
    "attention": (attention_jax, attention_torch, [(4, 32, 16)] * 3),
    "layer norm": (layer_norm_jax, lambda x, w, b: F.layer_norm(x, w.shape, w, b), [(50, 64), (64,), (64,)]),
    "GRU cell": (gru_jax, gru_torch, [(16, 8), (16, 32), (96, 8), (96, 32), (96,), (96,)]),
    "convolutional net": (
        conv_net_jax,
        conv_net_torch,
        [(4, 3, 12, 12), (8, 3, 3, 3), (8,), (16, 8, 3, 3), (16,), (16, 10)],
    ),
    "einsum": (
        lambda a, b: jnp.einsum("bij,bjk->bik", a, b),
        lambda a, b: torch.einsum("bij,bjk->bik", a, b),
        [(4, 9, 16), (4, 16, 7)],
    ),
    "matrix-vector": (lambda a, v: a @ v, lambda a, v: a @ v, [(64, 64), (64,)]),
    "outer product": (jnp.outer, torch.outer, [(64,), (64,)]),
    "squared distances": (
        lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1),
        lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1),
        [(20, 16), (30, 16)],
    ),
    "cubes and roots": (
        lambda x: jnp.sqrt(x**3 + 1) / (1 + x),
        lambda x: torch.sqrt(x**3 + 1) / (1 + x),
        [(40, 50)],
    ),
    "log-sum-exp": (
        lambda x: jax.scipy.special.logsumexp(x, axis=1),
        lambda x: torch.logsumexp(x, 1),
        [(50, 64)],
    ),
    "cumulative sum": (lambda x: jnp.cumsum(x, 1), lambda x: torch.cumsum(x, 1), [(50, 64)]),
}
# Work that really differs, FLOP of JAX less those of torch, in the shape (m, n) of the first argument.
DIFFERENCES = {
    # JAX differentiates mean and variance term by term; torch has one formula for the whole gradient. JAX, forward: the
    # mean twice, difference and square, variance, 2 (x - mean) for later, difference, three of the affine map, and the
    # sum: 11 mn + 2m. Backward 9 mn for the map and its product with 1 / root, of which the gradients of weight and
    # bias are sums of m - 1 (-2n); 4 mn for the variance's, 2 mn where gradients meet, and 3m for those of the lines.
    # torch: 9 mn + 2m forward, mn - 1 for the sum, 13 mn backward.
    "layer norm": lambda m, n: (26 * m * n + 5 * m - 2 * n) - (23 * m * n + 2 * m - 1),
    # d(a/b)/db: -g a b^-2 in JAX, -g (a/b)/b in torch.
    "cubes and roots": lambda m, n: m * n,
    # torch computes the exponentials again in the backward pass: difference, exp and product; JAX keeps them, for a
    # product. JAX: maximum, difference, exp, sum, and the product: 5 mn - 2m; of a line the maximum's guard, absolute
    # value, log, sum of both, 1 / sum, its sign and choice, and the loss: 8m - 1. torch: 4 mn, m - 1, and 3 mn.
    "log-sum-exp": lambda m, n: (5 * m * n + 6 * m - 1) - (7 * m * n + m - 1),
}


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_forward_and_backward(name):
    in_jax, in_torch, shapes = WITH_GRADIENTS[name]
    a, b = both(in_jax, *shapes), both_in_torch(in_torch, *shapes)
    difference = DIFFERENCES[name](*shapes[0]) if name in DIFFERENCES else 0
    assert not a.uncounted
    assert b.flop == pytest.approx(a.flop - difference, rel=0.01)
    # The outer product in the gradient of a matrix-vector one is a product without a sum: a matmul in JAX's words only.
    if ("matmul", "float32") in a.by_kind and name != "matrix-vector":
        assert b.by_kind["matmul", "float32"] == a.by_kind["matmul", "float32"]


@pytest.mark.parametrize("shape", [(7, 5), (3, 40), (40, 3)])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_are_formulas(name, shape):
    """To the last operation, and in shapes where another term is the largest each time."""
    in_jax, in_torch, (_, *others) = WITH_GRADIENTS[name]
    shapes = [shape, *(shape[1:] for _ in others)]
    a, b = both(in_jax, *shapes), both_in_torch(in_torch, *shapes)
    assert a.flop - b.flop == DIFFERENCES[name](*shape)


N = 24
SPD_JAX, SPD_TORCH = jnp.eye(N) * 2.0, torch.eye(N) * 2.0
TALL_JAX, TALL_TORCH = jnp.ones((40, N)), torch.ones(40, N)
SIGNAL_JAX, SIGNAL_TORCH = jnp.ones((16, 64)), torch.ones(16, 64)

# name: (in JAX, in torch), forward alone.
FORWARD = {
    "cholesky": (
        lambda: jnp.linalg.cholesky(SPD_JAX, symmetrize_input=False),
        lambda: torch.linalg.cholesky(SPD_TORCH),
    ),
    "triangular solve": (
        lambda: jax.scipy.linalg.solve_triangular(SPD_JAX, TALL_JAX.T),
        lambda: torch.linalg.solve_triangular(SPD_TORCH, TALL_TORCH.T, upper=True),
    ),
    "solve": (lambda: jnp.linalg.solve(SPD_JAX, TALL_JAX.T), lambda: torch.linalg.solve(SPD_TORCH, TALL_TORCH.T)),
    "qr": (lambda: jnp.linalg.qr(TALL_JAX), lambda: torch.linalg.qr(TALL_TORCH)),
    "svd": (
        lambda: jnp.linalg.svd(TALL_JAX, full_matrices=False),
        lambda: torch.linalg.svd(TALL_TORCH, full_matrices=False),
    ),
    "eigh": (lambda: jnp.linalg.eigh(SPD_JAX, symmetrize_input=False), lambda: torch.linalg.eigh(SPD_TORCH)),
    "lu": (lambda: jax.lax.linalg.lu(SPD_JAX), lambda: torch.linalg.lu_factor(SPD_TORCH)),
    "matrix power": (
        lambda: jnp.linalg.matrix_power(SPD_JAX, 5),
        lambda: torch.linalg.matrix_power(SPD_TORCH, 5),
    ),
    "fft": (lambda: jnp.fft.fft(SIGNAL_JAX + 0j), lambda: torch.fft.fft(SIGNAL_TORCH + 0j)),
    "rfft": (lambda: jnp.fft.rfft(SIGNAL_JAX), lambda: torch.fft.rfft(SIGNAL_TORCH)),
    "irfft": (lambda: jnp.fft.irfft(SIGNAL_JAX + 0j), lambda: torch.fft.irfft(SIGNAL_TORCH + 0j)),
    "rfft2": (lambda: jnp.fft.rfft2(SIGNAL_JAX), lambda: torch.fft.rfft2(SIGNAL_TORCH)),
    "complex product": (lambda: (SPD_JAX + 0j) @ (SPD_JAX + 1j), lambda: (SPD_TORCH + 0j) @ (SPD_TORCH + 1j)),
    "sorting": (lambda: jnp.sort(SIGNAL_JAX), lambda: torch.sort(SIGNAL_TORCH)),
    "maximum and sum": (
        lambda: SIGNAL_JAX.max(1) + SIGNAL_JAX.sum(1),
        lambda: SIGNAL_TORCH.amax(1) + SIGNAL_TORCH.sum(1),
    ),
    "scatter-add": (
        lambda: jnp.zeros((8, 64)).at[jnp.arange(16) % 8].add(SIGNAL_JAX),
        lambda: torch.zeros(8, 64).index_add_(0, torch.arange(16) % 8, SIGNAL_TORCH),
    ),
    "average pooling": (
        lambda: jax.lax.reduce_window(SIGNAL_JAX, 0.0, jax.lax.add, (1, 4), (1, 4), "VALID") / 4,
        lambda: F.avg_pool1d(SIGNAL_TORCH[None], 4),
    ),
    "maximum pooling": (
        lambda: jax.lax.reduce_window(SIGNAL_JAX, -jnp.inf, jax.lax.max, (1, 4), (1, 4), "VALID"),
        lambda: F.max_pool1d(SIGNAL_TORCH[None], 4),
    ),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward(name):
    in_jax, in_torch = FORWARD[name]
    a, b = static_cost(in_jax), cost_in_torch(in_torch)
    assert not a.uncounted
    assert b.flop == pytest.approx(a.flop, rel=0.01, abs=2)  # 2: an arithmetic of scalars, as in the size of a window
    kinds_a, kinds_b = ({kind for kind, _ in c.by_kind if kind in ("matmul", "linalg", "fft")} for c in (a, b))
    assert kinds_a == kinds_b


def test_least_bytes_of_a_product_are_those_of_its_three_matrices():
    with FlopCounter() as counter:
        result = SPD_TORCH @ SPD_TORCH.T.contiguous().T * 1
    in_jax = static_cost(lambda a: a @ a.T * 1, SPD_JAX)
    del result
    assert counter.cost.least_bytes == in_jax.least_bytes == 2 * 4 * N * N
