"""Programs on which a calibration is tested. Nothing of it is fitted to them, and nothing may be: keep them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Program = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and its arguments


def held_out(doubles: bool) -> dict[str, Program]:
    """Name -> (function, arguments), arguments drawn from a normal distribution; `doubles`: float64 ones too."""
    rng = np.random.default_rng(20)

    def draw(*shape: int, dtype: Any = np.float32, scale: float = 1.0) -> Any:
        return jax.device_put((scale * rng.standard_normal(shape)).astype(dtype))

    layers = [draw(24, 96, scale=0.2), draw(96, 96, scale=0.1), draw(96, 24, scale=0.1)]
    programs: dict[str, Program] = {
        "matmul 257×511×129": (jnp.matmul, (draw(257, 511), draw(511, 129))),
        "matmul 3000×40×56": (jnp.matmul, (draw(3000, 40), draw(40, 56))),
        "matmul 190³ float64": (jnp.matmul, (draw(190, 190, dtype=np.float64), draw(190, 190, dtype=np.float64))),
        "MLP training step": (_mlp_step, (layers, draw(80, 24), draw(80, 24))),
        "element-wise chain": (_chain, (draw(300_000), draw(300_000))),
        "mean and variance": (lambda x: (jnp.mean(x, 0), jnp.var(x, 0)), (draw(1200, 700),)),
        "log-sum-exp": (lambda x: jax.nn.logsumexp(x, axis=1), (draw(600, 500),)),
        "Runge–Kutta scan": (_runge_kutta, (draw(200, 3),)),
        "heat equation, float64": (_heat, (draw(4000, dtype=np.float64),)),
        "pairwise forces": (_flock, (draw(300, 2), draw(300, 2))),
        "attention": (_attention, (draw(4, 160, 48), draw(4, 160, 48), draw(4, 160, 48))),
        "recurrent scan": (_recurrent, (draw(64, 64, scale=0.1), draw(100, 32, 64))),
    }
    return {name: program for name, program in programs.items() if doubles or "float64" not in name}


def _mlp_step(layers: list[Any], x: Any, y: Any) -> list[Any]:
    def loss(layers: list[Any]) -> Any:
        hidden = x
        for w in layers[:-1]:
            hidden = jax.nn.silu(hidden @ w)
        return jnp.mean((hidden @ layers[-1] - y) ** 2)

    return [w - 0.01 * g for w, g in zip(layers, jax.grad(loss)(layers), strict=True)]


def _chain(x: Any, y: Any) -> Any:
    z = x * y + 0.3 * x - y
    z = jnp.where(z > 0, z, 0.1 * z) * (x - 0.5) + y * y
    return jnp.sqrt(z * z + 1.0) + x * z


def _lorenz(y: Any) -> Any:
    a, b, c = y[:, 0], y[:, 1], y[:, 2]
    return jnp.stack([10.0 * (b - a), a * (28.0 - c) - b, a * b - 2.667 * c], 1)


def _runge_kutta(y: Any) -> Any:
    def step(y: Any, _: Any) -> Any:
        h = 0.005
        k1 = _lorenz(y)
        k2 = _lorenz(y + h / 2 * k1)
        k3 = _lorenz(y + h / 2 * k2)
        k4 = _lorenz(y + h * k3)
        return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    return lax.scan(step, y, None, length=150)[0]


def _heat(u: Any) -> Any:
    def step(u: Any, _: Any) -> Any:
        return u + 0.2 * (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1)), None

    return lax.scan(step, u, None, length=200)[0]


def _flock(x: Any, v: Any) -> Any:
    """Cucker–Smale: every agent turns towards the others, the nearer the more."""
    apart = x[:, None] - x[None]
    weight = 1.0 / (1.0 + jnp.sum(apart**2, -1)) ** 0.4
    return jnp.mean(weight[..., None] * (v[None] - v[:, None]), 1)


def _attention(q: Any, k: Any, v: Any) -> Any:
    scores = jnp.einsum("bqd,bkd->bqk", q, k) / 7.0
    return jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(scores, axis=-1), v)


def _recurrent(w: Any, xs: Any) -> Any:
    return lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), xs[0], xs)[0]
