"""What an energy reader is: cumulative joules, how they were got, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class EnergyReader(Protocol):
    """What a meter needs. Anything that has these four will do; `Reader` says what else it may have."""

    @property
    def method(self) -> str: ...
    @property
    def uncertainty(self) -> float | None: ...
    @property
    def reason(self) -> str | None: ...
    def read_j(self) -> float | None: ...


class Reader:
    """The base of our readers: the contract with its defaults.

    `method`: "measured:…", "modelled:…" or "none". `uncertainty`: relative, two-sided, of a long window; None where
    nobody states one. `reason`: why the last reading is missing, else None. `covers`: what draws the joules counted.
    `update_s`: seconds between changes of the counter, so the error at either end of a window.
    `idle_power_w`: idle power where it is known without measuring it; `idle_reason`: why a model does not know it.
    `notes`: faults found while reading.
    """

    method: str = "none"
    uncertainty: float | None = None
    reason: str | None = None
    covers: str = ""
    update_s: float = 0.0
    idle_power_w: float | None = None
    idle_reason: str | None = None
    notes: tuple[str, ...] = ()

    def read_j(self) -> float | None:
        """Joules since an arbitrary start; None, never 0, when they cannot be read."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop whatever runs in the background. A reader that is collected does so too; reading again starts it."""


def check_reader(where: str, reader: object) -> None:
    """Raises TypeError where `reader`, an argument of the function `where`, is none."""
    if not (hasattr(reader, "read_j") and hasattr(reader, "method")):
        raise TypeError(
            f"{where} needs an energy reader; it was given {reader!r} ({type(reader).__name__}): make one with "
            'best_energy_reader(resolve_device("auto"))'
        )


class Unmeasured(Reader):
    """Stands where no joules are known, and says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read_j(self) -> float | None:
        return None


class Sum(Reader):
    """Several readers as one: the GPUs of a run, or a GPU and its host. Unknown as soon as one of them is.

    The uncertainty is the largest of theirs, for errors of one make of sensor go the same way. `each_j()` gives the
    joules of every part.
    """

    def __init__(self, parts: Sequence[Reader]) -> None:
        if not parts:
            raise ValueError("Sum needs at least one reader; it was given none")
        self.parts = tuple(parts)

    @property
    def method(self) -> str:
        methods = list(dict.fromkeys(part.method for part in self.parts))
        if "none" in methods:
            return "none"
        kinds = {method.split(":")[0] for method in methods}
        names = "+".join(method.split(":", 1)[-1] for method in methods)
        # What is in part modelled is not measured.
        return f"{'measured' if kinds == {'measured'} else 'modelled'}:{names}"

    @property
    def uncertainty(self) -> float | None:
        known = [part.uncertainty for part in self.parts if part.uncertainty is not None]
        return max(known) if len(known) == len(self.parts) else None

    @property
    def reason(self) -> str | None:
        return next((part.reason for part in self.parts if part.reason), None)

    @property
    def covers(self) -> str:
        covered = [part.covers for part in self.parts]
        return " and ".join(f"{covered.count(c)} × {c}" if covered.count(c) > 1 else c for c in dict.fromkeys(covered))

    @property
    def update_s(self) -> float:
        return max(part.update_s for part in self.parts)

    @property
    def idle_power_w(self) -> float | None:
        return total([part.idle_power_w for part in self.parts])

    @property
    def idle_reason(self) -> str | None:
        return next((part.idle_reason for part in self.parts if part.idle_reason), None)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for part in self.parts for note in part.notes))

    def each_j(self) -> tuple[float | None, ...]:
        return tuple(part.read_j() for part in self.parts)

    def read_j(self) -> float | None:
        return total(self.each_j())

    def close(self) -> None:
        for part in self.parts:
            part.close()


def total(values: Sequence[float | None]) -> float | None:
    """The sum, or None when one of them is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
