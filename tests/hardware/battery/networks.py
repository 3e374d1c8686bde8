"""Networks: layers, their gradients, a training step; attention in full and causal."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
import torch.nn.functional as F

from tests.hardware.battery.program import Program, both
from tests.hardware.battery.transformations import NEWER

B, I, H, O = 64, 4, 32, 3  # batch; inputs, hidden units (two layers), outputs  # noqa: E741
SIZES = (I, H, H, O)
S = {"B": B, "i": I, "h": H, "o": O}
FORWARD = "2*B*(i*h + h*h + h*o) + B*(2*h + o) + 2*B*h"  # products, biases, tanh
LOSS = "2*B*o + (B*o - 1)"  # difference, square, sum
# Back: 2 d g; products (the first layer has one only); sums over the batch for the biases; tanh, d each.
BACKWARD = "2*B*o + 2*B*(i*h + 2*h*h + 2*h*o) + (B - 1)*(2*h + o) + d*2*B*h"
D = {"d": 3 if NEWER else 4}


def jax_parameters() -> Any:
    return [(jnp.ones((m, n)), jnp.ones(n)) for m, n in itertools.pairwise(SIZES)]


def jax_network(p: Any, x: Any) -> Any:
    for i, (w, b) in enumerate(p):
        x = x @ w + b
        x = jnp.tanh(x) if i < len(p) - 1 else x
    return x


def jax_loss(p: Any, x: Any, y: Any) -> Any:
    return ((jax_network(p, x) - y) ** 2).sum()


def jax_data() -> tuple[Any, Any]:
    return jnp.ones((B, I)), jnp.ones((B, O))


def jax_step() -> Any:
    optimiser = optax.adam(1e-3)

    def step(p: Any, state: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(jax_loss)(p, x, y)
        updates, state = optimiser.update(gradient, state, p)
        return optax.apply_updates(p, updates), state, loss

    p = jax_parameters()
    return step, (p, optimiser.init(p), *jax_data())


def torch_network() -> Any:
    a, b, c = (torch.nn.Linear(m, n) for m, n in itertools.pairwise(SIZES))
    return torch.nn.Sequential(a, torch.nn.Tanh(), b, torch.nn.Tanh(), c)


def torch_data() -> tuple[Any, Any]:
    return torch.ones(B, I), torch.ones(B, O)


def torch_forward() -> Any:
    return torch.no_grad()(torch_network()), (torch.ones(B, I),)


def torch_gradient() -> Any:
    net = torch_network()
    return lambda x, y: ((net(x) - y) ** 2).sum().backward(), torch_data()


def torch_step() -> Any:
    net = torch_network()
    adam = torch.optim.Adam(net.parameters())

    def step(x: Any, y: Any) -> None:
        adam.zero_grad()
        ((net(x) - y) ** 2).sum().backward()
        adam.step()

    return step, torch_data()


def gru(x: Any, h: Any, w: Any, u: Any, b: Any, c: Any) -> Any:
    """Gates r, z, n side by side, as torch's cell has them."""
    of_x, of_h = jnp.split(x @ w + b, 3, 1), jnp.split(h @ u + c, 3, 1)
    r, z = jax.nn.sigmoid(of_x[0] + of_h[0]), jax.nn.sigmoid(of_x[1] + of_h[1])
    n = jnp.tanh(of_x[2] + r * of_h[2])
    return (h - n) * z + n


def jax_gru() -> Any:
    shapes = [(B, I), (B, H), (I, 3 * H), (H, 3 * H), (3 * H,), (3 * H,)]
    return gru, tuple(jnp.ones(s) for s in shapes)


def attention(xp: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    scores = (q @ k.swapaxes(-1, -2)) * 0.25
    if mask is not None:
        scores = xp.where(mask, scores, -1e9)
    return (jax.nn.softmax(scores) if xp is jnp else torch.softmax(scores, -1)) @ v


A = {"b": 2 * 4, "n": 32, "d": 16}  # two examples of four heads, positions, features of a head
QKV = ((2, 4, 32, 16),) * 3
ATTENTION = "2*2*b*n*n*d + b*n*n + 5*b*n*n - b*n"  # two products, scale, softmax


def convolutional(conv: Any, relu: Any, x: Any, k: Any, l: Any, w: Any) -> Any:  # noqa: E741
    """Two layers at stride 2 and a linear readout."""
    x = relu(conv(relu(conv(x, k)), l))
    return x.reshape(len(x), -1) @ w


def jax_convolutional() -> Any:
    def conv(x: Any, k: Any) -> Any:
        return jax.lax.conv(x, k, (2, 2), "VALID")

    shapes = [(8, 1, 15, 15), (4, 1, 3, 3), (6, 4, 3, 3), (54, 10)]
    return lambda *a: convolutional(conv, jax.nn.relu, *a), tuple(jnp.ones(s) for s in shapes)


def torch_convolutional() -> Any:
    shapes = [(8, 1, 15, 15), (4, 1, 3, 3), (6, 4, 3, 3), (54, 10)]
    conv = lambda x, k: F.conv2d(x, k, stride=2)  # noqa: E731
    return lambda *a: convolutional(conv, torch.relu, *a), tuple(torch.ones(s) for s in shapes)


PROGRAMS = [
    Program(
        "multilayer perceptron, forward",
        FORWARD,
        "2*B*h",
        S,
        jax=lambda: (jax_network, (jax_parameters(), jnp.ones((B, I)))),
        torch=torch_forward,
        least_bytes="4*(B*i + i*h + h + h*h + h + h*o + o + B*o)",
    ),
    Program(
        "multilayer perceptron, loss and gradients",
        f"{FORWARD} + {LOSS} + {BACKWARD}",
        "2*B*h",
        S | D,
        jax=lambda: (jax.value_and_grad(jax_loss), (jax_parameters(), *jax_data())),
        torch=torch_gradient,
        torch_formula=f"{FORWARD} + {LOSS} + {BACKWARD}".replace("d*", "4*"),
        twins=not NEWER,
        note="d: operations of tanh's derivative, 4 in JAX 0.10",
    ),
    Program(
        "multilayer perceptron, step of Adam",
        f"{FORWARD} + {LOSS} + {BACKWARD} + 15*p + 4",
        "2*B*h + 4*p + 2",
        S | D | {"p": I * H + H + H * H + H + H * O + O},
        jax=jax_step,
        torch=torch_step,
        torch_formula=f"{FORWARD} + {LOSS} + {BACKWARD}".replace("d*", "4*") + " + 13*p + 6",
        torch_of_which="2*B*h + 3*p",
        twins=not NEWER,
        note="Adam as optax and torch write it: see optimisers",
    ),
    Program(
        "GRU cell",
        "2*B*3*h*(i + h) + 6*B*h + 4*B*h + 3*B*h + 3*B*h",
        "3*B*h",
        S,
        jax=jax_gru,
        torch=lambda: (torch.nn.GRUCell(I, H), (torch.ones(B, I), torch.ones(B, H))),
        note="products, biases; two gates (sum, σ); r·, sum, tanh; (h - n) z + n",
    ),
    Program("attention", ATTENTION, "2*b*n*n", A, **both(attention, *QKV)),
    Program(
        "attention, causal by a mask",
        ATTENTION,
        "2*b*n*n",
        A,
        **both(lambda xp, q, k, v, m: attention(xp, q, k, v, m == 1), *QKV, (32, 32)),
        note="all scores are computed, then half are thrown away",
    ),
    Program(
        "attention, fused kernel",
        ATTENTION,
        "2*b*n*n",
        A,
        jax=lambda: (
            lambda q, k, v: jax.nn.dot_product_attention(q, k, v),
            tuple(jnp.ones((2, 32, 4, 16)) for _ in range(3)),
        ),
        torch=lambda: (F.scaled_dot_product_attention, tuple(torch.ones(2, 4, 32, 16) for _ in range(3))),
        note="JAX has no kernel of its own on a CPU and writes it out",
    ),
    Program(
        "attention, causal in a fused kernel",
        "2*2*s*d + 6*s - b*n",
        "2*s",
        A | {"s": 2 * 4 * 32 * 33 // 2},
        torch=lambda: (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            tuple(torch.ones(2, 4, 32, 16) for _ in range(3)),
        ),
        note="the s = b n (n + 1)/2 scores on and below the diagonal",
    ),
    Program(
        "convolutional network, forward",
        "2*8*4*(3*7)**2 + 8*4*7**2 + 2*8*6*4*(3*3)**2 + 8*6*3**2 + 2*8*54*10",
        jax=jax_convolutional,
        torch=torch_convolutional,
        note="8 images; 4 channels of 7², relu; 6 of 3², relu; 54 → 10",
    ),
]
