"""A model's mathematics in JAX: networks as Equinox modules, fixed steps unrolled by scan, adaptive ones by diffrax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from learners.base import MLP, Array, Solver, Spec

ACTIVATION = {
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
}
ADAPTIVE = {"bosh3": diffrax.Bosh3, "dopri5": diffrax.Dopri5, "dopri8": diffrax.Dopri8}


class Network(eqx.Module):
    """Layers applied to a batch, (B, in) -> (B, out)."""

    weights: list[jax.Array]
    biases: list[jax.Array]
    activation: str = eqx.field(static=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        act = ACTIVATION[self.activation]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = act(x @ weight.T + bias)
        return x @ self.weights[-1].T + self.biases[-1]


class JaxOperations:
    """`Operations` for JAX at one precision."""

    name = "jax"
    xp = jnp

    def __init__(self, dtype: str) -> None:
        self.dtype = jnp.dtype(dtype)

    def constant(self, value: Any) -> Array:
        return jnp.asarray(np.asarray(value), dtype=self.dtype)

    def build(self, spec: Spec, drawn: Any) -> Any:
        """A part from the arrays that `spec.draw` gave."""
        if isinstance(spec, MLP):
            weights, biases = zip(*drawn, strict=True)
            return Network([self.constant(w) for w in weights], [self.constant(b) for b in biases], spec.activation)
        return {name: self.constant(value) for name, value in drawn.items()}

    def odeint(self, field: Callable[[Array, Array], Array], y: Array, t: Array, h: Array, solver: Solver) -> Array:
        column = (-1, *(1,) * (y.ndim - 1))
        start, length = jnp.reshape(t, column), jnp.reshape(h, column)

        def rate(s: Any, state: Array) -> Array:
            """d(state)/ds over the unit interval: every sample's own interval becomes the same one."""
            return length * field(start + s * length, state)

        if solver.is_fixed:
            return _fixed_steps(STEP[solver.method], rate, y, solver.steps)
        return _adaptive(rate, y, solver)

    def grad(self, function: Callable[[Array], Array], y: Array) -> Array:
        return jax.grad(lambda y: jnp.sum(function(y)))(y)


def _euler(f: Callable, s: Any, h: float, y: Array) -> Array:
    return y + h * f(s, y)


def _midpoint(f: Callable, s: Any, h: float, y: Array) -> Array:
    return y + h * f(s + 0.5 * h, y + (0.5 * h) * f(s, y))


def _heun(f: Callable, s: Any, h: float, y: Array) -> Array:
    k1 = f(s, y)
    k2 = f(s + h, y + h * k1)
    return y + h * (0.5 * k1 + 0.5 * k2)


def _rk4(f: Callable, s: Any, h: float, y: Array) -> Array:
    """Kutta's 3/8 rule, as torchdiffeq's rk4."""
    k1 = f(s, y)
    k2 = f(s + h / 3, y + h * (k1 / 3))
    k3 = f(s + 2 * h / 3, y + h * (k2 - k1 / 3))
    k4 = f(s + h, y + h * (k1 - k2 + k3))
    return y + (k1 + 3 * (k2 + k3) + k4) * (h / 8)


STEP = {"euler": _euler, "midpoint": _midpoint, "heun": _heun, "rk4": _rk4}


def _fixed_steps(step: Callable, rate: Callable, y: Array, steps: int) -> Array:
    # diffrax would run a while loop whose gradient recomputes each step (one more forward pass, and a FLOP count
    # that differs from torchdiffeq's); a scan of a known length keeps what the gradient needs. The first step stays
    # outside it: what it starts from is often data, whose gradient the body of a loop could not leave out.
    h = 1.0 / steps
    y = step(rate, 0.0, h, y)
    if steps == 1:
        return y
    rest = jnp.arange(1, steps, dtype=y.dtype)
    return jax.lax.scan(lambda state, i: (step(rate, i * h, h, state), None), y, rest)[0]


def _adaptive(rate: Callable, y: Array, solver: Solver) -> Array:
    """One step-size controller for the whole batch, set as torchdiffeq's; the first step tries the whole interval."""
    zero, one = jnp.zeros((), y.dtype), jnp.ones((), y.dtype)  # Python numbers would make a float32 state float64
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda s, state, args: rate(s, state)),
        ADAPTIVE[solver.method](),
        t0=zero, t1=one, dt0=one, y0=y,
        stepsize_controller=diffrax.PIDController(
            rtol=solver.rtol, atol=solver.atol, safety=0.9, factormin=0.2, factormax=10.0
        ),
        saveat=diffrax.SaveAt(t1=True),
        max_steps=MAX_STEPS,
        throw=False,  # raising from compiled code would end the other seeds too
    )  # fmt: skip
    assert solution.ys is not None
    # A failed solve ends early with a finite state; not a number makes it a diverged run, and its gradient too.
    return solution.ys[-1] * jnp.where(solution.result == diffrax.RESULTS.successful, 1, jnp.nan).astype(y.dtype)


MAX_STEPS = 256  # an interval that needs more is beyond a useful step size; the result is then not finite


def stack(trees: Sequence[Any]) -> Any:
    """One pytree whose arrays have the trees along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
