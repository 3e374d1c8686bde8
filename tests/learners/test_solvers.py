"""Integration over one interval, on both backends, against known solutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from beartype import beartype
from jaxtyping import Float, jaxtyped

from learners.base import FIXED_STEP, SOLVERS, Solver
from tests.learners.conftest import BACKENDS

ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
ADAPTIVE = tuple(name for name in SOLVERS if name not in FIXED_STEP)

States = Float[np.ndarray, "B 2"]
Times = Float[np.ndarray, "B"]
Y0 = np.array([[1.0, 0.0], [0.3, -2.0], [-1.0, 0.5]])
T0 = np.array([0.0, 0.7, -1.0])


@jaxtyped(typechecker=beartype)
def solve(backend: str, field: Callable, y: States, t0: Times, t1: Times, solver: Solver) -> States:
    """y(t1) at the precision of y."""
    if backend == "jax":
        import jax

        from learners.backends.jax_ops import JaxOperations

        in_jax = JaxOperations(str(y.dtype))
        program = jax.jit(lambda y, t0, t1: in_jax.odeint(field, y, t0, t1, solver))
        result = program(*(in_jax.constant(a) for a in (y, t0, t1)))
        assert str(result.dtype) == str(y.dtype)
        return np.asarray(result)
    import torch

    from learners.backends.torch_ops import TorchOperations

    in_torch = TorchOperations(str(y.dtype), torch.device("cpu"))
    result = in_torch.odeint(field, *(in_torch.constant(a) for a in (y, t0, t1)), solver)
    assert str(result.dtype) == f"torch.{y.dtype}"
    return result.numpy()


def turn(t: Any, y: Any) -> Any:
    """dy/dt = cos(t) J y: a rotation by sin(t1) - sin(t0). A stage taken at a wrong time would cost an order."""
    xp = array_namespace(y)
    return xp.cos(t) * xp.stack([-y[:, 1], y[:, 0]], axis=-1)


def turned(y: np.ndarray, t0: np.ndarray, t1: np.ndarray) -> np.ndarray:
    angle = np.sin(t1) - np.sin(t0)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * y[:, 0] - s * y[:, 1], s * y[:, 0] + c * y[:, 1]], axis=-1)


def burst(t: Any, y: Any) -> Any:
    """dy/dt = y²: infinite at time 1 / y(0)."""
    return y * y


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", FIXED_STEP)
def test_order_of_convergence(backend: str, method: str) -> None:
    """The slope of log(error) over log(step). 0.1 is what the next term of the error leaves at 32 and 64 steps."""
    t1 = T0 + 2.0
    coarse, fine = (
        np.abs(solve(backend, turn, Y0, T0, t1, Solver(method, steps)) - turned(Y0, T0, t1)).max() for steps in (32, 64)
    )
    assert math.log2(coarse / fine) == pytest.approx(ORDER[method], abs=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_methods_meet_their_tolerance(backend: str, method: str) -> None:
    """The tolerance bounds the error of a step; some ten steps of a field that does not amplify errors add up."""
    t1 = T0 + 2.0
    errors = []
    for tolerance in (1e-3, 1e-6):
        found = solve(backend, turn, Y0, T0, t1, Solver(method, rtol=tolerance, atol=tolerance))
        errors.append(np.abs(found - turned(Y0, T0, t1)).max())
        assert errors[-1] < 10 * tolerance
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_every_sample_has_its_own_interval(backend: str, method: str) -> None:
    t1 = T0 + np.array([0.1, 2.0, 0.0])
    solver = Solver(method, steps=3, rtol=1e-6, atol=1e-6)
    together = solve(backend, turn, Y0, T0, t1, solver)
    if solver.is_fixed:
        alone = [solve(backend, turn, Y0[i : i + 1], T0[i : i + 1], t1[i : i + 1], solver)[0] for i in range(3)]
        np.testing.assert_allclose(together, alone, rtol=1e-14, atol=1e-14)  # the same operations: rounding only
    else:
        # A batch shares its step sizes, chosen for the root mean square of all errors: as exact, but not the same.
        np.testing.assert_allclose(together, turned(Y0, T0, t1), atol=1e-5)
    np.testing.assert_array_equal(together[2], Y0[2])  # no time has passed: exactly nothing changes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", SOLVERS)
def test_an_interval_of_length_zero_is_the_identity(backend: str, method: str, dtype: str) -> None:
    y, t = Y0.astype(dtype), T0.astype(dtype)
    np.testing.assert_array_equal(solve(backend, turn, y, t, t, Solver(method, steps=2)), y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["rk4", *ADAPTIVE])
def test_single_precision_loses_rounding_only(backend: str, method: str) -> None:
    """One interval of a tenth in float32 ends within a few units in the last place of float64 (2e-7 for numbers of 2).

    The tolerance leaves out the methods' own error: of step^5 for rk4, of the asked 1e-7 for the others.
    """
    solver, t1 = Solver(method, steps=4, rtol=1e-7, atol=1e-7), T0 + 0.1
    exact = solve(backend, turn, Y0, T0, t1, solver)
    single = solve(backend, turn, *(a.astype(np.float32) for a in (Y0, T0, t1)), solver)
    assert np.abs(single - exact).max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_blow_up_is_a_value_and_not_an_exception(backend: str, method: str) -> None:
    """Past the singularity nothing finite is right. Fixed steps jump over it, so they start where squares overflow."""
    size = 1e200 if method in FIXED_STEP else 1.0
    found = solve(backend, burst, size * np.array([[1.0, 2.0]]), np.zeros(1), np.full(1, 10.0), Solver(method))
    assert not np.isfinite(found).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_state_that_is_not_a_number_stays_one(backend: str, method: str) -> None:
    found = solve(backend, turn, np.full((2, 2), np.nan), np.zeros(2), np.ones(2), Solver(method))
    assert np.isnan(found).all()


@pytest.mark.parametrize("method", SOLVERS)
def test_both_backends_take_the_same_steps(method: str) -> None:
    """The same steps differ by rounding alone; a step that only one controller rejected would differ by 1e-6."""
    solver = Solver(method, steps=3, rtol=1e-6, atol=1e-6)
    in_jax, in_torch = (solve(backend, turn, Y0, T0, T0 + 2.0, solver) for backend in BACKENDS)
    np.testing.assert_allclose(in_jax, in_torch, rtol=0, atol=1e-13)
