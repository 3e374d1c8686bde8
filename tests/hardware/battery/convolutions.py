"""Convolutions: 2 FLOP for each pair (output, kernel tap) that meets a real input value; padding costs nothing.

Along one axis a kernel of K taps at stride 1 with P = (K - 1)/2 values of padding on each side meets K L - P (P + 1)
real values: the outermost output misses P of them, the next P - 1, ….
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F

from tests.hardware.battery.program import Program

C = {"B": 2, "I": 6, "O": 4}


def convolution(x: tuple[int, ...], kernel: tuple[int, ...], **options: int) -> dict[str, Any]:
    """The same convolution in both frameworks; options: stride, padding, dilation, groups."""
    axes = len(x) - 2

    def in_jax(x: Any, k: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x, k,
            window_strides=[options.get("stride", 1)] * axes,
            padding=[(options.get("padding", 0), options.get("padding", 0))] * axes,
            rhs_dilation=[options.get("dilation", 1)] * axes,
            feature_group_count=options.get("groups", 1),
        )  # fmt: skip

    in_torch: Any = {1: F.conv1d, 2: F.conv2d}[axes]
    return {
        "jax": lambda: (in_jax, (jnp.ones(x), jnp.ones(kernel))),
        "torch": lambda: (lambda x, k: in_torch(x, k, **options), (torch.ones(x), torch.ones(kernel))),
    }


def value_and_gradients() -> dict[str, Any]:
    """Of the sum of all outputs, by input and kernel."""
    x, kernel = (2, 6, 15, 15), (4, 6, 3, 3)

    def in_torch(x: Any, k: Any) -> Any:
        return torch.autograd.grad(F.conv2d(x, k).sum(), (x, k))

    return {
        "jax": lambda: (
            jax.value_and_grad(lambda x, k: jax.lax.conv(x, k, (1, 1), "VALID").sum(), (0, 1)),
            (jnp.ones(x), jnp.ones(kernel)),
        ),
        "torch": lambda: (in_torch, (torch.ones(x, requires_grad=True), torch.ones(kernel, requires_grad=True))),
    }


PROGRAMS = [
    Program(
        "1-D",
        "2*B*O*I*K*(L - K + 1)",
        sizes=C | {"K": 5, "L": 20},
        **convolution((2, 6, 20), (4, 6, 5)),
        least_bytes="4*(B*I*L + O*I*K + B*O*(L - K + 1))",
        kinds={("convolution", "float32"): "2*B*O*I*K*(L - K + 1)"},
    ),
    Program(
        "1-D, padded",
        "2*B*O*I*(K*L - P*(P + 1))",
        sizes=C | {"K": 5, "L": 20, "P": 2},
        **convolution((2, 6, 20), (4, 6, 5), padding=2),
    ),
    Program(
        "1-D, dilated kernel",
        "2*B*O*I*K*(L - D*(K - 1))",
        sizes=C | {"K": 4, "L": 30, "D": 3},
        **convolution((2, 6, 30), (4, 6, 4), dilation=3),
    ),
    Program(
        "2-D", "2*B*O*I*(K*(L - K + 1))**2", sizes=C | {"K": 3, "L": 15}, **convolution((2, 6, 15, 15), (4, 6, 3, 3))
    ),
    Program(
        "2-D, padded",
        "2*B*O*I*(3*L - 2)**2",
        sizes=C | {"L": 15},
        **convolution((2, 6, 15, 15), (4, 6, 3, 3), padding=1),
    ),
    Program(
        "2-D, stride 2",
        "2*B*O*I*(K*(L - K + 2)/2)**2",
        sizes=C | {"K": 3, "L": 15},
        **convolution((2, 6, 15, 15), (4, 6, 3, 3), stride=2),
    ),
    Program(
        "2-D, stride 2, padded",
        "2*B*O*I*(3*Q - 2)**2",
        sizes=C | {"Q": 8},
        **convolution((2, 6, 15, 15), (4, 6, 3, 3), stride=2, padding=1),
        note="Q outputs along each axis; the first and the last miss one tap",
    ),
    Program(
        "2-D, two groups",
        "2*B*O*(I/2)*(K*(L - K + 1))**2",
        sizes=C | {"K": 3, "L": 15},
        **convolution((2, 6, 15, 15), (4, 3, 3, 3), groups=2),
    ),
    Program(
        "2-D, depthwise",
        "2*B*I*(K*(L - K + 1))**2",
        sizes={"B": 2, "I": 6, "K": 3, "L": 15},
        **convolution((2, 6, 15, 15), (6, 1, 3, 3), groups=6),
    ),
    Program(
        "2-D, transposed, stride 2",
        "2*B*I*O*(K*L)**2",
        sizes=C | {"K": 3, "L": 7},
        jax=lambda: (
            lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")),
            (jnp.ones((2, 6, 7, 7)), jnp.ones((4, 6, 3, 3))),
        ),
        torch=lambda: (
            lambda x, k: F.conv_transpose2d(x, k, stride=2),
            (torch.ones(2, 6, 7, 7), torch.ones(6, 4, 3, 3)),
        ),
        note="every input value meets every tap; the zeros put between the inputs cost nothing",
    ),
    Program(
        "2-D with bias",
        "2*B*O*I*(K*(L - K + 1))**2 + B*O*(L - K + 1)**2",
        sizes=C | {"K": 3, "L": 15},
        jax=lambda: (
            lambda x, k, b: jax.lax.conv(x, k, (1, 1), "VALID") + b[:, None, None],
            (jnp.ones((2, 6, 15, 15)), jnp.ones((4, 6, 3, 3)), jnp.ones(4)),
        ),
        torch=lambda: (F.conv2d, (torch.ones(2, 6, 15, 15), torch.ones(4, 6, 3, 3), torch.ones(4))),
    ),
    Program(
        "2-D, value and both gradients",
        "3*2*B*O*I*(K*(L - K + 1))**2 + B*O*(L - K + 1)**2 - 1",
        sizes=C | {"K": 3, "L": 15},
        **value_and_gradients(),
        note="each gradient pairs the same values as the forward pass; the loss is the sum of the outputs",
    ),
]
