"""Trajectories drawn from a system as a protocol says: held-out ones, and training data in one part or in many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.corruption import INTERVENTION_STREAM, PART_STREAM, stream
from experiments.protocol import Protocol
from experiments.trajectories import Trajectories
from physics_models.base import System
from physics_models.solution import Reference, SimulationError

CUTS = 8  # a trajectory that blows up is kept up to a whole number of these parts of the horizon


@dataclass(frozen=True)
class Drawn:
    """Some trajectories without noise. `held` (R, *state): entries that an experimenter held, or None.

    `passive`: the same trajectories with nothing done to them, which scales are measured on.
    """

    clean: Trajectories
    passive: Trajectories
    held: np.ndarray | None = None


@dataclass
class Source:
    """All data of one simulated task. `facts`: what is known of them so far; `mean`, `std` (D,): of the first part of
    the training data, without noise and with nothing hidden."""

    system: System
    protocol: Protocol
    cache: Path | None
    facts: dict[str, Any] = field(default_factory=dict)
    shifted: dict[str, Any] = field(default_factory=dict)  # the test sets out of distribution drawn so far

    @cached_property
    def mean(self) -> np.ndarray:
        return _by_variable(self._passive_first, np.mean)

    @cached_property
    def std(self) -> np.ndarray:
        return _by_variable(self._passive_first, np.std)

    @property
    def in_parts(self) -> bool:
        """Whether there are more training data than the first part of them."""
        return self.protocol.fresh or self.protocol.shards > 1

    @cached_property
    def _first(self) -> list[Trajectories]:
        """Test, validation, and, where it is drawn along with them, training data."""
        p = self.protocol
        # Test and validation first: more training data then leave them as they are.
        ends = np.cumsum([p.n_test, p.n_val, *([p.n_train] if p.shards == 1 else [])])
        found = self._reference(p.data_seed, int(ends[-1]))
        if isinstance(found, Trajectories):
            return [found.select(rows) for rows in np.split(np.arange(ends[-1]), ends[:-1])]
        return [self._common(y) for y in np.split(found.y, ends[:-1])]

    def held_out(self) -> tuple[Trajectories, Trajectories]:
        """Test and validation data."""
        test, val = self._first[:2]
        return test, val

    def training(self, part: int = 0) -> Drawn:
        """Part 0, 1, … of the training data: of a fresh stream without end, or of the shards, around and around."""
        p = self.protocol
        passive = self._passive(part) if part else self._passive_first
        if not p.interventional:
            return Drawn(passive, passive)
        return self._kicked(passive, part) if p.intervention == "kick" else self._clamped(passive, part)

    @cached_property
    def _passive_first(self) -> Trajectories:
        return self._passive(0)

    def _passive(self, part: int) -> Trajectories:
        """Training data with nothing done to them."""
        p = self.protocol
        if p.shards > 1:
            found = self._reference(self.seed_of(part % p.shards), p.n_train // p.shards)
            assert isinstance(found, Reference)  # a cut one has one part: see Protocol
            return self._common(found.y)
        if part == 0:
            return self._first[2]
        # Seen once: kept nowhere.
        from physics_models.cache import initial_states
        from physics_models.simulate import simulate

        seed = self.seed_of(part)
        starts = initial_states(self.system, seed, p.n_train)
        return self._common(simulate(self.system, starts, p.times, 1e-10, p.process_noise, seed).y)

    def seed_of(self, part: int, kind: int = PART_STREAM) -> int:
        """The root of a further part's draws: one number, because parts have as many trajectories as they like."""
        words = np.random.SeedSequence([self.protocol.data_seed, kind, 1 + part]).generate_state(1, np.uint64)
        return int(words[0])

    def _common(self, y: np.ndarray) -> Trajectories:
        return Trajectories.common(self.protocol.times, y, self.system.variables)

    def _reference(self, seed: int, n: int) -> Reference | Trajectories:
        from physics_models.cache import reference

        p = self.protocol
        # Arguments that say nothing are left out: they came later than what stands in for `reference` in tests.
        noise = {"process_noise": p.process_noise} if p.process_noise else {}
        try:
            found = reference(self.system, seed, n, p.times, self.cache, **noise)
        except SimulationError as problem:
            if p.on_blow_up == "refuse" or problem.stopped_at is None:
                raise
            return self._cut(seed, n)
        worst = max(found.refinement_error, self.facts.get("reference_error", 0.0))
        self.facts["reference_error"] = worst
        return found

    def _cut(self, seed: int, n: int) -> Trajectories:
        """Each trajectory up to where it can be trusted: a whole number of parts of the horizon before it blows up."""
        from physics_models.cache import initial_states
        from physics_models.simulate import simulate

        times, starts = self.protocol.times, initial_states(self.system, seed, n)
        steps = max(1, (len(times) - 1) // CUTS)  # few lengths: each is a program to compile
        y, lengths = np.full((n, len(times), *self.system.state_shape), np.nan), np.zeros(n, int)
        stops, error = [], 0.0
        for row, start in enumerate(starts):
            points = len(times)
            while points > 1:
                try:
                    found = simulate(self.system, start[None], times[:points])
                except SimulationError as problem:
                    at = problem.stopped_at
                    if points == len(times):
                        stops.append(times[-1] if at is None else at)
                    before = points - 1 - steps if at is None else int(np.searchsorted(times, at)) - 1
                    points = min(points - 1, before) // steps * steps + 1
                    continue
                y[row, :points], lengths[row] = found.y[0], points
                error = max(error, found.refinement_error)
                break
        lengths = np.maximum(lengths, 1)  # one that cannot be begun is its start alone
        y[:, 0] = starts
        rows = np.tile(times, (n, 1))
        rows[np.arange(len(times)) >= lengths[:, None]] = np.nan
        self.facts |= {
            "reference_error": error,
            "blown_up": len(stops),
            "first_blow_up_time": float(min(stops)) if stops else None,
        }
        return Trajectories(rows, y, lengths, self.system.variables)

    # -- training data under interventions ---------------------------------------------------------------------------

    def _chosen(self, data: Trajectories, part: int) -> tuple[np.random.Generator, np.ndarray]:
        rng = stream(self.protocol, INTERVENTION_STREAM, part)
        count = max(1, round(self.protocol.interventional * data.count))
        return rng, np.sort(rng.choice(data.count, count, replace=False))

    def _kicked(self, passive: Trajectories, part: int) -> Drawn:
        """Half-way, chosen trajectories are moved by a Gaussian vector of the data's own size, in the logarithm where a
        variable is positive, as populations are. No window crosses the kick: what comes after is a trajectory of its
        own."""
        from physics_models.simulate import simulate

        if "time" not in self.system.structure.symmetries:
            raise ValueError("intervention must be clamp where the equations depend on time, but it is kick")
        rng, rows = self._chosen(passive, part)
        times, middle = self.protocol.times, len(self.protocol.times) // 2
        if middle < 2 or len(times) - middle < 2:
            raise ValueError(f"intervention must leave 2 points before and after a kick: give more than {len(times)}")
        axes, at = tuple(range(passive.y.ndim - 1)), passive.y[rows, middle]
        positive = (passive.y > 0).all(axis=axes)
        logarithms = np.log(np.where(positive, passive.y, 1.0))
        size = np.where(positive, logarithms.std(axis=axes), _by_variable(passive, np.std))
        push = size * rng.standard_normal(at.shape)
        starts = np.where(positive, at * np.exp(np.where(positive, push, 0.0)), at + push)
        seed = self.seed_of(part, INTERVENTION_STREAM)
        after = simulate(self.system, starts, times[middle:], 1e-10, self.protocol.process_noise, seed).y
        r, t = passive.count, len(times)
        shape = (r + len(rows), t)
        new_times, y = np.full(shape, np.nan), np.full((*shape, *passive.state_shape), np.nan)
        new_times[:r], y[:r] = passive.times, passive.y
        new_times[rows, middle:], y[rows, middle:] = np.nan, np.nan
        new_times[r:, : t - middle], y[r:, : t - middle] = times[middle:], after
        lengths = np.full(r + len(rows), t)
        lengths[rows], lengths[r:] = middle, t - middle
        return Drawn(Trajectories(new_times, y, lengths, passive.variables), passive)

    def _clamped(self, passive: Trajectories, part: int) -> Drawn:
        """Chosen trajectories again from their starts, each with one agent, or one variable, held there."""
        from physics_models.interventions import clamped_by_state
        from physics_models.simulate import simulate

        rng, rows = self._chosen(passive, part)
        if self.protocol.process_noise:
            raise ValueError("intervention must be kick with process noise, which moves what is held, but it is clamp")
        shape = passive.state_shape
        agents = self.system.structure.agents
        which = rng.integers(shape[0] if agents is not None else shape[-1], size=len(rows))
        held = np.zeros((passive.count, *shape), bool)
        if agents is not None:
            held[rows, which] = True
        else:
            held[rows, ..., which] = True
        starts = np.concatenate([passive.y[rows, 0], held[rows]], axis=-1)
        seed = self.seed_of(part, INTERVENTION_STREAM)
        found = simulate(clamped_by_state(self.system), starts, self.protocol.times, 1e-10, 0.0, seed)
        y = passive.y.copy()
        y[rows] = found.y[..., : shape[-1]]
        return Drawn(Trajectories(passive.times, y, passive.lengths, passive.variables), passive, held)


def _by_variable(data: Trajectories, statistic: Callable[..., np.ndarray]) -> np.ndarray:
    """(D,) over all points (and agents)."""
    y = data.y[data.inside] if np.isnan(data.y).any() else data.y
    return statistic(y, axis=tuple(range(y.ndim - 1)))
