"""What a computation costs: FLOPs executed, joules, seconds, bytes. Usable on its own.

    from hardware import count          # JAX: result, cost = count(f)(*args)
    from hardware import FlopCounter    # torch: with FlopCounter() as counter: ...; counter.cost
    from hardware import Meter, best_energy_reader, resolve_device

Importing the package imports no framework; a name does when it is first used.
"""

import importlib
from typing import Any

_HOMES = {
    "Cost": ("hardware.cost", "Cost"),
    "count": ("hardware.flops_jax", "count"),
    "static_cost": ("hardware.flops_jax", "static_cost"),
    "FlopCounter": ("hardware.flops_torch", "FlopCounter"),
    "Meter": ("hardware.meter", "Meter"),
    "best_energy_reader": ("hardware.energy", "best"),
    "resolve_device": ("hardware.devices", "resolve"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module hardware has no attribute {name}; it offers {', '.join(sorted(_HOMES))}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
