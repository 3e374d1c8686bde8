"""The reference solver: exact cases, honest errors, no traces in the process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_api_compat import array_namespace

from physics_models import simulate as module
from physics_models.base import Array, System
from physics_models.lorenz63 import Lorenz63
from physics_models.simulate import SimulationError, simulate


@dataclass(frozen=True)
class Scalar(System):
    """du/dt = -u, u^2 (infinite at t = 1/u0), log(1 - t) (ends at t = 1) or 1e4 (cos t - u) (stiff)."""

    law: str = "decay"

    term_names: ClassVar[tuple[str, ...]] = ("all",)

    @property
    def variables(self) -> tuple[str, ...]:
        return ("u",)

    def terms(self, t: Array, y: Array, p: Mapping[str, Any], names: Collection[str]) -> dict[str, Array]:
        xp = array_namespace(y)
        laws = {
            "decay": lambda: -y,
            "explosion": lambda: y * y,
            "ends": lambda: xp.log(1 - t + 0 * y),
            "stiff": lambda: 1e4 * (xp.cos(t + 0 * y) - y),
        }
        return {"all": laws[self.law]()}

    def initial_state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.5, 1, 1)


START = np.array([[0.5], [1.0]])


def test_exact_solution_at_unequal_times_and_nothing_leaks() -> None:
    with jax.enable_x64(False):
        times = 1 + np.linspace(0, 1.7, 61) ** 2  # the first is the start, whatever its value
        found = simulate(Scalar(), START, times)
        assert jnp.ones(1).dtype == jnp.float32
    assert found.y.shape == (2, 61, 1) and found.y.dtype == np.float64 and found.y.flags.writeable
    assert np.array_equal(found.y[:, 0], START)
    # Every step errs by less than 1e-10, there are about ten, and errors of a decay shrink.
    np.testing.assert_allclose(found.y[..., 0], START * np.exp(1 - times), rtol=0, atol=1e-9)
    assert found.rtol == 1e-10 and 0 <= found.refinement_error < 1e-9


def test_times_that_steps_nearly_hit() -> None:
    """Save times one rounding error apart from round numbers leave no sliver that looks like a singularity."""
    times = np.unique(np.concatenate([np.arange(1, 31) * 0.1, np.nextafter(np.arange(1, 31) * 0.1, 9), [0.0]]))
    y = simulate(Scalar(), START, times).y
    np.testing.assert_allclose(y[..., 0], START * np.exp(-times), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("law", "start", "time"), [("explosion", 0.5, 2.0), ("ends", 0.5, 1.0)])
def test_singularities_are_reported_with_their_time(law: str, start: float, time: float) -> None:
    y0 = np.array([[-1.0 if law == "explosion" else 0.0], [start]])
    with pytest.raises(SimulationError, match=rf"stops at t = {time:g}; it blows up or stops being finite") as caught:
        simulate(Scalar(law), y0, np.linspace(0, 3, 31))
    assert ("trajectory 1 (and 0 more)" in str(caught.value)) == (law == "explosion")


def test_too_many_steps_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 1000)
    module._program.cache_clear()  # the bound is compiled in
    try:
        with pytest.raises(SimulationError, match=r"needs more than 1000 steps.* stiff"):
            simulate(Scalar("stiff"), START, np.array([0.0, 3.0]))
    finally:
        module._program.cache_clear()


def test_chaos_beyond_the_horizon_is_refused_and_before_it_recorded() -> None:
    system = Lorenz63()
    y0 = np.array([[1.0, 1.0, 20.0], [-5.0, 3.0, 25.0]])
    short = simulate(system, y0, np.array([0.0, 5.0]))
    # Errors of 1e-10 grow by exp(0.906 * 5) = 93 on average; single trajectories deviate a hundredfold.
    assert 1e-12 < short.refinement_error < 1e-5
    with pytest.raises(SimulationError, match=r"smaller rtol .* shorter horizon than 40"):
        simulate(system, y0, np.array([0.0, 40.0]))


def test_nothing_to_solve() -> None:
    assert np.array_equal(simulate(Scalar(), START, np.array([2.0])).y, START[:, None])
    assert simulate(Scalar(), np.zeros((0, 1)), np.array([0.0, 1.0])).y.shape == (0, 2, 1)


@pytest.mark.parametrize(
    ("y0", "times", "rtol", "message"),
    [
        (np.ones((2, 3)), [0, 1], 1e-10, r"y0 must have the shape \(R, 1\), but it is \(2, 3\)"),
        (np.ones(1), [0, 1], 1e-10, r"y0 must have the shape"),
        (START, [0, 1, 1], 1e-10, "times must be a row of increasing numbers"),
        (START, [], 1e-10, "times must be a row of increasing numbers"),
        (START, [[0, 1]], 1e-10, "times must be a row of increasing numbers"),
        (START, [0, np.nan], 1e-10, "must be finite"),
        (START * np.inf, [0, 1], 1e-10, "must be finite"),
        (START, [0, 1], 0.0, "rtol must be between"),
        (START, [0, 1], float("nan"), "rtol must be between"),
    ],
)
def test_bad_arguments(y0: np.ndarray, times: list[float], rtol: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(Scalar(), y0, np.array(times, dtype=float), rtol)
