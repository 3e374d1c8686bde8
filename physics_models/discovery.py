"""Every system by name: the files of this folder, entry points of the group "physics_models", and dysts/NAME."""

from __future__ import annotations

from pathlib import Path

from physics_models.registry import Registry

systems = Registry(
    kind="system",
    package="physics_models",
    folder=Path(__file__).parent,
    group="physics_models",
    base="physics_models.base:System",
    families={"dysts": ("physics_models.from_dysts", "Aizawa")},
)
