"""Every kind of prior by name: the files of this folder, and entry points of the group "physics_models.priors"."""

from __future__ import annotations

from pathlib import Path

from physics_models.registry import Registry

priors = Registry(
    "prior", "physics_models.priors", Path(__file__).parent, "physics_models.priors", "physics_models.priors.base:Prior"
)
