"""A meter of a run that was stopped and goes on: what was used before is added to what is used now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from hardware.meter import PHASES, Meter, PeakMemory, Reading


class ContinuedMeter(Meter):
    """See `Meter`. Until `go_on` is called it is nothing else."""

    _earlier: Mapping[str, Reading] = {}
    _earlier_peak = PeakMemory(0, None)

    def go_on(self, earlier: Mapping[str, Reading], method: str, peak: PeakMemory) -> None:
        """Add these readings, whose joules were obtained by `method`: those by another are not joules of this run's
        kind, and a sum with them is not known."""
        same = method == self.energy_method
        self._earlier = earlier if same else {name: _without_joules(reading) for name, reading in earlier.items()}
        self._earlier_peak = peak

    def reading(self, name: str) -> Reading:
        now = super().reading(name)
        return sum_of(self._earlier[name], now) if name in self._earlier else now

    def readings(self) -> dict[str, Reading]:
        opened = {*self._earlier, *super().readings()}
        return {name: self.reading(name) for name in PHASES if name in opened}

    def peak_memory_bytes(self) -> PeakMemory:
        before, now = self._earlier_peak, super().peak_memory_bytes()
        on_device = [peak for peak in (before.device, now.device) if peak is not None]
        return PeakMemory(max(before.host, now.host), max(on_device, default=None))


def sum_of(a: Reading, b: Reading) -> Reading:
    """Of two windows of one phase. What is not known of one of them is not known of both; a window that was never open
    changes nothing. Errors add up, because those of one reader have one cause."""
    if b.windows == 0:
        return a
    joules, net = _plus(a.energy_j, b.energy_j), _plus(a.net_energy_j, b.net_energy_j)
    return Reading(
        a.seconds + b.seconds,
        a.cpu_seconds + b.cpu_seconds,
        joules,
        _plus(a.idle_j, b.idle_j),
        net,
        _relative(joules, (a.energy_j, a.uncertainty), (b.energy_j, b.uncertainty)),
        _relative(net, (a.net_energy_j, a.net_uncertainty), (b.net_energy_j, b.net_uncertainty)),
        a.windows + b.windows,
    )


def _plus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _relative(whole: float | None, *parts: tuple[float | None, float | None]) -> float | None:
    """The relative error of a sum, from those of its parts."""
    if not whole or any(value is None or error is None for value, error in parts):
        return None
    return math.fsum(abs((value or 0.0) * (error or 0.0)) for value, error in parts) / abs(whole)


def _without_joules(reading: Reading) -> Reading:
    return replace(reading, energy_j=None, idle_j=None, net_energy_j=None, uncertainty=None, net_uncertainty=None)
