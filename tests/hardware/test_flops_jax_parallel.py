"""Programs over 4 devices: what all of them execute, against hand-derived counts, and what XLA says of one device.

The programs run in a process of their own, since the number of (virtual) devices is fixed when JAX starts: this file,
run as a script, prints what it counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from hardware.flops_jax import count, static_cost

N = 4  # devices


def mesh(*sizes: int) -> Any:
    return jax.make_mesh(sizes, ("i", "j")[: len(sizes)], axis_types=(AxisType.Auto,) * len(sizes))


def over(body, specs, out, sizes=(N,), check_vma=True):
    return lambda *args: jax.shard_map(body, mesh=mesh(*sizes), in_specs=specs, out_specs=out, check_vma=check_vma)(
        *args
    )


def loss(w, x):
    return lax.psum(((x @ w) ** 2).sum(), "i")


def spin(x):
    """Device i goes round i times."""
    n = lax.axis_index("i")
    y = lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, jnp.tanh(c[1])), (jnp.zeros_like(n), x))[1]
    return lax.psum(y.sum(), "i"), y


def together(x):
    """All devices go round until their common sum is large: 8, 40, 200."""
    return lax.while_loop(lambda x: lax.psum(x.sum(), "i") < 100, lambda x: x + lax.psum(x, "i"), x)


def branch(x):
    """Devices 2 and 3 go one way, 0 and 1 the other; in a scan of 3."""

    def step(x, _):
        return lax.cond(lax.axis_index("i") > 1, lambda x: jnp.sin(x), lambda x: x * x + 1, x), None

    return lax.scan(step, x, length=3)[0]


def moves(x):
    wide = jnp.tile(x, N)
    return (
        lax.all_gather(x, "i", tiled=True),
        lax.ppermute(x, "i", [(0, 1)]),
        lax.all_to_all(wide, "i", 0, 0, tiled=True),
        lax.psum_scatter(wide, "i", tiled=True),
        lax.pmax(x, "i"),
    )


W, X, V = jnp.ones((8, 5)), jnp.ones((16, 8)), jnp.ones(8)
PRODUCT = 2 * 16 * 8 * 5  # of all rows, a quarter on each device

# name: (program, arguments, FLOP of all devices)
PROGRAMS: dict[str, tuple[Any, tuple, int]] = {
    # squares; sums of 20 on each of 4 devices, then of 4 numbers
    "data parallel loss": (over(loss, (P(), P("i")), P()), (W, X), PRODUCT + 80 + 4 * 19 + 3),
    # x w, 2 x w, twice that; the gradient of a device, summed over 4
    "and its gradient": (
        lambda w, x: jax.grad(over(loss, (P(), P("i")), P()))(w, x),
        (W, X),
        2 * PRODUCT + 2 * 80 + 3 * 40,
    ),
    # (0 + 1 + 2 + 3) rounds of 2 values; sums of 2 on each device, then of 4
    "loops of different length": (over(spin, P("i"), (P(), P("i"))), (V,), 6 * 2 + 4 + 3),
    "unchecked": (over(spin, P("i"), (P(), P("i")), check_vma=False), (V,), 6 * 2 + 4 + 3),
    # tests: 4 and 3, three times; rounds: a sum of 2 over devices and an addition of 2 on each, twice
    "a loop with sums over devices": (over(together, P("i"), P("i")), (V,), 3 * (4 + 3) + 2 * (2 * 3 + 4 * 2)),
    "branches of different devices": (over(branch, P("i"), P("i")), (V,), 3 * (2 * 2 + 2 * 4)),
    # only the sums of psum_scatter (8 values from 4 devices) and the maxima of pmax are arithmetic
    "collectives": (over(moves, P("i"), P("i"), check_vma=False), (V,), 3 * 8 + 3 * 2),
    # sums of 4 values (2 × 2 devices) over both axes, and over one axis in each of two groups
    "two axes": (
        over(lambda x: (lax.psum(x, ("i", "j")), lax.psum(x, "i")), P("i", "j"), P(), (2, 2), check_vma=False),
        (jnp.ones((4, 4)),),
        3 * 4 + 2 * 4,
    ),
    "pmap": (lambda x: jax.pmap(lambda x: lax.psum(x, "i"), axis_name="i")(x), (jnp.ones((4, 2)),), 3 * 2),
    "the same under vmap": (lambda x: jax.vmap(lambda x: lax.psum(x, "i"), axis_name="i")(x), (jnp.ones((4, 2)),), 6),
}


def inside(x):
    """count within shard_map: one device's share, 2 sines and 3/4 of the sum of 2 values (rounded to 2)."""
    return count(lambda x: lax.psum(jnp.sin(x), "i"))(x)


def measure() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (program, arguments, _) in PROGRAMS.items():
        result, cost = jax.jit(count(program))(*arguments)
        same = jax.tree.map(jnp.array_equal, result, jax.jit(program)(*arguments))
        cost = cost.resolve()
        parts = sum(flop for _, _, flop in cost.parts)
        found[name] = [cost.flop, type(cost.flop).__name__, parts, sorted(cost.uncounted), all(jax.tree.leaves(same))]
    x = jax.device_put(jnp.ones((64, 32)), NamedSharding(mesh(N), P("i")))
    product: Any = jax.jit(lambda x: x @ jnp.ones((32, 16)))
    found["sharded by the compiler"] = {
        "ours": static_cost(product, x).flop,
        "lowered": product.lower(x).cost_analysis()["flops"],
        "compiled": product.lower(x).compile().cost_analysis()["flops"],
    }
    share = jax.shard_map(inside, mesh=mesh(N), in_specs=P("i"), out_specs=P())(V)[1]
    found["share"] = [share.flop, share.transcendental]
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={N}", "JAX_PLATFORMS": "cpu"}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=env, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", PROGRAMS)
def test_devices_together(found, name):
    flop = PROGRAMS[name][2]
    assert found[name] == [flop, "int", flop, [], True]


def test_trap_per_device_against_global(found):
    """XLA's count is of all devices before compilation and of one device after; ours is always of all."""
    whole = 2 * 64 * 32 * 16
    assert found["sharded by the compiler"] == {"ours": whole, "lowered": whole, "compiled": whole / N}


def test_counting_within_a_device_gives_its_share(found):
    assert found["share"] == [2 + 2, 2]


if __name__ == "__main__":
    print(json.dumps(measure()))
