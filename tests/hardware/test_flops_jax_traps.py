"""The traps of FLOP counting in JAX: where XLA's `cost_analysis` or a careless count goes wrong, and ours does not."""

from __future__ import annotations

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hardware.cost import Cost
from hardware.flops_jax import count, static_cost
from hardware.flops_jax import rules as flops_jax_rules

W = 0.1 * jnp.ones((64, 64))
V = jnp.linspace(0.1, 1.0, 64)
PRODUCT = 2 * 64 * 64
HALF = jnp.full((), 0.5)


def by_xla(f, *arguments) -> dict[str, Any]:
    return dict(jax.jit(f).lower(*arguments).compile().cost_analysis() or {})


def test_trap_loops_counted_once():
    """XLA reports one round of a scan or a while, however many there are."""
    scans = {n: (lambda y, n=n: lax.scan(lambda y, _: (jnp.tanh(W @ y), None), y, length=n)[0]) for n in (2, 10, 100)}
    assert len({by_xla(f, V)["flops"] for f in scans.values()}) == 1
    assert {n: static_cost(f, V).by_kind["matmul", "float32"] for n, f in scans.items()} == {
        n: n * PRODUCT for n in scans
    }
    trips = lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, W @ c[1]), (0, V))[1]  # noqa: E731
    assert by_xla(trips, 10)["flops"] < 2 * PRODUCT
    assert jax.jit(count(trips))(10)[1].flop == 10 * PRODUCT


def test_trap_silent_zero_operations():
    """Linear algebra is a call into a library, of which XLA knows next to nothing; what we do not know, we name."""
    x = jnp.eye(128)
    for f, flop in ((jnp.linalg.cholesky, 128**3 / 3), (jnp.linalg.eigvals, 10 * 128**3)):
        assert by_xla(f, x)["flops"] < 0.2 * flop
        assert static_cost(f, x).flop >= round(flop)
    unknown = lambda x: x + jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)  # noqa: E731
    cost = static_cost(unknown, V)
    assert cost.is_lower_bound
    assert cost.uncounted == {"pure_callback"}


def test_trap_vmap_waste():
    """Lanes of 1, 2 and 100 rounds: the batched loop runs 100 rounds of 3 lanes, of which 103 were needed."""
    trips = jnp.array([1, 2, 100])
    spin = lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, HALF))[1]  # noqa: E731
    assert sum(c.flop for c in jax.vmap(count(spin))(trips)[1].lanes(3)) == 103
    assert count(jax.vmap(spin))(trips)[1].flop == 300
    # A branch taken for one lane is run for all.
    branch = lambda n: lax.cond(n > 50, lambda: jnp.sin(0.5 * n), lambda: 0.5)  # noqa: E731
    assert sum(c.transcendental for c in jax.vmap(count(branch))(trips)[1].lanes(3)) == 1
    assert count(jax.vmap(branch))(trips)[1].transcendental == 3


def test_trap_multiply_add_is_two_and_transcendentals_are_told_apart():
    """A multiply-add is 2 FLOP. XLA leaves transcendental functions out of `flops`; here they are 1 each, and named."""
    cost = static_cost(lambda y: jnp.tanh(W @ y), V)
    assert cost.by_kind == {("matmul", "float32"): PRODUCT, ("transcendental", "float32"): 64}
    assert cost.flop == PRODUCT + 64
    xla = by_xla(lambda y: jnp.tanh(W @ y), V)
    assert (xla["flops"], xla["transcendentals"]) == (PRODUCT, 64)


def test_trap_the_compiler_explains_a_gap():
    """We count the program as written, without its dead code; a compiler may merge equal expressions and do less."""
    twice = lambda y: jnp.sin(y) + jnp.sin(y) * jnp.cos(y)  # noqa: E731
    assert static_cost(twice, V).transcendental == 3 * 64
    assert by_xla(twice, V)["transcendentals"] == 2 * 64
    dead = lambda y: (jnp.exp(y), y * 2)[1]  # noqa: E731
    assert static_cost(dead, V).transcendental == by_xla(dead, V).get("transcendentals", 0) == 0


# ---- adaptive solvers ----

MARK = 10**12


@pytest.fixture
def evaluations(monkeypatch, quick_compilation):
    """Evaluations of the vector field, whose one tanh of one component is given a price far above all others."""
    monkeypatch.setitem(flops_jax_rules.RULES, "tanh", lambda eqn: Cost(MARK * eqn.outvars[0].aval.size))
    return lambda cost: cost.resolve().flop // MARK


CALLS: list[int] = []
ADAPTIVE = diffrax.PIDController(rtol=1e-4, atol=1e-4)
CHECKPOINTS, DIRECT = diffrax.RecursiveCheckpointAdjoint(), diffrax.DirectAdjoint()


def solve(rate, solver, adjoint, controller: Any = ADAPTIVE, dt0: Any = None) -> Any:
    def field(t, y, rate):
        slope = jnp.tanh(y)
        # Tells how many evaluations really ran; it takes the slope, which could be left out as dead otherwise.
        jax.debug.callback(lambda slope: CALLS.append(1), slope)
        return -rate * slope

    return diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, 1.0, dt0, jnp.ones(()), rate,
        stepsize_controller=controller, adjoint=adjoint, max_steps=64,
    )  # fmt: skip


@pytest.mark.parametrize(("solver", "stages"), [(diffrax.Dopri5(), 6), (diffrax.Tsit5(), 6)])
def test_trap_adaptive_and_rejected_steps(solver, stages, evaluations):
    """Both solvers reuse their last stage: 6 evaluations a step, rejected ones included, and one to start with.

    What the solution needed, steps accepted, is told by the solver's own statistics: model FLOP against executed.
    """
    f = jax.jit(count(lambda r: solve(r, solver, CHECKPOINTS).stats))
    rejected = 0
    for rate in (1.0, 30.0):
        CALLS.clear()
        stats, cost = f(rate)
        jax.effects_barrier()
        steps = int(stats["num_steps"])
        assert evaluations(cost) == len(CALLS) == 1 + stages * steps
        rejected += steps - int(stats["num_accepted_steps"])
    assert rejected > 0


@pytest.mark.parametrize(("adjoint", "times"), [(CHECKPOINTS, 3), (DIRECT, 2)])
def test_trap_adjoint_and_rematerialisation(adjoint, times, evaluations):
    """Recursive checkpoints evaluate the field 3 times as often as the forward pass, direct differentiation twice."""

    def loss(rate):
        solution = solve(rate, diffrax.Tsit5(), adjoint)
        return solution.ys[0], solution.stats["num_steps"]

    f = jax.jit(count(jax.value_and_grad(loss, has_aux=True)))
    jax.block_until_ready(f(1.0))
    jax.effects_barrier()
    CALLS.clear()
    ((_, steps), gradient), cost = f(1.0)
    jax.effects_barrier()
    assert evaluations(cost) == len(CALLS) == times * (1 + 6 * int(steps))
    assert np.isfinite(gradient)
    assert not cost.uncounted


@pytest.mark.parametrize(("adjoint", "expected"), [(CHECKPOINTS, 75), (diffrax.BacksolveAdjoint(), 50)])
def test_trap_adjoint_of_four_steps(adjoint, expected, evaluations):
    """Four steps of Tsit5 are 25 evaluations; with its gradient 75 from checkpoints, 50 by solving backwards."""

    def loss(rate):
        return solve(rate, diffrax.Tsit5(), adjoint, diffrax.ConstantStepSize(), 0.25).ys[0]

    assert evaluations(jax.jit(count(loss))(1.0)[1]) == 25
    f = jax.jit(count(jax.value_and_grad(loss)))
    jax.block_until_ready(f(1.0))
    jax.effects_barrier()
    CALLS.clear()
    cost = f(1.0)[1]
    jax.effects_barrier()
    assert evaluations(cost) == len(CALLS) == expected


def test_trap_lanes_of_a_solver_go_round_together(evaluations):
    """Lanes of diffrax share their rounds: each is charged for all that ran. Mapped one by one, each pays its own."""

    def steps(rate):
        return solve(rate, diffrax.Tsit5(), DIRECT).stats["num_steps"]

    rates = jnp.array([1.0, 30.0])
    one = jax.jit(count(steps))
    alone = [evaluations(one(rate)[1]) for rate in rates]
    own, needed = jax.jit(lambda r: lax.map(count(steps), r))(rates)
    _, together = jax.jit(jax.vmap(count(steps)))(rates)
    _, executed = jax.jit(count(jax.vmap(steps)))(rates)
    assert [evaluations(c) for c in needed.lanes(2)] == alone == [1 + 6 * int(n) for n in own]
    assert [evaluations(c) for c in together.lanes(2)] == [max(alone)] * 2
    assert evaluations(executed) == 2 * max(alone)
