"""Strangers in a flock: matched to it in all that a moment shows, and told by nothing but what they answer to."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest

from physics_models import strangers
from physics_models.base import Structure
from physics_models.flocking import Flocking
from physics_models.lorenz63 import Lorenz63
from physics_models.order_parameters import polarisation
from physics_models.strangers import Cases, cases
from physics_models.vicsek import Vicsek

SYSTEM = Flocking(n_agents=5)
COUNT, START = 6, 1.0
# Sums of ten numbers of order one in another order.
ROUNDING = 1e-12


@functools.cache
def drawn(count: int, interval: float = 0.1, points: int = 6) -> Cases:
    tracks = strangers.flocks(SYSTEM, 3, COUNT, START, interval, points).y
    return cases(SYSTEM, tracks, np.full(COUNT, count), interval, 3)


class OnASlope(Flocking):
    """A flock that knows up from down, or says so."""

    @property
    def structure(self) -> Structure:
        return dataclasses.replace(super().structure, symmetries=("translation", "permutation", "time"))


class LeftHanded(Flocking):
    """A flock that knows left from right, or says so."""

    @property
    def structure(self) -> Structure:
        return dataclasses.replace(super().structure, symmetries=("translation", "rotation", "permutation", "time"))


@pytest.fixture(scope="module")
def flocks() -> np.ndarray:
    """The groups' own flocks, at `START` and at the points after it."""
    return strangers.flocks(SYSTEM, 3, COUNT, START, 0.1, 6).y[:, :: strangers.SUBSTEPS]


def test_without_strangers_it_is_the_flock(flocks: np.ndarray) -> None:
    found = drawn(0)
    assert found.members.all()
    np.testing.assert_array_equal(found.y, flocks)


@pytest.mark.parametrize("count", [2, 5])
def test_they_stand_where_the_flock_stood_and_fly_as_another_flew(count: int, flocks: np.ndarray) -> None:
    found = drawn(count)
    assert (found.members.sum(axis=1) == 5 - count).all()
    np.testing.assert_allclose(found.y[:, 0, :, :2], flocks[:, 0, :, :2], atol=ROUNDING)
    # Turning and moving leave speeds and distances flown as they are: each stranger's are those of one agent elsewhere.
    for row in range(COUNT):
        others = np.delete(flocks, row, axis=0)
        speeds = np.linalg.norm(others[..., 2:], axis=-1).transpose(0, 2, 1).reshape(-1, flocks.shape[1])
        for agent in np.nonzero(~found.members[row])[0]:
            own = np.linalg.norm(found.y[row, :, agent, 2:], axis=-1)
            assert np.abs(speeds - own).max(axis=1).min() < ROUNDING


def test_a_group_of_strangers_is_as_ordered_as_another_flock(flocks: np.ndarray) -> None:
    found = drawn(5)
    order, of_flocks = polarisation(found.y[..., 2:]), polarisation(flocks[..., 2:])
    for row in range(COUNT):
        others = np.delete(of_flocks, row, axis=0)
        assert np.abs(others - order[row]).max(axis=1).min() < ROUNDING
        mean, own = found.y[row, 0, :, 2:].mean(axis=0), flocks[row, 0, :, 2:].mean(axis=0)
        assert mean @ own == pytest.approx(np.linalg.norm(mean) * np.linalg.norm(own))  # the same direction


def test_the_best_match_of_a_flock_is_its_mirror_image(flocks: np.ndarray) -> None:
    """Which was turned, moved and put in another order; the stranger that stands for each agent does as it does."""
    order, image = [3, 0, 4, 1, 2], flocks[0] * [1, -1, 1, -1] + [5, 2, 0, 0]
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    image = np.concatenate([image[..., :2] @ turn, image[..., 2:] @ turn], axis=-1)[:, order]
    other, back, pairs = strangers._Match(np.concatenate([flocks, image[None]])).best(0)
    assert other == len(flocks)
    np.testing.assert_array_equal(np.array(order)[pairs], np.arange(5))
    np.testing.assert_allclose(image[:, pairs, 2:] @ back, flocks[0, ..., 2:], atol=ROUNDING)


def test_moments_say_how_a_group_grows_and_turns(flocks: np.ndarray) -> None:
    found = strangers.moments(flocks)
    size, products = np.exp(found[..., 0]), found[..., 5:]
    squared = 2 * np.mean(flocks[..., :2].var(axis=2), axis=-1)
    np.testing.assert_allclose(size**2, squared, rtol=ROUNDING)
    # By central differences over 0.2 time units, whose relative error is of the order of 0.1^2 over 6.
    rate = (squared[:, 2:] - squared[:, :-2]) / 0.2
    np.testing.assert_allclose((2 * size * (products[..., 0] + products[..., 3]))[:, 1:-1], rate, rtol=0.02, atol=0.02)
    x, v = flocks[..., :2] - flocks[..., :2].mean(axis=2, keepdims=True), flocks[..., 2:]
    turning = np.mean(x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0], axis=-1)
    np.testing.assert_allclose(size * (products[..., 1] - products[..., 2]), turning, atol=ROUNDING)
    np.testing.assert_allclose(found[..., 4], polarisation(v), atol=ROUNDING)


def test_members_obey_the_equations_and_strangers_do_not() -> None:
    """Velocities against the integral of the acceleration where all are, by trapezoids.

    Their error is h^2 / 12 times the third derivative of velocities of order one over the window's half time unit: with
    h = 0.0125 some 1e-5, against the tenths of a stranger.
    """
    found = drawn(2, 0.0125, 41)
    rate = SYSTEM.field(0.0, found.y)[..., 2:]
    told = np.sum(0.0125 / 2 * (rate[:, 1:] + rate[:, :-1]), axis=1)
    off = np.linalg.norm(found.y[:, -1, :, 2:] - found.y[:, 0, :, 2:] - told, axis=-1)
    assert off[found.members].max() < 1e-3 < np.median(off[~found.members])
    assert found.error < strangers.MOST_ERROR


def test_the_motion_of_members_does_not_depend_on_the_spacing() -> None:
    """`error` is by halving the step; an eighth of the step is another solution, which must lie within it."""
    coarse, fine = drawn(2), drawn(2, 0.0125, 41)
    assert np.abs(coarse.y - fine.y[:, ::8]).max() < 2 * coarse.error + 1e-9  # 1e-9: the flocks' own, see `reference`


def test_the_same_seed_the_same_groups() -> None:
    np.testing.assert_array_equal(drawn.__wrapped__(2).y, drawn(2).y)
    tracks = strangers.flocks(SYSTEM, 3, COUNT, START, 0.1, 6).y
    assert not np.array_equal(drawn(2).members, cases(SYSTEM, tracks, np.full(COUNT, 2), 0.1, 4).members)


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (Lorenz63(), "agents with velocities"),
        (Vicsek(), "agents with velocities"),
        (OnASlope(), "lacks: rotation"),
        (LeftHanded(), "lacks: reflection"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(system: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        strangers.flocks(system, 0, 3, 1.0, 0.1, 5)


def test_too_coarse_and_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups or more"):
        cases(SYSTEM, strangers.flocks(SYSTEM, 3, COUNT, START, 0.1, 6).y[:1], np.ones(1, int), 0.1, 0)
    with pytest.raises(ValueError, match="spacing must be shorter"):
        drawn(2, 3.0)
