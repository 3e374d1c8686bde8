"""Joules from a power sensor: samples integrated in the background, and a counter checked against them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence

from hardware.energy.poll import Poller, lock_of
from hardware.energy.reader import Reader

DEFAULT_UPDATE_S = 0.1
BOUNDS_S = (0.02, 0.2)  # what an update period may come out as; NVIDIA's sensors move at 60 Hz (Fermi) to 10 Hz
WATCH_S = 1.5  # seconds of quick sampling by which the update period is found
WATCH_EVERY_S = 0.01
GAP_UPDATES = 5  # samples further apart than this many updates leave the time between them unseen

DISAGREEMENT = 0.05  # a counter and the integrated power that differ by more are flagged
COMPARE_S = 5.0  # in a shorter time they may differ by the ends alone


def update_period_s(times_s: Sequence[float], power_w: Sequence[float]) -> float:
    """Seconds between changes of a sensor that was read much more often than it changes.

    The lower quartile of the times between changes: two updates of equal value merge into one interval, which the
    quartile leaves out, and a single spurious short one does not decide. 0.1 s when it changed fewer than four times.
    """
    pairs = zip(times_s[1:], power_w[1:], power_w, strict=False)
    changes = [t for t, new, old in pairs if new != old]
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(changes))
    if len(gaps) < 3:
        return DEFAULT_UPDATE_S
    return min(max(gaps[len(gaps) // 4], BOUNDS_S[0]), BOUNDS_S[1])


class PowerIntegral(Reader):
    """∫ power dt by the trapezoid rule. A thread samples at the sensor's own update period from the first reading on.

    `power_w()` returns watts or raises. A reading takes a sample of its own, so that the integral ends where the window
    does. A sensor that says 0 W is broken, not idle. `stated`: the maker's uncertainty. `duty`: the part of the
    time that the sensor looks at; of the rest it is assumed to differ from what was seen as much as the samples differ
    among themselves. `least_update_s`: the time over which the sensor averages, where that is longer than its updates.

    uncertainty² = stated² + ((1 - duty) · σ/mean)² + (share of the time without samples)²
    """

    def __init__(
        self,
        power_w: Callable[[], float],
        method: str,
        covers: str,
        stated: float | None = None,
        duty: float = 1.0,
        least_update_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.method, self.covers = method, covers
        self.power_w = power_w
        self._stated, self.duty, self._least_update_s = stated, duty, least_update_s
        if duty < 1:
            self.notes = (
                f"the power sensor looks at {duty:.0%} of the time: a load that repeats in step with it is misread, "
                "and no sample tells (arXiv 2312.02741)",
            )
        self._clock = clock
        self._lock = lock_of(self)
        self._poller: Poller | None = None
        self._watched: list[tuple[float, float]] = []
        self._period_s: float | None = None
        self._last: tuple[float, float] | None = None
        self._joules = self._unseen_s = self._seconds = 0.0
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    @property
    def update_s(self) -> float:
        return max(self._period_s or DEFAULT_UPDATE_S, self._least_update_s)

    @property
    def uncertainty(self) -> float | None:
        if self._stated is None or self._n < 2 or self._seconds == 0:
            return self._stated
        spread = math.sqrt(self._squares / (self._n - 1)) / self._mean
        return math.hypot(self._stated, (1 - self.duty) * spread, self._unseen_s / self._seconds)

    def read_j(self) -> float | None:
        with self._lock:
            if not self._sample():
                return None
            if self._poller is None or not self._poller.alive:
                self._poller = Poller(self._poll, WATCH_EVERY_S)
            return self._joules

    def close(self) -> None:
        if self._poller:
            self._poller.stop()

    def _poll(self) -> float:
        with self._lock:
            if self._sample() and self._last:
                self._watch(*self._last)
                power = self._last[1]
                self._n += 1
                step = power - self._mean
                self._mean += step / self._n
                self._squares += step * (power - self._mean)
            return WATCH_EVERY_S if self._period_s is None else self._period_s

    def _watch(self, now: float, power: float) -> None:
        if self._period_s is not None:
            return
        self._watched.append((now, power))
        if now - self._watched[0][0] >= WATCH_S:
            self._period_s = update_period_s(*zip(*self._watched, strict=True))
            self._watched.clear()

    def _sample(self) -> bool:
        try:
            power = float(self.power_w())
            if not power > 0:
                raise ValueError(f"it says {power:g} W")
        except Exception as error:  # whatever a driver's library raises: a missing sample, not a crash
            self.reason = f"the power sensor cannot be read: {error}"
            return False
        now, self.reason = self._clock(), None
        if self._last:
            before, last = self._last
            gap = now - before
            self._joules += (last + power) / 2 * gap
            self._seconds += gap
            if gap > GAP_UPDATES * (self._period_s or DEFAULT_UPDATE_S):
                self._unseen_s += gap
        self._last = now, power
        return True


class CrossChecked(Reader):
    """A counter with a power sensor beside it: the counter's joules, flagged where the integrated power disagrees.

    A thread samples the power and reads the counter at the same instants. Once they have run for 5 s, a difference
    of more than 5% is a note, and the uncertainty grows to it. A sensor that fails leaves the counter as it is.
    """

    def __init__(self, counter: Reader, power: PowerIntegral, clock: Callable[[], float] = time.monotonic) -> None:
        self.counter, self._power, self._clock = counter, power, clock
        self.method, self.covers, self.update_s = counter.method, counter.covers, counter.update_s
        self._poller: Poller | None = None
        self._closed = False
        self._first: tuple[float, float, float] | None = None
        self._now: tuple[float, float, float] | None = None

    @property
    def reason(self) -> str | None:
        return self.counter.reason

    def read_j(self) -> float | None:
        joules = self.counter.read_j()
        self._closed = False  # whoever reads on, opens it again
        if joules is not None and (self._poller is None or not self._poller.alive):
            self._poller = Poller(self._poll, WATCH_EVERY_S)
        return joules

    def close(self) -> None:
        self._closed = True  # a poll that is under way must not start the sensor's thread again
        if self._poller:
            self._poller.stop()
        self._power.close()

    @property
    def compared_j(self) -> tuple[float, float] | None:
        """(joules of the counter, joules of the integrated power) since the first reading; None before 5 s."""
        first, now = self._first, self._now
        if not first or not now or now[0] - first[0] < COMPARE_S:
            return None
        return now[1] - first[1], now[2] - first[2]

    @property
    def disagreement(self) -> float:
        """|counter - integral| / integral, 0 while nothing can be said."""
        compared = self.compared_j
        return abs(compared[0] - compared[1]) / compared[1] if compared and compared[1] > 0 else 0.0

    @property
    def uncertainty(self) -> float | None:
        stated = self.counter.uncertainty
        if self.disagreement <= DISAGREEMENT:
            return stated
        return max(stated or 0.0, self.disagreement)

    @property
    def notes(self) -> tuple[str, ...]:
        compared = self.compared_j
        if not compared or self.disagreement <= DISAGREEMENT:
            return self.counter.notes
        return (
            *self.counter.notes,
            f"the energy counter says {compared[0]:.0f} J and the integrated power {compared[1]:.0f} J: they differ by "
            f"{self.disagreement:.0%}, more than {DISAGREEMENT:.0%}",
        )

    def _poll(self) -> float:
        if self._closed:
            return COMPARE_S / 5
        by_power, by_counter = self._power.read_j(), self.counter.read_j()
        if self._closed:
            self._power.close()
        if by_power is not None and by_counter is not None:
            self._now = self._clock(), by_counter, by_power
            self._first = self._first or self._now
        return COMPARE_S / 5
