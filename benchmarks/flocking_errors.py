"""Errors on flocking after the default budget: does more knowledge of the system give less error, and how much?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from statistics import median
from typing import Any

MODELS = {
    "mlp": ["model=mlp"],
    "neural_ode": ["model=neural_ode"],
    "hybrid_ode, known terms: inertia, alignment, speed": ["model=hybrid_ode"],
    "hybrid_ode, all terms known": ["model=hybrid_ode", "model.known=all"],
}


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, words in MODELS.items():
            command = [sys.executable, "-m", "experiments", "run", "flocking", *words, f"runs={folder}", "--json"]
            done = subprocess.run([*command, "tracking=none"], check=True, capture_output=True, text=True)
            records = json.loads(done.stdout)["records"]
            for name in dict.fromkeys(record["model"] for record in records):
                errors = [r["metrics"]["rollout_nrmse"] for r in records if r["model"] == name]
                key = label if name == words[0].split("=")[1] else name
                figures[f"{key}: rollout_nrmse, median (range)"] = (
                    f"{median(errors):.4g} ({min(errors):.4g} to {max(errors):.4g})"
                )
    return figures
