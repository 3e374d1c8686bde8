"""Torch rules continued: products of matrices, dense and sparse, and convolutions."""

from __future__ import annotations

import math

import torch

from hardware import formulas
from hardware.cost import Cost
from hardware.flops_torch.rules import Call, elements, inexact, rule, scale, share


@rule("mm", "bmm", "mv", "matmul", "linear", "_sparse_mm")
def _product(call: Call) -> Cost:
    bias = call.size if call.name == "linear" and call.option("bias") is not None else 0
    return _multiplied(call, call[0], call[1], call[0].shape[-1]) + Cost(bias)


@rule("dot", "vdot", kind="matmul")
def _dot(call: Call) -> Cost:
    return Cost(formulas.product(call[0].numel()) * scale(call[0]))


@rule("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation", "_sparse_addmm")
def _add_product(call: Call) -> Cost:
    """beta·c + alpha·(a b): 2mnk, one addition for each result, one product for each factor that is not 1."""
    beta, alpha, left = call.option("beta", 1), call.option("alpha", 1), call[1]
    inner = left.shape[-1] * (left.shape[0] if call.name == "addbmm" else 1)
    extra = (beta != 0) + (beta not in (0, 1)) + (alpha != 1)
    each = 2 if left.is_complex() else int(inexact(left))
    return _multiplied(call, left, call[2], inner) + Cost(extra * call.size * each)


def _multiplied(call: Call, left: torch.Tensor, right: torch.Tensor, inner: int) -> Cost:
    """2mnk; of a sparse factor, a multiply-add for each value stored and each column (or row) of the other one.

    What two sparse factors cost depends on where their values are, and is not counted.
    """
    is_sparse = [t.layout not in (torch.strided, torch.jagged) for t in (left, right)]
    if all(is_sparse):
        return Cost(uncounted=frozenset({f"{call.name}[sparse, sparse]"}))
    if is_sparse[0]:
        flop = formulas.product(elements(left), 1 if right.ndim == 1 else right.shape[-1])
    elif is_sparse[1]:
        flop = formulas.product(elements(right), left.numel() // max(1, left.shape[-1]))
    else:
        flop = formulas.product(call.size, inner)
    return share("matmul", flop * scale(left))


@rule("_trilinear")
def _trilinear(call: Call) -> Cost:
    """The sum of x_i w_ij y_j that bilinear maps and their gradients are: one operand at a time."""
    sizes = torch.broadcast_shapes(
        *([n for n in _expanded(t, axes)] for t, axes in zip(call.args[:3], call.args[3:6], strict=True))
    )
    return share("matmul", formulas.product(math.prod(sizes))) + Cost(math.prod(sizes))


def _expanded(t: torch.Tensor, axes: list[int]) -> list[int]:
    shape = list(t.shape)
    for axis in axes:
        shape.insert(axis, 1)
    return shape


@rule("convolution", "_convolution")
def _convolution(call: Call) -> Cost:
    bias = call.size if call.option("bias") is not None else 0
    taps = _one_convolution(call, call.option("input"), call.option("weight"), call.out)
    return share("convolution", taps) + Cost(bias)


@rule("convolution_backward")
def _convolution_backward(call: Call) -> Cost:
    """Each gradient asked for costs what the forward pass did; that of the bias is a sum."""
    grad, (of_input, of_weight, of_bias) = call.option("grad_output"), call.option("output_mask")
    once = _one_convolution(call, call.option("input"), call.option("weight"), grad)
    bias = max(0, grad.numel() - grad.shape[1]) if of_bias else 0
    return share("convolution", once * (of_input + of_weight)) + Cost(bias)


def _one_convolution(call: Call, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> int:
    axes = weight.ndim - 2
    stride, padding, dilation = (
        list(option) * (axes if len(option) == 1 else 1)
        for option in (call.option("stride"), call.option("padding"), call.option("dilation"))
    )
    # A transposed convolution is the gradient of an ordinary one, from its output to its input.
    small, large = (x, out) if call.option("transposed") else (out, x)
    taps = [
        formulas.valid_taps(
            large.shape[2 + i], small.shape[2 + i], weight.shape[2 + i], stride[i], padding[i], dilation[i]
        )
        for i in range(axes)
    ]
    return formulas.convolution(x.shape[0], x.shape[1], out.shape[1], call.option("groups"), taps) * scale(x)
