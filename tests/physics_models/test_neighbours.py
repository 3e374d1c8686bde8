"""The cell list against the sum over all pairs, and the flocks it carries."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from physics_models.large_flock import fast_field, simulate_flock
from physics_models.local_flocking import LocalFlocking
from physics_models.neighbours import neighbour_sum

CUTOFF = 1.5
# (agents, dimensions, side of the box or None, precision); one compiled program each. A box of 3 has one cell along
# each axis, one of 4 has 2, one of 7 has 4: there neighbours to the left and to the right can be the same cell.
CASES = [
    (1, 2, None, "float64"),
    (7, 1, None, "float64"),
    (60, 2, 3.0, "float64"),
    (60, 2, 4.0, "float32"),
    (300, 3, 7.0, "float64"),
    (300, 3, None, "float32"),
    (700, 2, None, "float64"),
]


def pair(r: Any, r2: Any, fi: Any, fj: Any) -> Any:
    """A pull, an alignment and the number of neighbours, self included: NumPy and JAX."""
    near = (r2 < CUTOFF**2).astype(r2.dtype)
    w = near * (1 - r2 / CUTOFF**2)
    return (*(w * a for a in r), *(w * (b - a) for a, b in zip(fi, fj, strict=True)), near)


@functools.cache
def program(d: int, box: float | None) -> Any:
    return jax.jit(lambda x, f: neighbour_sum(pair, x, f, CUTOFF, box))


def over_all_pairs(x: np.ndarray, f: np.ndarray, box: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The sums (N, 2 d + 1), and how far roundings may carry them in any order of addition, (N, 2 d + 1)."""
    r = x[None] - x[:, None]
    wraps = np.zeros((1, 1))
    if box is not None:
        wraps = np.abs(r).max(axis=-1)
        r = r - box * np.round(r / box)
    columns = tuple(np.moveaxis(r, -1, 0))
    fi, fj = (tuple(np.moveaxis(a, -1, 0)) for a in (f[:, None], f[None]))
    parts = np.stack(np.broadcast_arrays(*pair(columns, (r**2).sum(-1), fi, fj)), axis=-1)
    # n additions round n times, each product a few times, and a wrapped distance like the unwrapped one it came from.
    size = np.concatenate([np.abs(r), np.abs(f[None]) + np.abs(f[:, None]), np.zeros((*r.shape[:2], 1))], axis=-1)
    near = parts[..., -1:]
    n = near.sum(axis=1)
    slack = np.finfo(x.dtype).eps * ((n + 16) * (near * size).sum(1) + 16 * (near * wraps[..., None]).sum(1))
    slack[:, -1] = 0  # numbers of neighbours are whole
    return parts.sum(axis=1, dtype=np.float64), slack


def crowd(rng: np.random.Generator, n: int, d: int, spread: float, clumps: int, offset: float, dtype: str) -> Any:
    """Clumps of agents, each clump 0.3 wide, a tenth of all agents on top of another one, far from the origin."""
    centres = spread * rng.standard_normal((clumps, d))
    x = offset + centres[rng.integers(clumps, size=n)] + 0.3 * rng.standard_normal((n, d))
    copies = rng.integers(n, size=(n + 9) // 10)
    x[rng.permutation(n)[: len(copies)]] = x[copies]
    return x.astype(dtype), rng.standard_normal((n, d)).astype(dtype)


def check(n: int, d: int, box: float | None, dtype: str, seed: int, spread: float, clumps: int, offset: float) -> None:
    x, f = crowd(np.random.default_rng(seed), n, d, spread, clumps, offset, dtype)
    with jax.enable_x64(True):
        found = program(d, box)(x, f)
    values = np.asarray(found.values)
    wanted, slack = over_all_pairs(x, f, box)
    assert bool(found.trusted) and values.dtype == dtype
    assert (np.abs(values - wanted) <= slack).all()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 0.5, 5.0, 100.0]),
    clumps=st.sampled_from([1, 3, 100, 2000]),
    offset=st.sampled_from([0.0, -30.0, 777.7]),
)
@pytest.mark.parametrize(("n", "d", "box", "dtype"), CASES)
def test_equals_the_sum_over_all_pairs(
    n: int, d: int, box: float | None, dtype: str, seed: int, spread: float, clumps: int, offset: float
) -> None:
    check(n, d, box, dtype, seed, spread, clumps, offset)


@pytest.mark.parametrize(("spread", "clumps"), [(25.0, 2000), (0.0, 1)], ids=["spread out", "all in one cell"])
def test_two_thousand_agents(spread: float, clumps: int) -> None:
    check(2000, 2, 40.0, "float64", 1, spread, clumps, 0.0)


def test_without_double_precision_the_sort_is_another_one() -> None:
    x, f = crowd(np.random.default_rng(0), 60, 2, 5.0, 3, 0.0, "float32")
    with jax.enable_x64(False):
        values = np.asarray(jax.jit(lambda x, f: neighbour_sum(pair, x, f, CUTOFF))(x, f).values)
    wanted, slack = over_all_pairs(x, f, None)
    assert (np.abs(values - wanted) <= slack).all()


def test_nobody_has_no_neighbours() -> None:
    found = neighbour_sum(pair, jnp.zeros((0, 2)), jnp.zeros((0, 2)), CUTOFF)
    assert found.values.shape == (0, 5) and bool(found.trusted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e12])
def test_positions_without_a_cell_are_reported(value: float) -> None:
    x, f = crowd(np.random.default_rng(0), 60, 2, 5.0, 3, 0.0, "float32")
    x[17, 1] = value
    with jax.enable_x64(True):
        assert not bool(program(2, 4.0)(x, f).trusted)


def test_arguments_that_mean_nothing_are_refused() -> None:
    x, f = np.zeros((4, 2)), np.zeros((4, 2))
    for arguments, message in [
        ((np.zeros((4, 4)), f, 1.0), "d = 1, 2 or 3"),
        ((x, np.zeros((3, 2)), 1.0), r"features must have the shape \(4, F\)"),
        ((x, f.astype(np.float32), 1.0), "must both be float32 or float64"),
        ((x, f, 0.0), "cutoff must be above 0 and finite, but it is 0"),
        ((x, f, 1.0, 1.9), "box must be at least twice the cutoff 1, but it is 1.9"),
    ]:
        with pytest.raises(ValueError, match=message):
            neighbour_sum(pair, *arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="box must be at least twice the largest range, 6,"):
        LocalFlocking(box=5.0)


def test_fast_field_is_the_field() -> None:
    """1e-12: accelerations are sums of some 20 terms of size 10, in float64 (2e-16)."""
    system = LocalFlocking(500, box=26.0)
    y = system.initial_state(np.random.default_rng(3))
    with jax.enable_x64(True):
        found, trusted = jax.jit(lambda y: fast_field(system, y))(jnp.asarray(y))
    assert bool(trusted)
    np.testing.assert_allclose(found, system.field(0.0, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("method", "order"), [("midpoint", 2), ("rk4", 4)])
def test_steps_converge_at_their_order(method: str, order: int) -> None:
    """Errors of steps of 0.04, 0.02 and 0.01 fall 2^order-fold; 0.3 of an order is left for terms of higher order."""
    system = LocalFlocking(7, box=20.0)
    y0 = system.initial_state(np.random.default_rng(5))
    ends = [
        simulate_flock(system, y0, 0.04 / k, 10 * k, save_every=10 * k, method=method, precision="float64")[-1]
        for k in (1, 2, 4)
    ]
    errors = [np.linalg.norm(a - b) for a, b in itertools.pairwise(ends)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def test_a_single_agent_cruises() -> None:
    """At cruise speed and out of sight nothing acts on it: 8 steps of 1/4 along the first axis are exact in binary."""
    y0 = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 64.0, 1.0, 0.0]])
    path = simulate_flock(LocalFlocking(2), y0, 0.25, 8, save_every=4)
    np.testing.assert_array_equal(path[:, 0], [[0, 0, 1, 0], [1, 0, 1, 0], [2, 0, 1, 0]])


def test_simulation_refuses_and_reports() -> None:
    system = LocalFlocking()
    y0 = system.initial_state(np.random.default_rng(0))
    for change, message in [
        ({"y0": y0[:, :3]}, r"y0 must have the shape \(10, 4\) of the system's own states, but it is \(10, 3\)"),
        ({"y0": y0[:7]}, r"but it is \(7, 4\): give as many agents, or change n_agents, which is 10"),
        ({"y0": np.full_like(y0, np.nan)}, "y0 must be finite"),
        ({"dt": 0.0}, "dt must be above 0"),
        ({"steps": 7}, "steps must be a multiple of save_every"),
        ({"method": "euler"}, "method must be one of midpoint, rk4"),
        ({"precision": "float16"}, "precision must be one of float32, float64"),
        # Faster than it cruises, an agent brakes: by so long a step, beyond rest, and ever faster.
        (
            {"y0": np.tile([0.0, 0.0, 3.0, 0.0], (10, 1)), "dt": 50.0},
            "positions must stay finite .* but do not before t = 250",
        ),
    ]:
        arguments = {"y0": y0, "dt": 0.1, "steps": 10, "save_every": 5, **change}
        with pytest.raises(ValueError, match=message):
            simulate_flock(system, **arguments)  # type: ignore[arg-type]
