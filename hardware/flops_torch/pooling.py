"""Torch rules continued: pooling, resampling and grids."""

from __future__ import annotations

import math

import torch

from hardware.cost import Cost
from hardware.flops_torch.rules import Call, elements, rule, tensors


def _window(call: Call) -> int:
    """Points of a pooling window; a single size stands for all its axes."""
    size, axes = call.option("kernel_size"), int(call.name.partition("pool")[2][0])
    return math.prod(size) if len(size) == axes else size[0] ** axes


@rule(
    "max_pool2d_with_indices", "max_pool3d_with_indices", "fractional_max_pool2d", "fractional_max_pool3d",
    "avg_pool2d", "avg_pool3d", kind="reduction")  # fmt: skip
def _pool(call: Call) -> Cost:
    """One operation for each point but the first; an average also divides. Padding counts as points."""
    points, size = _window(call), next(tensors(call.out)).numel()
    return Cost(size * (points - 1)) if "max" in call.name else Cost(size * points, size)


@rule("avg_pool2d_backward", "avg_pool3d_backward", kind="scatter")
def _avg_pool_backward(call: Call) -> Cost:
    """Each gradient is divided, and added to each point of its window."""
    size = call[0].numel()
    return Cost(size * (_window(call) + 1), size)


def _adaptive(large: torch.Tensor, small: torch.Tensor, axes: int) -> int:
    """Points of all windows together. Window i of n over m points goes from floor(i m / n) to ceil((i + 1) m / n)."""
    points = math.prod(small.shape[: small.ndim - axes])
    for m, n in zip(large.shape[-axes:], small.shape[-axes:], strict=True):
        points *= sum(-((-(i + 1) * m) // n) - i * m // n for i in range(n))
    return points


@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", kind="reduction")
def _adaptive_pool(call: Call) -> Cost:
    out = next(tensors(call.out))
    points, size = _adaptive(call[0], out, int(call.name[-2])), out.numel()
    return Cost(points - size) if "max" in call.name else Cost(points, size)


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", kind="scatter")
def _adaptive_avg_pool_backward(call: Call) -> Cost:
    axes = int(call.name.partition("pool")[2][0])
    return Cost(_adaptive(call[1], call[0], axes) + call[0].numel(), call[0].numel())


@rule(
    "max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward",
    "_upsample_nearest_exact1d_backward", "_upsample_nearest_exact2d_backward", "_upsample_nearest_exact3d_backward",
    kind="scatter",
)  # fmt: skip
def _added_back(call: Call) -> Cost:
    return Cost(elements(call[0]))


TAPS = {"linear1d": (2, 1), "bilinear2d": (2, 2), "trilinear3d": (2, 3), "bicubic2d": (4, 2)}


@rule(*(f"upsample_{mode}{backward}" for mode in TAPS for backward in ("", "_backward")))
def _upsample(call: Call) -> Cost:
    """k taps along each axis in turn: 2k - 1 for each of k^(d-1) + … + 1 sums. The gradient is the transposed map."""
    k, axes = TAPS[call.name.removeprefix("upsample_").removesuffix("_backward")]
    sums = sum(k**i for i in range(axes))
    return Cost((2 * k - 1) * sums * (call[0].numel() if call.name.endswith("backward") else call.size))


@rule(*(f"_upsample_{mode}2d_aa{backward}" for mode in ("bilinear", "bicubic") for backward in ("", "_backward")))
def _upsample_antialiased(call: Call) -> Cost:
    """A pass along each axis, with taps as wide as the shrinking."""
    is_backward = call.name.endswith("backward")
    small, large = (call[0], call.out) if is_backward else (call.out, call[0])
    support = 4 if "bicubic" in call.name else 2
    (height, width), (rows, columns) = large.shape[-2:], small.shape[-2:]
    lines = math.prod(small.shape[:-2])
    across, down = (round(support * max(1.0, m / n)) for m, n in ((width, columns), (height, rows)))
    return Cost(lines * ((2 * across - 1) * height * columns + (2 * down - 1) * rows * columns))


@rule("grid_sampler_2d", "grid_sampler_3d", "grid_sampler_2d_backward", "grid_sampler_3d_backward")
def _grid_sampler(call: Call) -> Cost:
    """Linear interpolation: 4 operations a coordinate and d a weight at each point, 2 a tap and channel; nearest: none.

    Backward: the taps' gradients (2 each), and those of the coordinates (3 a tap and axis).
    """
    is_backward = call.name.endswith("backward")
    axes = int(call.name[13])
    values, grid = (call[0] if is_backward else call.out), call.option("grid")
    taps, points = 2**axes, grid.numel() // axes
    if call.option("interpolation_mode") == 1:
        return Cost(values.numel() if is_backward else 0)
    weights = points * (4 * axes + axes * taps)
    of_values = values.numel() * (2 * taps + 3 * axes * taps if is_backward else 2 * taps - 1)
    return Cost(weights + of_values)


@rule("affine_grid_generator", "affine_grid_generator_backward")
def _affine_grid(call: Call) -> Cost:
    axes = call[0].shape[-2] if not call.name.endswith("backward") else call[0].shape[-1]
    size = call.size if not call.name.endswith("backward") else call[0].numel()
    return Cost(2 * (axes + 1) * size)
