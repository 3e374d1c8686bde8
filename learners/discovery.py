"""Every model by name: the files of `learners/models`, and entry points of the group "learners"."""

from __future__ import annotations

from pathlib import Path

from physics_models.registry import Registry

models = Registry("model", "learners.models", Path(__file__).parent / "models", "learners", "learners.base:Model")
