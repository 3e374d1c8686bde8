"""Every system by name: the files of this folder, and entry points of the group "physics_models"."""

from __future__ import annotations

from pathlib import Path

from physics_models.registry import Registry

systems = Registry("system", "physics_models", Path(__file__).parent, "physics_models", "physics_models.base:System")
