"""The order in which a seed sees its training windows."""

from __future__ import annotations

from typing import Any

import numpy as np


class Batches:
    """Training windows in random order, every one once before any comes again."""

    def __init__(self, starts: np.ndarray, rng: np.random.Generator) -> None:
        self._starts, self._rng = starts.astype(np.int32), rng
        self._queue = np.empty(0, np.int32)

    def renew(self, starts: np.ndarray) -> None:
        """Go on with other windows; those of the old ones that are left are forgotten."""
        self._starts, self._queue = starts.astype(np.int32), np.empty(0, np.int32)

    def draw(self, n: int) -> np.ndarray:
        while len(self._queue) < n:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._starts)])
        taken, self._queue = self._queue[:n], self._queue[n:]
        return taken

    def steps(self, n: int, batch: int) -> np.ndarray:
        return self.draw(n * batch).reshape(n, batch)

    def state(self) -> tuple[np.ndarray, dict[str, Any]]:
        """What is left of the drawn order, and the state of the generator (whole numbers and names)."""
        return self._queue.copy(), dict(self._rng.bit_generator.state)

    def restore(self, queue: np.ndarray, generator: dict[str, Any]) -> None:
        """Go on from a `state`. Raises ValueError for what is none."""
        if queue.dtype != np.int32 or queue.ndim != 1 or not np.isin(queue, self._starts).all():
            raise ValueError("the order of batches is not one of these training windows")
        self._queue = queue.copy()
        self._rng.bit_generator.state = generator
