"""What a backend is: operations for a model's mathematics, and an engine that trains and predicts with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hardware.cost import Cost
from hardware.devices import Device
from learners.base import Model, TaskInfo
from learners.snapshot import Snapshot

DTYPES = ("float32", "float64")
OTHER_SIZE = "its weights are for states of another size"


@dataclass(frozen=True)
class Recipe:
    """How every gradient-trained model is trained; the same for all of them.

    Adam with decoupled weight decay, linear warm-up over `warmup_steps`, then a constant learning rate, so that no
    horizon needs to be known. Evaluation uses the polynomial-decay average of the weights, avg += c (w - avg) with
    c = (averaging + 1)/(k + averaging + 1) at step k (Shamir & Zhang 2013): the run is valid at any time.
    `window`: sampling intervals rolled out and compared in a training sample; `batch` samples a step.
    """

    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    averaging: float = 8.0
    batch: int = 64
    window: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch", "window", "warmup_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, but it is {getattr(self, name)}")
        for name in ("weight_decay", "averaging"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, but it is {getattr(self, name)}")

    def rate(self, step: Any, minimum: Any = min, base: Any = None) -> Any:
        """Learning rate of step k = 0, 1, …, for a lane with a `base` of its own or for the recipe's.  `minimum` is
        the backend's."""
        return (self.learning_rate if base is None else base) * minimum((step + 1.0) / self.warmup_steps, 1.0)

    def mix(self, step: Any) -> Any:
        """Weight c of the newest weights in the average after step k = 0, 1, …."""
        return (self.averaging + 1) / (step + self.averaging + 1)


@dataclass(frozen=True)
class Points:
    """Training data as one flat list of points: a window is `window + 1` consecutive ones.

    `times`: (P,) since the start of each trajectory, `lengths`: (P,) intervals to the next point (anything where there
    is none), `y`: (P, *state), `starts`: (W,) the first points of all valid windows. `held`: (P, *state), True where
    an experimenter held an entry of the state, or None: what is held is given to a model, and it is not asked for it.
    """

    times: np.ndarray
    lengths: np.ndarray
    y: np.ndarray
    starts: np.ndarray
    held: np.ndarray | None = None


@dataclass
class Trained:
    """What a call of `train` did: losses by step (S, n) and the cost of each seed. `executed`: the cost of all that was
    executed for each seed by this and all earlier calls (a share of each call would be rounded each time)."""

    losses: np.ndarray
    costs: list[Cost]
    executed: list[Cost]

    @property
    def flop(self) -> list[int]:
        return [cost.flop for cost in self.costs]


class Engine(ABC):
    """One model on one data set, for several seeds at once (S), each with a learning rate of its own. States go in
    and out as NumPy arrays.

    The seeds share one compiled program where the backend has such a thing. Everything is synchronised on return,
    so that the caller may read clocks and meters.
    """

    backend: ClassVar[str]

    def __init__(
        self, model: Model, info: TaskInfo, recipe: Recipe, points: Points, weights: Sequence[dict[str, Any]],
        dtype: str, device: Device, chunk_steps: int, predict_batch: int, predict_times: int,
        learning_rates: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.info, self.recipe, self.points = model, info, recipe, points
        self.seeds = len(weights)
        self.learning_rates = list(learning_rates or [recipe.learning_rate] * self.seeds)
        if len(self.learning_rates) != self.seeds:
            raise ValueError(f"{self.seeds} seeds must have a learning rate each, not {len(self.learning_rates)}")
        self.dtype, self.device = dtype, self.framework_device(device)
        self.chunk_steps, self.predict_batch, self.predict_times = chunk_steps, predict_batch, predict_times
        self.uncounted: frozenset[str] = frozenset()  # operations without a rule, met in counted predictions
        self.build(weights)

    @staticmethod
    @abstractmethod
    def framework_device(device: Device) -> Any:
        """The framework's own object for a device that `hardware.devices.resolve` has found."""

    @abstractmethod
    def build(self, weights: Sequence[dict[str, Any]]) -> None:
        """Place data and weights (as drawn by each part's `draw`) on the device."""

    def replace_points(self, points: Points) -> None:
        """Train from now on with other points, as many as before."""
        if points.y.shape != self.points.y.shape or (points.held is None) != (self.points.held is None):
            raise ValueError(f"there must be as many points as before, {len(self.points.y)}, not {len(points.y)}")
        self.points = points
        self.place_points()

    @abstractmethod
    def place_points(self) -> None:
        """Place `points` on the device."""

    @abstractmethod
    def compile_training(self) -> None:
        """Make `train` ready: compile, and take a step that is forgotten. It changes no weights."""

    @abstractmethod
    def compile_fit(self, rows: int) -> None:
        """Compile the model's fit that is not by gradient, for `rows` windows."""

    @abstractmethod
    def compile_prediction(self) -> None:
        """Compile what `predict` runs."""

    @abstractmethod
    def train(self, starts: np.ndarray) -> Trained:
        """Take n <= chunk_steps steps on the windows that begin at the points `starts` (S, n, batch)."""

    @abstractmethod
    def least_squares(self, starts: np.ndarray) -> Cost:
        """Fit a model that is linear in its one part, in closed form, on the windows at `starts` (B,)."""

    @abstractmethod
    def residual(self, theta: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, Cost]:
        """The training residual (float64, flat) on the windows at `starts` (B,), for parameters theta (p,)."""

    @abstractmethod
    def set_parameters(self, seed: int, theta: np.ndarray) -> None:
        """Put theta (p,) into the parts of the seed with this index."""

    @abstractmethod
    def take_weights(self, other: Engine) -> None:
        """Predict from now on with the weights that another engine of this backend predicts with. Raises ValueError
        where they do not fit."""

    @abstractmethod
    def keep_best(self, better: np.ndarray) -> None:
        """Remember the averaged weights of the seeds (S,) whose validation error is the lowest yet."""

    @abstractmethod
    def use_best(self) -> None:
        """Predict from now on with the weights that were last kept."""

    @abstractmethod
    def weights(self, seed: int) -> dict[str, np.ndarray]:
        """The weights that `predict` uses for the seed with this index, as flat named arrays."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """All that training by gradient has changed, as copies."""

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Be as the engine was of which this is a snapshot. Raises ValueError or KeyError for one of another kind."""

    def fused_work(self) -> tuple[int, int] | None:
        """(bytes moved, kernels started) for each seed by the compiled training programs so far, as the compiler fused
        them; None where nothing is compiled."""
        return None

    def training_program(self, steps: int) -> tuple[Callable, tuple[Any, ...]] | None:
        """What `train` compiles, without the counting, and arguments for so many steps: for the compilers of other
        devices. None where nothing is compiled."""
        return None

    @abstractmethod
    def _rollout(
        self, y0: np.ndarray, times: np.ndarray, lengths: np.ndarray, intervals: int, count_flop: bool
    ) -> tuple[np.ndarray, list[Cost]]:
        """States (S, P, intervals + 1, *state) from y0 (S, P, *state), and their costs.

        `times`, `lengths` (P, predict_times): when each interval begins and how long it is.

        Costs may be wrong where `count_flop` is False.
        """

    def predict(
        self, y0: np.ndarray, times: np.ndarray, count_flop: bool = False, clock: np.ndarray | None = None
    ) -> tuple[np.ndarray, float | None]:
        """Roll out from y0 (B, *state), or for each seed from its own (S, B, *state), through times (B, T): states
        (S, B, T, *state), and FLOPs per trajectory.

        `clock` (B,): when each of them begins, for equations that depend on time; 0 by default.

        The averaged weights are used. NaN times (after a trajectory's end) give states that mean nothing. FLOPs are
        None unless asked for: an eager backend has to run twice as long for them.
        """
        batch, length = times.shape
        size, longest = self.predict_batch, self.predict_times
        if length - 1 > longest:
            raise ValueError(f"this engine predicts at most {longest} intervals, not {length - 1}")
        times = _fill_forward(times) - times[:, :1]
        lengths, times = np.diff(times, axis=1), times[:, :-1]
        if clock is not None:
            times = times + clock[:, None]
        out = np.empty((self.seeds, batch, length, *self.info.state_shape))
        each = np.broadcast_to(y0, (self.seeds, batch, *self.info.state_shape))
        flop = 0.0
        for low in range(0, batch, size):
            high = min(low + size, batch)
            rows = np.minimum(np.arange(low, low + size), high - 1)  # the last one stands in for those that are missing
            pad = ((0, 0), (0, longest + 1 - length))
            states, costs = self._rollout(
                each[:, rows], np.pad(times[rows], pad), np.pad(lengths[rows], pad), length - 1, count_flop
            )
            self.uncounted |= frozenset().union(*(cost.uncounted for cost in costs))
            out[:, low:high] = states[:, : high - low]
            flop += sum(int(c.flop) for c in costs) / (size * self.seeds) * (high - low)
        return out, flop / batch if count_flop else None


def _fill_forward(times: np.ndarray) -> np.ndarray:
    """NaN becomes the last time before it: an interval of length zero."""
    return np.maximum.accumulate(np.where(np.isnan(times), -np.inf, times), axis=1)
