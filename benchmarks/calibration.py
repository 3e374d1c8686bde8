"""How well a 10-second calibration predicts programs that it was not fitted to, three times over on this machine.

Predicted over measured time, less 1, of each program in each run; and by how much the runs agree on the rates.
"""

from __future__ import annotations

from typing import Any

from hardware.calibrate import calibrate

RUNS = 3


def measure() -> dict[str, Any]:
    runs = [calibrate() for _ in range(RUNS)]
    figures: dict[str, Any] = {"device": runs[0].device}
    for name, several in (
        ("seconds a calibration takes", [run.seconds for run in runs]),
        ("rounds in which all kernels took their turn", [run.rounds for run in runs]),
        ("A/A: the same kernel measured as two differs by", [run.aa_spread for run in runs]),
        ("fit: median relative error on its own kernels", [run.fit_residual for run in runs]),
        ("held out: median absolute relative error", [run.median_error for run in runs]),
        ("held out: median signed relative error", [run.median_signed_error for run in runs]),
        ("held out: worst relative error", [run.worst.error if run.worst else None for run in runs]),
    ):
        figures[name] = [None if value is None else round(value, 4) for value in several]
    for name in runs[0].peaks:
        rates = [run.peaks[name] for run in runs]
        figures[f"{name}: best rate, G/s"] = [round(rate / 1e9, 3) for rate in rates]
    figures["launch of a kernel, µs"] = [round(run.launch_s * 1e6, 3) for run in runs]
    figures["call from Python, µs"] = [round(run.call_s * 1e6, 2) for run in runs]
    for programs in zip(*(run.held_out for run in runs), strict=True):
        name = programs[0].name
        figures[f"held out, {name}: measured, µs"] = [round(p.measured_s * 1e6, 1) for p in programs]
        figures[f"held out, {name}: relative error"] = [round(p.error, 3) for p in programs]
    figures["idle and loaded power, W"] = [runs[-1].idle_w, runs[-1].loaded_w]
    figures["joules"] = runs[-1].energy_reason or "measured"
    return figures
