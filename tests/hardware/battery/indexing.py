"""Gather, scatter and sort: moving is free, one addition for each value put on top of another; and FFTs.

A complex FFT of n points is 5 n log₂ n (radix 2, Cooley and Tukey); one side real, half of that.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from tests.hardware.battery.program import Program, both

E, D, V, N = 90, 8, 30, 64  # edges (values), features, vertices, points of an FFT
S = {"e": E, "d": D}
INDEX = np.arange(E) * 7 % V


def jax_index() -> Any:
    return jnp.asarray(INDEX, jnp.int32)


def torch_index() -> Any:
    return torch.as_tensor(INDEX)


def embedding_gradient(table: Any, index: Any) -> Any:
    return torch.autograd.grad(torch.nn.functional.embedding(index, table).sum(), table)


INDEXING = [
    Program(
        "rows taken by index",
        "0",
        sizes=S,
        jax=lambda: (lambda x, i: x[i], (jnp.ones((V, D)), jax_index())),
        torch=lambda: (lambda x, i: x[i], (torch.ones(V, D), torch_index())),
    ),
    Program(
        "rows put by index",
        "0",
        sizes=S,
        jax=lambda: (lambda x, i, u: x.at[i].set(u), (jnp.ones((V, D)), jax_index(), jnp.ones((E, D)))),
        torch=lambda: (lambda x, i, u: x.index_put((i,), u), (torch.ones(V, D), torch_index(), torch.ones(E, D))),
    ),
    Program(
        "segment sum",
        "e*d",
        sizes=S,
        jax=lambda: (lambda u, i: jax.ops.segment_sum(u, i, V), (jnp.ones((E, D)), jax_index())),
        torch=lambda: (lambda u, i: torch.zeros(V, D).index_add(0, i, u), (torch.ones(E, D), torch_index())),
        kinds={("scatter", "float32"): "e*d"},
    ),
    Program(
        "segment maximum",
        "e",
        sizes=S,
        jax=lambda: (lambda x, i, u: x.at[i].max(u), (jnp.ones(V), jax_index(), jnp.ones(E))),
        torch=lambda: (
            lambda x, i, u: x.scatter_reduce(0, i, u, "amax"),
            (torch.ones(V), torch_index(), torch.ones(E)),
        ),
    ),
    Program(
        "messages along edges, summed at vertices",
        "2*e*d",
        sizes=S,
        jax=lambda: (
            lambda x, w, i: jax.ops.segment_sum(x[i] * w[:, None], (i + 1) % V, V),
            (jnp.ones((V, D)), jnp.ones(E), jax_index()),
        ),
        torch=lambda: (
            lambda x, w, i: torch.zeros(V, D).index_add(0, (i + 1) % V, x[i] * w[:, None]),
            (torch.ones(V, D), torch.ones(E), torch_index()),
        ),
        note="a product, and a sum at the receiving end",
    ),
    Program(
        "embedding, its sum, and the gradient",
        "(e*d - 1) + e*d",
        sizes=S,
        jax=lambda: (jax.value_and_grad(lambda x, i: x[i].sum()), (jnp.ones((V, D)), jax_index())),
        torch=lambda: (embedding_gradient, (torch.ones(V, D, requires_grad=True), torch_index())),
    ),
    Program("sort", "0", sizes={"e": E}, **both(lambda xp, x: xp.sort(x), (E,))),
    Program(
        "ten largest",
        "0",
        sizes={"e": E},
        jax=lambda: (lambda x: jax.lax.top_k(x, 10), (jnp.ones(E),)),
        torch=lambda: (lambda x: torch.topk(x, 10), (torch.ones(E),)),
    ),
    Program(
        "cumulative sum of sorted values",
        "e - 1",
        sizes={"e": E},
        jax=lambda: (lambda x: jnp.cumsum(jnp.sort(x)), (jnp.ones(E),)),
        torch=lambda: (lambda x: torch.cumsum(torch.sort(x).values, 0), (torch.ones(E),)),
    ),
]

FFT = [
    Program(
        "complex FFT",
        "b*5*n*log2(n)",
        sizes={"b": 3, "n": N},
        **both(lambda xp, z: xp.fft.fft(z), ((3, N), "complex64")),
        kinds={("fft", "float32"): "b*5*n*log2(n)"},
    ),
    Program("real FFT", "5*n*log2(n)/2", sizes={"n": N}, **both(lambda xp, x: xp.fft.rfft(x), (N,))),
    Program(
        "inverse real FFT",
        "5*n*log2(n)/2",
        sizes={"n": N},
        **both(lambda xp, z: xp.fft.irfft(z), ((N // 2 + 1,), "complex64")),
    ),
    Program(
        "2-D complex FFT",
        "5*m*n*(log2(m) + log2(n))",
        sizes={"m": 16, "n": 32},
        **both(lambda xp, z: xp.fft.fft2(z), ((16, 32), "complex64")),
    ),
    Program(
        "2-D real FFT",
        "5*m*n*(log2(m) + log2(n))/2",
        sizes={"m": 16, "n": 32},
        **both(lambda xp, x: xp.fft.rfft2(x), (16, 32)),
    ),
    Program(
        "spectral derivative",
        "2*(5*n*log2(n)/2) + 6*(n/2 + 1)",
        sizes={"n": N},
        **both(lambda xp, x, ik: xp.fft.irfft(ik * xp.fft.rfft(x)), (N,), ((N // 2 + 1,), "complex64")),
        note="there and back, and a complex product for each wave number",
    ),
    Program(
        "circular convolution by FFT",
        "3*(5*n*log2(n)/2) + 6*(n/2 + 1)",
        sizes={"n": N},
        **both(lambda xp, x, y: xp.fft.irfft(xp.fft.rfft(x) * xp.fft.rfft(y)), (N,), (N,)),
    ),
    Program(
        "power spectrum |X|²",
        "5*n*log2(n)/2 + 5*(n/2 + 1)",
        "n/2 + 1",
        {"n": N},
        **both(lambda xp, x: xp.abs(xp.fft.rfft(x)) ** 2, (N,)),
        note="magnitude 4, square 1",
    ),
]
