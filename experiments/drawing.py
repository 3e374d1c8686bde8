"""Trajectories drawn from a system as a protocol says: held-out ones, and training data in one part or in many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.active import Experimenter, Options, candidates_of
from experiments.corruption import ACTIVE_STREAM, INTERVENTION_STREAM, PART_STREAM, observed, seen, stream
from experiments.protocol import Protocol
from experiments.trajectories import Trajectories
from physics_models.base import System
from physics_models.solution import Reference, SimulationError
from physics_models.under_intervention import given_variables

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
            parts = [found.select(rows) for rows in np.split(np.arange(ends[-1]), ends[:-1])]
            for name, part in zip(("test", "validation", "training"), parts, strict=True):
                if part.lengths.max() < 2:
                    raise SimulationError(
                        f"on_blow_up=cut must leave something of a {name} trajectory, but each blows up within an "
                        f"eighth of the horizon, the first of all at t = {self.facts['first_blow_up_time']:.3g}: check "
                        "the equations and the initial states, or shorten task.horizon"
                    )
            return parts
        return [self._common(y) for y in np.split(found.y, ends[:-1])]

    def held_out(self) -> tuple[Trajectories, Trajectories]:
        """Test and validation data."""
        test, val = self._first[:2]
        return test, val

    def training(self, part: int = 0) -> Drawn:
        """Part 0, 1, … of the training data: of a fresh stream without end, or of the shards, around and around."""
        p = self.protocol
        passive = self._passive(part) if part else self._passive_first
        if p.interventional:
            return self._kicked(passive, part) if p.intervention == "kick" else self._clamped(passive, part)
        return self._started(passive) if p.active else Drawn(passive, passive)

    def given(self, drawn: Drawn, part: int = 0) -> tuple[Trajectories, np.ndarray | None]:
        """What models are given of training data: with the noise and all, and without what is hidden."""
        p = self.protocol
        held = None if drawn.held is None else drawn.held[..., self._observed]
        return observed(seen(drawn.clean, p, self.std, part), p.hidden), held

    @property
    def _observed(self) -> list[int]:
        return [k for k, name in enumerate(self.system.variables) if name not in self.protocol.hidden]

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

    # -- what an experimenter does ------------------------------------------------------------------------------------

    def _results(
        self, seen: np.ndarray, held: np.ndarray | None, rows: np.ndarray, points: int,
        carry_out: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
        data: Callable[[int, np.ndarray, np.ndarray], Drawn],
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """See `Experimenter.results`; the task's facts then have its account."""
        p, kept = self.protocol, self._observed
        options = Options(seen[..., kept], None if held is None else held[..., kept], rows, (points, *seen.shape[2:]))
        unit = max(1, round(min(self.system.time_scale, p.horizon) / p.spacing))
        experimenter = Experimenter(p, np.full(unit, p.spacing))
        found = experimenter.results(options, carry_out, lambda *so_far: self.given(data(*so_far)))
        self.facts |= experimenter.facts()
        return found

    def _started(self, passive: Trajectories) -> Drawn:
        """Trajectories from other starts of the same law."""
        from physics_models.cache import initial_states
        from physics_models.simulate import simulate

        p, first = self.protocol, passive.y[:, 0]
        seed = self.seed_of(0, ACTIVE_STREAM)
        starts = candidates_of(
            first, p, lambda c: initial_states(self.system, seed, c * len(first)).reshape(c, *first.shape)
        )

        def carry_out(number: int, these: np.ndarray, which: np.ndarray) -> np.ndarray:
            if number == 0:
                return passive.y[these]
            chosen = starts[which[these], these]
            found = simulate(self.system, chosen, p.times, 1e-10, p.process_noise, self.seed_of(number))
            self.facts["reference_error"] = max(found.refinement_error, self.facts["reference_error"])
            return found.y

        def data(count: int, which: np.ndarray, y: np.ndarray) -> Drawn:
            return Drawn(self._common(y[:count]), passive)

        rows = np.arange(passive.count)
        return data(passive.count, *self._results(starts, None, rows, len(p.times), carry_out, data))

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
        p = self.protocol
        rng, rows = self._chosen(passive, part)
        times, middle = p.times, len(p.times) // 2
        if middle < 2 or len(times) - middle < 2:
            raise ValueError(f"intervention must leave 2 points before and after a kick: give more than {len(times)}")
        axes, at = tuple(range(passive.y.ndim - 1)), passive.y[rows, middle]
        positive = (passive.y > 0).all(axis=axes)
        logarithms = np.log(np.where(positive, passive.y, 1.0))
        size = np.where(positive, logarithms.std(axis=axes), _by_variable(passive, np.std))
        # Nothing acts on a charge or a clock, and neither does who kicks.
        size = np.where(np.isin(self.system.variables, given_variables(self.system)), 0.0, size)
        more = stream(p, ACTIVE_STREAM)
        push = size * candidates_of(rng.standard_normal(at.shape), p, lambda c: more.standard_normal((c, *at.shape)))
        starts = np.where(positive, at * np.exp(np.where(positive, push, 0.0)), at + push)

        def carry_out(number: int, these: np.ndarray, which: np.ndarray) -> np.ndarray:
            seed = self.seed_of(part + number, INTERVENTION_STREAM)
            return simulate(self.system, starts[which[these], these], times[middle:], 1e-10, p.process_noise, seed).y

        def data(count: int, which: np.ndarray, after: np.ndarray) -> Drawn:
            mine = rows < count
            return Drawn(_cut_at(passive.select(np.arange(count)), rows[mine], after[mine], times, middle), passive)

        return data(passive.count, *self._results(starts, None, rows, len(times) - middle, carry_out, data))

    def _clamped(self, passive: Trajectories, part: int) -> Drawn:
        """Chosen trajectories again from their starts, each with one agent, or one variable, held there."""
        from physics_models.interventions import clamped_by_state
        from physics_models.simulate import simulate

        p = self.protocol
        rng, rows = self._chosen(passive, part)
        if p.process_noise:
            raise ValueError("intervention must be kick with process noise, which moves what is held, but it is clamp")
        shape, n = passive.state_shape, len(rows)
        agents = self.system.structure.agents is not None
        kinds, more = shape[0] if agents else shape[-1], stream(p, ACTIVE_STREAM)
        entry = candidates_of(rng.integers(kinds, size=n), p, lambda c: more.integers(kinds, size=(c, n)))
        one = np.arange(kinds) == entry[..., None]
        ones = (1,) * (len(shape) - 1)
        one = one.reshape(*entry.shape, kinds, *ones) if agents else one.reshape(*entry.shape, *ones, kinds)
        held = np.broadcast_to(one, (*entry.shape, *shape))
        starts = np.broadcast_to(passive.y[rows, 0], held.shape)

        def carry_out(number: int, these: np.ndarray, which: np.ndarray) -> np.ndarray:
            both = np.concatenate([starts[0, these], held[which[these], these]], axis=-1)
            seed = self.seed_of(part + number, INTERVENTION_STREAM)
            return simulate(clamped_by_state(self.system), both, p.times, 1e-10, 0.0, seed).y[..., : shape[-1]]

        def data(count: int, which: np.ndarray, clamped: np.ndarray) -> Drawn:
            y, whole, mine = passive.y[:count].copy(), np.zeros((count, *shape), bool), rows < count
            y[rows[mine]] = clamped[mine]
            whole[rows[mine]] = held[which, np.arange(n)][mine]
            return Drawn(self._common(y), passive, whole)

        return data(passive.count, *self._results(starts, held, rows, len(p.times), carry_out, data))


def _cut_at(passive: Trajectories, rows: np.ndarray, after: np.ndarray, times: np.ndarray, middle: int) -> Trajectories:
    """All trajectories, these `rows` of them up to the point `middle`, and then what came `after` it."""
    r, t = passive.count, len(times)
    shape = (r + len(rows), t)
    new_times, y = np.full(shape, np.nan), np.full((*shape, *passive.state_shape), np.nan)
    new_times[:r], y[:r] = passive.times, passive.y
    new_times[rows, middle:], y[rows, middle:] = np.nan, np.nan
    new_times[r:, : t - middle], y[r:, : t - middle] = times[middle:], after
    lengths = np.full(r + len(rows), t)
    lengths[rows], lengths[r:] = middle, t - middle
    return Trajectories(new_times, y, lengths, passive.variables)


def _by_variable(data: Trajectories, statistic: Callable[..., np.ndarray]) -> np.ndarray:
    """(D,) over all points (and agents)."""
    y = data.y[data.inside] if np.isnan(data.y).any() else data.y
    return statistic(y, axis=tuple(range(y.ndim - 1)))
