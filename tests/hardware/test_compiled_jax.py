"""Bytes after fusion on this machine's compiler: hand-derived programs, the law that bounds them, loops and devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from hardware.compiled_jax import Fused, fused
from hardware.flops_jax import Tally, count

N, ROWS, ROUNDS = 4096, 64, 50
F = 4  # bytes of a float32 and of an int32

# A loop's counter, its limit and its test are some scalars a round; kernels with scalar results write a few bytes more.
SCALARS_A_ROUND = 64


def float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def int32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


@dataclass(frozen=True)
class Program:
    """`expected`: bytes that a hand would move; `rounds`: of its loops, each worth a few scalars.

    `stacked`: bytes of rows that a scan stacks, which are zeroed first.
    """

    f: Any
    arguments: tuple[Any, ...]
    expected: int
    rounds: int = 1
    stacked: int = 0


def decay(x, n=ROUNDS):
    return lax.fori_loop(0, n, lambda i, c: jnp.sin(c), x)


PROGRAMS = {
    "a chain of element-wise operations": Program(lambda x: jnp.tanh(x * 2 + 1) * x, (float32(N),), 2 * N * F),
    "two factors": Program(lambda x, y: jnp.exp(x) * y + 1, (float32(N), float32(N)), 3 * N * F),
    "a matrix product": Program(
        lambda a, b: a @ b, (float32(128, 64), float32(64, 32)), (128 * 64 + 64 * 32 + 128 * 32) * F
    ),
    "a sum": Program(lambda x: x.sum(), (float32(N),), (N + 1) * F),
    "a sort": Program(jnp.sort, (float32(N),), 2 * N * F),
    "a slice": Program(lambda x: x[8:24] * 2, (float32(N, 8),), 2 * 16 * 8 * F),
    "a gather": Program(
        lambda x, i: x.at[i].get(mode="promise_in_bounds"),
        (float32(N, 8), int32(16)), (2 * 16 * 8 + 16) * F,
    ),
    "a scatter": Program(  # only the updates, once the compiler has copied the argument, which must outlive it
        lambda x, i, u: x.at[i].add(u, mode="promise_in_bounds"), (float32(N), int32(16), float32(16)), 3 * 16 * F
    ),
    "a loop": Program(decay, (float32(N),), ROUNDS * 2 * N * F, ROUNDS),
    "a loop in a loop": Program(
        lambda x: lax.fori_loop(0, 7, lambda i, c: decay(c, 5) + 1, x), (float32(N),), 7 * (5 + 1) * 2 * N * F, 7 * 6
    ),
    "a scan over rows": Program(  # a round reads the carry and one row, and writes the carry
        lambda c, xs: lax.scan(lambda c, x: (jnp.sin(c) * x, None), c, xs)[0],
        (float32(N), float32(ROUNDS, N)), ROUNDS * 3 * N * F, ROUNDS,
    ),
    "a scan that stacks rows": Program(  # a round reads the carry and writes it, and one row
        lambda c: lax.scan(lambda c, _: (jnp.sin(c), jnp.cos(c)), c, None, length=ROUNDS)[1],
        (float32(N),), ROUNDS * 4 * N * F, ROUNDS, ROUNDS * N * F,
    ),
    "a branch": Program(lambda i, x: lax.cond(i > 0, jnp.sort, jnp.sin, x), (int32(), float32(N)), 2 * N * F),
}  # fmt: skip


def compiled(program: Program) -> Any:
    return jax.jit(program.f).lower(*program.arguments).compile()


@pytest.mark.parametrize("name", PROGRAMS)
def test_bytes_by_hand(name):
    """Copies of a loop's state, which the compiler adds where it must not change an argument, are not in the formula.

    The compiler may copy the carry in each round too; it never does so more than once a round.
    """
    program = PROGRAMS[name]
    found = fused(compiled(program))
    moved = found.fused_bytes - found.copied_bytes
    assert program.expected <= moved <= program.expected + SCALARS_A_ROUND * (program.rounds + 1) + program.stacked
    assert found.copied_bytes <= 2 * (program.rounds + 1) * (N + 2) * F
    assert (found.on_chip_bytes, found.unknown_loops) == (0, ())
    assert found.padded_bytes == found.fused_bytes  # a CPU has no tiles


@pytest.mark.parametrize("name", PROGRAMS)
def test_between_the_least_and_the_unfused(name):
    """least <= fused <= unfused, with a loop's scalars as slack above, and the copies of its carry.

    The compiler may copy the carry in each round (`test_bytes_by_hand` bounds it), of which `Cost` knows nothing.
    Copies in a program without loops are those of a change of an argument, and are counted.
    """
    program = PROGRAMS[name]
    found = fused(compiled(program))
    cost = count(program.f)(*(jnp.zeros(a.shape, a.dtype) for a in program.arguments))[1].resolve()
    assert cost.least_bytes <= found.fused_bytes
    loops = program.rounds > 1
    slack = (found.copied_bytes if loops else 0) + SCALARS_A_ROUND * (program.rounds + 1)
    assert found.fused_bytes <= cost.unfused_bytes + slack


def test_a_loop_that_depends_on_data_needs_its_tally():
    """Without it, one round and a lower bound; with it, the rounds really taken: 2N numbers each, N for each test."""

    def halve(x):
        return lax.while_loop(lambda x: x.sum() > 1, lambda x: 0.5 * x, x)

    program = jax.jit(count(halve)).lower(float32(N)).compile()
    blind = fused(program)
    assert len(blind.unknown_loops) == 1 and blind.unknown_loops[0].endswith("while")
    assert blind.is_lower_bound
    seen = []
    for start in (2.0, 16.0):
        _, tally = program(jnp.full(N, start / N))  # sums 2 → 1 and 16 → 1: 1 and 4 rounds
        seen.append(fused(program, tally))
    assert not any(s.is_lower_bound for s in seen)
    grown = seen[1].fused_bytes - seen[1].copied_bytes - (seen[0].fused_bytes - seen[0].copied_bytes)
    assert 3 * 3 * N * F <= grown <= 3 * (3 * N * F * 1.05 + SCALARS_A_ROUND)  # partial sums are 1/32 of the array


def test_a_tally_of_another_program_is_refused():
    """Its prices are none of those returned; or it has too few counters for the loops that the text names."""

    def turns(x, n):
        return lax.fori_loop(0, n, lambda i, c: jnp.sin(c), x)

    def other(x, n):
        return lax.fori_loop(0, n, lambda i, c: jnp.sin(c) + c, x)

    program = jax.jit(count(turns)).lower(float32(N), int32()).compile()
    x, n = jnp.ones(N), jnp.int32(3)
    assert fused(program, program(x, n)[1]) == fused(program.as_text(), program(x, n)[1])
    with pytest.raises(ValueError, match="this program"):
        fused(program, count(other)(x, n)[1])
    for static in (count(jnp.sin)(x)[1], Tally((), ())):
        with pytest.raises(ValueError, match="loop_1"):
            fused(program, static)


def test_sums_of_tallies_do_as_well_as_tallies():
    """Python ints beyond 32 bits: the rounds of many calls of one program."""
    program = jax.jit(count(lambda x, n: lax.fori_loop(0, n, lambda i, c: jnp.sin(c), x)))
    compiled = program.lower(float32(N), int32()).compile()
    once = compiled(jnp.ones(N), jnp.int32(2))[1]
    many = Tally(once.prices, tuple(2**40 * int(t) for t in once.times))
    first, last = fused(compiled, once), fused(compiled, many + once)
    per_round = (fused(compiled, once + once).fused_bytes - first.fused_bytes) // 2
    assert last.fused_bytes - first.fused_bytes == 2 * 2**40 * per_round


def test_lanes_have_no_one_program():
    def spin(n):
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.sin(c[1])), (jnp.array(0), jnp.ones(())))

    program = jax.jit(jax.vmap(count(spin))).lower(int32(3)).compile()
    with pytest.raises(ValueError, match="lanes"):
        fused(program, program(jnp.arange(3))[1])


def test_text_does_as_well_as_the_program():
    program = compiled(PROGRAMS["a loop"])
    assert fused(program.as_text()) == fused(program)
    assert isinstance(fused(program), Fused)


FOUR_DEVICES = """
import json, sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from hardware.compiled_jax import fused
mesh = jax.make_mesh((4,), ("batch",))
rows = NamedSharding(mesh, P("batch"))
shape = jax.ShapeDtypeStruct((4096,), jnp.float32)
f = lambda x: jnp.tanh(x) * 2
spread = jax.jit(f, in_shardings=rows, out_shardings=rows).lower(shape)
flop = lambda stage: stage.cost_analysis()["flops"]
one = jax.jit(f).lower(shape)
print(json.dumps({
    "global": [flop(spread), flop(one)],
    "device": [flop(spread.compile()), flop(one.compile())],
    "bytes": [fused(spread.compile()).fused_bytes, fused(one.compile()).fused_bytes],
}))
"""


def test_over_four_devices_the_figures_are_those_of_one():
    """The trap: `lower()` tells of all devices together, `compile()` of one; what `fused` tells is of one."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], env=environment, cwd=Path(__file__).parents[2], capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["bytes"] == [2 * 4096 * F // 4, 2 * 4096 * F]
    every, one = figures["global"], figures["device"]
    assert every[0] == pytest.approx(every[1], rel=1e-3)  # XLA says 4095 of the one and 4096 of the other
    assert one[0] * 4 == pytest.approx(one[1], rel=1e-3)
