"""Element-wise arithmetic: one for each element of the result; integers, comparisons and choices are free."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import torch

from tests.hardware.battery.program import Program, both

M, N = 60, 80
S, V = {"m": M, "n": N}, {"n": N}

PROGRAMS = [
    Program("x + y", "m*n", sizes=S, **both(lambda xp, x, y: x + y, (M, N), (M, N)), least_bytes="4*3*m*n"),
    Program(
        "column + row, broadcast",
        "m*n",
        sizes=S,
        **both(lambda xp, x, y: x + y, (M, 1), (N,)),
        least_bytes="4*(m + n + m*n)",
        kinds={("elementwise", "float32"): "m*n"},
    ),
    Program("3 x + y", "2*n", sizes=V, **both(lambda xp, x, y: 3.0 * x + y, (N,), (N,)), least_bytes="4*3*n"),
    Program(
        "cubic by Horner's scheme",
        "6*n",
        sizes=V,
        **both(lambda xp, x: ((2.0 * x + 3.0) * x + 4.0) * x + 5.0, (N,)),
        least_bytes="4*2*n",
    ),
    Program(
        "x⁵ + x⁻²",
        "3*n + 2*n + n",
        "n",
        V,
        **both(lambda xp, x: x**5 + x**-2, (N,)),
        note="x⁵ is two squares and a product; x⁻² a square and a division",
    ),
    Program("x to the power 1.7", "n", "n", V, **both(lambda xp, x: x**1.7, (N,))),
    Program("integers: i j + i", "0", sizes=V, **both(lambda xp, i, j: i * j + i, ((N,), "int32"), ((N,), "int32"))),
    Program(
        "larger of two by comparison",
        "0",
        sizes=V,
        **both(lambda xp, x, y: xp.where(x > y, x, y), (N,), (N,)),
        least_bytes="4*3*n",
    ),
    Program(
        "exp(sin x) + √|x|",
        "5*n",
        "3*n",
        V,
        **both(lambda xp, x: xp.exp(xp.sin(x)) + xp.sqrt(xp.abs(x)), (N,)),
        kinds={("elementwise", "float32"): "2*n", ("transcendental", "float32"): "3*n"},
    ),
    Program("x / y", "n", "n", V, **both(lambda xp, x, y: x / y, (N,), (N,)), least_bytes="4*3*n"),
    Program(
        "1 / x",
        "n",
        "n",
        V,
        **both(lambda xp, x: 1.0 / x, (N,)),
        torch_formula="2*n",
        twins=False,
        note="torch takes the reciprocal, then multiplies it by 1",
    ),
    Program("arc tangent of y / x", "n", "n", V, **both(lambda xp, x, y: xp.arctan2(y, x), (N,), (N,))),
    Program(
        "clamp to [0, 1]",
        "2*n",
        sizes=V,
        note="a maximum and a minimum",
        jax=lambda: (lambda x: jax.lax.clamp(0.0, x, 1.0), (jnp.ones(N),)),
        torch=lambda: (lambda x: torch.clamp(x, 0.0, 1.0), (torch.ones(N),)),
    ),
    Program(
        "relu",
        "n",
        sizes=V,
        jax=lambda: (jax.nn.relu, (jnp.ones(N),)),
        torch=lambda: (torch.relu, (torch.ones(N),)),
    ),
    Program(
        "silu: x σ(x)",
        "2*n",
        "n",
        V,
        jax=lambda: (jax.nn.silu, (jnp.ones(N),)),
        torch=lambda: (torch.nn.functional.silu, (torch.ones(N),)),
    ),
    Program(
        "gelu: x/2 · erfc(-x √½)",
        "5*n",
        "n",
        V,
        jax=lambda: (lambda x: jax.nn.gelu(x, approximate=False), (jnp.ones(N),)),
        torch=lambda: (torch.nn.functional.gelu, (torch.ones(N),)),
        note="negation, three products, erfc",
    ),
    Program(
        "complex z w + z",
        "6*n + 2*n",
        sizes=V,
        **both(lambda xp, z, w: z * w + z, ((N,), "complex64"), ((N,), "complex64")),
        least_bytes="8*3*n",
        kinds={("elementwise", "float32"): "8*n"},
        note="in real operations: 4 products and 2 sums, then 2 sums",
    ),
    Program(
        "complex magnitude |z|",
        "4*n",
        "n",
        V,
        **both(lambda xp, z: xp.abs(z), ((N,), "complex64")),
        note="2 squares, a sum, a root",
    ),
    Program(
        "bfloat16 x y",
        "n",
        sizes=V,
        **both(lambda xp, x, y: x * y, ((N,), "bfloat16"), ((N,), "bfloat16")),
        least_bytes="2*3*n",
        kinds={("elementwise", "bfloat16"): "n"},
    ),
    Program(
        "integer times float",
        "n",
        sizes=V,
        **both(lambda xp, i, x: i * x, ((N,), "int32"), (N,)),
        note="the conversion is free",
    ),
]
