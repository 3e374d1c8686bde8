"""Programs whose cost depends on data: what the counters say against what really ran."""

from __future__ import annotations

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hardware import flops_jax_rules
from hardware.cost import Cost
from hardware.flops_jax import Tally, count

TRIPS = jnp.array([1, 2, 100])
TEN = jnp.linspace(0.0, 1.0, 10)


def spin(n, x=TEN):
    """n rounds of 10 tanh."""
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, x))[1]


def branch(i, x=TEN):
    return lax.switch(i, [lambda x: x, lambda x: x + x, lambda x: jnp.sin(x * x) + x], x)


def counted(f, *args):
    result, cost = jax.jit(count(f))(*args)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, result, jax.jit(f)(*args))))
    return cost


@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_a_while_loop_costs_the_trips_it_takes(n):
    assert counted(spin, n).resolve() == Cost(10 * n, 10 * n)


def test_vmapped_lanes_need_less_than_the_batched_loop_executes():
    needed = jax.jit(jax.vmap(count(spin)))(TRIPS)[1].lanes(3)
    assert [c.flop for c in needed] == [10, 20, 1000]  # 103 rounds
    assert counted(jax.vmap(spin), TRIPS).flop == 10 * 300


def test_two_axes_of_lanes():
    tally = jax.vmap(jax.vmap(count(spin)))(jnp.array([[1, 2], [3, 4]]))[1]
    assert [[c.flop for c in row.lanes(2)] for row in tally.lanes(2)] == [[10, 20], [30, 40]]
    with pytest.raises(ValueError, match="lanes"):
        tally.resolve()
    with pytest.raises(ValueError, match="3 lanes"):
        tally.lanes(3)


@pytest.mark.parametrize(("i", "flop"), [(0, 0), (1, 10), (2, 30)])
def test_a_branch_costs_itself(i, flop):
    assert counted(branch, i).flop == flop


def test_vmapped_branches():
    needed = jax.vmap(count(branch))(jnp.arange(3))[1].lanes(3)
    assert [c.flop for c in needed] == [0, 10, 30]
    assert counted(jax.vmap(branch), jnp.arange(3)).flop == 3 * 40  # all branches run in every lane


def test_an_operation_in_a_branch_not_taken_is_not_missing():
    def f(x):
        call = lambda x: jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)  # noqa: E731
        return lax.cond(x[0] > 0, call, jnp.sin, x)

    cost = jax.jit(count(f))
    assert not cost(TEN)[1].is_lower_bound
    assert cost(TEN + 1)[1].uncounted == {"pure_callback"}


def halve(x):
    """Rounds until the sum is below 1: 9 additions a test, 10 products a round."""
    return lax.while_loop(lambda x: x.sum() > 1, lambda x: 0.5 * x, x)


def nest_in_scan(ns):
    return lax.scan(lambda x, n: (spin(n, x), spin(1, x)), TEN, ns)


def nest_in_while(n):
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, spin(c[0], c[1])), (0, TEN))[1]


def nest_in_test(n):
    """The test spins as often as the round has number."""
    return lax.while_loop(lambda c: (c[0] < n) & (spin(c[0])[0] < 2), lambda c: (c[0] + 1, c[1] + 1), (0, TEN))[1]


def nest_in_branch(n):
    return lax.cond(n > 3, lambda: spin(n), lambda: spin(n) + spin(2))


@jax.custom_vjp
def ruled(x, n):
    return spin(n, x)


ruled.defvjp(lambda x, n: (spin(n, x), None), lambda _, g: (3 * g, None))


@pytest.mark.parametrize(
    ("f", "argument", "flop"),
    [
        (halve, jnp.full(10, 0.375), 3 * 9 + 2 * 10),  # sums 3.75, 1.875, 0.9375: two rounds, three tests
        (nest_in_scan, jnp.array([3, 0, 4]), 10 * (3 + 0 + 4) + 10 * 3),
        (nest_in_while, 5, 10 * (0 + 1 + 2 + 3 + 4)),
        (nest_in_test, 4, 10 * (0 + 1 + 2 + 3 + 4) + 10 * 4),
        (nest_in_branch, 5, 50),
        (nest_in_branch, 2, 20 + 20 + 10),
        (jax.jit(lambda n: jax.checkpoint(spin)(n)), 6, 60),
        (lambda n: ruled(TEN, n), 6, 60),
    ],
)
def test_nests(f, argument, flop):
    assert counted(f, argument).flop == flop


@pytest.mark.parametrize("f", [nest_in_while, nest_in_test, nest_in_branch])
def test_vmapped_nests_need_what_each_would_alone(f):
    alone = [count(f)(n)[1].flop for n in (1, 3, 5)]
    assert [c.flop for c in jax.vmap(count(f))(jnp.array([1, 3, 5]))[1].lanes(3)] == alone


def test_a_custom_derivative_survives():
    gradient, cost = jax.grad(lambda x: (lambda r: (r[0].sum(), r[1]))(count(ruled)(x, 4)), has_aux=True)(TEN)
    assert np.array_equal(gradient, np.full(10, 3.0))
    assert cost.flop == 40


def test_tallies_add_up_in_a_loop_of_the_caller():
    """A counted step inside the caller's own loop: its tally is carried and added."""
    step = count(spin)
    start = jax.tree.map(jnp.zeros_like, step(1)[1])
    total = lax.fori_loop(0, 5, lambda i, total: total + step(i)[1], start)
    assert isinstance(total, Tally)
    assert total.flop == 10 * (0 + 1 + 2 + 3 + 4)


def test_counts_beyond_32_bits():
    """A counter holds trips, not FLOPs: 40 rounds of 128 million do not overflow."""
    big = jnp.ones((400, 400))
    f = lambda n: lax.fori_loop(0, n, lambda i, x: (big @ x) / 400, big)[0, 0]  # noqa: E731
    assert jax.jit(count(f))(40)[1].flop == 40 * (2 * 400**3 + 400**2) > 2**32


# ---- adaptive solvers ----

MARK = 10**12


@pytest.fixture
def evaluations(monkeypatch):
    """Evaluations of the vector field, whose one tanh of one component is given a price far above all others."""
    monkeypatch.setitem(flops_jax_rules.RULES, "tanh", lambda eqn: Cost(MARK * eqn.outvars[0].aval.size))
    return lambda cost: cost.resolve().flop // MARK


def solve(rate, solver, adjoint) -> Any:
    def field(t, y, rate):
        slope = jnp.tanh(y)
        # Tells how many evaluations really ran; it takes the slope, which could be left out as dead otherwise.
        jax.debug.callback(lambda slope: CALLS.append(1), slope)
        return -rate * slope

    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, 1.0, None, jnp.ones(()), rate,
        stepsize_controller=controller, adjoint=adjoint, max_steps=64,
    )  # fmt: skip


CALLS: list[int] = []
CHECKPOINTS, DIRECT = diffrax.RecursiveCheckpointAdjoint(), diffrax.DirectAdjoint()


@pytest.mark.parametrize(("solver", "stages"), [(diffrax.Dopri5(), 6), (diffrax.Tsit5(), 6)])
def test_adaptive_steps_forward(solver, stages, evaluations):
    """Both solvers reuse their last stage: 6 evaluations a step, rejected ones included, and one to start with."""
    CALLS.clear()
    f = jax.jit(count(lambda r: solve(r, solver, CHECKPOINTS).stats["num_steps"]))
    for rate in (1.0, 30.0):
        steps, cost = f(rate)
        assert evaluations(cost) == 1 + stages * int(steps)
    jax.effects_barrier()
    assert len(CALLS) == 2 + stages * sum(int(f(rate)[0]) for rate in (1.0, 30.0))


@pytest.mark.parametrize(("adjoint", "times"), [(CHECKPOINTS, 3), (DIRECT, 2)])
def test_adaptive_steps_and_their_gradient(adjoint, times, evaluations):
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
