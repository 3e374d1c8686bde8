"""Scaling laws: fitted, judged, bootstrapped, compared.

`fit_power_law` and `fit_chinchilla` fit and say whether the data could tell; `bootstrap_power_law`,
`bootstrap_chinchilla` and `paired_bootstrap` say how sure; `compare_forms` asks which form predicts a decade it has
not seen; `frontier` chooses the points that a fit is about. `reports.scaling.thompson` has the published regressions
and toy that this package is checked against. NumPy and SciPy only.
"""

from reports.scaling.bootstrap import (
    bootstrap_chinchilla,
    bootstrap_power_law,
    paired_bootstrap,
)
from reports.scaling.fit import Chinchilla, PowerLaw, fit_chinchilla, fit_power_law
from reports.scaling.frontier import Frontier, frontier
from reports.scaling.heldout import Forecast, HeldOut, compare_forms
from reports.scaling.identify import Identifiability
from reports.scaling.intervals import Bootstrap, Interval

__all__ = [
    "Bootstrap",
    "Chinchilla",
    "Forecast",
    "Frontier",
    "HeldOut",
    "Identifiability",
    "Interval",
    "PowerLaw",
    "bootstrap_chinchilla",
    "bootstrap_power_law",
    "compare_forms",
    "fit_chinchilla",
    "fit_power_law",
    "frontier",
    "paired_bootstrap",
]
