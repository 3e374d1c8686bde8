"""The same program in JAX and torch costs the same, within 1%.

1% is what the comparison of frameworks needs. What remains comes from work that really differs, not from counting:
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
