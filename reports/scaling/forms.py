"""The forms that are compared: a floor plus terms exponential in known features, and how data are put to them.

Power and power + floor are the law of interest. The broken power is that of Caballero et al. 2023 (arXiv 2210.14891,
one break, no floor) with the width of the break fixed; the exponential is what a smooth problem with a spectral method
shows, and what a power law must be told apart from. The (N, D) form is that of Hoffmann et al. 2022 (arXiv 2203.15556).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Raw = Callable[[np.ndarray], tuple[np.ndarray, ...]]  # inputs (d, n) to the features of each term, (q, n)

KNOTS = 12
BREAK_WIDTH = 0.25 * np.log(10)  # of the bend, in ln C: a quarter of a decade


@dataclass(frozen=True)
class Form:
    """A form to fit. `parameters`: names in the order of θ, of natural units; a scale is kept as its logarithm.

    `candidates`: from the inputs fitted, shape (d, n), the features to try; where there are several, as with the
    places of a break, the best is kept.
    """

    name: str
    equation: str
    parameters: tuple[str, ...]
    floor: bool
    candidates: Callable[[np.ndarray], tuple[Raw, ...]]
    searched: int = 0  # numbers that the candidates are a grid of, such as the place of a break

    @property
    def degrees(self) -> int:
        """How many numbers are fitted."""
        return len(self.parameters) - (not self.floor) + self.searched

    @property
    def straight(self) -> bool:
        """Whether ln of the form is linear in its parameters: one term, no floor."""
        return not self.floor


def _logarithms(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.log(inputs)[:, None, :])


def _linear(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(inputs[:, None, :])


def _breaks(inputs: np.ndarray) -> tuple[Raw, ...]:
    """ln C, and a smooth hinge at each of the knots, which keep a tenth of the range clear at either end."""
    x = np.log(inputs[0])
    low, high = float(x.min()), float(x.max())

    def at(knot: float) -> Raw:
        def features(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            x = np.log(inputs[0])
            return (np.stack([x, BREAK_WIDTH * np.logaddexp(0, (x - knot) / BREAK_WIDTH)]),)

        return features

    return tuple(at(knot) for knot in low + (high - low) * np.linspace(0.1, 0.9, KNOTS))


POWER = Form("power", "A·C^(−α)", ("floor", "log_scale", "exponent"), False, lambda inputs: (_logarithms,))
FLOOR = Form("power + floor", "E + A·C^(−α)", ("floor", "log_scale", "exponent"), True, lambda inputs: (_logarithms,))
BROKEN = Form(
    "broken power",
    "A·C^(−α)·(1 + (C/C₀)^(1/s))^(−Δ·s)",
    ("floor", "log_scale", "exponent", "exponent_change"),
    False,
    _breaks,
    searched=1,
)
EXPONENTIAL = Form("exponential", "E + A·exp(−κ·C)", ("floor", "log_scale", "rate"), True, lambda inputs: (_linear,))
CHINCHILLA = Form(
    "Chinchilla",
    "E + A/N^α + B/D^β",
    ("floor", "log_scale_n", "exponent_n", "log_scale_d", "exponent_d"),
    True,
    lambda inputs: (_logarithms,),
)


@dataclass(frozen=True)
class Scaling:
    """Features put to mean 0 and standard deviation 1 and errors to geometric mean 1, so that units do not matter."""

    raw: Raw
    centres: tuple[np.ndarray, ...]
    spreads: tuple[np.ndarray, ...]
    log_unit: float

    @classmethod
    def of(cls, raw: Raw, inputs: np.ndarray, error: np.ndarray) -> Scaling:
        terms = raw(inputs)
        centres = tuple(x.mean(1, keepdims=True) for x in terms)
        spreads = tuple(np.maximum(x.std(1, keepdims=True), 1e-300) for x in terms)
        return cls(raw, centres, spreads, float(np.log(error).mean()))

    def features(self, inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple((x - c) / s for x, c, s in zip(self.raw(inputs), self.centres, self.spreads, strict=True))

    def natural(self, theta: np.ndarray) -> np.ndarray:
        """θ (B, p) in the units of the data: E and ln A instead of the scaled E and a."""
        natural, first = theta.copy(), 1
        natural[:, 0] *= np.exp(self.log_unit)
        for c, s in zip(self.centres, self.spreads, strict=True):
            exponents = theta[:, first + 1 : first + 1 + len(c)] / s[:, 0]
            natural[:, first] += exponents @ c[:, 0] + self.log_unit
            natural[:, first + 1 : first + 1 + len(c)] = exponents
            first += 1 + len(c)
        return natural
