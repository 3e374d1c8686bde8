"""What a verdict consists of. Everything has an interval or a reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reports.scaling import Bootstrap, Chinchilla, HeldOut, Identifiability, Interval, PowerLaw

# What can be said of a structured model against a black box, on one task, along one axis of cost.
ESCAPES = "escapes the wall"  # its exponent is larger, and the held-out decade is predicted
OFFSET = "offset only"  # cheaper (or dearer) by a factor that does not change with cost
CROSSED = "hits a floor: crossed"  # ahead at first, and the black box is or will be below its floor
CATCHES_UP = "black box catches up"  # the black box has the larger exponent, but is not the better one yet
BEHIND = "black box ahead"  # the black box has the larger exponent and is better already, or is better throughout
CANNOT_TELL = "cannot tell"
SAYS = (ESCAPES, OFFSET, CROSSED, CATCHES_UP, BEHIND, CANNOT_TELL)


@dataclass(frozen=True)
class Scaling:
    """How the error of one model falls on one task along one axis of cost.

    `cost`, `error`, `labels`: the frontier over sizes and data, medians over seeds. `member_cost`, `member_error`,
    `member_cluster` ((n, 2): draw, seed), `member_run` (index into the study's runs): all points on it
    that are fitted (of very many, medians, each with one of its runs).
    `law`, `boot`, `exponent`, `floor`, `heldout` are None where nothing can be fitted; `reasons` then say why.
    `band`: costs, and the error's median, low and high there, extrapolated beyond the data; (4, n) or None.
    `start`: the cost from which the law is fitted (before it training has not begun to lower the error).
    `runs`: how many runs there are, by status.
    """

    task: str
    condition: str
    model: str
    axis: str
    runs: dict[str, int]
    cost: np.ndarray
    error: np.ndarray
    labels: np.ndarray
    member_cost: np.ndarray
    member_error: np.ndarray
    member_cluster: np.ndarray
    member_run: np.ndarray
    law: PowerLaw | None = None
    boot: Bootstrap | None = None
    exponent: Interval | None = None
    floor: Interval | None = None
    heldout: HeldOut | None = None
    identifiability: Identifiability | None = None
    band: np.ndarray | None = None
    reasons: tuple[str, ...] = ()
    start: float | None = None


@dataclass(frozen=True)
class Surface:
    """How the error of one model falls with its size and with its data: L = E + A/N^α + B/D^β over runs that finished.

    `n`, `d`, `error`, `cluster`: (runs,) parameters, training windows, final test error, and (runs, 2) draw and seed.
    `intervals`: of floor, exponent_n and exponent_d; empty without spread. `law` is None where nothing can be fitted;
    `reasons` say why, or what the data cannot tell of it.
    """

    task: str
    condition: str
    model: str
    n: np.ndarray
    d: np.ndarray
    error: np.ndarray
    cluster: np.ndarray
    law: Chinchilla | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; infinite where it is never reached. `value` None: unknown, for `reason`."""

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.9
    reason: str = ""


@dataclass(frozen=True)
class Contest:
    """A structured model against a black box on one task along one axis.

    `difference`: of exponents, structured less black box. `p`, `p_holm`: two-sided, alone and corrected over tasks.
    `error_ratio`: structured over black box at equal cost (the largest that both have). `cost_ratio`: black box over
    structured at equal error (the least that both have). `crossover`: the cost from which the black box is better.
    `improvement`: the probability that a structured run has the lower final error. `says` is one of `SAYS`.
    `sentence` says it in words, with the numbers; `reasons` are what stands against saying more.
    `common`: the costs that both have, over which the exponents are compared. `equal_error`: that of `cost_ratio`.
    """

    task: str
    condition: str
    axis: str
    structured: str
    black_box: str
    says: str
    sentence: str
    difference: Estimate
    p: float | None
    p_holm: float | None
    error_ratio: Estimate
    cost_ratio: Estimate
    crossover: Estimate
    improvement: Estimate
    reasons: tuple[str, ...] = ()
    common: tuple[float, float] | None = None
    equal_error: float | None = None


@dataclass(frozen=True)
class Extrapolation:
    """What a target error would take of one model, as Thompson et al. (2020) tabulate it: along `axis`, in joules,
    money and CO2 (of the device and the prices named in `basis`)."""

    task: str
    condition: str
    model: str
    target: float
    cost: Estimate
    axis: str = "flop"
    energy_j: Estimate | None = None
    money_usd: Estimate | None = None
    co2_g: Estimate | None = None
    basis: str = ""


@dataclass(frozen=True)
class BreakEven:
    """Predictions (time units of one trajectory) after which one model's lifetime cost, training and inference, is less
    than another's at equal error: `queries`, infinite for never, 0 for from the start. `until`: where it is less from
    the start, but dearer a prediction, the predictions up to which it is. `other` may be "simulator"."""

    task: str
    condition: str
    model: str
    other: str
    axis: str
    queries: Estimate
    error: float | None = None
    until: Estimate | None = None


@dataclass(frozen=True)
class Outcome:
    """A pre-registered hypothesis and what became of it: "supported", "contradicted" or "cannot tell"."""

    text: str
    outcome: str
    because: str


@dataclass(frozen=True)
class Verdict:
    """All that a study says. `headline`: one or two sentences, in words. `profiles`: by axis, for each model the share
    of tasks on which its error is within a factor τ of the best, (τ, share). `interquartile_mean`: of final errors
    relative to the black box, over tasks and seeds, by model. `improvement`: by (structured, black box), the
    probability that a run of the first has the lower final error, averaged over tasks. `surfaces`: the laws in size and
    data, where a study varies both."""

    headline: str
    scalings: tuple[Scaling, ...]
    contests: tuple[Contest, ...]
    extrapolations: tuple[Extrapolation, ...] = ()
    break_evens: tuple[BreakEven, ...] = ()
    hypotheses: tuple[Outcome, ...] = ()
    profiles: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)
    interquartile_mean: dict[str, Estimate] = field(default_factory=dict)
    improvement: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    surfaces: tuple[Surface, ...] = ()

    def scaling(self, task: str, model: str, axis: str = "flop", condition: str = "") -> Scaling | None:
        for s in self.scalings:
            if (s.task, s.condition, s.model, s.axis) == (task, condition, model, axis):
                return s
        return None
