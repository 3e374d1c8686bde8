"""Every metric by name: the files of this folder, and entry points of the group "metrics"."""

from __future__ import annotations

from pathlib import Path

from physics_models.registry import Registry

metrics = Registry(
    "metric", "experiments.metrics", Path(__file__).parent, "metrics", "experiments.metrics.base:Measure"
)
