"""Dynamical systems: forces of a flock, Lorenz's equations, neural ODEs by explicit steps and by the solvers.

The programs with E evaluate their vector field E times, counted where it is called. What the solver does besides is
small and not derived: `tolerance` bounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import torch
from torchdiffeq import odeint, odeint_adjoint

from tests.hardware.battery.program import Program, both

A, D = 20, 2  # agents, dimensions
B, N = 32, 24  # batch, state of the small neural ODE
S = {"b": B, "n": N}


def flock(xp: Any, x: Any, v: Any) -> Any:
    """Cucker–Smale: the mean over j of (v_j - v_i)/(1 + |x_j - x_i|²)."""
    away, relative = x[None] - x[:, None], v[None] - v[:, None]
    weight = xp.reciprocal(1.0 + (away**2).sum(-1))
    return (weight[..., None] * relative).sum(1) / len(x)


def lorenz(xp: Any, y: Any) -> Any:
    a, b, c = y
    return xp.stack([10.0 * (b - a), a * (28.0 - c) - b, a * b - 2.5 * c])


def rk4(field: Callable[[Any], Any], y: Any, h: float, steps: int) -> Any:
    for _ in range(steps):
        k1 = field(y)
        k2 = field(y + h / 2 * k1)
        k3 = field(y + h / 2 * k2)
        k4 = field(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def euler(field: Callable[[Any], Any], y: Any, h: float, steps: int) -> Any:
    for _ in range(steps):
        y = y + h * field(y)
    return y


def node(method: Any, xp: Any, w: Any, y: Any) -> Any:
    return method(lambda y: xp.sin(y @ w), y, 0.1, 3)


def gradient_of_node(method: Any) -> dict[str, Any]:
    def in_torch(w: Any, y: Any) -> Any:
        return torch.autograd.grad(node(method, torch, w, y).sum(), w)

    return {
        "jax": lambda: (
            jax.value_and_grad(lambda w, y: node(method, jnp, w, y).sum()),
            (jnp.ones((N, N)), jnp.ones((B, N))),
        ),
        "torch": lambda: (in_torch, (torch.ones(N, N, requires_grad=True), torch.ones(B, N))),
    }


EULER = "3*(2*b*n*n + b*n + 2*b*n)"
RK4 = "3*(4*(2*b*n*n + b*n) + 13*b*n)"
# A step back: h a, cosine, product, two matrix products, a +; the first step needs no derivative by its state.
EULER_BACK = "(b*n - 1) + 3*(3*b*n + 2*b*n*n) + 2*(2*b*n*n + b*n) + 2*n*n"
# A step back: a h/6; twice for k2 and k3; four times cosine and product, and two matrix products; three times h and a
# sum into a stage; four sums into the state. The first needs not the last product, nor the sums into its state.
RK4_BACK = "(b*n - 1) + 3*(21*b*n + 16*b*n*n) - 2*b*n*n - 4*b*n + (4*3 - 1)*n*n"

# ---- a network y → tanh(y W₁) W₂ in the hands of the solvers ----

Z, W = 4, 512  # state, hidden units
NETWORK = {"B": 64, "z": Z, "w": W}
START = (64, Z)
FIELD = "(4*B*z*w + B*w)"
BACK = "(8*B*z*w + 4*B*w + 2*z*w)"  # of one evaluation: four products, tanh, sums of the weights' gradients
OVERHEAD = "a solver's own work is below 40 operations of a state component for an evaluation, the field's 4 w + w/z"
CONSTANT, ADAPTIVE = diffrax.ConstantStepSize(), diffrax.PIDController(rtol=1e-4, atol=1e-6)
CALLS: list[int] = []


def jax_weights() -> tuple[Any, Any]:
    rows = jnp.linspace(-1.0, 1.0, Z * W)
    return rows.reshape(Z, W), rows.reshape(W, Z) / 16


def diffrax_solve(weights: Any, solver: Any, controller: Any, **options: Any) -> Any:
    """Sum of the final state, and the number of steps."""

    def field(t: Any, y: Any, weights: Any) -> Any:
        slope = jnp.tanh(y @ weights[0]) @ weights[1]
        jax.debug.callback(lambda slope: CALLS.append(1), slope)
        return slope

    start = jnp.linspace(0.0, 1.0, 64 * Z).reshape(START)
    term = diffrax.ODETerm(field)
    solution = diffrax.diffeqsolve(
        term, solver, 0.0, 1.0, 0.1, start, weights, stepsize_controller=controller, max_steps=16, **options
    )
    return solution.ys.sum(), solution.stats["num_steps"]  # type: ignore[union-attr]


def with_diffrax(solver: Any, controller: Any, differentiate: bool = False, **options: Any) -> dict[str, Any]:
    solve = partial(diffrax_solve, solver=solver, controller=controller, **options)

    def build() -> Any:
        CALLS.clear()
        return jax.value_and_grad(solve, has_aux=True) if differentiate else solve, (jax_weights(),)

    def evaluations(result: Any) -> dict[str, int]:
        jax.effects_barrier()
        return {"E": len(CALLS)} | ({"F": 1 + 6 * int(result[0][1])} if differentiate else {})

    return {"jax": build, "evaluations": {"jax": evaluations}}


class Field(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = torch.linspace(-1.0, 1.0, Z * W)
        self.w1, self.w2 = torch.nn.Parameter(rows.reshape(Z, W)), torch.nn.Parameter(rows.reshape(W, Z) / 16)
        self.calls = 0

    def forward(self, t: Any, y: Any) -> Any:
        self.calls += 1
        return torch.tanh(y @ self.w1) @ self.w2


def with_torchdiffeq(odeint: Any, differentiate: bool = False, **options: Any) -> dict[str, Any]:
    def build() -> Any:
        field = Field()

        def solve(start: Any) -> dict[str, int]:
            field.calls = 0
            with torch.set_grad_enabled(differentiate):
                end = odeint(field, start, torch.tensor([0.0, 1.0]), **options)[-1].sum()
            forward = field.calls
            if differentiate:
                end.backward()
            return {"E": field.calls, "F": forward}

        return solve, (torch.linspace(0.0, 1.0, 64 * Z).reshape(START),)

    return {"torch": build, "evaluations": {"torch": lambda result: result}}


def either(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {**a, **b, "evaluations": {**a["evaluations"], **b["evaluations"]}}


RK4_SOLVER = {"method": "rk4", "options": {"step_size": 0.1}}
SOLVED = {"formula": f"E*{FIELD}", "of_which": "E*B*w", "sizes": NETWORK, "tolerance": 0.02}

PROGRAMS = [
    Program(
        "forces of a flock",
        "2*a*a*d + a*a*d + a*a*(d - 1) + 2*a*a + a*a*d + a*d*(a - 1) + a*d",
        "a*a + a*d",
        {"a": A, "d": D},
        **both(flock, (A, D), (A, D)),
        note="differences of places and velocities; squares and their sum; 1 +, 1 /; times; sum and mean over agents",
    ),
    Program(
        "Lorenz-63, ten steps of Runge–Kutta 4",
        "10*(4*8 + 13*3)",
        **both(lambda xp, y: rk4(lambda y: lorenz(xp, y), y, 0.01, 10), (3,)),
        note="the field 8; stages 2 each, three times, and 7 at the end, for each component",
    ),
    Program(
        "neural ODE, 3 Euler steps", EULER, "3*b*n", S, **both(lambda xp, w, y: node(euler, xp, w, y), (N, N), (B, N))
    ),
    Program(
        "neural ODE, 3 Runge–Kutta steps",
        RK4,
        "12*b*n",
        S,
        **both(lambda xp, w, y: node(rk4, xp, w, y), (N, N), (B, N)),
    ),
    Program("neural ODE, 3 Euler steps, gradient", f"{EULER} + {EULER_BACK}", "6*b*n", S, **gradient_of_node(euler)),
    Program("neural ODE, 3 Runge–Kutta steps, gradient", f"{RK4} + {RK4_BACK}", "24*b*n", S, **gradient_of_node(rk4)),
    Program(
        "diffrax Tsit5, constant step 0.1",
        **SOLVED,
        note=f"E = 1 + 6 · 10; {OVERHEAD}",
        **with_diffrax(diffrax.Tsit5(), CONSTANT),
    ),
    Program(
        "Dopri5, adaptive",
        **SOLVED,
        note=OVERHEAD,
        **either(
            with_diffrax(diffrax.Dopri5(), ADAPTIVE), with_torchdiffeq(odeint, method="dopri5", rtol=1e-4, atol=1e-6)
        ),
    ),
    Program("diffrax Tsit5, adaptive", **SOLVED, note=OVERHEAD, **with_diffrax(diffrax.Tsit5(), ADAPTIVE)),
    Program(
        "diffrax Tsit5, constant step, gradient by checkpoints",
        **SOLVED | {"formula": f"E*{FIELD} + F*{BACK}"},
        note="F evaluations are needed and differentiated, E executed: RecursiveCheckpoint does more than one again; "
        + OVERHEAD,
        **with_diffrax(diffrax.Tsit5(), CONSTANT, differentiate=True),
    ),
    Program(
        "diffrax Tsit5, adaptive, gradient without checkpoints",
        **SOLVED | {"formula": f"E*{FIELD} + E*{BACK}"},
        note=f"DirectAdjoint over at most 16 steps evaluates nothing again; {OVERHEAD}",
        **with_diffrax(diffrax.Tsit5(), ADAPTIVE, differentiate=True, adjoint=diffrax.DirectAdjoint()),
    ),
    Program("torchdiffeq rk4, ten steps", **SOLVED, note=OVERHEAD, **with_torchdiffeq(odeint, **RK4_SOLVER)),
    Program(
        "torchdiffeq rk4, ten steps, gradient",
        **SOLVED | {"formula": f"E*{FIELD} + E*{BACK} - 2*B*z*w"},
        note=f"the first evaluation needs no gradient by its state; {OVERHEAD}",
        **with_torchdiffeq(odeint, differentiate=True, **RK4_SOLVER),
    ),
    Program(
        "torchdiffeq rk4, ten steps, adjoint",
        **SOLVED | {"formula": f"E*{FIELD} + (E - F)*{BACK}"},
        note="the later evaluations are of the adjoint equation, whose state holds 2 z w gradients besides; "
        + OVERHEAD,
        **with_torchdiffeq(odeint_adjoint, differentiate=True, **RK4_SOLVER),
    ),
]
