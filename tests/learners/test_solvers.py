"""Integration over one interval, on both backends, against known solutions."""

from __future__ import annotations

import functools
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
LONG = np.full(3, 2.0)


def standard(method: str) -> Solver:
    return Solver(method, steps=4, rtol=1e-6, atol=1e-6)


@functools.cache  # one compilation for all tests that solve the same thing
def program(backend: str, field: Callable, solver: Solver, dtype: str) -> tuple[Callable, Callable]:
    """A function from framework arrays (y, t, h) to y(t + h), and one that makes such arrays."""
    if backend == "jax":
        import jax

        from learners.backends.jax_ops import JaxOperations

        ops: Any = JaxOperations(dtype)
        return jax.jit(lambda y, t, h: ops.odeint(field, y, t, h, solver)), ops.constant
    import torch

    from learners.backends.torch_ops import TorchOperations

    ops = TorchOperations(dtype, torch.device("cpu"))
    return lambda y, t, h: ops.odeint(field, y, t, h, solver), ops.constant


@jaxtyped(typechecker=beartype)
def solve(backend: str, field: Callable, y: States, t: Times, h: Times, solver: Solver) -> States:
    """y(t + h) at the precision of y."""
    run, constant = program(backend, field, solver, str(y.dtype))
    result = run(*(constant(a) for a in (y, t, h)))
    assert str(result.dtype).removeprefix("torch.") == str(y.dtype)
    return np.asarray(result)


def turn(t: Any, y: Any) -> Any:
    """dy/dt = cos(t) J y: a rotation by sin(t + h) - sin(t). A stage taken at a wrong time would cost an order."""
    xp = array_namespace(y)
    return xp.cos(t) * xp.stack([-y[:, 1], y[:, 0]], axis=-1)


def turned(y: np.ndarray, t: np.ndarray, h: np.ndarray) -> np.ndarray:
    angle = np.sin(t + h) - np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * y[:, 0] - s * y[:, 1], s * y[:, 0] + c * y[:, 1]], axis=-1)


def burst(t: Any, y: Any) -> Any:
    """dy/dt = y²: infinite at time 1 / y(0)."""
    return y * y


def error(backend: str, solver: Solver) -> float:
    return float(np.abs(solve(backend, turn, Y0, T0, LONG, solver) - turned(Y0, T0, LONG)).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", FIXED_STEP)
def test_order_of_convergence(backend: str, method: str) -> None:
    """The slope of log(error) over log(step). 0.1 is what the next term of the error leaves at 32 and 64 steps."""
    coarse, fine = (error(backend, Solver(method, steps)) for steps in (32, 64))
    assert math.log2(coarse / fine) == pytest.approx(ORDER[method], abs=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_methods_meet_their_tolerance(backend: str, method: str) -> None:
    """The tolerance bounds the error of a step; some ten steps of a field that does not amplify errors add up."""
    assert error(backend, standard(method)) < 10 * standard(method).rtol


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_wider_tolerance_is_used(method: str) -> None:
    """On torch alone: that both backends take the same steps is a test of its own."""
    wide = error("torch", Solver(method, rtol=1e-3, atol=1e-3))
    assert 10 * error("torch", standard(method)) < wide < 10 * 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_every_sample_has_its_own_interval(backend: str, method: str) -> None:
    h = np.array([0.1, 2.0, 0.0])
    together = solve(backend, turn, Y0, T0, h, standard(method))
    if method in FIXED_STEP:
        for i in range(3):  # alone, but for copies of itself: another size of the batch would be compiled anew
            y, t, length = (np.repeat(a[i : i + 1], 3, axis=0) for a in (Y0, T0, h))
            alone = solve(backend, turn, y, t, length, standard(method))
            np.testing.assert_allclose(together[i], alone[0], rtol=1e-14, atol=1e-14)  # the same operations: rounding
    else:
        # A batch shares its step sizes, chosen for the root mean square of all errors: as exact, but not the same.
        np.testing.assert_allclose(together, turned(Y0, T0, h), rtol=0, atol=10 * standard(method).rtol)
    np.testing.assert_array_equal(together[2], Y0[2])  # no time has passed: exactly nothing changes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_an_interval_of_length_zero_is_the_identity(backend: str, method: str) -> None:
    np.testing.assert_array_equal(solve(backend, turn, Y0, T0, np.zeros(3), standard(method)), Y0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", [*FIXED_STEP, "dopri5"])  # adaptive methods differ by their tables alone
def test_single_precision_loses_rounding_only(backend: str, method: str) -> None:
    """A float32 of 2 is exact to 2e-7; 1e-6 is a handful of such roundings in an interval of at most eight steps."""
    y, t, h = (a.astype(np.float32) for a in (Y0, T0, np.full(3, 0.1)))
    exact = solve(backend, turn, *(a.astype(np.float64) for a in (y, t, h)), solver=standard(method))
    assert np.abs(solve(backend, turn, y, t, h, standard(method)) - exact).max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_blow_up_is_a_value_and_not_an_exception(backend: str, method: str) -> None:
    """Past the singularity nothing finite is right. Fixed steps jump over it, so they start where squares overflow."""
    y = np.array([[1.0, 2.0]]) * (1e200 if method in FIXED_STEP else 1.0)
    assert not np.isfinite(solve(backend, burst, y, np.zeros(1), np.full(1, 10.0), standard(method))).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_state_that_is_not_a_number_stays_one(backend: str, method: str) -> None:
    assert np.isnan(solve(backend, turn, np.full_like(Y0, np.nan), T0, LONG, standard(method))).all()


@pytest.mark.parametrize("method", SOLVERS)
def test_both_backends_take_the_same_steps(method: str) -> None:
    """The same steps differ by rounding alone; a step that only one controller rejected would differ by 1e-6."""
    in_jax, in_torch = (solve(backend, turn, Y0, T0, LONG, standard(method)) for backend in BACKENDS)
    np.testing.assert_allclose(in_jax, in_torch, rtol=0, atol=1e-13)
