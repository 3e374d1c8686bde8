from __future__ import annotations

from dataclasses import dataclass, replace

from physics_models.base import System
from physics_models.priors.base import Prior, choose


@dataclass(frozen=True)
class Parameters(Prior):
    """All terms with wrong parameter values: each is off by the fraction delta.

    p_k -> p_k (1 + s_k delta), with the signs s = +, -, +, ... in the order of the system's `parameters`, those that
    are 0 left out (0 stays 0), so that errors do not all pull one way. `parameter` names one that alone is off,
    upwards. To first order the field is wrong by delta * sum of s_k p_k df/dp_k.

    At delta = 1 every second value is 0, which a system may refuse: the message then names the parameter.
    """

    parameter: str | None = None

    def check(self, system: System) -> None:
        wrong = self._wrong(system)
        if not wrong:
            raise ValueError(
                f"{type(system).__name__} has no parameter that is not 0, so none can be off by a fraction"
            )
        try:
            replace(system, **self.values(system))
        except ValueError as error:
            raise ValueError(f"delta must leave parameters that are allowed, but with {self.delta:g} {error}") from None

    def values(self, system: System) -> dict[str, float]:
        return system.values | {
            name: system.values[name] * (1 + sign * self.delta) for name, sign in self._wrong(system)
        }

    def linear_source(self, system: System) -> System | None:
        return replace(system, **self.values(system))

    def _wrong(self, system: System) -> list[tuple[str, int]]:
        """The parameters that are off, each with its sign."""
        names = [name for name, value in system.values.items() if value != 0]
        if self.parameter is not None:
            names = [choose("parameter", self.parameter, names, "")]
        return [(name, 1 - 2 * (k % 2)) for k, name in enumerate(names)]
