"""The experimenter of an active task: what is done next is what a committee of quick models disagrees on most.

Query by committee (Seung, Opper & Sompolinsky 1992), whose members have each seen other trajectories (query by bagging,
Abe & Mamitsuka 1998). The committee belongs to the task and to no run: every model is given the same data, and the
seeds of a model stay independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.corruption import ACTIVE_STREAM, stream
from experiments.protocol import Protocol
from experiments.trajectories import Trajectories

MEMBERS = 5
FEATURES = 128  # of each member, besides the state itself
WIDTH = 1.5  # standard deviation of what goes into a feature: bent within the data, and flat far outside
RIDGE = 1e-6  # of a mean squared feature: far below what data tell, far above rounding


class Committee:
    """Ridge regressions of finite-difference rates on random features (Rahimi & Recht 2008), in units of the data:

        dz_m/dt = W_m [1, z, tanh(V_m z + b_m)],  m = 1 ... `MEMBERS`,

    z the whole state as one vector, each variable without its mean and in its standard deviations, V_m and b_m random,
    W_m fitted to a bootstrap sample of the trajectories. They know no time, and of a state what is observed.

    `data`: R trajectories. `held`: (R, *state), True at entries that were held, which teach nothing; or None. `flop`:
    all that the committee has computed so far, by formula (a multiply-add is 2, a tanh 1).
    """

    def __init__(self, data: Trajectories, held: np.ndarray | None, rng: np.random.Generator) -> None:
        inside = data.y[data.inside]
        axes = tuple(range(inside.ndim - 1))
        std = inside.std(axis=axes)
        self._mean, self._std = inside.mean(axis=axes), np.where(std > 0, std, 1.0)
        rows, first = data.window_starts(1)
        z = [self._standard(data.y[rows, first + k]) for k in (0, 1)]
        rates = (z[1] - z[0]) / (data.times[rows, first + 1] - data.times[rows, first])[:, None]
        free = None if held is None else ~held.reshape(data.count, -1)[rows]
        size = z[0].shape[1]
        self._into = rng.standard_normal((MEMBERS, size, FEATURES)) * (WIDTH / np.sqrt(size))
        self._bias = rng.uniform(-WIDTH, WIDTH, (MEMBERS, 1, FEATURES))
        self.flop, weights = 0, []
        for m in range(MEMBERS):
            often = rng.multinomial(data.count, np.full(data.count, 1 / data.count))
            weights.append(self._fit(self._features(z[0], m), rates, often[rows], free))
        self._weights = np.stack(weights)

    def _standard(self, y: np.ndarray) -> np.ndarray:
        """(B, size) from states (B, *state)."""
        return ((y - self._mean) / self._std).reshape(len(y), -1)

    def _features(self, z: np.ndarray, member: int) -> np.ndarray:
        """(B, 1 + size + FEATURES) from (B, size)."""
        self.flop += len(z) * FEATURES * (2 * z.shape[1] + 2)
        bent = np.tanh(z @ self._into[member] + self._bias[member])
        return np.concatenate([np.ones((len(z), 1)), z, bent], axis=1)

    def _fit(self, x: np.ndarray, rates: np.ndarray, often: np.ndarray, free: np.ndarray | None) -> np.ndarray:
        """(features, size) weights; windows count as often as they were drawn, and nothing where they are not free."""
        (n, f), size = x.shape, rates.shape[1]
        still = np.zeros((n, size), bool) if free is None else ~free
        weighted = x * often[:, None]
        gram = weighted.T @ x + RIDGE * often.sum() * np.eye(f)
        target = weighted.T @ np.where(still, 0.0, rates)
        self.flop += 2 * n * f * (f + size) + 2 * f**3 // 3 + 2 * f * f * size
        found = np.linalg.solve(gram, target)
        for k in np.flatnonzero(still.any(axis=0)):
            out = still[:, k]
            found[:, k] = np.linalg.solve(gram - weighted[out].T @ x[out], target[:, k])
            self.flop += 2 * int(out.sum()) * f * f + 2 * f**3 // 3 + 2 * f * f
        return found

    def disagreement(self, y0: np.ndarray, held: np.ndarray | None, lengths: np.ndarray) -> np.ndarray:
        """(B,) how far the members' rollouts from y0 (B, *state) spread, over intervals of these `lengths` (T,).

        The root of their variance, averaged over times and over entries that are not `held` (B, *state), in standard
        deviations of the data; infinite where a rollout is.
        """
        start, total = self._standard(y0), np.zeros(len(y0))
        free = np.ones(start.shape, bool) if held is None else ~held.reshape(len(y0), -1)
        members = [start] * MEMBERS
        with np.errstate(over="ignore", invalid="ignore"):
            for h in lengths:
                members = [
                    np.where(free, z + h * (self._features(z, m) @ self._weights[m]), start)
                    for m, z in enumerate(members)
                ]
                total += np.sum(np.var(members, axis=0) * free, axis=1) / np.maximum(free.sum(axis=1), 1)
            self.flop += MEMBERS * len(lengths) * start.size * 2 * self._weights.shape[1]
            spread = np.sqrt(total / len(lengths))
        return np.where(np.isfinite(spread), spread, np.inf)


@dataclass(frozen=True)
class Options:
    """C candidates for each of n things to do, the first of them what is done where nobody picks.

    `starts` (C, n, *state): what is observed of the states from which they go on; `held`: what is held from there on,
    or None. `trajectory` (n,): the training trajectory that each belongs to. `shape` of what comes of one.
    """

    starts: np.ndarray
    held: np.ndarray | None
    trajectory: np.ndarray
    shape: tuple[int, ...]


@dataclass
class Experimenter:
    """Who carries out what is picked, in rounds, and keeps account. `lengths` (T,): the intervals that are foreseen.

    Each thing to be done, a trajectory or an intervention on one, is picked by itself as the one of its own random
    candidates on which the committee disagrees most: picks of one round are not one thing many times over.
    """

    protocol: Protocol
    lengths: np.ndarray
    flop: int = 0
    pool: list[float] = field(default_factory=list)
    picked: list[float] = field(default_factory=list)

    def results(
        self,
        options: Options,
        carry_out: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
        data: Callable[[int, np.ndarray, np.ndarray], tuple[Trajectories, np.ndarray | None]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) which candidate each of the n things is, and what came of it, (n, points, *state).

        `carry_out(round, these, which)`: of the things `these`, their candidates being which[these]. `data(count,
        which, results)`: what is then known of the first `count` trajectories, and what was held in them.
        """
        p, n = self.protocol, len(options.trajectory)
        which, round_of = np.zeros(n, int), self._round(options.trajectory)
        found = np.full((n, *options.shape), np.nan)
        most = max(np.bincount(round_of))
        for number in range(p.rounds if p.active else 1):
            these = np.flatnonzero(round_of == number)
            if len(these) == 0:  # no intervention falls into this round
                continue
            if number:
                known = data(int(np.sum(self._round(np.arange(p.n_train)) < number)), which, found)
                which[these] = self._pick(Committee(*known, stream(p, ACTIVE_STREAM, number)), options, these)
            # All rounds of one size: each size is a program to compile.
            found[these] = carry_out(number, np.resize(these, most), which)[: len(these)]
        return which, found

    def _round(self, trajectory: np.ndarray) -> np.ndarray:
        p = self.protocol
        return trajectory * p.rounds // p.n_train if p.active else np.zeros_like(trajectory)

    def _pick(self, committee: Committee, options: Options, these: np.ndarray) -> np.ndarray:
        """(n,) the candidate of each of these things that is disagreed on most."""
        y0, held = options.starts[:, these], None if options.held is None else options.held[:, these]
        flat = y0.reshape(-1, *y0.shape[2:]), None if held is None else held.reshape(-1, *held.shape[2:])
        spread = committee.disagreement(*flat, self.lengths).reshape(y0.shape[:2])
        best = spread.argmax(axis=0)
        self.flop += committee.flop
        self.pool += spread.ravel().tolist()
        self.picked += spread.max(axis=0).tolist()
        return best

    def facts(self) -> dict[str, Any]:
        """What the picks cost, and the median disagreement on all candidates and on those that were picked."""
        if not self.pool:
            return {}
        medians = (float(np.median(values)) for values in (self.pool, self.picked))
        told = [value if np.isfinite(value) else None for value in medians]
        return {"picking_flop": self.flop, "disagreement_of_candidates": told[0], "disagreement_of_picks": told[1]}


def candidates_of(first: np.ndarray, protocol: Protocol, more: Callable[[int], np.ndarray]) -> np.ndarray:
    """(C, n, ...) from what is done where nobody picks, (n, ...), and `more(C - 1)`; C is 1 where nobody picks."""
    return np.concatenate([first[None], more(protocol.candidates - 1)]) if protocol.active else first[None]
