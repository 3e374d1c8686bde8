"""From replicates of an estimate to its interval and its p value, with due regard to how few clusters there may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from reports.scaling.fit import cost_to_error
from reports.scaling.forms import FLOOR

METHODS = ("auto", "jackknife", "expanded", "percentile", "bca")
MANY = 10  # clusters; fewer tell neither bias nor skewness


@dataclass(frozen=True)
class Interval:
    """[low, high], meant to hold the true value in a share `level` of cases. `method`: what was used in the end."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class Bootstrap:
    """Estimates and their replicates. `names`: of the p parameters; `estimate`: (p,); `replicates`: (R, p).

    `jackknife`: per factor (levels, p), the estimates without each level; of two factors there follow those without
    each crossing of them. `levels`: how many each factor has.
    """

    names: tuple[str, ...]
    estimate: np.ndarray
    replicates: np.ndarray
    jackknife: tuple[np.ndarray, ...]
    levels: tuple[int, ...]

    def interval(self, name: str, level: float = 0.9, method: str = "auto") -> Interval:
        """The interval of one parameter.

        Methods:
            "percentile": too narrow for few clusters.
            "expanded": the percentile interval with the tails of √(G/(G − 1))·t(G − 1) under the normal, for G clusters
                (Hesterberg 2015, Am. Stat. 69:371).
            "bca": bias-corrected, and accelerated by the jackknife over clusters (Efron 1987, JASA 82:171). It needs
                ten clusters and an estimate that is not on its bound; without them "expanded" is used, and said.
            "jackknife": the estimate ± √(G/(G − 1))·t(G − 1) jackknife standard errors over clusters (of two factors:
                see `standard_error`), not below 0 for a floor. Of three or four clusters too few different resamples
                can be drawn for any of the others; with more it covers no worse than they (docs/calibration.md).
            "auto": "jackknife" if all is finite, else "expanded".
        """
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        index, values, tail = self._index(name), self.values(name), (1 - level) / 2
        if self._by_jackknife(index, method):
            error, degrees = self._spread(index)
            half = -stdtrit(degrees, tail) * error * self._widening
            low, high = self.estimate[index] - half, self.estimate[index] + half
            return Interval(float(max(low, 0.0) if name == "floor" else low), float(high), level, "jackknife")
        tails = self._bca(index, tail) if method == "bca" else None
        if tails is None:
            method = "percentile" if method == "percentile" else "expanded"
            side = tail if method == "percentile" else expanded_tail(tail, min(self.levels))
            tails = (side, 1 - side)
        low, high = np.quantile(values, tails, method="inverted_cdf" if np.isinf(values).any() else "linear")
        return Interval(float(low), float(high), level, method)

    def standard_error(self, name: str) -> float:
        """Of one parameter, by the jackknife: √V, V = (G − 1)/G·Σ(θ_without − mean)².

        Of two factors V = V_c + max(V_1 − V_c, 0) + max(V_2 − V_c, 0), c their crossings, since both factors hold what
        points do alone (as Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29:238, but no less than any of the
        three); of more, the sum, which is on the wide side.
        """
        return self._spread(self._index(name))[0]

    def values(self, name: str) -> np.ndarray:
        """The replicates of one parameter, (R,)."""
        return self.replicates[:, self._index(name)]

    def p_value(self, name: str, null: float = 0.0, method: str = "auto") -> float:
        """Two-sided p of `null`: one minus the level at which the "jackknife" or "expanded" interval reaches it.

        "expanded" gives at best that of a normal tail of 1/(R + 1): a small p needs thousands of resamples.
        """
        if method not in ("auto", "jackknife", "expanded"):
            raise ValueError(f"p values are those of jackknife, expanded or auto intervals, not {method!r}")
        count, index = min(self.levels), self._index(name)
        if self._by_jackknife(index, method):
            distance = abs(float(self.estimate[index]) - null)
            error, degrees = self._spread(index)
            score = -distance / error / self._widening if error > 0 else (-np.inf if distance else 0.0)
            return float(2 * stdtr(degrees, score))
        values = self.replicates[:, index]
        beyond = min((values <= null).sum(), (values >= null).sum())
        score = ndtri(min((beyond + 1) / (len(values) + 1), 0.5)) * np.sqrt((count - 1) / count)
        return float(2 * stdtr(count - 1, score))

    def minus(self, other: Bootstrap) -> Bootstrap:
        """The differences self − other, for bootstraps of the same resamples (see `paired_bootstrap`)."""
        if self.names != other.names or self.replicates.shape != other.replicates.shape or self.levels != other.levels:
            raise ValueError("only bootstraps of the same form over the same resamples can be subtracted")
        with np.errstate(invalid="ignore"):  # infinite costs
            jackknife = tuple(a - b for a, b in zip(self.jackknife, other.jackknife, strict=True))
            replicates, estimate = self.replicates - other.replicates, self.estimate - other.estimate
        names = tuple(f"{name} difference" for name in self.names)
        return Bootstrap(names, estimate, replicates, jackknife, self.levels)

    def log10_cost_to(self, error: ArrayLike) -> Bootstrap:
        """log10 of the cost at which a power law comes down to each error; infinite in the resamples that never do.

        The parameters are then called by the errors, as f"{error:g}". Of two models, `minus` gives the log10 of the
        ratio of costs at equal error (NaN where neither comes down to it).
        """
        targets = np.atleast_1d(np.asarray(error, dtype=float))

        def cost(theta: np.ndarray) -> np.ndarray:
            floor, log_scale, exponent = (theta[..., None, self._index(name)] for name in FLOOR.parameters)
            return np.log10(cost_to_error(floor, log_scale, exponent, targets))

        names = tuple(f"{target:g}" for target in targets)
        jackknife = tuple(map(cost, self.jackknife))
        return Bootstrap(names, cost(self.estimate), cost(self.replicates), jackknife, self.levels)

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise ValueError(f"no parameter is called {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def _spread(self, index: int) -> tuple[float, float]:
        """The jackknife standard error and its degrees of freedom: G − 1 of one factor; of several those of the sum of
        their variances (Satterthwaite 1946, Biometrics 2:110)."""
        counts = np.array([len(jack) for jack in self.jackknife])
        variances = np.array([(len(jack) - 1) * jack[:, index].var() for jack in self.jackknife])
        if len(self.jackknife) == 3 and len(self.levels) == 2:
            variances[:2] = np.maximum(variances[:2] - variances[2], 0)
        total = float(variances.sum())
        if not 0 < total < np.inf:
            return total, float(counts.max() - 1)
        shares = variances / total  # whose squares are numbers where those of tiny variances are not
        return float(np.sqrt(total)), 1 / float((shares**2 / (counts - 1)).sum())

    @property
    def _widening(self) -> float:
        """√(G/(G − 1)) of one factor, as HC3 has it beside the jackknife (MacKinnon & White 1985, J. Econom. 29:305):
        without it intervals cover 1 to 4% too little. Two factors need none: what they share is not taken off twice."""
        return float(np.sqrt(self.levels[0] / (self.levels[0] - 1))) if len(self.levels) == 1 else 1.0

    def _by_jackknife(self, index: int, method: str) -> bool:
        if method != "auto":
            return method == "jackknife"
        finite = np.isfinite(self.replicates[:, index]).all() and np.isfinite(self.estimate[index])
        finite = finite and all(np.isfinite(jack[:, index]).all() for jack in self.jackknife)
        return bool(finite)

    def _bca(self, index: int, tail: float) -> tuple[float, float] | None:
        values, estimate = self.replicates[:, index], self.estimate[index]
        below = ((values < estimate).mean() + (values <= estimate).mean()) / 2
        moves = [values.mean(0) - values for values in (jack[:, index] for jack in self.jackknife[: len(self.levels)])]
        spread = sum(float((move**2).sum()) for move in moves)
        on_bound = self.names[index] == "floor" and estimate <= 0
        if min(self.levels) < MANY or on_bound or not 0 < below < 1 or not 0 < spread < np.inf:
            return None
        bias = ndtri(below)
        acceleration = sum(float((move**3).sum()) for move in moves) / (6 * spread**1.5)
        scores = bias + ndtri([tail, 1 - tail])
        low, high = ndtr(bias + scores / (1 - acceleration * scores))
        return float(low), float(high)


def expanded_tail(tail: float, count: int) -> float:
    """The tail of the percentile interval to take for `count` clusters: Φ(√(G/(G − 1))·t of that tail), see above."""
    return float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, tail)))
