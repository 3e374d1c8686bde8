"""The task of flock detection: is a group that is seen for a while a flock, and is each of its agents part of it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.errors import UserError
from experiments.protocol import check_divides
from experiments.task import Task, content_hash, refuse_too_much
from experiments.trajectories import Trajectories
from learners.base import Question
from physics_models.base import System
from physics_models.solution import SimulationError

if TYPE_CHECKING:
    from physics_models.strangers import Cases

NAME = "flock_detection"
RULE = "flocking"  # the system whose agents form flocks
QUESTIONS = ("group", "members")
STREAM = 2**32 + 17


@dataclass(frozen=True)
class Detection:
    """How windows of tracks are drawn. Times are in the rule's own units.

    `question`: "group" (is this a flock? Half of the groups are, of the others all agents are strangers) or "members"
    (which agents belong to it? Of all agents half are strangers, of a group any number but none and all); see
    `physics_models.strangers`. `n_train`, `n_val`, `n_test` groups, even numbers; each is seen from `start` for
    `horizon`, every `spacing`, with an error of `noise` standard deviations (of positions about the group's centre;
    of velocities) in every position and velocity, in all three sets. `fresh`: every pass over the training data is
    over new groups. `data_seed`: the root of all draws.
    """

    question: str = "group"
    n_train: int = 1024
    n_val: int = 256
    n_test: int = 512
    start: float = 4.0
    horizon: float = 1.0
    spacing: float = 0.1
    noise: float = 0.1
    fresh: bool = False
    data_seed: int = 0

    def __post_init__(self) -> None:
        if self.question not in QUESTIONS:
            raise ValueError(f"question must be one of {', '.join(QUESTIONS)}, but it is {self.question!r}")
        for name in ("n_train", "n_val", "n_test"):
            if not getattr(self, name) >= 2 or getattr(self, name) % 2:
                raise ValueError(
                    f"{name} must be an even number of 2 or more, so that half of the answers are yes, but it is "
                    f"{getattr(self, name)}"
                )
        for name in ("horizon", "spacing"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, but it is {getattr(self, name)}")
        for name in ("start", "noise", "data_seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, but it is {getattr(self, name)}")
        if self.spacing > self.horizon:
            raise ValueError(f"spacing must be at most the horizon ({self.horizon}), but it is {self.spacing}")
        check_divides(self.spacing, self.horizon)

    @property
    def points(self) -> int:
        return round(self.horizon / self.spacing) + 1

    def seed_of(self, part: int) -> int:
        """The root of the draws of the test (0), validation (1) and training data (2, 3, … where they are fresh).

        That of the test data is also the root of the flocks of all three.
        """
        root = np.random.SeedSequence([self.data_seed, STREAM, 1 + part])
        return int(root.generate_state(1, np.uint64)[0] // 2)


def detection(rule: System, options: Detection, say: Callable[[str], None] = lambda text: None) -> Task:
    """Simulate (or find in the cache) and label. Raises UserError for what cannot be."""
    from physics_models.strangers import SUBSTEPS, flocks

    p, counts = options, (options.n_test, options.n_val, options.n_train)
    # Held at one time: two solutions and their difference, tracks and cases, at every substep.
    needed = 6 * 8 * sum(counts) * p.points * SUBSTEPS * math.prod(rule.state_shape)
    what, instead = f"{sum(counts)} groups seen at {p.points} points", "draw new ones on the way with task.fresh=true"
    refuse_too_much(NAME, what, needed, f"lower task.n_train, or {instead}")
    say(f"simulating {sum(counts)} flocks of {RULE} (or finding them in the cache)")
    with _told():
        found = flocks(rule, p.seed_of(0), sum(counts), p.start, p.spacing, p.points)  # in one program
        parts = np.split(found.y, np.cumsum(counts)[:-1])
        drawn = [_drawn(rule, p, part, tracks) for part, tracks in enumerate(parts)]
    scale = _spread(drawn[2].y)
    test, val, train = (_asked(rule, p, part, seen, scale) for part, seen in enumerate(drawn))

    def later(part: int) -> tuple[Trajectories, np.ndarray | None]:
        if part == 0:
            return train, None
        with _told():
            seed = p.seed_of(2 + part)
            tracks = flocks(rule, seed, p.n_train, p.start, p.spacing, p.points, keep=False).y  # seen once
            return _asked(rule, p, 2 + part, _drawn(rule, p, 2 + part, tracks), scale), None

    answers = 1 if p.question == "group" else drawn[0].members.shape[1]
    facts: dict[str, Any] = {
        "n_train": p.n_train,
        "time_unit": "a question and its answer",
        "question": p.question,
        "noise": p.noise,
        "reference_error": max(found.refinement_error, *(seen.error for seen in drawn)),
        "data_hash": content_hash(train, val, test),
        "horizon": f"{p.horizon:.3g} time units of tracks",
    }
    question = Question(answers, p.points, p.spacing, rule)
    return Task(
        NAME, None, False, train, val, test, 1.0, facts=facts, origin=type(rule), question=question,
        part=later if p.fresh else None,
    )  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    """What cannot be simulated is the user's mistake."""
    try:
        yield
    except SimulationError as problem:
        raise UserError(f"task {NAME}: {problem}") from None
    except ValueError as problem:
        raise UserError(f"task.{problem}") from None


def _drawn(rule: System, p: Detection, part: int, tracks: np.ndarray) -> Cases:
    """Cases of which half are flocks, or of whose agents half are members; which ones is drawn."""
    from physics_models.strangers import cases

    half, agents = len(tracks) // 2, rule.state_shape[0]
    rng = np.random.default_rng([p.seed_of(part), STREAM, 1])
    some = np.zeros(half, int) if p.question == "group" else rng.integers(1, agents, size=half)
    strangers = rng.permutation(np.concatenate([some, agents - some]))
    return cases(rule, tracks, strangers, p.spacing, p.seed_of(part))


def _spread(y: np.ndarray) -> np.ndarray:
    """(2,) standard deviations along an axis: of positions about the group's centre, and of velocities."""
    d = y.shape[-1] // 2
    x = y[..., :d] - y[..., :d].mean(axis=2, keepdims=True)
    return np.array([x.std(), y[..., d:].std()])


def _asked(rule: System, p: Detection, part: int, found: Cases, scale: np.ndarray) -> Trajectories:
    """What is seen of the cases, about the group's centre half-way, with the answers after it: 1/2, then 0 or 1."""
    n, _, agents, size = found.y.shape
    d = size // 2
    rng = np.random.default_rng([p.seed_of(part), STREAM])
    y = found.y + p.noise * np.repeat(scale, d) * rng.standard_normal(found.y.shape)
    y[..., :d] -= y[:, p.points // 2, :, :d].mean(axis=1)[:, None, None]
    labels = found.members if p.question == "members" else found.members[:, :1]  # all of them, or none
    tracks = y.reshape(n, 1, -1)
    answers = np.stack([np.full(labels.shape, 0.5), labels.astype(float)], axis=1)
    states = np.concatenate([np.repeat(tracks, 2, axis=1), answers], axis=-1)
    seen = [f"{name}{agent}_{k}" for k in range(p.points) for agent in range(agents) for name in rule.variables]
    said = ["flock"] if labels.shape[1] == 1 else [f"member{agent}" for agent in range(agents)]
    return Trajectories.common(np.array([0.0, 1.0]), states, seen + said)
