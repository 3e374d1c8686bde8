"""`python -m benchmarks [NAME …]`: run benchmarks and write what they measured to `benchmarks/results/NAME.json`."""

from __future__ import annotations

import datetime
import importlib
import json
import subprocess
import sys
from pathlib import Path

from experiments.identity import versions
from hardware.devices import host_info

FOLDER = Path(__file__).parent
NAMES = (
    "start_up", "main_job", "flocking_errors", "step_ratio", "twins", "battery", "counting_overhead", "calibration",
    "tpu", "scaling_fits", "verdict_calibration", "store", "cuda", "large_flock",
)  # fmt: skip


def main(names: list[str]) -> int:
    for name in names or NAMES:
        if name not in NAMES:
            print(f"error: no benchmark is called {name}; there are {', '.join(NAMES)}", file=sys.stderr)
            return 2
        print(f"== {name}", flush=True)
        figures = importlib.import_module(f"benchmarks.{name}").measure()
        for key, value in figures.items():
            print(f"{key:<58} {value:.4g}" if isinstance(value, float) else f"{key:<58} {value}", flush=True)
        if "nothing measured" in figures:
            continue  # an older result, measured where it could be, is worth more
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=FOLDER)
        result = {
            "date": datetime.date.today().isoformat(),
            "commit": commit.stdout.strip(),
            "host": host_info(),
            "versions": versions(),
            "figures": figures,
        }
        (FOLDER / "results").mkdir(exist_ok=True)
        (FOLDER / "results" / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
