"""Networks whose field has a told form: sums over pairs of agents, or the flow of an energy."""

from __future__ import annotations

import math

import numpy as np

from learners.base import MLP, Array, Operations, Parts, Spec, TaskInfo
from physics_models.base import Structure


def form_parts(info: TaskInfo, width: int, depth: int, activation: str) -> dict[str, Spec]:
    """The networks of the form `info.form`, each starting at zero."""

    def network(inputs: int, outputs: int) -> MLP:
        return MLP(inputs, outputs, width, depth, activation, zero_last=True)

    if info.form == "hamiltonian":
        return {"energy": network(info.size, 1)}
    if info.form != "pairwise":
        raise ValueError(f"form must be pairwise or hamiltonian, but it is {info.form!r}")
    return {"pair": network(1, 1)} if _structure(info).order == 1 else {"pair": network(3, 2), "self": network(1, 1)}


def form_rates(ops: Operations, info: TaskInfo, parts: Parts, y: Array) -> Array:
    """dy/dt of states y (B, *state)."""
    return (_hamiltonian if info.form == "hamiltonian" else _pairwise)(ops, info, parts, y)


def _structure(info: TaskInfo) -> Structure:
    assert info.system is not None  # a form is that of a system
    return info.system.structure


def _pairwise(ops: Operations, info: TaskInfo, parts: Parts, y: Array) -> Array:
    """dx_i/dt = v_i, dv_i/dt = s(|v_i|) v_i + mean_j [f(...) (x_j - x_i) + g(...) (v_j - v_i)]; of first order,
    dx_i/dt = mean_j f(...) (x_j - x_i). Dots are the distance, the relative speed and the angle between the two.

    All inputs are the same seen from anywhere and in any direction, and outputs multiply vectors that turn with the
    group: the field is equivariant whatever the weights. Lengths, speeds and rates are in units of their spread in the
    training data, the same along each axis; inputs are squares compressed by log(1 + s), smooth where agents coincide.
    """
    xp, structure = ops.xp, _structure(info)
    d = structure.space_dim
    length, rate = _size(info.std[:d]), _size(info.rate_std[-d:])
    x = y[..., :d] / length
    r = x[..., None, :, :] - x[..., :, None, :]  # r[..., i, j, :] points from agent i to agent j
    if structure.box is not None:
        box = structure.box / length
        r = r - box * xp.round(r / box)
    r2 = xp.sum(r * r, axis=-1)
    if structure.order == 1:
        (f,) = _apply(ops, parts["pair"], [xp.log1p(r2)])
        return rate * xp.mean(f[..., None] * r, axis=-2)
    speed = _size(info.std[d:])
    v = y[..., d:] / speed
    w = v[..., None, :, :] - v[..., :, None, :]
    w2 = xp.sum(w * w, axis=-1)
    angle = xp.sum(r * w, axis=-1) / xp.sqrt((1 + r2) * (1 + w2))
    f, g = _apply(ops, parts["pair"], [xp.log1p(r2), xp.log1p(w2), angle])
    (own,) = _apply(ops, parts["self"], [xp.log1p(xp.sum(v * v, axis=-1))])
    pulled = xp.mean(f[..., None] * r + g[..., None] * w, axis=-2)
    return xp.concat([y[..., d:], rate * (pulled + own[..., None] * v)], axis=-1)


def _apply(ops: Operations, network: object, inputs: list[Array]) -> list[Array]:
    """Outputs of a network of scalars, each of the shape of the inputs."""
    xp, shape = ops.xp, inputs[0].shape
    columns = xp.reshape(xp.stack(inputs, axis=-1), (-1, len(inputs)))
    out = network(columns)  # type: ignore[operator]
    return [xp.reshape(out[:, k], shape) for k in range(out.shape[1])]


def _hamiltonian(ops: Operations, info: TaskInfo, parts: Parts, y: Array) -> Array:
    """dq/dt = dH/dp, dp/dt = -dH/dq with H = S net(z), z the standardised state (Greydanus et al. 2019, 1906.01563).

    S is an energy: the mean over all variables of the product of a rate and the spread of its conjugate variable.
    """
    xp, structure = ops.xp, _structure(info)
    place = {name: k for k, name in enumerate(info.variables)}
    pairs = [(place[q], place[p]) for q, p in structure.canonical]
    conjugate, sign = np.zeros(len(place), int), np.zeros(len(place))
    for q, p in pairs:
        conjugate[[q, p]], sign[[q, p]] = [p, q], [1.0, -1.0]
    energy = float(np.mean(info.rate_std * info.std[conjugate]))
    mean, std = ops.constant(info.mean), ops.constant(info.std)

    def of(y: Array) -> Array:
        return parts["energy"](xp.reshape((y - mean) / std, (y.shape[0], info.size)))[:, 0]

    slope = ops.grad(of, y) * energy
    return xp.stack([slope[..., int(k)] * float(s) for k, s in zip(conjugate, sign, strict=True)], axis=-1)


def _size(spreads: np.ndarray) -> float:
    """One spread for all axes."""
    return math.sqrt(float(np.mean(np.square(spreads))))
