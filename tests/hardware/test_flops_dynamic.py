"""Programs whose cost depends on data: what the counters say against what really ran."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hardware.flops_jax import Tally, count, rules

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
    cost = counted(spin, n).resolve()
    assert cost.flop == cost.transcendental == 10 * n
    assert cost.by_kind == ({("transcendental", "float32"): 10 * n} if n else {})


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


def field(x):
    return jnp.tanh(2 * x)


# ---- names of loops in compiled programs ----


def rounds(n, size):
    """A loop whose round costs `size` FLOP, so that its price and its shape tell which it is."""
    start = (0, jnp.full(size, 0.5))
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1])), start)[1]


@jax.custom_jvp
def with_own_jvp(n):
    return rounds(n, 19).sum()


@jax.custom_vjp
def with_own_vjp(n):
    return rounds(n, 20).sum()


with_own_jvp.defjvp(lambda primals, tangents: (with_own_jvp(*primals), jnp.zeros(())))
with_own_vjp.defvjp(lambda n: (with_own_vjp(n), None), lambda _, g: (None,))


def everywhere(n):
    def nested(c):
        return c[0] + 1, c[1] + rounds(c[0], 12).sum()

    def testing(c):
        return (c[0] < n) & (rounds(c[0], 14).sum() < 1e9)

    return (
        rounds(n, 11),
        lax.while_loop(lambda c: c[0] < n, nested, (0, jnp.ones(13)))[1],
        lax.while_loop(testing, lambda c: (c[0] + 1, c[1] + jnp.sin(c[1])), (0, jnp.ones(15)))[1],
        lax.scan(lambda x, i: (x + rounds(n + i, 16).sum(), None), jnp.zeros(()), jnp.arange(3))[0],
        lax.cond(n > 3, lambda: rounds(n, 17).sum(), lambda: rounds(n, 18).sum()),
        jax.jit(with_own_jvp)(n),
        jax.checkpoint(with_own_vjp)(n),
        lax.scan(lambda x, _: (jnp.sin(x), None), jnp.ones(()), length=7)[0],  # of fixed length: no name
    )


def named_loops(program, *arguments):
    """(type of what it carries, its path) of each `while` of the compiled program."""
    text = program.lower(*arguments).compile().as_text()
    loops = [line for line in text.splitlines() if re.search(r" while\(", line)]
    return [(line.partition(" while(")[0], re.findall(r'op_name="([^"]*)"', line)[0]) for line in loops]


def test_compiled_loops_carry_the_place_of_their_counter():
    program = jax.jit(count(everywhere))
    prices = program(4)[1].prices
    found = []
    for carried, path in named_loops(program, 4):
        labels = re.findall(r"loop_(\d+)", path)
        if not labels:
            assert "body/loop" not in path
            continue
        price = prices[int(labels[-1])]
        size = price.transcendental or 13  # the loop that only adds, around another
        assert f"f32[{size}]" in carried
        found.append(size)
    # 14 stands in a test, once before its loop and once in it; the compiler may know the first one's trips.
    assert sorted(set(found)) == [11, 12, 13, 14, 15, 16, 17, 18, 19, 20]


def test_names_nest_with_the_loops():
    paths = [path for _, path in named_loops(jax.jit(count(nest_in_while)), 5)]
    assert sorted(paths) == ["jit(nest_in_while)/loop_1/while", "jit(nest_in_while)/loop_1/while/body/loop_2/while"]


def test_names_survive_vmap_and_the_outermost_count_gives_them():
    f = count(jax.vmap(count(nest_in_while)))
    tally = jax.jit(f)(TRIPS[:2])[1]
    for _, path in named_loops(jax.jit(f), TRIPS[:2]):
        i = int(re.findall(r"loop_(\d+)", path)[-1])
        assert int(tally.times[i]) == {1: 2, 2: 1}[i]  # two rounds; inside them 0 and then 1


def test_a_static_program_has_no_names():
    program = jax.jit(count(lambda x: lax.scan(lambda x, _: (field(x), None), x, length=3)[0]))
    loops = named_loops(program, TEN)
    assert loops
    assert not any("loop_" in path for _, path in loops)


# ---- dead code in loops ----


def carries_dead_values(n, x):
    """Only the first sum is wanted, so that its sine is all the floating-point work of a round."""

    def body(c):
        i, total, other, third = c
        return i + 1, total + jnp.sin(total), jnp.cos(third) + other, jnp.tanh(third)

    return lax.while_loop(lambda c: c[0] < n, body, (0, x, jnp.exp(x), x))[1]


def wants_them_all(n, x):
    def body(c):
        i, total, other, third = c
        return i + 1, total + jnp.sin(total), jnp.cos(third) + other, jnp.tanh(third)

    return lax.while_loop(lambda c: c[0] < n, body, (0, x, jnp.exp(x), x))


def test_values_that_a_loop_carries_for_nothing_are_not_counted():
    assert counted(carries_dead_values, 4, TEN).flop == 4 * 20
    assert counted(wants_them_all, 4, TEN).flop == 10 + 4 * (20 + 20 + 10)


def test_the_compiler_removes_the_same_dead_values():
    """XLA's count of the compiled program has one round: the sum and the sine of 10 values, and the integer i + 1."""
    compiled: Any = jax.jit(carries_dead_values).lower(4, TEN).compile().cost_analysis()
    assert compiled["transcendentals"] == 10
    assert compiled["flops"] < 20  # a cosine's sum would be 10 more


def test_dead_values_in_nested_loops_and_what_fed_them():
    def f(n, x):
        weight = jnp.exp(x)  # feeds dead values only
        inner = jax.jit(
            lambda x: lax.while_loop(
                lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1]), c[2] * weight), (0, x, x)
            )[1]
        )
        return lax.scan(lambda x, _: (carries_dead_values(n, inner(x)), None), x, length=3)[0]

    assert counted(f, 4, TEN).flop == 3 * (4 * 20 + 4 * 10)


def test_a_test_keeps_what_it_reads():
    def f(x):
        return lax.while_loop(lambda c: c[1] < 2, lambda c: (jnp.sin(c[0]), c[1] + 0.5), (x, 0.0))[0]

    assert counted(f, TEN).flop == 4 * (10 + 1)


def test_effects_keep_a_loop_whole():
    def f(n, x):
        def body(c):
            jax.debug.callback(lambda v: None, c[2])
            return c[0] + 1, jnp.sin(c[1]), jnp.cos(c[2])

        return lax.while_loop(lambda c: c[0] < n, body, (0, x, x))[1]

    assert counted(f, 3, TEN).flop == 3 * 20


# ---- more programs whose loops depend on data ----


def test_a_branch_of_moves_alone_is_told_too():
    """No FLOP in either branch, but one writes 40 bytes; the other passes its operand on."""
    f = lambda x: lax.cond(x[0] > 0, lambda x: x[::-1], lambda x: x, x)  # noqa: E731
    taken, not_taken = (counted(f, TEN + shift) for shift in (1.0, -1.0))
    assert taken.unfused_bytes - not_taken.unfused_bytes == 80
    assert taken.flop == not_taken.flop == 0


@pytest.mark.usefixtures("quick_compilation")
def test_random_gamma_counts_its_rejections():
    """Sampling is a loop until acceptance."""
    sample = jax.jit(count(lambda key: jax.random.gamma(key, jnp.full(50, 0.3))))
    costs = [sample(jax.random.key(seed))[1].resolve() for seed in range(5)]
    assert all(c.flop > 50 and not c.uncounted for c in costs)
    assert len({c.flop for c in costs}) > 1  # some needed another round


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


# ---- counters that overflow, and what must survive counting ----

NEARLY = 2**31 - 10


def test_sums_of_tallies_do_not_overflow():
    """Tallies of many calls, as numpy counters: their sum is exact, in Python ints, and so is a sum of lanes."""
    prices = count(spin)(3)[1].prices
    one = Tally(prices, (np.int32(1), np.int32(NEARLY)))
    total = one + one + one
    assert total.flop == 10 * 3 * NEARLY
    assert all(type(t) is int for t in total.times)
    lanes = Tally(prices, (np.ones(2, np.int32), np.array([NEARLY, 1], np.int32)))
    assert [c.flop for c in (lanes + lanes).lanes(2)] == [10 * 2 * NEARLY, 20]
    assert (count(spin)(3)[1] + count(spin)(4)[1]).flop == 70  # counters of JAX


@pytest.mark.parametrize("calls", [2, 3, 5, 8])
def test_a_counter_that_overflows_says_so(calls):
    """2**31 and more trips of one site in one program, by adding a loop's counter up; however often it would wrap."""
    one = Tally(count(spin)(3)[1].prices, (jnp.int32(1), jnp.int32(2**30)))
    total = jax.jit(lambda one: lax.fori_loop(1, calls, lambda i, total: total + one, one))(one)
    with pytest.raises(OverflowError, match="jax_enable_x64"):
        total.resolve()
    with pytest.raises(OverflowError):
        _ = total + one


def test_a_rule_that_fails_makes_a_lower_bound(monkeypatch):
    def fails(eqn):
        raise ZeroDivisionError("a mistake")

    monkeypatch.setitem(rules.RULES, "sin", fails)
    for f, flop in ((lambda n: jnp.sin(TEN) * 2, 10), (lambda n: lax.fori_loop(0, n, lambda i, x: jnp.sin(x), TEN), 0)):
        cost = counted(f, 3)
        assert (cost.flop, cost.uncounted) == (flop, {"sin"})


@jax.custom_batching.custom_vmap
def with_own_vmap(x):
    return lax.while_loop(lambda c: c[0] < x, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0.0, x))[1]


@with_own_vmap.def_vmap
def _its_rule(axis_size, in_batched, x):
    return x * 100.0, True


def test_a_custom_vmap_rule_is_kept_or_refused():
    """count(vmap(f)) counts what the rule does; the lanes of vmap(count(f)) would not be what runs."""
    values = jnp.array([1.0, 2.0])
    cost = counted(jax.vmap(with_own_vmap), values)
    assert cost.flop == 2
    assert counted(with_own_vmap, 3.0).flop == 3 * 2
    with pytest.raises(NotImplementedError, match="count\\(vmap"):
        jax.vmap(count(with_own_vmap))(values)


def test_donation_and_shardings_of_an_inner_jit_survive():
    def turns(x, n):
        return lax.fori_loop(0, n, lambda i, x: x * 2.0, x)

    place = jax.sharding.NamedSharding(jax.make_mesh((1,), ("i",)), jax.sharding.PartitionSpec("i"))
    f = jax.jit(turns, donate_argnums=0, out_shardings=place)
    x = jnp.ones(8)
    result, cost = count(f)(x, 3)
    assert cost.flop == 24
    assert result.sharding == place
    assert x.is_deleted()
    result, _ = count(jax.jit(turns, in_shardings=(place, None)))(jnp.ones(8), 3)
    assert np.array_equal(result, np.full(8, 8.0))


def test_importing_the_counter_quietens_libtpu():
    """Where no TPU is, the questions that libtpu would ask of a cloud are answered before JAX starts."""
    code = "import os, hardware.flops_jax; print(os.environ.get('TPU_SKIP_MDS_QUERY'))"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TPU_")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=100)
    has_tpu = any(Path("/dev").glob("accel*")) or any(Path("/dev").glob("vfio/*"))
    assert done.stdout.strip() == ("None" if has_tpu else "1"), done.stderr
